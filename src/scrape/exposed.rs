//! A sample as a page exposes it, whatever the page's format.
//!
//! The two kinds of pages are read by cursors of different shape; what a scrape asks of a sample is the same. The functions that
//! build something are called for new series and for what a page has few of; the others cost nothing.

use super::error::PageError;
use super::rules::HistogramRules;
use crate::exposition::SampleLine;
use crate::exposition::protobuf::{Part, ProtobufReader};
use crate::model::{Exemplar, HistogramFault, LabelsBuilder, NativeHistogram, Timestamp};

/// What a scrape asks of a sample.
pub(super) trait Exposed {
    /// Whether a series has several spellings on such a page. As Prometheus has it labels of a line keep their order, others
    /// are sorted.
    const HAS_SPELLINGS: bool;

    /// What stands for the series from page to page.
    fn key(&self) -> &[u8];
    /// The value as it stands on the page, to be compared with the next one's; empty where that is of no use.
    fn value_text(&self) -> &[u8];
    /// The value of a float.
    fn value(&self) -> f64;
    /// The sample's own timestamp.
    fn timestamp(&self) -> Option<Timestamp>;
    /// When its counter, histogram or summary began to count.
    fn start(&self) -> Option<Timestamp>;
    /// Replaces the content of `labels` by the sample's labels as exposed.
    fn labels(&self, labels: &mut LabelsBuilder) -> Result<(), PageError>;
    /// Whether the page says something of this label, be it that it is empty.
    fn has_label(&self, name: &str) -> bool;
    /// Whether the sample has an exemplar, be it a bad one; of floats only.
    fn has_exemplar(&self) -> bool;
    /// The exemplar; `None` where it is none that can be taken.
    fn exemplar(&self, labels: &mut LabelsBuilder) -> Option<Exemplar>;
    /// Whether the sample is a native histogram.
    fn is_native(&self) -> bool;
    /// Whether the job takes such samples.
    fn is_wanted(&self, rules: &HistogramRules) -> bool;
    /// The native histogram.
    fn histogram(&self) -> Result<NativeHistogram, HistogramFault>;
    /// The exemplars of a native histogram; `None` where one cannot be taken.
    fn exemplars(&self, labels: &mut LabelsBuilder) -> Vec<Option<Exemplar>>;
}

impl Exposed for SampleLine<'_> {
    const HAS_SPELLINGS: bool = true;

    #[inline]
    fn key(&self) -> &[u8] {
        self.key
    }

    #[inline]
    fn value_text(&self) -> &[u8] {
        self.value_text
    }

    #[inline]
    fn value(&self) -> f64 {
        self.value
    }

    #[inline]
    fn timestamp(&self) -> Option<Timestamp> {
        self.timestamp
    }

    #[inline]
    fn start(&self) -> Option<Timestamp> {
        None
    }

    fn labels(&self, labels: &mut LabelsBuilder) -> Result<(), PageError> {
        Ok(SampleLine::labels(self, labels)?)
    }

    fn has_label(&self, name: &str) -> bool {
        self.pairs().any(|pair| pair.name == Some(name))
    }

    #[inline]
    fn has_exemplar(&self) -> bool {
        self.exemplar.is_some()
    }

    fn exemplar(&self, labels: &mut LabelsBuilder) -> Option<Exemplar> {
        self.exemplar?.read(labels)
    }

    #[inline]
    fn is_native(&self) -> bool {
        false
    }

    #[inline]
    fn is_wanted(&self, _: &HistogramRules) -> bool {
        true
    }

    /// Text has none, so nobody asks.
    fn histogram(&self) -> Result<NativeHistogram, HistogramFault> {
        Err(HistogramFault::NotCustom("no form in text"))
    }

    fn exemplars(&self, _: &mut LabelsBuilder) -> Vec<Option<Exemplar>> {
        Vec::new()
    }
}

/// The sample at which a cursor over a protobuf page stands.
pub(super) struct ProtobufSample<'r, 'p> {
    pub(super) reader: &'r ProtobufReader<'p>,
    pub(super) part: Part,
    pub(super) value: f64,
}

impl Exposed for ProtobufSample<'_, '_> {
    const HAS_SPELLINGS: bool = false;

    #[inline]
    fn key(&self) -> &[u8] {
        self.reader.key()
    }

    #[inline]
    fn value_text(&self) -> &[u8] {
        b""
    }

    #[inline]
    fn value(&self) -> f64 {
        self.value
    }

    #[inline]
    fn timestamp(&self) -> Option<Timestamp> {
        self.reader.timestamp()
    }

    #[inline]
    fn start(&self) -> Option<Timestamp> {
        self.reader.start()
    }

    fn labels(&self, labels: &mut LabelsBuilder) -> Result<(), PageError> {
        Ok(self.reader.labels(labels)?)
    }

    fn has_label(&self, name: &str) -> bool {
        self.reader.has_label(name)
    }

    #[inline]
    fn has_exemplar(&self) -> bool {
        self.reader.has_exemplar()
    }

    fn exemplar(&self, labels: &mut LabelsBuilder) -> Option<Exemplar> {
        self.reader.exemplar(labels)
    }

    #[inline]
    fn is_native(&self) -> bool {
        self.part == Part::Native
    }

    #[inline]
    fn is_wanted(&self, rules: &HistogramRules) -> bool {
        rules.native || !self.is_native()
    }

    fn histogram(&self) -> Result<NativeHistogram, HistogramFault> {
        self.reader.histogram()
    }

    fn exemplars(&self, labels: &mut LabelsBuilder) -> Vec<Option<Exemplar>> {
        self.reader.exemplars(labels)
    }
}
