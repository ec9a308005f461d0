//! What an endpoint's answer means.
//!
//! | answer | then |
//! |---|---|
//! | 2xx | delivered; to a 2.0 request without `-Written` headers it came from a receiver of 1.0 that understood nothing: send as 1.0 |
//! | 415 | send as 1.0; if that is what was sent, see 401 |
//! | 400, 409 (Thanos), 422 | the samples are at fault: divide the part until one bad series is alone, and count that one. If the receiver says that it wrote the rest, count what it did not |
//! | … to a part that an earlier run may have sent | delivered then: the receiver has newer samples already |
//! | 413 | divide the part |
//! | 429, 408, 425, 5xx, no answer | send again, for ever; `Retry-After` says when |
//! | 401, 403, 404, 405, 407, 3xx | the configuration is at fault, not the samples: send again, slowly, and say so |
//! | any other 4xx | the part is dropped and counted |
//!
//! The specification says that no 4xx but 429 must be sent again, and Prometheus drops what a wrong password refuses. fedgate does not:
//! whoever acknowledged a sample does not lose it because a token ran out.
//!
//! Invariant: the text of an answer decides under which reason something is counted, and never whether it is.

use std::time::Duration;

use http::{HeaderMap, StatusCode};

use super::request::Version;
use super::rows::Counts;
use crate::model::Timestamp;
use crate::net::retry_after;
use crate::remote_write::message::{EXEMPLARS_WRITTEN, HISTOGRAMS_WRITTEN, SAMPLES_WRITTEN};

/// Why samples are not at the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LossReason {
    /// The receiver has a newer sample of the series; its out-of-order window is too short.
    OutOfOrder,
    /// Too far ahead of the receiver's clock, or outside what it takes.
    OutOfBounds,
    /// Older than its out-of-order window.
    TooOld,
    /// It has another value at this time.
    Duplicate,
    /// A single series is too large for it.
    TooLarge,
    /// Refused for another reason: the log has its words.
    Rejected,
    /// It said that it wrote fewer than it was sent, and not why.
    NotWritten,
    /// Older than `sample_age_limit` when their turn came.
    SampleAge,
    /// Native histograms without `send_native_histograms`.
    HistogramsOff,
    /// The journal had to make room before they were sent, or was damaged.
    Journal,
}

impl LossReason {
    /// Every reason.
    pub const ALL: [LossReason; 10] = [
        LossReason::OutOfOrder,
        LossReason::OutOfBounds,
        LossReason::TooOld,
        LossReason::Duplicate,
        LossReason::TooLarge,
        LossReason::Rejected,
        LossReason::NotWritten,
        LossReason::SampleAge,
        LossReason::HistogramsOff,
        LossReason::Journal,
    ];

    /// The value of the label `reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            LossReason::OutOfOrder => "out_of_order",
            LossReason::OutOfBounds => "out_of_bounds",
            LossReason::TooOld => "too_old",
            LossReason::Duplicate => "duplicate",
            LossReason::TooLarge => "too_large",
            LossReason::Rejected => "rejected",
            LossReason::NotWritten => "not_written",
            LossReason::SampleAge => "sample_age",
            LossReason::HistogramsOff => "histograms_off",
            LossReason::Journal => "journal",
        }
    }

    /// The reason that a receiver's words name.
    fn of_text(text: &str) -> LossReason {
        let text = text.to_ascii_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
        if says(&["too old", "too far in the past", "outside of the out-of-order"]) {
            LossReason::TooOld
        } else if says(&["out of bounds", "too far in the future"]) {
            LossReason::OutOfBounds
        } else if says(&["duplicate sample", "duplicate timestamp", "same timestamp"]) {
            LossReason::Duplicate
        } else if says(&["out of order", "out-of-order"]) {
            LossReason::OutOfOrder
        } else {
            LossReason::Rejected
        }
    }
}

/// What came back.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// What the receiver says it wrote; a header that is missing beside others is a zero.
    pub written: Option<Counts>,
    /// How long it asks to be left alone.
    pub retry_after: Option<Duration>,
    /// Its words, cut.
    pub text: String,
}

