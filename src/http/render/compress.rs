//! Blocks of a page, each compressed by itself, so that several threads can work on one body.
//!
//! Invariant: put one behind the other, between [`Framing::head`] and [`Framing::tail`], they are one body that every
//! reader of the encoding takes. gzip: a single member (there are readers that stop after the first), whose blocks end on
//! a whole byte with a sync flush and refer to nothing before them; its checksum is put together from theirs. zstd: a frame
//! a block, which may follow each other (RFC 8878 §3.1). A body without its tail is a damaged one to every reader of gzip.
//!
//! What compressing needs is a thread's, not a page's: so the memory for it does not grow with the number of readers.

use std::cell::RefCell;
use std::io;

use bytes::Bytes;
use flate2::{Compress, Compression, Crc, FlushCompress, Status};

use crate::exposition::Encoding;

/// A member's header (RFC 1952 §2.3): deflate, no flags, no time, made for speed, by an unknown system.
const GZIP_HEAD: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 0xff];
/// The last deflate block: fixed codes, empty.
const DEFLATE_END: [u8; 2] = [3, 0];
/// Of the levels of both, the one that costs least.
const LEVEL: u32 = 1;

/// A part of a body, and the checksum of what it says.
pub(super) struct Compressed {
    pub(super) bytes: Bytes,
    checksum: Crc,
}

/// What stands around the blocks of a body.
pub(super) struct Framing {
    encoding: Encoding,
    checksum: Crc,
}

impl Framing {
    pub(super) fn new(encoding: Encoding) -> Framing {
        Framing { encoding, checksum: Crc::new() }
    }

    /// What stands before the first block.
    pub(super) fn head(&self) -> &'static [u8] {
        if self.encoding == Encoding::Gzip { GZIP_HEAD } else { &[] }
    }

    /// Notes the next block, in the order of the body.
    pub(super) fn add(&mut self, block: &Compressed) {
        self.checksum.combine(&block.checksum);
    }

    /// What stands behind the last block.
    pub(super) fn tail(&self) -> Bytes {
        if self.encoding != Encoding::Gzip {
            return Bytes::new();
        }
        let (checksum, length) = (self.checksum.sum().to_le_bytes(), self.checksum.amount().to_le_bytes());
        [&DEFLATE_END[..], &checksum, &length].concat().into()
    }
}

/// Compresses what `write` appends to an empty buffer, and hands on what it returns.
pub(super) fn compress<T>(encoding: Encoding, write: impl FnOnce(&mut Vec<u8>) -> T) -> io::Result<(Compressed, T)> {
    if encoding == Encoding::Identity {
        let mut plain = Vec::new();
        let result = write(&mut plain);
        return Ok((Compressed { bytes: plain.into(), checksum: Crc::new() }, result));
    }
    BENCH.with_borrow_mut(|bench| {
        bench.plain.clear();
        let result = write(&mut bench.plain);
        let checksum = if encoding == Encoding::Gzip { bench.deflate()? } else { bench.zstd()? };
        Ok((Compressed { bytes: Bytes::copy_from_slice(&bench.packed), checksum }, result))
    })
}

thread_local! {
    static BENCH: RefCell<Workbench> = RefCell::new(Workbench::new());
}

/// A thread's buffers and compressors, used for one block after the other.
struct Workbench {
    plain: Vec<u8>,
    packed: Vec<u8>,
    deflate: Compress,
    zstd: Option<zstd::bulk::Compressor<'static>>,
}

impl Workbench {
    fn new() -> Workbench {
        let deflate = Compress::new(Compression::new(LEVEL), false);
        Workbench { plain: Vec::new(), packed: Vec::new(), deflate, zstd: None }
    }

    /// Deflate blocks of `plain` that end on a whole byte; none for nothing.
    fn deflate(&mut self) -> io::Result<Crc> {
        let mut checksum = Crc::new();
        self.packed.clear();
        self.deflate.reset();
        if self.plain.is_empty() {
            return Ok(checksum);
        }
        checksum.update(&self.plain);
        // A flush is over only when it leaves room behind: what just fitted may have been cut.
        while self.packed.len() == self.packed.capacity() || self.deflate.total_in() < self.plain.len() as u64 {
            self.packed.reserve(self.plain.len() / 4 + 64);
            let rest = &self.plain[self.deflate.total_in() as usize..];
            let status = self.deflate.compress_vec(rest, &mut self.packed, FlushCompress::Sync)?;
            if status == Status::BufError {
                break;
            }
        }
        Ok(checksum)
    }

    /// One frame of `plain`; none for nothing. No checksum is asked for.
    fn zstd(&mut self) -> io::Result<Crc> {
        self.packed.clear();
        if !self.plain.is_empty() {
            let zstd = match &mut self.zstd {
                Some(zstd) => zstd,
                none => none.insert(zstd::bulk::Compressor::new(LEVEL as i32)?),
            };
            self.packed.reserve(zstd::zstd_safe::compress_bound(self.plain.len()));
            zstd.compress_to_buffer(&self.plain[..], &mut self.packed)?;
        }
        Ok(Crc::new())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// Random letters, which compress little, so that output buffers fill up.
    fn noise(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        blake3::Hasher::new().update(&length.to_le_bytes()).finalize_xof().fill(&mut bytes);
        bytes
    }

    fn body(encoding: Encoding, blocks: &[Vec<u8>]) -> Vec<u8> {
        let mut framing = Framing::new(encoding);
        let mut body = framing.head().to_vec();
        for plain in blocks {
            let (block, ()) = compress(encoding, |out| out.extend_from_slice(plain)).unwrap();
            framing.add(&block);
            body.extend_from_slice(&block.bytes);
        }
        body.extend_from_slice(&framing.tail());
        body
    }

    #[test]
    fn blocks_are_one_body_whatever_their_sizes() {
        let lines = "node_load1{instance=\"n1:9100\"} 0.25 1800000000000\n".repeat(3000).into_bytes();
        let mut blocks = vec![Vec::new(), lines.clone(), vec![b'x'], Vec::new(), lines];
        blocks.extend((0..200).map(|at| noise(at * 37)));
        blocks.push(noise(300_000));
        let plain = blocks.concat();
        let mut read = Vec::new();
        flate2::read::GzDecoder::new(&body(Encoding::Gzip, &blocks)[..]).read_to_end(&mut read).unwrap();
        assert!(read == plain, "one gzip member holds everything, and its checksum is right");
        assert!(zstd::decode_all(&body(Encoding::Zstd, &blocks)[..]).unwrap() == plain);
        assert!(body(Encoding::Identity, &blocks) == plain);
    }

    #[test]
    fn a_gzip_body_without_its_tail_is_refused() {
        let whole = body(Encoding::Gzip, &[noise(1000)]);
        let cut = &whole[..whole.len() - 10];
        assert!(flate2::read::GzDecoder::new(cut).read_to_end(&mut Vec::new()).is_err());
    }
}
