//! How one chunk's changed values are written against those before.
//!
//! Exported values are decimal numbers, or multiples of a power of two. So each slot has a **scale** at which its values are
//! whole numbers, and only the difference of two whole numbers is written: its sign and how many bits it has as one code byte
//! (against the slot's usual width, so that neighbours' codes are alike and compress), and the bits below the
//! leading one in a column of their own, which no compressor could shrink.
//!
//! Invariant: both ends compute the whole number of the value before, and the value from the new one, by the same IEEE
//! operations (a multiplication, a rounding, a division), and the encoder has checked that they give the value's very bits.
//! Where no scale does, the bits are written as they differ from those before.
//!
//! | code | value | exceptions | bits |
//! |---|---|---|---|
//! | 0–209 | whole number before ± difference; code = zigzag(width − usual width) · 2 + sign | | width − 1 |
//! | 0xf0 | none any more: the series ends with a stale marker | | |
//! | 0xf1 | none any more, without a marker | | |
//! | 0xf2 | NaN | | |
//! | 0xf3 | bits before xor a number of so many bits | width | width − 1 |
//! | 0xf4 | as the first, at another scale | scale; width with the sign as bit 7 | width − 1 |
//! | 0xf5 | the mark of a native histogram, which stands beside the column | | |
//!
//! The usual width is a running mean in quarters of a bit, rounded: each difference of a slot that had a value, outside of what a
//! KEY tells in full, moves it a quarter of the way, the first one all of it.
//!
//! Scale `k` below 23 means tenths to the power `k`, scale 32 + `s` multiples of 2 to the power `s`, `s` at most 40.

use std::sync::{Arc, LazyLock};

use super::bits::{BitReader, BitWriter};
use super::changes::{ChangeHistory, SlotSet, put_set, slots_of, take_set};
use super::chunk::CHUNK_SLOTS;
use super::column::{ColumnChunk, is_absent};
use super::reader::{Malformed, Reader, unzigzag, zigzag};
use super::scrape::FORGET_NAN;
use crate::model::{HISTOGRAM_NAN, NORMAL_NAN, STALE_NAN, stale_nan};

const CODES_NUMERIC: u8 = 210;
const CODE_STALE: u8 = 0xf0;
const CODE_FORGET: u8 = 0xf1;
const CODE_NAN: u8 = 0xf2;
const CODE_XOR: u8 = 0xf3;
const CODE_SCALE: u8 = 0xf4;
const CODE_HISTOGRAM: u8 = 0xf5;

/// Whole numbers are below 2^50, so that they, and their differences, are exact in an `f64`.
const WHOLE_MAX: f64 = (1u64 << 50) as f64;
/// Widest difference of two whole numbers.
const WIDTH_MAX: u32 = 51;
/// Decimal places that the encoder tries; more digits than 10^15 has do not fit a whole number anyway.
const DECIMALS_MAX: u8 = 15;
/// Scale of multiples of 2^0.
const SHIFT_BASE: u8 = 32;
/// Smaller powers of two are not worth a scale of their own.
const SHIFT_MIN: u32 = 9;
const SHIFT_MAX: u32 = 40;
/// How many scales there are, unused numbers between the two families included.
const SCALES: usize = SHIFT_BASE as usize + SHIFT_MAX as usize + 1;

/// What a value is multiplied with to be whole; 0 where there is no such scale.
static SCALE_FACTORS: [f64; SCALES] = scale_factors();

const fn scale_factors() -> [f64; SCALES] {
    let mut factors = [0.0; SCALES];
    let (mut at, mut power) = (0, 1.0);
    while at < 23 {
        factors[at] = power;
        // Powers of ten are exact up to 10^22.
        power *= 10.0;
        at += 1;
    }
    let (mut shift, mut part) = (0, 1.0);
    while shift <= SHIFT_MAX as usize {
        factors[SHIFT_BASE as usize + shift] = part;
        part /= 2.0;
        shift += 1;
    }
    factors
}

