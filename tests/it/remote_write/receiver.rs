//! A receiver that remembers everything it is sent, and answers as it is told.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::witness::{Series, read_metadata, read_v1, read_v2};

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
    /// What it was answered.
    pub(crate) status: u16,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(crate) fn is_v2(&self) -> bool {
        self.header("content-type") == "application/x-protobuf;proto=io.prometheus.write.v2.Request"
    }

    pub(crate) fn series(&self) -> Vec<Series> {
        if self.is_v2() { read_v2(&self.body) } else { read_v1(&self.body) }
    }

    /// Families by name: type and help.
    pub(crate) fn metadata(&self) -> BTreeMap<String, (u32, String)> {
        let all = read_metadata(&self.body).into_iter();
        all.map(|one| (one.metric_family_name, (one.kind, one.help))).collect()
    }
}

/// How requests are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// As a receiver of 2.0.
    Takes,
    /// As one of 1.0 that makes nothing of what it does not know.
    TakesAsV1,
    /// With this status.
    Refuses(u16),
}

/// Listens until the process ends.
#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
    mood: Arc<Mutex<Mood>>,
}

impl Receiver {
    pub(crate) fn start(mood: Mood) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let receiver = Receiver { port, requests: Arc::default(), mood: Arc::new(Mutex::new(mood)) };
        let own = receiver.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let own = own.clone();
                std::thread::spawn(move || while own.answer(&stream).is_ok() {});
            }
        });
        receiver
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/write", self.port)
    }

    pub(crate) fn set_mood(&self, mood: Mood) {
        *self.mood.lock().expect("no panic while it is held") = mood;
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no panic while it is held").clone()
    }

    /// Requests that were taken.
    pub(crate) fn taken(&self) -> Vec<Request> {
        self.requests().into_iter().filter(|request| request.status < 300).collect()
    }

    fn answer(&self, stream: &TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        let (mut line, mut headers) = (String::new(), BTreeMap::new());
        reader.read_line(&mut line)?;
        if line.is_empty() {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        assert!(line.starts_with("POST /write HTTP/1.1"), "{line}");
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let length = headers.get("content-length").and_then(|length| length.parse().ok()).expect("a length");
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let mut request = Request { headers, body, status: 0 };
        let mood = *self.mood.lock().expect("no panic while it is held");
        request.status = match mood {
            Mood::Refuses(status) => status,
            Mood::Takes | Mood::TakesAsV1 => 204,
        };
        let mut written = String::new();
        if mood == Mood::Takes && request.is_v2() {
            let series = request.series();
            let samples = series.iter().map(|one| one.samples.len()).sum::<usize>();
            written = format!("X-Prometheus-Remote-Write-Samples-Written: {samples}\r\n");
        }
        let text = if request.status < 300 { "" } else { "not now" };
        let answer =
            format!("HTTP/1.1 {} word\r\n{written}Content-Length: {}\r\n\r\n{text}", request.status, text.len());
        self.requests.lock().expect("no panic while it is held").push(request);
        let mut stream = stream;
        stream.write_all(answer.as_bytes())
    }
}
