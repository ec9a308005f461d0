//! How old what a reader sees is, and how long a reader waits, on an idle gateway that holds the whole site and while that
//! site is pushed at its real pace.
//!
//! A small cluster's exporters show the time at which they were asked. A reader looks at the gateway every few
//! milliseconds: what it sees change has the age (now − shown), and is later than the tick of the frame that brought it by
//! (now − tick). Everything runs on one machine, so there is one clock.

use std::collections::HashMap;
use std::io::{BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use fedgate::runtime::clock;

use crate::cluster;
use crate::frames::Pusher;
use crate::gateway::Gateway;
use crate::http::{self, percent_encoded, read_head};
use crate::ingest;
use crate::options::Peer;
use crate::report::Report;

/// The small cluster that is watched.
pub(crate) const CLUSTER: &str = "watched";
/// Rounds that are pushed meanwhile.
pub(crate) const ROUNDS: usize = 2;

const SECTION: &str = "Freshness and waiting, milliseconds";
/// Targets of the small cluster, so that scrapes lie at many points of the interval.
const TARGETS: usize = 16;
const IDLE: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(4);
const READ_EVERY: Duration = Duration::from_millis(40);
const TICK_MS: f64 = 1_000.0;

/// Both states of the gateway, one after the other.
pub(crate) fn measure(report: &mut Report, gateway: &Gateway, pusher: &mut Pusher) {
    let port = exporter();
    let _collector = gateway.start_collector(CLUSTER, &jobs(port), "1s");
    std::thread::sleep(Duration::from_secs(4));
    let idle = watch(gateway, || std::thread::sleep(IDLE));
    idle.report(report, "idle");
    let rounds = ingest::ROUNDS..ingest::ROUNDS + ROUNDS;
    let busy = watch(gateway, || pusher.push_paced(rounds, cluster::INTERVAL));
    busy.report(report, "while the site is pushed every 15 s");
}

fn jobs(port: u16) -> String {
    let targets: Vec<String> = (0..TARGETS).map(|number| format!("\"127.0.0.{}:{port}\"", number + 1)).collect();
    format!(
        "scrape_configs:\n  - job_name: watched\n    scrape_interval: 1s\n    scrape_timeout: 1s\n    static_configs:\n      \
         - targets: [{}]\n",
        targets.join(", ")
    )
}

/// Shows the time of each request, on every loopback address.
fn exporter() -> u16 {
    let listener = TcpListener::bind("0.0.0.0:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || show_time(stream));
        }
    });
    port
}

fn show_time(mut stream: TcpStream) {
    let Ok(reading) = stream.try_clone() else { return };
    let mut reader = BufReader::new(reading);
    while read_head(&mut reader).is_some() {
        let page = format!("bench_shown {}\n", clock::now().0);
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: ";
        if stream.write_all(format!("{head}{}\r\n\r\n{page}", page.len()).as_bytes()).is_err() {
            return;
        }
    }
}

/// Milliseconds, look by look.
#[derive(Default)]
struct Watched {
    ages: Vec<f64>,
    beyond_tick: Vec<f64>,
    waits: Vec<f64>,
}

/// Looks and reads on two threads while `work` goes on.
fn watch(gateway: &Gateway, work: impl FnOnce()) -> Watched {
    let done = std::sync::atomic::AtomicBool::new(false);
    let is_done = || done.load(std::sync::atomic::Ordering::Relaxed);
    std::thread::scope(|scope| {
        let looker = scope.spawn(|| look(gateway.port, is_done));
        let reader = scope.spawn(|| read(gateway, is_done));
        work();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        let watched = looker.join().expect("the gateway answers");
        Watched { waits: reader.join().expect("the gateway answers"), ..watched }
    })
}

fn look(port: u16, is_done: impl Fn() -> bool) -> Watched {
    let selectors =
        ["bench_shown".to_owned(), format!("fedgate_cluster_last_snapshot_timestamp_seconds{{cluster=\"{CLUSTER}\"}}")];
    let matches = selectors.map(|selector| format!("match[]={}", percent_encoded(&selector))).join("&");
    let (path, mut seen, mut watched) = (format!("/federate?{matches}"), HashMap::new(), Watched::default());
    while !is_done() {
        let mut page = Vec::new();
        http::get(port, &path, "", |piece| page.extend_from_slice(piece)).expect("an answer");
        let now = clock::now().0 as f64;
        let page = String::from_utf8(page).expect("text");
        let value = |line: &str| line.split(' ').nth(1).and_then(|value| value.parse::<f64>().ok()).expect("a value");
        let tick = page.lines().find(|line| line.starts_with("fedgate_cluster_last")).map_or(0.0, value) * 1e3;
        for line in page.lines().filter(|line| line.starts_with("bench_shown{")) {
            let (key, shown) = (line.split(' ').next().expect("a word").to_owned(), value(line));
            // The first look finds old values.
            if seen.insert(key, shown).is_some_and(|before| before != shown) {
                watched.ages.push(now - shown);
                watched.beyond_tick.push(now - tick);
            }
        }
        std::thread::sleep(LOOK_EVERY);
    }
    watched
}

/// Another reader takes one cluster's page over and over.
fn read(gateway: &Gateway, is_done: impl Fn() -> bool) -> Vec<f64> {
    let selector = format!("{{cluster=\"{}\"}}", cluster::name(gateway.shape.clusters / 2));
    let path = format!("/federate?match[]={}", percent_encoded(&selector));
    let mut waits = Vec::new();
    while !is_done() {
        let start = Instant::now();
        let answer = http::get(gateway.port, &path, "", |_| ()).expect("an answer");
        assert!(answer.status == 200 && answer.bytes > 0);
        waits.push(start.elapsed().as_secs_f64() * 1e3);
        std::thread::sleep(READ_EVERY);
    }
    waits
}

impl Watched {
    fn report(mut self, report: &mut Report, state: &str) {
        let column = Peer::Fedgate.column();
        let mut add = |what: &str, goal: Option<f64>, runs: &mut Vec<f64>| {
            runs.sort_by(f64::total_cmp);
            assert!(!runs.is_empty(), "nothing was seen: {what}");
            for (word, part) in [("p50", 0.5), ("p99", 0.99)] {
                let value = runs[((runs.len() - 1) as f64 * part).round() as usize];
                let goal = goal.filter(|_| word == "p99");
                report.add(SECTION, format!("{what}, {state}, {word}"), goal, column, &[value]);
            }
        };
        add("from exporter to `/federate`, scraped and pushed every second", Some(TICK_MS + 250.0), &mut self.ages);
        add("the same, beyond the tick", Some(250.0), &mut self.beyond_tick);
        add("a reader's wait for one cluster", None, &mut self.waits);
    }
}
