//! Rows of samples, compressed: a few scrapes of all columns of a strip.
//!
//! Invariant: what is decoded is what was encoded, to the bit. A block is read from its end: the row after its last one is known (it
//! is the first of the next block, or stands raw in the strip's head), and each older value follows from the one after it. So a
//! block has no value of its own to begin with, and the oldest blocks can go without a word. Windows end near the present,
//! so nothing is decoded that is not asked for.
//!
//! | part | size | what |
//! |---|---|---|
//! | `times` | 8 bytes a row | when the rows were scraped, oldest first |
//! | `shapes` | a byte a column | high four bits: decimal places, 15: the values' bits are meant; low four: the [width](WIDTHS) of a step |
//! | `marks` | 4 bytes for 64 columns | the bit at which the first of them begins |
//! | `bits` | rows × width a column | the steps of a column, oldest first: newer less older, zigzag |
//!
//! A step is one between whole numbers: the values times a power of ten, where all values of the column and the one after them come out
//! of that exactly, else their bits. A column that did not change has no steps at all. What has timestamps of its own or is
//! a native histogram stands beside its row as it came.

use std::sync::Arc;

use super::outer::MUST_READ;
use super::row::{Row, RowBeside};
use super::usage::{Counted, Usage};
use crate::model::stale_nan;

/// Bits that a step may take.
const WIDTHS: [u8; 16] = [0, 1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 20, 24, 32, 48, 64];
/// Decimal places that are tried.
const PLACES_MAX: usize = 12;
/// In a shape: the values' bits are meant.
const RAW: u8 = 15;
/// Steps that one reading has where none is wider than [`PACKED_WIDTH_MAX`].
const PACKED: usize = 4;
const PACKED_WIDTH_MAX: u8 = 16;
/// Rows of a block whose values can be looked at on the way down.
const ROWS_MAX: usize = 32;
/// Columns to a mark.
const MARK_COLUMNS: usize = 64;
/// Whole numbers below it, and their halves, are exact.
const WHOLE_LIMIT: f64 = (1u64 << 51) as f64;
/// A number so great that what is added to it loses its fraction, rounded to even.
const ROUNDER: f64 = (3u64 << 51) as f64;

const POWERS: [f64; PLACES_MAX + 1] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12];

/// Rows that are compressed together; see the module's page.
#[derive(Debug)]
pub(super) struct Block {
    times: Box<[i64]>,
    shapes: Box<[u8]>,
    marks: Box<[u32]>,
    bits: Box<[u64]>,
    /// Beside `times`, or empty where no row has anything.
    beside: Box<[Option<Arc<RowBeside>>]>,
    _counted: Counted,
}

/// The value as a whole number of units of so many decimal places, if it is one.
#[inline]
fn whole(value: f64, places: usize) -> Option<i64> {
    let scaled = value * POWERS[places];
    if scaled.is_nan() || scaled.abs() >= WHOLE_LIMIT {
        return None;
    }
    let whole = (scaled + ROUNDER).to_bits() as i64 - ROUNDER.to_bits() as i64;
    (number(whole, places).to_bits() == value.to_bits()).then_some(whole)
}

#[inline]
fn number(whole: i64, places: usize) -> f64 {
    float(whole) / POWERS[places]
}

/// The same as [`whole`] for a value that is known to be whole.
#[inline]
fn units(value: f64, places: usize) -> i64 {
    let whole = (value * POWERS[places] + ROUNDER).to_bits() as i64 - ROUNDER.to_bits() as i64;
    debug_assert_eq!(number(whole, places).to_bits(), value.to_bits(), "the value after a column has its places");
    whole
}

/// A whole number below [`WHOLE_LIMIT`] as it is: in arithmetic that processors have for several at once.
#[inline]
fn float(whole: i64) -> f64 {
    f64::from_bits((whole + ROUNDER.to_bits() as i64) as u64) - ROUNDER
}

