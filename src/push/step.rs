//! What a sender is told and what it says: bounds, bodies, steps, and how far a URL has come.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::entry::{Place, Totals};

/// Bounds of a sender.
#[derive(Clone, Debug)]
pub struct SenderLimits {
    /// Bytes of frames that are kept in memory.
    pub queue_bytes_max: usize,
    /// Whether what is not in memory can be read again. Without, what passes the bound is dropped.
    pub has_spool: bool,
    /// Bytes of one request body.
    pub body_bytes_max: usize,
    /// Longest pause between two tries.
    pub backoff_max: Duration,
    /// Bytes a second that a backlog may take, if bounded.
    pub backlog_bytes_per_second: Option<u64>,
}

/// What a request did not get an answer for, or got one that is no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No connection, no answer in time, an answer of somebody else: the same again, later.
    Unanswered,
    /// The TLS handshake failed: certificates are to be read again before the next try.
    Tls,
}

/// What the owner of the encoder has to append to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fresh {
    /// A KEY.
    Key,
    /// A new stream, because the gateway takes nothing of this one.
    Stream,
}

/// One request body: pieces that follow one another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// The pieces, shared with the window.
    pub pieces: Vec<Bytes>,
    /// Their bytes together.
    pub bytes: usize,
}

/// What is to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this and report its answer.
    Send(Body),
    /// Ask again at this time.
    Wait(Instant),
    /// Append this to the log and hand it over with `Sender::push`.
    Make(Fresh),
    /// Everything is acknowledged, a request is in flight, or something is to be read.
    Idle,
}

/// What an answer means beyond the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Something new was acknowledged.
    pub progress: bool,
    /// Certificates are to be read again: the gateway does not accept the present ones.
    pub reload_certificates: bool,
}

/// Why entries will not be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// Memory was full, and there is no spool.
    Queue,
    /// The spool has its bytes.
    Bytes,
    /// They were too old.
    Age,
    /// The disk was nearly full.
    Space,
    /// The gateway would not take them, and a KEY further on took their place.
    Refused,
    /// The disk could not take them, or lost them.
    Unreadable,
}

impl DropReason {
    /// All of them.
    pub const ALL: [DropReason; 6] = [
        DropReason::Queue,
        DropReason::Bytes,
        DropReason::Age,
        DropReason::Space,
        DropReason::Refused,
        DropReason::Unreadable,
    ];

    /// A fixed word for the label `reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            DropReason::Queue => "queue_full",
            DropReason::Bytes => "spool_bytes",
            DropReason::Age => "spool_age",
            DropReason::Space => "spool_space",
            DropReason::Refused => "refused",
            DropReason::Unreadable => "unreadable",
        }
    }
}

/// How far a URL has everything: what is saved, so that a later process goes on there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Where the first entry stands that is not acknowledged.
    pub unacknowledged: Place,
    /// What stands before it.
    pub totals: Totals,
    /// Where the KEY begins that a gateway without state needs, if there is one.
    pub rewind: Option<Place>,
    /// KEYs since then that said GAP to this URL and have to say so again.
    pub gaps: Vec<Place>,
}
