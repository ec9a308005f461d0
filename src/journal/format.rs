//! The bytes of headers, as the module's page draws them. Pure.
//!
//! Invariant: `decode(encode(x)) = x`, and anything else than what `encode` writes is refused.

use std::fmt;

use crate::model::Timestamp;

/// The version of the format that this program writes, and the newest that it reads.
pub const VERSION: u16 = 1;
/// Bytes before a segment's first record: two copies of its header.
pub const SEGMENT_HEADER_BYTES: u64 = 2 * COPY_BYTES as u64;
/// Bytes before a record's payload.
pub const RECORD_HEADER_BYTES: usize = 28;
/// The largest payload; a header that claims more is none.
pub const RECORD_BYTES_MAX: usize = 64 << 20;

const COPY_BYTES: usize = 64;
const MAGIC: [u8; 8] = *b"fedgjrnl";
/// Begins every record; no byte of it is common in text, nor in numbers.
pub(super) const SYNC_MARK: [u8; 4] = [0x9e, 0xf5, 0xc7, 0x1b];
const CONTINUES: u8 = 1;

/// A place in the whole log: how many record bytes stand before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

impl Position {
    /// Where every log begins.
    pub const START: Position = Position(0);

    /// The position so many bytes later.
    pub(super) fn plus(self, bytes: u64) -> Position {
        Position(self.0 + bytes)
    }

    /// Bytes from `earlier` to here; 0 if that is later.
    pub fn since(self, earlier: Position) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whose log it is; a directory of another role is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// A collector's frames that wait for its gateways.
    Spool = 1,
    /// The frames that a gateway took.
    Frames = 2,
    /// What a gateway's rules gave.
    Recorded = 3,
}

impl Role {
    fn from_byte(byte: u8) -> Option<Role> {
        [Role::Spool, Role::Frames, Role::Recorded].into_iter().find(|role| *role as u8 == byte)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Spool => "a collector's spool",
            Role::Frames => "a gateway's journal of frames",
            Role::Recorded => "a gateway's journal of recorded series",
        })
    }
}

/// What stands before a segment's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) role: Role,
    /// The segment goes on where a disk failed: it has no preamble, and is a part of the one before.
    pub(super) continues: bool,
    pub(super) salt: u32,
    pub(super) first: Position,
    pub(super) begun: Timestamp,
}

/// Why bytes are no segment header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoHeader {
    /// They are one, of a newer version.
    Newer(u16),
    /// Not one byte as it should be, or too few.
    Damaged,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut copy = Vec::with_capacity(2 * COPY_BYTES);
        copy.extend_from_slice(&MAGIC);
        copy.extend_from_slice(&VERSION.to_le_bytes());
        copy.extend_from_slice(&[self.role as u8, if self.continues { CONTINUES } else { 0 }]);
        copy.extend_from_slice(&self.salt.to_le_bytes());
        copy.extend_from_slice(&self.first.0.to_le_bytes());
        copy.extend_from_slice(&self.begun.0.to_le_bytes());
        copy.resize(COPY_BYTES - 4, 0);
        copy.extend_from_slice(&crc32c::crc32c(&copy).to_le_bytes());
        copy.extend_from_within(..);
        copy
    }

    /// Reads the first whole copy.
    pub(super) fn decode(bytes: &[u8]) -> Result<SegmentHeader, NoHeader> {
        let mut copies = bytes.as_chunks::<COPY_BYTES>().0.iter().take(2);
        let first = copies.next().map_or(Err(NoHeader::Damaged), SegmentHeader::decode_copy);
        match first {
            Err(NoHeader::Damaged) => copies.next().map_or(first, SegmentHeader::decode_copy),
            found => found,
        }
    }

    fn decode_copy(copy: &[u8; COPY_BYTES]) -> Result<SegmentHeader, NoHeader> {
        let (fields, crc) = copy.split_at(COPY_BYTES - 4);
        if fields[..8] != MAGIC || crc != crc32c::crc32c(fields).to_le_bytes() {
            return Err(NoHeader::Damaged);
        }
        match u16::from_le_bytes(array(fields, 8)) {
            VERSION => {}
            newer if newer > VERSION => return Err(NoHeader::Newer(newer)),
            _ => return Err(NoHeader::Damaged),
        }
        let role = Role::from_byte(fields[10]).ok_or(NoHeader::Damaged)?;
        Ok(SegmentHeader {
            role,
            continues: fields[11] & CONTINUES != 0,
            salt: u32::from_le_bytes(array(fields, 12)),
            first: Position(u64::from_le_bytes(array(fields, 16))),
            begun: Timestamp(i64::from_le_bytes(array(fields, 24))),
        })
    }
}

