//! The memory of a page: its raw series keys in their order, each with what it came to last time.
//!
//! Pages hardly change: the k-th sample line of this page is nearly always the k-th of the last, so it is compared with that
//! one first (one `memcmp`, no parsing). Where it differs it is looked up by its bytes, and the comparison goes on
//! behind the place where it was found: a vanished line costs one lookup, a moved block one as well. What is expected belongs
//! to the page's format, because what one grammar accepts another may refuse; after a change of format each key is read
//! and looked up. Lines of both text formats are one alphabet of keys, samples of protobuf pages another
//! ([`crate::exposition::protobuf::ProtobufReader::key`]).
//!
//! Invariant: an entry lives until a page was read in full that lacks its key, as in Prometheus's `scrapeCache`, from
//! which `scrape_series_added` follows. Keys stand in one arena without an allocation each; it is packed when over
//! half of it belongs to no entry.

use std::hash::BuildHasher;

use hashbrown::HashTable;

use crate::exposition::{Format, Remembered};

/// Longest value text that is remembered; a longer one is parsed each time. `f64` needs at most 24 characters.
const VALUE_TEXT_MAX: usize = 24;
/// Arena bytes below which packing is not worth it.
const PACK_BYTES_MIN: usize = 64 << 10;
/// Entries beyond twice the last good page's after which all are forgotten; Prometheus then keeps those of the last page.
const STRAY_ENTRIES_MAX: usize = 1000;
/// Keys of failed pages are forgotten beyond this too, so that with one more page (at most 1 GiB) positions fit 32 bits.
const ARENA_BYTES_MAX: usize = 2 << 30;

/// What a key's series came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It has this slot.
    Slot(u32),
    /// Metric relabelling drops it.
    Dropped,
}

/// Number of a [`Fate::Dropped`] key in place of its slot.
const DROPPED: u32 = u32::MAX;

#[derive(Clone, Debug)]
struct Entry {
    key_at: u32,
    key_len: u32,
    slot: u32,
    /// The position in `order` at which the key was seen last.
    place: u32,
    /// The page that it was seen on last.
    seen: u32,
    value_len: u8,
    value_text: [u8; VALUE_TEXT_MAX],
    value: f64,
}

/// Keys of a target's newest pages.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys {
    entries: Vec<Entry>,
    /// Numbers of entries without a key.
    free: Vec<u32>,
    by_key: HashTable<u32>,
    hasher: foldhash::fast::RandomState,
    arena: Vec<u8>,
    /// Arena bytes of freed entries.
    garbage: usize,
    /// Entries by their line, of the last page and of this one.
    order: Vec<u32>,
    next_order: Vec<u32>,
    /// Of the last page.
    format: Option<Format>,
    /// The line of the last page that is expected next.
    expected: usize,
    page: u32,
    /// Whether [`Keys::forget`] was called on this page.
    forgotten: bool,
    /// How many entries the last good page left.
    settled: usize,
}

impl Keys {
    /// Begins a page.
    pub(super) fn begin(&mut self, format: Format) {
        if self.format.replace(format) != Some(format) {
            self.order.clear();
        }
        self.page = self.page.wrapping_add(1);
        self.expected = 0;
        self.forgotten = false;
        self.next_order.clear();
    }

