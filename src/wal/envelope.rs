//! What stands before a frame in the log: who pushed it, when, and under which policy.
//!
//! | offset | bytes | what |
//! |---:|---:|---|
//! | 0 | 1 | version of the envelope; 1 |
//! | 1 | 1 | flags: 1 the sender said what its clock shows; others are refused |
//! | 2 | 8 | the gateway's clock when the frame came, milliseconds since the epoch, i64 |
//! | 10 | 8 | name of the epoch |
//! | 18 | 8 | when the collector's certificate expires, milliseconds since the epoch, i64 |
//! | 26 | 8 | how far the sender's clock was ahead, milliseconds, i64; 0 where it did not say |
//! | 34 | 2 | length of the collector's identity, n |
//! | 36 | n | the identity, UTF-8 |
//! | 36 + n | | the frame, byte for byte as it came |
//!
//! Numbers are little-endian. Lengths and checksums of the whole are the journal's.

use super::epoch::EpochId;
use crate::model::Timestamp;

/// Bytes before the identity.
const FIXED_BYTES: usize = 36;
const VERSION: u8 = 1;
const HAS_SKEW: u8 = 1;

/// See the module's page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The gateway's clock when the frame came.
    pub received: Timestamp,
    /// The policy of then.
    pub epoch: EpochId,
    /// When the collector's certificate expires.
    pub certificate_expires: Timestamp,
    /// How far the sender's clock was ahead, if it said so.
    pub clock_skew_ms: Option<i64>,
    /// The identity that matched.
    pub collector: &'a str,
}

/// Why bytes are no envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// They end before it does.
    #[error("envelope is cut: {0} bytes")]
    Cut(usize),
    /// A version that this program does not know.
    #[error("envelope of version {0}, expected {VERSION}")]
    Version(u8),
    /// A flag that the version does not know.
    #[error("envelope with unknown flags {0:#04x}")]
    Flags(u8),
    /// The identity is no text.
    #[error("envelope with an identity that is not UTF-8")]
    Identity,
}

impl<'a> Envelope<'a> {
    /// Its bytes; the frame follows. An identity of over 64 KiB, which no certificate has, is cut.
    pub fn encode(&self) -> Vec<u8> {
        let collector = &self.collector[..self.collector.floor_char_boundary(usize::from(u16::MAX))];
        let mut bytes = Vec::with_capacity(FIXED_BYTES + collector.len());
        bytes.extend([VERSION, if self.clock_skew_ms.is_some() { HAS_SKEW } else { 0 }]);
        bytes.extend(self.received.0.to_le_bytes());
        bytes.extend(self.epoch.0);
        bytes.extend(self.certificate_expires.0.to_le_bytes());
        bytes.extend(self.clock_skew_ms.unwrap_or_default().to_le_bytes());
        bytes.extend((collector.len() as u16).to_le_bytes());
        bytes.extend(collector.as_bytes());
        bytes
    }

    /// Reads an envelope; gives what follows it, too.
    pub fn decode(bytes: &'a [u8]) -> Result<(Envelope<'a>, &'a [u8]), EnvelopeError> {
        let cut = EnvelopeError::Cut(bytes.len());
        let (fixed, rest) = bytes.split_first_chunk::<FIXED_BYTES>().ok_or(cut)?;
        let eight = |at: usize| *fixed[at..].first_chunk::<8>().expect("it lies within the fixed bytes");
        match (fixed[0], fixed[1]) {
            (VERSION, 0 | HAS_SKEW) => {}
            (VERSION, flags) => return Err(EnvelopeError::Flags(flags)),
            (version, _) => return Err(EnvelopeError::Version(version)),
        }
        let length = usize::from(u16::from_le_bytes([fixed[34], fixed[35]]));
        let (collector, frame) = rest.split_at_checked(length).ok_or(cut)?;
        let envelope = Envelope {
            received: Timestamp(i64::from_le_bytes(eight(2))),
            epoch: EpochId(eight(10)),
            certificate_expires: Timestamp(i64::from_le_bytes(eight(18))),
            clock_skew_ms: (fixed[1] == HAS_SKEW).then(|| i64::from_le_bytes(eight(26))),
            collector: std::str::from_utf8(collector).map_err(|_| EnvelopeError::Identity)?,
        };
        Ok((envelope, frame))
    }
}
