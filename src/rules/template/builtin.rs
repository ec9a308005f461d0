//! The functions that Go's templates have themselves.

use super::format::{shown, sprint, sprintf, sprintln};
use super::value::Value;
use std::cmp::Ordering;
use std::sync::Arc;

type Outcome = Result<Value, String>;

/// What two values can be compared as.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Basic {
    Bool,
    Int,
    Float,
    Text,
}

fn basic(value: &Value) -> Option<Basic> {
    match value {
        Value::Bool(_) => Some(Basic::Bool),
        Value::Int(_) | Value::Byte(_) => Some(Basic::Int),
        Value::Float(_) => Some(Basic::Float),
        Value::Text(_) | Value::Html(_) => Some(Basic::Text),
        _ => None,
    }
}

fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::Int(value) => Some(*value),
        Value::Byte(byte) => Some(i64::from(*byte)),
        _ => None,
    }
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::Text(text) | Value::Html(text) => Some(text),
        _ => None,
    }
}

fn incompatible<T>(one: &Value, other: &Value) -> Result<T, String> {
    Err(format!("incompatible types for comparison: {} and {}", one.type_name(), other.type_name()))
}

fn are_equal(one: &Value, other: &Value) -> Result<bool, String> {
    match (basic(one), basic(other)) {
        (Some(a), Some(b)) if a != b => incompatible(one, other),
        (Some(Basic::Int), _) => Ok(whole(one) == whole(other)),
        (Some(Basic::Text), _) => Ok(text(one) == text(other)),
        (Some(_), Some(_)) => Ok(one == other),
        _ if *one == Value::Nothing || *other == Value::Nothing => Ok(one == other),
        (Some(_), None) | (None, Some(_)) => incompatible(one, other),
        _ => match other {
            Value::Labels(_) | Value::Arguments(_) | Value::Samples(_) => {
                Err(format!("non-comparable type {}: {}", shown(other), other.type_name()))
            }
            _ => Ok(one == other),
        },
    }
}

