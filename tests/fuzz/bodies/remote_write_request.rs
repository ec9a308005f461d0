//! Requests of remote write, one after the other from one sender, and the site that readers then see.
//!
//! Promises: every sample and exemplar of a request that can be read is counted once, as taken or as refused; no cluster shows more series
//! than its limit; the sender goes on after any request as if it had been a good one.
//!
//! Input: records of a byte that says which version, whether the bytes are packed already and how much later it comes, the
//! length (two bytes), and the message.

use std::time::Duration;

use fedgate::model::{Labels, Timestamp};
use fedgate::push::protocol::Verdict;
use fedgate::remote_write::message;
use fedgate::remote_write::receive::{Answer, Refused, Request, Version, WriteReceiver, unpack};
use fedgate::store::select;

use super::push_body::{SERIES_MAX, Site, policy};
use super::unpacked::START_MS;

const BYTES_MAX: usize = 1 << 16;

/// Bits of a record's first byte; the two above them choose how much later it comes.
const V2: u8 = 1;
const PACKED: u8 = 2;
const LATER_SECS: [u64; 4] = [0, 1, 70, 400];

/// Why a good request's series may be refused: for what the records before it left.
const MAY_BE: [Refused; 3] = [Refused::SeriesLimit, Refused::OutOfOrder, Refused::Duplicate];

/// Sends the records, and a request that is good.
pub(crate) fn run(mut input: &[u8]) {
    let mut policy = policy();
    policy.limits.samples_per_second = u64::MAX;
    let site = Site::under(policy);
    let written = WriteReceiver::new(site.receiver.clone(), BYTES_MAX);
    let mut at = Duration::ZERO;
    while let [flags, low, high, rest @ ..] = input {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (message, behind) = rest.split_at(length);
        input = behind;
        at += Duration::from_secs(LATER_SECS[usize::from(flags >> 2 & 3)]);
        let version = if flags & V2 == 0 { Version::V1 } else { Version::V2 };
        let body = if flags & PACKED == 0 { packed(message) } else { message.to_vec() };
        let answer = send(&site, &written, &body, version, at);
        check(&body, version, &answer);
    }
    let answer = send(&site, &written, &packed(&good(at)), Version::V1, at);
    let is_taken = match &answer {
        Answer::Taken(written) => written.samples == 1,
        Answer::Partly(written) => written.refused.iter().all(|(reason, ..)| MAY_BE.contains(reason)),
        Answer::Unreadable(_) | Answer::Refused(_) => false,
    };
    assert!(is_taken, "a good request: {answer:?}");
}

fn packed(message: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(message).expect("a message is short")
}

fn send(site: &Site, written: &WriteReceiver, body: &[u8], version: Version, at: Duration) -> Answer {
    let (wall, monotonic) = (Timestamp(START_MS) + at, site.began + at);
    let (outcome, answer) = written.apply(&site.pusher, body, version, wall, monotonic);
    assert!(matches!(outcome.verdict, Verdict::Acked { .. }), "{:?}", outcome.verdict);
    let view = site.store.view(wall, monotonic, None);
    drop(select(&view, &[Vec::new()]));
    let live: usize = view.targets.iter().map(|target| target.target.layout.live()).sum();
    assert!(live as u64 <= SERIES_MAX, "{live} series of at most {SERIES_MAX}");
    answer
}

/// Holds an answer against what the request has.
fn check(body: &[u8], version: Version, answer: &Answer) {
    let message = unpack(body, BYTES_MAX);
    let request = message.as_ref().ok().and_then(|message| Request::read(message, version).ok());
    let (written, is_partly) = match (answer, &request) {
        (Answer::Unreadable(_), None) => return,
        (Answer::Taken(written), Some(_)) => (written, false),
        (Answer::Partly(written), Some(_)) => (written, true),
        (answer, request) => panic!("{answer:?} of {request:?}"),
    };
    let refused: u64 = written.refused.iter().map(|(_, count, _)| count).sum();
    let is_told = written.refused.iter().any(|(reason, ..)| *reason != Refused::Exemplar);
    assert_eq!(is_partly, is_told);
    let request = request.expect("it can be read");
    let found = request.samples() + request.exemplars();
    assert_eq!(written.samples + written.histograms + written.exemplars + refused, found as u64, "{written:?}");
}

/// A series that records hardly speak of.
fn good(at: Duration) -> Vec<u8> {
    let mut out = Vec::new();
    message::put_series_v1(&mut out, |out| {
        message::put_labels(out, &Labels::from_pairs([("__name__", "last"), ("job", "last")]));
        message::put_sample(out, 1.0, Timestamp(START_MS) + at, None);
    });
    out
}
