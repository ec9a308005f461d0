//! An answer of the query API as lines of text that can be written down and compared.
//!
//! A row is its labels and then its samples: of an instant one, of a range one a step and `_` where there is none, of a selected
//! range `value@time`. Numbers stand in the API's own shortest form, so that equal lines are equal bits, the payload of
//! NaN aside; errors, warnings and infos are lines too.

use fedgate::model::Labels;
use fedgate::promql::Steps;
use serde_json::Value;

/// What a server said.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    /// In the answer's order.
    pub(crate) rows: Vec<String>,
    /// Sorted: `warning: …`, `info: …`, `execution: …`.
    pub(crate) notes: Vec<String>,
}

impl Answer {
    /// Reads the body of an answer to a question at `steps`.
    pub(crate) fn of(body: &[u8], steps: &Steps, is_range: bool) -> Answer {
        let answer: Value = serde_json::from_slice(body).expect("an answer is JSON");
        let mut notes = Vec::new();
        if answer["status"] == "error" {
            notes.push(format!("{}: {}", text(&answer["errorType"]), text(&answer["error"])));
        }
        for (list, kind) in [("warnings", "PromQL warning: "), ("infos", "PromQL info: ")] {
            let texts = answer[list].as_array().into_iter().flatten().map(text);
            notes.extend(texts.map(|note| format!("{}: {}", &list[..list.len() - 1], note.trim_start_matches(kind))));
        }
        let mut notes: Vec<String> = notes.iter().map(|note| without_duplicates(note.trim_end())).collect();
        notes.sort();
        Answer { rows: rows(&answer["data"], steps, is_range), notes }
    }

    /// Rows and notes; rows in the order of their text unless their own order was asked for.
    pub(crate) fn lines(&self, is_ordered: bool) -> Vec<String> {
        let mut rows = self.rows.clone();
        if !is_ordered {
            rows.sort();
        }
        rows.into_iter().chain(self.notes.clone()).collect()
    }

    /// Whether it holds a number that is not NaN, or a histogram.
    pub(crate) fn is_telling(&self) -> bool {
        let values =
            self.rows.iter().flat_map(|row| row.rsplit_once("} ").map_or(&**row, |(_, values)| values).split(' '));
        values.into_iter().any(|value| !matches!(value, "_" | "NaN" | ""))
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Which two of many duplicates an error names is each program's own.
fn without_duplicates(note: &str) -> String {
    match (note.contains("found duplicate series"), note.find(": ["), note.find("];")) {
        (true, Some(start), Some(end)) => format!("{}: […]{}", &note[..start], &note[end + 1..]),
        _ => note.to_owned(),
    }
}

fn rows(answer: &Value, steps: &Steps, is_range: bool) -> Vec<String> {
    let result = &answer["result"];
    let all = || result.as_array().into_iter().flatten();
    match text(&answer["resultType"]) {
        "scalar" => vec![format!("scalar {}", text(&result[1]))],
        "string" => vec![format!("string {:?}", text(&result[1]))],
        "vector" => all().map(|row| format!("{} {}", metric(row), sample(row))).collect(),
        "matrix" if is_range => all().map(|row| format!("{} {}", metric(row), by_steps(row, steps))).collect(),
        "matrix" => all().map(|row| format!("{} {}", metric(row), timed(row))).collect(),
        _ => Vec::new(),
    }
}

fn metric(row: &Value) -> String {
    let labels = row["metric"].as_object().into_iter().flatten();
    Labels::from_pairs(labels.map(|(name, value)| (name.as_str(), text(value)))).to_string()
}

fn sample(row: &Value) -> String {
    if row["value"].is_null() { value(&row["histogram"][1]) } else { value(&row["value"][1]) }
}

fn points(row: &Value) -> Vec<(i64, String)> {
    let points = ["values", "histograms"].into_iter().filter_map(|kind| row[kind].as_array()).flatten();
    let millis = |point: &Value| (point[0].as_f64().expect("a time") * 1000.0).round() as i64;
    let mut points: Vec<_> = points.map(|point| (millis(point), value(&point[1]))).collect();
    points.sort();
    points
}

fn by_steps(row: &Value, steps: &Steps) -> String {
    let points = points(row);
    let at = |time: i64| points.iter().find(|(own, _)| *own == time).map_or("_", |(_, value)| value);
    steps.iter().map(|time| at(time.0)).collect::<Vec<_>>().join(" ")
}

fn timed(row: &Value) -> String {
    let points = points(row).into_iter();
    points.map(|(time, value)| format!("{value}@{}", time as f64 / 1000.0)).collect::<Vec<_>>().join(" ")
}

/// A number as it stands; a histogram as `{count sum (lower,upper]:count …}` without blanks.
fn value(value: &Value) -> String {
    if let Value::String(number) = value {
        return number.clone();
    }
    let buckets = value["buckets"].as_array().into_iter().flatten();
    let buckets = buckets.map(|bucket| {
        let [open, close] = ["(]", "[)", "()", "[]"][bucket[0].as_u64().expect("0 to 3") as usize].as_bytes() else {
            unreachable!("two brackets")
        };
        let (open, close) = (char::from(*open), char::from(*close));
        format!(";{open}{},{}{close}:{}", text(&bucket[1]), text(&bucket[2]), text(&bucket[3]))
    });
    format!("{{count:{};sum:{}{}}}", text(&value["count"]), text(&value["sum"]), buckets.collect::<String>())
}

/// Whether two lists of lines say the same: numbers in them may lie `ulps` steps apart.
pub(crate) fn is_same(ours: &[String], theirs: &[String], ulps: u64) -> bool {
    ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(one, other)| one == other || is_near(one, other, ulps))
}

fn is_near(one: &str, other: &str, ulps: u64) -> bool {
    let tokens =
        |line: &str| -> Vec<String> { line.split([' ', ':', ',', ';', ']', '}']).map(str::to_owned).collect() };
    let (one, other) = (tokens(one), tokens(other));
    one.len() == other.len() && one.iter().zip(&other).all(|(one, other)| one == other || distance(one, other) <= ulps)
}

/// Floats between two numbers; as many as can be where one is none.
fn distance(one: &str, other: &str) -> u64 {
    match (one.parse::<f64>(), other.parse::<f64>()) {
        (Ok(one), Ok(other)) if one.is_finite() && other.is_finite() => place(one).abs_diff(place(other)),
        _ => u64::MAX,
    }
}

/// A float's place among all floats, both zeros in one.
fn place(value: f64) -> i64 {
    let bits = value.to_bits() as i64;
    if bits < 0 { i64::MIN - bits } else { bits }
}

#[test]
fn numbers_are_near_by_their_bits() {
    assert_eq!(distance("1", "1.0000000000000002"), 1);
    assert_eq!(distance("-0", "0"), 0);
    assert_eq!(distance("5e-324", "-5e-324"), 2);
    assert_eq!(distance("NaN", "1"), u64::MAX);
    let line = |text: &str| vec![text.to_owned()];
    assert!(is_same(&line("{a=\"1\"} 0.3 2"), &line("{a=\"1\"} 0.30000000000000004 2"), 4));
    assert!(!is_same(&line("{a=\"1\"} 0.3 2"), &line("{a=\"1\"} 0.3 2.1"), 4));
    assert!(!is_same(&line("{a=\"1\"} 0.3"), &line("{a=\"2\"} 0.3"), 4));
}
