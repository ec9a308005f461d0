//! Expressions made up by chance: what is printed is read back as the same tree, and no source makes the parser panic or point
//! beyond it.

use std::sync::Arc;

use fedgate::model::{METRIC_NAME, MatchOp, Matcher, Timestamp};
use fedgate::promql::ast::{
    AggregateOp, Aggregation, At, Binary, BinaryOp, Call, Cardinality, Expr, ExprKind, Grouping, Matching,
    MatrixSelector, Shift, Span, Subquery, ValueType, VectorSelector,
};
use fedgate::promql::function::{Arity, Function};
use fedgate::promql::{ParseOptions, parse};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

const ALL: ParseOptions = ParseOptions { experimental: true };
const LEVELS: u32 = 4;
/// Forty days. Durations are seconds on their way, as in Prometheus, and beyond 2^22 of them a millisecond may get lost.
const DURATION_MAX: i64 = 40 * 86_400_000;

const AGGREGATIONS: [AggregateOp; 14] = {
    use AggregateOp::*;
    [Sum, Avg, Count, Min, Max, Group, Stddev, Stdvar, TopK, BottomK, CountValues, Quantile, LimitK, LimitRatio]
};
const OPERATORS: [BinaryOp; 16] = {
    use BinaryOp::*;
    [Add, Sub, Mul, Div, Mod, Pow, Atan2, Equal, NotEqual, Greater, Less, GreaterOrEqual, LessOrEqual, And, Or, Unless]
};
/// One of each signature.
const FUNCTIONS: [&str; 12] = [
    "abs",
    "rate",
    "time",
    "vector",
    "scalar",
    "round",
    "clamp",
    "label_replace",
    "label_join",
    "histogram_fraction",
    "quantile_over_time",
    "year",
];

fn node(kind: ExprKind) -> Expr {
    Expr { kind, span: Span::default() }
}

fn text() -> impl Strategy<Value = Arc<str>> {
    prop_oneof!["[a-z]{0,3}", "\\PC{0,6}", "[\\x00-\\x7f]{0,4}"].prop_map(Arc::from)
}

fn label() -> impl Strategy<Value = Arc<str>> {
    let words = ["job", "le", "by", "on", "or", "offset", "without", "a:b", "a.b", "inf", "\u{e9} \"", "start", "bool"];
    select(words.to_vec()).prop_map(Arc::from)
}

fn labels() -> impl Strategy<Value = Arc<[Arc<str>]>> {
    vec(label(), 0..3).prop_map(Arc::from)
}

fn matcher() -> impl Strategy<Value = Matcher> {
    let op = select(vec![MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex]);
    (label(), op, "[a-z.*\"\\n]{1,3}")
        .prop_filter_map("a pattern", |(name, op, value)| Matcher::new(&name, op, &value).ok())
}

fn shift() -> impl Strategy<Value = Shift> {
    let time = (-1_000_000_000_000_i64..2_000_000_000_000).prop_map(|time| Some(At::Time(Timestamp(time))));
    let at = prop_oneof![3 => Just(None), 1 => time, 1 => Just(Some(At::Start)), 1 => Just(Some(At::End))];
    let offset = prop_oneof![3 => Just(0), 2 => -DURATION_MAX..DURATION_MAX];
    (offset, at).prop_map(|(offset, at)| Shift { offset, at })
}

fn selector() -> impl Strategy<Value = VectorSelector> {
    let name = select(vec!["up", "a:b", "sum", "by", "fill", "step", "end", "and", "x_1"]);
    (any::<bool>(), name, vec(matcher(), 0..3), shift()).prop_map(|(named, name, mut others, shift)| {
        // Printing orders the matchers by their text; a name in the braces stands among them.
        let name = Matcher::new(METRIC_NAME, MatchOp::Equal, name).expect("no pattern");
        others.extend((!named).then(|| name.clone()));
        others.sort_by_key(printed);
        let matchers = named.then_some(name).into_iter().chain(others).collect();
        VectorSelector { named, matchers, shift }
    })
}

fn printed(matcher: &Matcher) -> String {
    let selector = VectorSelector { named: false, matchers: vec![matcher.clone()], shift: Shift::default() };
    node(ExprKind::Vector(selector)).to_string()
}

