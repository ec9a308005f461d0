//! A result as the query API writes it.
//!
//! Invariant: what is written depends on the result alone, row by row; so rows can be written by different threads, and the
//! text of a whole result, which may be many times its samples, never stands in memory. A row all of whose cells are absent
//! is not there. A range is sorted by labels, an instant stands in the order of its evaluation, as `sort()` needs.

use std::io::Write as _;

use super::json::{
    Escapes, write_histogram, write_labels, write_list, write_plain, write_text, write_time, write_value,
};
use crate::model::{Labels, Timestamp};
use crate::promql::{ABSENT, Cell, LabelsReader, RangeSeries, Steps, Value, Vector};

/// Said where rows were left out on request.
const TRUNCATED: &str = "results truncated due to limit";

/// A result with what was said of it.
#[derive(Debug)]
pub struct Answer {
    value: Value,
    steps: Steps,
    /// Whether it is a range's: then numbers and vectors alike are a matrix.
    is_range: bool,
    /// The vector's rows that are shown, in their order; of a matrix the series.
    order: Vec<u32>,
    warnings: Vec<String>,
    infos: Vec<String>,
}

impl Answer {
    /// A result at `steps`; `limit` rows at most, 0 is all.
    pub fn new(value: Value, steps: Steps, is_range: bool, limit: usize) -> Answer {
        let order = match &value {
            Value::Vector(vector) => live_rows(vector, &steps, is_range),
            Value::Matrix(series) => (0..series.len() as u32).collect(),
            Value::Scalar(_) | Value::String(_) => vec![0],
        };
        let mut answer = Answer { value, steps, is_range, order, warnings: Vec::new(), infos: Vec::new() };
        let is_series = matches!(answer.value, Value::Vector(_) | Value::Matrix(_));
        if limit > 0 && is_series && answer.order.len() > limit {
            answer.order.truncate(limit);
            answer.warnings.push(TRUNCATED.to_owned());
        }
        answer
    }

    /// The same with what the evaluation said.
    pub fn with_notes(mut self, warnings: Vec<String>, infos: Vec<String>) -> Answer {
        self.warnings.extend(warnings);
        self.infos = infos;
        self
    }

    /// How many rows it has.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Samples that one of them may have.
    pub fn row_samples(&self) -> usize {
        self.steps.count as usize
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The whole text; for results that are known to be small.
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write_head(&mut out);
        self.write_rows(&mut out, 0, self.len());
        self.write_tail(&mut out);
        out
    }

    /// What stands before the rows.
    pub fn write_head(&self, out: &mut Vec<u8>) {
        let kind = match &self.value {
            Value::Scalar(_) if !self.is_range => "scalar",
            Value::Vector(_) if !self.is_range => "vector",
            Value::String(_) => "string",
            _ => "matrix",
        };
        let open = if self.is_single() { "" } else { "[" };
        write!(out, "{{\"status\":\"success\",\"data\":{{\"resultType\":\"{kind}\",\"result\":{open}")
            .expect("a vector takes everything");
    }

    /// What stands behind them.
    pub fn write_tail(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.is_single() { b"}" } else { b"]}" });
        write_list(out, "warnings", &self.warnings);
        write_list(out, "infos", &self.infos);
        out.push(b'}');
    }

    /// A number or a text of an instant: no list.
    fn is_single(&self) -> bool {
        match &self.value {
            Value::Scalar(_) => !self.is_range,
            Value::String(_) => true,
            Value::Vector(_) | Value::Matrix(_) => false,
        }
    }

    /// The rows from `start` on, before `end`.
    pub fn write_rows(&self, out: &mut Vec<u8>, start: usize, end: usize) {
        let mut labels = match &self.value {
            Value::Vector(vector) => Some(vector.rows.reader()),
            _ => None,
        };
        for at in start..end {
            if at > 0 {
                out.push(b',');
            }
            let row = self.order[at] as usize;
            match (&self.value, &mut labels) {
                (Value::Vector(vector), Some(labels)) => self.write_row(out, vector, row, labels),
                (Value::Scalar(values), _) if self.is_range => self.write_scalar_range(out, values),
                (Value::Scalar(values), _) => write_scalar(out, self.steps.start, values[0]),
                (Value::String(text), _) => write_string(out, self.steps.start, text),
                (Value::Matrix(series), _) => write_series(out, &series[row]),
                (Value::Vector(_), None) => unreachable!("a vector's labels have a reader"),
            }
        }
    }

    fn write_scalar_range(&self, out: &mut Vec<u8>, values: &[f64]) {
        let points = self.steps.iter().zip(values).map(|(at, value)| (at, Cell::Float(*value)));
        write_points(out, [], points);
    }

    fn write_row(&self, out: &mut Vec<u8>, vector: &Vector, row: usize, labels: &mut LabelsReader<'_>) {
        if self.is_range {
            let first = row * self.steps.count as usize;
            let points = self.steps.iter().enumerate();
            let points = points.filter_map(|(step, at)| Some((at, vector.cells.get(first + step)?)));
            write_points(out, labels.pairs(row), points);
        } else if let Some(cell) = vector.cells.get(row) {
            self.write_sample(out, labels.pairs(row), &cell);
        }
    }

    fn write_sample<'a>(&self, out: &mut Vec<u8>, labels: impl Iterator<Item = (&'a str, &'a str)>, cell: &Cell) {
        out.extend_from_slice(b"{\"metric\":");
        write_labels(out, labels);
        out.extend_from_slice(match cell {
            Cell::Float(_) => b",\"value\":".as_slice(),
            Cell::Histogram(_) => b",\"histogram\":",
        });
        write_point(out, self.steps.start, cell);
        out.push(b'}');
    }
}