/// Rounds to the nearest whole number for magnitudes below 2^51, without a call.
#[inline]
fn round(value: f64) -> i64 {
    const MAGIC: f64 = 6_755_399_441_055_744.0; // 1.5 · 2^52: behind it an f64 has no room for a fraction
    ((value + MAGIC) - MAGIC) as i64
}

/// The whole number that stands for a value at a scale; 0 where there is none.
#[inline]
fn whole(bits: u64, factor: f64) -> i64 {
    let scaled = f64::from_bits(bits) * factor;
    if scaled.abs() < WHOLE_MAX { round(scaled) } else { 0 }
}

/// The whole number that gives back the value's very bits at a scale, if there is one.
#[inline]
fn exact_whole(bits: u64, factor: f64) -> Option<i64> {
    let scaled = f64::from_bits(bits) * factor;
    if scaled.abs() < WHOLE_MAX {
        let whole = round(scaled);
        if (whole as f64 / factor).to_bits() == bits {
            return Some(whole);
        }
    }
    None
}

/// The trailing zeros of a value that is a whole number, none where it is not.
fn trailing_zeros(value: f64) -> Option<u32> {
    let is_whole = value.abs() < 2f64.powi(62) && value == value.trunc() && value != 0.0;
    is_whole.then(|| (value as i64).trailing_zeros())
}

/// A scale for a value that its slot's does not fit: of multiples of a power of two if the value before is one too, or the
/// fewest decimals.
fn search_scale(bits: u64, before: u64) -> Option<(u8, i64)> {
    let value = f64::from_bits(bits);
    let zeros = trailing_zeros(value);
    let before = f64::from_bits(before);
    let shift = zeros.map(|own| trailing_zeros(before).map_or(own, |zeros| own.min(zeros)).min(SHIFT_MAX));
    let shift = shift.filter(|shift| *shift >= SHIFT_MIN).map(|shift| SHIFT_BASE + shift as u8);
    shift
        .into_iter()
        .chain(0..=DECIMALS_MAX)
        .find_map(|scale| exact_whole(bits, SCALE_FACTORS[usize::from(scale)]).map(|whole| (scale, whole)))
}

/// What both ends remember of a chunk beside its values.
#[derive(Clone, Debug)]
pub(super) struct ChunkState {
    scale: [u8; CHUNK_SLOTS],
    /// The usual width of the slot's differences, in quarters: a running mean, which tells the next one better than the last
    /// one does.
    usual: [u8; CHUNK_SLOTS],
    history: ChangeHistory,
    /// Slots that hold a sample.
    pub(super) present: u16,
}

impl Default for ChunkState {
    fn default() -> ChunkState {
        ChunkState { scale: [0; CHUNK_SLOTS], usual: [0; CHUNK_SLOTS], history: ChangeHistory::default(), present: 0 }
    }
}

/// The columns that values are written to.
#[derive(Debug, Default)]
pub(super) struct ValueColumns {
    pub(super) changes: Vec<u8>,
    pub(super) codes: Vec<u8>,
    pub(super) exceptions: Vec<u8>,
    /// Of the wavering slots in the change sets.
    pub(super) wavering: BitWriter,
    pub(super) bits: BitWriter,
}

impl ValueColumns {
    pub(super) fn len(&self) -> usize {
        self.changes.len() + self.codes.len() + self.exceptions.len() + self.wavering.len() + self.bits.len()
    }
}

/// The columns that values are read from.
#[derive(Clone, Debug, Default)]
pub(super) struct ValueReaders<'a> {
    pub(super) changes: Reader<'a>,
    pub(super) codes: Reader<'a>,
    pub(super) exceptions: Reader<'a>,
    pub(super) wavering: BitReader<'a>,
    pub(super) bits: BitReader<'a>,
    /// A value was read that says that its sample is a native histogram.
    pub(super) has_histograms: bool,
}

