//! The real program, killed and started again.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::site::http::{self, Answer, percent_encoded};
use crate::site::{FEDGATE, Process, Site, program, wait_for};

const RULES: &str = "groups:
  - name: g
    interval: 1s
    rules:
      - record: m:sum
        expr: sum(test_value)
      - record: m:count
        expr: count_over_time(test_value[5m])
      - alert: Long
        expr: test_value > 0
        for: 2s
";

/// An exporter whose value is the number of the scrape.
fn exporter() -> u16 {
    let count = std::sync::atomic::AtomicU64::new(0);
    http::serve(move |_| {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        let body = format!("# TYPE test_value gauge\ntest_value {number}\n");
        Answer { status: 200, content_type: "text/plain; version=0.0.4", body: body.into() }
    })
}

fn gateway_config(site: &Site, journal: &str) -> std::path::PathBuf {
    site.write("rules.yml", RULES);
    let extra = format!(
        "rule_files: [rules.yml]\nrules: {{for_grace_period: 0s}}\njournal:\n  dir: journal\n  commit_interval: 0s\n  free_disk_min_ratio: 0\n{journal}"
    );
    site.gateway_config(&["alpha"], &extra)
}

/// The value of a query that has one result; `None` without.
fn query(site: &Site, expression: &str) -> Option<f64> {
    let (status, body) = site.get(&format!("/api/v1/query?query={}", percent_encoded(expression)));
    let answer: Value = serde_json::from_str(&body).ok().filter(|_| status == 200)?;
    answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
}

fn own(site: &Site, series: &str) -> Option<f64> {
    let (_, page) = site.get("/metrics/self");
    let line = page.lines().find(|line| line.starts_with(series))?;
    line.rsplit(' ').next()?.parse().ok()
}

fn is_ready(site: &Site) -> Option<()> {
    (site.get("/-/ready").0 == 200).then_some(())
}

fn running(site: &Site, config: &Path) -> (Process, Process) {
    site.issue("alpha");
    let jobs = format!("  - job_name: test\n    static_configs: [{{targets: ['127.0.0.1:{}']}}]\n", exporter());
    let gateway = site.start_gateway(config);
    let collector = site.start_collector(&site.collector_config("alpha", &jobs));
    wait_for("the alert to fire", || query(site, "ALERTS{alertstate=\"firing\"}"));
    wait_for("some history", || query(site, "m:count").filter(|count| *count >= 4.0));
    (gateway, collector)
}

#[test]
fn after_a_kill_everything_goes_on_without_a_gap() {
    let site = Site::new();
    let config = gateway_config(&site, "");
    let (mut gateway, _collector) = running(&site, &config);
    for _ in 0..2 {
        let count = query(&site, "count_over_time(test_value[5m])").expect("scrapes");
        let evaluations = query(&site, "count_over_time(m:sum[5m])").expect("evaluations");
        let since = query(&site, "ALERTS_FOR_STATE").expect("the alert");
        let newest = query(&site, "test_value").expect("a value");
        let pending = query(&site, "count_over_time(ALERTS{alertstate=\"pending\"}[5m])");
        gateway.kill();
        gateway = site.start_gateway(&config);
        wait_for("the gateway to be ready", || is_ready(&site));
        let after = query(&site, "count_over_time(test_value[5m])").expect("the history is there again");
        assert!(after >= count, "{after} scrapes, {count} before");
        assert!(query(&site, "test_value").expect("a value") >= newest);
        wait_for("evaluations", || query(&site, "count_over_time(m:sum[5m])").filter(|again| *again > evaluations));
        assert_eq!(query(&site, "ALERTS_FOR_STATE"), Some(since), "it is active since when it was");
        assert!(query(&site, "ALERTS{alertstate=\"firing\"}").is_some());
        let again = query(&site, "count_over_time(ALERTS{alertstate=\"pending\"}[5m])");
        assert_eq!(again, pending, "no evaluation found it pending anew");
        let refused = own(&site, "fedgate_push_refused_total{cluster=\"alpha\",reason=\"key_missing\"");
        assert_eq!(refused, None, "the collector goes on where it was");
        assert!(own(&site, "fedgate_gateway_restore_seconds").is_some_and(|seconds| seconds < 10.0));
        assert!(own(&site, "fedgate_gateway_restored_frames{cluster=\"alpha\"}").is_some_and(|frames| frames > 3.0));
    }
}

