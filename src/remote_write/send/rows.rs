//! What one frame brings, as samples in an order of their own, cut into parts.
//!
//! Rows are the scrapes' samples in the view's order (first the scrape's own series, then slot by slot), and behind them the series
//! that ended. A [`Part`] is a stretch of rows that becomes one request; it names rows by [`Place`], not by their count, so cutting one
//! in two is a walk over columns. Nothing is copied: the views of the store are held until the last part is delivered.
//!
//! Invariant: the rows of a frame, their order and where it is cut are a function of the frame, of what came before it in the journal,
//! and of the configuration. So a frame that is read again after a restart becomes the very same requests.

use std::sync::Arc;

use super::labels::PreparedTarget;
use crate::model::{HISTOGRAM_NAN, Labels, MetricType, Timestamp, is_stale};
use crate::snapshot::CHUNK_SLOTS;
use crate::store::{SCRAPE_FAMILIES, TargetView, scrape_values};

/// What is sent of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `send_exemplars`.
    pub exemplars: bool,
    /// `send_native_histograms`.
    pub histograms: bool,
    /// Samples before this are left out (`sample_age_limit`).
    pub oldest: Option<Timestamp>,
}

/// Before a row of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Which scrape; behind the last one stand the ends.
    pub scrape: u32,
    /// The scrape's own series, then slots; or which end.
    pub row: u32,
}

/// How many things of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Floats, stale markers among them.
    pub samples: u64,
    /// Native histograms.
    pub histograms: u64,
    /// Exemplars.
    pub exemplars: u64,
}

impl Counts {
    /// Rows: a sample or a histogram each.
    pub fn rows(&self) -> u64 {
        self.samples + self.histograms
    }
}

impl Counts {
    /// What is here beyond `others`.
    pub fn less(&self, others: &Counts) -> Counts {
        Counts {
            samples: self.samples.saturating_sub(others.samples),
            histograms: self.histograms.saturating_sub(others.histograms),
            exemplars: self.exemplars.saturating_sub(others.exemplars),
        }
    }
}

/// A stretch of rows for one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its first row.
    pub from: Place,
    /// Before the row behind its last.
    pub to: Place,
    /// Rows to be sent.
    pub rows: u32,
}

/// One target's newest scrape, of which all samples are new.
#[derive(Clone, Debug)]
pub struct ScrapeSamples {
    /// The target.
    pub view: Arc<TargetView>,
    /// Its series' labels.
    pub prepared: Arc<PreparedTarget>,
    /// Slots whose sample is that of the scrape before, by its own timestamp; ascending.
    pub repeated: Vec<u32>,
    /// Slots whose exemplar was there before; ascending.
    pub known_exemplars: Vec<u32>,
    /// Whether the scrape has its own series, `up` and the like. Recorded ones have not.
    pub has_facts: bool,
    /// The only slots that are meant, ascending; `None` is all.
    pub only: Option<Arc<[u32]>>,
}

/// A series that ended.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    /// Its labels, final.
    pub labels: Labels,
    /// When.
    pub at: Timestamp,
    /// Whether its last sample was a native histogram.
    pub is_histogram: bool,
    /// Its family's type; 2.0 receivers may insist on one.
    pub kind: MetricType,
}

