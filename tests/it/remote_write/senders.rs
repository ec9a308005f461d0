//! The real senders at the push listener of the real program, instead of a collector: what of an exporter stands on `/federate`, and that
//! no value is missing behind the gateway, whatever happens in between.
//!
//! What the gateway took is read where it is exact: at a receiver that the gateway itself writes everything to.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fedgate::model::STALE_NAN;

use super::delivery::{assert_no_gap, values};
use super::receiver::{Mood, Receiver, Request};
use crate::site::http::{self, Answer};
use crate::site::prometheus::{global, has_peer, has_program};
use crate::site::{Process, Site, free_port, wait_at_most, wait_for};

/// An exporter whose `test_value` steps by one with each page, from another number on for each path.
struct Exporter {
    port: u16,
    served: Arc<Mutex<HashMap<String, u64>>>,
}

/// First values of the paths that an HA pair scrapes.
const OF_B: u64 = 1_000_000;

impl Exporter {
    fn start() -> Exporter {
        let served: Arc<Mutex<HashMap<String, u64>>> = Arc::default();
        let own = served.clone();
        let port = http::serve(move |path| {
            let mut served = own.lock().expect("no panic while it is held");
            let value = served.entry(path.to_owned()).or_insert(if path == "/b" { OF_B } else { 0 });
            *value += 1;
            let body = format!(
                "# HELP test_value Of the test.\n# TYPE test_value gauge\ntest_value {value}\n\
                 # TYPE test_fixed gauge\ntest_fixed{{kind=\"one\"}} 42.5\ntest_fixed{{kind=\"two\"}} -Inf\n"
            );
            Answer { status: 200, content_type: "text/plain; version=0.0.4", body: body.into() }
        });
        Exporter { port, served }
    }

    /// The newest value of a path.
    fn value(&self, path: &str) -> u64 {
        self.served.lock().expect("no panic while it is held").get(path).copied().unwrap_or_default()
    }

    fn scrape_configs(&self, path: &str) -> String {
        format!(
            "  - job_name: test\n    metrics_path: {path}\n    static_configs: [{{targets: ['127.0.0.1:{}']}}]\n",
            self.port
        )
    }
}

/// A gateway with a journal that writes to `receiver` what real senders write to it.
struct Scene {
    site: Site,
    config: PathBuf,
    gateway: Option<Process>,
    receiver: Receiver,
    exporter: Exporter,
}

impl Scene {
    /// `extra` goes on where alpha's entry in the inventory ends.
    fn new(extra: &str) -> Scene {
        let (site, receiver) = (Site::new(), Receiver::start(Mood::Takes));
        site.issue("alpha");
        let journal = "journal: {dir: journal, commit_interval: 0s}\n";
        let out = format!("{extra}{journal}remote_write: [{{name: test, url: '{}'}}]\n", receiver.url());
        let config = site.gateway_config(&["alpha"], &out);
        let gateway = Some(site.start_gateway(&config));
        Scene { site, config, gateway, receiver, exporter: Exporter::start() }
    }

    fn url(&self) -> String {
        format!("https://127.0.0.1:{}/api/v1/write", self.site.push_port)
    }

    /// Starts a Prometheus agent that scrapes `path` and writes with alpha's certificate; `more` are keys of its endpoint.
    fn start_agent(&self, name: &str, path: &str, external_labels: &str, more: &str) -> Process {
        let (ca, url, scraped) = (self.site.ca(), self.url(), self.exporter.scrape_configs(path));
        let text = format!(
            "global:\n{}{external_labels}scrape_configs:\n{scraped}remote_write:\n  - url: {url}\n    tls_config: {{ca_file: \
             {ca}/ca.pem, cert_file: {ca}/collector-alpha.pem, key_file: {ca}/collector-alpha.key}}\n{more}",
            global(1)
        );
        let (config, port) = (self.site.write(&format!("{name}.yml"), &text), free_port());
        let mut command = Command::new("prometheus");
        command.arg("--agent").arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.agent.path={}", self.site.path(name).display()));
        let process = Process::start("agent", command.arg(format!("--web.listen-address=127.0.0.1:{port}")));
        wait_for("the agent to be ready", || (http::get(port, "/-/ready").0 == 200).then_some(()));
        process
    }