/// Rows that have a sample; of a range in the order of their labels.
fn live_rows(vector: &Vector, steps: &Steps, is_range: bool) -> Vec<u32> {
    let count = steps.count as usize;
    let is_live = |row: usize| vector.cells.floats[row * count..][..count].iter().any(|cell| cell.to_bits() != ABSENT);
    if !is_range {
        return (0..vector.rows.len()).filter(|row| is_live(*row)).map(|row| row as u32).collect();
    }
    let mut rows: Vec<(usize, Labels)> = vector.rows.labels_where(is_live).collect();
    rows.sort_by(|(_, one), (_, other)| one.compare_pairs(other));
    rows.into_iter().map(|(row, _)| row as u32).collect()
}

fn write_series(out: &mut Vec<u8>, series: &RangeSeries) {
    write_points(out, &series.labels, series.samples.iter().cloned());
}

/// A series of a range: its numbers, then its histograms.
fn write_points<'a>(
    out: &mut Vec<u8>,
    labels: impl IntoIterator<Item = (&'a str, &'a str)>,
    points: impl Iterator<Item = (Timestamp, Cell)>,
) {
    out.extend_from_slice(b"{\"metric\":");
    write_labels(out, labels);
    let (floats, histograms): (Vec<_>, Vec<_>) = points.partition(|(_, cell)| matches!(cell, Cell::Float(_)));
    for (name, points) in [("values", floats), ("histograms", histograms)] {
        for (at, (time, cell)) in points.iter().enumerate() {
            match at {
                0 => write!(out, ",\"{name}\":[").expect("a vector takes everything"),
                _ => out.push(b','),
            }
            write_point(out, *time, cell);
        }
        if !points.is_empty() {
            out.push(b']');
        }
    }
    out.push(b'}');
}

fn write_point(out: &mut Vec<u8>, at: Timestamp, cell: &Cell) {
    out.push(b'[');
    write_time(out, at.as_millis());
    out.push(b',');
    match cell {
        Cell::Float(value) => write_value(out, *value),
        Cell::Histogram(histogram) => write_histogram(out, histogram),
    }
    out.push(b']');
}

/// A number of an instant has all its digits, unlike a sample.
fn write_scalar(out: &mut Vec<u8>, at: Timestamp, value: f64) {
    out.push(b'[');
    write_seconds(out, at);
    out.extend_from_slice(b",\"");
    write_plain(out, value);
    out.extend_from_slice(b"\"]");
}

fn write_string(out: &mut Vec<u8>, at: Timestamp, text: &str) {
    out.push(b'[');
    write_seconds(out, at);
    out.push(b',');
    write_text(out, text, Escapes::Html);
    out.push(b']');
}

/// The time of a number or a text: a JSON number, so without zeros at its end.
fn write_seconds(out: &mut Vec<u8>, at: Timestamp) {
    write!(out, "{}", at.as_seconds()).expect("a vector takes everything");
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::promql::{Block, Cells, Rows};

    fn vector(labels: &[&[(&str, &str)]], cells: &[Option<f64>]) -> Value {
        let labels = labels.iter().map(|pairs| Labels::from_pairs(pairs.iter().copied())).collect();
        let rows = Arc::new(Rows::new([Arc::new(Block::built(labels))]));
        let mut block = Cells::absent(cells.len());
        cells.iter().enumerate().for_each(|(at, cell)| block.set(at, cell.map(Cell::Float)));
        Value::Vector(Vector { rows, cells: block })
    }

    fn text(answer: Answer) -> String {
        String::from_utf8(answer.to_json()).unwrap()
    }

    #[test]
    fn an_instant_leaves_out_absent_rows() {
        let value = vector(&[&[("a", "1")], &[("a", "2")]], &[None, Some(0.5)]);
        let answer = Answer::new(value, Steps::instant(Timestamp(1_500)), false, 0);
        let answer = answer.with_notes(vec!["careful".to_owned()], Vec::new());
        assert_eq!(
            text(answer),
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"a":"2"},"value":[1.500,"0.5"]}]},"warnings":["careful"]}"#
        );
    }

    #[test]
    fn a_range_is_sorted_and_cut() {
        let steps = Steps { start: Timestamp(0), step: 1_000, count: 2 };
        let value = || vector(&[&[("b", "1")], &[("a", "2")]], &[Some(1.0), None, Some(2.0), Some(3.0)]);
        assert_eq!(
            text(Answer::new(value(), steps, true, 0)),
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"a":"2"},"values":[[0,"2"],[1,"3"]]},{"metric":{"b":"1"},"values":[[0,"1"]]}]}}"#
        );
        assert_eq!(
            text(Answer::new(value(), steps, true, 1)),
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"a":"2"},"values":[[0,"2"],[1,"3"]]}]},"warnings":["results truncated due to limit"]}"#
        );
    }

    #[test]
    fn numbers_and_texts_are_no_lists() {
        let at = Steps::instant(Timestamp(1_500));
        assert_eq!(
            text(Answer::new(Value::Scalar(vec![1e21]), at, false, 1)),
            r#"{"status":"success","data":{"resultType":"scalar","result":[1.5,"1000000000000000000000"]}}"#
        );
        assert_eq!(
            text(Answer::new(Value::String("<a>".into()), at, false, 1)),
            r#"{"status":"success","data":{"resultType":"string","result":[1.5,"\u003ca\u003e"]}}"#
        );
        assert_eq!(
            text(Answer::new(Value::Scalar(vec![1e21]), at, true, 0)),
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1.500,"1e+21"]]}]}}"#
        );
    }
}
