//! Which slots of a chunk changed.
//!
//! Most series change at every scrape or hardly ever, some at every other; these have to be told apart, for the former cost next to
//! nothing if only their exceptions are written, and the latter cost a bit whatever is done. So of the last eight scrapes is counted
//! in how many a slot changed: **wavering** slots (two to six times) have a bit each, in a column of their own that no compressor
//! could shrink; of the others it is written where they did not do as usual: a count and the gaps between the slots, or a bitmap
//! where that is shorter.
//!
//! | byte | then |
//! |---:|---|
//! | 0–24 | so many gaps, one byte each: slots skipped since the one before |
//! | 255 | a bitmap of 32 bytes, slot 0 in the lowest bit of the first |

use super::bits::{BitReader, BitWriter};
use super::reader::{Malformed, Reader};

/// One bit a slot of a chunk.
pub type SlotSet = [u64; 4];

/// Failures up to which their gaps are shorter than the bitmap, once both are compressed.
const GAPS_MAX: u32 = 24;
/// Announces a bitmap.
const BITMAP: u8 = 255;

/// Scrapes that are remembered.
const HISTORY: usize = 8;

/// The slots that changed in the last eight scrapes of a chunk.
#[derive(Clone, Debug, Default)]
pub(super) struct ChangeHistory {
    /// A ring: `next` is the oldest.
    recent: [SlotSet; HISTORY],
    next: u8,
    is_known: bool,
}

impl ChangeHistory {
    /// The slots that change as a rule, and those of which one cannot tell: sums of eight one-bit numbers, for 64 slots at once.
    fn classes(&self) -> (SlotSet, SlotSet) {
        let (mut usual, mut wavering) = ([0; 4], [0; 4]);
        for at in 0..4 {
            let [mut ones, mut twos, mut fours, mut eights] = [0u64; 4];
            for recent in &self.recent {
                let carry = ones & recent[at];
                ones ^= recent[at];
                let next = twos & carry;
                twos ^= carry;
                eights |= fours & next;
                fours ^= next;
            }
            let seven = fours & twos & ones;
            usual[at] = eights | fours;
            wavering[at] = (twos | fours) & !seven & !eights;
        }
        (usual, wavering)
    }

    /// Takes in the set of one more scrape. The first one stands for all before it.
    fn push(&mut self, changed: SlotSet) {
        if !self.is_known {
            (self.recent, self.is_known) = ([changed; HISTORY], true);
            return;
        }
        self.recent[usize::from(self.next)] = changed;
        self.next = (self.next + 1) % HISTORY as u8;
    }

    /// Forgets these slots.
    pub(super) fn forget(&mut self, slots: &SlotSet) {
        for recent in &mut self.recent {
            recent.iter_mut().zip(slots).for_each(|(own, slots)| *own &= !slots);
        }
    }

    /// Whether another scrape without any change would leave it as it is, but for the place in the ring.
    pub(super) fn is_quiet(&self) -> bool {
        self.is_known && self.recent == [[0; 4]; HISTORY]
    }

    /// Appends a set.
    pub(super) fn encode(&mut self, changed: SlotSet, out: &mut Vec<u8>, bits: &mut BitWriter) {
        let (usual, wavering) = self.classes();
        let failed: SlotSet = std::array::from_fn(|at| (changed[at] ^ usual[at]) & !wavering[at]);
        put_set(&failed, out);
        for at in 0..4 {
            for half in [0, 32] {
                let mask = wavering[at] >> half & HALF;
                bits.put(gather(changed[at] >> half, mask), mask.count_ones());
            }
        }
        self.push(changed);
    }

    /// Reads what [`ChangeHistory::encode`] wrote.
    pub(super) fn decode(&mut self, reader: &mut Reader<'_>, bits: &mut BitReader<'_>) -> Result<SlotSet, Malformed> {
        let (usual, wavering) = self.classes();
        let failed = take_set(reader)?;
        let mut changed: SlotSet = std::array::from_fn(|at| (failed[at] ^ usual[at]) & !wavering[at]);
        for at in 0..4 {
            for half in [0, 32] {
                let mask = wavering[at] >> half & HALF;
                changed[at] |= scatter(bits.take(mask.count_ones())?, mask) << half;
            }
        }
        self.push(changed);
        Ok(changed)
    }
}

/// The lower half of a word: bit fields are shorter than 64.
const HALF: u64 = 0xffff_ffff;

/// The bits of `word` where `mask` has ones, moved together.
fn gather(word: u64, mut mask: u64) -> u64 {
    let (mut gathered, mut at) = (0, 0);
    while mask != 0 {
        gathered |= (word >> mask.trailing_zeros() & 1) << at;
        at += 1;
        mask &= mask - 1;
    }
    gathered
}