/// What stands before a record's payload, but for its position, which is where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordHeader {
    pub(super) kind: u8,
    pub(super) length: u32,
    pub(super) payload_crc: u32,
}

impl RecordHeader {
    /// The header of a payload that is given in pieces.
    pub(super) fn of(kind: u8, pieces: &[&[u8]]) -> RecordHeader {
        let length = pieces.iter().map(|piece| piece.len()).sum::<usize>();
        let payload_crc = pieces.iter().fold(0, |crc, piece| crc32c::crc32c_append(crc, piece));
        RecordHeader { kind, length: u32::try_from(length).expect("at most RECORD_BYTES_MAX"), payload_crc }
    }

    pub(super) fn encode(&self, position: Position, salt: u32) -> [u8; RECORD_HEADER_BYTES] {
        let mut bytes = [0; RECORD_HEADER_BYTES];
        bytes[..4].copy_from_slice(&SYNC_MARK);
        bytes[4..12].copy_from_slice(&position.0.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.length.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.payload_crc.to_le_bytes());
        bytes[20] = self.kind;
        let crc = crc32c::crc32c_append(salt, &bytes[..24]);
        bytes[24..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The header that begins with `bytes`, if it is one of this position.
    pub(super) fn decode(bytes: &[u8; RECORD_HEADER_BYTES], position: Position, salt: u32) -> Option<RecordHeader> {
        let length = u32::from_le_bytes(array(bytes, 12));
        let whole = bytes[..4] == SYNC_MARK
            && u64::from_le_bytes(array(bytes, 4)) == position.0
            && length as usize <= RECORD_BYTES_MAX
            && bytes[21..24] == [0; 3]
            && u32::from_le_bytes(array(bytes, 24)) == crc32c::crc32c_append(salt, &bytes[..24]);
        let payload_crc = u32::from_le_bytes(array(bytes, 16));
        whole.then_some(RecordHeader { kind: bytes[20], length, payload_crc })
    }

    /// Bytes of header and payload.
    pub(super) fn record_bytes(&self) -> u64 {
        RECORD_HEADER_BYTES as u64 + u64::from(self.length)
    }
}

/// `N` bytes at a place that is inside.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the slice has N bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: SegmentHeader = SegmentHeader {
        role: Role::Frames,
        continues: true,
        salt: 0xdead_beef,
        first: Position(1 << 40),
        begun: Timestamp(1_700_000_000_123),
    };

    #[test]
    fn a_segment_header_survives_any_damage_to_one_copy() {
        let bytes = HEADER.encode();
        assert_eq!(bytes.len() as u64, SEGMENT_HEADER_BYTES);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&damaged), Ok(HEADER), "bit {bit}");
        }
        for length in 0..COPY_BYTES {
            assert_eq!(SegmentHeader::decode(&bytes[..length]), Err(NoHeader::Damaged));
        }
    }

    #[test]
    fn a_newer_segment_is_known_as_such() {
        let mut bytes = HEADER.encode();
        bytes[8] = 2;
        let crc = crc32c::crc32c(&bytes[..60]).to_le_bytes();
        bytes[60..64].copy_from_slice(&crc);
        assert_eq!(SegmentHeader::decode(&bytes), Err(NoHeader::Newer(2)));
    }

    #[test]
    fn a_record_header_is_refused_with_any_bit_flipped_at_another_place_or_under_another_salt() {
        let header = RecordHeader::of(7, &[b"pay", b"load"]);
        assert_eq!(header.payload_crc, crc32c::crc32c(b"payload"));
        let bytes = header.encode(Position(99), 5);
        assert_eq!(RecordHeader::decode(&bytes, Position(99), 5), Some(header));
        assert_eq!(RecordHeader::decode(&bytes, Position(98), 5), None);
        assert_eq!(RecordHeader::decode(&bytes, Position(99), 6), None);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(RecordHeader::decode(&damaged, Position(99), 5), None, "bit {bit}");
        }
    }
}
