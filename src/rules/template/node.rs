//! A template as a tree, and how messages write its parts.
//!
//! Every node knows the byte of the source where Go's own tree would place it, because a fault while expanding is reported
//! by that place and by the node written back as text.

use std::fmt;

use super::literal::quote;
use super::value::Value;

/// What is written between actions, and the actions.
#[derive(Clone, Debug)]
pub(super) enum Statement {
    Text(String),
    Action(Pipe),
    If(Branch),
    With(Branch),
    Range(Branch),
    Template(TemplateCall),
    Break,
    Continue,
}

/// `{{if …}}…{{else}}…{{end}}` and its kin.
#[derive(Clone, Debug)]
pub(super) struct Branch {
    pub(super) at: usize,
    pub(super) pipe: Pipe,
    pub(super) body: Vec<Statement>,
    pub(super) otherwise: Vec<Statement>,
}

/// `{{template "name" pipe}}`
#[derive(Clone, Debug)]
pub(super) struct TemplateCall {
    pub(super) at: usize,
    pub(super) name: String,
    pub(super) argument: Option<Pipe>,
}

/// `$x := command | command`
#[derive(Clone, Debug)]
pub(super) struct Pipe {
    pub(super) at: usize,
    /// `=` and not `:=`.
    pub(super) is_assignment: bool,
    /// Names with their `$`.
    pub(super) variables: Vec<String>,
    pub(super) commands: Vec<Command>,
}

/// `function argument …`, or an operand alone.
#[derive(Clone, Debug)]
pub(super) struct Command {
    pub(super) at: usize,
    /// At least one.
    pub(super) operands: Vec<Operand>,
}

/// One word of a command.
#[derive(Clone, Debug)]
pub(super) struct Operand {
    pub(super) at: usize,
    pub(super) kind: OperandKind,
}

#[derive(Clone, Debug)]
pub(super) enum OperandKind {
    Dot,
    Nil,
    /// A constant and how it is written.
    Constant(Value, String),
    /// `.a.b`
    Field(Vec<String>),
    /// `$x.a.b`; the name has its `$`.
    Variable(String, Vec<String>),
    /// `(pipe).a.b`, `function.a`
    Chain(Box<Operand>, Vec<String>),
    Identifier(String),
    Pipe(Pipe),
}

fn write_fields(f: &mut fmt::Formatter<'_>, fields: &[String]) -> fmt::Result {
    fields.iter().try_for_each(|field| write!(f, ".{field}"))
}

fn write_list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, all: &[T], separator: &str) -> fmt::Result {
    all.iter().enumerate().try_for_each(|(nth, one)| write!(f, "{}{one}", if nth > 0 { separator } else { "" }))
}

impl fmt::Display for TemplateCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{{template {}", quote(&self.name))?;
        if let Some(argument) = &self.argument {
            write!(f, " {argument}")?;
        }
        f.write_str("}}")
    }
}

impl fmt::Display for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_list(f, &self.variables, ", ")?;
        if !self.variables.is_empty() {
            f.write_str(if self.is_assignment { " = " } else { " := " })?;
        }
        write_list(f, &self.commands, " | ")
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_list(f, &self.operands, " ")
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            OperandKind::Dot => f.write_str("."),
            OperandKind::Nil => f.write_str("nil"),
            OperandKind::Constant(_, text) | OperandKind::Identifier(text) => f.write_str(text),
            OperandKind::Field(fields) => write_fields(f, fields),
            OperandKind::Variable(name, fields) => {
                f.write_str(name)?;
                write_fields(f, fields)
            }
            OperandKind::Chain(base, fields) => {
                write!(f, "{base}")?;
                write_fields(f, fields)
            }
            OperandKind::Pipe(pipe) => write!(f, "({pipe})"),
        }
    }
}
