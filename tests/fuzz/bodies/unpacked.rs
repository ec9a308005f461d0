//! Frames without their compression and checksums, so that a fuzzer's bytes reach the decoder behind both.
//!
//! A stream of records, each a frame to be:
//!
//! | bytes | content |
//! |---:|---|
//! | 1 | kind, as in a frame (1 DEFINE … 4 END); 0: what follows is put into the body as it is; with bit 7: the body ends before it |
//! | 1 | flags, as in a frame's first byte of them |
//! | 1 | sequence number |
//! | 1 | tick, in units of 5 s |
//! | 2 | length of the payload, little-endian; what is not there is not missed |
//! | … | the payload unpacked |
//!
//! Definitions are named by their hash, which no fuzzer guesses: [`Records::rename`] puts the right one wherever the wrong one
//! stands, so that a mutated definition is taken and the states that refer to it find it.

use fedgate::snapshot::{FrameKind, FrameLimits, Malformed};

/// Records of one input; a stream of more finds nothing new and costs time.
const RECORDS_MAX: usize = 24;
/// When the streams of the corpus begin.
pub(crate) const START_MS: i64 = 1_795_000_000_000;
const TICK_MS: i64 = 5_000;
const STREAM: &[u8; 16] = b"0123456789abcdef";
const DEFINE: u8 = FrameKind::Define as u8;
const LAST_KIND: u8 = FrameKind::End as u8;
const BODY_END: u8 = 0x80;

/// Limits small enough that a fuzzer meets them.
pub(crate) fn limits() -> FrameLimits {
    FrameLimits {
        frame_bytes_max: FrameLimits::FRAME_BYTES_MIN,
        raw_bytes_max: 1 << 20,
        targets_max: 64,
        slots_max: 1 << 14,
        schema_bytes_max: 16 << 20,
        frame_slots_max: 1 << 15,
        target_label_bytes_max: 4 << 10,
        ..FrameLimits::default()
    }
}

/// One frame to be.
#[derive(Clone, Debug)]
struct Record {
    head: [u8; 4],
    payload: Vec<u8>,
    ends_body: bool,
}

/// What an input says to send.
#[derive(Clone, Debug)]
pub(crate) struct Records(Vec<Record>);

impl Records {
    /// Reads records until the input ends.
    pub(crate) fn parse(mut input: &[u8]) -> Records {
        let mut records = Vec::new();
        while let Some((head, rest)) = input.split_first_chunk::<6>()
            && records.len() < RECORDS_MAX
        {
            let length = usize::from(u16::from_le_bytes([head[4], head[5]])).min(rest.len());
            let (payload, rest) = rest.split_at(length);
            input = rest;
            let kind = (head[0] & !BODY_END) % (LAST_KIND + 1);
            let head_bytes = [kind, head[1], head[2], head[3]];
            records.push(Record { head: head_bytes, payload: payload.to_vec(), ends_body: head[0] & BODY_END != 0 });
        }
        Records(records)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the frames before this record are a body of their own.
    pub(crate) fn ends_body(&self, at: usize) -> bool {
        self.0[at].ends_body
    }

    /// The frame of one record.
    pub(crate) fn frame(&self, at: usize) -> Vec<u8> {
        self.0[at].frame()
    }

    /// Puts the hash that `fault` says in place of the one under which record `at` announces a schema, there and in every
    /// later record. False where that is not what is wrong.
    pub(crate) fn rename(&mut self, at: usize, fault: &Malformed) -> bool {
        let Malformed::WrongHash { announced, found } = fault else { return false };
        let (wrong, right) = (announced.to_be_bytes(), found.to_be_bytes());
        for record in &mut self.0[at..] {
            replace(&mut record.payload, &wrong, &right);
        }
        true
    }
}

fn replace(payload: &mut [u8], wrong: &[u8; 16], right: &[u8; 16]) {
    let mut at = 0;
    while at + wrong.len() <= payload.len() {
        if payload[at..].starts_with(wrong) {
            payload[at..at + wrong.len()].copy_from_slice(right);
            at += wrong.len();
        } else {
            at += 1;
        }
    }
}

impl Record {
    fn is_definition(&self) -> bool {
        self.head[0] == DEFINE
    }

    /// The frame, with right lengths and checksum.
    fn frame(&self) -> Vec<u8> {
        let [kind, flags, seq, tick] = self.head;
        if kind == 0 {
            return self.payload.clone();
        }
        let mut bytes = vec![0; 8];
        bytes.extend_from_slice(&[1, kind, flags & 0x0f, 0]);
        bytes.extend_from_slice(&(self.payload.len() as u32).to_le_bytes());
        bytes.extend_from_slice(STREAM);
        put_varint(&mut bytes, if self.is_definition() { 0 } else { u64::from(seq) });
        put_varint(&mut bytes, ((START_MS + i64::from(tick) * TICK_MS) as u64) << 1);
        put_varint(&mut bytes, 0);
        if !self.payload.is_empty() {
            bytes.extend(zstd::bulk::compress(&self.payload, 1).expect("zstd fails only for want of memory"));
        }
        let length = (bytes.len() - 8) as u32;
        bytes[..4].copy_from_slice(&length.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[8..]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        bytes
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
