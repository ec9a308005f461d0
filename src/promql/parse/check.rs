//! Types and counts of arguments, with Prometheus's words for what does not fit.
//!
//! The parser checks them too, but says neither where nor for all functions of 3.5; so these decide.

use super::quote::quote;
use super::{ParseError, ParseOptions, refused};
use crate::promql::ast::{AggregateOp, BinaryOp, Cardinality, Grouping, Span, ValueType, VectorSelector};
use crate::promql::function::{Arity, Function};

use super::cursor::Modifiers;

/// What is known of an expression that stands in another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Typed {
    pub(super) value_type: ValueType,
    pub(super) span: Span,
}

type Checked = Result<(), ParseError>;

/// The function of a name, if it may be used.
pub(super) fn function(name: &str, span: Span, options: ParseOptions) -> Result<Function, ParseError> {
    let function = Function::by_name(name);
    let function = function.ok_or_else(|| refused(span, format!("unknown function with name {}", quote(name))))?;
    if function.signature().is_experimental && !options.experimental {
        return Err(refused(span, format!("function {} is not enabled", quote(name))));
    }
    Ok(function)
}

/// The arguments of a call.
pub(super) fn call(function: Function, args: &[Typed], span: Span) -> Checked {
    let (signature, name) = (function.signature(), quote(function.name()));
    let (types, count) = (signature.args, args.len());
    let (least, most) = match signature.arity {
        Arity::Exact if types.len() != count => {
            let text = format!("expected {} argument(s) in call to {name}, got {count}", types.len());
            return Err(refused(span, text));
        }
        Arity::Exact => (count, count),
        Arity::LastOptional => (types.len() - 1, types.len()),
        Arity::LastRepeated => (types.len() - 1, usize::MAX),
    };
    if count < least {
        return Err(refused(span, format!("expected at least {least} argument(s) in call to {name}, got {count}")));
    }
    if count > most {
        return Err(refused(span, format!("expected at most {most} argument(s) in call to {name}, got {count}")));
    }
    let context = format!("call to function {name}");
    args.iter().enumerate().try_for_each(|(nth, arg)| expect(types[nth.min(types.len() - 1)], *arg, &context))
}

fn expect(wanted: ValueType, found: Typed, context: &str) -> Checked {
    if found.value_type == wanted {
        return Ok(());
    }
    let (wanted, got) = (wanted.documented(), found.value_type.documented());
    Err(refused(found.span, format!("expected type {wanted} in {context}, got {got}")))
}

/// How many arguments an aggregation has, and whether it may be used.
pub(super) fn aggregation_arity(op: AggregateOp, args: usize, span: Span, options: ParseOptions) -> Checked {
    if args == 0 {
        return Err(refused(span, "no arguments for aggregate expression provided"));
    }
    if op.is_experimental() && !options.experimental {
        const FLAG: &str = "must be enabled with --enable-feature=promql-experimental-functions";
        return Err(refused(span, format!("{}() is experimental and {FLAG}", op.name())));
    }
    let expected = 1 + usize::from(op.param().is_some());
    if args != expected {
        let text = "wrong number of arguments for aggregate expression provided";
        return Err(refused(span, format!("{text}, expected {expected}, got {args}")));
    }
    Ok(())
}

/// The types of an aggregation's arguments, whose number is right.
pub(super) fn aggregation(op: AggregateOp, args: &[Typed]) -> Checked {
    if let Some(vector) = args.last() {
        expect(ValueType::Vector, *vector, "aggregation expression")?;
    }
    op.param().map_or(Ok(()), |wanted| expect(wanted, args[0], "aggregation parameter"))
}

/// An operator between two sides; `place` is the operator's own, `span` that of the whole.
pub(super) fn binary(op: BinaryOp, place: Span, with: &Modifiers, sides: [Typed; 2], span: Span) -> Checked {
    let types = sides.map(|side| side.value_type);
    let are_vectors = types == [ValueType::Vector; 2];
    if with.returns_bool && !op.is_comparison() {
        return Err(refused(place, "bool modifier can only be used on comparison operators"));
    }
    if op.is_comparison() && !with.returns_bool && types == [ValueType::Scalar; 2] {
        return Err(refused(place, "comparisons between scalars must use BOOL modifier"));
    }
    overlap(with, place)?;
    if let Some(side) = sides.iter().find(|side| !matches!(side.value_type, ValueType::Scalar | ValueType::Vector)) {
        return Err(refused(side.span, "binary expression must contain only scalar and instant vector types"));
    }
    let (Grouping::By(labels) | Grouping::Without(labels)) = &with.matching.labels;
    if !are_vectors && !labels.is_empty() {
        return Err(refused(span, "vector matching only allowed between instant vectors"));
    }
    if are_vectors && op.is_set() && with.matching.cardinality != Cardinality::ManyToMany {
        return Err(refused(span, format!("no grouping allowed for {} operation", quote(op.symbol()))));
    }
    if !are_vectors && op.is_set() {
        let text = format!("set operator {} not allowed in binary scalar expression", quote(op.symbol()));
        return Err(refused(span, text));
    }
    Ok(())
}

/// No label may stand in `on` and in `group_…`: every row of the result must be told apart.
fn overlap(with: &Modifiers, place: Span) -> Checked {
    let Grouping::By(on) = &with.matching.labels else { return Ok(()) };
    match on.iter().find(|label| with.matching.include.contains(label)) {
        None => Ok(()),
        Some(label) => {
            let text = format!("label {} must not occur in ON and GROUP clause at once", quote(label));
            Err(refused(place, text))
        }
    }
}

/// What a sign stands before.
pub(super) fn sign(inner: Typed, span: Span) -> Checked {
    if matches!(inner.value_type, ValueType::Scalar | ValueType::Vector) {
        return Ok(());
    }
    let got = quote(inner.value_type.documented());
    let text = "unary expression only allowed on expressions of type scalar or instant vector";
    Err(refused(span, format!("{text}, got {got}")))
}

/// What a subquery evaluates.
pub(super) fn subquery(inner: Typed, span: Span) -> Checked {
    let got = match inner.value_type {
        ValueType::Vector => return Ok(()),
        ValueType::Matrix => "matrix",
        other => other.documented(),
    };
    Err(refused(span, format!("subquery is only allowed on instant vector, got {got} instead")))
}

/// A selector must not select every series there is, for instance by a slip.
pub(super) fn selector(selector: &VectorSelector, span: Span) -> Checked {
    if let Some((name, others)) = selector.matchers.split_first().filter(|_| selector.named) {
        return match others.iter().find(|matcher| matcher.name == name.name) {
            None => Ok(()),
            Some(second) => {
                let (name, second) = (quote(&name.value), quote(&second.value));
                Err(refused(span, format!("metric name must not be set twice: {name} or {second}")))
            }
        };
    }
    if selector.matchers.iter().all(|matcher| matcher.matches("")) {
        return Err(refused(span, "vector selector must contain at least one non-empty matcher"));
    }
    Ok(())
}

/// The second argument of `info`, which only has labels.
pub(super) fn info_selector(selector: Option<&VectorSelector>, span: Span) -> Checked {
    match selector {
        Some(VectorSelector { named: false, .. }) => Ok(()),
        _ => Err(refused(span, "expected label selectors only, got vector selector instead")),
    }
}
