//! Requests of remote write 2.0: strings once a request, series as their numbers, metadata with each series.
//!
//! A string is looked up by its text once for each chunk, name and target that has it: what a chunk's pair or name and a target's label
//! have for numbers is remembered while rows of that chunk and target are written, and these stand together.
//!
//! Invariant: symbol 0 is the empty string, no symbol stands twice, and all that are referred to are there. A series has samples or
//! histograms, never both: a row is one of them, and becomes a series of its own.

use hashbrown::HashTable;

use super::labels::{BaseLabel, SeriesLabels, Source};
use super::rows::{End, FrameSamples, Options, Part, Row, ScrapeSamples, is_histogram};
use crate::exposition::protobuf_write::{SMALL_ROOM, put_count, put_double, put_message, put_text};
use crate::model::{Exemplar, Labels, METRIC_NAME, Timestamp, stale_nan};
use crate::remote_write::message::{
    put_histogram, put_refs, put_sample, put_series_v2, put_stale_histogram, type_number,
};
use crate::snapshot::{CHUNK_SLOTS, Chunk, NameId, PairId};
use crate::store::SCRAPE_FAMILIES;

/// The number of a series' histograms.
const HISTOGRAMS: u32 = 3;
/// No number is known yet; 0 is the empty string's, which no label has.
const UNKNOWN: u32 = 0;

/// Writes requests one after the other; keeps its allocations.
#[derive(Default)]
pub struct EncoderV2 {
    symbols: Symbols,
    series: Vec<u8>,
    refs: Vec<u32>,
    memo: Memo,
}

/// The strings of a request.
#[derive(Default)]
struct Symbols {
    text: String,
    /// Behind each string.
    ends: Vec<usize>,
    numbers: HashTable<u32>,
    hasher: foldhash::fast::FixedState,
}

/// Numbers of what one chunk of one target says.
#[derive(Default)]
struct Memo {
    /// The scrape and chunk that they are of, by address and number.
    of: (usize, usize),
    /// Name and value of each pair.
    pairs: Vec<(u32, u32)>,
    names: Vec<NameRefs>,
    base: Vec<(u32, u32)>,
}

#[derive(Clone, Copy, Default)]
struct NameRefs {
    name: u32,
    help: u32,
    unit: u32,
    kind: u64,
}

impl EncoderV2 {
    /// Appends the Request of a part, uncompressed.
    pub fn encode(&mut self, out: &mut Vec<u8>, frame: &FrameSamples, part: &Part, options: &Options) {
        self.begin();
        frame.walk(part.from, part.to, options, |_, row| match row {
            Row::Fact(scrape, which, value) => self.fact(scrape, which, value),
            Row::Sample(scrape, slot, value) => self.slot(scrape, slot, value, options),
            Row::End(end) => self.end(end),
        });
        self.symbols.put(out);
        out.extend_from_slice(&self.series);
    }

    fn begin(&mut self) {
        self.symbols.clear();
        self.series.clear();
        self.memo.of = (0, 0);
    }

    fn fact(&mut self, scrape: &ScrapeSamples, which: usize, value: f64) {
        let Some(labels) = scrape.prepared.fact(which) else { return };
        self.whole_labels(labels);
        let family = &SCRAPE_FAMILIES[which];
        let (help, refs) = (self.symbols.number(family.help), &self.refs);
        put_series_v2(&mut self.series, |out| {
            put_refs(out, 1, refs.iter().copied());
            put_sample(out, value, scrape.view.started, None);
            put_metadata(out, type_number(family.kind), help, UNKNOWN);
        });
    }

    fn end(&mut self, end: &End) {
        self.whole_labels(&end.labels);
        let refs = &self.refs;
        put_series_v2(&mut self.series, |out| {
            put_refs(out, 1, refs.iter().copied());
            if end.is_histogram {
                put_stale_histogram(out, HISTOGRAMS, end.at);
            } else {
                put_sample(out, stale_nan(), end.at, None);
            }
            put_metadata(out, type_number(end.kind), UNKNOWN, UNKNOWN);
        });
    }

    #[inline]
    fn slot(&mut self, scrape: &ScrapeSamples, slot: u32, value: f64, options: &Options) {
        let (chunk, within) = (slot as usize / CHUNK_SLOTS, slot as usize % CHUNK_SLOTS);
        let Some(labels) = scrape.prepared.labels_of(chunk, within) else { return };
        self.memo.turn_to(scrape, chunk);
        let tables = scrape.prepared.chunk(chunk);
        let Some(name) = tables.name_of(within) else { return };
        let name = self.memo.name(name, tables, &mut self.symbols);
        match labels {
            SeriesLabels::Whole(labels) => self.whole_labels(labels),
            SeriesLabels::Pieces(pieces) => {
                self.refs.clear();
                for source in pieces.iter() {
                    let (label, value) = match source {
                        Source::Name => (self.memo.metric_name(&mut self.symbols), name.name),
                        Source::Pair(id) => self.memo.pair(id, tables, &mut self.symbols),
                        Source::Base(at, label) => self.memo.base(at, label, &mut self.symbols),
                    };
                    self.refs.extend_from_slice(&[label, value]);
                }
            }
        }
        self.sample((scrape, slot, value), name, options);
    }

