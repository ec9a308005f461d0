//! From an exporter's answer to a reader: how long until `/federate` shows what a page said.
//!
//! Twenty targets are scraped at their own points of a second and show the number of each scrape as a value. A reader asks
//! again and again and notes when it first sees each value. A value waits for the collector's tick, on average half of
//! one; what counts is what comes on top: 99 of 100 values are there so long after a whole tick.

use std::collections::HashMap;
use std::io::{BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::exporters::{Exporters, wait_for_request};
use super::roles::{Collector, Gateway};

const TARGETS: usize = 20;
const TICK: Duration = Duration::from_secs(1);
const DURATION: Duration = Duration::from_secs(25);
/// The first pushes are not what is measured.
const WARM_UP: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// By target and value, when an exporter said so.
type Served = Arc<Mutex<HashMap<(String, u64), Instant>>>;

/// Measures one program and prints a row.
pub(crate) fn measure(program: &Path) {
    let served = Served::default();
    let exporters = Exporters { addresses: (0..TARGETS).map(|number| serve(number, served.clone())).collect() };
    let gateway = Gateway::start(program);
    let _collector = Collector::start(program, &gateway, &exporters, "1s");
    std::thread::sleep(WARM_UP);
    let mut waits = watch(&gateway, &served);
    waits.sort_unstable();
    let at = |part: f64| waits[((waits.len() - 1) as f64 * part) as usize];
    let millis = |wait: Duration| wait.as_secs_f64() * 1e3;
    let beyond = at(0.99).saturating_sub(TICK);
    println!(
        "| {}, {} values | {:.0} | {:.0} | {:.0} |",
        program.display(),
        waits.len(),
        millis(at(0.5)),
        millis(at(0.99)),
        millis(beyond)
    );
}

/// Reads `/federate` for a while; how long each new value took to be seen.
fn watch(gateway: &Gateway, served: &Served) -> Vec<Duration> {
    let (start, mut seen, mut waits) = (Instant::now(), HashMap::new(), Vec::new());
    while start.elapsed() < DURATION {
        let page = gateway.get("/federate?match[]=probe").expect("a page");
        let now = Instant::now();
        for (target, value) in page.lines().filter_map(probe) {
            let before = seen.insert(target.clone(), value);
            if before.is_some_and(|before| before != value) {
                let said = served.lock().unwrap_or_else(PoisonError::into_inner)[&(target, value)];
                waits.push(now.duration_since(said));
            }
        }
        std::thread::sleep(POLL_INTERVAL);
    }
    waits
}

/// `probe{…,target="3"} 17 1763…` as ("3", 17).
fn probe(line: &str) -> Option<(String, u64)> {
    let (labels, rest) = line.strip_prefix("probe{")?.split_once("} ")?;
    let (_, target) = labels.split_once("target=\"")?;
    Some((target.split('"').next()?.to_owned(), rest.split(' ').next()?.parse().ok()?))
}

fn serve(number: usize, served: Served) -> String {
    let listener = TcpListener::bind(format!("127.2.0.{}:0", number + 1)).expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    std::thread::spawn(move || {
        let mut value = 0;
        for stream in listener.incoming().map_while(Result::ok) {
            // A client that goes away ends its connection, no more.
            drop(answer_all(&stream, number, &mut value, &served));
        }
    });
    address
}

fn answer_all(stream: &TcpStream, number: usize, value: &mut u64, served: &Served) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    while wait_for_request(&mut reader)? {
        *value += 1;
        let body = format!("# TYPE probe gauge\nprobe{{target=\"{number}\"}} {value}\n");
        served.lock().unwrap_or_else(PoisonError::into_inner).insert((number.to_string(), *value), Instant::now());
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length:";
        (&*stream).write_all(format!("{head} {}\r\n\r\n{body}", body.len()).as_bytes())?;
    }
    Ok(())
}