impl ValueReaders<'_> {
    pub(super) fn end(&self) -> Result<(), Malformed> {
        self.changes.end("change sets")?;
        self.codes.end("value codes")?;
        self.exceptions.end("value exceptions")?;
        self.wavering.end()?;
        self.bits.end()
    }
}

/// Whether a chunk is written against what was before, or against nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Basis {
    /// Against the state, which knows which slots tend to change.
    Before,
    /// In full: the state is fresh, and that all slots "change" says nothing about the next time.
    Nothing,
}

impl ChunkState {
    /// Forgets slots that now hold another series, and their values.
    pub(super) fn forget(&mut self, slots: &SlotSet, values: &mut ColumnChunk) {
        self.history.forget(slots);
        for slot in slots_of(*slots) {
            (self.scale[slot], self.usual[slot]) = (0, 0);
            self.present -= u16::from(!is_absent(values[slot].to_bits()));
            values[slot] = stale_nan();
        }
    }

    /// Of a chunk that nothing was written to; shared until something is.
    pub(super) fn fresh() -> Arc<ChunkState> {
        static FRESH: LazyLock<Arc<ChunkState>> = LazyLock::new(Arc::default);
        FRESH.clone()
    }

    /// Whether a chunk whose change set is written as "as predicted" stays as it is, so that nothing need be copied.
    pub(super) fn is_quiet(&self) -> bool {
        self.history.is_quiet()
    }

    /// Writes the values of a chunk and takes them in. In full, state and values are those of a new chunk first; the scales
    /// that were learnt are said again, where they still fit.
    pub(super) fn encode(&mut self, basis: Basis, before: &mut ColumnChunk, values: &[f64], out: &mut ValueColumns) {
        let mut hints = [0; CHUNK_SLOTS];
        if basis == Basis::Nothing {
            hints = std::mem::take(self).scale;
            before.fill(stale_nan());
        }
        let mut changed = difference(before, values);
        for slot in slots_of(changed) {
            let bits = values.get(slot).map_or(STALE_NAN, |value| value.to_bits());
            let old = before[slot].to_bits();
            let is_ended = bits == STALE_NAN || bits == FORGET_NAN;
            if is_ended && is_absent(old) {
                changed[slot / 64] &= !(1 << (slot % 64));
                continue;
            }
            self.present = self.present + u16::from(is_absent(old)) - u16::from(is_ended);
            before[slot] = if is_ended { stale_nan() } else { f64::from_bits(bits) };
            self.encode_value(slot, basis, hints[slot], old, bits, out);
        }
        match basis {
            Basis::Before => self.history.encode(changed, &mut out.changes, &mut out.wavering),
            Basis::Nothing => put_set(&changed, &mut out.changes),
        }
    }

    #[inline]
    fn encode_value(&mut self, slot: usize, basis: Basis, hint: u8, old: u64, bits: u64, out: &mut ValueColumns) {
        if hint != 0
            && let Some(whole) = exact_whole(bits, SCALE_FACTORS[usize::from(hint)])
        {
            return self.put_scaled(slot, hint, whole, old, out);
        }
        let scale = self.scale[slot];
        let factor = SCALE_FACTORS[usize::from(scale)];
        let base = if is_absent(old) { 0 } else { whole(old, factor) };
        let Some(whole) = exact_whole(bits, factor) else { return self.encode_exception(slot, old, bits, out) };
        if scale == 0 && whole != 0 && (whole | base).trailing_zeros() >= SHIFT_MIN {
            return self.encode_exception(slot, old, bits, out);
        }
        let difference = whole - base;
        let width = 64 - difference.unsigned_abs().leading_zeros();
        let turn = zigzag(i64::from(width) - expected_width(self.usual[slot]));
        out.codes.push((turn * 2) as u8 | u8::from(difference < 0));
        put_difference(&mut out.bits, difference, width);
        if basis == Basis::Before && !is_absent(old) {
            self.usual[slot] = next_usual(self.usual[slot], width);
        }
    }

