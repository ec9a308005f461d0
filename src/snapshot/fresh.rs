//! What an entry of a frame is to say, cut to what every reader takes.
//!
//! Invariant: what stands beside the slots of one chunk fits into half a frame, each histogram is good, and the histograms are exactly
//! those of the slots whose values say so. What a scrape brings beyond that is left out and counted; a sample whose histogram is left
//! out ends, for a mark without its histogram would say that there is a distribution where none is.

use std::borrow::Cow;
use std::sync::Arc;

use super::beside::Beside;
use super::chunk::CHUNK_SLOTS;
use super::facts::Facts;
use super::frame::FrameLimits;
use super::histograms::{self, HISTOGRAM_EXEMPLARS_MAX};
use super::lists::has_its_histograms;
use super::schema::Schema;
use super::scrape::Scrape;
use super::sparse::{self, EXEMPLAR_BYTES_MAX, SparseValue};
use crate::model::{Exemplar, HISTOGRAM_NAN, HistogramSample, Timestamp, stale_nan};

/// Parts of a frame that the exemplars, and the histograms, of one chunk may take.
const EXEMPLARS_SHARE: usize = 8;
const HISTOGRAMS_SHARE: usize = 3;

/// What an encoder left out because no gateway would take it. It only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Scrapes of targets beyond the limits on targets, slots or a target's labels.
    pub scrapes: u64,
    /// Exemplars with over 1 KiB of labels, or too many beside one another.
    pub exemplars: u64,
    /// Native histograms that break their own rules, or beyond what a frame or a stream may hold.
    pub histograms: u64,
}

/// A scrape, or a target's own state once more.
pub(super) struct Fresh<'a> {
    pub(super) facts: Facts,
    pub(super) schema: Arc<Schema>,
    pub(super) values: Cow<'a, [f64]>,
    pub(super) beside: Cow<'a, Beside>,
    pub(super) is_carried: bool,
    pub(super) left_out: LeftOut,
}

impl<'a> Fresh<'a> {
    /// Of a scrape; without its histograms where the stream has no room for them.
    pub(super) fn of(scrape: &'a Scrape, tick: Timestamp, has_room: bool, limits: &FrameLimits) -> Fresh<'a> {
        let facts = Facts {
            started: scrape.started,
            duration: scrape.duration,
            outcome: scrape.outcome,
            report: scrape.report,
            tick,
        };
        let mut fresh = Fresh {
            facts,
            schema: scrape.schema.clone(),
            values: (&scrape.values[..]).into(),
            beside: sparse::sorted(&scrape.beside),
            is_carried: false,
            left_out: LeftOut::default(),
        };
        if !has_room {
            fresh.beside.to_mut().histograms.clear();
        }
        let frame_bytes = limits.frame_bytes_max.min(limits.raw_bytes_max);
        fresh.cut_exemplars(frame_bytes / EXEMPLARS_SHARE);
        fresh.cut_histograms(frame_bytes / HISTOGRAMS_SHARE);
        fresh.mark_histograms();
        fresh
    }

    fn cut_exemplars(&mut self, chunk_bytes_max: usize) {
        let mut room = ChunkRoom::new(chunk_bytes_max);
        let fits = |(slot, exemplar): &(u32, Exemplar)| is_short(exemplar) && room.take(*slot, exemplar.bytes_max());
        let refused = refused(&self.beside.exemplars, fits);
        if !refused.is_empty() {
            self.left_out.exemplars += refused.len() as u64;
            self.beside.to_mut().exemplars.retain(|(slot, _)| refused.binary_search(slot).is_err());
        }
    }

    fn cut_histograms(&mut self, chunk_bytes_max: usize) {
        if self.beside.histograms.iter().any(|(_, sample)| !has_good_exemplars(sample)) {
            for (_, sample) in &mut self.beside.to_mut().histograms {
                self.left_out.exemplars += keep_good_exemplars(sample);
            }
        }
        let mut room = ChunkRoom::new(chunk_bytes_max);
        let values = &self.values;
        let fits = |(slot, sample): &(u32, Arc<HistogramSample>)| {
            let value = values.get(*slot as usize).map(|value| value.to_bits());
            value == Some(HISTOGRAM_NAN) && histograms::is_good(sample) && room.take(*slot, sample.bytes_max())
        };
        let refused = refused(&self.beside.histograms, fits);
        if !refused.is_empty() {
            self.beside.to_mut().histograms.retain(|(slot, _)| refused.binary_search(slot).is_err());
        }
    }

    /// Ends the samples that are marked as histograms and have none.
    fn mark_histograms(&mut self) {
        let is_right = |(chunk, values): (usize, &[f64])| has_its_histograms(chunk, values, &self.beside);
        if self.values.chunks(CHUNK_SLOTS).enumerate().all(is_right) {
            return;
        }
        for (slot, value) in self.values.to_mut().iter_mut().enumerate() {
            if value.to_bits() == HISTOGRAM_NAN && self.beside.histogram_of(slot as u32).is_none() {
                *value = stale_nan();
                self.left_out.histograms += 1;
            }
        }
    }
}

/// What is left for the slots of one chunk after another.
struct ChunkRoom {
    chunk: usize,
    left: usize,
    max: usize,
}

impl ChunkRoom {
    fn new(max: usize) -> ChunkRoom {
        ChunkRoom { chunk: 0, left: max, max }
    }

    /// Whether there was room; slots come ascending.
    fn take(&mut self, slot: u32, bytes: usize) -> bool {
        let chunk = slot as usize / CHUNK_SLOTS;
        if chunk != self.chunk {
            (self.chunk, self.left) = (chunk, self.max);
        }
        let fits = bytes <= self.left;
        self.left -= if fits { bytes } else { 0 };
        fits
    }
}

/// The slots of entries that do not fit.
fn refused<T>(entries: &[(u32, T)], mut fits: impl FnMut(&(u32, T)) -> bool) -> Vec<u32> {
    entries.iter().filter(|entry| !fits(entry)).map(|(slot, _)| *slot).collect()
}

fn is_short(exemplar: &Exemplar) -> bool {
    exemplar.labels.as_bytes().len() <= EXEMPLAR_BYTES_MAX
}

fn has_good_exemplars(sample: &HistogramSample) -> bool {
    sample.exemplars.len() <= HISTOGRAM_EXEMPLARS_MAX && sample.exemplars.iter().all(is_short)
}

/// Leaves out the exemplars that are too long or too many, and says how many they were.
fn keep_good_exemplars(sample: &mut Arc<HistogramSample>) -> u64 {
    if has_good_exemplars(sample) {
        return 0;
    }
    let exemplars = &mut Arc::make_mut(sample).exemplars;
    let before = exemplars.len();
    exemplars.retain(is_short);
    exemplars.truncate(HISTOGRAM_EXEMPLARS_MAX);
    (before - exemplars.len()) as u64
}
