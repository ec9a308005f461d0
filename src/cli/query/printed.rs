//! A result as promtool prints it: `metric => value @[time]` a line.

use serde_json::Value;

use crate::model::{Labels, METRIC_NAME};

/// The `data` of an answer, each line with its end.
pub(super) fn result(answer: &Value) -> String {
    let result = &answer["result"];
    let rows = || result.as_array().into_iter().flatten();
    match answer["resultType"].as_str().unwrap_or_default() {
        "vector" => rows().map(sample).collect(),
        "matrix" => rows().map(series).collect(),
        "scalar" => format!("scalar: {}\n", point(result)),
        _ => format!("{}\n", result[1].as_str().unwrap_or_default()),
    }
}

fn sample(row: &Value) -> String {
    let value = if row["histogram"].is_null() { &row["value"] } else { &row["histogram"] };
    format!("{} => {}\n", metric(&row["metric"]), point(value))
}

fn series(row: &Value) -> String {
    let points = ["values", "histograms"].into_iter().filter_map(|kind| row[kind].as_array()).flatten();
    let lines: String = points.map(|value| format!("{}\n", point(value))).collect();
    format!("{} =>\n{lines}", metric(&row["metric"]))
}

fn metric(labels: &Value) -> String {
    let pairs = labels.as_object().into_iter().flatten();
    let labels = Labels::from_pairs(pairs.map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default())));
    let is_bare = labels.len() == 1 && !labels.metric_name().is_empty();
    match labels.get(METRIC_NAME).filter(|_| is_bare) {
        Some(name) => name.to_owned(),
        None => labels.to_string(),
    }
}

/// `value @[time]`; the time without the zeros that a line does not need.
fn point(point: &Value) -> String {
    let time = point[0].as_f64().unwrap_or_default();
    match &point[1] {
        Value::String(value) => format!("{} @[{time}]", all_digits(value)),
        value => format!("{} @[{time}]", histogram(value)),
    }
}

/// Without the exponent that the API gives great and small numbers.
fn all_digits(value: &str) -> String {
    match value.parse::<f64>() {
        Ok(number) if value.contains('e') => number.to_string(),
        _ => value.to_owned(),
    }
}

fn histogram(value: &Value) -> String {
    let number = |value: &Value| value.as_str().and_then(|text| text.parse::<f64>().ok()).unwrap_or(f64::NAN);
    let buckets = value["buckets"].as_array().into_iter().flatten().map(bucket).collect::<Vec<_>>();
    let (count, sum) = (number(&value["count"]), number(&value["sum"]));
    format!("Count: {count:.6}, Sum: {sum:.6}, Buckets: [{}]", buckets.join(" "))
}

fn bucket(bucket: &Value) -> String {
    let (open, close) = match bucket[0].as_u64() {
        Some(0) => ('(', ']'),
        Some(1) => ('[', ')'),
        Some(3) => ('[', ']'),
        _ => ('(', ')'),
    };
    let text = |at: usize| bucket[at].as_str().unwrap_or_default();
    format!("{open}{},{}{close}:{}", text(1), text(2), text(3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(kind: &str, rows: Value) -> String {
        result(&serde_json::json!({"resultType": kind, "result": rows}))
    }

    #[test]
    fn every_kind_has_its_form() {
        let rows = serde_json::json!([
            {"metric": {"__name__": "up", "job": "a\"b"}, "value": [1.5, "1"]},
            {"metric": {"__name__": "up"}, "value": [1.500, "NaN"]},
            {"metric": {}, "histogram": [2, {"count": "3", "sum": "1.5", "buckets": [[3, "-1", "1", "1"], [0, "1", "2", "2"]]}]},
        ]);
        assert_eq!(
            printed("vector", rows),
            "up{job=\"a\\\"b\"} => 1 @[1.5]\nup => NaN @[1.5]\n{} => Count: 3.000000, Sum: 1.500000, Buckets: [[-1,1]:1 (1,2]:2] @[2]\n"
        );
        let rows = serde_json::json!([{"metric": {"a": "1"}, "values": [[0, "1"], [60, "1e-07"]]}]);
        assert_eq!(printed("matrix", rows), "{a=\"1\"} =>\n1 @[0]\n0.0000001 @[60]\n");
        assert_eq!(printed("scalar", serde_json::json!([60, "7"])), "scalar: 7 @[60]\n");
        assert_eq!(printed("string", serde_json::json!([60, "text"])), "text\n");
    }
}
