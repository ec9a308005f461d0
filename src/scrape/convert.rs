//! Classic histograms made native ones with custom buckets (`convert_classic_histograms_to_nhcb`).
//!
//! The series `_bucket`, `_sum` and `_count` of one label set stand beside each other on every page; they are collected until
//! a series of another one comes, or a line about a family. Only series of the family whose TYPE line came last are collected,
//! and only if that says histogram. A histogram that the page exposes natively too is not converted a second time.
//!
//! What does not fit together (counts that fall, that are negative, or that contradict the total) is dropped, and counted.
//! Source: Prometheus 3.5's `util/convertnhcb`. One difference: the histogram has the timestamp of its own series, and not
//! of the one that follows.

use std::cmp::Ordering;

use super::error::PageError;
use super::exposed::Exposed;
use super::rules::HistogramRules;
use crate::exposition::parse_value;
use crate::model::{
    BucketCount, Buckets, CUSTOM_BUCKETS_SCHEMA, Counts, Exemplar, HISTOGRAM_BUCKETS_MAX, HistogramCounts,
    HistogramFault, Labels, LabelsBuilder, METRIC_NAME, MetricType, NativeHistogram, ResetHint, Timestamp,
};

/// First byte of a converted histogram's key: neither a line nor a protobuf sample begins with it.
const KEY_MARK: u8 = 0xfe;
/// Empty buckets between two others that are kept, as in Prometheus.
const GAP_MAX: i64 = 2;
/// From here on not every whole number is an `f64`, so a float that large is no count.
const EXACT_END: f64 = 9_007_199_254_740_992.0;

/// The label of a bucket's upper bound.
const LE: &str = "le";

/// Which series of a classic histogram one is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Series {
    Bucket(f64),
    Sum,
    Count,
}

/// What a sample is to the conversion.
pub(super) enum Place {
    /// Nothing: it is taken as it is.
    Foreign,
    /// A series of the histogram with these labels.
    Part(Part),
}

/// A series of a classic histogram.
pub(super) struct Part {
    histogram: Labels,
    series: Series,
}

/// The conversion of one page.
#[derive(Debug, Default)]
pub(super) struct Conversion {
    /// The family of the last TYPE line, if that said histogram.
    family: Option<String>,
    collected: Option<Collected>,
    /// A native histogram whose classic series may follow.
    native: Option<Labels>,
    room: LabelsBuilder,
}

/// What was found of one histogram so far.
#[derive(Debug)]
struct Collected {
    labels: Labels,
    /// Ascending by bound, cumulative counts.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
    is_bad: bool,
    timestamp: Option<Timestamp>,
    start: Option<Timestamp>,
    exemplars: Vec<Option<Exemplar>>,
}

impl Conversion {
    /// A TYPE line.
    pub(super) fn set_family(&mut self, name: &str, kind: MetricType) {
        self.family = (kind == MetricType::Histogram).then(|| name.to_owned());
    }

    /// Where a sample belongs.
    pub(super) fn place(&mut self, sample: &impl Exposed) -> Result<Place, PageError> {
        let Some(family) = &self.family else {
            return Ok(Place::Foreign);
        };
        sample.labels(&mut self.room)?;
        if sample.is_native() {
            self.native = Some(self.room.build());
            return Ok(Place::Foreign);
        }
        let Some(series) = series_of(&self.room, family) else {
            return Ok(Place::Foreign);
        };
        self.room.remove(LE).set(METRIC_NAME, family);
        let histogram = self.room.build();
        self.native = self.native.take().filter(|native| *native == histogram);
        if self.native.is_some() {
            return Ok(Place::Foreign);
        }
        Ok(Place::Part(Part { histogram, series }))
    }

    /// The histogram that is whole because what comes next is no part of it. `Err` where it cannot be converted.
    pub(super) fn finish(&mut self, next: &Place) -> Option<Result<Converted, HistogramFault>> {
        let goes_on = |own: &mut Collected| matches!(next, Place::Part(part) if part.histogram == own.labels);
        self.collected.take_if(|own| !goes_on(own)).map(Converted::new)
    }

    /// Collects a series of the histogram that is being collected, or of a new one.
    pub(super) fn add(&mut self, part: Part, sample: &impl Exposed) {
        let collected = self.collected.get_or_insert_with(|| Collected::new(part.histogram, sample.start()));
        collected.timestamp = sample.timestamp();
        if sample.has_exemplar() {
            collected.exemplars.push(sample.exemplar(&mut self.room));
        }
        match part.series {
            Series::Bucket(bound) => collected.add_bucket(bound, sample.value()),
            Series::Sum => collected.sum = sample.value(),
            Series::Count => {
                collected.is_bad |= sample.value() < 0.0;
                collected.count = Some(sample.value());
            }
        }
    }
}

/// Which series of the histogram `family` has these labels.
fn series_of(labels: &LabelsBuilder, family: &str) -> Option<Series> {
    match labels.get(METRIC_NAME).strip_prefix(family)? {
        "_bucket" => parse_value(labels.get(LE).as_bytes()).filter(|bound| !bound.is_nan()).map(Series::Bucket),
        "_sum" => Some(Series::Sum),
        "_count" => Some(Series::Count),
        _ => None,
    }
}

