//! A gateway and a collector as real processes, with certificates of their own and the least configuration.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::exporters::Exporters;
use super::process::{Process, Usage};

/// How long to wait for a process to get somewhere.
const PATIENCE: Duration = Duration::from_secs(120);

/// A gateway that knows one cluster.
pub(crate) struct Gateway {
    folder: tempfile::TempDir,
    push_port: u16,
    http_port: u16,
    _process: Process,
}

impl Gateway {
    /// Makes certificates and starts it.
    pub(crate) fn start(program: &Path) -> Gateway {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let ca = folder.path().join("ca").display().to_string();
        for arguments in
            [&["init", &ca][..], &["gateway", &ca, "--host", "127.0.0.1"], &["issue", &ca, "--cluster", "alpha"]]
        {
            let output = Command::new(program).arg("certs").args(arguments).output().expect("the program runs");
            assert!(output.status.success(), "certs {arguments:?}");
        }
        let (push_port, http_port) = (free_port(), free_port());
        let config = format!(
            "http:\n  listen: 127.0.0.1:{http_port}\npush:\n  listen: 127.0.0.1:{push_port}\n  tls_config:\n    \
             cert_file: {ca}/gateway.pem\n    key_file: {ca}/gateway.key\n    client_ca_file: {ca}/ca.pem\n    \
             crl_file: {ca}/crl.pem\n  clusters:\n    - cluster: alpha\n      environment: bench\n      \
             identities: [\"spiffe://fedgate/collector/alpha\"]\n"
        );
        let file = folder.path().join("gateway.yml");
        fs::write(&file, config).expect("the folder can be written");
        let process = Process::start(Command::new(program).args(["gateway", "--config"]).arg(file));
        wait_for("the gateway", || get(http_port, "/-/healthy"));
        Gateway { folder, push_port, http_port, _process: process }
    }

    /// A page of its readers' listener.
    pub(crate) fn get(&self, path: &str) -> Option<String> {
        get(self.http_port, path)
    }
}

/// A collector of some exporters.
pub(crate) struct Collector {
    http_port: u16,
    process: Process,
}

impl Collector {
    /// Starts it; `interval` is that of scrapes and of pushes.
    pub(crate) fn start(program: &Path, gateway: &Gateway, exporters: &Exporters, interval: &str) -> Collector {
        let (ca, http_port) = (gateway.folder.path().join("ca").display().to_string(), free_port());
        let config = format!(
            "global:\n  scrape_interval: {interval}\n  scrape_timeout: {interval}\nhttp:\n  listen: 127.0.0.1:{http_port}\n\
             push:\n  url: https://127.0.0.1:{}\n  tick: {interval}\n  tls_config:\n    ca_file: {ca}/ca.pem\n    \
             cert_file: {ca}/collector-alpha.pem\n    key_file: {ca}/collector-alpha.key\nscrape_configs:\n  \
             - job_name: bench\n    honor_labels: true\n    static_configs:\n      - targets: [{}]\n",
            gateway.push_port,
            exporters.addresses.join(", ")
        );
        let file = gateway.folder.path().join("collector.yml");
        fs::write(&file, config).expect("the folder can be written");
        let process = Process::start(Command::new(program).args(["collector", "--config"]).arg(file));
        wait_for("the collector's first acknowledgement", || get(http_port, "/-/ready"));
        Collector { http_port, process }
    }

    /// What the kernel counts of it.
    pub(crate) fn usage(&self) -> Usage {
        self.process.usage()
    }

    /// Samples that it has scraped.
    pub(crate) fn samples(&self) -> u64 {
        let page = get(self.http_port, "/metrics").unwrap_or_default();
        let line = page.lines().find_map(|line| line.strip_prefix("fedgate_collector_scraped_samples_total "));
        line.and_then(|value| value.parse::<f64>().ok()).unwrap_or(0.0) as u64
    }

    /// Waits until it has scraped so many.
    pub(crate) fn wait_for_samples(&self, samples: u64) {
        wait_for("samples", || (self.samples() >= samples).then_some(()));
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = probe() {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The body of a page with status 200.
fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    (head.split(' ').nth(1) == Some("200")).then(|| body.to_owned())
}
