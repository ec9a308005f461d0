//! The collector's spool in the real program: outages, `kill -9`, a gateway that is away for good, directories that are not ours.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fedgate::journal::{DiskFiles, Journal, Options, Role};
use fedgate::model::Timestamp;

use crate::site::http::{self, Answer, percent_encoded};
use crate::site::{Process, Site, free_port, program, wait_for};

/// Kept by the gateway as long as a test lasts.
const HISTORY: &str = "history:\n  series:\n    - {match: served_total, for: 1h}\n";

/// An exporter whose counter steps once for every scrape.
struct Exporter {
    port: u16,
    served: Arc<AtomicU64>,
}

impl Exporter {
    fn start() -> Exporter {
        Exporter::with_noise(0)
    }

    /// The same with so many series beside it that have another value each time, which no compressor makes small.
    fn with_noise(series: u64) -> Exporter {
        let served = Arc::new(AtomicU64::new(0));
        let count = served.clone();
        let port = http::serve(move |_| {
            let served = count.fetch_add(1, Ordering::SeqCst) + 1;
            let mut body = format!("served_total {served}\n");
            for n in 0..series {
                let noise = (served << 32 | n).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
                let value = f64::from_bits(0x3ff0_0000_0000_0000 | noise.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 12);
                writeln!(body, "noise{{n=\"{n}\"}} {value}").unwrap();
            }
            Answer { status: 200, content_type: "text/plain; version=0.0.4", body: body.into_bytes() }
        });
        Exporter { port, served }
    }

    fn served(&self) -> u64 {
        self.served.load(Ordering::SeqCst)
    }

    /// Waits until it was scraped so many times more.
    fn wait(&self, scrapes: u64) -> u64 {
        let end = self.served() + scrapes;
        wait_for("the collector to scrape", || (self.served() >= end).then(|| self.served()))
    }
}

/// A collector's file with a spool; `push` are further keys of that section. It ticks twice a scrape.
fn collector_config(site: &Site, exporter: &Exporter, push: &str) -> PathBuf {
    ticking(site, exporter, Duration::from_secs(1), push)
}

fn ticking(site: &Site, exporter: &Exporter, tick: Duration, push: &str) -> PathBuf {
    let jobs = format!("  - job_name: test\n    static_configs:\n      - targets: [\"127.0.0.1:{}\"]\n", exporter.port);
    let file = site.collector_config("alpha", &jobs);
    let text = std::fs::read_to_string(&file).unwrap();
    let line = text.lines().find(|line| line.starts_with("  tick: ")).expect("a tick");
    let text = text.replace(line, format!("  tick: {}s\n  backoff_max: 1s\n{push}", tick.as_secs()).trim_end());
    let dir = site.path("spool").display().to_string();
    site.write("collector-alpha.yml", &format!("{text}spool:\n  dir: {dir}\n"))
}

/// All values of the counter that a gateway keeps, by time.
fn kept(port: u16) -> BTreeMap<u64, u64> {
    let query = percent_encoded("served_total[30m]");
    let (status, body) = http::get(port, &format!("/api/v1/query?query={query}"));
    assert_eq!(status, 200, "{body}");
    let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
    let series = answer["data"]["result"].as_array().unwrap();
    assert!(series.len() <= 1, "{body}");
    let Some(series) = series.first() else { return BTreeMap::new() };
    let sample = |sample: &serde_json::Value| {
        let time = (sample[0].as_f64().unwrap() * 1000.0) as u64;
        (time, sample[1].as_str().unwrap().parse().unwrap())
    };
    series["values"].as_array().unwrap().iter().map(sample).collect()
}

/// Everything from 1 on is there once and in order, but for these at most.
fn assert_whole(kept: &BTreeMap<u64, u64>, may_miss: &[u64]) {
    let values: Vec<u64> = kept.values().copied().collect();
    assert!(values.is_sorted_by(|one, other| one < other), "not in order, or twice: {values:?}");
    let last = *values.last().expect("something was kept");
    let missing: Vec<u64> = (1..=last).filter(|value| !values.contains(value)).collect();
    assert!(missing.iter().all(|value| may_miss.contains(value)), "{missing:?} of {values:?} are missing");
}

