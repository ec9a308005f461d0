//! What collector and gateway say to each other around the frames.
//!
//! ```text
//! POST /v1/push      content-type: application/vnd.fedgate.frames; v=1
//!                    x-fedgate-clock-ms: the sender's clock, optional
//!   body: frames of one stream, one after the other, definitions before what refers to them
//!   answer: application/json, one verdict
//!
//!   200 {"acked":7}                        frames up to 7 are applied
//!   401 403 {"reason":"…"}                 who are you; you may not
//!   409 {"expected":5}                     there is a gap: go on from frame 5
//!   412 {"key":true,"schemas":["00ff…"]}   state is missing here: a KEY, these schemas
//!   413 {"limit_bytes":4194304}            the body is too long
//!   415 {"versions":[1]}                   a content type or version that is not known here
//!   422 {"seq":7,"reason":"…"}             frame 7 is damaged
//!   429 503 {"reason":"…"}                 Retry-After: seconds
//!
//! GET /v1/identity   answer: application/json, what the gateway takes the caller for
//! ```
//!
//! One verdict answers a body: that of the first frame that could not be applied, or 200. Frames before it are applied
//! and stay so; the next answer's `acked` says it. No verdict means "drop": whatever the gateway answers, the collector
//! keeps what was not acknowledged.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::snapshot::{SchemaHash, negotiate};

/// Where frames are posted.
pub const PUSH_PATH: &str = "/v1/push";
/// Where a collector asks what it is taken for.
pub const IDENTITY_PATH: &str = "/v1/identity";
/// The sender's wall clock when it sent the body, in milliseconds since the epoch. Frames that waited in a queue have an older
/// clock of their own, from which nobody could tell how far the sender's is off.
pub const CLOCK_HEADER: &str = "x-fedgate-clock-ms";
/// Bytes of a push body that a gateway takes unless it is configured otherwise, and that a collector sends at most.
pub const BODY_BYTES_MAX: usize = 4 << 20;
/// Bytes of an answer that a collector reads; a verdict that lists every schema of a large site stays below.
pub const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Schemas that one 412 names; the rest are asked for after these have come.
pub const MISSING_SCHEMAS_MAX: usize = 4096;

/// Whether a body of this content type can be read here.
pub fn is_supported(content_type: &str) -> bool {
    negotiate::version_of(content_type).is_some_and(|version| negotiate::SUPPORTED.contains(&version))
}

/// Frame versions that this program reads, newest first.
pub fn versions() -> Vec<u8> {
    negotiate::SUPPORTED.iter().rev().copied().collect()
}

/// The hash that names a schema, written as 32 hex digits.
pub type SchemaName = String;

/// The hash of a schema's name; `None` where it is none.
pub fn parse_schema_name(name: &str) -> Option<SchemaHash> {
    let mut hash = [0; 16];
    if name.len() != 32 || !name.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, digits) in hash.iter_mut().zip(name.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(SchemaHash(hash))
}

/// The gateway's answer to one body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Applied; the stream stands at frame `acked` (0 before its first state frame).
    Acked {
        /// The last frame applied.
        acked: u64,
    },
    /// The frame does not follow on the last one applied.
    Gap {
        /// The sequence number that would.
        expected: u64,
    },
    /// State that the frame builds on is not here: the gateway restarted, or forgot a silent stream.
    Missing {
        /// Whether a KEY is needed.
        key: bool,
        /// Schemas that were not defined in this stream.
        schemas: Vec<SchemaName>,
    },
    /// The body or a frame is over a limit.
    TooLarge {
        /// Bytes that a body may have.
        limit_bytes: u64,
    },
    /// Another content type or version than those spoken here.
    Unsupported {
        /// Versions spoken here, newest first.
        versions: Vec<u8>,
    },
    /// A frame cannot be read, or is another one than an earlier one with its number.
    Damaged {
        /// Its sequence number, 0 where it has none or it cannot be read.
        seq: u64,
        /// What was found and expected.
        reason: String,
    },
    /// The certificate names nobody (any more).
    Unauthenticated {
        /// Why not.
        reason: String,
    },
    /// The certificate names somebody who may not push here.
    Forbidden {
        /// Why not.
        reason: String,
    },
    /// More samples than the cluster may send.
    SlowDown {
        /// When the same body may come again.
        retry_after: Duration,
    },
    /// The gateway cannot take anything now.
    Busy {
        /// When the same body may come again.
        retry_after: Duration,
    },
}

