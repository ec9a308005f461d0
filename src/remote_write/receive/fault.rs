//! What is refused of a request, and the word that counts it.

use std::fmt;

/// Why a whole request cannot be read; nothing of it was taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestFault {
    /// Not snappy's block format.
    #[error("body is no snappy block")]
    Compression,
    /// It announces more bytes than the limit, or more than snappy can pack.
    #[error("request of {bytes} bytes uncompressed, expected at most {max}")]
    TooLong {
        /// What it announces.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// No protobuf message of this kind.
    #[error("malformed request: {0}")]
    Malformed(&'static str),
    /// More of something than a request may hold.
    #[error("request with over {max} {what}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        max: usize,
    },
}

/// Why one series, sample or exemplar of a request is refused; the others are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refused {
    /// No `__name__`.
    NoName,
    /// An empty or repeated label name, an odd number of references, or one beyond the symbols.
    Labels,
    /// More labels, or longer ones, than the cluster may send.
    LabelLimit,
    /// A label that the inventory stamps, and the policy is to reject.
    Conflict,
    /// A name that only the gateway may use.
    GatewayName,
    /// The cluster has as many series as it may.
    SeriesLimit,
    /// Older than the newest sample of its series.
    OutOfOrder,
    /// As old as the newest sample of its series, with another value.
    Duplicate,
    /// Too far ahead of the gateway's clock.
    Ahead,
    /// A native histogram that breaks its own rules.
    Histogram,
    /// An exemplar of a series that has no sample.
    Exemplar,
}

impl Refused {
    /// The value of the counter's label `reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Refused::NoName => "no_metric_name",
            Refused::Labels => "labels_invalid",
            Refused::LabelLimit => "label_limit",
            Refused::Conflict => "label_conflict",
            Refused::GatewayName => "gateway_name",
            Refused::SeriesLimit => "series_limit",
            Refused::OutOfOrder => "out_of_order",
            Refused::Duplicate => "duplicate",
            Refused::Ahead => "ahead_of_clock",
            Refused::Histogram => "histogram_invalid",
            Refused::Exemplar => "exemplar_without_series",
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refused::NoName => "series without metric name",
            Refused::Labels => "invalid labels",
            Refused::LabelLimit => "labels over the cluster's limits",
            Refused::Conflict => "label conflicts with the inventory's",
            Refused::GatewayName => "metric name is the gateway's own",
            Refused::SeriesLimit => "over the cluster's limit of series",
            Refused::OutOfOrder => "out of order sample",
            Refused::Duplicate => "duplicate sample for timestamp",
            Refused::Ahead => "out of bounds: sample too far in the future",
            Refused::Histogram => "invalid native histogram",
            Refused::Exemplar => "exemplar of a series without sample",
        })
    }
}
