//! Which functions there are and what they take.
//!
//! Invariant: a function is called with as many arguments as its signature says, each of the type said there; the tree is only
//! built from names that stand here.

use super::builtin;
use super::prometheus::{self, Host};
use super::value::Value;

/// The type of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Param {
    /// Anything.
    Any,
    Text,
    Samples,
    Sample,
}

impl Param {
    /// How Go names it in messages.
    pub(super) fn type_name(self) -> &'static str {
        match self {
            Param::Any => "interface {}",
            Param::Text => "string",
            Param::Samples => "template.queryResult",
            Param::Sample => "*template.sample",
        }
    }
}

/// What a function does with its arguments.
#[derive(Clone, Copy)]
enum Body {
    /// Gives the first argument that decides; evaluated where arguments are.
    ShortCircuit,
    /// Needs nothing but its arguments.
    Pure(fn(&[Value]) -> Result<Value, String>),
    /// Asks what is outside: the query engine, the external URL.
    Hosted(fn(&[Value], &Host<'_>) -> Result<Value, String>),
}

/// A function of templates.
#[derive(Clone, Copy)]
pub(super) struct Function {
    /// As it is called.
    pub(super) name: &'static str,
    /// What it takes at least.
    pub(super) params: &'static [Param],
    /// What it takes any number of beyond.
    pub(super) rest: Option<Param>,
    body: Body,
}

const fn pure(name: &'static str, params: &'static [Param], body: fn(&[Value]) -> Result<Value, String>) -> Function {
    Function { name, params, rest: None, body: Body::Pure(body) }
}

const fn variadic(
    name: &'static str,
    params: &'static [Param],
    body: fn(&[Value]) -> Result<Value, String>,
) -> Function {
    Function { name, params, rest: Some(Param::Any), body: Body::Pure(body) }
}

const fn hosted(
    name: &'static str,
    params: &'static [Param],
    body: fn(&[Value], &Host<'_>) -> Result<Value, String>,
) -> Function {
    Function { name, params, rest: None, body: Body::Hosted(body) }
}

const fn short_circuit(name: &'static str) -> Function {
    Function { name, params: &[Param::Any], rest: Some(Param::Any), body: Body::ShortCircuit }
}

/// One value of any type.
const ANY: &[Param] = &[Param::Any];
const TEXT: &[Param] = &[Param::Text];

/// All of them.
const FUNCTIONS: [Function; 45] = [
    short_circuit("and"),
    short_circuit("or"),
    pure("not", ANY, builtin::not),
    pure("len", ANY, builtin::len),
    variadic("index", ANY, builtin::index),
    variadic("slice", ANY, builtin::slice),
    variadic("call", ANY, builtin::call),
    variadic("eq", ANY, builtin::eq),
    pure("ne", &[Param::Any, Param::Any], builtin::ne),
    pure("lt", &[Param::Any, Param::Any], builtin::lt),
    pure("le", &[Param::Any, Param::Any], builtin::le),
    pure("gt", &[Param::Any, Param::Any], builtin::gt),
    pure("ge", &[Param::Any, Param::Any], builtin::ge),
    variadic("print", &[], builtin::print),
    variadic("println", &[], builtin::println),
    variadic("printf", TEXT, builtin::printf),
    variadic("html", &[], builtin::html),
    variadic("js", &[], builtin::js),
    variadic("urlquery", &[], builtin::urlquery),
    hosted("query", TEXT, prometheus::query),
    hosted("externalURL", &[], prometheus::external_url),
    hosted("pathPrefix", &[], prometheus::path_prefix),
    pure("first", &[Param::Samples], prometheus::first),
    pure("label", &[Param::Text, Param::Sample], prometheus::label),
    pure("value", &[Param::Sample], prometheus::value),
    pure("strvalue", &[Param::Sample], prometheus::string_value),
    pure("sortByLabel", &[Param::Text, Param::Samples], prometheus::sort_by_label),
    variadic("args", &[], prometheus::args),
    pure("reReplaceAll", &[Param::Text, Param::Text, Param::Text], prometheus::replace_all),
    pure("match", &[Param::Text, Param::Text], prometheus::is_match),
    pure("safeHtml", TEXT, prometheus::safe_html),
    pure("title", TEXT, prometheus::title),
    pure("toUpper", TEXT, prometheus::to_upper),
    pure("toLower", TEXT, prometheus::to_lower),
    pure("graphLink", TEXT, prometheus::graph_link),
    pure("tableLink", TEXT, prometheus::table_link),
    pure("stripPort", TEXT, prometheus::strip_port),
    pure("stripDomain", TEXT, prometheus::strip_domain),
    pure("parseDuration", TEXT, prometheus::parse_seconds),
    pure("humanize", ANY, prometheus::humanize),
    pure("humanize1024", ANY, prometheus::humanize_1024),
    pure("humanizeDuration", ANY, prometheus::humanize_duration),
    pure("humanizePercentage", ANY, prometheus::humanize_percentage),
    pure("humanizeTimestamp", ANY, prometheus::humanize_timestamp),
    pure("toTime", ANY, prometheus::to_time),
];

impl Function {
    /// The function called `name`.
    pub(super) fn by_name(name: &str) -> Option<&'static Function> {
        FUNCTIONS.iter().find(|function| function.name == name)
    }

    /// Whether later arguments are only evaluated while earlier ones leave it open: `or` is decided by true, `and` by false.
    pub(super) fn decided_by(&self) -> Option<bool> {
        matches!(self.body, Body::ShortCircuit).then_some(self.name == "or")
    }

    /// Runs it. The error is what Go's function would say.
    pub(super) fn call(&self, args: &[Value], host: &Host<'_>) -> Result<Value, String> {
        match self.body {
            Body::ShortCircuit => Ok(args.last().cloned().unwrap_or(Value::Nothing)),
            Body::Pure(body) => body(args),
            Body::Hosted(body) => body(args, host),
        }
    }
}
