//! A page as a response body: block by block, made when the reader takes it.
//!
//! Invariant: at most one block of a page exists at a time, and no thread waits for a reader: a block is a job of the CPU
//! pool that begins when the one before it was taken. An error after the first byte aborts the connection, so that a cut
//! page never looks whole to a scraper.

use std::io::{self, Write};
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use bytes::Bytes;
use flate2::write::GzEncoder;

use crate::exposition::Encoding;
use crate::runtime::{CpuPool, PoolError};

/// Plain bytes after which a block is sent. What is written at once may pass it: the samples of one target in a family.
const BLOCK_BYTES: usize = 128 << 10;
/// The first block is small, so that the reader soon has its first byte; compressors may keep it for the next one.
const FIRST_BLOCK_BYTES: usize = 8 << 10;

/// Whether a page has more to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Ask again.
    More,
    /// The page is whole.
    Done,
}

/// Writes a page up to about so many bytes a call: `write(out, bytes)` returns once `out` has reached `bytes`.
pub type PageBody = Box<dyn FnMut(&mut Vec<u8>, usize) -> Progress + Send>;

enum Compressor {
    Identity,
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Compressor {
    fn new(encoding: Encoding) -> io::Result<Compressor> {
        Ok(match encoding {
            Encoding::Identity => Compressor::Identity,
            Encoding::Gzip => Compressor::Gzip(GzEncoder::new(Vec::new(), flate2::Compression::fast())),
            Encoding::Zstd => Compressor::Zstd(zstd::stream::write::Encoder::new(Vec::new(), 1)?),
        })
    }

    /// Compresses what is in `plain` and empties it; what comes out may lag behind.
    fn compress(&mut self, plain: &mut Vec<u8>) -> io::Result<Vec<u8>> {
        let compressed = match self {
            Compressor::Identity => return Ok(std::mem::take(plain)),
            Compressor::Gzip(encoder) => {
                encoder.write_all(plain)?;
                std::mem::take(encoder.get_mut())
            }
            Compressor::Zstd(encoder) => {
                encoder.write_all(plain)?;
                std::mem::take(encoder.get_mut())
            }
        };
        plain.clear();
        Ok(compressed)
    }

    fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Compressor::Identity => Ok(Vec::new()),
            Compressor::Gzip(encoder) => encoder.finish(),
            Compressor::Zstd(encoder) => encoder.finish(),
        }
    }
}

/// What turns a page into blocks; moves into each job and back.
struct Blocks {
    page: PageBody,
    plain: Vec<u8>,
    compressor: Option<Compressor>,
    bytes: usize,
}

impl Blocks {
    /// The next block; an empty one stands at the end only.
    fn next(&mut self) -> io::Result<Bytes> {
        let bytes = std::mem::replace(&mut self.bytes, BLOCK_BYTES);
        while let Some(compressor) = &mut self.compressor {
            let progress = (self.page)(&mut self.plain, bytes);
            let mut block = compressor.compress(&mut self.plain)?;
            if progress == Progress::Done {
                if let Some(compressor) = self.compressor.take() {
                    block.extend(compressor.finish()?);
                }
                return Ok(block.into());
            }
            if !block.is_empty() {
                return Ok(block.into());
            }
        }
        Ok(Bytes::new())
    }

    fn is_done(&self) -> bool {
        self.compressor.is_none()
    }
}

/// Why a page could not be begun: no byte of it was sent.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// The pool takes no more.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// A compressor failed.
    #[error("compressing the page: {0}")]
    Compression(#[from] io::Error),
}

/// The key under which readers' jobs take their turn among the clusters' pushes.
fn turn() -> Arc<str> {
    "readers".into()
}

/// Runs `begin` on the pool, which selects and gives the page, and answers 200 with it.
pub async fn respond(
    pool: &CpuPool,
    content_type: String,
    encoding: Encoding,
    begin: impl FnOnce() -> PageBody + Send + 'static,
) -> Result<Response<Body>, PageError> {
    let compressor = Some(Compressor::new(encoding)?);
    let turn = turn();
    let first = pool.run(&turn, move || {
        let mut blocks = Blocks { page: begin(), plain: Vec::new(), compressor, bytes: FIRST_BLOCK_BYTES };
        blocks.next().map(|block| (blocks, block))
    });
    let (blocks, block) = first.await??;
    let body = if blocks.is_done() { Body::from(block) } else { rest_of(pool.clone(), blocks, block) };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    let content_type = HeaderValue::from_str(&content_type).expect("content types are ASCII constants");
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(header::VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    if encoding != Encoding::Identity {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding.as_str()));
    }
    Ok(response)
}

fn rest_of(pool: CpuPool, blocks: Blocks, first: Bytes) -> Body {
    let start = (pool, Some(blocks), Some(first));
    Body::from_stream(futures_util::stream::unfold(start, |(pool, blocks, first)| async move {
        if let Some(first) = first {
            return Some((Ok(first), (pool, blocks, None)));
        }
        let mut blocks = blocks.filter(|blocks| !blocks.is_done())?;
        let turn = turn();
        let made = pool.run(&turn, move || blocks.next().map(|block| (blocks, block))).await;
        match made.map_err(PageError::from).and_then(|made| made.map_err(PageError::from)) {
            Ok((blocks, block)) => Some((Ok(block), (pool, Some(blocks), None))),
            Err(error) => {
                tracing::warn!(%error, "page cut");
                Some((Err(error), (pool, None, None)))
            }
        }
    }))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::net::{Server, ServerLimits};

    /// A page of two blocks, or one that panics in the place of the second.
    fn page(is_cut: bool) -> PageBody {
        let (mut blocks, mut noise) = (0, vec![0; 4 * BLOCK_BYTES]);
        Box::new(move |out, _| {
            blocks += 1;
            assert!(blocks < 2 || !is_cut, "a fault while the page is written");
            // So much, and not to be compressed, that no compressor keeps all of it for later.
            blake3::Hasher::new().finalize_xof().fill(&mut noise);
            out.extend_from_slice(&noise);
            if blocks < 2 { Progress::More } else { Progress::Done }
        })
    }

    /// What a reader gets of such a page, to the end of its connection.
    async fn read_raw(encoding: Encoding, is_cut: bool) -> Vec<u8> {
        let pool = CpuPool::new(1).unwrap();
        let server = Server::bind("127.0.0.1:0", None, ServerLimits::default()).await.unwrap();
        let (address, stop) = (server.address(), CancellationToken::new());
        let answer = move |_| {
            let pool = pool.clone();
            async move {
                Ok::<_, Infallible>(
                    respond(&pool, "text/plain".to_owned(), encoding, move || page(is_cut)).await.unwrap(),
                )
            }
        };
        let served = tokio::spawn(server.serve(tower::service_fn(answer), stop.clone()));
        let mut reader = TcpStream::connect(address).await.unwrap();
        reader.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut raw = Vec::new();
        // A reset is an end, too.
        let _ = reader.read_to_end(&mut raw).await;
        stop.cancel();
        served.await.unwrap();
        raw
    }

    const LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";

    #[tokio::test]
    async fn a_page_that_fails_after_its_first_byte_never_looks_whole() {
        for encoding in [Encoding::Identity, Encoding::Gzip, Encoding::Zstd] {
            let cut = read_raw(encoding, true).await;
            assert!(cut.starts_with(b"HTTP/1.1 200 OK\r\n"), "{encoding:?}");
            assert!(!cut.ends_with(LAST_CHUNK), "{encoding:?}");
            assert!(read_raw(encoding, false).await.ends_with(LAST_CHUNK), "{encoding:?}");
        }
    }
}
