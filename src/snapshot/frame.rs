//! The frame: what travels from collector to gateway, lies in the collector's queue and will lie on disk, byte for byte.
//!
//! Invariant: a frame is looked at only after its length and checksum were found right, and unpacked only after the length that
//! it announces was found within bounds; so a cut, damaged or hostile frame costs no memory beyond its own bytes.
//!
//! ## Framing
//!
//! All fixed numbers are little-endian; "varint" is LEB128, "zigzag" a signed number folded into one.
//!
//! | at | bytes | content |
//! |---:|---:|---|
//! | 0 | 4 | how many bytes follow byte 8 |
//! | 4 | 4 | CRC-32C of all that follows |
//! | 8 | 1 | version, 1 |
//! | 9 | 1 | kind: 1 DEFINE, 2 KEY, 3 DELTA, 4 END |
//! | 10 | 2 | flags: 1 MORE, 2 GAP, 4 VOLATILE, 8 CONTINUED; others are refused |
//! | 12 | 4 | bytes of the payload unpacked |
//! | 16 | 16 | stream |
//! | 32 | … | sequence number, varint; 0 in definitions |
//! | | … | tick, milliseconds since the epoch, zigzag: no sample in it is later, but for explicit timestamps |
//! | | … | the sender's clock minus its tick, milliseconds, zigzag |
//! | | … | payload: one zstd frame with its content size; nothing where it unpacks to nothing |
//!
//! DEFINE says which series have which slots and is drawn in `define.rs`; KEY and DELTA hold scrapes and are drawn in
//! `part.rs` and `payload.rs`; END says that the stream stops on purpose: its silence is planned, and its series end when silence ends
//! them. MORE: another part of the same tick or definition follows; CONTINUED: this is such a part. GAP, on a KEY: frames before
//! it were dropped. VOLATILE: the stream is the newest state sent ahead of a backlog, not to be kept.

use std::cell::RefCell;
use std::fmt;

use bytes::Bytes;
use zstd::zstd_safe::{self, CCtx, CParameter, DCtx, InBuffer, OutBuffer, ResetDirective, SafeResult};

use super::negotiate::{SUPPORTED, VERSION};
use super::reader::{Malformed, Reader, put_varint, put_zigzag};
use crate::model::Timestamp;

/// Bytes before the part that the length counts.
const PREFIX_BYTES: usize = 8;
/// Bytes before the first varint.
const FIXED_BYTES: usize = 32;
/// Bytes of the longest possible header.
pub(super) const HEADER_BYTES_MAX: usize = FIXED_BYTES + 3 * 10;
/// Level 1 costs a quarter of level 3 and gives up 1 % of size on these columns.
const COMPRESSION_LEVEL: i32 = 1;
/// Definitions are short, rare, and text.
const DEFINITION_LEVEL: i32 = 3;

const MORE: u16 = 1;
const GAP: u16 = 2;
const VOLATILE: u16 = 4;
const CONTINUED: u16 = 8;

/// A run of one collector process, drawn at random at its start. Shown as hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub [u8; 16]);

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Bounds on what one frame and one stream may hold; a gateway refuses what breaks them, a collector keeps to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameLimits {
    /// Bytes of a frame, header included. At least [`FrameLimits::FRAME_BYTES_MIN`].
    pub frame_bytes_max: usize,
    /// Bytes of a payload unpacked.
    pub raw_bytes_max: usize,
    /// Targets of one stream.
    pub targets_max: usize,
    /// Slots of all targets of one stream together, and of all schemas that it defined.
    pub slots_max: usize,
    /// Bytes of memory that the schemas of one stream may take: a patch of a few bytes makes a chunk of megabytes.
    pub schema_bytes_max: usize,
    /// Bytes of memory that the native histograms of one stream may take; an encoder fills half of it, for while a frame is
    /// applied new ones stand beside old ones.
    pub histogram_bytes_max: usize,
    /// Slots that the scrapes in one frame may cover, changed or not.
    pub frame_slots_max: usize,
    /// Bytes of one target's labels.
    pub target_label_bytes_max: usize,
}

