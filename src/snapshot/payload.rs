//! The payload of a KEY or DELTA: columns over all scrapes of a tick, each a section with a number and a length.
//!
//! Sections stand in ascending order, empty ones are left out, and a number that this version does not know is refused: a
//! decoder that skipped one would drift from its sender. Numbers are never given twice.
//!
//! | number | section | content |
//! |---:|---|---|
//! | 1 | STREAM | in every part of a KEY: when the stream's collector started, zigzag milliseconds |
//! | 2 | TARGETS | new targets, until the end: number, how many labels, and name and value of each |
//! | 3 | ENTRIES | one entry a scrape (or part of one): see `part.rs` |
//! | 4 | SCHEMAS | 16 bytes a scrape whose slots differ from those of the scrape before |
//! | 5 | FACTS | see `facts.rs` |
//! | 6 | TIMESTAMPS | see `sparse.rs` |
//! | 7 | EXEMPLARS | see `sparse.rs` |
//! | 8 | HISTOGRAMS | see `histograms.rs` |
//! | 9 | STARTS | start timestamps: see `sparse.rs` |
//! | 10 | CHECKS | now and then: 8 bytes a finished scrape, xxh3-64 over the bits of its whole column and its histograms' counts and sums |
//! | 11 | CHANGES | which slots changed, chunk by chunk: see `changes.rs` |
//! | 12 | EXCEPTIONS | see `values.rs` |
//! | 13 | CODES | see `values.rs` |
//! | 14 | WAVERING | see `changes.rs` |
//! | 15 | BITS | see `values.rs` |

use super::bits::BitReader;
use super::reader::{Malformed, Reader, put_varint};
use super::values::{ValueColumns, ValueReaders};

const SECTIONS: usize = 15;
/// Bytes of a section's number and length.
const SECTION_HEAD_MAX: usize = 6;

/// The columns of a frame that is being written.
#[derive(Debug, Default)]
pub(super) struct Columns {
    pub(super) stream: Vec<u8>,
    pub(super) targets: Vec<u8>,
    pub(super) entries: Vec<u8>,
    pub(super) schemas: Vec<u8>,
    pub(super) facts: Vec<u8>,
    pub(super) timestamps: Vec<u8>,
    pub(super) exemplars: Vec<u8>,
    pub(super) histograms: Vec<u8>,
    pub(super) starts: Vec<u8>,
    pub(super) checks: Vec<u8>,
    pub(super) values: ValueColumns,
}

impl Columns {
    /// Bytes so far.
    pub(super) fn len(&self) -> usize {
        let small = self.small().iter().map(|column| column.len()).sum::<usize>();
        small + self.values.len() + SECTIONS * SECTION_HEAD_MAX
    }

    fn small(&self) -> [&Vec<u8>; 10] {
        [
            &self.stream,
            &self.targets,
            &self.entries,
            &self.schemas,
            &self.facts,
            &self.timestamps,
            &self.exemplars,
            &self.histograms,
            &self.starts,
            &self.checks,
        ]
    }

    /// The sections, in the pieces that compress best apart: the small ones, the change sets, the codes, the bits.
    pub(super) fn pieces(&mut self) -> [Vec<u8>; 4] {
        let (wavering, bits) = (self.values.wavering.take(), self.values.bits.take());
        let mut head = Vec::new();
        for (at, column) in self.small().into_iter().enumerate() {
            put_section(at as u8 + 1, column, &mut head);
        }
        let [mut changes, mut codes, mut tail] = [const { Vec::new() }; 3];
        put_section(11, &self.values.changes, &mut changes);
        put_section(12, &self.values.exceptions, &mut changes);
        put_section(13, &self.values.codes, &mut codes);
        put_section(14, &wavering, &mut tail);
        put_section(15, &bits, &mut tail);
        [head, changes, codes, tail]
    }
}

fn put_section(number: u8, column: &[u8], out: &mut Vec<u8>) {
    if !column.is_empty() {
        out.push(number);
        put_varint(out, column.len() as u64);
        out.extend_from_slice(column);
    }
}

/// The columns of a frame that is being read.
#[derive(Clone, Debug, Default)]
pub(super) struct Sections<'a> {
    pub(super) stream: Reader<'a>,
    pub(super) targets: Reader<'a>,
    pub(super) entries: Reader<'a>,
    pub(super) schemas: Reader<'a>,
    pub(super) facts: Reader<'a>,
    pub(super) timestamps: Reader<'a>,
    pub(super) exemplars: Reader<'a>,
    pub(super) histograms: Reader<'a>,
    pub(super) starts: Reader<'a>,
    pub(super) checks: Reader<'a>,
    pub(super) values: ValueReaders<'a>,
}

impl<'a> Sections<'a> {
    pub(super) fn parse(raw: &'a [u8]) -> Result<Sections<'a>, Malformed> {
        let mut reader = Reader::new(raw);
        let mut columns: [&[u8]; SECTIONS] = [&[]; SECTIONS];
        let mut last = 0;
        while reader.left() > 0 {
            let number = reader.byte("section")?;
            if number == 0 || usize::from(number) > SECTIONS {
                return Err(Malformed::Unknown { what: "section", found: u64::from(number) });
            }
            if number <= last {
                return Err(Malformed::OutOfPlace("section"));
            }
            last = number;
            let length = reader.count("section", u64::from(u32::MAX), 1)?;
            columns[usize::from(number) - 1] = reader.take(length, "section")?;
        }
        let [stream, targets, entries, schemas, facts, timestamps, exemplars, histograms, starts, checks, values @ ..] =
            columns;
        let [changes, exceptions, codes, wavering, bits] = values;
        let new = Reader::new;
        Ok(Sections {
            stream: new(stream),
            targets: new(targets),
            entries: new(entries),
            schemas: new(schemas),
            facts: new(facts),
            timestamps: new(timestamps),
            exemplars: new(exemplars),
            histograms: new(histograms),
            starts: new(starts),
            checks: new(checks),
            values: ValueReaders {
                changes: new(changes),
                exceptions: new(exceptions),
                codes: new(codes),
                wavering: BitReader::new(wavering),
                bits: BitReader::new(bits),
                ..ValueReaders::default()
            },
        })
    }

    /// All columns must have been read to their ends.
    pub(super) fn end(&self) -> Result<(), Malformed> {
        self.stream.end("stream")?;
        self.targets.end("targets")?;
        self.entries.end("entries")?;
        self.schemas.end("schemas")?;
        self.facts.end("facts")?;
        self.timestamps.end("timestamps")?;
        self.exemplars.end("exemplars")?;
        self.histograms.end("native histograms")?;
        self.starts.end("start timestamps")?;
        self.checks.end("checks")?;
        self.values.end()
    }
}