    #[cold]
    fn encode_exception(&mut self, slot: usize, old: u64, bits: u64, out: &mut ValueColumns) {
        match bits {
            STALE_NAN => out.codes.push(CODE_STALE),
            FORGET_NAN => out.codes.push(CODE_FORGET),
            NORMAL_NAN => out.codes.push(CODE_NAN),
            HISTOGRAM_NAN => out.codes.push(CODE_HISTOGRAM),
            _ => match search_scale(bits, old) {
                Some((scale, whole)) => self.put_scaled(slot, scale, whole, old, out),
                None => {
                    let differing = bits ^ base_bits(old);
                    let width = 64 - differing.leading_zeros();
                    out.codes.push(CODE_XOR);
                    out.exceptions.push(width as u8);
                    if width > 1 {
                        out.bits.put(differing & !(1 << (width - 1)), width - 1);
                    }
                }
            },
        }
    }

    fn put_scaled(&mut self, slot: usize, scale: u8, whole_number: i64, old: u64, out: &mut ValueColumns) {
        self.scale[slot] = scale;
        let base = if is_absent(old) { 0 } else { whole(old, SCALE_FACTORS[usize::from(scale)]) };
        let difference = whole_number - base;
        let width = 64 - difference.unsigned_abs().leading_zeros();
        out.codes.push(CODE_SCALE);
        out.exceptions.extend_from_slice(&[scale, width as u8 | u8::from(difference < 0) << 7]);
        put_difference(&mut out.bits, difference, width);
    }

    /// Reads the changes of a chunk of `slots` slots into `values`. Reading nothing leaves both as they are.
    pub(super) fn decode_changes(
        &mut self,
        basis: Basis,
        slots: usize,
        from: &mut ValueReaders<'_>,
    ) -> Result<SlotSet, Malformed> {
        let changed = match basis {
            Basis::Before => self.history.decode(&mut from.changes, &mut from.wavering)?,
            Basis::Nothing => take_set(&mut from.changes)?,
        };
        match slots_of(changed).last() {
            Some(found) if found >= slots => {
                let max = slots as u64;
                Err(Malformed::OutOfBounds { what: "changed slot", found: found as u64, max })
            }
            _ => Ok(changed),
        }
    }

    /// Reads the values of the changed slots.
    pub(super) fn decode_values(
        &mut self,
        basis: Basis,
        changed: &SlotSet,
        values: &mut ColumnChunk,
        from: &mut ValueReaders<'_>,
    ) -> Result<(), Malformed> {
        let count: u32 = changed.iter().map(|word| word.count_ones()).sum();
        let mut codes = from.codes.take(count as usize, "value codes")?.iter();
        for (slot, code) in slots_of(*changed).zip(&mut codes) {
            let old = values[slot].to_bits();
            let bits = if *code < CODES_NUMERIC {
                self.decode_numeric(slot, basis, *code, old, from)?
            } else {
                self.decode_exception(slot, *code, old, from)?
            };
            self.present = self.present + u16::from(is_absent(old)) - u16::from(is_absent(bits));
            values[slot] = f64::from_bits(bits);
        }
        Ok(())
    }

    #[inline]
    fn decode_numeric(
        &mut self,
        slot: usize,
        basis: Basis,
        code: u8,
        old: u64,
        from: &mut ValueReaders<'_>,
    ) -> Result<u64, Malformed> {
        let factor = SCALE_FACTORS[usize::from(self.scale[slot])];
        let width = unzigzag(u64::from(code / 2)) + expected_width(self.usual[slot]);
        let width = check_width(width)?;
        let difference = take_difference(&mut from.bits, width, code & 1 != 0)?;
        if basis == Basis::Before && !is_absent(old) {
            self.usual[slot] = next_usual(self.usual[slot], width);
        }
        let base = if is_absent(old) { 0 } else { whole(old, factor) };
        Ok(((base + difference) as f64 / factor).to_bits())
    }