impl FrameLimits {
    /// The smallest frame limit that works: one chunk's slots at their worst, and a long label, fit into it.
    pub const FRAME_BYTES_MIN: usize = 64 << 10;

    /// What holds unless a role is told otherwise.
    pub const DEFAULT: FrameLimits = FrameLimits {
        frame_bytes_max: 4 << 20,
        raw_bytes_max: 64 << 20,
        targets_max: 1 << 18,
        slots_max: 1 << 24,
        schema_bytes_max: 2 << 30,
        histogram_bytes_max: 512 << 20,
        frame_slots_max: 1 << 25,
        target_label_bytes_max: 64 << 10,
    };
}

impl Default for FrameLimits {
    fn default() -> FrameLimits {
        FrameLimits::DEFAULT
    }
}

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FrameKind {
    /// Defines schemas, in full or by what changed against others.
    Define = 1,
    /// Everything about all targets of the stream.
    Key = 2,
    /// What changed since the frame before.
    Delta = 3,
    /// The stream stops on purpose.
    End = 4,
}

impl FrameKind {
    fn from_number(number: u8) -> Option<FrameKind> {
        use FrameKind::*;
        [Define, Key, Delta, End].into_iter().find(|kind| *kind as u8 == number)
    }

    /// Whether it defines slots, without a place in the stream's sequence.
    pub fn is_definition(self) -> bool {
        self == FrameKind::Define
    }
}