    /// What the next sample line will be if the page is as the last one was.
    #[inline]
    pub(super) fn remembered(&self) -> Option<Remembered<'_>> {
        let entry = &self.entries[*self.order.get(self.expected)? as usize];
        Some(Remembered {
            key: self.key(entry),
            value_text: &entry.value_text[..usize::from(entry.value_len)],
            value: entry.value,
        })
    }

    /// The entry of the line that came as [`Keys::remembered`] said.
    #[inline]
    pub(super) fn hit(&mut self) -> u32 {
        let number = self.order[self.expected];
        self.expected += 1;
        number
    }

    /// The entry with these key bytes, if there is one; the lines behind it are expected next.
    pub(super) fn find(&mut self, key: &[u8]) -> Option<u32> {
        let number = *self.by_key.find(self.hasher.hash_one(key), |other| self.key_of(*other) == key)?;
        let place = self.entries[number as usize].place as usize;
        if self.order.get(place) == Some(&number) {
            self.expected = place + 1;
        }
        Some(number)
    }

    /// Remembers a new key.
    pub(super) fn insert(&mut self, key: &[u8], fate: Fate) -> u32 {
        let entry = Entry {
            key_at: u32::try_from(self.arena.len()).expect("arena and page are bounded so that it fits"),
            key_len: key.len() as u32,
            slot: match fate {
                Fate::Slot(slot) => slot,
                Fate::Dropped => DROPPED,
            },
            place: u32::MAX,
            seen: self.page.wrapping_sub(1),
            value_len: 0,
            value_text: [0; VALUE_TEXT_MAX],
            value: 0.0,
        };
        self.arena.extend_from_slice(key);
        let number = self.place(entry);
        let (entries, arena, hasher) = (&self.entries, &self.arena, &self.hasher);
        let hash = |number: &u32| hasher.hash_one(key_in(arena, &entries[*number as usize]));
        self.by_key.insert_unique(hash(&number), number, hash);
        number
    }

    fn place(&mut self, entry: Entry) -> u32 {
        if let Some(number) = self.free.pop() {
            self.entries[number as usize] = entry;
            return number;
        }
        self.entries.push(entry);
        self.entries.len() as u32 - 1
    }

    /// Notes that the entry's line stood on this page with this value; false if its key had stood there before.
    #[inline]
    pub(super) fn see(&mut self, number: u32, value_text: &[u8], value: f64) -> bool {
        let entry = &mut self.entries[number as usize];
        if entry.seen == self.page {
            return false;
        }
        entry.seen = self.page;
        entry.place = self.next_order.len() as u32;
        self.next_order.push(number);
        if value_text.len() <= VALUE_TEXT_MAX {
            entry.value_len = value_text.len() as u8;
            entry.value_text[..value_text.len()].copy_from_slice(value_text);
        } else {
            entry.value_len = 0;
        }
        entry.value = value;
        true
    }

    /// What the entry's series came to.
    #[inline]
    pub(super) fn fate(&self, number: u32) -> Fate {
        match self.entries[number as usize].slot {
            DROPPED => Fate::Dropped,
            slot => Fate::Slot(slot),
        }
    }

    /// Makes the entry one that the end of this page forgets: its sample was refused, so its slot may be freed.
    pub(super) fn forget(&mut self, number: u32) {
        self.entries[number as usize].seen = self.page.wrapping_sub(1);
        self.forgotten = true;
    }

    /// Ends a page that was read in full: what did not stand on it is forgotten.
    pub(super) fn settle(&mut self) {
        if self.forgotten || self.by_key.len() != self.next_order.len() {
            self.flush();
        }
        std::mem::swap(&mut self.order, &mut self.next_order);
        self.settled = self.by_key.len();
    }

    /// Ends a page that failed or was empty: nothing is forgotten. False where failed pages brought so many keys that it
    /// is time to forget them all.
    pub(super) fn abandon(&mut self) -> bool {
        // The entries' places are those of the page that failed; what is expected of the next one is the last good page.
        renumber(&mut self.entries, &self.order);
        self.by_key.len() <= 2 * self.settled + STRAY_ENTRIES_MAX && self.arena.len() <= ARENA_BYTES_MAX
    }

    /// Gives every entry's series its new slot.
    pub(super) fn move_slots(&mut self, moves: &[Option<u32>]) {
        for entry in self.entries.iter_mut().filter(|entry| entry.slot != DROPPED) {
            if let Some(Some(slot)) = moves.get(entry.slot as usize) {
                entry.slot = *slot;
            }
        }
    }

    /// How many keys are known.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Forgets every entry that is not on this page.
    fn flush(&mut self) {
        let (entries, page) = (&mut self.entries, self.page);
        let (free, garbage) = (&mut self.free, &mut self.garbage);
        self.by_key.retain(|number| {
            let entry = &mut entries[*number as usize];
            if entry.seen == page {
                return true;
            }
            free.push(*number);
            *garbage += entry.key_len as usize;
            entry.key_len = 0;
            false
        });
        self.next_order.retain(|number| entries[*number as usize].seen == page);
        renumber(entries, &self.next_order);
        if self.garbage > PACK_BYTES_MIN.max(self.arena.len() / 2) {
            self.pack();
        }
    }

    /// Writes the arena anew, in the order of the page. After a flush the page's entries are all there are.
    fn pack(&mut self) {
        let mut arena = Vec::with_capacity(self.arena.len() - self.garbage);
        for number in &self.next_order {
            let entry = &mut self.entries[*number as usize];
            let key_at = arena.len() as u32;
            arena.extend_from_slice(key_in(&self.arena, entry));
            entry.key_at = key_at;
        }
        self.arena = arena;
        self.garbage = 0;
    }

    fn key(&self, entry: &Entry) -> &[u8] {
        key_in(&self.arena, entry)
    }

    fn key_of(&self, number: u32) -> &[u8] {
        self.key(&self.entries[number as usize])
    }
}