/// An expression of a type. Everything stands in parentheses, as precedence is none of this test's business.
fn expr(wanted: ValueType, levels: u32) -> BoxedStrategy<Expr> {
    match (wanted, levels) {
        (ValueType::String, _) => text().prop_map(|text| node(ExprKind::String(text))).boxed(),
        (ValueType::Matrix, 0) => (selector(), 1..DURATION_MAX)
            .prop_map(|(selector, range)| node(ExprKind::Matrix(MatrixSelector { selector, range })))
            .boxed(),
        (ValueType::Matrix, _) => prop_oneof![3 => expr(ValueType::Matrix, 0), 1 => subquery(levels - 1)].boxed(),
        (ValueType::Scalar, 0) => number().boxed(),
        (ValueType::Vector, 0) => selector().prop_map(|selector| node(ExprKind::Vector(selector))).boxed(),
        (_, _) => {
            let wrapped = composed(wanted, levels - 1).prop_map(|inner| node(ExprKind::Paren(Box::new(inner))));
            prop_oneof![1 => expr(wanted, 0), 3 => wrapped].boxed()
        }
    }
}

/// With a sign in parentheses: `-2 ^ 2` is the negation of a power.
fn number() -> impl Strategy<Value = Expr> {
    let number = prop_oneof![any::<f64>(), (-1000..1000_i64).prop_map(|whole| whole as f64)];
    number.prop_map(|number| {
        let number = if number.is_nan() { 0.5 } else { number };
        // The precision of durations is theirs; what is a whole number of seconds is kept.
        let is_duration = number > 0.0 && number < 1000.0 && number % 3.0 == 0.0;
        let own = node(if is_duration { ExprKind::Duration(number) } else { ExprKind::Number(number) });
        if number.is_sign_negative() { node(ExprKind::Paren(Box::new(own))) } else { own }
    })
}

fn subquery(levels: u32) -> impl Strategy<Value = Expr> {
    let step = proptest::option::of(1..1_000_000_i64);
    // In parentheses, as brackets behind a selector are its range.
    let inner = composed(ValueType::Vector, levels).prop_map(|inner| node(ExprKind::Paren(Box::new(inner))));
    (inner, 1..DURATION_MAX, step, shift()).prop_map(|(expr, range, step, shift)| {
        node(ExprKind::Subquery(Box::new(Subquery { expr, range, step, shift })))
    })
}

fn composed(wanted: ValueType, levels: u32) -> BoxedStrategy<Expr> {
    // A number with a sign would be a number.
    let negation = expr(wanted, levels)
        .prop_map(|inner| node(ExprKind::Negation(Box::new(node(ExprKind::Paren(Box::new(inner)))))));
    let plus =
        expr(wanted, levels).prop_map(|inner| node(ExprKind::Plus(Box::new(node(ExprKind::Paren(Box::new(inner)))))));
    let others = prop_oneof![2 => call(wanted, levels), 2 => binary(wanted, levels), 1 => negation, 1 => plus];
    match wanted {
        ValueType::Vector => prop_oneof![1 => aggregation(levels), 3 => others].boxed(),
        _ => others.boxed(),
    }
}

fn call(wanted: ValueType, levels: u32) -> BoxedStrategy<Expr> {
    let functions = FUNCTIONS.iter().filter_map(|name| Function::by_name(name));
    let functions: Vec<_> = functions.filter(|function| function.signature().returns == wanted).collect();
    let args = move |function: Function| {
        let signature = function.signature();
        let least = signature.args.len() - usize::from(signature.arity != Arity::Exact);
        let types = signature.args.iter().map(|wanted| expr(*wanted, levels)).collect::<Vec<_>>();
        (types, least..=signature.args.len()).prop_map(move |(mut args, count)| {
            args.truncate(count);
            node(ExprKind::Call(Call { function, args }))
        })
    };
    select(functions).prop_flat_map(args).boxed()
}

fn aggregation(levels: u32) -> BoxedStrategy<Expr> {
    let grouping = (any::<bool>(), labels())
        .prop_map(|(by, labels)| if by { Grouping::By(labels) } else { Grouping::Without(labels) });
    let of = move |(op, grouping): (AggregateOp, Grouping)| {
        let param = op.param().map(|wanted| expr(wanted, levels));
        let param = param.map_or(Just(None).boxed(), |param| param.prop_map(Some).boxed());
        (param, expr(ValueType::Vector, levels)).prop_map(move |(param, expr)| {
            node(ExprKind::Aggregation(Box::new(Aggregation { op, grouping: grouping.clone(), param, expr })))
        })
    };
    (select(AGGREGATIONS.to_vec()), grouping).prop_flat_map(of).boxed()
}

