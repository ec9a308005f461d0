//! The memory of a body, which can be used again for the next one.
//!
//! Invariant: `bytes` is initialised memory of which the first `filled` bytes are the body, so a decoder writes into
//! it in place, and what earlier bodies left behind is overwritten and never zeroed again.

use std::io;
use std::ops::Deref;

/// The least room that a decoder is given at once.
const ROOM_MIN: usize = 4 << 10;

/// A decoded body.
#[derive(Debug, Default)]
pub struct Body {
    bytes: Vec<u8>,
    filled: usize,
}

/// A body got longer than allowed.
#[derive(Debug, thiserror::Error)]
#[error("body exceeds its limit")]
pub(super) struct Exceeded;

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }
}

impl Body {
    /// Bytes of memory that it holds, whatever the body's length.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Makes it empty; the memory stays.
    pub fn clear(&mut self) {
        self.filled = 0;
    }

    /// Memory behind the body of at least one byte, but none beyond one byte over `limit`.
    pub(super) fn room(&mut self, limit: usize) -> &mut [u8] {
        let end = limit.saturating_add(1);
        if self.bytes.len() < end && self.bytes.len() - self.filled < ROOM_MIN {
            self.bytes.resize((2 * self.filled).max(self.filled + 2 * ROOM_MIN).min(end), 0);
        }
        let end = self.bytes.len().min(end);
        &mut self.bytes[self.filled..end]
    }

    /// Takes over what was written into [`Body::room`].
    pub(super) fn take(&mut self, count: usize, limit: usize) -> io::Result<()> {
        self.filled += count;
        if self.filled > limit {
            self.filled = limit;
            return Err(io::Error::other(Exceeded));
        }
        Ok(())
    }

    /// Appends `bytes` as they are.
    pub(super) fn push(&mut self, bytes: &[u8], limit: usize) -> io::Result<()> {
        let end = self.filled + bytes.len();
        if end > limit {
            return Err(io::Error::other(Exceeded));
        }
        if self.bytes.len() < end {
            self.bytes.truncate(self.filled);
            self.bytes.extend_from_slice(bytes);
        } else {
            self.bytes[self.filled..end].copy_from_slice(bytes);
        }
        self.filled = end;
        Ok(())
    }
}