#[test]
fn sigterm_leaves_everything_on_the_disk() {
    let site = Site::new();
    let config = gateway_config(&site, "  durability: relaxed\n");
    let (mut gateway, collector) = running(&site, &config);
    let newest = query(&site, "test_value").expect("a value");
    drop(collector);
    assert_eq!(gateway.terminate(Duration::from_secs(15)), Some(0), "{}", gateway.output());
    let _gateway = site.start_gateway(&config);
    let again = wait_for("the value to be back", || query(&site, "test_value"));
    assert!(again >= newest, "{again}, {newest} before");
    assert_eq!(own(&site, "fedgate_gateway_restore_lost_bytes"), Some(0.0));
    for name in ["bytes{log=\"frames\"}", "segments{log=\"recorded\"}", "commits_total{log=\"frames\"}", "hours_left"] {
        assert!(own(&site, &format!("fedgate_gateway_journal_{name}")).is_some(), "{name}");
    }
}

/// What a start and `check config` say.
fn said(config: &Path) -> [String; 2] {
    let start = Command::new(program()).args(["gateway", "--config"]).arg(config).output().expect("it runs");
    let check = Command::new(FEDGATE).args(["check", "config"]).arg(config).output().expect("it runs");
    assert!(!start.status.success(), "the gateway must not start");
    [start.stderr, check.stdout].map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

#[test]
fn a_directory_that_is_not_its_own_is_refused_with_what_to_do() {
    let site = Site::new();
    let config = gateway_config(&site, "");
    let gateway = site.start_gateway(&config);
    let other = site.path("other.yml");
    let text = fs::read_to_string(&config).unwrap();
    let text = text.replace(&format!("127.0.0.1:{}", site.http_port), "127.0.0.1:0");
    fs::write(&other, text.replace(&format!("127.0.0.1:{}", site.push_port), "localhost:0")).unwrap();
    let [start, check] = said(&other);
    assert!(start.contains("in use by another process; stop it"), "{start}");
    assert!(check.contains("valid gateway configuration"), "that a gateway runs is no fault: {check}");
    drop(gateway);

    let dir = site.path("journal");
    let frames = fs::read_dir(dir.join("frames")).unwrap().map(|entry| entry.unwrap().path());
    let segment = frames.into_iter().find(|path| path.extension().is_some_and(|end| end == "seg")).expect("a segment");
    let sound = fs::read(&segment).unwrap();
    let mut newer = sound.clone();
    for header in [0, 64] {
        newer[header + 8] = 9;
        let crc = crc32c::crc32c(&newer[header..header + 60]);
        newer[header + 60..header + 64].copy_from_slice(&crc.to_le_bytes());
    }
    fs::write(&segment, &newer).unwrap();
    for said in said(&config) {
        assert!(said.contains("is of format version 9") && said.contains("run the newer one"), "{said}");
    }
    assert_eq!(fs::read(&segment).unwrap(), newer, "nothing is touched");
    fs::write(&segment, sound).unwrap();
    fs::write(dir.join("frames").join("notes.txt"), "mine").unwrap();
    for said in said(&config) {
        assert!(said.contains("holds notes.txt, which fedgate did not write"), "{said}");
    }
    fs::remove_file(dir.join("frames").join("notes.txt")).unwrap();
    fs::remove_dir_all(dir.join("recorded")).unwrap();
    fs::rename(dir.join("frames"), dir.join("recorded")).unwrap();
    for said in said(&config) {
        assert!(said.contains("belongs to") && said.contains("check the configured directory"), "{said}");
    }
}