/// Undoes [`gather`].
fn scatter(mut gathered: u64, mut mask: u64) -> u64 {
    let mut word = 0;
    while mask != 0 {
        word |= (gathered & 1) << mask.trailing_zeros();
        gathered >>= 1;
        mask &= mask - 1;
    }
    word
}

/// Appends a set as it is, for a chunk of which nothing is known.
pub(super) fn put_set(set: &SlotSet, out: &mut Vec<u8>) {
    let count: u32 = set.iter().map(|word| word.count_ones()).sum();
    if count > GAPS_MAX {
        out.push(BITMAP);
        set.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
        return;
    }
    out.push(count as u8);
    let mut next = 0;
    for slot in slots_of(*set) {
        out.push((slot - next) as u8);
        next = slot + 1;
    }
}

/// Reads what [`put_set`] wrote.
pub(super) fn take_set(reader: &mut Reader<'_>) -> Result<SlotSet, Malformed> {
    let count = reader.byte("change set")?;
    if count == BITMAP {
        let bytes: [u8; 32] = reader.array("change set")?;
        return Ok(std::array::from_fn(|at| {
            u64::from_le_bytes(*bytes[8 * at..].first_chunk().expect("32 bytes are four words"))
        }));
    }
    if u32::from(count) > GAPS_MAX {
        return Err(Malformed::Unknown { what: "change set", found: u64::from(count) });
    }
    let (mut set, mut next) = ([0u64; 4], 0usize);
    for gap in reader.take(usize::from(count), "change set")? {
        let slot = next + usize::from(*gap);
        let word = set.get_mut(slot / 64);
        let max = 255;
        *word.ok_or(Malformed::OutOfBounds { what: "changed slot", found: slot as u64, max })? |= 1 << (slot % 64);
        next = slot + 1;
    }
    Ok(set)
}

/// The slots of a set, ascending.
pub(super) fn slots_of(set: SlotSet) -> impl Iterator<Item = usize> {
    (0..4).flat_map(move |at| {
        let mut word = set[at];
        std::iter::from_fn(move || {
            let bit = (word != 0).then(|| word.trailing_zeros() as usize)?;
            word &= word - 1;
            Some(64 * at + bit)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_every_size_come_back() {
        for step in [1, 2, 3, 7, 11, 63, 255, 256] {
            let mut set = [0; 4];
            (step - 1..256).step_by(step).for_each(|slot| set[slot / 64] |= 1 << (slot % 64));
            let mut out = Vec::new();
            put_set(&set, &mut out);
            assert!(out.len() <= 33, "{step}");
            let mut reader = Reader::new(&out);
            assert_eq!(take_set(&mut reader), Ok(set));
            assert_eq!(reader.left(), 0);
        }
    }

    #[test]
    fn what_changes_always_costs_nothing_after_the_first_time_and_what_wavers_a_bit() {
        let (mut writer, mut out, mut bits) = (ChangeHistory::default(), Vec::new(), BitWriter::default());
        let steady: SlotSet = [u64::MAX, 0, 5, 0];
        let wavering: SlotSet = [u64::MAX, 0, 5, 0xff00];
        let sets: Vec<SlotSet> = (0..40).map(|n| if n % 2 == 0 { steady } else { wavering }).collect();
        let mut sizes = Vec::new();
        for set in &sets {
            let before = (out.len(), bits.len());
            writer.encode(*set, &mut out, &mut bits);
            sizes.push((out.len() - before.0, bits.len() - before.1));
        }
        assert_eq!(sizes[39], (1, 1), "eight slots waver");
        let bits = bits.take();
        let (mut history, mut reader, mut bits) = (ChangeHistory::default(), Reader::new(&out), BitReader::new(&bits));
        for set in &sets {
            assert_eq!(history.decode(&mut reader, &mut bits), Ok(*set));
        }
        assert_eq!((reader.left(), bits.end()), (0, Ok(())));
    }

    #[test]
    fn slots_are_classed_by_how_often_they_changed() {
        let mut history = ChangeHistory { is_known: true, ..ChangeHistory::default() };
        // Slot n changed in n of the last eight scrapes.
        (0..8).for_each(|scrape| history.push([0x1ff & !((2 << scrape) - 1), 0, 0, 0]));
        assert_eq!(history.classes(), ([0b1_1111_0000, 0, 0, 0], [0b0_0111_1100, 0, 0, 0]));
    }

    #[test]
    fn slots_behind_the_chunk_are_refused() {
        assert!(matches!(take_set(&mut Reader::new(&[2, 255, 0])), Err(Malformed::OutOfBounds { .. })));
        assert!(matches!(take_set(&mut Reader::new(&[100])), Err(Malformed::Unknown { .. })));
    }
}