    #[cold]
    fn decode_exception(
        &mut self,
        slot: usize,
        code: u8,
        old: u64,
        from: &mut ValueReaders<'_>,
    ) -> Result<u64, Malformed> {
        match code {
            CODE_STALE | CODE_FORGET if is_absent(old) => Err(Malformed::OutOfPlace("end of a series")),
            CODE_STALE | CODE_FORGET => Ok(STALE_NAN),
            CODE_NAN => Ok(NORMAL_NAN),
            CODE_HISTOGRAM => {
                from.has_histograms = true;
                Ok(HISTOGRAM_NAN)
            }
            CODE_XOR => {
                let width = from.exceptions.byte("width")?;
                if !(1..=64).contains(&width) {
                    return Err(Malformed::OutOfBounds { what: "width", found: u64::from(width), max: 64 });
                }
                let low = from.bits.take(u32::from(width) - 1)?;
                let bits = base_bits(old) ^ (low | 1 << (width - 1));
                if is_absent(bits) || bits == FORGET_NAN || bits == HISTOGRAM_NAN {
                    Err(Malformed::OutOfPlace("mark of a column"))
                } else {
                    Ok(bits)
                }
            }
            CODE_SCALE => {
                let scale = from.exceptions.byte("scale")?;
                let width = from.exceptions.byte("width")?;
                let factor = SCALE_FACTORS.get(usize::from(scale)).copied().filter(|factor| *factor != 0.0);
                let factor = factor.ok_or(Malformed::Unknown { what: "scale", found: u64::from(scale) })?;
                self.scale[slot] = scale;
                let difference =
                    take_difference(&mut from.bits, check_width(i64::from(width & 0x7f))?, width & 0x80 != 0)?;
                let base = if is_absent(old) { 0 } else { whole(old, factor) };
                Ok(((base + difference) as f64 / factor).to_bits())
            }
            _ => Err(Malformed::Unknown { what: "value code", found: u64::from(code) }),
        }
    }
}

/// What a slot's new bits are told against when no scale fits.
fn base_bits(old: u64) -> u64 {
    if is_absent(old) { 0 } else { old }
}

/// The width that a slot's next difference is told against.
#[inline]
fn expected_width(usual: u8) -> i64 {
    i64::from((usual + 2) / 4)
}

/// The usual width after one more difference. The first one counts in full.
#[inline]
fn next_usual(usual: u8, width: u32) -> u8 {
    let width = 4 * width as i32;
    let usual = i32::from(usual);
    let next = if usual == 0 { width } else { usual + (width - usual + 2 * (width - usual).signum()) / 4 };
    next as u8
}

fn check_width(width: i64) -> Result<u32, Malformed> {
    match u32::try_from(width) {
        Ok(width) if width <= WIDTH_MAX => Ok(width),
        _ => Err(Malformed::OutOfBounds { what: "width", found: width.unsigned_abs(), max: u64::from(WIDTH_MAX) }),
    }
}

#[inline]
fn put_difference(bits: &mut BitWriter, difference: i64, width: u32) {
    if width > 1 {
        bits.put(difference.unsigned_abs() & !(1 << (width - 1)), width - 1);
    }
}

#[inline]
fn take_difference(bits: &mut BitReader<'_>, width: u32, is_negative: bool) -> Result<i64, Malformed> {
    let magnitude = match width {
        0 => 0,
        _ => (bits.take(width - 1)? | 1 << (width - 1)) as i64,
    };
    Ok(if is_negative { -magnitude } else { magnitude })
}

