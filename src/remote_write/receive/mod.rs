//! `POST /api/v1/write` on the push listener: a Prometheus, vmagent or Alloy as a cluster's collector.
//!
//! A request is read whole (`request`), its series sorted into targets (`sender`), and what is new in it becomes frames of a stream
//! that the gateway makes for the sender: one for each identity. These go the way of all frames: the same admission, limits,
//! history, journal and silence.
//!
//! | what | then |
//! |---|---|
//! | one scrape in several requests | a frame each; the series have timestamps of their own, so no frame needs the others |
//! | several samples of a series in one request | a frame for each, in order |
//! | the newest sample once more, same bits | taken as written: senders repeat requests |
//! | the same time with another value, or an older one | 400, as Prometheus answers; the rest of the request is taken in both versions |
//! | farther ahead than `limits.future_max` | 400 |
//! | an exemplar of a series without a sample | not counted as written, and no fault of the request, as in Prometheus |
//!
//! Why 1.0 is not rolled back as in Prometheus: senders drop a request that is answered 400, so the good rest would be lost.
//!
//! Invariant: a sender's state is what the store was given. Where frames are refused for the time being, the state is dropped with
//! the answer, and the request that comes again finds what the store has, as after a restart; so nothing is acknowledged that was not applied.

mod families;
mod fault;
mod fields;
mod histogram;
mod replicas;
mod request;
mod sender;
mod target;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

pub use fault::{Refused, RequestFault};
use replicas::Replicas;
pub use request::{Request, Version, unpack};
pub use sender::{LOOKBACK, Sender, Written};

use crate::model::Timestamp;
use crate::push::protocol::Verdict;
use crate::push::receive::{Outcome, Pusher, Receiver};
use crate::runtime::clock;
use crate::snapshot::{EncodedFrame, StreamId};

/// A sender whose stream was not heard for so long is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);
/// When a sender whose stream had to be begun again in vain asks again.
const AGAIN: Duration = Duration::from_secs(1);

/// What a sender is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Everything was taken, but for exemplars of series without a sample.
    Taken(Written),
    /// Some of it was refused for good; the rest was taken.
    Partly(Written),
    /// Nothing was read.
    Unreadable(RequestFault),
    /// Nothing was taken; what became of the frames.
    Refused(Verdict),
}

struct Held {
    heard: Instant,
    sender: Arc<Mutex<Option<Sender>>>,
}

/// Takes requests of remote write.
pub struct WriteReceiver {
    receiver: Arc<Receiver>,
    /// Bytes of a request uncompressed.
    bytes_max: usize,
    /// By cluster and identity. Each sender is locked while a request of it is applied.
    senders: Mutex<HashMap<(String, Arc<str>), Held>>,
    replicas: Replicas,
}

impl WriteReceiver {
    /// Takes requests of up to `bytes_max` bytes uncompressed and applies them through `receiver`.
    pub fn new(receiver: Arc<Receiver>, bytes_max: usize) -> WriteReceiver {
        WriteReceiver { receiver, bytes_max, senders: Mutex::default(), replicas: Replicas::default() }
    }

    /// What frames go through.
    pub fn receiver(&self) -> &Arc<Receiver> {
        &self.receiver
    }

    /// Takes a request, in the cluster's turn.
    pub async fn receive(self: &Arc<Self>, pusher: Pusher, body: Bytes, version: Version) -> Answer {
        let (own, cluster) = (self.clone(), pusher.cluster().to_owned());
        let job = move |_: &Receiver| own.apply(&pusher, &body, version, clock::now(), clock::monotonic());
        match self.receiver.receive_made(&cluster, job).await {
            (Verdict::Acked { .. }, Some(answer)) => answer,
            (verdict, _) => Answer::Refused(verdict),
        }
    }

