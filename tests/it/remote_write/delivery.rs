//! From an exporter through collector, gateway and journal to a receiver, by the real program: what arrives, and that nothing is
//! missing whatever happens in between.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::receiver::{Mood, Receiver, Request};
use crate::site::http::{self, Answer, percent_encoded};
use crate::site::prometheus::{has_peer, has_program};
use crate::site::{Process, Site, free_port, wait_for};

/// An exporter whose value is the number of the scrape.
fn exporter() -> u16 {
    let count = AtomicU64::new(0);
    http::serve(move |_| {
        let number = count.fetch_add(1, Ordering::Relaxed) + 1;
        let body = format!("# HELP test_value Of the test.\n# TYPE test_value gauge\ntest_value {number}\n");
        Answer { status: 200, content_type: "text/plain; version=0.0.4", body: body.into() }
    })
}

const RULES: &str = "groups:
  - name: g
    interval: 1s
    rules:
      - record: cluster:value
        expr: sum by (cluster) (test_value)
      - record: site:value
        expr: sum(test_value)
";

/// A gateway that sends to `url`, and a collector that pushes to it.
struct Scene {
    site: Site,
    config: PathBuf,
    gateway: Option<Process>,
    _collector: Process,
}

impl Scene {
    fn new(url: &str, more: &str) -> Scene {
        let site = Site::new();
        site.write("rules.yml", RULES);
        let config = site.gateway_config(&["alpha"], &extra(url, more));
        site.issue("alpha");
        let jobs = format!("  - job_name: test\n    static_configs: [{{targets: ['127.0.0.1:{}']}}]\n", exporter());
        let gateway = Some(site.start_gateway(&config));
        let collector = site.start_collector(&site.collector_config("alpha", &jobs));
        Scene { site, config, gateway, _collector: collector }
    }

    /// `kill -9`, and another start.
    fn kill_gateway(&mut self) {
        self.gateway.take().expect("it runs").kill();
        self.gateway = Some(self.site.start_gateway(&self.config));
    }

    /// One of the gateway's own metrics, added up over its series.
    fn own(&self, name: &str) -> f64 {
        self.site.own(name, &[])
    }
}

fn extra(url: &str, more: &str) -> String {
    format!(
        "rule_files: [rules.yml]\nglobal: {{external_labels: {{replica: one}}}}\njournal: {{dir: journal, commit_interval: 0s}}\n\
         remote_write:\n  - name: test\n    url: {url}\n{more}"
    )
}

/// Values of `test_value` by time, as they were taken; a sample that came twice is the same both times, and in between nothing older
/// comes for the first time.
pub(super) fn values(taken: &[Request]) -> Vec<u64> {
    let mut seen: BTreeMap<i64, u64> = BTreeMap::new();
    for series in taken.iter().flat_map(Request::series).filter(|one| one.name() == "test_value") {
        let (bits, at) = series.sample();
        match seen.get(&at) {
            Some(known) => assert_eq!(*known, bits, "another value at {at}"),
            None => {
                let newest = seen.last_key_value().map_or(i64::MIN, |(newest, _)| *newest);
                assert!(at > newest, "{at} for the first time after {newest}");
                seen.insert(at, bits);
            }
        }
    }
    seen.into_values().map(|bits| f64::from_bits(bits) as u64).collect()
}

pub(super) fn assert_no_gap(values: &[u64]) {
    let first = *values.first().expect("some values");
    assert_eq!(values, (first..first + values.len() as u64).collect::<Vec<_>>());
}