    fn start_vmagent(&self) -> Process {
        let (ca, folder) = (self.site.ca(), self.site.path("vmagent"));
        let scraped = format!("global:\n{}scrape_configs:\n{}", global(1), self.exporter.scrape_configs("/metrics"));
        let config = self.site.write("vmagent.yml", &scraped);
        let mut command = Command::new("vmagent");
        command.arg(format!("-promscrape.config={}", config.display()));
        command.arg(format!("-remoteWrite.url={}", self.url()));
        command.arg(format!("-remoteWrite.tlsCAFile={ca}/ca.pem"));
        command.arg(format!("-remoteWrite.tlsCertFile={ca}/collector-alpha.pem"));
        command.arg(format!("-remoteWrite.tlsKeyFile={ca}/collector-alpha.key"));
        command.arg(format!("-remoteWrite.tmpDataPath={}", folder.display()));
        // With more than one its requests overtake each other after an outage.
        command.args(["-remoteWrite.queues=1", "-remoteWrite.retryMaxInterval=2s"]);
        Process::start("vmagent", command.arg(format!("-httpListenAddr=127.0.0.1:{}", free_port())))
    }

    /// Waits until so many values of `test_value` came out behind the gateway.
    fn wait_for_values(&self, least: usize) {
        wait_for("values behind the gateway", || (values(&self.receiver.taken()).len() >= least).then_some(()));
    }

    /// The samples of `/federate` by name: series and value.
    fn federated(&self, name: &str) -> Vec<(String, f64)> {
        let page = self.site.federate(name);
        let samples = page.lines().filter(|line| !line.starts_with('#'));
        let sample = |line: &str| {
            let mut words = line.split(' ');
            Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
        };
        samples.map(|line| sample(line).unwrap_or_else(|| panic!("a sample: {line}"))).collect()
    }

    fn assert_exporter_is_shown(&self) {
        let instance = format!("instance=\"127.0.0.1:{}\",job=\"test\"", self.exporter.port);
        let stamped = "cluster=\"alpha\",environment=\"test\"";
        let fixed = |kind: &str, value: f64| (format!("test_fixed{{{instance},kind=\"{kind}\",{stamped}}}"), value);
        let fixed = [fixed("one", 42.5), fixed("two", f64::NEG_INFINITY)];
        wait_for("the series that do not change", || {
            let mut shown = self.federated("test_fixed");
            shown.sort_by(|one, other| one.0.cmp(&other.0));
            (shown == fixed && self.federated("up") == [(format!("up{{{instance},{stamped}}}"), 1.0)]).then_some(())
        });
        let seen = self.exporter.value("/metrics");
        let series = format!("test_value{{{instance},{stamped}}}");
        wait_for("the exporter's value of this moment", || {
            let shown = self.federated("test_value");
            assert!(shown.iter().all(|(own, _)| *own == series), "{shown:?}");
            let value = shown.first()?.1 as u64;
            assert!(value <= self.exporter.value("/metrics"), "{value} was never served");
            (value >= seen).then_some(())
        });
    }

    /// No sample of what was sent was dropped, and no request refused but for the reasons in `expected`.
    fn assert_nothing_was_refused(&self, expected: &[&str]) {
        let page = self.site.get("/metrics/self").1;
        for name in ["fedgate_push_dropped_samples_total{", "fedgate_push_refused_total{"] {
            let is_expected = |line: &str| expected.iter().any(|reason| line.contains(&format!("reason=\"{reason}\"")));
            let refused: Vec<_> = page.lines().filter(|line| line.starts_with(name) && !is_expected(line)).collect();
            assert!(refused.is_empty(), "{refused:#?}");
        }
    }

    /// The gateway is killed, is away for some scrapes, and comes again.
    fn kill_gateway(&mut self) {
        self.gateway.take().expect("it runs").kill();
        let seen = self.exporter.value("/metrics");
        wait_for("scrapes while it is away", || (self.exporter.value("/metrics") >= seen + 3).then_some(()));
        self.gateway = Some(self.site.start_gateway(&self.config));
    }

    /// What every sender must bring about; `expected` are reasons for which requests may be refused.
    fn follow(&mut self, expected: &[&str]) {
        self.wait_for_values(3);
        self.assert_exporter_is_shown();
        self.assert_nothing_was_refused(expected);
        self.kill_gateway();
        let before = values(&self.receiver.taken()).len();
        self.wait_for_values(before + 12);
        self.assert_exporter_is_shown();
        self.assert_nothing_was_refused(expected);
        assert_no_gap(&values(&self.receiver.taken()));
        let taken = self.receiver.taken();
        let stamped = |request: &Request| request.series().iter().all(|one| one.label("cluster") == "alpha");
        assert!(taken.iter().all(stamped), "everything stands under the certificate's cluster");
    }

