//! A page as a response body: cut in pieces that several threads write, sent in order.
//!
//! Invariant: of a page at most [`AHEAD_MAX`] blocks, and no more than the pool has threads, are in work or wait for their
//! reader, beside the one that it is taking; nothing is made ahead of a reader that does not read on, and no thread waits
//! for one. An error after the first byte aborts the connection, so that a cut page never looks whole to a scraper.
//!
//! All readers' blocks are one key of the CPU pool: however many scrape at once, a cluster's push waits for the blocks in
//! work and for one more.

use std::collections::VecDeque;
use std::io;
use std::iter::Peekable;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use bytes::Bytes;

use super::compress::{Compressed, Framing, compress};
use crate::exposition::Encoding;
use crate::runtime::{CpuPool, PoolError, Started};

/// Plain bytes after which a block is sent, though its piece has more. What is written at once may pass it: the samples of
/// one target in a family.
const BLOCK_BYTES: usize = 256 << 10;
/// Blocks of one page that may be in work or wait for its reader, on a machine with as many cores or more.
const AHEAD_MAX: usize = 8;

/// Whether a piece has more to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Ask again.
    More,
    /// The piece is whole.
    Done,
}

/// Writes a piece up to about so many bytes a call: `write(out, bytes)` returns once `out` has reached `bytes`.
pub type Piece = Box<dyn FnMut(&mut Vec<u8>, usize) -> Progress + Send>;

/// The pieces of a page in order, planned before the first is written; each is written by itself, on any thread. The first
/// one should be small, so that the reader soon has its first byte.
pub type PageBody = Box<dyn Iterator<Item = Piece> + Send>;

/// A block, and its piece where that has more.
struct Made {
    block: Compressed,
    rest: Option<Piece>,
}

fn make(encoding: Encoding, mut piece: Piece) -> io::Result<Made> {
    let (block, progress) = compress(encoding, |out| piece(out, BLOCK_BYTES))?;
    Ok(Made { block, rest: (progress == Progress::More).then_some(piece) })
}

/// Why a page ended before its end, or could not be begun.
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
const TURN: &str = "readers";

