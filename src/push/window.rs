//! The part of the log that a sender has in memory: entries that follow on one another.
//!
//! Invariant: nothing is missing between the first entry and `read_to`, but for what the log itself has lost. What lies between
//! `read_to` and `end` can be read from the spool; without one there is never anything.

use std::collections::VecDeque;
use std::ops::Range;

use super::entry::{Entry, Place, Totals};
use crate::snapshot::StreamId;

/// See the module's page.
#[derive(Debug)]
pub struct Window {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// Behind the last entry, or where reading begins.
    read_to: Place,
    /// Where the log ends, as far as this sender was told.
    end: Place,
    /// What stands before `end` in the log.
    totals: Totals,
}

impl Window {
    /// Nothing of a log that is read from `from` on and ends at `end`, with so much in it.
    pub fn new(from: Place, end: Place, totals: Totals) -> Window {
        Window { entries: VecDeque::new(), bytes: 0, read_to: from, end, totals }
    }

    /// Takes what was just appended to the log, or only that it was where something before it is not here, or there is no room.
    pub fn push(&mut self, entry: Entry, bytes_max: usize) {
        let follows = self.read_to == self.end && self.bytes + entry.bytes.len() <= bytes_max;
        (self.end, self.totals) = (entry.next, entry.after());
        if follows {
            self.hold(entry);
        }
    }

    /// Takes what was read behind `from`, up to `read_to`; nothing if it is not what is wanted now.
    pub fn load(&mut self, from: Place, entries: Vec<Entry>, read_to: Place) {
        if from != self.read_to {
            return;
        }
        entries.into_iter().for_each(|entry| self.hold(entry));
        self.read_to = self.read_to.max(read_to);
        if self.read_to.position() >= self.end.position() {
            // What the spool could not take and this sender had no room for is gone.
            self.read_to = self.read_to.max(self.end);
            self.end = self.read_to;
        }
    }

    fn hold(&mut self, entry: Entry) {
        self.bytes += entry.bytes.len();
        self.read_to = entry.next;
        self.entries.push_back(entry);
    }

    /// Forgets the entries before `place`.
    pub fn forget_before(&mut self, place: Place) {
        while self.entries.front().is_some_and(|entry| entry.at < place) {
            self.bytes -= self.entries.pop_front().map_or(0, |entry| entry.bytes.len());
        }
        if self.entries.is_empty() && self.read_to < place {
            self.read_to = place.min(self.end);
        }
    }

    /// Forgets everything; reading begins anew at `place`.
    pub fn begin_at(&mut self, place: Place) {
        self.entries.clear();
        (self.bytes, self.read_to) = (0, place);
    }

    /// Where the first entry stands, or the next that is read.
    pub fn first(&self) -> Place {
        self.entries.front().map_or(self.read_to, |entry| entry.at)
    }

    /// Where reading goes on.
    pub fn read_to(&self) -> Place {
        self.read_to
    }

    /// Where the log ends.
    pub fn end(&self) -> Place {
        self.end
    }

    /// What is in the whole log.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Bytes of the frames that are here.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Index of the first entry at or behind `place`.
    pub fn index(&self, place: Place) -> usize {
        self.entries.partition_point(|entry| entry.at < place)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// An entry by its index.
    pub fn get(&self, index: usize) -> Option<&Entry> {
        self.entries.get(index)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, index: usize) -> Option<&mut Entry> {
        self.entries.get_mut(index)
    }

    /// The entries from one index to another.
    pub fn range(&self, range: Range<usize>) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.range(range.start..range.end.max(range.start))
    }

    /// Bytes of what is here from `place` on.
    pub fn bytes_from(&self, place: Place) -> usize {
        self.entries.range(self.index(place)..).map(|entry| entry.bytes.len()).sum()
    }

    /// The entry with this number.
    pub fn find(&self, stream: StreamId, seq: u64) -> Option<usize> {
        let is_it = |entry: &Entry| entry.stream == stream && entry.seq == seq && seq != 0;
        self.entries.iter().rposition(is_it)
    }

    /// Steps back over the definitions directly before an entry: where one begins who needs it.
    pub fn with_definitions(&self, index: usize) -> usize {
        let before = self.entries.range(..index).rev();
        index - before.take_while(|entry| !entry.is_state() && entry.stream == self.entries[index].stream).count()
    }

    /// The last KEY that begins, with its definitions, before `place` or with the first entry behind it: the index of its first part,
    /// and where it begins.
    pub fn last_key_until(&self, place: Place) -> Option<(usize, Place)> {
        let until = self.place_of(place);
        self.keys().rev().map(|index| (index, self.beginning(index))).find(|(_, begin)| *begin <= until)
    }

    /// Where the first entry stands at or behind `place`, if it is here.
    pub fn place_of(&self, place: Place) -> Place {
        self.entries.get(self.index(place)).map_or(place, |entry| entry.at)
    }

    /// The first KEY that begins behind `place`.
    pub fn next_key_after(&self, place: Place) -> Option<(usize, Place)> {
        self.keys().map(|index| (index, self.beginning(index))).find(|(_, begin)| *begin > place)
    }

    /// The first entry of another stream behind `place`; that stream's KEY need not be here yet.
    pub fn next_stream_after(&self, place: Place, stream: StreamId) -> Option<Place> {
        let mut behind = self.entries.range(self.index(place)..);
        behind.find(|entry| entry.stream != stream).map(|entry| entry.at)
    }

    fn keys(&self) -> impl DoubleEndedIterator<Item = usize> + '_ {
        (0..self.entries.len()).filter(|index| self.entries[*index].begins_key)
    }

    fn beginning(&self, key: usize) -> Place {
        self.entries[self.with_definitions(key)].at
    }
}
