//! The vocabulary of the metrics world: labels, matchers, timestamps, values, native histograms,
//! metadata, exemplars.
//!
//! Nothing here does I/O, reads a clock or knows a wire format. Every other module speaks these types, so a label
//! set parsed from a page, decoded from a frame or matched by a selector is one and the same thing.

mod buckets;
mod duration;
mod exemplar;
mod histogram;
mod labels;
mod matcher;
mod metadata;
mod template;
mod timestamp;
mod value;

pub use buckets::BucketCount;
pub use duration::{DurationError, format_duration, parse_duration};
pub use exemplar::Exemplar;
pub use histogram::{
    Buckets, CUSTOM_BUCKETS_SCHEMA, Counts, EXPONENTIAL_SCHEMA_MAX, EXPONENTIAL_SCHEMA_MIN, HISTOGRAM_BUCKETS_MAX,
    HistogramCounts, HistogramFault, HistogramSample, NativeHistogram, ResetHint, Span,
};
pub use labels::{
    INSTANCE, JOB, Labels, LabelsArena, LabelsBuilder, LabelsIter, LabelsWriter, METRIC_NAME, METRIC_TYPE, METRIC_UNIT,
    is_legacy_label_name, is_legacy_metric_name,
};
pub use matcher::{MatchOp, Matcher, MatcherError, anchored_regex, search_regex};
pub use metadata::{Metadata, MetricType};
pub use template::{Template, replace_all};
pub use timestamp::Timestamp;
pub use value::{HISTOGRAM_NAN, NORMAL_NAN, STALE_NAN, is_stale, normal_nan, stale_nan};