/// Runs `begin` on the pool, which selects and plans the page, and answers 200 with it.
pub async fn respond(
    pool: &CpuPool,
    content_type: String,
    encoding: Encoding,
    begin: impl FnOnce() -> PageBody + Send + 'static,
) -> Result<Response<Body>, PageError> {
    let turn: Arc<str> = TURN.into();
    let first = pool.run(&turn, move || {
        let mut pieces = begin().peekable();
        let made = pieces.next().map(|piece| make(encoding, piece)).transpose();
        made.map(|made| (pieces, made))
    });
    let (pieces, made) = first.await??;
    let mut blocks = Blocks::new(pool.clone(), encoding, turn, pieces);
    let mut first = blocks.framing.head().to_vec();
    if let Some(made) = made {
        first.extend_from_slice(&blocks.take(made)?);
    }
    let mut response = Response::new(blocks.into_body(first));
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

/// A page under way.
struct Blocks {
    pool: CpuPool,
    turn: Arc<str>,
    encoding: Encoding,
    pieces: Peekable<PageBody>,
    framing: Framing,
    /// Blocks in work or ready, in the page's order.
    ahead: VecDeque<Started<io::Result<Made>>>,
}

impl Blocks {
    fn new(pool: CpuPool, encoding: Encoding, turn: Arc<str>, pieces: Peekable<PageBody>) -> Blocks {
        Blocks { pool, turn, encoding, pieces, framing: Framing::new(encoding), ahead: VecDeque::new() }
    }

    /// Whether every block is made and taken.
    fn is_done(&mut self) -> bool {
        self.ahead.is_empty() && self.pieces.peek().is_none()
    }

    /// Queues the next pieces, as far as may be.
    fn work_ahead(&mut self) -> Result<(), PoolError> {
        while self.ahead.len() < self.pool.threads().min(AHEAD_MAX) {
            // Without the next block there is nothing to send; the others can wait.
            if !self.ahead.is_empty() && !self.pool.has_room(&self.turn) {
                break;
            }
            let Some(piece) = self.pieces.next() else { break };
            let job = self.start(piece)?;
            self.ahead.push_back(job);
        }
        Ok(())
    }

    fn start(&self, piece: Piece) -> Result<Started<io::Result<Made>>, PoolError> {
        let encoding = self.encoding;
        self.pool.start(&self.turn, move || make(encoding, piece))
    }

    /// Takes a finished block; what its piece has more comes next.
    fn take(&mut self, made: Made) -> Result<Bytes, PoolError> {
        self.framing.add(&made.block);
        if let Some(rest) = made.rest {
            let job = self.start(rest)?;
            self.ahead.push_front(job);
        }
        Ok(made.block.bytes)
    }

    /// The next block that holds something, `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, PageError> {
        while !self.is_done() {
            self.work_ahead()?;
            let next = self.ahead.front_mut().expect("work is queued while there are pieces");
            let made = next.await;
            self.ahead.pop_front();
            let block = self.take(made??)?;
            if !block.is_empty() {
                return Ok(Some(block));
            }
        }
        Ok(None)
    }

    /// The body, whose first block is made.
    fn into_body(mut self, mut first: Vec<u8>) -> Body {
        if self.is_done() {
            first.extend_from_slice(&self.framing.tail());
            return first.into();
        }
        let first = (!first.is_empty()).then(|| first.into());
        Body::from_stream(futures_util::stream::unfold((Some(self), first), |(blocks, first)| async move {
            if let Some(first) = first {
                return Some((Ok(first), (blocks, None)));
            }
            let mut blocks = blocks?;
            match blocks.next().await {
                Ok(Some(block)) => Some((Ok(block), (Some(blocks), None))),
                Ok(None) => {
                    let tail = blocks.framing.tail();
                    (!tail.is_empty()).then_some((Ok(tail), (None, None)))
                }
                Err(error) => {
                    tracing::warn!(%error, "page cut");
                    Some((Err(error), (None, None)))
                }
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::io::{Read as _, Write as _};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use http_body_util::BodyExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::net::{Server, ServerLimits};

    fn noise() -> Vec<u8> {
        let mut noise = vec![0; BLOCK_BYTES / 2];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        noise
    }

    /// A page of two pieces, or one that panics in the place of the second.
    fn page(is_cut: bool) -> PageBody {
        let piece = move |number: usize| -> Piece {
            Box::new(move |out, _| {
                assert!(number < 1 || !is_cut, "a fault while the page is written");
                out.extend_from_slice(&noise());
                Progress::Done
            })
        };
        Box::new((0..2).map(piece))
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

    /// Pieces of different lengths, among them an empty one and one that takes several blocks; counts those begun.
    fn long_page(pieces: usize, begun: Arc<AtomicUsize>) -> PageBody {
        let piece = move |number: usize| -> Piece {
            let (begun, mut line) = (begun.clone(), 0);
            let lines = if number % 7 == 3 { 0 } else { 1 + number * 997 % 3_000 };
            Box::new(move |out, bytes| {
                begun.fetch_add(usize::from(line == 0), Ordering::Relaxed);
                while line < lines && out.len() < bytes {
                    writeln!(out, "piece{{number=\"{number}\",line=\"{line}\",more=\"{}\"}} 1", "x".repeat(200))
                        .unwrap();
                    line += 1;
                }
                if line < lines { Progress::More } else { Progress::Done }
            })
        };
        Box::new((0..pieces).map(piece))
    }

    async fn body_of(pool: &CpuPool, encoding: Encoding, page: PageBody) -> Body {
        respond(pool, "text/plain".to_owned(), encoding, move || page).await.unwrap().into_body()
    }

    async fn collect(body: Body) -> Vec<u8> {
        body.collect().await.unwrap().to_bytes().to_vec()
    }

    #[tokio::test]
    async fn bodies_of_many_threads_say_what_one_thread_says() {
        let mut plain = Vec::new();
        long_page(20, Arc::default()).for_each(|mut piece| while piece(&mut plain, usize::MAX) == Progress::More {});
        for threads in [1, 3, 16] {
            let pool = CpuPool::new(threads).unwrap();
            let body = |encoding| body_of(&pool, encoding, long_page(20, Arc::default()));
            assert!(collect(body(Encoding::Identity).await).await == plain, "{threads}");
            let gzip = collect(body(Encoding::Gzip).await).await;
            let mut read = Vec::new();
            flate2::read::GzDecoder::new(&gzip[..]).read_to_end(&mut read).unwrap();
            assert!(read == plain, "{threads}");
            let zstd = collect(body(Encoding::Zstd).await).await;
            assert!(zstd::decode_all(&zstd[..]).unwrap() == plain, "{threads}");
        }
    }

    #[tokio::test]
    async fn nothing_is_made_ahead_of_a_reader_that_stalls() {
        let (pool, begun) = (CpuPool::new(3).unwrap(), Arc::new(AtomicUsize::new(0)));
        let mut body = body_of(&pool, Encoding::Gzip, long_page(1000, begun.clone())).await;
        for taken in 1..=5 {
            body.frame().await.unwrap().unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
            let begun = begun.load(Ordering::Relaxed);
            assert!(begun <= taken + 1 + 3, "{begun} pieces begun for a reader that took {taken} blocks");
        }
        drop(body);
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(begun.load(Ordering::Relaxed) < 12, "a reader that left has no page written");
    }

    #[tokio::test]
    async fn a_full_pool_delays_what_is_ahead_and_cuts_nothing() {
        let pool = CpuPool::new(AHEAD_MAX).unwrap();
        let page = || body_of(&pool, Encoding::Identity, long_page(10, Arc::default()));
        let mut bodies = Vec::new();
        for _ in 0..20 {
            bodies.push(tokio::spawn(collect(page().await)));
        }
        let first = bodies.remove(0).await.unwrap();
        for body in bodies {
            assert!(body.await.unwrap() == first);
        }
    }
}