#[inline]
fn zigzag(step: i64) -> u64 {
    ((step << 1) ^ (step >> 63)) as u64
}

#[inline]
fn unzigzag(coded: u64) -> i64 {
    (coded >> 1) as i64 ^ -((coded & 1) as i64)
}

/// Compresses rows that `after` follows.
pub(super) fn encode(rows: &[Arc<Row>], after: &Row, usage: &Arc<Usage>) -> Block {
    let columns = rows.iter().map(|row| row.values.len()).max().unwrap_or(0);
    let mut writer = Writer::default();
    let (mut shapes, mut marks) = (Vec::with_capacity(columns), Vec::with_capacity(columns.div_ceil(MARK_COLUMNS)));
    let (mut values, mut steps) = (vec![0.0; rows.len() + 1], vec![0; rows.len()]);
    for column in 0..columns {
        if column % MARK_COLUMNS == 0 {
            marks.push(writer.length as u32);
        }
        for (value, row) in values.iter_mut().zip(rows.iter().map(|row| &**row).chain([after])) {
            *value = row.values.get(column).copied().unwrap_or_else(stale_nan);
        }
        let places = steps_of(&values, &mut steps);
        let width = class_of(steps.iter().fold(0, |all, step| all | step));
        shapes.push(places << 4 | width);
        steps.iter().for_each(|step| writer.put(*step, WIDTHS[usize::from(width)]));
    }
    let beside: Box<[_]> = match rows.iter().any(|row| row.beside.is_some()) {
        true => rows.iter().map(|row| row.beside.clone()).collect(),
        false => [].into(),
    };
    let (times, bits): (Box<[i64]>, _) = (rows.iter().map(|row| row.time).collect(), writer.finish());
    let bytes = size_of::<Block>() + 8 * (times.len() + bits.len()) + columns + 4 * marks.len();
    let beside_bytes: usize = beside.iter().flatten().map(|beside| beside.bytes()).sum();
    let counted = usage.count(bytes + beside_bytes, rows.len() * columns);
    Block { times, shapes: shapes.into(), marks: marks.into(), bits, beside, _counted: counted }
}

/// The steps between values, and the decimal places of their unit.
fn steps_of(values: &[f64], steps: &mut [u64]) -> u8 {
    let newest = values[values.len() - 1];
    if values.iter().all(|value| value.to_bits() == newest.to_bits()) {
        steps.fill(0);
        return RAW;
    }
    for places in 0..=PLACES_MAX {
        if whole(newest, places).is_some() && whole_steps(values, places, steps) {
            return places as u8;
        }
    }
    for (step, pair) in steps.iter_mut().zip(values.windows(2)) {
        *step = zigzag((pair[1].to_bits() as i64).wrapping_sub(pair[0].to_bits() as i64));
    }
    RAW
}

fn whole_steps(values: &[f64], places: usize, steps: &mut [u64]) -> bool {
    let Some(mut before) = whole(values[0], places) else { return false };
    for (step, value) in steps.iter_mut().zip(&values[1..]) {
        let Some(value) = whole(*value, places) else { return false };
        *step = zigzag(value - before);
        before = value;
    }
    true
}

fn class_of(steps: u64) -> u8 {
    let width = 64 - steps.leading_zeros() as u8;
    WIDTHS.partition_point(|one| *one < width) as u8
}

#[derive(Default)]
struct Writer {
    words: Vec<u64>,
    length: usize,
}

impl Writer {
    fn put(&mut self, value: u64, width: u8) {
        if width == 0 {
            return;
        }
        let within = self.length % 64;
        if within == 0 {
            self.words.push(value);
        } else {
            *self.words.last_mut().expect("there is a word begun") |= value << within;
            if within + usize::from(width) > 64 {
                self.words.push(value >> (64 - within));
            }
        }
        self.length += usize::from(width);
    }

    /// With a word behind the end, so that a step can be read from two words at once.
    fn finish(mut self) -> Box<[u64]> {
        self.words.push(0);
        self.words.into()
    }
}

