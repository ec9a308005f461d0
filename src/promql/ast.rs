//! An expression as it is evaluated: typed, checked, every node with its place in the source.
//!
//! Invariant: a tree that exists is well typed (arguments are of the types that functions and operators take, a subquery
//! stands over an instant vector), its experimental functions were allowed, and its durations are whole milliseconds.

use std::fmt;
use std::sync::Arc;

use super::function::Function;
use super::stack::with_room;
use crate::model::{Matcher, Timestamp};

/// Bytes of the source, end exclusive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// Behind the last byte.
    pub end: u32,
}

/// One node.
#[derive(PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where it stands.
    pub span: Span,
}

/// As it would be derived, but with room for deep trees.
impl Clone for Expr {
    fn clone(&self) -> Expr {
        with_room(|| Expr { kind: self.kind.clone(), span: self.span })
    }
}

/// As it would be derived, but with room for deep trees.
impl fmt::Debug for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        with_room(|| f.debug_struct("Expr").field("kind", &self.kind).field("span", &self.span).finish())
    }
}

/// The kinds of nodes.
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// A number.
    Number(f64),
    /// A duration where a number stands: its seconds.
    Duration(f64),
    /// A string, unescaped.
    String(Arc<str>),
    /// `metric{label="value"} offset 5m @ 0`
    Vector(VectorSelector),
    /// `metric[5m]`
    Matrix(MatrixSelector),
    /// `expression[1h:1m]`
    Subquery(Box<Subquery>),
    /// `function(arguments)`
    Call(Call),
    /// `sum by (label) (expression)`
    Aggregation(Box<Aggregation>),
    /// `left + on (label) right`
    Binary(Box<Binary>),
    /// `-expression`
    Negation(Box<Expr>),
    /// `+expression`: the expression, but no selector to those that look for one.
    Plus(Box<Expr>),
    /// `(expression)`
    Paren(Box<Expr>),
}

/// What a node evaluates to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueType {
    /// One number a step.
    Scalar,
    /// A string.
    String,
    /// Any number of series, one sample a step each.
    Vector,
    /// Any number of series, a range of samples a step each.
    Matrix,
}

/// Where a selector or a subquery looks, seen from the evaluation's time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shift {
    /// Milliseconds back, negative for forward.
    pub offset: i64,
    /// A fixed time in place of the evaluation's; the offset counts from it.
    pub at: Option<At>,
}

/// The `@` modifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// A time.
    Time(Timestamp),
    /// `start()`: the first step of the whole query.
    Start,
    /// `end()`: its last step.
    End,
}

/// Series by their labels.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorSelector {
    /// The metric's name stands before the braces; then it is the first matcher.
    pub named: bool,
    /// The metric's name is one of them, under [`METRIC_NAME`](crate::model::METRIC_NAME).
    pub matchers: Vec<Matcher>,
    /// Where it looks.
    pub shift: Shift,
}

/// A range of samples of each series.
#[derive(Clone, Debug, PartialEq)]
pub struct MatrixSelector {
    /// The series.
    pub selector: VectorSelector,
    /// Milliseconds, above zero; the window is open on the left.
    pub range: i64,
}

/// An expression evaluated again and again over a range.
#[derive(Clone, Debug, PartialEq)]
pub struct Subquery {
    /// What is evaluated.
    pub expr: Expr,
    /// Milliseconds, above zero; open on the left.
    pub range: i64,
    /// Milliseconds; without it the engine's default.
    pub step: Option<i64>,
    /// Where it looks.
    pub shift: Shift,
}

/// A function call.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Which function.
    pub function: Function,
    /// Its arguments as written; the optional ones may be missing.
    pub args: Vec<Expr>,
}

/// An aggregation.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregation {
    /// Which one.
    pub op: AggregateOp,
    /// What the groups are.
    pub grouping: Grouping,
    /// The first argument of `topk`, `quantile`, `count_values` and the like.
    pub param: Option<Expr>,
    /// What is aggregated.
    pub expr: Expr,
}

/// Which labels make a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Grouping {
    /// These alone. An aggregation without a clause is `by ()`.
    By(Arc<[Arc<str>]>),
    /// All but these and the metric's name.
    Without(Arc<[Arc<str>]>),
}

/// The aggregation operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the operator of that name")]
pub enum AggregateOp {
    Sum,
    Avg,
    Count,
    Min,
    Max,
    Group,
    Stddev,
    Stdvar,
    TopK,
    BottomK,
    CountValues,
    Quantile,
    LimitK,
    LimitRatio,
}

/// A binary operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Binary {
    /// Which one.
    pub op: BinaryOp,
    /// A comparison with `bool`: 0 or 1 in place of a filter.
    pub returns_bool: bool,
    /// Between two vectors: which rows meet.
    pub matching: Matching,
    /// Left of the operator.
    pub left: Expr,
    /// Right of it.
    pub right: Expr,
}

