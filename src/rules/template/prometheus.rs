//! The functions that Prometheus adds to Go's.

use std::cell::Cell;
use std::net::IpAddr;
use std::sync::Arc;

use super::Scope;
use super::builtin::query_escaped;
use super::humanize::{self as human, number};
use super::time::Time;
use super::value::{Sample, Value};
use crate::model::{parse_duration, replace_all as replace_matches, search_regex};

type Outcome = Result<Value, String>;

/// Most queries of one expansion.
const QUERIES_MAX: u32 = 100;

/// What functions may ask of the world outside.
pub(super) struct Host<'a> {
    scope: &'a Scope<'a>,
    queries: Cell<u32>,
}

impl<'a> Host<'a> {
    pub(super) fn new(scope: &'a Scope<'a>) -> Host<'a> {
        Host { scope, queries: Cell::new(0) }
    }
}

/// An argument that the signature says is text.
fn text(args: &[Value], at: usize) -> &str {
    match &args[at] {
        Value::Text(text) => text,
        _ => "",
    }
}

fn samples(args: &[Value], at: usize) -> Arc<[Arc<Sample>]> {
    match &args[at] {
        Value::Samples(samples) => samples.clone(),
        _ => Arc::new([]),
    }
}

fn sample(args: &[Value], at: usize) -> Result<&Sample, String> {
    match &args[at] {
        Value::Sample(sample) => Ok(sample),
        _ => Err("runtime error: invalid memory address or nil pointer dereference".to_owned()),
    }
}

pub(super) fn query(args: &[Value], host: &Host<'_>) -> Outcome {
    host.queries.set(host.queries.get() + 1);
    if host.queries.get() > QUERIES_MAX {
        return Err(format!("more than {QUERIES_MAX} queries in one template"));
    }
    let found = (host.scope.query)(text(args, 0))?;
    Ok(Value::Samples(found.into_iter().map(Arc::new).collect()))
}

pub(super) fn external_url(_: &[Value], host: &Host<'_>) -> Outcome {
    Ok(host.scope.external_url.into())
}

/// The path of the external URL.
pub(super) fn path_prefix(_: &[Value], host: &Host<'_>) -> Outcome {
    let url = host.scope.external_url;
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = after_scheme.find('/').map_or("", |at| &after_scheme[at..]);
    Ok(path.split(['?', '#']).next().unwrap_or_default().into())
}

pub(super) fn first(args: &[Value]) -> Outcome {
    let all = samples(args, 0);
    let first = all.first().ok_or("first() called on vector with no elements")?;
    Ok(Value::Sample(first.clone()))
}

pub(super) fn label(args: &[Value]) -> Outcome {
    Ok(sample(args, 1)?.labels.get(text(args, 0)).unwrap_or_default().into())
}

pub(super) fn value(args: &[Value]) -> Outcome {
    Ok((&sample(args, 0)?.value).into())
}

/// The label that a sample of text once had.
pub(super) fn string_value(args: &[Value]) -> Outcome {
    Ok(sample(args, 0)?.labels.get("__value__").unwrap_or_default().into())
}

pub(super) fn sort_by_label(args: &[Value]) -> Outcome {
    let name = text(args, 0);
    let mut sorted = samples(args, 1).to_vec();
    sorted
        .sort_by(|one, other| one.labels.get(name).unwrap_or_default().cmp(other.labels.get(name).unwrap_or_default()));
    Ok(Value::Samples(sorted.into()))
}

/// `args 1 2` has the entries `arg0` and `arg1`.
pub(super) fn args(args: &[Value]) -> Outcome {
    let entries = args.iter().enumerate().map(|(nth, value)| (format!("arg{nth}"), value.clone()));
    Ok(Value::Arguments(Arc::new(entries.collect())))
}

/// All matches of the first replaced by the second in the third.
pub(super) fn replace_all(args: &[Value]) -> Outcome {
    let regex = search_regex(text(args, 0)).map_err(|fault| fault.to_string())?;
    Ok(replace_matches(&regex, text(args, 1), text(args, 2)).into())
}

pub(super) fn is_match(args: &[Value]) -> Outcome {
    let regex = search_regex(text(args, 0)).map_err(|fault| fault.to_string())?;
    Ok(Value::Bool(regex.is_match(text(args, 1))))
}

pub(super) fn safe_html(args: &[Value]) -> Outcome {
    Ok(Value::Html(text(args, 0).into()))
}

