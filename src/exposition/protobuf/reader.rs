//! The cursor over a page's samples, in Prometheus 3.5's order.
//!
//! | family of type | samples of each metric |
//! |---|---|
//! | counter, gauge, untyped | the value |
//! | summary | `_count`, `_sum`, each quantile |
//! | (gauge) histogram, classic | `_count`, `_sum`, `_bucket` up to +Inf, which is made where the page has none |
//! | (gauge) histogram, native | the native histogram; then the classic samples, if they are asked for and there are buckets |
//!
//! Which of the two forms a histogram is read in is decided at the family's first metric; later ones are read as the one
//! before was, until a metric read as classic shows itself to be the other kind. That is no rule that one would choose, but
//! it is Prometheus's.
//!
//! A family without metrics is passed over unread. Samples before a fault are handed out before the fault is.

use super::error::ProtobufError;
use super::exemplar::ProtobufExemplar;
use super::family::{Head, LabelPairs, add_labels, next_metric, read_head};
use super::metric::MetricMessage;
use super::wire::{Range, delimited};
use crate::exposition::float::write_openmetrics_value;
use crate::model::{
    Exemplar, HistogramFault, LabelsBuilder, METRIC_NAME, MetricType, NativeHistogram, ResetHint, STALE_NAN, Timestamp,
    normal_nan,
};

/// First byte of every key: no line of a text page begins with it.
const KEY_MARK: u8 = 0xff;

/// What a job wants of histograms that have both forms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistogramForms {
    /// The classic samples of a histogram that has native buckets, too.
    pub also_classic: bool,
}

/// What a page says of a family before its samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FamilyHead<'a> {
    /// Not empty.
    pub name: &'a str,
    /// Empty where there is none.
    pub help: &'a str,
    /// One of the six types that protobuf has.
    pub kind: MetricType,
    /// A suffix of the name, or empty.
    pub unit: &'a str,
}

/// Which sample of its metric one is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Part {
    /// The value of a counter, gauge or untyped metric.
    Value,
    /// `_count`
    Count,
    /// `_sum`
    Sum,
    /// `_bucket` with this `le`.
    Bucket(f64),
    /// This quantile.
    Quantile(f64),
    /// The native histogram.
    Native,
}

/// One step of the cursor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ProtobufEntry<'a> {
    /// A family begins.
    Family(FamilyHead<'a>),
    /// A sample of the family: its value is the number, but for [`Part::Native`]. More of it is asked of the reader.
    Sample(Part, f64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Before a family.
    Family,
    /// Before a metric, which is read in the native form or not.
    Metric { native: bool },
    /// Before the n-th classic sample of the metric that was read.
    Classic(usize),
    /// Behind the native histogram of the metric that was read.
    Native,
}

/// Reads one page, sample by sample.
#[derive(Debug)]
pub struct ProtobufReader<'a> {
    page: &'a [u8],
    forms: HistogramForms,
    /// Where the next family begins.
    next: usize,
    at: At,
    family: Range,
    head: Head,
    name: &'a str,
    kind: MetricType,
    /// Where the fields behind the metric that was read begin.
    behind: usize,
    metric: MetricMessage,
    /// Whether the family's first metric was read and had no turn yet.
    is_read: bool,
    part: Part,
    /// Of the sample's bucket.
    exemplar: Option<ProtobufExemplar>,
    key: Vec<u8>,
    /// Bytes of the key that all samples of the family have, and all of the metric.
    family_key: usize,
    metric_key: usize,
}

impl<'a> ProtobufReader<'a> {
    /// A cursor before the first family.
    pub fn new(page: &'a [u8], forms: HistogramForms) -> ProtobufReader<'a> {
        ProtobufReader {
            page,
            forms,
            next: 0,
            at: At::Family,
            family: Range::default(),
            head: Head::default(),
            name: "",
            kind: MetricType::Unknown,
            behind: 0,
            metric: MetricMessage::default(),
            is_read: false,
            part: Part::Value,
            exemplar: None,
            key: Vec::new(),
            family_key: 0,
            metric_key: 0,
        }
    }

    /// The next entry; `None` at the page's end. After an error the page is refused.
    // Not `Iterator`: a `Result<Option<_>>` cannot be passed over by accident.
    #[allow(clippy::should_implement_trait)]
    #[inline]
    pub fn next(&mut self) -> Result<Option<ProtobufEntry<'a>>, ProtobufError> {
        loop {
            match self.at {
                At::Classic(nth) => match self.classic(nth) {
                    Some((part, value)) => return Ok(Some(self.sample(part, value, At::Classic(nth + 1)))),
                    None => self.at = At::Metric { native: self.is_native() },
                },
                At::Native if self.forms.also_classic && !self.metric.histogram.buckets.is_empty() => {
                    self.at = At::Classic(0);
                }
                At::Native => self.at = At::Metric { native: true },
                At::Metric { native } => {
                    if !self.read_metric()? {
                        self.at = At::Family;
                    } else if native {
                        return Ok(Some(self.sample(Part::Native, 0.0, At::Native)));
                    } else {
                        self.at = At::Classic(0);
                    }
                }
                At::Family => match self.read_family()? {
                    Some(head) => return Ok(Some(ProtobufEntry::Family(head))),
                    None if self.next == self.page.len() => return Ok(None),
                    None => {}
                },
            }
        }
    }