/// The slots whose bits differ; those behind the end of `values` are absent.
fn difference(before: &ColumnChunk, values: &[f64]) -> SlotSet {
    let mut padded = [stale_nan(); CHUNK_SLOTS];
    let values: &ColumnChunk = match values.first_chunk() {
        Some(whole) => whole,
        None => {
            padded[..values.len()].copy_from_slice(values);
            &padded
        }
    };
    std::array::from_fn(|at| {
        let (before, values) = (&before[64 * at..64 * at + 64], &values[64 * at..64 * at + 64]);
        before
            .iter()
            .zip(values)
            .enumerate()
            .fold(0, |word, (bit, (before, value))| word | u64::from(before.to_bits() != value.to_bits()) << bit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a series of values to one slot, reads them back, and gives the bytes of each step.
    fn travel(values: &[f64]) -> Vec<usize> {
        let (mut writer, mut before) = (ChunkState::default(), [stale_nan(); CHUNK_SLOTS]);
        let (mut state, mut column) = (ChunkState::default(), [stale_nan(); CHUNK_SLOTS]);
        let mut sizes = Vec::new();
        for value in values {
            let mut out = ValueColumns::default();
            writer.encode(Basis::Before, &mut before, &[*value], &mut out);
            sizes.push(out.len());
            let (bits, wavering) = (out.bits.take(), out.wavering.take());
            let mut from = ValueReaders {
                wavering: BitReader::new(&wavering),
                changes: Reader::new(&out.changes),
                codes: Reader::new(&out.codes),
                exceptions: Reader::new(&out.exceptions),
                bits: BitReader::new(&bits),
                has_histograms: false,
            };
            let changed = state.decode_changes(Basis::Before, 1, &mut from).unwrap();
            state.decode_values(Basis::Before, &changed, &mut column, &mut from).unwrap();
            from.end().unwrap();
            assert_eq!(column[0].to_bits(), before[0].to_bits());
            if value.to_bits() != FORGET_NAN {
                assert_eq!(column[0].to_bits(), value.to_bits(), "{value}");
            }
            assert_eq!((state.present, writer.present), (u16::from(!is_absent(column[0].to_bits())), state.present));
        }
        sizes
    }

    #[test]
    fn every_kind_of_value_comes_back_bit_by_bit() {
        let odd = [0x7ff8_0000_0000_0001, 0xfff8_0000_0000_0009, 1, 0x8000_0000_0000_0000, FORGET_NAN, STALE_NAN];
        let mut values: Vec<f64> = odd.into_iter().map(f64::from_bits).collect();
        values.extend([
            0.0,
            -0.0,
            1.0,
            0.1,
            0.3,
            1e22,
            1e23,
            f64::MAX,
            f64::MIN_POSITIVE,
            f64::INFINITY,
            f64::NEG_INFINITY,
        ]);
        values.extend([f64::NAN, 1.0 / 3.0, -1e15, 1125899906842623.0, 1125899906842624.0, 4096.0, 8192.0, 12288.5]);
        let back: Vec<f64> = values.iter().rev().copied().collect();
        values.extend(back);
        travel(&values);
    }

    #[test]
    fn decimals_and_multiples_of_powers_of_two_are_told_by_their_differences() {
        let cents = travel(&[1.25, 1.27, 1.3, 1.0]);
        assert!(cents[1..].iter().all(|bytes| *bytes <= 3), "{cents:?}");
        let pages = travel(&[4096.0 * 1000.0, 4096.0 * 1001.0, 4096.0 * 1003.0, 4096.0 * 1006.0, 4096.0 * 1010.0]);
        assert!(pages[3..].iter().all(|bytes| *bytes <= 3), "{pages:?}");
    }

    #[test]
    fn a_scale_that_does_not_exist_is_refused() {
        for (scale, width) in [(23, 1), (31, 1), (73, 1), (255, 1), (0, 52), (0, 0x7f)] {
            let exceptions = [scale, width];
            let mut from = ValueReaders {
                codes: Reader::new(&[CODE_SCALE]),
                exceptions: Reader::new(&exceptions),
                bits: BitReader::new(&[0; 16]),
                ..ValueReaders::default()
            };
            let mut values = [stale_nan(); CHUNK_SLOTS];
            let result = ChunkState::default().decode_values(Basis::Before, &[1, 0, 0, 0], &mut values, &mut from);
            assert!(result.is_err(), "scale {scale}, width {width}");
        }
    }
}
