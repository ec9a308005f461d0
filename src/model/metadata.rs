//! What a metric family says of itself: type, help and unit.

use std::fmt;
use std::str::FromStr;

/// The OpenMetrics types; `Unknown` stands for text format's `untyped` too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum MetricType {
    /// `untyped` in the text format, `unknown` in OpenMetrics.
    #[default]
    Unknown = 0,
    /// Only grows, or starts again at zero.
    Counter = 1,
    /// Goes up and down.
    Gauge = 2,
    /// Cumulative `_bucket{le}`, `_sum`, `_count`.
    Histogram = 3,
    /// A histogram whose counts may fall: `_bucket`, `_gsum`, `_gcount`.
    GaugeHistogram = 4,
    /// `{quantile}`, `_sum`, `_count`.
    Summary = 5,
    /// Constant labels under `_info`, value 1.
    Info = 6,
    /// One series a state, value 0 or 1.
    StateSet = 7,
}

impl MetricType {
    /// Every type, in the order of its number.
    pub const ALL: [MetricType; 8] = [
        MetricType::Unknown,
        MetricType::Counter,
        MetricType::Gauge,
        MetricType::Histogram,
        MetricType::GaugeHistogram,
        MetricType::Summary,
        MetricType::Info,
        MetricType::StateSet,
    ];

    /// The OpenMetrics word.
    pub fn as_str(self) -> &'static str {
        match self {
            MetricType::Unknown => "unknown",
            MetricType::Counter => "counter",
            MetricType::Gauge => "gauge",
            MetricType::Histogram => "histogram",
            MetricType::GaugeHistogram => "gaugehistogram",
            MetricType::Summary => "summary",
            MetricType::Info => "info",
            MetricType::StateSet => "stateset",
        }
    }

    /// The type with this number, as [`MetricType`] numbers them.
    pub fn from_number(number: u8) -> Option<MetricType> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

impl fmt::Display for MetricType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for MetricType {
    type Err = ();

    /// Reads the OpenMetrics words; `untyped` is the text format's business.
    fn from_str(word: &str) -> Result<MetricType, ()> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word).ok_or(())
    }
}

/// A family's type, help and unit; empty strings where the page had none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Metadata {
    /// The TYPE line.
    pub kind: MetricType,
    /// The HELP line, unescaped.
    pub help: Box<str>,
    /// The UNIT line (OpenMetrics).
    pub unit: Box<str>,
}