/// The binary operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the operator of that name")]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterOrEqual,
    LessOrEqual,
    And,
    Or,
    Unless,
}

/// How many rows of one side meet one of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cardinality {
    /// The default of arithmetic and comparisons.
    OneToOne,
    /// `group_left`
    ManyToOne,
    /// `group_right`
    OneToMany,
    /// Of set operators.
    ManyToMany,
}

/// Which rows of two vectors meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matching {
    /// How many of each side.
    pub cardinality: Cardinality,
    /// `on (…)` is [`Grouping::By`]; `ignoring (…)`, and no clause at all, is [`Grouping::Without`].
    pub labels: Grouping,
    /// Labels of the "one" side that go over to the "many" side's rows.
    pub include: Arc<[Arc<str>]>,
}

impl Expr {
    /// What it evaluates to.
    pub fn value_type(&self) -> ValueType {
        match &self.kind {
            ExprKind::Number(_) | ExprKind::Duration(_) => ValueType::Scalar,
            ExprKind::String(_) => ValueType::String,
            ExprKind::Vector(_) | ExprKind::Aggregation(_) => ValueType::Vector,
            ExprKind::Matrix(_) | ExprKind::Subquery(_) => ValueType::Matrix,
            ExprKind::Call(call) => call.function.signature().returns,
            ExprKind::Binary(binary) => match (binary.left.value_type(), binary.right.value_type()) {
                (ValueType::Scalar, ValueType::Scalar) => ValueType::Scalar,
                _ => ValueType::Vector,
            },
            ExprKind::Negation(inner) | ExprKind::Plus(inner) | ExprKind::Paren(inner) => inner.value_type(),
        }
    }
}

impl ValueType {
    /// What Prometheus's manual calls it.
    pub fn documented(self) -> &'static str {
        match self {
            ValueType::Scalar => "scalar",
            ValueType::String => "string",
            ValueType::Vector => "instant vector",
            ValueType::Matrix => "range vector",
        }
    }
}

impl AggregateOp {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            AggregateOp::Sum => "sum",
            AggregateOp::Avg => "avg",
            AggregateOp::Count => "count",
            AggregateOp::Min => "min",
            AggregateOp::Max => "max",
            AggregateOp::Group => "group",
            AggregateOp::Stddev => "stddev",
            AggregateOp::Stdvar => "stdvar",
            AggregateOp::TopK => "topk",
            AggregateOp::BottomK => "bottomk",
            AggregateOp::CountValues => "count_values",
            AggregateOp::Quantile => "quantile",
            AggregateOp::LimitK => "limitk",
            AggregateOp::LimitRatio => "limit_ratio",
        }
    }

    /// The type of the argument before the vector, for those that take one.
    pub fn param(self) -> Option<ValueType> {
        use AggregateOp::{BottomK, CountValues, LimitK, LimitRatio, Quantile, TopK};
        match self {
            TopK | BottomK | Quantile | LimitK | LimitRatio => Some(ValueType::Scalar),
            CountValues => Some(ValueType::String),
            _ => None,
        }
    }

    /// Behind Prometheus's feature flag `promql-experimental-functions`.
    pub fn is_experimental(self) -> bool {
        matches!(self, AggregateOp::LimitK | AggregateOp::LimitRatio)
    }
}

impl BinaryOp {
    /// As it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            BinaryOp::Add => "+",
            BinaryOp::Sub => "-",
            BinaryOp::Mul => "*",
            BinaryOp::Div => "/",
            BinaryOp::Mod => "%",
            BinaryOp::Pow => "^",
            BinaryOp::Atan2 => "atan2",
            BinaryOp::Equal => "==",
            BinaryOp::NotEqual => "!=",
            BinaryOp::Greater => ">",
            BinaryOp::Less => "<",
            BinaryOp::GreaterOrEqual => ">=",
            BinaryOp::LessOrEqual => "<=",
            BinaryOp::And => "and",
            BinaryOp::Or => "or",
            BinaryOp::Unless => "unless",
        }
    }

    /// `and`, `or`, `unless`
    pub fn is_set(self) -> bool {
        matches!(self, BinaryOp::And | BinaryOp::Or | BinaryOp::Unless)
    }

    /// `==` and its like, which filter or, with `bool`, say 0 or 1.
    pub fn is_comparison(self) -> bool {
        use BinaryOp::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
        matches!(self, Equal | NotEqual | Greater | Less | GreaterOrEqual | LessOrEqual)
    }

    /// It is written with letters, so it could be a label's name.
    pub fn is_word(self) -> bool {
        self.is_set() || self == BinaryOp::Atan2
    }
}

impl Default for Matching {
    /// One to one, by all labels but the metric's name.
    fn default() -> Matching {
        let (labels, include) = (Grouping::Without(Arc::new([])), Arc::new([]));
        Matching { cardinality: Cardinality::OneToOne, labels, include }
    }
}