impl Answer {
    /// Reads status and headers; `now` is what a date of `Retry-After` counts from.
    pub fn new(status: StatusCode, headers: &HeaderMap, text: String, now: Timestamp) -> Answer {
        Answer { status, written: written(headers), retry_after: retry_after(headers, now), text }
    }
}

fn written(headers: &HeaderMap) -> Option<Counts> {
    let read = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    let read = [SAMPLES_WRITTEN, HISTOGRAMS_WRITTEN, EXEMPLARS_WRITTEN].map(read);
    let [samples, histograms, exemplars] = read.map(Option::unwrap_or_default);
    read.iter().any(Option::is_some).then_some(Counts { samples, histograms, exemplars })
}

/// What was sent.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// As which message.
    pub version: Version,
    /// What the part holds.
    pub counts: Counts,
    /// An earlier run may have sent it.
    pub is_replayed: bool,
    /// Whether 1.0 may be sent instead.
    pub may_fall_back: bool,
    /// Whether the endpoint has shown that it knows 2.0.
    pub is_confirmed: bool,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is there, but for what is named.
    Delivered(Option<(LossReason, Counts)>),
    /// Send it again after a pause, or after this one.
    Again(Option<Duration>),
    /// Send it again, and everything else, after a long pause.
    Misconfigured,
    /// Send it again as 1.0, as all that follows.
    FallBack,
    /// Send its halves; a single row is lost.
    Divide(LossReason),
    /// Nothing of it is there, nor will be.
    Lost(LossReason),
}

/// Judges an answer.
pub fn judge(answer: &Answer, asked: &Asked) -> Verdict {
    match answer.status.as_u16() {
        200..=299 => judge_success(answer, asked),
        400 | 409 | 422 => judge_refusal(answer, asked),
        413 => Verdict::Divide(LossReason::TooLarge),
        415 if asked.may_fall_back => Verdict::FallBack,
        408 | 425 | 429 | 500..=599 => Verdict::Again(answer.retry_after),
        300..=399 | 401 | 403 | 404 | 405 | 407 | 415 => Verdict::Misconfigured,
        _ => Verdict::Lost(LossReason::of_text(&answer.text)),
    }
}

fn judge_success(answer: &Answer, asked: &Asked) -> Verdict {
    match (asked.version, answer.written) {
        (Version::V1, _) => Verdict::Delivered(None),
        (Version::V2, Some(written)) => Verdict::Delivered(shortfall(asked, written, LossReason::NotWritten)),
        (Version::V2, None) if asked.may_fall_back => Verdict::FallBack,
        (Version::V2, None) => Verdict::Misconfigured,
    }
}

fn judge_refusal(answer: &Answer, asked: &Asked) -> Verdict {
    let reason = LossReason::of_text(&answer.text);
    match answer.written.filter(|_| asked.version == Version::V2) {
        // It may be a receiver of 1.0 that makes nothing of a 2.0 request.
        None if asked.may_fall_back && !asked.is_confirmed => Verdict::FallBack,
        _ if asked.is_replayed => Verdict::Delivered(None),
        Some(written) if written.rows() > 0 => Verdict::Delivered(shortfall(asked, written, reason)),
        _ => Verdict::Divide(reason),
    }
}

fn shortfall(asked: &Asked, written: Counts, reason: LossReason) -> Option<(LossReason, Counts)> {
    let lost = asked.counts.less(&written);
    (lost != Counts::default()).then_some((reason, lost))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_name_the_reason() {
        for (text, reason) in [
            ("out of order sample\n", LossReason::OutOfOrder),
            ("out of bounds", LossReason::OutOfBounds),
            ("too old sample", LossReason::TooOld),
            ("the sample has been rejected because another sample with the same timestamp", LossReason::Duplicate),
            ("duplicate sample for timestamp", LossReason::Duplicate),
            ("label value too long", LossReason::Rejected),
        ] {
            assert_eq!(LossReason::of_text(text), reason, "{text}");
        }
    }
}