#[test]
fn an_outage_and_a_kill_cost_no_scrape_that_was_synced() {
    let site = Site::at_pace(Duration::from_secs(2));
    site.issue("alpha");
    let exporter = Exporter::start();
    let config = collector_config(&site, &exporter, "");
    let gateway_config = site.gateway_config(&["alpha"], HISTORY);
    let collector = site.start_collector(&config);
    // The gateway is away from the beginning.
    let served = exporter.wait(4);
    collector.kill();
    let collector = site.start_collector(&config);
    exporter.wait(2);
    let gateway = site.start_gateway(&gateway_config);
    let mut newest = 0.0;
    wait_for("the newest value", || {
        let page = site.federate("served_total");
        let line = page.lines().find(|line| line.starts_with("served_total{"))?;
        let mut words = line.rsplit(' ').map(|word| word.parse::<f64>().unwrap());
        let (at, value) = (words.next()?, words.next()?);
        assert!(at >= newest, "{line} steps back");
        newest = at;
        (value as u64 + 1 >= exporter.served()).then_some(())
    });
    wait_for("the backlog", || {
        let kept = kept(site.http_port);
        (kept.values().any(|value| *value > served + 1) && kept.len() as u64 + 3 >= exporter.served()).then_some(())
    });
    // What was scraped and in no tick yet when the collector was killed is lost.
    assert_whole(&kept(site.http_port), &[served - 1, served, served + 1]);

    // The gateway again, for a moment, while everything runs.
    let before = kept(site.http_port);
    drop(gateway);
    exporter.wait(3);
    let _gateway = site.start_gateway(&gateway_config);
    let next = before.values().max().unwrap() + 1;
    wait_for("what was scraped meanwhile", || {
        kept(site.http_port).values().any(|value| *value > next + 1).then_some(())
    });
    let mut all = before;
    for (time, value) in kept(site.http_port) {
        assert!(all.insert(time, value).is_none_or(|known| known == value), "another value for the same scrape");
    }
    assert_whole(&all, &[served - 1, served, served + 1]);
    drop(collector);
}

#[test]
fn a_gateway_that_is_away_delays_no_other_and_gets_everything_later() {
    let site = Site::at_pace(Duration::from_secs(1));
    site.issue("alpha");
    let exporter = Exporter::start();
    let (push_port, http_port) = (free_port(), free_port());
    let further = format!("  urls:\n    - url: https://127.0.0.1:{push_port}\n");
    // Three scrapes a tick: each is there afterwards.
    let config = ticking(&site, &exporter, Duration::from_secs(3), &further);
    let gateway_config = site.gateway_config(&["alpha"], HISTORY);
    let _gateway = site.start_gateway(&gateway_config);
    let _collector = site.start_collector(&config);
    exporter.wait(7);
    let waiting = |port: u16| {
        let page = site.federate("fedgate_collector_push_unacknowledged_frames");
        let line = page.lines().find(|line| line.contains(&format!(":{port}\"")))?.to_owned();
        line.rsplit(' ').nth(1)?.parse::<u64>().ok()
    };
    wait_for("the other gateway's backlog", || waiting(push_port).filter(|frames| *frames >= 6));
    assert!(waiting(site.push_port).unwrap() <= 2, "the one that is there is not held up");
    wait_for("what is new", || {
        kept(site.http_port).values().any(|value| *value + 5 >= exporter.served()).then_some(())
    });

    let text = std::fs::read_to_string(&gateway_config).unwrap();
    let text = text.replace(&format!(":{}\n", site.push_port), &format!(":{push_port}\n"));
    let text = text.replace(&format!(":{}\n", site.http_port), &format!(":{http_port}\n"));
    let other = site.write("gateway-2.yml", &text);
    let _other = Process::start("gateway-2", Command::new(program()).args(["gateway", "--config"]).arg(other));
    wait_for("the other gateway", || (http::get(http_port, "/-/healthy").0 == 200).then_some(()));
    wait_for("its backlog", || kept(http_port).values().any(|value| *value + 5 >= exporter.served()).then_some(()));
    wait_for("the whole of it", || kept(http_port).contains_key(kept(site.http_port).keys().next()?).then_some(()));
    assert_whole(&kept(http_port), &[]);
    assert_whole(&kept(site.http_port), &[]);
}

/// The value of a series on a gateway's page.
fn shown(site: &Site, selector: &str) -> Option<(f64, f64)> {
    let page = site.federate(selector);
    let line = page.lines().find(|line| !line.starts_with('#'))?;
    let mut words = line.rsplit(' ').map(|word| word.parse::<f64>().unwrap());
    let at = words.next()?;
    Some((words.next()?, at))
}