/// The first letter of each word in upper case, the others as they are. An apostrophe, a dot or a colon between letters parts no
/// words.
pub(super) fn title(args: &[Value]) -> Outcome {
    let all: Vec<char> = text(args, 0).chars().collect();
    let is_letter = |at: usize| all.get(at).is_some_and(|c| c.is_alphanumeric() || *c == '_');
    let mut out = String::new();
    let mut is_inside = false;
    for (at, c) in all.iter().copied().enumerate() {
        let is_mid = matches!(c, '\'' | '.' | ':' | '’' | '·') && is_letter(at + 1);
        if c.is_alphabetic() && !is_inside {
            out.extend(c.to_uppercase());
            is_inside = true;
        } else {
            out.push(c);
            is_inside = is_inside && (is_letter(at) || is_mid);
        }
    }
    Ok(out.into())
}

/// Letter by letter, as Go does it: one whose other case is several letters stays.
fn mapped(text: &str, case: impl Fn(char) -> Option<char>) -> Value {
    text.chars().map(|c| case(c).unwrap_or(c)).collect::<String>().into()
}

fn single(mut letters: impl ExactSizeIterator<Item = char>) -> Option<char> {
    if letters.len() == 1 { letters.next() } else { None }
}

pub(super) fn to_upper(args: &[Value]) -> Outcome {
    Ok(mapped(text(args, 0), |c| single(c.to_uppercase())))
}

pub(super) fn to_lower(args: &[Value]) -> Outcome {
    Ok(mapped(text(args, 0), |c| single(c.to_lowercase())))
}

fn link(expression: &str, tab: u8) -> String {
    format!("/graph?g0.expr={}&g0.tab={tab}", query_escaped(expression))
}

pub(super) fn graph_link(args: &[Value]) -> Outcome {
    Ok(link(text(args, 0), 0).into())
}

pub(super) fn table_link(args: &[Value]) -> Outcome {
    Ok(expression_link(text(args, 0)).into())
}

/// Path and query of the page that shows an expression as a table; alerts say by it where they come from.
pub(crate) fn expression_link(expression: &str) -> String {
    link(expression, 1)
}

/// `host:port` and `[host]:port` in two; `None` where that is not what it is.
fn split_host_port(address: &str) -> Option<(&str, &str)> {
    let (host, port) = address.rsplit_once(':')?;
    match host.strip_prefix('[').map(|inner| inner.strip_suffix(']')) {
        Some(inner) => Some((inner.filter(|inner| !inner.contains(['[', ']']))?, port)),
        None => Some((host, port)).filter(|_| !host.contains([':', '[', ']'])),
    }
    .filter(|_| !port.contains(['[', ']']))
}

pub(super) fn strip_port(args: &[Value]) -> Outcome {
    let address = text(args, 0);
    Ok(split_host_port(address).map_or(address, |(host, _)| host).into())
}

/// The first part of a host's name, with the port; an address of numbers as it is.
pub(super) fn strip_domain(args: &[Value]) -> Outcome {
    let address = text(args, 0);
    let (host, port) = split_host_port(address).unwrap_or((address, ""));
    if host.parse::<IpAddr>().is_ok() {
        return Ok(address.into());
    }
    let name = host.split('.').next().unwrap_or_default();
    Ok(if port.is_empty() { name.into() } else { format!("{name}:{port}").into() })
}

/// A duration in seconds.
pub(super) fn parse_seconds(args: &[Value]) -> Outcome {
    let written = text(args, 0);
    let quoted = super::literal::quote(written);
    match parse_duration(written) {
        Ok(duration) => Ok(Value::Float(duration.as_secs_f64())),
        Err(_) if written.is_empty() => Err("empty duration string".to_owned()),
        Err(_) => Err(format!("not a valid duration string: {quoted}")),
    }
}

pub(super) fn humanize(args: &[Value]) -> Outcome {
    Ok(human::humanize(number(&args[0])?).into())
}

pub(super) fn humanize_1024(args: &[Value]) -> Outcome {
    Ok(human::humanize_1024(number(&args[0])?).into())
}

pub(super) fn humanize_duration(args: &[Value]) -> Outcome {
    Ok(human::humanize_duration(number(&args[0])?).into())
}

pub(super) fn humanize_percentage(args: &[Value]) -> Outcome {
    Ok(human::humanize_percentage(number(&args[0])?).into())
}

pub(super) fn humanize_timestamp(args: &[Value]) -> Outcome {
    Ok(human::humanize_timestamp(number(&args[0])?)?.into())
}

pub(super) fn to_time(args: &[Value]) -> Outcome {
    let seconds = number(&args[0])?;
    if !seconds.is_finite() {
        return Err("value is NaN or Inf".to_owned());
    }
    Time::of_seconds(seconds).map(Value::Time)
}
