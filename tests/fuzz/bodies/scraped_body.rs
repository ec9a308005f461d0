//! A scraped body, decompressed while it arrives.
//!
//! Promises: never more than the limit is kept, whatever a body unfolds to; what the client takes for a whole body is what
//! the compressor's own reader makes of it.
//!
//! Input: the Content-Encoding (one byte), the limit's power of two (one byte), the body.

use std::io::Read;

use fedgate::net::client::{Body, read_limited};
use flate2::read::MultiGzDecoder;
use futures_util::FutureExt;
use http::header::CONTENT_ENCODING;

const ENCODINGS: [&str; 5] = ["", "identity", "gzip", "zstd", "br"];
/// Limits go up to 1 MiB.
const LIMIT_POWERS: u8 = 21;

/// Reads the body within its limit.
pub(crate) fn run(input: &[u8]) {
    let [encoding, power, body @ ..] = input else { return };
    let encoding = ENCODINGS[usize::from(*encoding) % ENCODINGS.len()];
    let limit = 1u64 << (power % LIMIT_POWERS);
    let answer = http::Response::builder().header(CONTENT_ENCODING, encoding).body(body.to_vec()).expect("an answer");
    let mut page = Body::default();
    let read = read_limited(answer.into(), limit, &mut page);
    let read = read.now_or_never().expect("a body in memory never waits");
    assert!(page.len() as u64 <= limit, "{} bytes of at most {limit}", page.len());
    match read {
        Ok(bytes) => {
            assert_eq!(bytes, body.len() as u64);
            if encoding == "gzip" && !body.is_empty() {
                let mut whole = Vec::new();
                MultiGzDecoder::new(body).read_to_end(&mut whole).expect("what was accepted is gzip");
                assert_eq!(*page, *whole);
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
