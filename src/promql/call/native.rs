//! Functions of native histograms alone: one number each.

use crate::promql::compensated::CompensatedSum;
use crate::promql::function::Function;
use crate::promql::histogram::FloatHistogram;
use crate::promql::value::{Cells, Vector};

/// The functions that take a native histogram and give a number.
pub(super) fn of_histogram(function: Function) -> Option<fn(&FloatHistogram) -> f64> {
    Some(match function {
        Function::HistogramCount => |histogram| histogram.count,
        Function::HistogramSum => |histogram| histogram.sum,
        Function::HistogramAvg => |histogram| histogram.sum / histogram.count,
        Function::HistogramStdvar => variance,
        Function::HistogramStddev => |histogram| variance(histogram).sqrt(),
        _ => return None,
    })
}

/// Each native histogram as `function` makes it; floats are left out, and the metric's name, though not its type and unit: so does
/// Prometheus 3.5 with these functions alone.
pub(super) fn mapped(vector: Vector, function: impl Fn(&FloatHistogram) -> f64) -> Vector {
    let mut cells = Cells::absent(vector.cells.floats.len());
    for (at, histogram) in &vector.cells.histograms {
        cells.floats[*at as usize] = function(histogram);
    }
    Vector { rows: vector.rows.without_bare_names(), cells }
}

/// Observations are taken to lie in the middle of their bucket: the geometric one of an exponential bucket, and in the zero bucket at zero.
fn variance(histogram: &FloatHistogram) -> f64 {
    let mean = histogram.sum / histogram.count;
    let mut squares = CompensatedSum::default();
    for bucket in histogram.buckets().filter(|bucket| bucket.count != 0.0) {
        let middle = if histogram.has_custom_buckets() {
            (bucket.upper + bucket.lower) / 2.0
        } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
            0.0
        } else {
            (bucket.upper * bucket.lower).sqrt().copysign(bucket.upper)
        };
        let delta = middle - mean;
        squares.add(bucket.count * delta * delta);
    }
    squares.total() / histogram.count
}
