//! An expression as text, in the one-line form in which Prometheus shows it: the expression's canonical spelling.
//!
//! What it writes is read back to the same tree.

use std::fmt::{self, Display, Formatter, Write as _};
use std::time::Duration;

use super::ast::{
    Aggregation, At, Binary, Call, Cardinality, Expr, ExprKind, Grouping, Matching, MatrixSelector, Shift, Subquery,
    VectorSelector,
};
use super::parse::quote;
use super::stack::with_room;
use crate::model::{METRIC_NAME, MatchOp, Matcher, format_duration, is_legacy_label_name, is_legacy_metric_name};

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        with_room(|| self.write(f))
    }
}

impl Expr {
    fn write(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Number(number) => f.write_str(&number_text(*number)),
            ExprKind::Duration(seconds) => f.write_str(&duration((seconds * NANOS) as i64 / NANOS_PER_MILLI)),
            ExprKind::String(text) => f.write_str(&quote(text)),
            ExprKind::Vector(selector) => {
                series(f, selector)?;
                shift(f, selector.shift)
            }
            ExprKind::Matrix(MatrixSelector { selector, range }) => {
                series(f, selector)?;
                write!(f, "[{}]", duration(*range))?;
                shift(f, selector.shift)
            }
            ExprKind::Subquery(subquery) => write!(f, "{}{}", subquery.expr, subquery_tail(subquery)),
            ExprKind::Call(Call { function, args }) => {
                write!(f, "{}(", function.name())?;
                args.iter().enumerate().try_for_each(|(nth, arg)| write!(f, "{}{arg}", separator(nth)))?;
                f.write_char(')')
            }
            ExprKind::Aggregation(aggregation) => {
                write!(f, "{}(", aggregation_head(aggregation))?;
                if let Some(param) = &aggregation.param {
                    write!(f, "{param}, ")?;
                }
                write!(f, "{})", aggregation.expr)
            }
            ExprKind::Binary(binary) => write!(f, "{} {} {}", binary.left, operator(binary), binary.right),
            ExprKind::Plus(inner) => write!(f, "+{inner}"),
            ExprKind::Negation(inner) => write!(f, "-{inner}"),
            ExprKind::Paren(inner) => write!(f, "({inner})"),
        }
    }
}

const NANOS: f64 = 1e9;
const NANOS_PER_MILLI: i64 = 1_000_000;

fn separator(nth: usize) -> &'static str {
    if nth == 0 { "" } else { ", " }
}

fn number_text(number: f64) -> String {
    match number {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        _ => number.to_string(),
    }
}

fn duration(millis: i64) -> String {
    let sign = if millis < 0 { "-" } else { "" };
    format!("{sign}{}", format_duration(Duration::from_millis(millis.unsigned_abs())))
}

/// The name before the braces, then the other matchers in the order of their text.
fn series(f: &mut Formatter<'_>, selector: &VectorSelector) -> fmt::Result {
    let name = selector.matchers.first().filter(|_| selector.named);
    f.write_str(name.map_or("", |matcher| &matcher.value))?;
    let says_name = |matcher: &&Matcher| {
        name.is_some_and(|name| {
            matcher.name == METRIC_NAME && matcher.op == MatchOp::Equal && matcher.value == name.value
        })
    };
    let mut written: Vec<String> =
        selector.matchers.iter().filter(|matcher| !says_name(matcher)).map(matcher_text).collect();
    written.sort_unstable();
    if written.is_empty() && name.is_some() { Ok(()) } else { write!(f, "{{{}}}", written.join(",")) }
}

fn matcher_text(matcher: &Matcher) -> String {
    let name = if is_legacy_label_name(&matcher.name) { matcher.name.clone() } else { quote(&matcher.name) };
    format!("{name}{}{}", matcher.op, quote(&matcher.value))
}

fn shift(f: &mut Formatter<'_>, shift: Shift) -> fmt::Result {
    match shift.at {
        None => {}
        Some(At::Start) => f.write_str(" @ start()")?,
        Some(At::End) => f.write_str(" @ end()")?,
        Some(At::Time(time)) => write!(f, " @ {:.3}", time.as_seconds())?,
    }
    if shift.offset == 0 { Ok(()) } else { write!(f, " offset {}", duration(shift.offset)) }
}

/// What stands behind a subquery's inside.
pub(super) fn subquery_tail(subquery: &Subquery) -> impl Display {
    fmt::from_fn(|f| {
        write!(f, "[{}:{}]", duration(subquery.range), subquery.step.map(duration).unwrap_or_default())?;
        shift(f, subquery.shift)
    })
}

/// What stands before an aggregation's arguments.
pub(super) fn aggregation_head(aggregation: &Aggregation) -> impl Display {
    fmt::from_fn(|f| {
        f.write_str(aggregation.op.name())?;
        match &aggregation.grouping {
            Grouping::By(labels) if labels.is_empty() => Ok(()),
            Grouping::By(labels) => write!(f, " by ({}) ", label_list(labels)),
            Grouping::Without(labels) => write!(f, " without ({}) ", label_list(labels)),
        }
    })
}

/// What stands between the two sides.
pub(super) fn operator(binary: &Binary) -> impl Display {
    fmt::from_fn(|f| {
        let with_bool = if binary.returns_bool { " bool" } else { "" };
        write!(f, "{}{with_bool}", binary.op.symbol())?;
        matching(f, &binary.matching)
    })
}

fn matching(f: &mut Formatter<'_>, matching: &Matching) -> fmt::Result {
    match &matching.labels {
        Grouping::By(labels) => write!(f, " on ({})", label_list(labels))?,
        Grouping::Without(labels) if labels.is_empty() => return ignoring_nothing(f, matching),
        Grouping::Without(labels) => write!(f, " ignoring ({})", label_list(labels))?,
    }
    group_side(f, matching)
}

/// Prometheus leaves out an empty `ignoring ()` and with it what stands behind; it would be another expression without.
fn ignoring_nothing(f: &mut Formatter<'_>, matching: &Matching) -> fmt::Result {
    if matches!(matching.cardinality, Cardinality::ManyToOne | Cardinality::OneToMany) {
        f.write_str(" ignoring ()")?;
    }
    group_side(f, matching)
}

fn group_side(f: &mut Formatter<'_>, matching: &Matching) -> fmt::Result {
    let side = match matching.cardinality {
        Cardinality::ManyToOne => "left",
        Cardinality::OneToMany => "right",
        Cardinality::OneToOne | Cardinality::ManyToMany => return Ok(()),
    };
    write!(f, " group_{side} ({})", label_list(&matching.include))
}

/// Of the words that the parser takes for something else in such a list; Prometheus writes them as they are, and could not
/// read them back.
const NO_LABELS: [&str; 3] = ["without", "inf", "nan"];

/// Names with a colon need no quotes here.
fn label_list<L: AsRef<str>>(labels: &[L]) -> String {
    let written = labels.iter().map(|label| {
        let label = label.as_ref();
        let is_word = NO_LABELS.iter().any(|word| word.eq_ignore_ascii_case(label));
        if is_legacy_metric_name(label) && !is_word { label.to_owned() } else { quote(label) }
    });
    written.collect::<Vec<_>>().join(", ")
}