impl Block {
    /// When its rows were scraped, oldest first.
    pub(super) fn times(&self) -> &[i64] {
        &self.times
    }

    /// What stands beside a row.
    pub(super) fn beside(&self, row: usize) -> Option<&Arc<RowBeside>> {
        self.beside.get(row)?.as_ref()
    }

    /// How many columns it has; later ones had no sample yet.
    pub(super) fn columns(&self) -> usize {
        self.shapes.len()
    }

    fn bit_of(&self, column: usize) -> usize {
        let mark = column / MARK_COLUMNS;
        self.marks[mark] as usize + self.width_of(mark * MARK_COLUMNS..column)
    }

    fn width_of(&self, columns: std::ops::Range<usize>) -> usize {
        let widths = self.shapes[columns].iter().map(|shape| usize::from(WIDTHS[usize::from(shape & 15)]));
        widths.sum::<usize>() * self.times.len()
    }

    /// Reads a column backwards: of `values`, one a row and the one after the last row, the last is known.
    #[inline]
    fn decode(&self, column: usize, bit: usize, values: &mut [f64]) {
        let shape = self.shapes[column];
        let (places, width) = (usize::from(shape >> 4), WIDTHS[usize::from(shape & 15)]);
        let Some((newer, older)) = values.split_last_mut() else { return };
        if width == 0 {
            older.fill(*newer);
        } else if places == usize::from(RAW) {
            self.decode_raw(bit, width, *newer, older);
        } else if width <= PACKED_WIDTH_MAX && older.len().is_multiple_of(PACKED) {
            self.decode_packed(bit, width, places, units(*newer, places), older);
        } else {
            let mut whole = units(*newer, places);
            for (row, value) in older.iter_mut().enumerate().rev() {
                whole -= unzigzag(read(&self.bits, bit + row * usize::from(width), width));
                *value = number(whole, places);
            }
        }
    }

    /// The value of row `from` of a column, as long as no value from there on is less than the one before it; `newer` stands behind the
    /// last row. [`MUST_READ`] where that takes a look at values.
    #[inline]
    fn descend(&self, column: usize, bit: usize, newer: f64, from: usize) -> f64 {
        let shape = self.shapes[column];
        let (places, width, rows) = (shape >> 4, WIDTHS[usize::from(shape & 15)], self.times.len());
        if width == 0 {
            return newer;
        }
        if from > 0 || places == RAW || width > PACKED_WIDTH_MAX || !rows.is_multiple_of(PACKED) {
            return self.descend_values(column, bit, newer, from);
        }
        let (mask, falls) = (u64::MAX >> (64 - width), 1 | 1 << width | 1 << (2 * width) | 1 << (3 * width));
        let mut rise = 0;
        for quad in 0..rows / PACKED {
            let packed = read(&self.bits, bit + quad * PACKED * usize::from(width), 64);
            if packed & falls != 0 {
                return MUST_READ;
            }
            rise += [0, 1, 2, 3].map(|row: u8| (packed >> (row * width) & mask) >> 1).iter().sum::<u64>();
        }
        number(units(newer, usize::from(places)) - rise as i64, usize::from(places))
    }

    fn descend_values(&self, column: usize, bit: usize, newer: f64, from: usize) -> f64 {
        let mut values = [newer; ROWS_MAX + 1];
        let Some(values) = values.get_mut(..=self.times.len()) else { return MUST_READ };
        self.decode(column, bit, values);
        let values = &values[from..];
        let is_rising = values.iter().zip(&values[1..]).all(|(before, now)| before <= now);
        if is_rising { values[0] } else { MUST_READ }
    }

    fn decode_raw(&self, bit: usize, width: u8, newer: f64, older: &mut [f64]) {
        let mut bits = newer.to_bits() as i64;
        for (row, value) in older.iter_mut().enumerate().rev() {
            bits = bits.wrapping_sub(unzigzag(read(&self.bits, bit + row * usize::from(width), width)));
            *value = f64::from_bits(bits as u64);
        }
    }

