//! The peers as a site would start them, each with a folder of its own that goes with it.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use crate::exporter::Sink;
use crate::http::{self, free_port};
use crate::options::Peer;
use crate::process::Process;

/// A running peer.
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) port: u16,
    /// Where vmagent sends what it takes in.
    pub(crate) sink: Option<Sink>,
    peer: Peer,
    // Dropped last: the process writes into it.
    _folder: TempDir,
}

/// Starts a peer that scrapes by `scrape_configs` (none if empty) and takes remote write in.
pub(crate) fn start(peer: Peer, scrape_configs: &str) -> Server {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let port = free_port();
    let sink = (peer == Peer::Vmagent).then(Sink::start);
    let config = folder.path().join("scrape.yml");
    fs::write(&config, format!("global:\n  scrape_interval: 15s\n{scrape_configs}")).expect("room on the disk");
    let (config, path) = (config.display(), folder.path().display());
    let (arguments, ready) = match peer {
        Peer::Prometheus => {
            let own = ["--web.enable-remote-write-receiver", "--query.max-samples=500000000", "--log.level=warn"];
            let mut arguments = own.map(str::to_owned).to_vec();
            arguments.push(format!("--config.file={config}"));
            arguments.push(format!("--storage.tsdb.path={path}/tsdb"));
            arguments.push(format!("--web.listen-address=127.0.0.1:{port}"));
            (arguments, "/-/ready")
        }
        Peer::VictoriaMetrics => {
            let most = 20_000_000;
            let mut arguments = vec!["-search.latencyOffset=0s".to_owned(), "-loggerLevel=WARN".to_owned()];
            arguments.push(format!("-search.maxFederateSeries={most}"));
            arguments.push(format!("-search.maxUniqueTimeseries={most}"));
            arguments.push(format!("-storageDataPath={path}/data"));
            arguments.push(format!("-promscrape.config={config}"));
            arguments.push(format!("-httpListenAddr=127.0.0.1:{port}"));
            (arguments, "/health")
        }
        Peer::Vmagent => {
            let port_of_sink = sink.as_ref().expect("started for it").port;
            let mut arguments = vec!["-remoteWrite.forceVMProto=true".to_owned(), "-loggerLevel=WARN".to_owned()];
            arguments.push(format!("-remoteWrite.url=http://127.0.0.1:{port_of_sink}/write"));
            arguments.push(format!("-remoteWrite.tmpDataPath={path}/queue"));
            arguments.push(format!("-promscrape.config={config}"));
            arguments.push(format!("-httpListenAddr=127.0.0.1:{port}"));
            (arguments, "/health")
        }
        Peer::Fedgate => unreachable!("the gateway has a start of its own"),
    };
    let mut command = Command::new(crate::process::find(peer.program()).expect("found before"));
    command.args(arguments);
    let process = Process::start(folder.path(), &mut command, || http::is_ok(port, ready));
    Server { process, port, sink, peer, _folder: folder }
}

impl Server {
    /// Makes what was taken in visible to readers.
    pub(crate) fn flush(&self) {
        if self.peer == Peer::VictoriaMetrics {
            assert!(http::is_ok(self.port, "/internal/force_flush"));
        }
    }
}
