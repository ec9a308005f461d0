//! The real Prometheus 3.5, as a client of fedgate and as the measure of what it should have seen.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use super::http::{self, percent_encoded};
use super::{Process, Site, free_port, wait_for};

/// A label set as text pairs, sorted by name.
pub(crate) type LabelSet = BTreeMap<String, String>;

/// A running Prometheus.
pub(crate) struct Prometheus {
    pub(crate) port: u16,
    process: Process,
}

/// Whether `program` is on PATH and says it is `version`. Prints why not; where the environment variable
/// FEDGATE_REQUIRE_PEERS is set (as in CI) a missing peer is a failure.
pub(crate) fn has_peer(program: &str, version: &str) -> bool {
    let output = Command::new(program).arg("--version").output();
    let said = output.as_ref().map(|output| {
        let text = [&output.stdout[..], &output.stderr[..]].concat();
        String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned()
    });
    let reason = match said {
        Ok(line) if line.contains(&format!("version {version}")) => return true,
        Ok(line) => format!("{program} is not version {version}: {line}"),
        Err(error) => format!("{program} is not on PATH: {error}"),
    };
    skip(&reason)
}

/// The same for a program that does not say its version.
pub(crate) fn has_program(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output();
    found.is_ok() || skip(&format!("{program} is not on PATH"))
}

fn skip(reason: &str) -> bool {
    assert!(std::env::var_os("FEDGATE_REQUIRE_PEERS").is_none(), "{reason}");
    println!("skipped: {reason}");
    false
}

/// The `global` lines of one that scrapes every so many seconds.
pub(crate) fn global(seconds: u64) -> String {
    format!("  scrape_interval: {seconds}s\n  scrape_timeout: {seconds}s\n")
}

impl Prometheus {
    /// Starts one with these scrape_configs, scraping every second, and waits until it is ready.
    pub(crate) fn start(site: &Site, name: &str, scrape_configs: &str) -> Prometheus {
        Prometheus::start_with(site, name, scrape_configs, &[])
    }

    /// The same with further arguments.
    pub(crate) fn start_with(site: &Site, name: &str, scrape_configs: &str, arguments: &[&str]) -> Prometheus {
        Prometheus::start_global(site, name, &global(1), scrape_configs, arguments)
    }

    /// Starts one that scrapes at `pace` and logs every sample that it refuses.
    pub(crate) fn start_verbose(site: &Site, name: &str, pace: Duration, scrape_configs: &str) -> Prometheus {
        Prometheus::start_global(site, name, &global(pace.as_secs()), scrape_configs, &["--log.level=debug"])
    }

    /// Starts one with these lines in its `global` section.
    pub(crate) fn start_global(
        site: &Site,
        name: &str,
        global: &str,
        scrape_configs: &str,
        arguments: &[&str],
    ) -> Prometheus {
        let port = free_port();
        let text = format!("global:\n{global}scrape_configs:\n{scrape_configs}");
        let config = site.write(&format!("{name}.yml"), &text);
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", site.path(name).display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}")).args(arguments);
        let process = Process::start("prometheus", &mut command);
        wait_for("Prometheus to be ready", || (http::get(port, "/-/ready").0 == 200).then_some(()));
        Prometheus { port, process }
    }

    /// The lines that it logged since they were taken last.
    pub(crate) fn take_log(&self) -> Vec<String> {
        self.process.take_output()
    }

    /// An instant query now: label set to value, both as Prometheus writes them.
    pub(crate) fn query(&self, expression: &str) -> BTreeMap<LabelSet, String> {
        let value = |series: serde_json::Value| series["value"][1].as_str().expect("a value").to_owned();
        self.vector(expression).into_iter().map(|(labels, series)| (labels, value(series))).collect()
    }

    /// The same with each series as the API has it, native histograms too.
    pub(crate) fn vector(&self, expression: &str) -> BTreeMap<LabelSet, serde_json::Value> {
        let (status, body) = http::get(self.port, &format!("/api/v1/query?query={}", percent_encoded(expression)));
        assert_eq!(status, 200, "{body}");
        let answer: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        answer["data"]["result"]
            .as_array()
            .expect("a vector")
            .iter()
            .map(|series| (serde_json::from_value(series["metric"].clone()).expect("labels"), series.clone()))
            .collect()
    }

    /// The one value of an expression, if it has one.
    pub(crate) fn value(&self, expression: &str) -> Option<String> {
        self.query(expression).into_values().next()
    }

    /// Its own metric, read from its page.
    pub(crate) fn own_metric(&self, name: &str) -> f64 {
        let page = http::get(self.port, "/metrics").1;
        let line = page.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name} is on the page"));
        line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
    }
}
