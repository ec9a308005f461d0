//! The fast lane of one push URL: the newest state, sent ahead of a backlog.
//!
//! Invariant: only one snapshot waits, the newest; nothing is ever sent twice. Whatever goes wrong, what is left of the snapshot is
//! forgotten: the next tick brings a newer one. Then it is told in a stream of its own that stands on nothing, because nobody
//! knows what the gateway has of this one.

use std::collections::VecDeque;

use bytes::Bytes;

use super::protocol::Verdict;
use super::step::Body;
use crate::snapshot::EncodedFrame;

/// See the module's page.
#[derive(Debug)]
pub struct Lane {
    /// What is to be sent of the newest snapshot.
    waiting: VecDeque<Bytes>,
    /// Which snapshot that is.
    offered: Option<u64>,
    /// The last snapshot that the gateway has whole.
    told: Option<u64>,
    is_in_flight: bool,
    body_bytes_max: usize,
}

impl Lane {
    /// Nothing to send; a body has at most so many bytes, unless a single frame has more.
    pub fn new(body_bytes_max: usize) -> Lane {
        Lane { waiting: VecDeque::new(), offered: None, told: None, is_in_flight: false, body_bytes_max }
    }

    /// Takes the frames of a snapshot, numbered in the order of snapshots, in place of what waits.
    pub fn offer(&mut self, number: u64, frames: &[EncodedFrame]) {
        self.waiting = frames.iter().map(|frame| frame.bytes.clone()).collect();
        self.offered = Some(number);
        self.told = None;
    }

    /// Whether the gateway has everything that this snapshot and those before it in its stream told.
    pub fn has(&self, number: u64) -> bool {
        self.told == Some(number)
    }

    /// What goes next, if anything may.
    pub fn next_body(&mut self) -> Option<Body> {
        if self.is_in_flight || self.waiting.is_empty() {
            return None;
        }
        let mut body = Body::default();
        while let Some(piece) = self.waiting.front() {
            if body.bytes > 0 && body.bytes + piece.len() > self.body_bytes_max {
                break;
            }
            body.bytes += piece.len();
            body.pieces.extend(self.waiting.pop_front());
        }
        self.is_in_flight = true;
        Some(body)
    }

    /// Takes the verdict on the body in flight.
    pub fn answered(&mut self, verdict: &Verdict) {
        self.is_in_flight = false;
        match verdict {
            Verdict::Acked { .. } if self.waiting.is_empty() => self.told = self.offered.take(),
            Verdict::Acked { .. } => {}
            Verdict::TooLarge { limit_bytes } => {
                let limit = usize::try_from(*limit_bytes).unwrap_or(usize::MAX);
                self.body_bytes_max = limit.min(self.body_bytes_max / 2).max(1);
                self.give_up();
            }
            _ => self.give_up(),
        }
    }

    /// Takes that the body in flight got no verdict.
    pub fn failed(&mut self) {
        self.is_in_flight = false;
        self.give_up();
    }

    fn give_up(&mut self) {
        self.waiting.clear();
        (self.offered, self.told) = (None, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::FrameKind;

    fn frames(lengths: &[usize]) -> Vec<EncodedFrame> {
        let frame = |length: &usize| EncodedFrame {
            kind: FrameKind::Key,
            seq: 1,
            bytes: Bytes::from(vec![0; *length]),
            samples: 0,
            schemas: Vec::new(),
            more: false,
        };
        lengths.iter().map(frame).collect()
    }

    #[test]
    fn a_snapshot_goes_body_by_body_and_is_told_when_all_of_it_was_taken() {
        let mut lane = Lane::new(10);
        lane.offer(1, &frames(&[6, 4, 12]));
        assert_eq!(lane.next_body().map(|body| body.bytes), Some(10));
        assert_eq!(lane.next_body(), None, "one at a time");
        lane.answered(&Verdict::Acked { acked: 0 });
        assert!(!lane.has(1));
        assert_eq!(lane.next_body().map(|body| body.bytes), Some(12));
        lane.answered(&Verdict::Acked { acked: 1 });
        assert!(lane.has(1) && lane.next_body().is_none());
    }

    #[test]
    fn what_goes_wrong_is_not_tried_again_and_the_gateway_may_know_nothing() {
        for wrong in
            [None, Some(Verdict::Missing { key: true, schemas: Vec::new() }), Some(Verdict::Gap { expected: 1 })]
        {
            let mut lane = Lane::new(10);
            lane.offer(1, &frames(&[6, 6]));
            lane.next_body();
            match wrong {
                Some(verdict) => lane.answered(&verdict),
                None => lane.failed(),
            }
            assert!(lane.next_body().is_none() && !lane.has(1));
            lane.offer(2, &frames(&[6]));
            assert!(lane.next_body().is_some());
        }
    }

    #[test]
    fn a_newer_snapshot_takes_the_place_of_what_waits() {
        let mut lane = Lane::new(6);
        lane.offer(1, &frames(&[6, 6]));
        lane.next_body();
        lane.offer(2, &frames(&[3]));
        lane.answered(&Verdict::Acked { acked: 1 });
        assert!(!lane.has(1) && !lane.has(2));
        assert_eq!(lane.next_body().map(|body| body.bytes), Some(3));
        lane.answered(&Verdict::Acked { acked: 2 });
        assert!(lane.has(2));
    }
}
