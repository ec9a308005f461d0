//! The ends that are not measured: pages to scrape, written and compressed beforehand, and a sink that takes anything.
//!
//! A target's pages are shown forth and back again, so that every two that follow each other are one interval apart.

use std::fmt::Write as _;
use std::io::{BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::cluster::Cluster;
use crate::http::read_head;
use crate::site::Page;

/// Pages of a target.
const PAGES: usize = 8;

/// Exporters on one port, told apart by path.
pub(crate) struct Exporter {
    port: u16,
    instances: Vec<String>,
    /// Samples shown so far.
    pub(crate) samples: Arc<AtomicU64>,
}

struct Target {
    pages: Vec<Vec<u8>>,
    series: u64,
    shown: AtomicUsize,
}

impl Exporter {
    /// Serves every page of a cluster, gzip whatever the client says, from threads that end with the process.
    pub(crate) fn start(mut cluster: Cluster) -> Exporter {
        let instances = (0..cluster.pages.len()).map(|page| format!("exporter{page:03}")).collect();
        let mut targets: Vec<Target> = cluster.pages.iter().map(Target::new).collect();
        for _ in 0..PAGES {
            cluster.advance();
            let pages = targets.iter_mut().zip(&cluster.pages);
            pages.for_each(|(target, page)| target.pages.push(gzip(text(page).as_bytes())));
        }
        let samples = Arc::new(AtomicU64::new(0));
        let (shared, count) = (Arc::new(targets), samples.clone());
        let port = serve(move |stream| show(stream, &shared, &count));
        Exporter { port, instances, samples }
    }

    /// A job for all of them, in the words that every peer reads.
    pub(crate) fn scrape_configs(&self, interval: &str) -> String {
        let mut text = format!(
            "scrape_configs:\n  - job_name: site\n    honor_labels: true\n    scrape_interval: {interval}\n    \
             scrape_timeout: {interval}\n    static_configs:\n"
        );
        for (number, instance) in self.instances.iter().enumerate() {
            let labels = format!("{{__metrics_path__: /{number}, instance: {instance}}}");
            writeln!(text, "      - targets: [\"127.0.0.1:{}\"]\n        labels: {labels}", self.port).expect("memory");
        }
        text
    }
}

impl Target {
    fn new(page: &Page) -> Target {
        Target { pages: Vec::new(), series: page.series() as u64, shown: AtomicUsize::new(0) }
    }

    fn next(&self) -> &[u8] {
        let turn = 2 * (PAGES - 1);
        let at = self.shown.fetch_add(1, Ordering::Relaxed) % turn;
        &self.pages[at.min(turn - at)]
    }
}

/// A page in the text format.
fn text(page: &Page) -> String {
    let (mut text, mut family) = (String::new(), "");
    for (name, labels, value) in page.samples() {
        if name != family {
            family = name;
            let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
            writeln!(text, "# HELP {name} What {name} says.\n# TYPE {name} {kind}").expect("memory");
        }
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        writeln!(text, "{name}{{{}}} {value}", labels.join(",")).expect("memory");
    }
    text
}

fn gzip(page: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(page).and_then(|()| encoder.finish()).expect("memory")
}

/// Accepts connections on a port of its own, each with a thread.
fn serve(answer: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            std::thread::spawn(move || answer(stream));
        }
    });
    port
}

fn show(mut stream: TcpStream, targets: &[Target], samples: &AtomicU64) {
    let Ok(reading) = stream.try_clone() else { return };
    let mut reader = BufReader::new(reading);
    while let Some((first, _)) = read_head(&mut reader) {
        let number = first.split(' ').nth(1).and_then(|path| path.strip_prefix('/')?.parse::<usize>().ok());
        let Some(target) = number.and_then(|number| targets.get(number)) else { return };
        let page = target.next();
        let head =
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Encoding: gzip\r\nContent-Length: ";
        let mut answer = format!("{head}{}\r\n\r\n", page.len()).into_bytes();
        answer.extend_from_slice(page);
        if stream.write_all(&answer).is_err() {
            return;
        }
        samples.fetch_add(target.series, Ordering::Relaxed);
    }
}

/// Takes whatever is posted and counts its bytes.
pub(crate) struct Sink {
    pub(crate) port: u16,
    pub(crate) bytes: Arc<AtomicU64>,
}

impl Sink {
    pub(crate) fn start() -> Sink {
        let bytes = Arc::new(AtomicU64::new(0));
        let count = bytes.clone();
        let port = serve(move |mut stream| {
            let Ok(reading) = stream.try_clone() else { return };
            let (mut reader, mut body) = (BufReader::new(reading), Vec::new());
            while let Some((_, length)) = read_head(&mut reader) {
                body.resize(length, 0);
                let is_whole = reader.read_exact(&mut body).is_ok();
                if !is_whole || stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").is_err() {
                    return;
                }
                count.fetch_add(length as u64, Ordering::Relaxed);
            }
        });
        Sink { port, bytes }
    }
}
