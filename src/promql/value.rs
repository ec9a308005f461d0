//! What expressions evaluate to.
//!
//! Invariant: a cell's bits say what it is. [`ABSENT`] (the stale marker's bits) is no sample, `HISTOGRAM_NAN` a histogram that
//! stands beside the block; every other `f64` is itself. Neither can come out of arithmetic by accident: operations on absent
//! cells are not computed, and hardware NaNs have other bits.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::histogram::FloatHistogram;
use super::rows::Rows;
use crate::model::{HISTOGRAM_NAN, Labels, STALE_NAN, Timestamp};

/// The bits of a cell without a sample.
pub const ABSENT: u64 = STALE_NAN;

/// The times of an evaluation: `count` of them, `step` apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps {
    /// The first.
    pub start: Timestamp,
    /// Milliseconds between two; above zero where there are two.
    pub step: i64,
    /// How many; at least one.
    pub count: u32,
}

impl Steps {
    /// One time alone.
    pub fn instant(at: Timestamp) -> Steps {
        Steps { start: at, step: 1, count: 1 }
    }

    /// The time of step `index`.
    pub fn at(&self, index: u32) -> Timestamp {
        Timestamp(self.start.0 + self.step * i64::from(index))
    }

    /// The last time.
    pub fn end(&self) -> Timestamp {
        self.at(self.count - 1)
    }

    /// All times, ascending.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Timestamp> + use<> {
        let steps = *self;
        (0..steps.count).map(move |index| steps.at(index))
    }
}

/// One sample of a vector.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// A number.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<FloatHistogram>),
}

/// A block of cells, row by row, a cell a step.
#[derive(Clone, Debug, Default)]
pub struct Cells {
    /// Numbers, [`ABSENT`] or `HISTOGRAM_NAN`.
    pub floats: Vec<f64>,
    /// By index into `floats`: exactly the cells that are `HISTOGRAM_NAN`.
    pub histograms: BTreeMap<u32, Arc<FloatHistogram>>,
}

impl Cells {
    /// `count` cells without a sample.
    pub fn absent(count: usize) -> Cells {
        Cells { floats: vec![f64::from_bits(ABSENT); count], histograms: BTreeMap::new() }
    }

    /// What stands in a cell.
    pub fn get(&self, at: usize) -> Option<Cell> {
        match self.floats[at].to_bits() {
            ABSENT => None,
            HISTOGRAM_NAN => self.histograms.get(&(at as u32)).cloned().map(Cell::Histogram),
            _ => Some(Cell::Float(self.floats[at])),
        }
    }

    /// Writes another block's cell over one that has no histogram.
    pub(super) fn copy(&mut self, to: usize, cells: &Cells, from: usize) {
        self.floats[to] = cells.floats[from];
        if let Some(histogram) = cells.histograms.get(&(from as u32)) {
            self.histograms.insert(to as u32, histogram.clone());
        }
    }

    /// Puts another block's cells behind these.
    pub(super) fn append(&mut self, other: Cells) {
        let first = self.floats.len() as u32;
        self.floats.extend(other.floats);
        self.histograms.extend(other.histograms.into_iter().map(|(at, histogram)| (first + at, histogram)));
    }

    /// Writes a cell; `None` empties it.
    pub fn set(&mut self, at: usize, cell: Option<Cell>) {
        if self.floats[at].to_bits() == HISTOGRAM_NAN {
            self.histograms.remove(&(at as u32));
        }
        self.floats[at] = match cell {
            None => f64::from_bits(ABSENT),
            Some(Cell::Float(value)) => value,
            Some(Cell::Histogram(histogram)) => {
                self.histograms.insert(at as u32, histogram);
                f64::from_bits(HISTOGRAM_NAN)
            }
        };
    }
}

/// Series with a cell a step. A row all of whose cells are absent is no series of the result.
#[derive(Clone, Debug)]
pub struct Vector {
    /// The label sets.
    pub rows: Arc<Rows>,
    /// `rows.len() × steps` cells.
    pub cells: Cells,
}

/// One series of a range: what `metric[5m]` alone gives.
#[derive(Clone, Debug)]
pub struct RangeSeries {
    /// Its labels.
    pub labels: Labels,
    /// Its samples, oldest first.
    pub samples: Vec<(Timestamp, Cell)>,
}

/// A result.
#[derive(Clone, Debug)]
pub enum Value {
    /// A number a step.
    Scalar(Vec<f64>),
    /// A string.
    String(Arc<str>),
    /// Series.
    Vector(Vector),
    /// Ranges of series; of an instant query only.
    Matrix(Vec<RangeSeries>),
}
