//! Reading delimited protobuf: pages of `io.prometheus.client.MetricFamily` messages, each behind its length.
//!
//! [`ProtobufReader`] is a cursor over the samples of a page, in the order and under the names that Prometheus 3.5 gives
//! them (`model/textparse/protobufparse.go`): a histogram becomes `_count`, `_sum` and `_bucket` samples, or one native
//! histogram, or both. Known fields of a wrong wire type, lengths that lead out of their message, and texts that are not
//! UTF-8 refuse the page; unknown fields are passed over, as protobuf demands.
//!
//! Nothing is copied: a message's numbers are read into room that the next one uses again, its texts stay where they stand
//! on the page until a series is new. What stands for a series from page to page is [`ProtobufReader::key`].
//!
//! Differences from Prometheus are deliberate and few. More parts (buckets, spans, quantiles, exemplars) of one metric than
//! [`PARTS_MAX`] are refused. Each native histogram of a family keeps its exemplars (Prometheus forgets how many of the one
//! before it had read and begins there). An untyped metric whose value is left out is 0 (Prometheus takes the value of the
//! metric before it).

mod error;
mod exemplar;
mod family;
mod histogram;
mod metric;
mod reader;
mod wire;

pub use error::{ProtobufError, ProtobufFault};
pub use exemplar::ProtobufExemplar;
pub use metric::PARTS_MAX;
pub use reader::{FamilyHead, HistogramForms, Part, ProtobufEntry, ProtobufReader};
