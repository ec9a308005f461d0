//! A tree expanded to text.
//!
//! Invariant: an expansion ends. Every node evaluated takes one of [`STEPS_MAX`], templates call each other at most
//! [`DEPTH_MAX`] deep, and neither the output nor any text made on the way gets longer than [`TEXT_BYTES_MAX`]; what goes beyond
//! is a fault like others. A fault names the node by its place and its text, as Go's does.

use std::collections::BTreeMap;
use std::fmt;

use super::format::shown;
use super::functions::{Function, Param};
use super::literal::quote;
use super::node::{Branch, Command, Operand, OperandKind, Pipe, Statement, TemplateCall};
use super::parse::ROOT;
use super::prometheus::Host;
use super::time::Method;
use super::value::{Field, Value};

/// Nodes that one expansion may evaluate.
const STEPS_MAX: u32 = 200_000;
/// How deep templates may call each other.
const DEPTH_MAX: u32 = 50;
/// Longest output, and longest text on the way.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// The state of one expansion.
pub(super) struct Run<'a> {
    pub(super) name: &'a str,
    pub(super) source: &'a str,
    pub(super) defined: &'a BTreeMap<String, Vec<Statement>>,
    pub(super) host: Host<'a>,
    out: String,
    /// Innermost last.
    variables: Vec<(&'a str, Value)>,
    /// The node that is evaluated, for faults.
    here: Option<(usize, &'a dyn fmt::Display)>,
    /// Which template of several is expanded.
    current: &'a str,
    steps: u32,
    depth: u32,
}

/// How a list of statements ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

/// What is called, and where it stands.
struct Callee<'a> {
    name: &'a str,
    params: &'static [Param],
    rest: Option<Param>,
    at: usize,
    node: &'a dyn fmt::Display,
}

type Outcome = Result<Value, String>;

/// Expands `body` with `root` as its scope; the error is Go's whole message.
pub(super) fn expand<'a>(
    name: &'a str,
    source: &'a str,
    body: &'a [Statement],
    defined: &'a BTreeMap<String, Vec<Statement>>,
    host: Host<'a>,
    root: Value,
) -> Result<String, String> {
    let mut run = Run {
        name,
        source,
        defined,
        host,
        out: String::new(),
        variables: vec![(ROOT, root.clone())],
        here: None,
        current: name,
        steps: 0,
        depth: 0,
    };
    run.list(&root, body)?;
    Ok(run.out)
}

impl<'a> Run<'a> {
    fn at(&mut self, at: usize, node: &'a dyn fmt::Display) {
        self.here = Some((at, node));
    }

    fn fault<T>(&self, text: impl fmt::Display) -> Result<T, String> {
        let Some((at, node)) = self.here else {
            return Err(format!("template: {}: {text}", self.current));
        };
        let before = &self.source[..at];
        let column = before.rfind('\n').map_or(at, |newline| at - newline - 1);
        let line = 1 + before.matches('\n').count();
        let current = quote(self.current);
        Err(format!("template: {}:{line}:{column}: executing {current} at <{node}>: {text}", self.name))
    }

    fn step(&mut self) -> Result<(), String> {
        self.steps += 1;
        if self.steps > STEPS_MAX { self.fault(format!("more than {STEPS_MAX} steps")) } else { Ok(()) }
    }

    fn write(&mut self, text: &str) -> Result<(), String> {
        if self.out.len() + text.len() > TEXT_BYTES_MAX {
            return self.fault(format!("output exceeds {TEXT_BYTES_MAX} bytes"));
        }
        self.out.push_str(text);
        Ok(())
    }