    /// Whole numbers whose steps are so short that one reading has four of them.
    #[inline]
    fn decode_packed(&self, bit: usize, width: u8, places: usize, mut whole: i64, older: &mut [f64]) {
        let (mask, power) = (u64::MAX >> (64 - width), POWERS[places]);
        for (quad, values) in older.chunks_exact_mut(PACKED).enumerate().rev() {
            let packed = read(&self.bits, bit + quad * PACKED * usize::from(width), 64);
            let step = |row: u8| unzigzag(packed >> (row * width) & mask);
            let fourth = whole - step(3);
            let third = fourth - step(2);
            let second = third - step(1);
            whole = second - step(0);
            for (value, whole) in values.iter_mut().zip([whole, second, third, fourth]) {
                *value = float(whole) / power;
            }
        }
    }
}

#[inline]
fn read(words: &[u64], bit: usize, width: u8) -> u64 {
    let (word, within) = (bit / 64, bit % 64);
    let value = words[word] >> within | (words[word + 1] << 1) << (63 - within);
    value & (u64::MAX >> (64 - width))
}

/// Where in a block the next column to be read stands, where columns are read in ascending order.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cursor {
    column: usize,
    bit: usize,
}

impl Cursor {
    /// Reads columns, best in ascending order. Of `values` each column has `stride`, and the block's rows are those from `start`
    /// on; behind them stands the value after the block's last.
    pub(super) fn read(&mut self, block: &Block, columns: &[u32], values: &mut [f64], stride: usize, start: usize) {
        let rows = start..=start + block.times.len();
        for (column, values) in columns.iter().zip(values.chunks_exact_mut(stride)) {
            let (column, values) = (*column as usize, &mut values[rows.clone()]);
            if column < block.columns() {
                self.seek(block, column);
                block.decode(column, self.bit, values);
            } else {
                values[..block.times.len()].fill(stale_nan());
            }
        }
    }

    /// Goes from the values after the block's last row down to those of row `from`; see [`Block::descend`]. Columns that must be read are
    /// left alone.
    pub(super) fn descend(&mut self, block: &Block, columns: &[u32], values: &mut [f64], from: usize) {
        for (column, value) in columns.iter().map(|column| *column as usize).zip(values) {
            if value.is_nan() || column >= block.columns() {
                *value = MUST_READ;
                continue;
            }
            self.seek(block, column);
            *value = block.descend(column, self.bit, *value, from);
        }
    }