    /// Whether histograms of the family are read in the native form from the metric that was read on.
    fn is_native(&self) -> bool {
        matches!(self.kind, MetricType::Histogram | MetricType::GaugeHistogram) && self.metric.histogram.is_native()
    }

    /// The next family's head; `None` at the page's end, or where the family has no metric.
    fn read_family(&mut self) -> Result<Option<FamilyHead<'a>>, ProtobufError> {
        if self.next == self.page.len() {
            return Ok(None);
        }
        self.family = delimited(self.page, self.next)?;
        self.next = self.family.end;
        self.head = read_head(self.page, self.family)?;
        let Some(first) = self.head.first else {
            return Ok(None);
        };
        self.metric.read(self.page, first)?;
        let head = self.head.check(self.page)?;
        (self.name, self.kind) = (head.name, head.kind);
        self.begin_key();
        self.at = At::Metric { native: self.is_native() };
        (self.behind, self.is_read) = (first.end, true);
        Ok(Some(head))
    }

    /// Reads the next metric of the family; false if there is none.
    #[inline]
    fn read_metric(&mut self) -> Result<bool, ProtobufError> {
        if !std::mem::take(&mut self.is_read) {
            let Some(metric) = next_metric(self.page, self.behind, self.family.end)? else {
                return Ok(false);
            };
            self.behind = metric.end;
            self.metric.read(self.page, metric)?;
        }
        self.key.truncate(self.family_key);
        for piece in &self.metric.labels {
            self.key.extend_from_slice(piece.of(self.page));
        }
        self.metric_key = self.key.len();
        Ok(true)
    }

    /// The n-th classic sample of the metric.
    #[inline]
    fn classic(&mut self, nth: usize) -> Option<(Part, f64)> {
        self.exemplar = None;
        match self.kind {
            MetricType::Histogram | MetricType::GaugeHistogram => self.of_histogram(nth),
            MetricType::Summary => self.of_summary(nth),
            _ if nth > 0 => None,
            MetricType::Counter => {
                self.exemplar = self.metric.counter.exemplar;
                Some((Part::Value, self.metric.counter.value))
            }
            MetricType::Gauge => Some((Part::Value, self.metric.gauge)),
            _ => Some((Part::Value, self.metric.untyped)),
        }
    }

    fn of_summary(&self, nth: usize) -> Option<(Part, f64)> {
        let summary = &self.metric.summary;
        match nth {
            0 => Some((Part::Count, summary.count as f64)),
            1 => Some((Part::Sum, summary.sum)),
            _ => summary.quantiles.get(nth - 2).map(|(quantile, value)| (Part::Quantile(*quantile), *value)),
        }
    }

    /// Buckets behind the one to +Inf are passed over.
    fn of_histogram(&mut self, nth: usize) -> Option<(Part, f64)> {
        let histogram = &self.metric.histogram;
        let Some(at) = nth.checked_sub(2) else {
            return Some(match nth {
                0 => (Part::Count, histogram.observations()),
                _ => (Part::Sum, histogram.sum),
            });
        };
        if self.part == Part::Bucket(f64::INFINITY) {
            return None;
        }
        match histogram.buckets.get(at) {
            Some(bucket) => {
                self.exemplar = bucket.exemplar;
                Some((Part::Bucket(bucket.upper_bound), bucket.cumulative()))
            }
            None => Some((Part::Bucket(f64::INFINITY), histogram.observations())),
        }
    }

    #[inline]
    fn sample(&mut self, part: Part, value: f64, at: At) -> ProtobufEntry<'a> {
        self.at = at;
        self.part = part;
        self.end_key();
        ProtobufEntry::Sample(part, known_nan(value))
    }

    /// What stands for the sample's series: equal bytes are the same series, on any page. It is the family's name, the
    /// labels as they stand on the page, and which sample of the metric it is.
    #[inline]
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    fn begin_key(&mut self) {
        self.key.clear();
        self.key.push(KEY_MARK);
        self.key.extend_from_slice(&(self.name.len() as u32).to_le_bytes());
        self.key.extend_from_slice(self.name.as_bytes());
        self.family_key = self.key.len();
    }

    /// The key's last nine bytes: the part's number and its bound.
    #[inline]
    fn end_key(&mut self) {
        let (number, bound) = match self.part {
            Part::Value => (0, 0.0),
            Part::Count => (1, 0.0),
            Part::Sum => (2, 0.0),
            Part::Bucket(bound) => (3, bound),
            Part::Quantile(quantile) => (4, quantile),
            Part::Native => (5, 0.0),
        };
        self.key.truncate(self.metric_key);
        self.key.push(number);
        self.key.extend_from_slice(&bound.to_bits().to_le_bytes());
    }

    /// Replaces the content of `labels` by the sample's: with `__name__`, `le` and `quantile`, without empty ones. Fails
    /// where a text is no UTF-8, a name is empty or a label given twice.
    pub fn labels(&self, labels: &mut LabelsBuilder) -> Result<(), ProtobufError> {
        labels.clear();
        let suffix = match self.part {
            Part::Count => "_count",
            Part::Sum => "_sum",
            Part::Bucket(_) => "_bucket",
            Part::Value | Part::Quantile(_) | Part::Native => "",
        };
        match suffix {
            "" => labels.set(METRIC_NAME, self.name),
            suffix => labels.set(METRIC_NAME, &[self.name, suffix].concat()),
        };
        match self.part {
            Part::Bucket(bound) => labels.set("le", &bound_text(bound)),
            Part::Quantile(quantile) => labels.set("quantile", &bound_text(quantile)),
            _ => labels,
        };
        add_labels(self.page, &self.metric.labels, labels)
    }

    /// Whether the page says something of the label `name`, be it that it is empty.
    pub fn has_label(&self, name: &str) -> bool {
        let mut pairs = self.metric.labels.iter().flat_map(|piece| LabelPairs::new(self.page, *piece));
        pairs.any(|pair| pair.name == Some(name.as_bytes()))
    }

    /// The metric's own timestamp; protobuf cannot tell 0 from none.
    #[inline]
    pub fn timestamp(&self) -> Option<Timestamp> {
        (self.metric.timestamp_ms != 0).then_some(Timestamp(self.metric.timestamp_ms))
    }

    /// When the counter, histogram or summary began to count.
    #[inline]
    pub fn start(&self) -> Option<Timestamp> {
        let created = match self.kind {
            MetricType::Counter => self.metric.counter.created,
            MetricType::Summary => self.metric.summary.created,
            MetricType::Histogram | MetricType::GaugeHistogram => self.metric.histogram.created,
            _ => None,
        };
        created.filter(|created| *created != Timestamp(0))
    }

    /// Whether the sample, one of floats, has an exemplar.
    #[inline]
    pub fn has_exemplar(&self) -> bool {
        self.exemplar.is_some()
    }

    /// The exemplar of a float sample; `None` where it has none that can be taken.
    pub fn exemplar(&self, labels: &mut LabelsBuilder) -> Option<Exemplar> {
        self.exemplar?.read(self.page, labels)
    }

    /// The exemplars of a native histogram, those of its classic buckets where it has none of its own. As in Prometheus
    /// ones without a timestamp do not count. Each is `None` where it cannot be taken.
    pub fn exemplars(&self, labels: &mut LabelsBuilder) -> Vec<Option<Exemplar>> {
        let histogram = &self.metric.histogram;
        let own = histogram.exemplars.iter().copied();
        let of_buckets = histogram.buckets.iter().filter_map(|bucket| bucket.exemplar);
        let of_buckets = of_buckets.filter(|_| histogram.exemplars.is_empty());
        let timed = own.chain(of_buckets).filter(|exemplar| exemplar.timestamp.is_some());
        timed.map(|exemplar| exemplar.read(self.page, labels)).collect()
    }

    /// The native histogram of [`Part::Native`].
    pub fn histogram(&self) -> Result<NativeHistogram, HistogramFault> {
        let is_gauge = self.kind == MetricType::GaugeHistogram;
        self.metric.histogram.native(if is_gauge { ResetHint::Gauge } else { ResetHint::Unknown })
    }
}

fn bound_text(bound: f64) -> String {
    let mut text = Vec::new();
    write_openmetrics_value(&mut text, bound);
    String::from_utf8(text).expect("numbers are written in ASCII")
}

/// Protobuf carries any NaN. The stale marker stays what it is; every other one becomes the ordinary one.
#[inline]
fn known_nan(value: f64) -> f64 {
    if value.is_nan() && value.to_bits() != STALE_NAN { normal_nan() } else { value }
}
