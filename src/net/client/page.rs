//! A body, decoded while it arrives, never beyond its limit.
//!
//! The limit is on what comes out of decompression, and what would exceed it is not kept for a moment: a body that
//! unfolds to gigabytes costs its limit and no more.

use std::io::{self, Write};

use http::header::CONTENT_ENCODING;
use reqwest::Response;

use super::body::{Body, Exceeded};
use super::error::ClientError;
use super::gunzip::Gunzip;

/// Largest window that a zstd body may ask memory for: 8 MiB, the most that RFC 9659 lets HTTP use.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// Makes `body` an answer's, of at most `limit` bytes, decoded; returns how many bytes came over the wire.
pub async fn read_limited(mut answer: Response, limit: u64, body: &mut Body) -> Result<u64, ClientError> {
    body.clear();
    let mut decoder = Decoder::of(&answer, body, usize::try_from(limit).unwrap_or(usize::MAX))?;
    let mut wire_bytes = 0;
    while let Some(piece) = answer.chunk().await.map_err(ClientError::of_request)? {
        wire_bytes += piece.len() as u64;
        decoder.write(&piece).map_err(|fault| body_fault(decoder.encoding(), &fault, limit))?;
    }
    let encoding = decoder.encoding();
    decoder.finish().map_err(|fault| body_fault(encoding, &fault, limit))?;
    Ok(wire_bytes)
}

fn body_fault(encoding: &'static str, fault: &io::Error, limit: u64) -> ClientError {
    if fault.get_ref().is_some_and(|inner| inner.is::<Exceeded>()) {
        return ClientError::TooLarge { limit };
    }
    ClientError::BadBody { encoding, reason: fault.to_string() }
}

enum Decoder<'b> {
    Plain(Capped<'b>),
    Gzip(Gunzip, Capped<'b>),
    Zstd(Box<zstd::stream::write::Decoder<'static, Capped<'b>>>),
}

impl<'b> Decoder<'b> {
    fn of(answer: &Response, body: &'b mut Body, limit: usize) -> Result<Decoder<'b>, ClientError> {
        let capped = Capped { body, limit };
        let found = answer.headers().get(CONTENT_ENCODING).map(|value| String::from_utf8_lossy(value.as_bytes()));
        let found = found.unwrap_or_default();
        match found.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Ok(Decoder::Plain(capped)),
            "gzip" | "x-gzip" => Ok(Decoder::Gzip(Gunzip::new(), capped)),
            "zstd" => {
                let bad = |fault: io::Error| ClientError::BadBody { encoding: "zstd", reason: fault.to_string() };
                let mut decoder = zstd::stream::write::Decoder::new(capped).map_err(bad)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(bad)?;
                Ok(Decoder::Zstd(Box::new(decoder)))
            }
            _ => Err(ClientError::UnknownEncoding { found: found.into_owned() }),
        }
    }

    /// What the answer says the body is, for a message when it is not.
    fn encoding(&self) -> &'static str {
        match self {
            Decoder::Plain(_) => "identity",
            Decoder::Gzip(..) => "gzip",
            Decoder::Zstd(_) => "zstd",
        }
    }

    fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        match self {
            Decoder::Plain(capped) => capped.write_all(piece),
            Decoder::Gzip(gunzip, Capped { body, limit }) => gunzip.write(piece, body, *limit),
            Decoder::Zstd(decoder) => decoder.write_all(piece),
        }
    }

    /// A body that breaks off inside a compressed stream is no page.
    fn finish(self) -> io::Result<()> {
        match self {
            Decoder::Plain(_) => Ok(()),
            Decoder::Gzip(gunzip, _) => gunzip.finish(),
            Decoder::Zstd(decoder) => decoder.finish().map(drop),
        }
    }
}

/// Where bytes go that need no more decoding.
struct Capped<'b> {
    body: &'b mut Body,
    limit: usize,
}

impl Write for Capped<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.body.push(bytes, self.limit)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