    #[inline]
    fn seek(&mut self, block: &Block, column: usize) {
        if column < self.column || column / MARK_COLUMNS != self.column / MARK_COLUMNS {
            self.bit = block.bit_of(column);
        } else {
            self.bit += block.width_of(self.column..column);
        }
        self.column = column;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{HISTOGRAM_NAN, NORMAL_NAN, STALE_NAN};

    fn row(time: i64, values: Vec<f64>) -> Arc<Row> {
        Arc::new(Row::new(time, values, None, &Arc::new(Usage::default())))
    }

    fn decoded(block: &Block, after: &Row) -> Vec<Vec<u64>> {
        let (columns, stride) = (after.values.len(), block.times().len() + 2);
        let mut values = vec![0.5; columns * stride];
        for (values, after) in values.chunks_exact_mut(stride).zip(&after.values) {
            values[stride - 1] = *after;
        }
        let all: Vec<u32> = (0..columns as u32).collect();
        Cursor::default().read(block, &all, &mut values, stride, 1);
        let of_column = |values: &[f64]| {
            assert_eq!(values[0], 0.5, "what stands before the block is left alone");
            values[1..stride - 1].iter().map(|value| value.to_bits()).collect()
        };
        values.chunks_exact(stride).map(of_column).collect()
    }

    fn value() -> impl Strategy<Value = f64> {
        let odd = [NORMAL_NAN, STALE_NAN, HISTOGRAM_NAN, 0x8000_0000_0000_0000, 0x7ff0_0000_0000_0000, 1, u64::MAX];
        prop_oneof![
            4 => (0i64..2_000, 0u32..4).prop_map(|(whole, places)| whole as f64 / 10f64.powi(places as i32)),
            2 => (0i64..1 << 53).prop_map(|whole| whole as f64),
            1 => any::<u64>().prop_map(f64::from_bits),
            1 => prop::sample::select(odd.to_vec()).prop_map(f64::from_bits),
            1 => Just(f64::NEG_INFINITY),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

        #[test]
        fn every_bit_comes_back(
            table in (1usize..150, 1usize..9).prop_flat_map(|(columns, rows)| {
                prop::collection::vec(prop::collection::vec(value(), rows + 1), columns)
            }),
            missing in 0usize..5,
        ) {
            let rows = table[0].len();
            let values = |row: usize| -> Vec<f64> { table.iter().map(|column| column[row]).collect() };
            let mut all: Vec<Arc<Row>> = (0..rows).map(|at| row(at as i64, values(at))).collect();
            let after = all.pop().expect("one row more");
            // Some row has fewer columns.
            let first = table.len().saturating_sub(missing);
            let short = missing % all.len();
            all[short] = row(short as i64, values(short)[..first].to_vec());
            let block = encode(&all, &after, &Arc::new(Usage::default()));
            let decoded = decoded(&block, &after);
            for (column, bits) in decoded.iter().enumerate() {
                for (row, bits) in bits.iter().enumerate() {
                    let expected = all[row].values.get(column).map_or(STALE_NAN, |value| value.to_bits());
                    prop_assert_eq!(*bits, expected, "column {} row {}", column, row);
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

        #[test]
        fn going_down_finds_the_first_value_of_what_never_falls_and_of_nothing_else(
            mut table in (1usize..150, 1usize..9).prop_flat_map(|(columns, rows)| {
                prop::collection::vec(prop::collection::vec(value(), rows + 1), columns)
            }),
            sorted in prop::collection::vec(any::<bool>(), 150),
            from in 0usize..9,
        ) {
            // Else hardly any would never fall.
            for (column, _) in table.iter_mut().zip(sorted).filter(|(_, sorted)| *sorted) {
                column.sort_by(f64::total_cmp);
            }
            let rows = table[0].len() - 1;
            let from = from % rows;
            let values = |row: usize| -> Vec<f64> { table.iter().map(|column| column[row]).collect() };
            let all: Vec<Arc<Row>> = (0..rows).map(|at| row(at as i64, values(at))).collect();
            let block = encode(&all, &row(rows as i64, values(rows)), &Arc::new(Usage::default()));
            let columns: Vec<u32> = (0..table.len() as u32).collect();
            let mut found = values(rows);
            Cursor::default().descend(&block, &columns, &mut found, from);
            for (column, found) in table.iter().zip(found) {
                let never_falls = column[from..].windows(2).all(|pair| pair[0] <= pair[1]);
                let expected = if never_falls { column[from].to_bits() } else { MUST_READ.to_bits() };
                prop_assert_eq!(found.to_bits(), expected, "{:?} from {}", column, from);
            }
        }
    }

    #[test]
    fn what_does_not_change_takes_no_bits_and_decimals_take_few() {
        let rows: Vec<Arc<Row>> =
            (0..4).map(|at| row(at, vec![0.3, 17.0 + at as f64, 1.25 + at as f64 / 100.0])).collect();
        let after = row(4, vec![0.3, 21.0, 1.29]);
        let block = encode(&rows, &after, &Arc::new(Usage::default()));
        assert_eq!(&*block.shapes, [RAW << 4, 2, 2 << 4 | 2]);
        assert_eq!(block.bits.len(), 2, "two columns of two bits a row, and the word behind the end");
    }
}