#[test]
fn the_newest_state_overtakes_a_backlog_that_may_take_little_of_the_line() {
    let site = Site::at_pace(Duration::from_secs(2));
    site.issue("alpha");
    // Some 60 kB a scrape, so that a body holds one.
    let exporter = Exporter::with_noise(9000);
    let bounds = "  body_bytes_max: 64KB\n  backlog_bytes_per_second: 60KB\n";
    let config = collector_config(&site, &exporter, bounds);
    let gateway_config = site.gateway_config(&["alpha"], HISTORY);
    let _collector = site.start_collector(&config);
    exporter.wait(7);
    let _gateway = site.start_gateway(&gateway_config);
    let mut newest = 0.0;
    let mut look = || {
        let (value, at) = shown(&site, "served_total")?;
        assert!(at >= newest, "{value} at {at} steps back behind {newest}");
        newest = at;
        Some(value as u64)
    };
    wait_for("the newest state", || look().filter(|value| value + 1 >= exporter.served()));
    let behind = kept(site.http_port).len() as u64;
    assert!(behind + 3 < exporter.served(), "{behind} have come of {}, nothing was overtaken", exporter.served());
    assert_eq!(shown(&site, "fedgate_collector_push_overtaking").map(|(value, _)| value), Some(1.0));
    wait_for("the backlog", || {
        look();
        let kept = kept(site.http_port);
        (kept.values().max().is_some_and(|last| *last == kept.len() as u64)).then_some(())
    });
    assert_whole(&kept(site.http_port), &[]);
    wait_for("the end of overtaking", || {
        look();
        shown(&site, "fedgate_collector_push_overtaking").filter(|(value, _)| *value == 0.0)
    });
}

/// What the program says, and its exit code.
fn run(arguments: &[&str], config: &Path) -> (Option<i32>, String) {
    let output = Command::new(program()).args(arguments).arg(config).output().expect("the program runs");
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn a_directory_that_is_no_spool_of_ours_is_refused_with_what_to_do() {
    let site = Site::new();
    site.issue("alpha");
    let exporter = Exporter::start();
    let config = collector_config(&site, &exporter, "");
    let dir = site.path("spool");
    let segment = dir.join(format!("{:020}.seg", 0));
    let begin = |role| {
        let _ = std::fs::remove_dir_all(&dir);
        let (mut journal, _) =
            Journal::open(Arc::new(DiskFiles), &dir, Options::new(role), Timestamp(1)).expect("a new log");
        journal.log().append(1, &[b"something"], Timestamp(1)).unwrap();
        journal.commit(Timestamp(1)).unwrap();
    };
    let refused = |expected: &str| {
        let before = std::fs::read(&segment).unwrap();
        for arguments in [&["collector", "--config"][..], &["check", "push", "--config"], &["check", "config"]] {
            let (code, said) = run(arguments, &config);
            assert!(code == Some(1) && said.contains(expected), "{arguments:?} exits with {code:?}: {said}");
        }
        assert_eq!(std::fs::read(&segment).unwrap(), before, "nothing is touched");
    };
    begin(Role::Frames);
    refused("check the configured directory");

    begin(Role::Spool);
    let mut bytes = std::fs::read(&segment).unwrap();
    for copy in [0, 64] {
        // The version, and the header's checksum after it.
        bytes[copy + 8] = 99;
        let crc = crc32c::crc32c(&bytes[copy..copy + 60]);
        bytes[copy + 60..copy + 64].copy_from_slice(&crc.to_le_bytes());
    }
    std::fs::write(&segment, bytes).unwrap();
    refused("run the newer one");

    begin(Role::Spool);
    std::fs::write(dir.join("notes.txt"), "mine").unwrap();
    refused("give the journal a directory of its own");
    assert!(dir.join("notes.txt").exists());
}

#[test]
fn two_collectors_do_not_share_a_spool() {
    let site = Site::new();
    site.issue("alpha");
    let exporter = Exporter::start();
    let config = collector_config(&site, &exporter, "");
    let _collector = site.start_collector(&config);
    wait_for("the first to begin", || site.path("spool").join("LOCK").exists().then_some(()));
    exporter.wait(1);
    let (code, said) = run(&["collector", "--config"], &config);
    assert!(code == Some(1) && said.contains("in use by another process"), "{said}");
}