fn matching(op: BinaryOp) -> impl Strategy<Value = Matching> {
    let is_set = matches!(op, BinaryOp::And | BinaryOp::Or | BinaryOp::Unless);
    (any::<bool>(), labels(), 0..3, labels()).prop_map(move |(on, labels, cardinality, include)| {
        let cardinality = match cardinality {
            _ if is_set => Cardinality::ManyToMany,
            0 => Cardinality::OneToOne,
            1 => Cardinality::ManyToOne,
            _ => Cardinality::OneToMany,
        };
        let has_side = matches!(cardinality, Cardinality::ManyToOne | Cardinality::OneToMany);
        let apart = include.iter().filter(|label| has_side && !(on && labels.contains(label))).cloned().collect();
        Matching {
            cardinality,
            labels: if on { Grouping::By(labels) } else { Grouping::Without(labels) },
            include: apart,
        }
    })
}

fn binary(wanted: ValueType, levels: u32) -> BoxedStrategy<Expr> {
    let between_numbers = wanted == ValueType::Scalar;
    let operators = OPERATORS.iter().copied().filter(move |op| !between_numbers || !op.is_set()).collect::<Vec<_>>();
    let of = move |op: BinaryOp| {
        let left = if op.is_set() || between_numbers { wanted } else { ValueType::Scalar };
        let sides = prop_oneof![
            (expr(wanted, levels), expr(wanted, levels), any::<bool>(), matching(op)),
            (expr(left, levels), expr(wanted, levels), any::<bool>(), matching(op)),
        ];
        sides.prop_map(move |(left, right, with_bool, matching)| {
            let types = [left.value_type(), right.value_type()];
            let has_matching = types == [ValueType::Vector; 2];
            let matching = if has_matching { matching } else { Matching::default() };
            let returns_bool = op.is_comparison() && (with_bool || between_numbers);
            node(ExprKind::Binary(Box::new(Binary { op, returns_bool, matching, left, right })))
        })
    };
    select(operators).prop_flat_map(of).boxed()
}

/// The tree without its places, which printing does not keep.
fn shape(expr: &Expr) -> String {
    let text = format!("{expr:?}");
    let mut parts = text.split("span: Span {");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('}').map_or("", |(_, rest)| rest))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn what_is_printed_is_read_back(expr in expr(ValueType::Vector, LEVELS)) {
        let source = expr.to_string();
        let read = parse(&source, &ALL).map_err(|fault| format!("{source}\n{}", fault.in_source(&source)));
        prop_assert_eq!(read.map(|read| shape(&read)), Ok(shape(&expr)), "{}", source);
    }
}

/// Words that expressions are made of, and some that they are not.
const WORDS: [&str; 48] = [
    "a",
    "sum",
    "rate",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "bool",
    "offset",
    "start",
    "end",
    "and",
    "or",
    "unless",
    "atan2",
    "topk",
    "info",
    "limitk",
    "fill",
    "(",
    ")",
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "=",
    "=~",
    "==",
    ">",
    "@",
    "+",
    "-",
    "^",
    "*",
    "5m",
    "1",
    "inf",
    "\"x\"",
    "`\\d`",
    "\n",
    "#",
    "\u{e9}",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn any_words_are_an_expression_or_a_fault_within_them(words in vec(select(WORDS.to_vec()), 0..14)) {
        let source = words.join(" ");
        match parse(&source, &ALL) {
            Ok(expr) => {
                let printed = expr.to_string();
                let again = parse(&printed, &ALL).map(|again| again.to_string());
                // The sign of a printed infinity is read as one of the whole power, in Prometheus, too.
                if !printed.contains("+Inf ^") {
                    prop_assert_eq!(again, Ok(printed));
                }
            }
            Err(fault) => {
                prop_assert!(fault.span.start <= fault.span.end && fault.span.end as usize <= source.len(), "{:?}", fault);
                // The grammar's own words, which say nothing, are for what the search for the fault does not find.
                prop_assert!(!fault.text.contains("invalid promql query"), "{}", source);
                prop_assert!(source.is_char_boundary(fault.span.start as usize), "{:?}", fault);
            }
        }
    }
}