    fn list(&mut self, dot: &Value, body: &'a [Statement]) -> Result<Flow, String> {
        for statement in body {
            self.step()?;
            let flow = self.statement(dot, statement)?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn statement(&mut self, dot: &Value, statement: &'a Statement) -> Result<Flow, String> {
        match statement {
            Statement::Text(text) => self.write(text)?,
            Statement::Action(pipe) => {
                let value = self.pipeline(dot, pipe)?;
                if pipe.variables.is_empty() {
                    self.write(&shown(&value))?;
                }
            }
            Statement::If(branch) => return self.condition(dot, branch, false),
            Statement::With(branch) => return self.condition(dot, branch, true),
            Statement::Range(branch) => return self.range(dot, branch),
            Statement::Template(call) => self.template(dot, call)?,
            Statement::Break => return Ok(Flow::Break),
            Statement::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn condition(&mut self, dot: &Value, branch: &'a Branch, is_with: bool) -> Result<Flow, String> {
        let mark = self.variables.len();
        let value = self.pipeline(dot, &branch.pipe)?;
        let flow = match (value.is_true(), is_with) {
            (true, true) => self.list(&value, &branch.body),
            (true, false) => self.list(dot, &branch.body),
            (false, _) => self.list(dot, &branch.otherwise),
        };
        self.variables.truncate(mark);
        flow
    }

    fn range(&mut self, dot: &Value, branch: &'a Branch) -> Result<Flow, String> {
        let mark = self.variables.len();
        let value = self.pipeline(dot, &branch.pipe)?;
        let elements = self.elements(&value, branch)?;
        if elements.is_empty() {
            let flow = self.list(dot, &branch.otherwise);
            self.variables.truncate(mark);
            return flow;
        }
        let inner = self.variables.len();
        for (index, element) in elements {
            self.set_loop_variables(&branch.pipe, index, &element)?;
            let flow = self.list(&element, &branch.body)?;
            self.variables.truncate(inner);
            if flow == Flow::Break {
                break;
            }
        }
        self.variables.truncate(mark);
        Ok(Flow::Next)
    }

    /// What is gone through, with the index or key of each.
    fn elements(&mut self, value: &Value, branch: &'a Branch) -> Result<Vec<(Value, Value)>, String> {
        Ok(match value {
            Value::Nothing => Vec::new(),
            Value::Labels(labels) => labels.iter().map(|(name, value)| (name.into(), value.into())).collect(),
            Value::Arguments(all) => all.iter().map(|(name, value)| (name.as_str().into(), value.clone())).collect(),
            Value::Samples(samples) => samples
                .iter()
                .enumerate()
                .map(|(nth, one)| (Value::Int(nth as i64), Value::Sample(one.clone())))
                .collect(),
            Value::Int(_) if branch.pipe.variables.len() > 1 => {
                return self.fault(format!("can't use {} to iterate over more than one variable", shown(value)));
            }
            Value::Int(count) if *count > i64::from(STEPS_MAX) => {
                return self.fault(format!("more than {STEPS_MAX} steps"));
            }
            Value::Int(count) => (0..*count).map(|nth| (Value::Int(nth), Value::Int(nth))).collect(),
            value => {
                self.at(branch.at, &branch.pipe);
                return self.fault(format!("range can't iterate over {}", shown(value)));
            }
        })
    }

    fn set_loop_variables(&mut self, pipe: &'a Pipe, index: Value, element: &Value) -> Result<(), String> {
        let values = match pipe.variables.len() {
            2 => vec![index, element.clone()],
            _ => vec![element.clone()],
        };
        let first = self.variables.len().saturating_sub(pipe.variables.len());
        for (nth, (name, value)) in pipe.variables.iter().zip(values).enumerate() {
            if pipe.is_assignment {
                self.assign(name, value)?;
            } else {
                self.variables[first + nth].1 = value;
            }
        }
        Ok(())
    }

    fn assign(&mut self, name: &str, value: Value) -> Result<(), String> {
        match self.variables.iter_mut().rev().find(|(own, _)| *own == name) {
            Some((_, own)) => *own = value,
            None => return self.fault(format!("undefined variable: {name}")),
        }
        Ok(())
    }

    fn template(&mut self, dot: &Value, call: &'a TemplateCall) -> Result<(), String> {
        self.at(call.at, call);
        let Some(body) = self.defined.get(&call.name) else {
            return self.fault(format!("template {} not defined", quote(&call.name)));
        };
        if self.depth == DEPTH_MAX {
            return self.fault(format!("exceeded maximum template depth ({DEPTH_MAX})"));
        }
        let dot = match &call.argument {
            Some(pipe) => self.pipeline(dot, pipe)?,
            None => Value::Nothing,
        };
        let outer = std::mem::replace(&mut self.variables, vec![(ROOT, dot.clone())]);
        let current = std::mem::replace(&mut self.current, &call.name);
        self.depth += 1;
        self.list(&dot, body)?;
        self.depth -= 1;
        self.current = current;
        self.variables = outer;
        Ok(())
    }

    fn pipeline(&mut self, dot: &Value, pipe: &'a Pipe) -> Outcome {
        self.step()?;
        self.at(pipe.at, pipe);
        let mut last = None;
        for command in &pipe.commands {
            last = Some(self.command(dot, command, last)?);
        }
        let value = last.unwrap_or(Value::Nothing);
        for name in &pipe.variables {
            if pipe.is_assignment {
                self.assign(name, value.clone())?;
            } else {
                self.variables.push((name, value.clone()));
            }
        }
        Ok(value)
    }

    fn command(&mut self, dot: &Value, command: &'a Command, last: Option<Value>) -> Outcome {
        let (first, args) = command.operands.split_first().expect("a command has operands");
        match &first.kind {
            OperandKind::Field(_) | OperandKind::Chain(..) | OperandKind::Variable(..) => {
                self.chain(dot, first, args, last)
            }
            OperandKind::Identifier(name) => {
                self.at(first.at, first);
                self.function(dot, name, (command.at, command), args, last)
            }
            OperandKind::Pipe(pipe) => {
                self.no_arguments(first, args, last.as_ref())?;
                self.pipeline(dot, pipe)
            }
            OperandKind::Dot | OperandKind::Nil | OperandKind::Constant(..) => {
                self.at(first.at, first);
                self.no_arguments(first, args, last.as_ref())?;
                match &first.kind {
                    OperandKind::Dot => Ok(dot.clone()),
                    OperandKind::Constant(value, _) => Ok(value.clone()),
                    _ => self.fault("nil is not a command"),
                }
            }
        }
    }

    fn no_arguments(&self, first: &Operand, args: &[Operand], last: Option<&Value>) -> Result<(), String> {
        if args.is_empty() && last.is_none() {
            return Ok(());
        }
        self.fault(format!("can't give argument to non-function {first}"))
    }

    /// `.a.b`, `$x.a`, `(…).a`: a value and the fields that are taken of it; the last may be a method and take arguments.
    fn chain(&mut self, dot: &Value, operand: &'a Operand, args: &'a [Operand], last: Option<Value>) -> Outcome {
        self.step()?;
        self.at(operand.at, operand);
        let (base, fields) = match &operand.kind {
            OperandKind::Field(fields) => (dot.clone(), fields),
            OperandKind::Variable(name, fields) => (self.variable(name)?, fields),
            OperandKind::Chain(base, fields) => {
                if matches!(base.kind, OperandKind::Nil) {
                    return self.fault(format!("indirection through explicit nil in {operand}"));
                }
                (self.argument(dot, Param::Any, base)?, fields)
            }
            _ => unreachable!("called for these three kinds alone"),
        };
        let Some((final_field, inner)) = fields.split_last() else {
            self.no_arguments(operand, args, last.as_ref())?;
            return Ok(base);
        };
        let mut receiver = Field { value: base, is_interface: false };
        for name in inner {
            receiver = self.field(dot, &receiver, name, operand, &[], None)?;
        }
        Ok(self.field(dot, &receiver, final_field, operand, args, last)?.value)
    }

    fn variable(&self, name: &str) -> Outcome {
        match self.variables.iter().rev().find(|(own, _)| *own == name) {
            Some((_, value)) => Ok(value.clone()),
            None => self.fault(format!("undefined variable: {name}")),
        }
    }

    fn field(
        &mut self,
        dot: &Value,
        receiver: &Field,
        name: &'a str,
        operand: &'a Operand,
        args: &'a [Operand],
        last: Option<Value>,
    ) -> Result<Field, String> {
        if let Value::Time(time) = receiver.value
            && let Some(method) = time.method(name)
        {
            let params: &[Param] = if matches!(method, Method::Format) { &[Param::Text] } else { &[] };
            let callee = Callee { name, params, rest: None, at: operand.at, node: operand };
            let args = self.arguments(dot, &callee, args, last)?;
            let value = match (method, args.first()) {
                (Method::Plain(call), _) => call(time),
                (Method::Format, Some(Value::Text(layout))) => time.formatted(layout),
                (Method::Format, _) => time.formatted(""),
            };
            return Ok(Field { value, is_interface: false });
        }
        if receiver.is_interface && receiver.value == Value::Nothing {
            return self.fault(format!("nil pointer evaluating interface {{}}.{name}"));
        }
        let type_name = if receiver.is_interface { "interface {}" } else { receiver.value.type_name() };
        let Some(field) = receiver.value.field(name) else {
            return self.fault(format!("can't evaluate field {name} in type {type_name}"));
        };
        if receiver.value != Value::Nothing && (!args.is_empty() || last.is_some()) {
            let is_entry = matches!(receiver.value, Value::Labels(_) | Value::Arguments(_));
            let fault = if is_entry {
                "is not a method but has arguments"
            } else {
                "has arguments but cannot be invoked as function"
            };
            return self.fault(format!("{name} {fault}"));
        }
        Ok(field)
    }

    fn function(
        &mut self,
        dot: &Value,
        name: &'a str,
        place: (usize, &'a dyn fmt::Display),
        args: &'a [Operand],
        last: Option<Value>,
    ) -> Outcome {
        self.step()?;
        let Some(function) = Function::by_name(name) else {
            return self.fault(format!("{} is not a defined function", quote(name)));
        };
        let callee = Callee { name, params: function.params, rest: function.rest, at: place.0, node: place.1 };
        if let Some(decided_by) = function.decided_by() {
            return self.short_circuit(dot, decided_by, &callee, args, last);
        }
        let args = self.arguments(dot, &callee, args, last)?;
        match function.call(&args, &self.host) {
            Ok(Value::Text(text)) if text.len() > TEXT_BYTES_MAX => {
                self.fault(format!("text exceeds {TEXT_BYTES_MAX} bytes"))
            }
            Ok(value) => Ok(value),
            Err(fault) => {
                self.at(callee.at, callee.node);
                self.fault(format!("error calling {name}: {fault}"))
            }
        }
    }

    fn short_circuit(
        &mut self,
        dot: &Value,
        decided_by: bool,
        callee: &Callee<'a>,
        args: &'a [Operand],
        last: Option<Value>,
    ) -> Outcome {
        self.check_count(callee, args.len(), last.is_some())?;
        let mut value = Value::Nothing;
        for arg in args {
            value = self.argument(dot, Param::Any, arg)?;
            if value.is_true() == decided_by {
                return Ok(value);
            }
        }
        Ok(last.unwrap_or(value))
    }

    fn check_count(&self, callee: &Callee<'_>, written: usize, has_last: bool) -> Result<(), String> {
        let (name, wanted, given) = (callee.name, callee.params.len(), written + usize::from(has_last));
        match callee.rest {
            Some(_) if given < wanted => {
                self.fault(format!("wrong number of args for {name}: want at least {wanted} got {written}"))
            }
            None if given != wanted => {
                self.fault(format!("wrong number of args for {name}: want {wanted} got {given}"))
            }
            _ => Ok(()),
        }
    }

    fn arguments(
        &mut self,
        dot: &Value,
        callee: &Callee<'a>,
        args: &'a [Operand],
        last: Option<Value>,
    ) -> Result<Vec<Value>, String> {
        self.check_count(callee, args.len(), last.is_some())?;
        let param = |at: usize| callee.params.get(at).copied().or(callee.rest).unwrap_or(Param::Any);
        let mut values = Vec::with_capacity(args.len() + 1);
        for (at, arg) in args.iter().enumerate() {
            values.push(self.argument(dot, param(at), arg)?);
        }
        if let Some(last) = last {
            values.push(self.typed(last, param(args.len()))?);
        }
        Ok(values)
    }

    fn argument(&mut self, dot: &Value, param: Param, operand: &'a Operand) -> Outcome {
        self.at(operand.at, argument_node(operand));
        let value = match &operand.kind {
            OperandKind::Dot => dot.clone(),
            OperandKind::Nil if param == Param::Text => return self.fault("cannot assign nil to string"),
            OperandKind::Nil => Value::Nothing,
            OperandKind::Field(_) | OperandKind::Chain(..) | OperandKind::Variable(..) => {
                self.chain(dot, operand, &[], None)?
            }
            OperandKind::Pipe(pipe) => self.pipeline(dot, pipe)?,
            OperandKind::Identifier(name) => self.function(dot, name, (operand.at, operand), &[], None)?,
            OperandKind::Constant(value, text) => match (param, value) {
                (Param::Any, _) | (Param::Text, Value::Text(_)) => value.clone(),
                (Param::Text, _) => return self.fault(format!("expected string; found {text}")),
                _ => return self.fault(format!("can't handle {text} for arg of type {}", param.type_name())),
            },
        };
        self.typed(value, param)
    }

    fn typed(&self, value: Value, param: Param) -> Outcome {
        match (param, &value) {
            (Param::Any, _)
            | (Param::Text, Value::Text(_))
            | (Param::Samples, Value::Samples(_))
            | (Param::Sample, Value::Sample(_))
            | (Param::Samples | Param::Sample, Value::Nothing) => Ok(value),
            (_, Value::Nothing) => self.fault(format!("invalid value; expected {}", param.type_name())),
            _ => {
                let (expected, got) = (param.type_name(), value.type_name());
                self.fault(format!("wrong type for value; expected {expected}; got {got}"))
            }
        }
    }
}

/// An argument in parentheses is written without them where it is the node at fault.
fn argument_node(operand: &Operand) -> &dyn fmt::Display {
    match &operand.kind {
        OperandKind::Pipe(pipe) => pipe,
        _ => operand,
    }
}