impl Collected {
    fn new(labels: Labels, start: Option<Timestamp>) -> Collected {
        Collected {
            labels,
            buckets: Vec::new(),
            count: None,
            sum: 0.0,
            is_bad: false,
            timestamp: None,
            start,
            exemplars: Vec::new(),
        }
    }

    /// Puts a bucket in its place; one whose bound is there already says nothing.
    fn add_bucket(&mut self, bound: f64, count: f64) {
        let at = self.buckets.partition_point(|(own, _)| *own < bound);
        if self.buckets.get(at).is_some_and(|(own, _)| *own == bound) {
            return;
        }
        let falls = at.checked_sub(1).is_some_and(|before| count < self.buckets[before].1)
            || self.buckets.get(at).is_some_and(|(_, after)| count > *after);
        self.is_bad |= count < 0.0 || falls || self.buckets.len() > HISTOGRAM_BUCKETS_MAX;
        if !self.is_bad {
            self.buckets.insert(at, (bound, count));
        }
    }

    /// Without a total the last bucket has it; without a bucket to +Inf the total is that bucket.
    fn complete(&mut self) -> f64 {
        let last = self.buckets.last().copied();
        let count = self.count.or(last.map(|(_, count)| count)).unwrap_or(0.0);
        if last.is_none_or(|(bound, _)| bound != f64::INFINITY) {
            self.buckets.push((f64::INFINITY, count));
        }
        count
    }

    fn histogram(&mut self) -> Result<NativeHistogram, HistogramFault> {
        let count = self.complete();
        let last = self.buckets.last().map_or(0.0, |(_, count)| *count);
        if self.is_bad || count.partial_cmp(&last) != Some(Ordering::Equal) {
            return Err(HistogramFault::NotCustom("counts that contradict each other"));
        }
        let is_whole = |count: f64| count < EXACT_END && count.trunc() == count;
        let counts = match self.buckets.iter().all(|(_, count)| is_whole(*count)) {
            true => HistogramCounts::Integer(
                self.counts(count as u64, GAP_MAX, |one, before| (one as u64).saturating_sub(before as u64)),
            ),
            false => HistogramCounts::Float(self.counts(count, 0, |one, before| one - before)),
        };
        let histogram = NativeHistogram {
            reset_hint: ResetHint::Unknown,
            schema: CUSTOM_BUCKETS_SCHEMA,
            zero_threshold: 0.0,
            sum: self.sum,
            custom_bounds: self.buckets[..self.buckets.len() - 1].iter().map(|(bound, _)| *bound).collect(),
            counts,
        };
        histogram.check().map(|()| histogram)
    }

    fn counts<N: BucketCount>(&self, count: N, gap_max: i64, difference: impl Fn(f64, f64) -> N) -> Counts<N> {
        let before = std::iter::once(0.0).chain(self.buckets.iter().map(|(_, count)| *count));
        let own = self.buckets.iter().zip(before).map(|((_, count), before)| difference(*count, before));
        let positive = Buckets::of((0..).zip(own), gap_max);
        Counts { count, positive, ..Counts::default() }
    }
}

/// A classic histogram as a native one with custom buckets.
pub(super) struct Converted {
    key: Vec<u8>,
    labels: Labels,
    timestamp: Option<Timestamp>,
    start: Option<Timestamp>,
    exemplars: Vec<Option<Exemplar>>,
    histogram: NativeHistogram,
}

impl Converted {
    fn new(mut collected: Collected) -> Result<Converted, HistogramFault> {
        let histogram = collected.histogram()?;
        let Collected { labels, timestamp, start, mut exemplars, .. } = collected;
        // As in Prometheus those of native histograms need a timestamp.
        exemplars.retain(|exemplar| exemplar.as_ref().is_none_or(|exemplar| exemplar.timestamp.is_some()));
        let mut key = vec![KEY_MARK];
        for (name, value) in &labels {
            for text in [name, value] {
                key.extend_from_slice(&(text.len() as u32).to_le_bytes());
                key.extend_from_slice(text.as_bytes());
            }
        }
        Ok(Converted { key, labels, timestamp, start, exemplars, histogram })
    }
}

impl Exposed for Converted {
    const HAS_SPELLINGS: bool = false;

    fn key(&self) -> &[u8] {
        &self.key
    }

    fn value_text(&self) -> &[u8] {
        b""
    }

    fn value(&self) -> f64 {
        0.0
    }

    fn timestamp(&self) -> Option<Timestamp> {
        self.timestamp
    }

    fn start(&self) -> Option<Timestamp> {
        self.start
    }

    fn labels(&self, labels: &mut LabelsBuilder) -> Result<(), PageError> {
        labels.clear();
        for (name, value) in &self.labels {
            labels.set(name, value);
        }
        Ok(())
    }

    fn has_label(&self, name: &str) -> bool {
        self.labels.get(name).is_some()
    }

    fn has_exemplar(&self) -> bool {
        false
    }

    fn exemplar(&self, _: &mut LabelsBuilder) -> Option<Exemplar> {
        None
    }

    fn is_native(&self) -> bool {
        true
    }

    /// To convert it was asked for.
    fn is_wanted(&self, _: &HistogramRules) -> bool {
        true
    }

    fn histogram(&self) -> Result<NativeHistogram, HistogramFault> {
        Ok(self.histogram.clone())
    }

    fn exemplars(&self, _: &mut LabelsBuilder) -> Vec<Option<Exemplar>> {
        self.exemplars.clone()
    }
}
