//! A remote-write 1.0 receiver that records every sample in the order of its arrival, and can be made to refuse or to break
//! connections, before or after it took what they brought.
//!
//! It decodes by itself (protobuf by the specification's field numbers), so that what is tested does not test itself.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// The bits of a stale marker.
pub(super) const STALE: u64 = 0x7ff0_0000_0000_0002;

/// What the receiver does with requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Mode {
    /// Takes them.
    Accept = 0,
    /// Answers 503.
    Refuse = 1,
    /// Breaks the connection: every second time before anything was taken, else after.
    Reset = 2,
}

/// One sample that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrived {
    /// Milliseconds.
    pub(super) timestamp: i64,
    pub(super) bits: u64,
    /// Whether its request was answered.
    pub(super) is_answered: bool,
}

/// A series' labels, sorted by name.
pub(super) type Series = BTreeMap<String, String>;

#[derive(Default)]
struct Shared {
    mode: AtomicU8,
    requests: AtomicU64,
    samples: Mutex<BTreeMap<Series, Vec<Arrived>>>,
}

/// The receiver, until the process ends.
pub(super) struct Receiver {
    pub(super) port: u16,
    shared: Arc<Shared>,
}

impl Receiver {
    pub(super) fn start() -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let shared = Arc::<Shared>::default();
        let own = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = own.clone();
                // A sender that goes away is what this is about.
                std::thread::spawn(move || drop(shared.serve(&stream)));
            }
        });
        Receiver { port, shared }
    }

    pub(super) fn set_mode(&self, mode: Mode) {
        self.shared.mode.store(mode as u8, Ordering::SeqCst);
    }

    /// All that came, by series, in the order of arrival.
    pub(super) fn samples(&self) -> BTreeMap<Series, Vec<Arrived>> {
        self.shared.samples.lock().expect("no thread panics while it holds them").clone()
    }

    /// Requests so far.
    pub(super) fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::SeqCst)
    }
}

struct Request {
    encoding: String,
    body: Vec<u8>,
}

impl Shared {
    fn serve(&self, stream: &TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        while let Some(request) = read_request(&mut reader)? {
            let number = self.requests.fetch_add(1, Ordering::SeqCst);
            let mode = self.mode.load(Ordering::SeqCst);
            if request.encoding != "snappy" {
                answer(stream, "415 Unsupported Media Type")?;
            } else if mode == Mode::Refuse as u8 {
                answer(stream, "503 Service Unavailable")?;
            } else if mode == Mode::Reset as u8 {
                if number % 2 == 1 {
                    self.take(&request.body, false);
                }
                return stream.shutdown(Shutdown::Both);
            } else {
                self.take(&request.body, true);
                answer(stream, "204 No Content")?;
            }
        }
        Ok(())
    }

    fn take(&self, body: &[u8], is_answered: bool) {
        let message = snap::raw::Decoder::new().decompress_vec(body).expect("a snappy block");
        let mut all = self.samples.lock().expect("no thread panics while it holds them");
        for series in fields(&message).filter(|(number, _)| *number == 1).map(|(_, field)| field.bytes()) {
            let (labels, samples) = decode_series(series);
            let arrived = samples.into_iter().map(|(timestamp, bits)| Arrived { timestamp, bits, is_answered });
            all.entry(labels).or_default().extend(arrived);
        }
    }
}

fn read_request(reader: &mut impl BufRead) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let (mut length, mut encoding) = (0, String::new());
    loop {
        line.clear();
        if reader.read_line(&mut line)? <= 2 {
            break;
        }
        let Some((name, value)) = line.split_once(':') else { continue };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().expect("a length"),
            "content-encoding" => encoding = value.trim().to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(Request { encoding, body }))
}

fn answer(mut stream: &TcpStream, status: &str) -> std::io::Result<()> {
    stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes())
}

/// `TimeSeries{labels=1, samples=2}`, `Label{name=1, value=2}`, `Sample{value=1, timestamp=2}`.
fn decode_series(message: &[u8]) -> (Series, Vec<(i64, u64)>) {
    let (mut labels, mut samples) = (Series::new(), Vec::new());
    for (number, field) in fields(message) {
        let inner = || fields(field.bytes());
        let text = |wanted| {
            let found = inner().find(|(number, _)| *number == wanted).map(|(_, field)| field.bytes().to_vec());
            String::from_utf8(found.unwrap_or_default()).expect("UTF-8")
        };
        let number_of = |wanted| inner().find(|(number, _)| *number == wanted).map_or(0, |(_, field)| field.number());
        match number {
            1 => {
                labels.insert(text(1), text(2));
            }
            2 => samples.push((number_of(2) as i64, number_of(1))),
            _ => {}
        }
    }
    (labels, samples)
}

/// A protobuf field's value.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    fn bytes(&self) -> &'a [u8] {
        match self {
            Field::Bytes(bytes) => bytes,
            Field::Number(_) => panic!("expected bytes, found a number"),
        }
    }

    fn number(&self) -> u64 {
        match self {
            Field::Number(number) => *number,
            Field::Bytes(_) => panic!("expected a number, found bytes"),
        }
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let (mut number, mut shift) = (0, 0);
    loop {
        let (byte, rest) = bytes.split_first().expect("a whole varint");
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return number;
        }
    }
}

/// The fields of a message with their numbers.
fn fields(mut message: &[u8]) -> impl Iterator<Item = (u64, Field<'_>)> {
    std::iter::from_fn(move || {
        if message.is_empty() {
            return None;
        }
        let key = varint(&mut message);
        let field = match key & 7 {
            0 => Field::Number(varint(&mut message)),
            1 => {
                let (fixed, rest) = message.split_first_chunk().expect("eight bytes");
                message = rest;
                Field::Number(u64::from_le_bytes(*fixed))
            }
            2 => {
                let length = varint(&mut message) as usize;
                let (bytes, rest) = message.split_at(length);
                message = rest;
                Field::Bytes(bytes)
            }
            kind => panic!("a field of wire type {kind}"),
        };
        Some((key >> 3, field))
    })
}