    /// The sender is gone: the cluster is said to be silent, and then its series end, here and behind.
    fn see_silence(&self) {
        let fact = |name: &str| self.federated(name).first().map(|(_, value)| *value);
        wait_for("silence to be told", || {
            let facts = [fact("fedgate_collector_up"), fact("fedgate_cluster_up")];
            (facts == [Some(0.0), Some(0.0)]).then_some(())
        });
        assert_eq!(self.federated("test_value").len(), 1, "for a minute the last value stays");
        wait_at_most(Duration::from_secs(120), "the end of the series", || {
            (self.federated("test_value").is_empty() && self.federated("up").is_empty()).then_some(())
        });
        wait_for("the marker behind the gateway", || {
            let taken = self.receiver.taken();
            let mut of_value = taken.iter().flat_map(Request::series).filter(|one| one.name() == "test_value");
            (of_value.next_back()?.sample().0 == STALE_NAN).then_some(())
        });
    }
}

#[test]
fn a_prometheus_agent_writes_1_0_in_parts_and_nothing_is_lost_by_a_kill() {
    if !has_peer("prometheus", "3.5") {
        return;
    }
    let mut scene = Scene::new("");
    let more = "    protobuf_message: prometheus.WriteRequest\n    metadata_config: {send_interval: 1s}\n    \
                queue_config: {batch_send_deadline: 100ms, min_shards: 4, max_shards: 4}\n";
    let _agent = scene.start_agent("agent", "/metrics", "", more);
    scene.follow(&[]);
    let told = |page: &str| page.contains("# HELP test_value Of the test.\n# TYPE test_value gauge\n");
    wait_for("the family's metadata", || told(&scene.site.get("/metrics").1).then_some(()));
}

#[test]
fn a_prometheus_agent_writes_2_0_several_scrapes_at_once_and_its_series_end_after_it() {
    if !has_peer("prometheus", "3.5") {
        return;
    }
    let mut scene = Scene::new("");
    let more = "    protobuf_message: io.prometheus.write.v2.Request\n    queue_config: {batch_send_deadline: 3s}\n";
    let agent = scene.start_agent("agent", "/metrics", "", more);
    scene.follow(&[]);
    agent.kill();
    scene.see_silence();
}

#[test]
fn vmagent_falls_back_to_snappy_and_nothing_is_lost_by_a_kill() {
    if !has_program("vmagent") {
        return;
    }
    let mut scene = Scene::new("");
    let _vmagent = scene.start_vmagent();
    wait_for("its attempt with zstd", || {
        let labels = ["cluster=\"alpha\"", "reason=\"content_encoding\""];
        (scene.site.own("fedgate_push_refused_total", &labels) >= 1.0).then_some(())
    });
    scene.follow(&["content_encoding"]);
}

#[test]
fn of_an_ha_pair_each_sample_comes_once_and_the_other_takes_over() {
    if !has_peer("prometheus", "3.5") {
        return;
    }
    let scene = Scene::new("      ha_replica_label: __replica__\n");
    let start = |name: &str| {
        let labels = format!("  external_labels: {{__replica__: {name}}}\n");
        scene.start_agent(name, &format!("/{name}"), &labels, "    queue_config: {batch_send_deadline: 100ms}\n")
    };
    let is_of_b = |value: &u64| *value > OF_B;
    let a = start("a");
    scene.wait_for_values(1);
    let _b = start("b");
    let left_out = || {
        let labels = ["cluster=\"alpha\"", "reason=\"deduplicated\""];
        scene.site.own("fedgate_push_dropped_samples_total", &labels)
    };
    wait_for("samples of the other to be left out", || (left_out() > 20.0).then_some(()));
    let before = values(&scene.receiver.taken()).len();
    scene.wait_for_values(before + 3);
    assert_eq!(scene.federated("test_value").len(), 1, "one series, not one a replica");
    assert!(!values(&scene.receiver.taken()).iter().any(is_of_b), "of the other nothing was taken");
    a.kill();
    wait_for("the other to be taken", || {
        let of_b = values(&scene.receiver.taken()).into_iter().filter(is_of_b).count();
        (of_b >= 4).then_some(())
    });
    let taken = scene.receiver.taken();
    let (of_a, of_b): (Vec<u64>, Vec<u64>) = values(&taken).into_iter().partition(|value| !is_of_b(value));
    assert_no_gap(&of_a);
    assert_no_gap(&of_b);
    assert!(values(&taken).is_sorted(), "first all of the one, then all of the other");
    let labels = taken.iter().flat_map(Request::series).map(|one| one.label("__replica__").to_owned());
    assert!(labels.into_iter().all(|replica| replica.is_empty()), "the replica's label is dropped");
    scene.assert_nothing_was_refused(&["deduplicated"]);
}
