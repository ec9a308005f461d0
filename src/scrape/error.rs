//! Why a scrape failed.
//!
//! Each of these is an `up 0` of one target and never more. The texts stand in the log and on the targets page.

use std::time::Duration;

use crate::exposition::protobuf::ProtobufError;
use crate::exposition::{ContentTypeError, ParseError};
use crate::model::{HistogramFault, Labels};

/// A page that cannot be taken.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PageError {
    /// It breaks its format's grammar, or a series has a label twice.
    #[error("bad page: {0}")]
    Parse(#[from] ParseError),
    /// It is no delimited protobuf, or a message says what it must not.
    #[error("bad page: {0}")]
    Protobuf(#[from] ProtobufError),
    /// A native histogram that contradicts itself.
    #[error("series {labels}: {fault}")]
    Histogram {
        /// The series.
        labels: Labels,
        /// What is wrong with it.
        fault: HistogramFault,
    },
    /// `native_histogram_bucket_limit`
    #[error("a native histogram has more buckets than native_histogram_bucket_limit {limit} at the coarsest schema")]
    BucketLimit {
        /// The job's.
        limit: u64,
    },
    /// Relabelling took the metric name away.
    #[error("series {labels} has no metric name, expected __name__")]
    NameMissing {
        /// The series.
        labels: Labels,
    },
    /// `sample_limit`
    #[error("{samples} samples, expected at most sample_limit {limit}")]
    SampleLimit {
        /// After relabelling.
        samples: u64,
        /// The job's.
        limit: u64,
    },
    /// `label_limit`
    #[error("a series of {metric} has {labels} labels, expected at most label_limit {limit}")]
    LabelLimit {
        /// The metric name.
        metric: String,
        /// The metric name among them.
        labels: u64,
        /// The job's.
        limit: u64,
    },
    /// `label_name_length_limit`
    #[error("label name {label:?} of {metric} is longer than label_name_length_limit {limit}")]
    LabelNameLength {
        /// The metric name.
        metric: String,
        /// The label.
        label: String,
        /// The job's, in bytes.
        limit: u64,
    },
    /// `label_value_length_limit`
    #[error("the value of label {label:?} of {metric} is longer than label_value_length_limit {limit}")]
    LabelValueLength {
        /// The metric name.
        metric: String,
        /// The label.
        label: String,
        /// The job's, in bytes.
        limit: u64,
    },
}

/// A scrape that ended as `up 0`.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ScrapeError {
    /// No answer: connection, TLS, proxy, a redirect that is not followed to its end.
    #[error("{0}")]
    Request(String),
    /// The page was not there in time.
    #[error("no whole page within the scrape time-out of {0:?}")]
    Timeout(Duration),
    /// Another status than 200.
    #[error("status {0}, expected 200")]
    Status(u16),
    /// Larger than allowed, after decompression.
    #[error("page over {limit} bytes, the limit on its size")]
    BodySize {
        /// `body_size_limit` or the collector's own limit.
        limit: u64,
    },
    /// No Content-Type that says how to read the page.
    #[error(transparent)]
    ContentType(#[from] ContentTypeError),
    /// The page itself.
    #[error(transparent)]
    Page(#[from] PageError),
    /// The job has more targets than it may.
    #[error("job has {targets} targets, expected at most target_limit {limit}")]
    TargetLimit {
        /// How many there are.
        targets: usize,
        /// The job's limit.
        limit: u64,
    },
    /// The collector has more work than it can do.
    #[error("page not read: {0}")]
    Overload(String),
}

impl ScrapeError {
    /// A word for the counter of failures.
    pub fn reason(&self) -> &'static str {
        match self {
            ScrapeError::Request(_) => "request",
            ScrapeError::Timeout(_) => "timeout",
            ScrapeError::Status(_) => "status",
            ScrapeError::BodySize { .. } => "body_size_limit",
            ScrapeError::ContentType(_) => "content_type",
            ScrapeError::Page(
                PageError::Parse(_)
                | PageError::Protobuf(_)
                | PageError::Histogram { .. }
                | PageError::NameMissing { .. },
            ) => "page",
            ScrapeError::Page(PageError::BucketLimit { .. }) => "bucket_limit",
            ScrapeError::Page(PageError::SampleLimit { .. }) => "sample_limit",
            ScrapeError::Page(_) => "label_limit",
            ScrapeError::TargetLimit { .. } => "target_limit",
            ScrapeError::Overload(_) => "overload",
        }
    }
}