/// An answer that is none of the table above.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// A status that no gateway gives: some proxy between, or another server.
    #[error("status {status} is no verdict of a gateway")]
    Status {
        /// The status.
        status: u16,
    },
    /// A status of the table with a body that does not belong to it.
    #[error("status {status} came with a body that is not its verdict: {reason}")]
    Body {
        /// The status.
        status: u16,
        /// What is wrong with it.
        reason: String,
    },
}

#[derive(Serialize, Deserialize)]
struct AckedBody {
    acked: u64,
}

#[derive(Serialize, Deserialize)]
struct GapBody {
    expected: u64,
}

#[derive(Serialize, Deserialize)]
struct MissingBody {
    #[serde(default)]
    key: bool,
    #[serde(default)]
    schemas: Vec<SchemaName>,
}

#[derive(Serialize, Deserialize)]
struct TooLargeBody {
    limit_bytes: u64,
}

#[derive(Serialize, Deserialize)]
struct UnsupportedBody {
    versions: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct DamagedBody {
    #[serde(default)]
    seq: u64,
    reason: String,
}

#[derive(Serialize, Deserialize)]
struct ReasonBody {
    reason: String,
}

impl Verdict {
    /// The HTTP status that says it.
    pub fn status(&self) -> u16 {
        match self {
            Verdict::Acked { .. } => 200,
            Verdict::Unauthenticated { .. } => 401,
            Verdict::Forbidden { .. } => 403,
            Verdict::Gap { .. } => 409,
            Verdict::Missing { .. } => 412,
            Verdict::TooLarge { .. } => 413,
            Verdict::Unsupported { .. } => 415,
            Verdict::Damaged { .. } => 422,
            Verdict::SlowDown { .. } => 429,
            Verdict::Busy { .. } => 503,
        }
    }

    /// The JSON body that belongs to the status.
    pub fn body(&self) -> String {
        let json = match self.clone() {
            Verdict::Acked { acked } => serde_json::to_string(&AckedBody { acked }),
            Verdict::Gap { expected } => serde_json::to_string(&GapBody { expected }),
            Verdict::Missing { key, schemas } => serde_json::to_string(&MissingBody { key, schemas }),
            Verdict::TooLarge { limit_bytes } => serde_json::to_string(&TooLargeBody { limit_bytes }),
            Verdict::Unsupported { versions } => serde_json::to_string(&UnsupportedBody { versions }),
            Verdict::Damaged { seq, reason } => serde_json::to_string(&DamagedBody { seq, reason }),
            Verdict::Unauthenticated { reason } | Verdict::Forbidden { reason } => {
                serde_json::to_string(&ReasonBody { reason })
            }
            Verdict::SlowDown { .. } => {
                serde_json::to_string(&ReasonBody { reason: "over the cluster's samples_per_second".to_owned() })
            }
            Verdict::Busy { .. } => serde_json::to_string(&ReasonBody { reason: "busy".to_owned() }),
        };
        json.expect("numbers and strings can always be written")
    }

    /// The wait that goes into the header `Retry-After`.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Verdict::SlowDown { retry_after } | Verdict::Busy { retry_after } => Some(*retry_after),
            _ => None,
        }
    }

    /// Reads an answer; `retry_after` is what the header of that name said.
    pub fn parse(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Result<Verdict, AnswerError> {
        fn read<'a, T: Deserialize<'a>>(status: u16, body: &'a [u8]) -> Result<T, AnswerError> {
            serde_json::from_slice(body).map_err(|fault| AnswerError::Body { status, reason: fault.to_string() })
        }
        let reason = || reason_text(body);
        let retry_after = retry_after.unwrap_or_default();
        Ok(match status {
            200 => Verdict::Acked { acked: read::<AckedBody>(status, body)?.acked },
            // A proxy's own 401 or 403 has another body; the collector does the same about it.
            401 => Verdict::Unauthenticated { reason: reason() },
            403 => Verdict::Forbidden { reason: reason() },
            409 => Verdict::Gap { expected: read::<GapBody>(status, body)?.expected },
            412 => {
                let MissingBody { key, schemas } = read(status, body)?;
                Verdict::Missing { key, schemas }
            }
            413 => Verdict::TooLarge { limit_bytes: read::<TooLargeBody>(status, body)?.limit_bytes },
            415 => Verdict::Unsupported { versions: read::<UnsupportedBody>(status, body)?.versions },
            422 => {
                let DamagedBody { seq, reason } = read(status, body)?;
                Verdict::Damaged { seq, reason: beginning(&reason, OWN_REASON_CHARS_MAX) }
            }
            429 => Verdict::SlowDown { retry_after },
            503 => Verdict::Busy { retry_after },
            status => return Err(AnswerError::Status { status }),
        })
    }
}