fn renumber(entries: &mut [Entry], order: &[u32]) {
    for (place, number) in order.iter().enumerate() {
        entries[*number as usize].place = place as u32;
    }
}

fn key_in<'a>(arena: &'a [u8], entry: &Entry) -> &'a [u8] {
    &arena[entry.key_at as usize..][..entry.key_len as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows the keys of one page; returns how many came as expected.
    fn show(keys: &mut Keys, page: &[&str]) -> usize {
        keys.begin(Format::Text);
        let mut hits = 0;
        for key in page {
            let is_hit = keys.remembered().is_some_and(|line| line.key == key.as_bytes());
            let number = if is_hit {
                hits += 1;
                keys.hit()
            } else {
                let found = keys.find(key.as_bytes());
                found.unwrap_or_else(|| keys.insert(key.as_bytes(), Fate::Slot(key.len() as u32)))
            };
            assert!(keys.see(number, b"1", 1.0), "{key}");
            assert_eq!(keys.fate(number), Fate::Slot(key.len() as u32));
        }
        hits
    }

    #[test]
    fn lines_that_vanish_appear_or_move_cost_one_lookup_each() {
        let mut keys = Keys::default();
        let pages: [(&[&str], usize); 5] = [
            (&["a", "bb", "ccc", "dddd", "eeeee"], 0),
            (&["a", "bb", "ccc", "dddd", "eeeee"], 5),
            (&["a", "ccc", "dddd", "eeeee"], 3),
            (&["a", "new", "ccc", "dddd", "eeeee"], 4),
            (&["dddd", "eeeee", "a", "new", "ccc"], 3),
        ];
        for (page, hits) in pages {
            assert_eq!(show(&mut keys, page), hits, "{page:?}");
            keys.settle();
            assert_eq!(keys.len(), page.len());
        }
    }

    #[test]
    fn a_failed_page_forgets_nothing_and_its_keys_stay() {
        let mut keys = Keys::default();
        show(&mut keys, &["a", "bb"]);
        keys.settle();
        show(&mut keys, &["bb", "ccc"]);
        keys.abandon();
        assert_eq!(keys.len(), 3);
        assert_eq!(show(&mut keys, &["a", "bb", "ccc"]), 2, "the last good page is what is expected");
        keys.settle();
        assert_eq!(keys.len(), 3);
    }

    #[test]
    fn ever_new_keys_of_failed_pages_are_too_many_at_last() {
        let mut keys = Keys::default();
        show(&mut keys, &["a"]);
        keys.settle();
        let mut show_new = |page| {
            let names: Vec<String> = (0..300).map(|series| format!("{page}_{series}")).collect();
            show(&mut keys, &names.iter().map(String::as_str).collect::<Vec<_>>());
            keys.abandon()
        };
        assert_eq!([0, 1, 2, 3].map(&mut show_new), [true, true, true, false]);
    }

    #[test]
    fn the_arena_is_packed_and_keys_survive_it() {
        let mut keys = Keys::default();
        for page in 0..20 {
            let names: Vec<String> = (0..100).map(|series| format!("{page}_{series}_{}", "x".repeat(100))).collect();
            let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
            names.push("stays");
            show(&mut keys, &names);
            keys.settle();
            assert!(keys.arena.len() < 3 * PACK_BYTES_MIN);
        }
        assert!(keys.find(b"stays").is_some());
    }
}