/// Why bytes are no frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The bytes end before the frame does.
    #[error("frame is cut: {found} bytes, expected {expected}")]
    Truncated {
        /// Bytes that are there.
        found: usize,
        /// Bytes that it should have, as far as that can be told.
        expected: usize,
    },
    /// Longer than the limit.
    #[error("frame of {found} bytes, expected at most {max}")]
    TooLong {
        /// Its length.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// The checksum is wrong.
    #[error("frame's checksum is {found:#010x}, expected {expected:#010x}")]
    Checksum {
        /// Of the bytes that came.
        found: u32,
        /// As the frame says.
        expected: u32,
    },
    /// A version that this build does not read.
    #[error("frame of version {0}, expected one of {SUPPORTED:?}")]
    Version(u8),
    /// A kind that the version does not know.
    #[error("frame of unknown kind {0}")]
    Kind(u8),
    /// A flag that the version does not know.
    #[error("frame with unknown flags {0:#06x}")]
    Flags(u16),
    /// It would unpack to more than the limit.
    #[error("frame unpacks to {found} bytes, expected at most {max}")]
    RawTooLong {
        /// What it announces.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// It announces another unpacked length than its payload does.
    #[error("frame announces {announced} bytes unpacked, its payload has {found:?}")]
    RawLength {
        /// In the header.
        announced: usize,
        /// In the payload; `None` where it does not say.
        found: Option<u64>,
    },
    /// The payload cannot be unpacked.
    #[error("frame's payload cannot be unpacked: {0}")]
    Compression(&'static str),
    /// The header's numbers are bad.
    #[error("frame's header: {0}")]
    Header(#[from] Malformed),
}

/// What stands before a frame's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// The version it is written in.
    pub version: u8,
    /// What it is for.
    pub kind: FrameKind,
    /// Whose it is.
    pub stream: StreamId,
    /// Its place in the stream, from 1; 0 for definitions.
    pub seq: u64,
    /// The collector's tick; no sample in it is later.
    pub tick: Timestamp,
    /// The sender's clock when it wrote the frame.
    pub clock: Timestamp,
    /// Bytes of the payload unpacked.
    pub raw_bytes: usize,
    /// Another part follows.
    pub more: bool,
    /// It is a part, and not the first.
    pub continued: bool,
    /// Frames before it were dropped.
    pub gap: bool,
    /// The stream is not to be kept.
    pub volatile: bool,
}

impl FrameHeader {
    /// A header of this version without flags.
    pub(super) fn new(kind: FrameKind, stream: StreamId, seq: u64, tick: Timestamp, clock: Timestamp) -> FrameHeader {
        let (more, continued, gap, volatile) = (false, false, false, false);
        FrameHeader { version: VERSION, kind, stream, seq, tick, clock, raw_bytes: 0, more, continued, gap, volatile }
    }

    fn flags(&self) -> u16 {
        let flags = [(self.more, MORE), (self.gap, GAP), (self.volatile, VOLATILE), (self.continued, CONTINUED)];
        flags.into_iter().filter(|(is_set, _)| *is_set).fold(0, |all, (_, flag)| all | flag)
    }
}

/// A frame whose length, checksum and header were found right; its payload is still packed.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    header: FrameHeader,
    crc: u32,
    bytes: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads the first frame of a body; gives what is behind it too.
    pub fn parse(body: &'a [u8], limits: &FrameLimits) -> Result<(Frame<'a>, &'a [u8]), FrameError> {
        let (bytes, rest) = split(body, limits.frame_bytes_max)?;
        let crc = u32_at(bytes, 4);
        let found = crc32c::crc32c(&bytes[PREFIX_BYTES..]);
        if found != crc {
            return Err(FrameError::Checksum { found, expected: crc });
        }
        let (header, payload) = parse_header(bytes)?;
        if header.raw_bytes > limits.raw_bytes_max {
            return Err(FrameError::RawTooLong { found: header.raw_bytes, max: limits.raw_bytes_max });
        }
        Ok((Frame { header, crc, bytes, payload }, rest))
    }

    /// What stands before the payload.
    pub fn header(&self) -> &FrameHeader {
        &self.header
    }

    /// Its checksum: two frames with one sequence number are the same if this is.
    pub fn crc(&self) -> u32 {
        self.crc
    }

    /// The frame verbatim.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Unpacks the payload, which is as long as the header says or refused.
    pub(super) fn unpack(&self) -> Result<Vec<u8>, FrameError> {
        let announced = self.header.raw_bytes;
        if self.payload.is_empty() {
            let is_right = announced == 0;
            return is_right.then(Vec::new).ok_or(FrameError::RawLength { announced, found: Some(0) });
        }
        let found = zstd_safe::get_frame_content_size(self.payload).ok().flatten();
        if found != Some(announced as u64) {
            return Err(FrameError::RawLength { announced, found });
        }
        let mut raw = Vec::with_capacity(announced);
        DECOMPRESSOR
            .with_borrow_mut(|context| context.decompress(&mut raw, self.payload))
            .map_err(|code| FrameError::Compression(zstd_safe::get_error_name(code)))?;
        if raw.len() != announced {
            return Err(FrameError::RawLength { announced, found: Some(raw.len() as u64) });
        }
        Ok(raw)
    }
}

thread_local! {
    /// Frames carry no compression state from one to the next, so one context a thread serves every stream.
    static DECOMPRESSOR: RefCell<DCtx<'static>> = RefCell::new(DCtx::create());
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Cuts the first frame off a body by its length alone.
fn split(body: &[u8], max: usize) -> Result<(&[u8], &[u8]), FrameError> {
    if body.len() < FIXED_BYTES {
        return Err(FrameError::Truncated { found: body.len(), expected: FIXED_BYTES });
    }
    let length = (u32_at(body, 0) as usize).saturating_add(PREFIX_BYTES);
    if length > max {
        return Err(FrameError::TooLong { found: length, max });
    }
    if length < FIXED_BYTES {
        return Err(FrameError::Truncated { found: length, expected: FIXED_BYTES });
    }
    body.split_at_checked(length).ok_or(FrameError::Truncated { found: body.len(), expected: length })
}

fn parse_header(bytes: &[u8]) -> Result<(FrameHeader, &[u8]), FrameError> {
    let version = bytes[8];
    if !SUPPORTED.contains(&version) {
        return Err(FrameError::Version(version));
    }
    let kind = FrameKind::from_number(bytes[9]).ok_or(FrameError::Kind(bytes[9]))?;
    let flags = u16::from_le_bytes([bytes[10], bytes[11]]);
    if flags & !(MORE | GAP | VOLATILE | CONTINUED) != 0 {
        return Err(FrameError::Flags(flags));
    }
    let mut reader = Reader::new(&bytes[16..]);
    let stream = StreamId(reader.array("stream")?);
    let seq = reader.varint("sequence number")?;
    let tick = Timestamp(reader.zigzag("tick")?);
    let clock = Timestamp(tick.0.wrapping_add(reader.zigzag("clock")?));
    let header = FrameHeader {
        version,
        kind,
        stream,
        seq,
        tick,
        clock,
        raw_bytes: u32_at(bytes, 12) as usize,
        more: flags & MORE != 0,
        continued: flags & CONTINUED != 0,
        gap: flags & GAP != 0,
        volatile: flags & VOLATILE != 0,
    };
    Ok((header, reader.rest()))
}

/// The same frame with GAP set: for a KEY before which the collector had to drop frames.
pub fn with_gap(frame: &Frame<'_>) -> Bytes {
    let mut bytes = frame.bytes.to_vec();
    bytes[10] |= GAP as u8;
    seal(&mut bytes);
    bytes.into()
}

/// Writes length and checksum of a finished frame.
fn seal(bytes: &mut [u8]) {
    let length = (bytes.len() - PREFIX_BYTES) as u32;
    let crc = crc32c::crc32c(&bytes[PREFIX_BYTES..]);
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// Packs payloads and frames them; keeps its compression context.
pub(super) struct Packer {
    context: CCtx<'static>,
}

impl Packer {
    pub(super) fn new() -> Packer {
        Packer { context: CCtx::create() }
    }

    /// A whole frame around `pieces`. Each piece gets blocks, and so a code table, of its own: columns that look alike pack
    /// better apart from those that do not.
    pub(super) fn frame(&mut self, header: &FrameHeader, pieces: &[&[u8]]) -> Bytes {
        let raw_bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
        let mut out = Vec::with_capacity(HEADER_BYTES_MAX + zstd_safe::compress_bound(raw_bytes) + 16 * pieces.len());
        out.extend_from_slice(&[0; PREFIX_BYTES]);
        out.extend_from_slice(&[header.version, header.kind as u8]);
        out.extend_from_slice(&header.flags().to_le_bytes());
        out.extend_from_slice(&(raw_bytes as u32).to_le_bytes());
        out.extend_from_slice(&header.stream.0);
        put_varint(&mut out, header.seq);
        put_zigzag(&mut out, header.tick.0);
        put_zigzag(&mut out, header.clock.0.wrapping_sub(header.tick.0));
        if raw_bytes > 0 {
            let level = if header.kind.is_definition() { DEFINITION_LEVEL } else { COMPRESSION_LEVEL };
            self.compress(pieces, raw_bytes, level, &mut out).expect("zstd fails only for want of memory");
        }
        seal(&mut out);
        out.shrink_to_fit();
        out.into()
    }

    fn compress(&mut self, pieces: &[&[u8]], raw_bytes: usize, level: i32, out: &mut Vec<u8>) -> SafeResult {
        use zstd_safe::zstd_sys::ZSTD_EndDirective::{ZSTD_e_end, ZSTD_e_flush};
        self.context.reset(ResetDirective::SessionOnly)?;
        self.context.set_parameter(CParameter::CompressionLevel(level))?;
        self.context.set_pledged_src_size(Some(raw_bytes as u64))?;
        let start = out.len();
        let mut output = OutBuffer::around_pos(out, start);
        for (at, piece) in pieces.iter().enumerate() {
            let directive = if at + 1 == pieces.len() { ZSTD_e_end } else { ZSTD_e_flush };
            let mut input = InBuffer::around(piece);
            // The room suffices for everything, so one call takes the whole piece.
            let left = self.context.compress_stream2(&mut output, &mut input, directive)?;
            debug_assert_eq!(left, 0);
        }
        Ok(output.pos() - start)
    }
}
