//! A part of a frame as the body of one request: encoded, and compressed as one snappy block.
//!
//! Both versions are compressed with snappy's block format; its framed format is no part of remote write.

use bytes::Bytes;

use super::rows::{FrameSamples, Options, Part};
use super::v1::encode_v1;
use super::v2::EncoderV2;

/// A version of remote write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 1.0.
    V1,
    /// 2.0.
    V2,
}

/// Makes bodies; keeps its allocations from one to the next.
pub struct BodyEncoder {
    raw: Vec<u8>,
    v2: EncoderV2,
    snappy: snap::raw::Encoder,
}

impl Default for BodyEncoder {
    fn default() -> Self {
        BodyEncoder { raw: Vec::new(), v2: EncoderV2::default(), snappy: snap::raw::Encoder::new() }
    }
}

impl BodyEncoder {
    /// The body of a part.
    pub fn body(&mut self, version: Version, frame: &FrameSamples, part: &Part, options: &Options) -> Bytes {
        self.raw.clear();
        match version {
            Version::V1 => encode_v1(&mut self.raw, frame, part, options),
            Version::V2 => self.v2.encode(&mut self.raw, frame, part, options),
        }
        let raw = std::mem::take(&mut self.raw);
        let body = self.compressed(&raw);
        self.raw = raw;
        body
    }

    /// An encoded request as its body.
    pub fn compressed(&mut self, raw: &[u8]) -> Bytes {
        // It fails for more than 4 GiB alone; a request is bounded by its rows, and those by the bytes of a label.
        self.snappy.compress_vec(raw).expect("a request is below 4 GiB").into()
    }
}