/// Characters of a foreign body that go into a log line.
const REASON_CHARS_MAX: usize = 200;
/// Characters of a gateway's own reason, which may name several things that it found and expected.
const OWN_REASON_CHARS_MAX: usize = 1000;

/// The beginning of the reason in a body, or of the body where it is none of ours.
pub(super) fn reason_text(body: &[u8]) -> String {
    match serde_json::from_slice::<ReasonBody>(body) {
        Ok(own) => beginning(&own.reason, OWN_REASON_CHARS_MAX),
        Err(_) => beginning(String::from_utf8_lossy(body).trim(), REASON_CHARS_MAX),
    }
}

fn beginning(reason: &str, chars_max: usize) -> String {
    reason.chars().take(chars_max).collect()
}

/// The answer of `GET /v1/identity`: what the gateway takes the caller's certificate for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityAnswer {
    /// The cluster of the inventory.
    pub cluster: String,
    /// Its environment, empty where the inventory gives none.
    #[serde(default)]
    pub environment: String,
    /// Every label that the gateway stamps on the cluster's series, `cluster` and `environment` included.
    pub labels: BTreeMap<String, String>,
    /// The name of the certificate that was found in the inventory.
    pub collector: String,
    /// The gateway's wall clock in milliseconds since the epoch.
    pub gateway_ms: i64,
    /// Frame versions that the gateway speaks, newest first.
    pub versions: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_cannot_fill_the_log_with_one_reason() {
        let long = "x".repeat(100_000);
        for verdict in [Verdict::Forbidden { reason: long.clone() }, Verdict::Damaged { seq: 1, reason: long.clone() }]
        {
            let (status, body) = (verdict.status(), verdict.body());
            let reason = match Verdict::parse(status, None, body.as_bytes()).unwrap() {
                Verdict::Forbidden { reason } | Verdict::Damaged { reason, .. } => reason,
                other => panic!("{other:?}"),
            };
            assert_eq!(reason.len(), OWN_REASON_CHARS_MAX);
        }
    }

    #[test]
    fn every_verdict_is_read_as_it_was_written() {
        let wait = Duration::from_secs(3);
        let verdicts = [
            Verdict::Acked { acked: 7 },
            Verdict::Gap { expected: 5 },
            Verdict::Missing { key: true, schemas: vec!["00ff".to_owned()] },
            Verdict::TooLarge { limit_bytes: 10 },
            Verdict::Unsupported { versions: vec![2, 1] },
            Verdict::Damaged { seq: 9, reason: "crc \"x\"".to_owned() },
            Verdict::Unauthenticated { reason: "revoked".to_owned() },
            Verdict::Forbidden { reason: "unknown".to_owned() },
            Verdict::SlowDown { retry_after: wait },
            Verdict::Busy { retry_after: wait },
        ];
        for verdict in verdicts {
            let read = Verdict::parse(verdict.status(), verdict.retry_after(), verdict.body().as_bytes());
            assert_eq!(read, Ok(verdict));
        }
    }

    #[test]
    fn foreign_answers_are_no_verdicts() {
        assert_eq!(Verdict::parse(404, None, b"not here"), Err(AnswerError::Status { status: 404 }));
        assert!(matches!(Verdict::parse(200, None, b"<html>"), Err(AnswerError::Body { status: 200, .. })));
        let proxy = Verdict::parse(403, None, b" no way ");
        assert_eq!(proxy, Ok(Verdict::Forbidden { reason: "no way".to_owned() }));
    }

    #[test]
    fn schemas_are_named_by_their_hash() {
        let hash = SchemaHash([0xa5; 16]);
        assert_eq!(parse_schema_name(&hash.to_string()), Some(hash));
        for bad in [
            "",
            "a5",
            "zz000000000000000000000000000000",
            "+5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5",
            "ä5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a",
        ] {
            assert_eq!(parse_schema_name(bad), None, "{bad}");
        }
    }
}
