//! Generated questions about the series of `samples.rs`.
//!
//! Each question is made for one [`Trait`]: a function, an operator or a modifier stands at its root, over operands that suit it
//! in most cases and not in some; around and below it grows what the dice say. What a question shows is noted while it is written,
//! so that the test can count what it has shown of each.

use std::collections::BTreeSet;

use fedgate::model::Timestamp;
use fedgate::promql::Steps;

use super::samples::LENGTH_MS;
use crate::dice::Dice;

/// Functions over one instant vector of numbers.
const OF_VECTOR: [&str; 25] = [
    "abs",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atanh",
    "ceil",
    "cos",
    "cosh",
    "deg",
    "exp",
    "floor",
    "ln",
    "log10",
    "log2",
    "rad",
    "sgn",
    "sin",
    "sinh",
    "sqrt",
    "tan",
    "tanh",
    "timestamp",
    "absent",
];
const OF_HISTOGRAM: [&str; 5] =
    ["histogram_avg", "histogram_count", "histogram_stddev", "histogram_stdvar", "histogram_sum"];
const OF_TIME: [&str; 8] =
    ["day_of_month", "day_of_week", "day_of_year", "days_in_month", "hour", "minute", "month", "year"];
const OF_COUNTER: [&str; 5] = ["rate", "increase", "irate", "resets", "changes"];
const OF_RANGE: [&str; 19] = [
    "absent_over_time",
    "avg_over_time",
    "count_over_time",
    "delta",
    "deriv",
    "idelta",
    "last_over_time",
    "mad_over_time",
    "max_over_time",
    "min_over_time",
    "present_over_time",
    "stddev_over_time",
    "stdvar_over_time",
    "sum_over_time",
    "ts_of_last_over_time",
    "ts_of_max_over_time",
    "ts_of_min_over_time",
    "quantile_over_time",
    "predict_linear",
];
const OTHERS: [&str; 18] = [
    "clamp",
    "clamp_max",
    "clamp_min",
    "double_exponential_smoothing",
    "histogram_fraction",
    "histogram_quantile",
    "info",
    "label_join",
    "label_replace",
    "pi",
    "round",
    "scalar",
    "sort",
    "sort_by_label",
    "sort_by_label_desc",
    "sort_desc",
    "time",
    "vector",
];
const AGGREGATIONS: [&str; 14] = [
    "sum",
    "avg",
    "count",
    "min",
    "max",
    "group",
    "stddev",
    "stdvar",
    "topk",
    "bottomk",
    "count_values",
    "quantile",
    "limitk",
    "limit_ratio",
];
const ARITHMETIC: [&str; 7] = ["+", "-", "*", "/", "%", "^", "atan2"];
const COMPARISONS: [&str; 6] = ["==", "!=", ">", "<", ">=", "<="];
const SET_OPERATORS: [&str; 3] = ["and", "or", "unless"];
const MODIFIERS: [&str; 14] = [
    "offset",
    "offset -",
    "@",
    "@ start()",
    "@ end()",
    "subquery",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "bool",
    "unary -",
];

/// Everything that has to be shown.
pub(crate) fn traits() -> Vec<&'static str> {
    let lists: [&[&str]; 11] = [
        &OF_VECTOR,
        &OF_HISTOGRAM,
        &OF_TIME,
        &OF_COUNTER,
        &OF_RANGE,
        &OTHERS,
        &AGGREGATIONS,
        &ARITHMETIC,
        &COMPARISONS,
        &SET_OPERATORS,
        &MODIFIERS,
    ];
    let all: BTreeSet<&str> = lists.into_iter().flatten().copied().collect();
    all.into_iter().collect()
}

/// One question.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) expression: String,
    pub(crate) steps: Steps,
    pub(crate) is_range: bool,
    /// What it shows if its answer holds anything.
    pub(crate) shows: BTreeSet<&'static str>,
}

impl Question {
    /// Whether its answer depends on nothing but the series: not on the order in which they are visited, as ranks of equal values
    /// do, and which of several ambiguous matches is found first.
    pub(crate) fn is_determined(&self) -> bool {
        !["limitk", "topk", "bottomk", "sort", "doubled"].iter().any(|word| self.expression.contains(word))
    }
}