#[test]
fn everything_arrives_in_order_through_refusals_and_kills() {
    let receiver = Receiver::start(Mood::Takes);
    let mut scene = Scene::new(&receiver.url(), "    headers: {X-Scope-OrgID: 'hpc-{{cluster}}'}\n");
    wait_for("some samples", || (values(&receiver.taken()).len() >= 3).then_some(()));
    receiver.set_mood(Mood::Refuses(503));
    scene.kill_gateway();
    std::thread::sleep(Duration::from_secs(2));
    scene.kill_gateway();
    receiver.set_mood(Mood::Refuses(401));
    std::thread::sleep(Duration::from_secs(1));
    wait_for("the refusal to be shown", || (scene.own("fedgate_remote_write_refused") > 0.0).then_some(()));
    receiver.set_mood(Mood::Takes);
    let before = values(&receiver.taken()).len();
    wait_for("what waited", || (values(&receiver.taken()).len() >= before + 6).then_some(()));

    let taken = receiver.taken();
    assert_no_gap(&values(&taken));
    for request in receiver.requests() {
        assert_eq!(request.header("content-encoding"), "snappy");
        assert_eq!(request.header("x-prometheus-remote-write-version"), "2.0.0");
        assert!(request.is_v2(), "{:?}", request.headers);
        assert!(request.header("user-agent").starts_with("fedgate/"));
        let series = request.series();
        assert!(series.iter().all(|one| one.label("replica") == "one"));
        if request.header("x-scope-orgid").is_empty() {
            assert!(series.iter().all(|one| one.name() == "site:value"), "of no cluster: {series:?}");
            continue;
        }
        assert_eq!(request.header("x-scope-orgid"), "hpc-alpha");
        assert!(series.iter().all(|one| one.label("cluster") == "alpha"));
        assert!(series.iter().all(|one| one.label("environment") == "test"), "the inventory's, on recorded ones too");
    }
    assert!(receiver.requests().iter().any(|request| !request.header("retry-attempt").is_empty()));
    let names: std::collections::BTreeSet<String> =
        taken.iter().flat_map(Request::series).map(|one| one.name().to_owned()).collect();
    for name in ["test_value", "up", "scrape_duration_seconds", "cluster:value", "site:value"] {
        assert!(names.contains(name), "{name} among {names:?}");
    }
    let lost = scene.own("fedgate_remote_write_samples_dropped_total");
    assert_eq!((lost, scene.own("fedgate_remote_write_journal_lost_bytes_total")), (0.0, 0.0));
    assert!(scene.own("fedgate_remote_write_samples_total") > 0.0);
    let exit = scene.gateway.as_mut().expect("it runs").terminate(Duration::from_secs(20));
    assert_eq!(exit, Some(0));
}

#[test]
fn a_receiver_of_1_0_gets_1_0_and_metadata() {
    let receiver = Receiver::start(Mood::TakesAsV1);
    let more = "    metadata_config: {send_interval: 1s}\n";
    let scene = Scene::new(&receiver.url(), more);
    let of_v1 = || receiver.taken().into_iter().filter(|request| !request.is_v2()).collect::<Vec<_>>();
    wait_for("some samples", || (values(&of_v1()).len() >= 4).then_some(()));
    let requests = receiver.requests();
    assert!(requests[0].is_v2() && !requests[1].is_v2(), "it is asked once");
    assert_eq!(requests[0].series().len(), requests[1].series().len(), "and the same is sent again");
    assert!(requests[1..].iter().all(|request| !request.is_v2()));
    assert!(requests[1..].iter().all(|request| {
        request.header("x-prometheus-remote-write-version") == "0.1.0"
            && request.header("content-type") == "application/x-protobuf"
    }));
    assert_no_gap(&values(&of_v1()));
    let told = wait_for("metadata", || of_v1().iter().find_map(|request| request.metadata().remove("test_value")));
    assert_eq!(told, (2, "Of the test.".to_owned()));
    drop(scene);
}

#[test]
fn a_reload_adds_changes_and_removes_endpoints() {
    let (first, second) = (Receiver::start(Mood::Takes), Receiver::start(Mood::Takes));
    let scene = Scene::new(&first.url(), "");
    wait_for("some samples", || (values(&first.taken()).len() >= 2).then_some(()));
    let both = format!("    send_exemplars: true\n  - name: other\n    url: {}\n", second.url());
    scene.site.gateway_config(&["alpha"], &extra(&first.url(), &both));
    scene.gateway.as_ref().expect("it runs").signal("HUP");
    wait_for("samples at the new one", || (values(&second.taken()).len() >= 2).then_some(()));
    let before = values(&first.taken()).len();
    wait_for("samples at the changed one", || (values(&first.taken()).len() >= before + 2).then_some(()));
    assert_no_gap(&values(&first.taken()));
    scene.site.gateway_config(&["alpha"], &extra(&first.url(), ""));
    scene.gateway.as_ref().expect("it runs").signal("HUP");
    wait_for("the endpoint to be forgotten", || {
        let page = scene.site.get("/metrics/self").1;
        (!page.contains("endpoint=\"other\"")).then_some(())
    });
    assert_no_gap(&values(&second.taken()));
}

