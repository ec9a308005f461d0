//! A column of bit fields of any width, packed without gaps, lowest bit first.
//!
//! It takes what no compressor could shrink, the bits of a difference below its leading one, so that they cost their number and
//! no more.

use super::reader::Malformed;

/// Collects bit fields.
#[derive(Debug, Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    word: u64,
    used: u32,
}

impl BitWriter {
    /// Appends the `width` lowest bits of `value`, at most 63; the others must be 0.
    #[inline]
    pub(super) fn put(&mut self, value: u64, width: u32) {
        debug_assert!(width < 64 && value >> width == 0);
        self.word |= value << self.used;
        let filled = self.used + width;
        if filled < 64 {
            self.used = filled;
            return;
        }
        self.bytes.extend_from_slice(&self.word.to_le_bytes());
        self.word = if self.used == 0 { 0 } else { value >> (64 - self.used) };
        self.used = filled - 64;
    }

    /// How many bytes it would take.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() + self.used.div_ceil(8) as usize
    }

    /// Takes all out, the last byte filled with zeros.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let last = self.used.div_ceil(8) as usize;
        self.bytes.extend_from_slice(&self.word.to_le_bytes()[..last]);
        (self.word, self.used) = (0, 0);
        std::mem::take(&mut self.bytes)
    }
}

/// Reads bit fields in their order.
#[derive(Clone, Debug, Default)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> BitReader<'a> {
        BitReader { bytes, at: 0 }
    }

    /// The next `width` bits, at most 63.
    #[inline]
    pub(super) fn take(&mut self, width: u32) -> Result<u64, Malformed> {
        debug_assert!(width < 64);
        let end = self.at + width as usize;
        if end > self.bytes.len() * 8 {
            return Err(Malformed::Short("difference bits"));
        }
        let shift = (self.at % 8) as u32;
        let tail = &self.bytes[self.at / 8..];
        let mut value = load(tail) >> shift;
        if shift + width > 64 {
            value |= u64::from(tail[8]) << (64 - shift);
        }
        self.at = end;
        Ok(value & ((1u64 << width) - 1))
    }

    /// Nothing may be left but the zeros that fill the last byte.
    pub(super) fn end(&self) -> Result<(), Malformed> {
        match self.bytes.len() - self.at.div_ceil(8) {
            0 => Ok(()),
            bytes => Err(Malformed::Trailing { what: "difference bits", bytes }),
        }
    }
}

/// The first eight bytes; zeros where there are fewer.
#[inline]
fn load(bytes: &[u8]) -> u64 {
    if let Some(eight) = bytes.first_chunk::<8>() {
        return u64::from_le_bytes(*eight);
    }
    let mut eight = [0; 8];
    eight[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(eight)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_every_width_come_back_at_every_place() {
        let fields: Vec<(u64, u32)> = (0..2000u64)
            .map(|n| {
                let width = (n * 7 % 64) as u32;
                (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) & ((1 << width) - 1), width)
            })
            .collect();
        let mut writer = BitWriter::default();
        fields.iter().for_each(|(value, width)| writer.put(*value, *width));
        let length = writer.len();
        let bytes = writer.take();
        assert_eq!(bytes.len(), length);
        let mut reader = BitReader::new(&bytes);
        for (value, width) in fields {
            assert_eq!(reader.take(width), Ok(value));
        }
        assert_eq!(reader.end(), Ok(()));
        assert_eq!(reader.take(63), Err(Malformed::Short("difference bits")));
        assert!(BitReader::new(&bytes).end().is_err());
    }
}
