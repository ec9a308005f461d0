//! A log against a list of records, over a disk that fails and crashes as chance has it.
//!
//! After every restart: what was synced and not dropped is there, in order, byte for byte; of what was not, some records, in
//! order; nothing else, ever. And in between a reader gives exactly what is synced.

use std::path::Path;
use std::sync::Arc;

use fedgate::journal::{Cause, Journal, Position};
use proptest::prelude::*;

use super::faulty::{Crash, Faults, FaultyFiles};
use super::{NOW, Read, open_with, read_all, rest};

const DIR: &str = "/log";
const SEGMENT_BYTES: u64 = 3000;

#[derive(Clone, Debug)]
enum Step {
    /// Records of such lengths, one after the other, in one group or each alone.
    Append(Vec<usize>, bool),
    Write,
    Commit,
    /// Everything before so many per mille of the log goes.
    Drop(u64),
    Fail(Faults),
    Restart(Crash),
}

fn step() -> impl Strategy<Value = Step> {
    let lengths = prop::collection::vec(prop_oneof![0usize..40, 400usize..700, 1000usize..4000], 1..5);
    let room = prop_oneof![Just(None), (0usize..20_000).prop_map(Some)];
    let short = prop_oneof![Just(None), (1usize..900).prop_map(Some)];
    let faults = (0u32..3, 0u32..3, 0u32..2, room, short).prop_map(|(writes, syncs, dir_syncs, room, short)| Faults {
        writes,
        syncs,
        dir_syncs,
        room,
        short,
        reads: 0,
    });
    prop_oneof![
        6 => (lengths, any::<bool>()).prop_map(|(lengths, together)| Step::Append(lengths, together)),
        1 => Just(Step::Write),
        5 => Just(Step::Commit),
        1 => (0u64..1200).prop_map(Step::Drop),
        2 => faults.prop_map(Step::Fail),
        1 => prop::sample::select(vec![Crash::Killed, Crash::Forgets, Crash::Mixes]).prop_map(Step::Restart),
    ]
}

/// What there should be.
struct Model {
    files: FaultyFiles,
    journal: Option<Journal>,
    /// Every record that may still be there, by position.
    records: Vec<(u64, Vec<u8>)>,
    /// Records before this position may be gone because they were dropped.
    dropped: u64,
    number: u32,
}

impl Model {
    fn new(seed: u64) -> Model {
        let files = FaultyFiles::new(seed);
        let (journal, _) = open_with(Arc::new(files.clone()), Path::new(DIR), SEGMENT_BYTES);
        Model { files, journal: Some(journal), records: Vec::new(), dropped: 0, number: 0 }
    }

    fn journal(&mut self) -> &mut Journal {
        self.journal.as_mut().unwrap()
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Append(lengths, together) => self.append(&lengths, together),
            Step::Write => drop(self.journal().write(NOW)),
            Step::Commit => drop(self.journal().commit(NOW)),
            Step::Drop(per_mille) => self.drop_before(per_mille),
            Step::Fail(faults) => self.files.set(faults),
            Step::Restart(crash) => self.restart(crash),
        }
        self.check_reader();
    }

    fn payload(&mut self, length: usize) -> Vec<u8> {
        self.number += 1;
        let number = self.number.to_le_bytes();
        number.iter().copied().cycle().take(length).collect()
    }

    fn append(&mut self, lengths: &[usize], together: bool) {
        let log = self.journal().log().clone();
        let reserved = log.reserve(lengths.iter().sum()).unwrap();
        let mut group = together.then(|| reserved.begin(NOW));
        for length in lengths {
            let payload = self.payload(*length);
            let position = match &mut group {
                Some(group) => group.append(7, &[&payload]).unwrap(),
                None => log.append(7, &[&payload], NOW).unwrap(),
            };
            self.records.push((position.0, payload));
        }
    }

    fn drop_before(&mut self, per_mille: u64) {
        let log = self.journal().log().clone();
        let (first, end) = (log.first(), log.synced());
        let before = Position(first.0 + end.since(first) * per_mille / 1000);
        let segments = log.segments();
        // A failure leaves some of them there.
        let _ = self.journal().drop_before(before);
        assert!(log.first() <= before.max(first), "nothing goes that was not asked for");
        assert!(log.first() <= segments.last().map_or(first, |last| last.first), "the last one stays");
        self.dropped = self.dropped.max(log.first().0);
    }

    /// While the log runs, everything synced is read, and nothing else.
    fn check_reader(&mut self) {
        let log = self.journal().log().clone();
        let (first, synced) = (log.first().0, log.synced().0);
        let read = read_all(self.journal());
        let expected = self.records.iter().filter(|(position, _)| (first..synced).contains(position)).cloned();
        assert_eq!(records(&read), expected.collect::<Vec<_>>());
        assert_eq!(covered(&read, first), synced, "every byte is a record's or lost");
        let mut from_end = log.reader(Position(synced));
        assert_eq!(rest(&mut from_end), []);
    }

    fn restart(&mut self, crash: Crash) {
        let (synced, written) = (self.journal().log().synced().0, self.journal().log().written().0);
        self.journal = None;
        self.files = self.files.after(crash);
        let (journal, recovery) = open_with(Arc::new(self.files.clone()), Path::new(DIR), SEGMENT_BYTES);
        self.journal = Some(journal);
        assert!(recovery.end.0 >= synced && recovery.behind_cursor.is_none());
        let read = read_all(self.journal());
        // Of dropped segments the newest may have come back, but never with others missing in between.
        assert!(!read.iter().any(|read| matches!(read, Read::Lost(_, _, Cause::Missing))), "{crash:?}");
        let found = records(&read);
        let safe = if crash == Crash::Killed { written } else { synced };
        for record in self.records.iter().filter(|(position, _)| (self.dropped..safe).contains(position)) {
            assert!(found.contains(record), "the record at {} is gone after {crash:?}", record.0);
        }
        let mut known = self.records.iter();
        for record in &found {
            assert!(
                known.any(|other| other == record),
                "the record at {} was never there, or is out of order",
                record.0
            );
        }
        self.records = found;
    }
}

fn records(read: &[Read]) -> Vec<(u64, Vec<u8>)> {
    let record = |read: &Read| match read {
        Read::Record(position, _, payload) => Some((*position, payload.clone())),
        Read::Lost(..) => None,
    };
    read.iter().filter_map(record).collect()
}

/// Where the last of what was read ends, if each begins where the one before ended.
fn covered(read: &[Read], first: u64) -> u64 {
    read.iter().fold(first, |position, read| {
        let (begin, end) = match read {
            Read::Record(begin, _, payload) => (*begin, begin + 28 + payload.len() as u64),
            Read::Lost(begin, end, _) => (*begin, *end),
        };
        assert_eq!(begin, position);
        end
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, max_shrink_iters: 5000, ..ProptestConfig::default() })]

    #[test]
    fn nothing_synced_is_lost_and_nothing_is_invented(seed: u64, steps in prop::collection::vec(step(), 1..60)) {
        let mut model = Model::new(seed);
        for step in steps {
            model.take(step);
        }
        // Whatever happened: once the disk works, everything that was appended is synced.
        model.files.set(Faults::default());
        let end = model.journal().log().end();
        prop_assert_eq!(model.journal().commit(NOW).unwrap(), end);
        model.check_reader();
        model.restart(Crash::Forgets);
        prop_assert_eq!(model.journal().log().end(), end);
    }
}