/// A database that can be started again where it was.
struct Database {
    port: u16,
    command: Vec<String>,
    process: Option<Process>,
}

impl Database {
    fn start(site: &Path, program: &str, arguments: impl Fn(u16, &str) -> Vec<String>) -> Database {
        let port = free_port();
        let folder = site.join(format!("{program}-{port}")).display().to_string();
        let command = [vec![program.to_owned()], arguments(port, &folder)].concat();
        let mut database = Database { port, command, process: None };
        database.restart();
        database
    }

    fn restart(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.terminate(Duration::from_secs(30));
        }
        let mut command = Command::new(&self.command[0]);
        self.process = Some(Process::start("database", command.args(&self.command[1..])));
        let port = self.port;
        wait_for("the database", || (http::get(port, "/api/v1/query?query=1").0 == 200).then_some(()));
    }

    fn result(&self, expression: &str) -> Value {
        let (_, body) = http::get(self.port, &format!("/api/v1/query?query={}", percent_encoded(expression)));
        serde_json::from_str::<Value>(&body).map(|answer| answer["data"]["result"].clone()).unwrap_or_default()
    }

    /// The values of `test_value`, in order of time.
    fn values(&self) -> Vec<u64> {
        let result = self.result("test_value[1h]");
        let values = result[0]["values"].as_array().cloned().unwrap_or_default();
        values.iter().filter_map(|pair| pair[1].as_str()?.parse::<f64>().ok()).map(|value| value as u64).collect()
    }
}

/// Sends to a database that is started again in the middle, while the gateway is killed, too.
fn deliver_to(database: &mut Database, url: &str, more: &str) {
    let mut scene = Scene::new(url, more);
    wait_for("some samples", || (database.values().len() >= 3).then_some(()));
    database.restart();
    let before = database.values().len();
    wait_for("samples after the restart", || (database.values().len() >= before + 3).then_some(()));
    scene.kill_gateway();
    let before = database.values().len();
    wait_for("samples after the kill", || (database.values().len() >= before + 3).then_some(()));
    assert_no_gap(&database.values());
    assert_eq!(scene.own("fedgate_remote_write_samples_dropped_total"), 0.0);
    let labels = &database.result("test_value")[0]["metric"];
    assert_eq!((labels["cluster"].as_str(), labels["replica"].as_str()), (Some("alpha"), Some("one")), "{labels}");
    assert!(database.result("cluster:value")[0]["value"][1].is_string(), "recorded series are there");
}

fn prometheus(site: &Path) -> Database {
    let config = site.join("prometheus.yml");
    let text = "storage: {tsdb: {out_of_order_time_window: 48h}}\n";
    std::fs::write(&config, text).expect("the folder can be written");
    Database::start(site, "prometheus", move |port, folder| {
        vec![
            format!("--config.file={}", config.display()),
            format!("--storage.tsdb.path={folder}"),
            format!("--web.listen-address=127.0.0.1:{port}"),
            "--web.enable-remote-write-receiver".to_owned(),
        ]
    })
}

#[test]
fn prometheus_takes_every_sample_of_both_versions_through_restarts() {
    if !has_peer("prometheus", "3.5") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    for more in ["", "    protobuf_message: prometheus.WriteRequest\n"] {
        let mut database = prometheus(folder.path());
        let url = format!("http://127.0.0.1:{}/api/v1/write", database.port);
        deliver_to(&mut database, &url, more);
    }
}

#[test]
fn victoria_metrics_takes_every_sample_through_a_restart() {
    if !has_program("victoria-metrics") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut database = Database::start(folder.path(), "victoria-metrics", |port, folder| {
        vec![
            format!("-storageDataPath={folder}"),
            format!("-httpListenAddr=127.0.0.1:{port}"),
            "-search.latencyOffset=0s".to_owned(),
            "-inmemoryDataFlushInterval=1s".to_owned(),
            // It keeps a sample that is sent twice twice, unless told otherwise.
            "-dedup.minScrapeInterval=1ms".to_owned(),
        ]
    });
    let url = format!("http://127.0.0.1:{}/api/v1/write", database.port);
    deliver_to(&mut database, &url, "");
}
