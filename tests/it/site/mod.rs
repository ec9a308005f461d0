//! A small site made of real processes: the program itself, its certificates, pages to scrape, and the peers.
//!
//! Everything listens on loopback ports that the kernel chose, lives in one temporary folder and ends with the test,
//! however the test ends.

pub(crate) mod alertmanager;
pub(crate) mod http;
pub(crate) mod pages;
pub(crate) mod process;
pub(crate) mod prometheus;
mod tls;

use std::ffi::OsString;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

pub(crate) use process::Process;

/// The built program.
pub(crate) const FEDGATE: &str = env!("CARGO_BIN_EXE_fedgate");

/// What is started: the built program, or the one that FEDGATE_PROGRAM names.
pub(crate) fn program() -> OsString {
    std::env::var_os("FEDGATE_PROGRAM").unwrap_or_else(|| FEDGATE.into())
}

/// How long a test waits for another process to get somewhere. Generous: CI machines are busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A loopback port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

/// Asks until `probe` has an answer; panics with `what` when patience ends.
pub(crate) fn wait_for<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    wait_at_most(PATIENCE, what, probe)
}

/// The same with another patience, for what takes long by design.
pub(crate) fn wait_at_most<T>(patience: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = probe() {
            return answer;
        }
        assert!(start.elapsed() < patience, "waited {patience:?} for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// One gateway with its folder, ports and certificates.
pub(crate) struct Site {
    folder: tempfile::TempDir,
    /// Interval of the collectors' scrapes and pushes.
    pace: Duration,
    pub(crate) push_port: u16,
    pub(crate) http_port: u16,
}

impl Site {
    /// Makes the private CA and the gateway's certificate; starts nothing.
    pub(crate) fn new() -> Site {
        Site::at_pace(Duration::from_secs(1))
    }

    /// The same with another interval of scrapes and pushes; whole seconds.
    pub(crate) fn at_pace(pace: Duration) -> Site {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let site = Site { folder, pace, push_port: free_port(), http_port: free_port() };
        let ca = site.ca();
        fedgate(&["certs", "init", &ca]);
        fedgate(&["certs", "gateway", &ca, "--host", "127.0.0.1", "--host", "localhost"]);
        site
    }

    /// A path inside the site's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The folder of the private CA.
    pub(crate) fn ca(&self) -> String {
        self.path("ca").display().to_string()
    }

    /// Issues a collector's certificate for `cluster`.
    pub(crate) fn issue(&self, cluster: &str) {
        fedgate(&["certs", "issue", &self.ca(), "--cluster", cluster]);
    }

    /// Writes a file into the folder and returns its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("the temporary folder can be written");
        path
    }

    /// The gateway's configuration for these clusters; `extra` is appended as it is.
    pub(crate) fn gateway_config(&self, clusters: &[&str], extra: &str) -> PathBuf {
        let inventory: String = clusters
            .iter()
            .map(|cluster| {
                format!(
                    "    - cluster: {cluster}\n      environment: test\n      expect_every: {}s\n      \
                     identities: [\"{}\"]\n",
                    self.pace.as_secs(),
                    identity(cluster)
                )
            })
            .collect();
        let ca = self.ca();
        let text = format!(
            "http:\n  listen: 127.0.0.1:{}\npush:\n  listen: 127.0.0.1:{}\n  tls_config:\n    cert_file: {ca}/gateway.pem\n    \
             key_file: {ca}/gateway.key\n    client_ca_file: {ca}/ca.pem\n    crl_file: {ca}/crl.pem\n  clusters:\n{inventory}{extra}",
            self.http_port, self.push_port
        );
        self.write("gateway.yml", &text)
    }

    /// A collector's configuration that scrapes and pushes at the site's pace.
    pub(crate) fn collector_config(&self, cluster: &str, scrape_configs: &str) -> PathBuf {
        let (ca, pace) = (self.ca(), self.pace.as_secs());
        let text = format!(
            "global:\n  scrape_interval: {pace}s\n  scrape_timeout: {pace}s\nhttp:\n  listen: 127.0.0.1:{}\npush:\n  \
             url: https://127.0.0.1:{}\n  tick: {pace}s\n  tls_config:\n    ca_file: {ca}/ca.pem\n    \
             cert_file: {ca}/collector-{cluster}.pem\n    key_file: {ca}/collector-{cluster}.key\nscrape_configs:\n{scrape_configs}",
            free_port(),
            self.push_port
        );
        self.write(&format!("collector-{cluster}.yml"), &text)
    }

    /// Starts the gateway and waits until it listens.
    pub(crate) fn start_gateway(&self, config: &Path) -> Process {
        let mut process = Process::start("gateway", Command::new(program()).args(["gateway", "--config"]).arg(config));
        wait_for("the gateway to listen", || {
            assert!(process.is_running(), "the gateway ended");
            (self.get("/-/healthy").0 == 200).then_some(())
        });
        process
    }

    /// Starts a collector.
    pub(crate) fn start_collector(&self, config: &Path) -> Process {
        Process::start("collector", Command::new(program()).args(["collector", "--config"]).arg(config))
    }

    /// GET from the readers' listener: status (0 while nobody listens) and body.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        http::get(self.http_port, path)
    }

    /// One of the gateway's own metrics, added up over its series that have all these labels.
    pub(crate) fn own(&self, name: &str, labels: &[&str]) -> f64 {
        let (_, page) = self.get("/metrics/self");
        let is_of = |line: &&str| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(['{', ' ']) && labels.iter().all(|label| rest.contains(label)))
        };
        page.lines().filter(is_of).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// POST to the push listener with the certificate of `cluster`.
    pub(crate) fn post_as(&self, cluster: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> http::Reply {
        let file = |name: &str| Path::new(&self.ca()).join(name);
        let own = [file(&format!("collector-{cluster}.pem")), file(&format!("collector-{cluster}.key"))];
        http::send_over(tls::connect(self.push_port, &file("ca.pem"), &own), "POST", path, headers, body)
    }

    /// The body of `/federate` for one selector.
    pub(crate) fn federate(&self, selector: &str) -> String {
        let (status, body) = self.get(&format!("/federate?match[]={}", http::percent_encoded(selector)));
        assert_eq!(status, 200, "{body}");
        body
    }
}

/// The identity that `fedgate certs issue` puts into a cluster's certificate.
pub(crate) fn identity(cluster: &str) -> String {
    format!("spiffe://fedgate/collector/{cluster}")
}

/// Runs the program to its end and returns what it printed; panics unless it succeeded.
pub(crate) fn fedgate(arguments: &[&str]) -> String {
    let output = Command::new(program()).args(arguments).output().expect("the program runs");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "fedgate {arguments:?}: {printed}{}", String::from_utf8_lossy(&output.stderr));
    printed
}
