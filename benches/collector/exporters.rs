//! Exporters on loopback addresses of their own, as so many machines: each request gets the target's next page, packed
//! beforehand, so that this process does next to nothing while it is measured.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use flate2::Compression;
use flate2::write::GzEncoder;

/// The pages of one target, whole answers.
struct Target {
    answers: Vec<Vec<u8>>,
    next: AtomicUsize,
}

/// Targets, served until the process ends.
pub(crate) struct Exporters {
    /// Address of each target.
    pub(crate) addresses: Vec<String>,
}

impl Exporters {
    /// Serves each list of pages as one target, one page after the other and then from the beginning.
    pub(crate) fn serve(targets: impl Iterator<Item = Vec<String>>) -> Exporters {
        Exporters { addresses: targets.enumerate().map(|(number, pages)| serve_target(number, &pages)).collect() }
    }
}

fn serve_target(number: usize, pages: &[String]) -> String {
    let answers = pages.iter().map(|page| answer(page)).collect();
    let target = Arc::new(Target { answers, next: AtomicUsize::new(0) });
    let address = format!("127.1.{}.{}:0", number / 250, number % 250 + 1);
    let listener = TcpListener::bind(address).expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let target = target.clone();
            // A client that goes away ends its connection, no more.
            std::thread::spawn(move || drop(answer_all(&stream, &target)));
        }
    });
    address
}

fn answer(page: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(page.as_bytes()).expect("memory");
    let body = encoder.finish().expect("memory");
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8; escaping=underscores\r\n\
         Content-Encoding: gzip\r\nDate: Fri, 20 Nov 2026 16:00:00 GMT\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend_from_slice(&body);
    answer
}

fn answer_all(stream: &TcpStream, target: &Target) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while wait_for_request(&mut reader)? {
        let number = target.next.fetch_add(1, Ordering::Relaxed);
        (&*stream).write_all(&target.answers[number % target.answers.len()])?;
    }
    Ok(())
}

/// Reads a request to the empty line behind its header; false at the end of the connection.
pub(crate) fn wait_for_request(reader: &mut impl BufRead) -> std::io::Result<bool> {
    let mut line = String::new();
    loop {
        line.clear();
        match reader.read_line(&mut line)? {
            0 => return Ok(false),
            1 | 2 => return Ok(true),
            _ => {}
        }
    }
}
