//! The order of an instant query's rows: by value, or by labels as people count.
//!
//! A range query's series have no order of their own, so rows stay there. Where Prometheus's comparison contradicts itself
//! (an empty value beside another, `01` beside `1`, numbers beyond 64 bits), which series comes first depends there on their order
//! before; here such values are in one total order: empty ones first, numbers by their value, and then by bytes.

use std::cmp::Ordering;
use std::sync::Arc;

use super::labels::is_live;
use crate::model::{HISTOGRAM_NAN, Labels};
use crate::promql::quantile::nan_first;
use crate::promql::rows::{Block, Rows};
use crate::promql::value::{ABSENT, Cells, Steps, Vector};

/// Floats alone, ascending or descending, NaN last either way.
pub(super) fn by_value(vector: Vector, is_descending: bool, steps: Steps) -> Vector {
    let vector = floats_alone(vector);
    if steps.count > 1 {
        return vector;
    }
    let mut order = live_rows(&vector);
    let value = |row: &usize| vector.cells.floats[*row];
    order.sort_by(|one, two| match (value(one), value(two)) {
        (one, two) if one.is_nan() || two.is_nan() => nan_first(&two, &one),
        (one, two) if is_descending => nan_first(&two, &one),
        (one, two) => nan_first(&one, &two),
    });
    picked(&vector, &order)
}

/// By the values of `names`, one after the other, then by all labels.
pub(super) fn by_labels(vector: Vector, names: &[Arc<str>], is_descending: bool, steps: Steps) -> Vector {
    if steps.count > 1 {
        return vector;
    }
    let labels: Vec<Labels> = (0..vector.rows.len()).map(|row| vector.rows.labels(row)).collect();
    let mut order = live_rows(&vector);
    order.sort_by(|one, two| {
        let (one, two) = if is_descending { (two, one) } else { (one, two) };
        compare_labels(&labels[*one], &labels[*two], names)
    });
    picked(&vector, &order)
}

fn floats_alone(mut vector: Vector) -> Vector {
    let histograms = vector.cells.floats.iter_mut().filter(|cell| cell.to_bits() == HISTOGRAM_NAN);
    histograms.for_each(|cell| *cell = f64::from_bits(ABSENT));
    vector.cells.histograms.clear();
    vector
}

fn live_rows(vector: &Vector) -> Vec<usize> {
    (0..vector.rows.len()).filter(|row| is_live(vector, *row)).collect()
}

fn picked(vector: &Vector, order: &[usize]) -> Vector {
    let labels = order.iter().map(|row| vector.rows.labels(*row)).collect();
    let mut cells = Cells::absent(order.len());
    for (at, row) in order.iter().enumerate() {
        cells.set(at, vector.cells.get(*row));
    }
    Vector { rows: Arc::new(Rows::new([Arc::new(Block::built(labels))])), cells }
}

fn compare_labels(one: &Labels, two: &Labels, names: &[Arc<str>]) -> Ordering {
    let values = names.iter().map(|name| {
        let value = |labels: &Labels| labels.get(name).unwrap_or_default().to_owned();
        compare_naturally(&value(one), &value(two))
    });
    values.into_iter().find(|order| order.is_ne()).unwrap_or_else(|| one.iter().cmp(two.iter()))
}

/// Runs of digits by their number, what lies between by its bytes.
fn compare_naturally(one: &str, two: &str) -> Ordering {
    let (mut left, mut right) = (one, two);
    while !left.is_empty() && !right.is_empty() {
        let (chunk, other) = (first_chunk(left), first_chunk(right));
        let order = match is_number(chunk) && is_number(other) {
            true => compare_numbers(chunk, other),
            false => chunk.cmp(other),
        };
        if order.is_ne() {
            return order;
        }
        (left, right) = (&left[chunk.len()..], &right[other.len()..]);
    }
    left.len().min(1).cmp(&right.len().min(1)).then_with(|| one.cmp(two))
}

/// The longest run of digits, or of anything else.
fn first_chunk(text: &str) -> &str {
    let is_number = is_number(text);
    let end = text.find(|c: char| c.is_ascii_digit() != is_number);
    &text[..end.unwrap_or(text.len())]
}

fn is_number(chunk: &str) -> bool {
    chunk.starts_with(|c: char| c.is_ascii_digit())
}

fn compare_numbers(one: &str, two: &str) -> Ordering {
    let (one, two) = (one.trim_start_matches('0'), two.trim_start_matches('0'));
    one.len().cmp(&two.len()).then_with(|| one.cmp(two))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_labels_count_as_numbers() {
        let mut values =
            ["node10", "node9", "", "node", "node01x", "node1x", "node1", "rack", "2", "node100000000000000000000"];
        values.sort_by(|one, two| compare_naturally(one, two));
        let order =
            ["", "2", "node", "node1", "node01x", "node1x", "node9", "node10", "node100000000000000000000", "rack"];
        assert_eq!(values, order);
    }

    #[test]
    fn labels_that_agree_are_told_apart_by_all_others() {
        let labels = |a: &str, b: &str| Labels::from_pairs([("a", a), ("b", b)]);
        let names = [Arc::from("b")];
        assert_eq!(compare_labels(&labels("x", "2"), &labels("a", "10"), &names), Ordering::Less);
        assert_eq!(compare_labels(&labels("x", "2"), &labels("a", "2"), &names), Ordering::Greater);
    }
}
