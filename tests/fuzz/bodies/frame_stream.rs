//! Frames of one stream, as a gateway takes them: the frame, its definitions, its scrapes.
//!
//! Promises: a frame is applied whole or changes nothing; what a stream came to, encoded again as a collector would, decodes
//! to the same state, bit for bit.

use std::collections::BTreeMap;
use std::sync::Arc;

use fedgate::model::{Labels, Timestamp};
use fedgate::snapshot::{
    ApplyError, Beside, Encoder, Frame, FrameLimits, LeftOut, Outcome, Report, SchemaCache, Scrape, StreamId,
    StreamState, TargetState,
};

use super::unpacked::{Records, START_MS, limits};

/// A definition's names are mended so often at most.
const RENAMES_MAX: usize = 4;
/// Later than every tick that a record can have.
const LATER: Timestamp = Timestamp(START_MS + 10_000_000);

/// Takes the records' frames one by one.
pub(crate) fn run(input: &[u8]) {
    let mut records = Records::parse(input);
    read(&mut records).check_encoded_again();
}

/// How many state frames of the input a stream takes: a seed of another frame format would be refused without a word.
pub(crate) fn applied(input: &[u8]) -> usize {
    read(&mut Records::parse(input)).applied
}

/// What the records come to; their definitions have their right names behind it.
pub(super) fn read(records: &mut Records) -> Stream {
    let mut stream = Stream::new();
    for at in 0..records.len() {
        for _ in 0..RENAMES_MAX {
            match stream.take(&records.frame(at)) {
                Err(ApplyError::Corrupt { reason, .. }) if records.rename(at, &reason) => {}
                _ => break,
            }
        }
    }
    stream
}

/// A stream as the gateway keeps it.
pub(super) struct Stream {
    state: StreamState,
    limits: FrameLimits,
    cache: SchemaCache,
    is_whole: bool,
    applied: usize,
}

/// One target as a map's value: everything that a reader can see of it.
type Shown = (u128, Vec<u64>, String, (Timestamp, std::time::Duration, Outcome, Report));

impl Stream {
    fn new() -> Stream {
        let state = StreamState::new(StreamId(*b"0123456789abcdef"));
        Stream { state, limits: limits(), cache: SchemaCache::new(), is_whole: true, applied: 0 }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), ApplyError> {
        let Ok((frame, _)) = Frame::parse(bytes, &self.limits) else { return Ok(()) };
        if frame.header().kind.is_definition() {
            return self.state.define(&frame, &self.limits, &self.cache);
        }
        let before = self.seen();
        match self.state.apply(&frame, &self.limits) {
            Ok(applied) => {
                self.applied += 1;
                self.is_whole = applied.publish;
            }
            Err(fault) => {
                assert_eq!(self.seen(), before, "refused ({fault}), and yet changed");
                return Err(fault);
            }
        }
        Ok(())
    }

    fn seen(&self) -> (u64, Vec<(u32, Shown)>) {
        (self.state.last_seq(), self.state.targets().map(|target| (target.number, shown(target))).collect())
    }

    fn check_encoded_again(&self) {
        let targets: BTreeMap<Labels, &TargetState> =
            self.state.targets().map(|target| ((*target.labels).clone(), target)).collect();
        // In the middle of a tick a target may be half read; and a collector has no two targets with the same labels.
        if !self.is_whole || targets.len() != self.state.targets().count() {
            return;
        }
        let scrapes: Vec<Scrape> = targets.values().map(|target| scrape(target)).collect();
        let mut encoder = Encoder::new(StreamId(*b"0123456789abcdef"), self.state.started(), self.limits.clone());
        let mut again = Stream::new();
        for frame in encoder.tick(LATER, LATER, &scrapes, true) {
            again.take(&frame.bytes).unwrap_or_else(|fault| panic!("our own frame was refused: {fault}"));
        }
        if encoder.left_out() == LeftOut::default() {
            let told: BTreeMap<Labels, Shown> =
                again.state.targets().map(|target| ((*target.labels).clone(), shown(target))).collect();
            assert_eq!(told, targets.into_iter().map(|(labels, target)| (labels, shown(target))).collect());
        }
    }
}

fn shown(target: &TargetState) -> Shown {
    let facts = (target.started, target.duration, target.outcome, target.report);
    let bits = target.column.iter().map(f64::to_bits).collect();
    (u128::from_be_bytes(target.schema.hash().0), bits, beside(&target.beside), facts)
}

/// As text, because a NaN equals nothing; Rust writes every other `f64` so that it can be told apart.
fn beside(beside: &Beside) -> String {
    format!("{beside:?}")
}

fn scrape(target: &TargetState) -> Scrape {
    Scrape {
        target: Arc::clone(&target.labels),
        started: target.started,
        duration: target.duration,
        outcome: target.outcome,
        report: target.report,
        schema: target.schema.clone(),
        values: target.column.iter().collect(),
        beside: (*target.beside).clone(),
    }
}