    #[inline]
    fn sample(&mut self, (scrape, slot, value): (&ScrapeSamples, u32, f64), name: NameRefs, options: &Options) {
        let (at, start) = (scrape.timestamp_of(slot), scrape.view.beside.start_of(slot));
        let (refs, symbols) = (&self.refs, &mut self.symbols);
        let histogram = if is_histogram(value) { scrape.view.beside.histogram_of(slot) } else { None };
        put_series_v2(&mut self.series, |out| {
            put_refs(out, 1, refs.iter().copied());
            match histogram {
                Some(sample) => {
                    put_histogram(out, HISTOGRAMS, &sample.histogram, at, start);
                    let exemplars = sample.exemplars.iter().filter(|_| options.exemplars);
                    exemplars.for_each(|exemplar| put_exemplar(out, exemplar, at, symbols));
                }
                None => {
                    put_sample(out, value, at, start);
                    let exemplar = if options.exemplars { scrape.exemplar_of(slot) } else { None };
                    exemplar.into_iter().for_each(|exemplar| put_exemplar(out, exemplar, at, symbols));
                }
            }
            put_metadata(out, name.kind, name.help, name.unit);
        });
    }

    fn whole_labels(&mut self, labels: &Labels) {
        self.refs.clear();
        for (name, value) in labels {
            let pair = [self.symbols.number(name), self.symbols.number(value)];
            self.refs.extend_from_slice(&pair);
        }
    }
}

fn put_exemplar(out: &mut Vec<u8>, exemplar: &Exemplar, at: Timestamp, symbols: &mut Symbols) {
    put_message(out, 4, SMALL_ROOM, |out| {
        let labels = exemplar.labels.iter().flat_map(|(name, value)| [name, value]);
        put_refs(out, 1, labels.map(|text| symbols.number(text)));
        put_double(out, 2, exemplar.value);
        put_count(out, 3, exemplar.timestamp.unwrap_or(at).as_millis() as u64);
    });
}

#[inline]
fn put_metadata(out: &mut Vec<u8>, kind: u64, help: u32, unit: u32) {
    put_message(out, 5, SMALL_ROOM, |out| {
        put_count(out, 1, kind);
        if help != UNKNOWN {
            put_count(out, 3, help.into());
        }
        if unit != UNKNOWN {
            put_count(out, 4, unit.into());
        }
    });
}

impl Symbols {
    fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
        self.numbers.clear();
        // Number 0 is the empty string.
        self.ends.push(0);
    }

    /// The number of a string, which is given one if it has none.
    fn number(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let hash = hash_of(&self.hasher, text);
        if let Some(number) = self.numbers.find(hash, |number| self.get(*number) == text) {
            return *number;
        }
        let number = self.ends.len() as u32;
        self.text.push_str(text);
        self.ends.push(self.text.len());
        let (all, ends, hasher) = (&self.text, &self.ends, &self.hasher);
        self.numbers.insert_unique(hash, number, |number| hash_of(hasher, string(all, ends, *number)));
        number
    }

    fn get(&self, number: u32) -> &str {
        string(&self.text, &self.ends, number)
    }

    fn put(&self, out: &mut Vec<u8>) {
        (0..self.ends.len() as u32).for_each(|number| put_text(out, 4, self.get(number)));
    }
}

fn string<'a>(text: &'a str, ends: &[usize], number: u32) -> &'a str {
    let number = number as usize;
    let start = if number == 0 { 0 } else { ends[number - 1] };
    &text[start..ends[number]]
}

fn hash_of(hasher: &foldhash::fast::FixedState, text: &str) -> u64 {
    std::hash::BuildHasher::hash_one(hasher, text)
}

impl Memo {
    /// Forgets all if what comes is of another chunk or target.
    #[inline]
    fn turn_to(&mut self, scrape: &ScrapeSamples, chunk: usize) {
        let prepared = std::sync::Arc::as_ptr(&scrape.prepared).addr();
        if self.of == (prepared, chunk) {
            return;
        }
        if self.of.0 != prepared {
            self.base.clear();
            // One more than there are: the last is `__name__`.
            self.base.resize(scrape.prepared.base_labels() + 1, (UNKNOWN, UNKNOWN));
        }
        self.of = (prepared, chunk);
        let tables = scrape.prepared.chunk(chunk);
        self.pairs.clear();
        self.pairs.resize(tables.pairs(), (UNKNOWN, UNKNOWN));
        self.names.clear();
        self.names.resize(tables.names(), NameRefs::default());
    }

    #[inline]
    fn metric_name(&mut self, symbols: &mut Symbols) -> u32 {
        let known = self.base.last_mut().expect("turn_to makes room for it");
        if known.0 == UNKNOWN {
            known.0 = symbols.number(METRIC_NAME);
        }
        known.0
    }

    #[inline]
    fn pair(&mut self, id: u16, tables: &Chunk, symbols: &mut Symbols) -> (u32, u32) {
        let known = &mut self.pairs[usize::from(id)];
        if known.0 == UNKNOWN {
            let pair = tables.pair(PairId(id));
            *known = (symbols.number(pair.name), symbols.number(pair.value));
        }
        *known
    }

    #[inline]
    fn base(&mut self, at: usize, label: &BaseLabel, symbols: &mut Symbols) -> (u32, u32) {
        let known = &mut self.base[at];
        if known.0 == UNKNOWN {
            *known = (symbols.number(&label.name), symbols.number(&label.value));
        }
        *known
    }

    #[inline]
    fn name(&mut self, id: NameId, tables: &Chunk, symbols: &mut Symbols) -> NameRefs {
        let known = &mut self.names[usize::from(id.0)];
        if known.name == UNKNOWN {
            let family = tables.family_of(id);
            *known = NameRefs {
                name: symbols.number(tables.name(id)),
                help: symbols.number(family.help),
                unit: symbols.number(family.unit),
                kind: type_number(family.kind),
            };
        }
        *known
    }
}
