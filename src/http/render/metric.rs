//! The labels and the timestamp of one Metric in protobuf, from what [`super::line`] prepares of target and chunk.
//!
//! Invariant: labels come in the order of a line's, name for name. In protobuf that order says nothing, but whoever compares
//! two pages finds the same bytes as in Prometheus's.

use super::line::{RunLines, write_all};
use crate::exposition::write_label_pair;
use crate::snapshot::{CHUNK_SLOTS, PairId};

impl RunLines<'_> {
    /// Appends the labels of a slot; `except` is left out, a bucket's `le` that the message has elsewhere.
    #[inline]
    pub fn write_label_fields(&self, out: &mut Vec<u8>, slot: u8, except: Option<PairId>) {
        let (text, start) = (self.text, out.len());
        let (mut done, mut hidden, mut is_special) = (0, 0, text.is_special);
        for id in self.chunk.pairs_of(usize::from(slot)) {
            let place = self.place(*id);
            let before = usize::from(place.before);
            if before > done {
                out.extend_from_slice(text.labels(done, before));
            }
            done = before + usize::from(place.replaces);
            let pair = self.chunk.pair(*id);
            is_special |= place.is_special || (place.hides != 0 && pair.value.is_empty());
            hidden |= place.hides;
            if !pair.value.is_empty() && Some(*id) != except {
                write_label_pair(out, pair.name, pair.value);
            }
        }
        if is_special {
            out.truncate(start);
            return self.write_field_by_field(out, slot, except);
        }
        match hidden {
            0 => out.extend_from_slice(text.labels_from(done)),
            _ => text.write_shown(self.lines.style(), out, done, hidden),
        }
    }

    #[cold]
    fn write_field_by_field(&self, out: &mut Vec<u8>, slot: u8, except: Option<PairId>) {
        let ids = self.chunk.pairs_of(usize::from(slot));
        let has = |name: &str| ids.iter().any(|id| self.chunk.pair(*id).name == name);
        let pairs = ids.iter().filter(|id| Some(**id) != except).map(|id| self.chunk.pair(*id));
        let mut own: Vec<(&str, &str)> =
            pairs.filter(|pair| !pair.value.is_empty()).map(|pair| (pair.name, pair.value)).collect();
        own.extend(self.site.target.labels.iter().filter(|(name, _)| !has(name)));
        own.sort_unstable();
        write_all(self.lines.style(), out, &own, self.appended());
    }

    /// Appends the timestamp of a slot's sample, where the page has them.
    #[inline]
    pub fn write_stamp_field(&self, out: &mut Vec<u8>, chunk: u32, slot: u8) {
        if self.site.target.beside.timestamps.is_empty() {
            return out.extend_from_slice(self.text.stamp());
        }
        let slot = chunk * CHUNK_SLOTS as u32 + u32::from(slot);
        self.lines.style().write_stamp(out, self.site.target.timestamp_of(slot));
    }
}
