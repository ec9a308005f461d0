//! The smallest HTTP client that will do, so that reading and writing cost this process little.
//!
//! Pages are read with HTTP/1.0: no server chunks its answer then, and the connection's end is the page's.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Longest wait for a byte; Prometheus takes ten seconds to the first of a million series.
const TIMEOUT: Duration = Duration::from_secs(180);
const READ_BYTES: usize = 256 << 10;

/// A loopback port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

/// One answer as its reader saw it.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// From the request to the first byte of the body.
    pub(crate) first: Duration,
    /// To the last.
    pub(crate) whole: Duration,
    /// Bytes of the body as sent.
    pub(crate) bytes: usize,
}

/// Counts the samples of a page in text, which may come in any pieces and be too large to keep.
#[derive(Debug, Default)]
pub(crate) struct SampleCount {
    pub(crate) samples: usize,
    is_within_line: bool,
}

impl SampleCount {
    /// Takes the next piece.
    pub(crate) fn add(&mut self, mut piece: &[u8]) {
        while let Some(first) = piece.first() {
            self.samples += usize::from(!self.is_within_line && *first != b'#' && *first != b'\n');
            let end = memchr::memchr(b'\n', piece);
            self.is_within_line = end.is_none();
            piece = &piece[end.map_or(piece.len(), |end| end + 1)..];
        }
    }
}

/// Reads a page to its end, piece by piece; `None` where nobody listens or the answer breaks off.
pub(crate) fn get(port: u16, path: &str, headers: &str, mut take: impl FnMut(&[u8])) -> Option<Answer> {
    let start = Instant::now();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(TIMEOUT)).ok()?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut reader = BufReader::with_capacity(READ_BYTES, stream);
    let mut answer = Answer { status: status(&read_head(&mut reader)?.0), ..Answer::default() };
    loop {
        let read = reader.fill_buf().ok()?;
        if answer.bytes == 0 {
            answer.first = start.elapsed();
        }
        let length = read.len();
        if length == 0 {
            break;
        }
        take(read);
        answer.bytes += length;
        reader.consume(length);
    }
    answer.whole = start.elapsed();
    Some(answer)
}

/// Whether the page is there.
pub(crate) fn is_ok(port: u16, path: &str) -> bool {
    get(port, path, "", |_| ()).is_some_and(|answer| answer.status == 200)
}

/// The first line of a request or an answer, and the length of the body that follows; `None` at the connection's end.
pub(crate) fn read_head(reader: &mut impl BufRead) -> Option<(String, usize)> {
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).ok().filter(|read| *read > 0)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim_end().is_empty() {
            return Some((first, length));
        }
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok()?;
        }
    }
}

/// The second word of an answer's first line.
fn status(first: &str) -> u16 {
    first.split_whitespace().nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

/// A connection that posts one body after the other.
pub(crate) struct Poster {
    reader: BufReader<TcpStream>,
    head: String,
}

impl Poster {
    /// Connects; `headers` go with every request.
    pub(crate) fn connect(port: u16, path: &str, headers: &str) -> Poster {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
        stream.set_nodelay(true).expect("TCP");
        let head = format!("POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{headers}Content-Length: ");
        Poster { reader: BufReader::new(stream), head }
    }

    /// Sends a body and waits for its answer; panics unless that is a success.
    pub(crate) fn post(&mut self, body: &[u8]) {
        let mut head = format!("{}{}\r\n\r\n", self.head, body.len()).into_bytes();
        head.extend_from_slice(body);
        self.reader.get_mut().write_all(&head).expect("the server reads");
        let (first, length) = read_head(&mut self.reader).expect("the server answers");
        let status = status(&first);
        let mut answer = vec![0; if status == 204 { 0 } else { length }];
        self.reader.read_exact(&mut answer).expect("the whole answer");
        assert!((200..300).contains(&status), "status {status}: {}", String::from_utf8_lossy(&answer));
    }
}

/// A selector for a query string.
pub(crate) fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).into() } else { format!("%{byte:02X}") })
        .collect()
}
