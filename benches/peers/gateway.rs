//! fedgate's own two roles as processes, with certificates of a CA of their own.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fedgate::config::{PushClientConfig, TlsClientConfig};
use fedgate::runtime::clock;
use fedgate::tls::ca::Authority;
use tempfile::TempDir;

use crate::cluster::{self, ENVIRONMENT};
use crate::http::{self, free_port};
use crate::options::Shape;
use crate::process::Process;

/// The program under test.
const FEDGATE: &str = env!("CARGO_BIN_EXE_fedgate");

/// The section that makes it keep a journal, in its own folder.
pub(crate) const JOURNAL: &str = "journal:\n  dir: journal\n  free_disk_min_ratio: 0\n";

/// A running gateway.
pub(crate) struct Gateway {
    pub(crate) process: Process,
    /// The readers' listener.
    pub(crate) port: u16,
    pub(crate) shape: Shape,
    push_port: u16,
    authority: Authority,
    // Dropped last: the certificates are read again.
    folder: TempDir,
}

/// Starts a gateway that knows the clusters of `shape` and perhaps one more, by no limit smaller than any of them; `sections` are
/// those of its file that a row needs beside.
pub(crate) fn start(shape: Shape, more: Option<&str>, sections: &str) -> Gateway {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ca = folder.path().join("ca");
    let authority = Authority::init(&ca, "fedgate", clock::now()).expect("a new folder");
    authority.issue_gateway(&["127.0.0.1".to_owned()], clock::now()).expect("a certificate");
    let (port, push_port) = (free_port(), free_port());
    let config = folder.path().join("gateway.yml");
    fs::write(&config, gateway_config(&ca, shape, more, port, push_port) + sections).expect("room on the disk");
    // It is ready when every cluster has pushed.
    let process = start_process(folder.path(), port, "/-/healthy");
    Gateway { process, port, shape, push_port, authority, folder }
}

fn start_process(folder: &Path, port: u16, sign: &str) -> Process {
    let mut command = Command::new(FEDGATE);
    command.args(["gateway", "--log-level", "warn", "--config"]).arg(folder.join("gateway.yml"));
    Process::start(folder, &mut command, || http::is_ok(port, sign))
}

fn gateway_config(ca: &Path, shape: Shape, more: Option<&str>, port: u16, push_port: u16) -> String {
    let ca = ca.display();
    let mut text = format!(
        "limits: {{future_max: 1h}}\nhttp:\n  listen: 127.0.0.1:{port}\npush:\n  listen: 127.0.0.1:{push_port}\n  limits: {{connections_per_address_max: \
         4096}}\n  tls_config:\n    cert_file: {ca}/gateway.pem\n    key_file: {ca}/gateway.key\n    client_ca_file: \
         {ca}/ca.pem\n    crl_file: {ca}/crl.pem\n  clusters:\n"
    );
    for name in (0..shape.clusters).map(cluster::name).chain(more.map(str::to_owned)) {
        // The rounds come faster than their metric time, and a series lives on while a row is measured.
        writeln!(
            text,
            "    - cluster: {name}\n      environment: {ENVIRONMENT}\n      expect_every: 15m\n      identities: \
             [spiffe://fedgate/collector/{name}]\n      limits: {{series: 20000000, samples_per_second: 1000000000}}"
        )
        .expect("memory");
    }
    text
}

impl Gateway {
    /// `kill -9`, and a start over what it left, until it is ready. Every cluster must have pushed before.
    pub(crate) fn restart(&mut self) {
        self.process.kill();
        self.process = start_process(self.folder.path(), self.port, "/-/ready");
    }

    /// Where its files are.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What a collector of `cluster` is told of its push, with a certificate issued for it.
    pub(crate) fn push_config(&self, cluster: &str) -> PushClientConfig {
        let issued = self.authority.issue_collector(cluster, &[], clock::now()).expect("a certificate");
        PushClientConfig {
            url: format!("https://127.0.0.1:{}/v1/push", self.push_port).as_str().into(),
            tls_config: TlsClientConfig {
                ca_file: Some(self.authority.certificate_path()),
                cert_file: Some(issued.certificate),
                key_file: issued.key,
                ..TlsClientConfig::default()
            },
            timeout: std::time::Duration::from_secs(120),
            ..PushClientConfig::default()
        }
    }

    /// Where senders of remote write post to.
    pub(crate) fn write_url(&self) -> String {
        format!("https://127.0.0.1:{}/api/v1/write", self.push_port)
    }

    /// Starts a collector process of `cluster` with these jobs, which pushes every `tick`.
    pub(crate) fn start_collector(&self, cluster: &str, scrape_configs: &str, tick: &str) -> Process {
        let (push, port) = (self.push_config(cluster), free_port());
        let shown = |file: &Option<PathBuf>| file.as_ref().expect("set above").display().to_string();
        let tls = &push.tls_config;
        let text = format!(
            "http:\n  listen: 127.0.0.1:{port}\npush:\n  url: https://127.0.0.1:{}\n  tick: {tick}\n  tls_config:\n    \
             ca_file: {}\n    cert_file: {}\n    key_file: {}\n{scrape_configs}",
            self.push_port,
            shown(&tls.ca_file),
            shown(&tls.cert_file),
            shown(&tls.key_file),
        );
        let config = self.folder.path().join(format!("collector-{cluster}.yml"));
        fs::write(&config, text).expect("room on the disk");
        let mut command = Command::new(FEDGATE);
        command.args(["collector", "--log-level", "warn", "--config"]).arg(config);
        Process::start(self.folder.path(), &mut command, || http::is_ok(port, "/-/healthy"))
    }
}
