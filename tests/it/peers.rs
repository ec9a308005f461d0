//! End to end with the real programs: what a Prometheus gets through fedgate equals what it gets by scraping itself.
//!
//! Two Prometheus servers stand beside each other. One scrapes the pages directly; the other scrapes only the gateway, to
//! which a collector of another process pushes the same pages over mTLS.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::site::pages::{Pages, STEP_SERIES};
use super::site::prometheus::{LabelSet, Prometheus, has_peer};
use super::site::{Process, Site, free_port, http, wait_for};
use super::soak::{self, Plan};

/// Families whose values are measurements of the scraping itself, so they differ between two scrapers.
const MEASURED: [&str; 1] = ["scrape_duration_seconds"];

/// Series of the second Prometheus that speak of its own scrape of the gateway, or of fedgate itself.
fn is_foreign(labels: &LabelSet) -> bool {
    let is = |label: &str, value: &str| labels.get(label).is_some_and(|own| own == value);
    is("job", "fedgate") || is("job", "fedgate-collector") || labels["__name__"].starts_with("fedgate_")
}

/// The documented jobs, at a test's pace.
fn fedgate_job(site: &Site, path: &str, keys: &str) -> String {
    format!(
        "  - job_name: fedgate\n    honor_labels: true\n    metrics_path: {path}\n{keys}    static_configs:\n      - targets: \
         [\"127.0.0.1:{}\"]\n",
        site.http_port
    )
}

const FEDERATE: &str = "    track_timestamps_staleness: true\n    params:\n      'match[]': ['{__name__=~\".+\"}']\n";
const PROTOBUF: &str = "    scrape_protocols: [PrometheusProto]\n";

fn federate_job(site: &Site) -> String {
    fedgate_job(site, "/federate", FEDERATE)
}

/// Removes exactly `cluster` and `environment`, which must be alpha's.
fn without_cluster(mut labels: LabelSet) -> LabelSet {
    assert_eq!(labels.remove("cluster").as_deref(), Some("alpha"), "{labels:?}");
    assert_eq!(labels.remove("environment").as_deref(), Some("test"), "{labels:?}");
    labels
}

/// What the inventory's `on_label_conflict: rename` makes of a page's own `cluster`; the same name is no conflict.
fn with_conflict_renamed(mut labels: LabelSet) -> LabelSet {
    if let Some(own) = labels.remove("cluster").filter(|own| own != "alpha") {
        labels.insert("exported_cluster".to_owned(), own);
    }
    labels
}

fn direct_series(prometheus: &Prometheus) -> BTreeMap<LabelSet, String> {
    let all = prometheus.query("{__name__=~\".+\"}");
    all.into_iter().map(|(labels, value)| (with_conflict_renamed(labels), value)).collect()
}

/// Whether two values are one: equal as Prometheus writes them, or both zero. `/federate` writes -0 as `0`, as Prometheus's
/// own does, so the sign of a zero is lost on that way.
fn is_same(one: &str, other: &str) -> bool {
    one == other || (one.parse() == Ok(0.0) && other.parse() == Ok(0.0))
}

fn federated_series(prometheus: &Prometheus) -> BTreeMap<LabelSet, String> {
    let all = prometheus.query("{__name__=~\".+\"}");
    all.into_iter()
        .filter(|(labels, _)| !is_foreign(labels))
        .map(|(labels, value)| (without_cluster(labels), value))
        .collect()
}

/// Everything that differs, written for a person; empty when all is equal.
fn differences(direct: &BTreeMap<LabelSet, String>, federated: &BTreeMap<LabelSet, String>) -> Vec<String> {
    let measured = |labels: &LabelSet| MEASURED.contains(&labels["__name__"].as_str());
    let mut found = Vec::new();
    for (labels, value) in direct {
        match federated.get(labels) {
            None => found.push(format!("missing through fedgate: {labels:?}")),
            Some(other) if !is_same(value, other) && !measured(labels) => {
                found.push(format!("{labels:?}: {value} but {other}"))
            }
            Some(_) => {}
        }
    }
    found.extend(
        federated.keys().filter(|labels| !direct.contains_key(*labels)).map(|labels| format!("invented: {labels:?}")),
    );
    found
}

