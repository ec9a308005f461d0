//! Requests of remote write 1.0: every series with all its labels in full.
//!
//! The labels of the target and those that are stamped stand encoded in [`super::Base`] and are copied; a series' own are written from
//! its chunk's tables. Labels ascend by name, none is empty, because [`super::labels`] gives them so.

use super::labels::{SeriesLabels, Source};
use super::rows::{End, FrameSamples, Options, Part, Row, ScrapeSamples, is_histogram};
use crate::model::{METRIC_NAME, stale_nan};
use crate::remote_write::message::{
    put_exemplar_v1, put_histogram, put_label, put_labels, put_sample, put_series_v1, put_stale_histogram,
};
use crate::snapshot::{CHUNK_SLOTS, PairId};

/// The number of a series' histograms.
const HISTOGRAMS: u32 = 4;

/// Appends the WriteRequest of a part, uncompressed.
pub fn encode_v1(out: &mut Vec<u8>, frame: &FrameSamples, part: &Part, options: &Options) {
    frame.walk(part.from, part.to, options, |_, row| match row {
        Row::Fact(scrape, which, value) => put_fact(out, scrape, which, value),
        Row::Sample(scrape, slot, value) => put_slot(out, scrape, slot, value, options),
        Row::End(end) => put_end(out, end),
    });
}

fn put_fact(out: &mut Vec<u8>, scrape: &ScrapeSamples, which: usize, value: f64) {
    let Some(labels) = scrape.prepared.fact(which) else { return };
    put_series_v1(out, |out| {
        put_labels(out, labels);
        put_sample(out, value, scrape.view.started, None);
    });
}

fn put_end(out: &mut Vec<u8>, end: &End) {
    put_series_v1(out, |out| {
        put_labels(out, &end.labels);
        if end.is_histogram {
            put_stale_histogram(out, HISTOGRAMS, end.at);
        } else {
            put_sample(out, stale_nan(), end.at, None);
        }
    });
}

#[inline]
fn put_slot(out: &mut Vec<u8>, scrape: &ScrapeSamples, slot: u32, value: f64, options: &Options) {
    let at = scrape.timestamp_of(slot);
    put_series_v1(out, |out| {
        put_slot_labels(out, scrape, slot);
        if is_histogram(value) {
            let Some(sample) = scrape.view.beside.histogram_of(slot) else { return };
            let exemplars = sample.exemplars.iter().filter(|_| options.exemplars);
            exemplars.for_each(|exemplar| put_exemplar_v1(out, exemplar, at));
            put_histogram(out, HISTOGRAMS, &sample.histogram, at, None);
            return;
        }
        put_sample(out, value, at, None);
        if options.exemplars {
            scrape.exemplar_of(slot).into_iter().for_each(|exemplar| put_exemplar_v1(out, exemplar, at));
        }
    });
}

#[inline]
fn put_slot_labels(out: &mut Vec<u8>, scrape: &ScrapeSamples, slot: u32) {
    let (chunk, slot) = (slot as usize / CHUNK_SLOTS, slot as usize % CHUNK_SLOTS);
    let pieces = match scrape.prepared.labels_of(chunk, slot) {
        Some(SeriesLabels::Pieces(pieces)) => pieces,
        Some(SeriesLabels::Whole(labels)) => return put_labels(out, labels),
        None => return,
    };
    let chunk = scrape.prepared.chunk(chunk);
    for source in pieces.iter() {
        match source {
            Source::Name => put_label(out, METRIC_NAME, chunk.name_of(slot).map_or("", |name| chunk.name(name))),
            Source::Pair(id) => {
                let pair = chunk.pair(PairId(id));
                put_label(out, pair.name, pair.value);
            }
            Source::Base(_, label) => out.extend_from_slice(&label.encoded),
        }
    }
}
