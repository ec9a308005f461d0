//! Exposition pages: text 0.0.4 and 1.0.0, OpenMetrics 1.0 and delimited protobuf, and the negotiation of which to use.
//!
//! Reading is strict, as Prometheus 3 is: one fault refuses the whole page, because a page cut short or garbled must
//! never pass for a target whose series vanished. What Prometheus accepts beyond the specifications is accepted too
//! (a missing comma, blanks before a name), so that a target keeps the series it had there.
//!
//! Reading allocates nothing per sample: a [`SampleLine`] borrows the page, and its raw key bytes serve as cache key, so
//! that labels are read only when a key is new and a number only when its text changed.

mod classic;
mod error;
mod escaping;
mod family;
mod float;
mod format;
mod key;
mod negotiate;
mod openmetrics;
mod parser;
pub mod protobuf;
mod protobuf_histogram;
pub mod protobuf_write;
mod scan;
mod text;
mod value;
mod write;

pub use classic::{ClassicBucket, ClassicHistogram};
pub use error::{Expected, ParseError};
pub use escaping::{Escaping, escape_label_name, escape_metric_name};
pub use family::belongs_to_family;
pub use float::{write_decimal, write_openmetrics_value, write_value};
pub use format::{ContentTypeError, Format, format_of_content_type};
pub use key::{LabelPairs, RawExemplar, RawPair};
pub use negotiate::{Encoding, Negotiated, SCRAPE_ACCEPT, negotiate_encoding, negotiate_federate, negotiate_metrics};
pub use parser::{Entry, Parser, Remembered, SampleLine, parser};
pub use protobuf_histogram::{
    is_count, put_spans, write_classic_histogram, write_federated_histogram, write_native_histogram, write_summary,
};
pub use protobuf_write::{
    write_counter, write_family_head, write_gauge, write_label_pair, write_metric, write_timestamp_ms, write_untyped,
    write_varint,
};
pub use value::parse_value;
pub use write::{
    write_eof, write_exemplar, write_help, write_label, write_label_value, write_millis, write_name, write_sample,
    write_seconds, write_series, write_type, write_unit,
};