/// A question made to show `what`, about series whose first samples are of `start_ms`.
pub(crate) fn question(dice: &mut Dice, what: &'static str, start_ms: i64) -> Question {
    let mut writer = Writer { dice, start_ms, shows: BTreeSet::new() };
    let mut expression = writer.of_trait(what);
    if writer.dice.percent(15) && !what.starts_with("sort") {
        expression = writer.around(expression);
    }
    let shows = writer.shows;
    let at = |dice: &mut Dice| Timestamp(start_ms + 240_000 + dice.below((LENGTH_MS as usize) / 1000) as i64 * 1_000);
    let start = at(dice);
    if dice.percent(60) {
        return Question { expression, steps: Steps::instant(start), is_range: false, shows };
    }
    let step = dice.of(&[1_000, 15_000, 37_500, 60_000]);
    let count = 1 + dice.below(12) as u32;
    Question { expression, steps: Steps { start, step, count }, is_range: true, shows }
}

struct Writer<'a> {
    dice: &'a mut Dice,
    start_ms: i64,
    shows: BTreeSet<&'static str>,
}

impl Writer<'_> {
    fn of_trait(&mut self, what: &'static str) -> String {
        self.shows.insert(what);
        if OF_VECTOR.contains(&what) {
            let operand = self.math_operand(what);
            return format!("{what}({operand})");
        }
        match what {
            _ if OF_HISTOGRAM.contains(&what) => format!("{what}({})", self.histograms()),
            _ if OF_TIME.contains(&what) && self.dice.percent(15) => format!("{what}()"),
            _ if OF_TIME.contains(&what) => format!("{what}({})", self.selector_of("moment")),
            _ if OF_COUNTER.contains(&what) => self.of_counter(what),
            _ if OF_RANGE.contains(&what) => self.of_range(what),
            _ if AGGREGATIONS.contains(&what) => self.aggregation(what, None),
            _ if ARITHMETIC.contains(&what) => self.arithmetic(what),
            _ if COMPARISONS.contains(&what) => self.comparison(what),
            _ if SET_OPERATORS.contains(&what) => self.set_operation(what),
            _ if MODIFIERS.contains(&what) => self.modifier(what),
            _ => self.other(what),
        }
    }

    /// Some outer operation that keeps an expression a vector.
    fn around(&mut self, expression: String) -> String {
        match self.dice.below(5) {
            0 => format!("-({expression})"),
            1 => format!("(({expression}) * 2) + 0"),
            2 => format!("vector(scalar(({expression}))) or ({expression})"),
            3 => format!("({expression}) > bool 0.5"),
            _ => format!("sum({expression})"),
        }
    }

    fn number(&mut self) -> String {
        self.dice
            .of(&["0", "1", "2", "-1", "0.5", "3.25", "1e3", "-0.1", "7", "NaN", "Inf", "-Inf", "0x1F", "1m30s"])
            .to_owned()
    }

    fn plain_number(&mut self) -> String {
        self.dice.of(&["1", "2", "-1", "0.5", "3.25", "10", "-0.1", "7"]).to_owned()
    }

    fn scalar(&mut self) -> String {
        match self.dice.below(8) {
            0 => "time()".to_owned(),
            1 => "scalar(quota{job=\"a\"})".to_owned(),
            2 => "(1 + 2 * pi())".to_owned(),
            3 => "-2 ^ 2".to_owned(),
            _ => self.number(),
        }
    }

    fn quantile(&mut self) -> String {
        self.dice.of(&["0.5", "0.9", "0.99", "0", "1", "0.25", "0.75", "-1", "1.5", "NaN"]).to_owned()
    }

    /// Matchers that leave some series of a metric.
    fn matchers(&mut self, metric: &str) -> &'static str {
        let has_place = matches!(metric, "requests_total" | "temperature" | "ratio" | "build_info");
        match self.dice.below(8) {
            0 if has_place => "{instance=\"1\"}",
            1 if has_place => "{instance=~\"0|2\",job!=\"b\"}",
            2 if has_place => "{instance!~\"1.*\"}",
            3 if metric == "requests_total" => "{code=\"200\"}",
            4 if has_place || metric == "native" => "{job=\"a\"}",
            5 => "{nothing=\"\"}",
            _ => "",
        }
    }

    fn selector_of(&mut self, metric: &str) -> String {
        let matchers = self.matchers(metric);
        let shift = if self.dice.percent(8) { self.shift() } else { String::new() };
        format!("{metric}{matchers}{shift}")
    }

    fn shift(&mut self) -> String {
        let shift = self.dice.of(&["offset", "offset -", "@", "@ start()", "@ end()"]);
        self.shift_of(shift)
    }

    fn shift_of(&mut self, what: &'static str) -> String {
        self.shows.insert(what);
        let amount = self.dice.of(&["1m", "30s", "2m15s", "90"]);
        let at = (self.start_ms + 300_000 + self.dice.below(700_000) as i64) as f64 / 1000.0;
        match what {
            "offset" => format!(" offset {amount}"),
            "offset -" => format!(" offset -{amount}"),
            "@" => format!(" @ {at}"),
            // Both together, in either order.
            other if self.dice.percent(20) => format!(" {other} offset {amount}"),
            other if self.dice.percent(20) => format!(" offset {amount} {other}"),
            other => format!(" {other}"),
        }
    }

    fn gauge(&mut self) -> String {
        let metric = self.dice.of(&["temperature", "ratio", "level", "steady", "quota", "seconds_total", "served"]);
        self.selector_of(metric)
    }

    fn counter(&mut self) -> String {
        let metric = self.dice.of(&["requests_total", "requests_total", "seconds_total", "latency_sum"]);
        self.selector_of(metric)
    }

    fn histograms(&mut self) -> String {
        match self.dice.below(8) {
            0 => "rate(native[5m])".to_owned(),
            1 => "sum(native_level)".to_owned(),
            2 => "avg by (job) (custom)".to_owned(),
            3 => "increase(custom[4m])".to_owned(),
            4 => "native * 3".to_owned(),
            5 => self.selector_of("mixed"),
            6 => self.selector_of("native_level"),
            _ => {
                let metric = self.dice.of(&["native", "custom"]);
                self.selector_of(metric)
            }
        }
    }

    fn vector(&mut self) -> String {
        match self.dice.below(12) {
            0 => {
                let what = self.dice.of(&["sum", "avg", "max", "min", "count"]);
                self.aggregation(what, None)
            }
            1 => {
                let what = self.dice.of(&["rate", "increase"]);
                self.of_counter(what)
            }
            2 => {
                let what = self.dice.of(&["max_over_time", "sum_over_time", "avg_over_time", "last_over_time"]);
                self.of_range(what)
            }
            3 => format!("({})", self.gauge()),
            4 => self.counter(),
            5 => self.selector_of("extreme"),
            6 => self.selector_of("mixed"),
            7 => format!("{} / 7", self.gauge()),
            _ => self.gauge(),
        }
    }

    fn math_operand(&mut self, function: &str) -> String {
        match (function, self.dice.below(10)) {
            ("acosh", 0..7) => "level".to_owned(),
            ("acos" | "asin" | "atanh", 0..7) => self.selector_of("ratio"),
            ("absent", 0..4) => "nothing{job=\"a\",x=~\"b\"}".to_owned(),
            ("absent", 4..6) => "sum(nothing)".to_owned(),
            ("timestamp", 0..6) => self.gauge(),
            (_, 0) => self.selector_of("extreme"),
            (_, 1) => self.selector_of("native"),
            (_, 2) => self.vector(),
            _ => self.gauge(),
        }
    }

    fn window(&mut self) -> &'static str {
        self.dice.of(&["1m", "2m", "5m", "20s", "3m30s", "10m", "45", "16s"])
    }

    /// A range of a selector or, now and then, a subquery.
    fn range_of(&mut self, selector: &str) -> String {
        let window = self.window();
        if self.dice.percent(15) {
            self.shows.insert("subquery");
            let step = self.dice.of(&["", "15s", "20s", "1m", "7s"]);
            let shift = if self.dice.percent(20) { self.shift() } else { String::new() };
            return format!("{selector}[{window}:{step}]{shift}");
        }
        // A modifier stands behind the range.
        match selector.split_once([' ', '[']) {
            Some((bare, shift)) => format!("{bare}[{window}] {shift}"),
            None => format!("{selector}[{window}]"),
        }
    }

    fn of_counter(&mut self, function: &'static str) -> String {
        self.shows.insert(function);
        let selector = match self.dice.below(10) {
            0 => self.selector_of("native"),
            1 => self.selector_of("custom"),
            2 => self.selector_of("mixed"),
            3 => self.gauge(),
            4 => self.selector_of("native_level"),
            5 => self.selector_of("extreme"),
            _ => self.counter(),
        };
        format!("{function}({})", self.range_of(&selector))
    }

    fn of_range(&mut self, function: &'static str) -> String {
        self.shows.insert(function);
        let selector = match (function, self.dice.below(10)) {
            ("absent_over_time", 0..6) => "nothing{job=\"a\"}".to_owned(),
            (_, 0) => self.selector_of("mixed"),
            (_, 1) => self.selector_of("native_level"),
            (_, 2) => self.selector_of("extreme"),
            (_, 3) => self.selector_of("native"),
            (_, 4) => self.counter(),
            _ => self.gauge(),
        };
        let range = self.range_of(&selector);
        match function {
            "quantile_over_time" => format!("quantile_over_time({}, {range})", self.quantile()),
            "predict_linear" => format!("predict_linear({range}, {})", self.plain_number()),
            "double_exponential_smoothing" => unreachable!("stands among the others"),
            _ => format!("{function}({range})"),
        }
    }

    fn grouping(&mut self) -> String {
        match self.dice.below(7) {
            0 | 1 => String::new(),
            2 => self.grouping_of("by", &["job", "zone", "instance", "job, instance", "nothing", "__name__"]),
            3 => self.grouping_of("by", &["", "job,"]),
            4 => self.grouping_of("without", &["instance", "zone", "code, instance", "nothing", ""]),
            _ => self.grouping_of("by", &["job", "zone"]),
        }
    }

    fn grouping_of(&mut self, word: &'static str, labels: &[&str]) -> String {
        self.shows.insert(word);
        format!(" {word} ({}) ", self.dice.of(labels))
    }

    fn aggregation(&mut self, op: &'static str, grouping: Option<String>) -> String {
        self.shows.insert(op);
        let operand = match self.dice.below(10) {
            0 => self.selector_of("native"),
            1 => self.selector_of("mixed"),
            2 => self.selector_of("native_level"),
            3 => self.selector_of("custom"),
            4 => self.selector_of("extreme"),
            5 | 6 => self.counter(),
            // The rank of equal values is each program's own.
            _ if matches!(op, "topk" | "bottomk") => self.dice.of(&["level", "ratio", "temperature"]).to_owned(),
            _ => self.gauge(),
        };
        let operand = if matches!(op, "topk" | "bottomk") && operand.starts_with("requests") {
            "seconds_total".to_owned()
        } else {
            operand
        };
        let parameter = match op {
            "topk" | "bottomk" | "limitk" => format!("{}, ", self.dice.of(&["1", "2", "3", "5", "0", "2.9"])),
            "limit_ratio" => format!("{}, ", self.dice.of(&["0.5", "-0.5", "1", "0.3", "-0.8", "1.5"])),
            "quantile" => format!("{}, ", self.quantile()),
            "count_values" => format!("\"{}\", ", self.dice.of(&["value", "job", "le"])),
            _ => String::new(),
        };
        let grouping = grouping.unwrap_or_else(|| self.grouping());
        if self.dice.percent(30) {
            return format!("{op}({parameter}{operand}){grouping}").trim_end().to_owned();
        }
        format!("{op}{grouping}({parameter}{operand})")
    }

    /// Two vectors that match, and how.
    fn pair(&mut self) -> (String, String, String) {
        let pair = |left: &str, how: &str, right: &str| (left.to_owned(), how.to_owned(), right.to_owned());
        let mut noted = |words: &[&'static str]| self.shows.extend(words.iter().copied());
        match self.dice.below(14) {
            0 => pair("temperature", "", "ratio"),
            1 => pair("level", "", "steady"),
            2 => {
                noted(&["on", "group_left"]);
                pair("requests_total", " on (job) group_left ()", "quota")
            }
            3 => {
                noted(&["ignoring", "group_left"]);
                pair("temperature", " ignoring (instance, tier) group_left (tier)", "quota")
            }
            4 => {
                noted(&["on", "group_right"]);
                pair("quota", " on (job) group_right (tier)", "ratio")
            }
            5 => {
                noted(&["on", "group_left"]);
                pair("requests_total", " on (job, instance) group_left (version)", "build_info")
            }
            6 => {
                noted(&["ignoring"]);
                pair("requests_total{code=\"200\"}", " ignoring (code)", "requests_total{code=\"500\"}")
            }
            7 => {
                noted(&["on"]);
                pair("temperature", " on (job, instance)", "ratio{instance!=\"1\"}")
            }
            8 => pair("requests_total", "", "requests_total offset 1m"),
            // Ambiguous.
            9 => {
                noted(&["on"]);
                pair("doubled", " on (job)", "doubled")
            }
            10 => pair("seconds_total", "", "latency_sum"),
            11 => pair("rate(requests_total[3m])", "", "increase(requests_total[3m])"),
            12 => pair("mixed", "", "mixed offset 3m"),
            _ => pair("extreme", "", "extreme offset 30s"),
        }
    }

    fn arithmetic(&mut self, op: &'static str) -> String {
        self.shows.insert(op);
        match self.dice.below(10) {
            0 => format!("{} {op} {}", self.scalar(), self.scalar()),
            1 | 2 => format!("{} {op} {}", self.vector(), self.scalar()),
            3 => format!("{} {op} {}", self.scalar(), self.vector()),
            4 => format!("{} {op} {}", self.histograms(), self.plain_number()),
            5 => {
                let pairs =
                    [("native", "native offset 1m"), ("native_level", "native"), ("custom", "custom offset 2m")];
                let (left, right) = self.dice.of(&pairs);
                format!("{left} {op} {right}")
            }
            _ => {
                let (left, how, right) = self.pair();
                format!("{left} {op}{how} {right}")
            }
        }
    }

    fn comparison(&mut self, op: &'static str) -> String {
        self.shows.insert(op);
        let bool = if self.dice.percent(40) { " bool" } else { "" };
        if !bool.is_empty() {
            self.shows.insert("bool");
        }
        match self.dice.below(9) {
            0 => {
                self.shows.insert("bool");
                format!("{} {op} bool {}", self.scalar(), self.scalar())
            }
            1 | 2 => format!("{} {op}{bool} {}", self.vector(), self.scalar()),
            3 => format!("{} {op}{bool} {}", self.scalar(), self.vector()),
            4 => format!("steady {op}{bool} steady offset 1m"),
            5 => format!("native {op}{bool} native offset 1m"),
            _ => {
                let (left, how, right) = self.pair();
                format!("{left} {op}{bool}{how} {right}")
            }
        }
    }

    fn set_operation(&mut self, op: &'static str) -> String {
        self.shows.insert(op);
        let left = self.dice.of(&["temperature", "requests_total", "ratio > 0", "native", "mixed", "level"]);
        let right = self.dice.of(&[
            "ratio > 0.2",
            "temperature{job=\"a\"}",
            "steady == 1",
            "quota",
            "native{job=\"a\"}",
            "level > 500",
        ]);
        let how = match self.dice.below(5) {
            0 => self.matching_of("on", &["job", "job, instance", ""]),
            1 => self.matching_of("ignoring", &["code", "instance", ""]),
            _ => String::new(),
        };
        format!("{left} {op}{how} {right}")
    }

    fn matching_of(&mut self, word: &'static str, labels: &[&str]) -> String {
        self.shows.insert(word);
        format!(" {word} ({})", self.dice.of(labels))
    }

    fn modifier(&mut self, what: &'static str) -> String {
        match what {
            "by" => {
                let grouping = self.grouping_of("by", &["job", "job, instance", "zone"]);
                let op = self.dice.of(&AGGREGATIONS);
                self.aggregation(op, Some(grouping))
            }
            "without" => {
                let grouping = self.grouping_of("without", &["job", "instance", "instance, code"]);
                let op = self.dice.of(&AGGREGATIONS);
                self.aggregation(op, Some(grouping))
            }
            "bool" => {
                let op = self.dice.of(&COMPARISONS);
                self.shows.insert(op);
                format!("{} {op} bool {}", self.gauge(), self.scalar())
            }
            "unary -" => format!("-{}", self.vector()),
            "subquery" => {
                let function =
                    self.dice.of(&["max_over_time", "avg_over_time", "rate", "sum_over_time", "count_over_time"]);
                self.shows.insert(function);
                let (inner, window) = (self.vector(), self.window());
                let step = self.dice.of(&["", "15s", "30s", "1m", "11s"]);
                format!("{function}(({inner})[{window}:{step}])")
            }
            "on" | "ignoring" | "group_left" | "group_right" => loop {
                let (left, how, right) = self.pair();
                if how.contains(what) {
                    let op = self.dice.of(&ARITHMETIC);
                    self.shows.insert(op);
                    return format!("{left} {op}{how} {right}");
                }
            },
            shift => {
                let metric = self.dice.of(&["temperature", "requests_total", "level", "native"]);
                let shift = self.shift_of(shift);
                match self.dice.below(4) {
                    0 => format!("increase({metric}[{}]{shift})", self.window()),
                    1 => format!("sum_over_time({metric}[{}:]{shift})", self.window()),
                    _ => format!("{metric}{shift}"),
                }
            }
        }
    }

    fn other(&mut self, function: &'static str) -> String {
        let operand = self.gauge();
        match function {
            "clamp" => format!("clamp({operand}, {}, {})", self.scalar(), self.scalar()),
            "clamp_max" | "clamp_min" => format!("{function}({}, {})", self.vector(), self.scalar()),
            "double_exponential_smoothing" => {
                let range = self.range_of(&operand);
                let factors = self.dice.of(&["0.5, 0.5", "0.1, 0.9", "0.01, 0.1", "0.99, 0.3", "1, 0.5", "0.5, 0"]);
                format!("double_exponential_smoothing({range}, {factors})")
            }
            "histogram_fraction" => {
                let bounds = self.dice.of(&["0, 1", "-Inf, 2", "1, Inf", "2, 1", "0.2, 3", "NaN, 1"]);
                format!("histogram_fraction({bounds}, {})", self.buckets())
            }
            "histogram_quantile" => format!("histogram_quantile({}, {})", self.quantile(), self.buckets()),
            "info" => {
                let more = self.dice.of(&["", ", {room=~\".+\"}", ", {__name__=\"build_info\"}", ", {version!=\"\"}"]);
                let operand = self.dice.of(&["ratio", "ratio{instance=\"1\"}", "level", "ratio / 2"]);
                format!("info({operand}{more})")
            }
            "label_join" => {
                let rest = self.dice.of(&[
                    "\"dst\", \"-\", \"job\", \"instance\"",
                    "\"job\", \"\", \"nothing\"",
                    "\"dst\", \",\"",
                    "\"__name__\", \"_\", \"job\"",
                ]);
                format!("label_join({}, {rest})", self.vector())
            }
            "label_replace" => {
                let rest = self.dice.of(&[
                    "\"dst\", \"$1\", \"job\", \"(.*)\"",
                    "\"job\", \"x-$1${1}\", \"instance\", \"([0-9]+)\"",
                    "\"dst\", \"${name}!\", \"path\", \"/(?P<name>[a-z]).*\"",
                    "\"instance\", \"\", \"job\", \"a\"",
                    "\"dst\", \"$$1\", \"nothing\", \"\"",
                    "\"dst\", \"$1\", \"job\", \"(\"",
                    "\"__name__\", \"renamed\", \"job\", \"a|b\"",
                ]);
                format!("label_replace({}, {rest})", self.vector())
            }
            "pi" => self.dice.of(&["pi()", "vector(pi())", "level * pi()"]).to_owned(),
            "time" => self.dice.of(&["time()", "time() - moment", "vector(time())", "time() % 60"]).to_owned(),
            "round" => match self.dice.below(3) {
                0 => format!("round({})", self.vector()),
                _ => format!("round({}, {})", self.vector(), self.number()),
            },
            "scalar" => match self.dice.below(4) {
                0 => "scalar(temperature)".to_owned(),
                1 => "scalar(native{job=\"a\"})".to_owned(),
                2 => "scalar(sum(level))".to_owned(),
                _ => "scalar(level{zone=\"x\"}) + 1".to_owned(),
            },
            "vector" => format!("vector({})", self.scalar()),
            "sort" | "sort_desc" => {
                format!("{function}({})", self.dice.of(&["level", "ratio", "temperature", "rate(seconds_total[5m])"]))
            }
            "sort_by_label" | "sort_by_label_desc" => {
                let labels =
                    self.dice.of(&["\"name\"", "\"path\"", "\"version\", \"instance\"", "\"instance\"", "\"nothing\""]);
                let operand = self.dice.of(&["served", "build_info", "temperature"]);
                format!("{function}({operand}, {labels})")
            }
            range => {
                let selector = self.gauge();
                format!("{range}({})", self.range_of(&selector))
            }
        }
    }

    fn buckets(&mut self) -> String {
        let window = self.dice.of(&["2m", "5m", "3m"]);
        match self.dice.below(7) {
            0 => "latency_bucket".to_owned(),
            1 => format!("rate(latency_bucket[{window}])"),
            2 => format!("sum by (le) (rate(latency_bucket{{job!=\"e\"}}[{window}]))"),
            3 => "{__name__=~\"latency_bucket|native\"}".to_owned(),
            4 => "latency_bucket{job=\"a\"} * NaN".to_owned(),
            _ => self.histograms(),
        }
    }
}
