//! The primitives of which frames and definitions are made: LEB128 numbers, zigzag numbers, strings, and a reader that
//! trusts none of them.
//!
//! Invariant: nothing here allocates by a length that was read; whoever does compares it with what is left first.

/// What is wrong with bytes whose checksum was right: a fault of the sender, or of the reader.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The bytes end inside something.
    #[error("bytes end inside {0}")]
    Short(&'static str),
    /// A number, length or index is over its bound.
    #[error("{what} is {found}, expected at most {max}")]
    OutOfBounds {
        /// What was counted.
        what: &'static str,
        /// What stood there.
        found: u64,
        /// The bound that it broke.
        max: u64,
    },
    /// A code that means nothing in this version.
    #[error("unknown {what} {found:#x}")]
    Unknown {
        /// The kind of code.
        what: &'static str,
        /// What stood there.
        found: u64,
    },
    /// A string that is not UTF-8.
    #[error("{0} is not UTF-8")]
    NotUtf8(&'static str),
    /// Bytes behind the end.
    #[error("{bytes} bytes too many behind {what}")]
    Trailing {
        /// What had ended.
        what: &'static str,
        /// How many are left.
        bytes: usize,
    },
    /// Something stands twice, or out of order.
    #[error("{0} out of place")]
    OutOfPlace(&'static str),
    /// A definition does not have the hash that it was announced with.
    #[error("schema {announced:032x} hashes to {found:032x}")]
    WrongHash {
        /// The hash that it was announced with, the first byte the highest.
        announced: u128,
        /// Its own.
        found: u128,
    },
    /// A native histogram that breaks its own rules.
    #[error("native histogram: {0}")]
    Histogram(String),
    /// The two ends disagree about a target's values.
    #[error("values of target {target} differ from the sender's")]
    Drift {
        /// The number of the target in its stream.
        target: u32,
    },
}

/// Appends a number as LEB128.
#[inline]
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Small numbers of both signs to small numbers: 0, −1, 1, −2, …
#[inline]
pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Undoes [`zigzag`].
#[inline]
pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Appends a number of either sign.
#[inline]
pub(super) fn put_zigzag(out: &mut Vec<u8>, value: i64) {
    put_varint(out, zigzag(value));
}

/// Appends a string behind its length.
pub(super) fn put_string(out: &mut Vec<u8>, string: &str) {
    put_varint(out, string.len() as u64);
    out.extend_from_slice(string.as_bytes());
}

/// Reads what the functions above wrote. A clone is a place to come back to.
#[derive(Clone, Debug, Default)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    /// How many bytes are left.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    /// All that is left.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    pub(super) fn byte(&mut self, what: &'static str) -> Result<u8, Malformed> {
        let (first, rest) = self.rest.split_first().ok_or(Malformed::Short(what))?;
        self.rest = rest;
        Ok(*first)
    }

    #[inline]
    pub(super) fn take(&mut self, length: usize, what: &'static str) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Malformed::Short(what))?;
        self.rest = rest;
        Ok(taken)
    }

    /// `N` bytes of a fixed field.
    pub(super) fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed::Short(what))?;
        self.rest = rest;
        Ok(*taken)
    }

    #[inline]
    pub(super) fn varint(&mut self, what: &'static str) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(what)?;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed::OutOfBounds { what, found: u64::MAX, max: u64::MAX })
    }

    #[inline]
    pub(super) fn zigzag(&mut self, what: &'static str) -> Result<i64, Malformed> {
        Ok(unzigzag(self.varint(what)?))
    }

    /// A number of at most `max`.
    pub(super) fn bounded(&mut self, what: &'static str, max: u64) -> Result<usize, Malformed> {
        match self.varint(what)? {
            found if found <= max => Ok(found as usize),
            found => Err(Malformed::OutOfBounds { what, found, max }),
        }
    }

    /// A count of things of which each takes at least `bytes_min` bytes of what is left, so that it may be allocated for.
    pub(super) fn count(&mut self, what: &'static str, max: u64, bytes_min: usize) -> Result<usize, Malformed> {
        let count = self.bounded(what, max)?;
        if count.saturating_mul(bytes_min) > self.left() { Err(Malformed::Short(what)) } else { Ok(count) }
    }

    /// A string of at most `max` bytes.
    pub(super) fn string(&mut self, what: &'static str, max: usize) -> Result<&'a str, Malformed> {
        let length = self.bounded(what, max as u64)?;
        std::str::from_utf8(self.take(length, what)?).map_err(|_| Malformed::NotUtf8(what))
    }

    /// Nothing may be left.
    pub(super) fn end(&self, what: &'static str) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed::Trailing { what, bytes: self.rest.len() }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_longer_ones_are_refused() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            let mut reader = Reader::new(&out);
            assert_eq!((reader.varint("x"), reader.left()), (Ok(value), 0));
        }
        for value in [0, -1, 1, i64::MIN, i64::MAX] {
            assert_eq!(unzigzag(zigzag(value)), value);
        }
        let too_long = [0xff; 10];
        assert!(matches!(Reader::new(&too_long).varint("x"), Err(Malformed::OutOfBounds { .. })));
        assert_eq!(Reader::new(&[0x80]).varint("x"), Err(Malformed::Short("x")));
    }

    #[test]
    fn a_count_is_compared_with_what_is_left() {
        assert_eq!(Reader::new(&[3, 0, 0]).count("x", 10, 1), Err(Malformed::Short("x")));
        assert_eq!(Reader::new(&[11]).count("x", 10, 0), Err(Malformed::OutOfBounds { what: "x", found: 11, max: 10 }));
        assert_eq!(Reader::new(&[2, 0xff, 0xff]).string("x", 10), Err(Malformed::NotUtf8("x")));
    }
}