    /// Takes a request at this moment: the frames' verdict, and the answer where that is one.
    pub fn apply(
        &self,
        pusher: &Pusher,
        body: &[u8],
        version: Version,
        wall: Timestamp,
        now: Instant,
    ) -> (Outcome, Answer) {
        let nothing_applied = Outcome { verdict: Verdict::Acked { acked: 0 }, safe_after: None };
        let unpacked = unpack(body, self.bytes_max);
        let request = unpacked.as_ref().map_err(Clone::clone).and_then(|message| Request::read(message, version));
        let request = match request {
            Ok(request) => request,
            Err(fault) => {
                self.receiver.request_refused(pusher, "request_unreadable", &fault.to_string());
                return (nothing_applied, Answer::Unreadable(fault));
            }
        };
        if let Some(written) = self.replicas.left_out(pusher, &request, now) {
            self.receiver.samples_deduplicated(pusher.cluster(), request.samples() as u64);
            return (nothing_applied, Answer::Taken(written));
        }
        let (outcome, written) = self.write(pusher, &request, wall, now);
        for (reason, samples, labels) in &written.refused {
            self.receiver.samples_refused(pusher.cluster(), reason.as_str(), *samples, labels);
        }
        // As in Prometheus: senders send exemplars apart from samples, and would take all that came with one for lost.
        let is_taken = written.refused.iter().all(|(reason, ..)| *reason == Refused::Exemplar);
        (outcome, if is_taken { Answer::Taken(written) } else { Answer::Partly(written) })
    }

    fn write(&self, pusher: &Pusher, request: &Request<'_>, wall: Timestamp, now: Instant) -> (Outcome, Written) {
        let held = self.sender(pusher, now);
        let mut held = held.lock().unwrap_or_else(|poisoned| {
            // A panic left it half-changed.
            let mut guard = poisoned.into_inner();
            *guard = None;
            guard
        });
        let policy = &pusher.membership.policy;
        let limits = self.receiver.store().frame_limits();
        let mut written = Written::default();
        let mut verdict = Verdict::Acked { acked: 0 };
        let mut sender = held.take().unwrap_or_else(|| {
            let mut sender = Sender::new(new_stream(), wall, policy.clone(), limits.clone());
            sender.resume(&self.receiver.store().written_by(pusher.cluster(), &pusher.membership.collector));
            sender
        });
        sender.set_policy(policy);
        let result = sender.write(request, wall, &mut written, |sender, frames| {
            let outcome = self.apply_frames(pusher, sender, &frames, wall, now);
            sender.safe_after = sender.safe_after.max(outcome.safe_after);
            verdict = outcome.verdict;
            if matches!(verdict, Verdict::Acked { .. }) { Ok(()) } else { Err(()) }
        });
        // What came before and is not safe yet, a request that brings nothing new must wait for all the same.
        let safe_after = sender.safe_after;
        if result.is_ok() {
            *held = Some(sender);
        }
        (Outcome { verdict, safe_after }, written)
    }

    fn sender(&self, pusher: &Pusher, now: Instant) -> Arc<Mutex<Option<Sender>>> {
        let mut senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        senders.retain(|_, held| now.saturating_duration_since(held.heard) < FORGOTTEN_AFTER);
        let key = (pusher.cluster().to_owned(), pusher.membership.collector.clone());
        let held = senders.entry(key).or_insert_with(|| Held { heard: now, sender: Arc::default() });
        held.heard = now;
        held.sender.clone()
    }

    /// Applies the frames of one round; a stream that the store forgot is begun again, once.
    fn apply_frames(
        &self,
        pusher: &Pusher,
        sender: &mut Sender,
        frames: &[EncodedFrame],
        wall: Timestamp,
        now: Instant,
    ) -> Outcome {
        let outcome = self.receiver.apply(pusher, &joined(frames), wall, now);
        if !is_forgotten(&outcome.verdict) {
            return outcome;
        }
        let frames = sender.begin_again(new_stream(), wall);
        let outcome = self.receiver.apply(pusher, &joined(&frames), wall, now);
        if !is_forgotten(&outcome.verdict) {
            return outcome;
        }
        Outcome { verdict: Verdict::Busy { retry_after: AGAIN }, ..outcome }
    }
}

/// Whether the store does not know what the frames build on.
fn is_forgotten(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Gap { .. } | Verdict::Missing { .. })
}

fn joined(frames: &[EncodedFrame]) -> Vec<u8> {
    frames.iter().flat_map(|frame| frame.bytes.iter().copied()).collect()
}

fn new_stream() -> StreamId {
    let mut id = [0; 16];
    getrandom::fill(&mut id).expect("the operating system gives random bytes");
    StreamId(id)
}