/// Waits until both servers have every page at `step`.
fn wait_for_step(step: usize, pages: usize, servers: &[&Prometheus]) {
    for server in servers {
        wait_for(&format!("step {step} to arrive"), || {
            let arrived = server.value(&format!("count({STEP_SERIES} == {step})"))?;
            (arrived == pages.to_string()).then_some(())
        });
    }
}

/// Compares until both are equal: each server's newest scrape may be the other's last but one for a moment.
fn assert_equal(direct: &Prometheus, federated: &Prometheus) {
    let mut last = Vec::new();
    for _ in 0..20 {
        let series = direct_series(direct);
        assert!(series.len() > 100, "the pages were scraped");
        last = differences(&series, &federated_series(federated));
        if last.is_empty() {
            return;
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    panic!("{} differences, the first:\n{}", last.len(), last[..last.len().min(20)].join("\n"));
}

#[test]
fn prometheus_gets_through_fedgate_what_it_gets_by_itself() {
    if !has_peer("prometheus", "3.5.") {
        return;
    }
    let pages = Pages::serve(&[
        ("node", &["node_exporter-1.11.1.prom"]),
        ("slurm_nodes", &["slurm-native-nodes.prom"]),
        ("sckyzo", &["sckyzo-1.8-alpha.om"]),
        ("python", &["prometheus_client-slurmlike.om"]),
        ("edge", &["edge-cases.prom"]),
        ("replayed", &["slurm-native-jobs-users-accts.prom", "slurm-native-jobs.prom", "jontk-0.1.0-alpha.prom"]),
    ]);
    let site = Site::new();
    site.issue("alpha");
    let _gateway = site.start_gateway(&site.gateway_config(&["alpha"], ""));
    let _collector = site.start_collector(&site.collector_config("alpha", &pages.scrape_configs("")));
    let direct = Prometheus::start(&site, "direct", &pages.scrape_configs(""));
    let federated = Prometheus::start(&site, "federated", &federate_job(&site));
    let typed = Prometheus::start(&site, "typed", &fedgate_job(&site, "/metrics", ""));
    let binary = [("/federate", format!("{FEDERATE}{PROTOBUF}")), ("/metrics", PROTOBUF.to_owned())];
    let [federated_binary, typed_binary] = binary.map(|(path, keys)| {
        Prometheus::start(&site, &format!("binary{}", path.replace('/', "-")), &fedgate_job(&site, path, &keys))
    });
    let readers = [&federated, &typed, &federated_binary, &typed_binary];
    for step in 0..3 {
        pages.go_to(step);
        wait_for_step(step, pages.names.len(), &[&direct]);
        wait_for_step(step, pages.names.len(), &readers);
        readers.iter().for_each(|reader| assert_equal(&direct, reader));
    }
    for reason in ["duplicate_timestamp", "out_of_order", "out_of_bounds"] {
        let refused = federated.own_metric(&format!("prometheus_target_scrapes_sample_{reason}_total"));
        assert_eq!(refused, 0.0, "samples refused by the reader: {reason}");
    }
}

#[test]
fn a_live_node_exporter_has_the_same_series_through_fedgate() {
    if !has_peer("prometheus", "3.5.") || !has_peer("node_exporter", "1.") {
        return;
    }
    let exporter_port = free_port();
    let _exporter = Process::start(
        "node_exporter",
        Command::new("node_exporter").arg(format!("--web.listen-address=127.0.0.1:{exporter_port}")),
    );
    wait_for("node_exporter to answer", || (http::get(exporter_port, "/metrics").0 == 200).then_some(()));
    let job = format!("  - job_name: node\n    static_configs:\n      - targets: [\"127.0.0.1:{exporter_port}\"]\n");
    let site = Site::new();
    site.issue("alpha");
    let _gateway = site.start_gateway(&site.gateway_config(&["alpha"], ""));
    let _collector = site.start_collector(&site.collector_config("alpha", &job));
    let direct = Prometheus::start(&site, "direct", &job);
    let federated = Prometheus::start(&site, "federated", &federate_job(&site));
    let label_sets = |series: BTreeMap<LabelSet, String>| series.into_keys().collect::<Vec<_>>();
    wait_for("the same label sets on both ways", || {
        let series = label_sets(direct_series(&direct));
        (series.len() > 300 && series == label_sets(federated_series(&federated))).then_some(())
    });
}

#[test]
fn federated_samples_keep_the_collectors_timestamps() {
    let pages = Pages::serve(&[("node", &["node_exporter-1.11.1.prom"])]);
    let site = Site::new();
    site.issue("alpha");
    let _gateway = site.start_gateway(&site.gateway_config(&["alpha"], ""));
    let _collector = site.start_collector(&site.collector_config("alpha", &pages.scrape_configs("")));
    let timestamps = |selector: &str| -> Option<Vec<i64>> {
        let body = site.federate(selector);
        let samples = body.lines().filter(|line| !line.starts_with('#'));
        let times: Vec<i64> =
            samples.map(|line| line.rsplit(' ').next().expect("a word").parse().expect("ms")).collect();
        (!times.is_empty()).then_some(times)
    };
    // One scrape has one timestamp: the scrape's start, whenever the gateway is asked.
    let times = wait_for("the target's series", || timestamps("{job=\"node\"}"));
    assert!(times.windows(2).all(|pair| pair[0] == pair[1]), "{times:?}");
    let now_ms = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis();
    assert!((now_ms as i64 - times[0]).abs() < 30_000, "{} is no scrape of a moment ago", times[0]);
}

/// What `promtool check metrics` says of a page: whether it parses, and the findings.
fn promtool_lint(page: &str) -> (Option<i32>, String) {
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool runs");
    child.stdin.take().expect("piped").write_all(page.as_bytes()).expect("promtool reads the page");
    let output = child.wait_with_output().expect("promtool ends");
    (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[test]
fn promtool_has_nothing_to_say_but_of_names_that_exporters_chose() {
    if !has_peer("promtool", "3.5.") {
        return;
    }
    let pages = Pages::serve(&[("node", &["node_exporter-1.11.1.prom"]), ("sckyzo", &["sckyzo-1.8-alpha.om"])]);
    let site = Site::new();
    site.issue("alpha");
    let _gateway = site.start_gateway(&site.gateway_config(&["alpha"], ""));
    let _collector = site.start_collector(&site.collector_config("alpha", &pages.scrape_configs("")));
    wait_for("the pages' series", || site.get("/metrics").1.contains("\nslurm_nodes_total{").then_some(()));
    wait_for("the collector's own series", || site.get("/metrics").1.contains("\nfedgate_collector_").then_some(()));
    assert_eq!(promtool_lint(&site.get("/metrics/self").1), (Some(0), String::new()));
    let (code, findings) = promtool_lint(&site.get("/metrics").1);
    assert!(matches!(code, Some(0 | 3)), "the page parses: {findings}");
    let of_ours: Vec<&str> = findings.lines().filter(|line| line.starts_with("fedgate_")).collect();
    assert!(of_ours.is_empty(), "{of_ours:?}");
    let of_form: Vec<&str> = findings.lines().filter(|line| line.contains("no help text")).collect();
    assert!(of_form.is_empty(), "{of_form:?}");
}

#[test]
fn restarts_and_flapping_series_cost_prometheus_at_most_a_sample_a_series() {
    if !has_peer("prometheus", "3.5.") {
        return;
    }
    let calm = (Duration::from_secs(6), Duration::from_secs(8));
    let (length, pace) = (Duration::from_secs(35), Duration::from_secs(1));
    let report = soak::run(&Plan { length, pace, clusters: 2, nodes: 3, calm, seed: 2, is_verbose: false });
    assert!(report.faults.is_empty(), "{}\n{}", report.faults.join("\n"), report.text);
}