/// Whether the first equals any of the others.
pub(super) fn eq(args: &[Value]) -> Outcome {
    let (first, others) = args.split_first().expect("one argument at least");
    if others.is_empty() {
        return Err("missing argument for comparison".to_owned());
    }
    for other in others {
        if are_equal(first, other)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

pub(super) fn ne(args: &[Value]) -> Outcome {
    Ok(Value::Bool(!are_equal(&args[0], &args[1])?))
}

/// `None` of NaN.
fn order(args: &[Value]) -> Result<Option<Ordering>, String> {
    let (one, other) = (&args[0], &args[1]);
    let (Some(a), Some(b)) = (basic(one), basic(other)) else {
        return Err("invalid type for comparison".to_owned());
    };
    match (a, one, other) {
        _ if a != b => incompatible(one, other),
        (Basic::Int, ..) => Ok(Some(whole(one).cmp(&whole(other)))),
        (Basic::Text, ..) => Ok(Some(text(one).cmp(&text(other)))),
        (_, Value::Float(one), Value::Float(other)) => Ok(one.partial_cmp(other)),
        _ => Err("invalid type for comparison".to_owned()),
    }
}

pub(super) fn lt(args: &[Value]) -> Outcome {
    Ok(Value::Bool(order(args)? == Some(Ordering::Less)))
}

pub(super) fn le(args: &[Value]) -> Outcome {
    Ok(Value::Bool(matches!(order(args)?, Some(Ordering::Less | Ordering::Equal))))
}

/// Go's is the opposite of `le`, so it holds for NaN.
pub(super) fn gt(args: &[Value]) -> Outcome {
    Ok(Value::Bool(!matches!(order(args)?, Some(Ordering::Less | Ordering::Equal))))
}

/// Go's is the opposite of `lt`, so it holds for NaN.
pub(super) fn ge(args: &[Value]) -> Outcome {
    Ok(Value::Bool(order(args)? != Some(Ordering::Less)))
}

pub(super) fn not(args: &[Value]) -> Outcome {
    Ok(Value::Bool(!args[0].is_true()))
}

pub(super) fn len(args: &[Value]) -> Outcome {
    let count = match &args[0] {
        Value::Text(text) | Value::Html(text) => text.len(),
        Value::Labels(labels) => labels.len(),
        Value::Arguments(entries) => entries.len(),
        Value::Samples(samples) => samples.len(),
        Value::Nothing => return Err("len of nil pointer".to_owned()),
        value => return Err(format!("len of type {}", value.type_name())),
    };
    Ok(Value::Int(count as i64))
}

/// `index x 1 "a"` is `x[1]["a"]`.
pub(super) fn index(args: &[Value]) -> Outcome {
    let (first, keys) = args.split_first().expect("one argument at least");
    if *first == Value::Nothing {
        return Err("index of untyped nil".to_owned());
    }
    keys.iter().try_fold(first.clone(), |value, key| element(&value, key))
}

fn element(value: &Value, key: &Value) -> Outcome {
    match value {
        Value::Labels(labels) => Ok(labels.get(entry_name(key)?).unwrap_or_default().into()),
        Value::Arguments(entries) => Ok(entries.get(entry_name(key)?).cloned().unwrap_or(Value::Nothing)),
        Value::Samples(samples) => Ok(Value::Sample(samples[place(key, samples.len(), "slice")?].clone())),
        Value::Text(text) | Value::Html(text) => Ok(Value::Byte(text.as_bytes()[place(key, text.len(), "string")?])),
        Value::Nothing => Err("index of nil pointer".to_owned()),
        value => Err(format!("can't index item of type {}", value.type_name())),
    }
}

fn entry_name(key: &Value) -> Result<&str, String> {
    match key {
        Value::Text(text) => Ok(text),
        Value::Nothing => Err("value is nil; should be of type string".to_owned()),
        key => Err(format!("value has type {}; should be string", key.type_name())),
    }
}

fn place(key: &Value, length: usize, kind: &str) -> Result<usize, String> {
    match bound(key, length)? {
        at if at == length => Err(format!("error calling index: reflect: {kind} index out of range")),
        at => Ok(at),
    }
}

/// An index from 0 to `length`.
fn bound(key: &Value, length: usize) -> Result<usize, String> {
    match whole(key) {
        Some(at) => {
            usize::try_from(at).ok().filter(|at| *at <= length).ok_or_else(|| format!("index out of range: {at}"))
        }
        None if *key == Value::Nothing => Err("cannot index slice/array with nil".to_owned()),
        None => Err(format!("cannot index slice/array with type {}", key.type_name())),
    }
}

/// `slice x 1 2` is `x[1:2]`, of text by bytes.
pub(super) fn slice(args: &[Value]) -> Outcome {
    let (first, bounds) = args.split_first().expect("one argument at least");
    if bounds.len() > 3 {
        return Err(format!("too many slice indexes: {}", bounds.len()));
    }
    let length = match first {
        Value::Text(_) | Value::Html(_) if bounds.len() == 3 => {
            return Err("cannot 3-index slice a string".to_owned());
        }
        Value::Text(text) | Value::Html(text) => text.len(),
        Value::Samples(samples) => samples.len(),
        Value::Nothing => return Err("slice of untyped nil".to_owned()),
        value => return Err(format!("can't slice item of type {}", value.type_name())),
    };
    let from = bounds.first().map_or(Ok(0), |key| bound(key, length))?;
    let to = bounds.get(1).map_or(Ok(length), |key| bound(key, length))?;
    if from > to {
        return Err(format!("invalid slice index: {from} > {to}"));
    }
    Ok(match first {
        Value::Samples(samples) => Value::Samples(samples[from..to].into()),
        first => String::from_utf8_lossy(&text(first).unwrap_or_default().as_bytes()[from..to]).into_owned().into(),
    })
}

/// There are no functions among the values of alerts.
pub(super) fn call(args: &[Value]) -> Outcome {
    match &args[0] {
        Value::Nothing => Err("call of nil".to_owned()),
        value => Err(format!("non-function {} of type {}", shown(value), value.type_name())),
    }
}

pub(super) fn print(args: &[Value]) -> Outcome {
    Ok(sprint(args).into())
}

pub(super) fn println(args: &[Value]) -> Outcome {
    Ok(sprintln(args).into())
}

pub(super) fn printf(args: &[Value]) -> Outcome {
    Ok(sprintf(text(&args[0]).unwrap_or_default(), &args[1..]).into())
}

/// One text as it is, anything else as it would be printed.
fn joined(args: &[Value]) -> Arc<str> {
    match args {
        [Value::Text(text)] => text.clone(),
        args => {
            let args: Vec<Value> =
                args.iter().map(|arg| if *arg == Value::Nothing { shown(arg).into() } else { arg.clone() }).collect();
            sprint(&args).into()
        }
    }
}

pub(super) fn html(args: &[Value]) -> Outcome {
    let mut out = String::new();
    for c in joined(args).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '\0' => out.push(char::REPLACEMENT_CHARACTER),
            c => out.push(c),
        }
    }
    Ok(out.into())
}

pub(super) fn js(args: &[Value]) -> Outcome {
    let mut out = String::new();
    for c in joined(args).chars() {
        match c {
            '\\' | '\'' | '"' => out.extend(['\\', c]),
            '<' | '>' | '&' | '=' => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c if !super::literal::is_printable(c) => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    Ok(out.into())
}

pub(super) fn urlquery(args: &[Value]) -> Outcome {
    Ok(query_escaped(&joined(args)).into())
}

/// As Go's `QueryEscape`: all but letters, digits and `-_.~` as `%XX`, a space as `+`.
pub(super) fn query_escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