/// Everything that one frame brings.
#[derive(Clone, Debug, Default)]
pub struct FrameSamples {
    /// Targets that were scraped.
    pub scrapes: Vec<ScrapeSamples>,
    /// Series that ended with it.
    pub ends: Vec<End>,
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub(super) enum Row<'a> {
    /// A series of the scrape itself: which of [`SCRAPE_FAMILIES`].
    Fact(&'a ScrapeSamples, usize, f64),
    /// The sample in a slot.
    Sample(&'a ScrapeSamples, u32, f64),
    /// A series that ended.
    End(&'a End),
}

/// Rows of a scrape before those of its slots.
const FACT_ROWS: u32 = SCRAPE_FAMILIES.len() as u32;

impl FrameSamples {
    /// Before the first row.
    pub fn start(&self) -> Place {
        Place::default()
    }

    /// Behind the last row.
    pub fn end(&self) -> Place {
        Place { scrape: self.scrapes.len() as u32, row: self.ends.len() as u32 }
    }

    /// Cuts the rows between two places into parts of at most `rows_max` rows.
    pub fn cut(&self, from: Place, to: Place, options: &Options, rows_max: usize) -> Vec<Part> {
        let rows_max = rows_max.clamp(1, u32::MAX as usize) as u32;
        let mut parts: Vec<Part> = Vec::new();
        let mut open = Part { from, to: from, rows: 0 };
        self.walk(from, to, options, |place, _| {
            if open.rows == rows_max {
                parts.push(Part { to: place, ..open });
                open = Part { from: place, to: place, rows: 0 };
            }
            open.rows += 1;
        });
        if open.rows > 0 {
            parts.push(Part { to, ..open });
        }
        parts
    }

    /// Cuts a part in two halves; `None` where it is a single row.
    pub fn halves(&self, part: &Part, options: &Options) -> Option<[Part; 2]> {
        if part.rows < 2 {
            return None;
        }
        let halves = self.cut(part.from, part.to, options, part.rows.div_ceil(2) as usize);
        halves.try_into().ok()
    }

    /// What a part holds, kind by kind.
    pub fn count(&self, part: &Part, options: &Options) -> Counts {
        let mut counts = Counts::default();
        self.walk(part.from, part.to, options, |_, row| match row {
            Row::Fact(..) => counts.samples += 1,
            Row::End(end) if end.is_histogram => counts.histograms += 1,
            Row::End(_) => counts.samples += 1,
            Row::Sample(scrape, slot, value) if is_histogram(value) => {
                counts.histograms += 1;
                let sample = scrape.view.beside.histogram_of(slot);
                counts.exemplars += sample.filter(|_| options.exemplars).map_or(0, |one| one.exemplars.len() as u64);
            }
            Row::Sample(scrape, slot, _) => {
                counts.samples += 1;
                counts.exemplars += u64::from(options.exemplars && scrape.exemplar_of(slot).is_some());
            }
        });
        counts
    }

    /// Native histograms that nobody is sent because the configuration says so.
    pub fn unsent_histograms(&self) -> u64 {
        let of = |scrape: &ScrapeSamples| {
            let slots = scrape.view.beside.histograms.iter();
            let is_sent = |slot: u32| scrape.prepared.is_sent(slot as usize / CHUNK_SLOTS, slot as usize % CHUNK_SLOTS);
            let is_meant = |slot: u32| scrape.only.as_ref().is_none_or(|only| only.binary_search(&slot).is_ok());
            let sent = slots.filter(|(slot, _)| is_sent(*slot) && is_meant(*slot) && !scrape.is_repeated(*slot));
            sent.count() as u64
        };
        self.scrapes.iter().map(of).sum()
    }

    /// Shows every row between two places that is sent, with its place.
    #[inline]
    pub(super) fn walk<'a>(&'a self, from: Place, to: Place, options: &Options, mut visit: impl FnMut(Place, Row<'a>)) {
        let scrapes = self.scrapes.len() as u32;
        for number in from.scrape..to.scrape.min(scrapes.saturating_sub(1)).saturating_add(1).min(scrapes) {
            let first = if number == from.scrape { from.row } else { 0 };
            let last = if number == to.scrape { to.row } else { u32::MAX };
            let scrape = &self.scrapes[number as usize];
            scrape.walk(first, last, options, |row, what| visit(Place { scrape: number, row }, what));
        }
        if to.scrape < scrapes {
            return;
        }
        let first = if from.scrape == scrapes { from.row as usize } else { 0 };
        for (at, end) in self.ends.iter().enumerate().take(to.row as usize).skip(first) {
            if (options.histograms || !end.is_histogram) && options.takes(end.at) {
                visit(Place { scrape: scrapes, row: at as u32 }, Row::End(end));
            }
        }
    }
}

impl Options {
    fn takes(&self, at: Timestamp) -> bool {
        self.oldest.is_none_or(|oldest| at >= oldest)
    }
}

impl ScrapeSamples {
    /// The time of a slot's sample.
    #[inline]
    pub(super) fn timestamp_of(&self, slot: u32) -> Timestamp {
        self.view.timestamp_of(slot)
    }

    /// A slot's exemplar, if it was not there before.
    pub(super) fn exemplar_of(&self, slot: u32) -> Option<&crate::model::Exemplar> {
        let exemplar = self.view.beside.exemplar_of(slot)?;
        self.known_exemplars.binary_search(&slot).is_err().then_some(exemplar)
    }

    fn is_repeated(&self, slot: u32) -> bool {
        !self.repeated.is_empty() && self.repeated.binary_search(&slot).is_ok()
    }

    #[inline]
    fn walk<'a>(&'a self, from: u32, to: u32, options: &Options, mut visit: impl FnMut(u32, Row<'a>)) {
        if self.has_facts && from < FACT_ROWS && options.takes(self.view.started) {
            let values = scrape_values(self.view.outcome, self.view.duration, &self.view.report);
            for (which, value) in values.iter().enumerate().take(to as usize).skip(from as usize) {
                if let (Some(value), Some(_)) = (value, self.prepared.fact(which)) {
                    visit(which as u32, Row::Fact(self, which, *value));
                }
            }
        }
        let (first, last) = (from.saturating_sub(FACT_ROWS) as usize, to.saturating_sub(FACT_ROWS) as usize);
        if let Some(only) = &self.only {
            let (first, last) = [first, last].map(|bound| only.partition_point(|slot| (*slot as usize) < bound)).into();
            for number in only[first..last].iter().copied() {
                let (chunk, slot) = (number as usize / CHUNK_SLOTS, number as usize % CHUNK_SLOTS);
                let value = self.view.column.get(number as usize);
                if !is_stale(value) && self.is_row(chunk, slot, value, options) {
                    visit(number + FACT_ROWS, Row::Sample(self, number, value));
                }
            }
            return;
        }
        let chunks = self.prepared.chunks().min(self.view.column.chunks().len());
        for chunk in first / CHUNK_SLOTS..chunks.min(last.div_ceil(CHUNK_SLOTS)) {
            let values = &self.view.column.chunks()[chunk];
            let start = chunk * CHUNK_SLOTS;
            for slot in first.saturating_sub(start)..CHUNK_SLOTS.min(last - start) {
                let (value, number) = (values[slot], (start + slot) as u32);
                if !is_stale(value) && self.is_row(chunk, slot, value, options) {
                    visit(number + FACT_ROWS, Row::Sample(self, number, value));
                }
            }
        }
    }

    #[inline]
    fn is_row(&self, chunk: usize, slot: usize, value: f64, options: &Options) -> bool {
        let number = (chunk * CHUNK_SLOTS + slot) as u32;
        self.prepared.is_sent(chunk, slot)
            && (options.histograms || !is_histogram(value))
            && !self.is_repeated(number)
            && (options.oldest.is_none() || options.takes(self.timestamp_of(number)))
    }
}

/// Whether a column's value says that the sample is a native histogram.
#[inline]
pub(super) fn is_histogram(value: f64) -> bool {
    value.to_bits() == HISTOGRAM_NAN
}
