//! What brings samples from exporters to the receiver: fedgate, or what a site would run instead.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::Plan;
use super::disk::SmallDisk;
use super::proxy::Proxy;
use crate::site::{Process, Site, free_port, program, wait_for};

/// Whose pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Collectors, a gateway, its remote write.
    Fedgate,
    /// A Prometheus agent a cluster, with remote write.
    PrometheusAgent,
    /// A vmagent a cluster, with remote write.
    Vmagent,
}

/// The library that shifts a process's clocks, where Debian's package has put it.
pub(crate) fn faketime() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.map_while(Result::ok);
    folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1")).find(|library| library.exists())
}

/// Exporters of a cluster.
pub(super) const EXPORTERS: usize = 3;

/// The processes of a run.
pub(super) struct Pipeline {
    kind: Kind,
    pub(super) clusters: Vec<String>,
    gateway: Option<Process>,
    agents: Vec<Option<Process>>,
    /// Where the gateway's journal is, if it may run full; the gateway ends first.
    disk: Option<SmallDisk>,
    /// The way out of each cluster.
    ways: Vec<Proxy>,
    pace: Duration,
    exporters: u16,
    receiver: u16,
    /// Its folder goes last.
    site: Site,
}

impl Pipeline {
    /// Everything of it, scraping `exporters` and writing to `receiver`.
    pub(super) fn start(plan: &Plan, exporters: u16, receiver: u16) -> Pipeline {
        let (kind, pace, site) = (plan.kind, plan.pace, Site::at_pace(plan.pace));
        let names = ["alpha", "beta", "gamma"].iter().take(plan.clusters);
        let clusters: Vec<String> = names.map(|&name| name.into()).collect();
        let disk = plan.has_small_disk.then(|| SmallDisk::mount(&site.path("disk")));
        let to = if kind == Kind::Fedgate { site.push_port } else { receiver };
        let ways = clusters.iter().map(|_| Proxy::start(to)).collect();
        let mut pipeline =
            Pipeline { kind, site, clusters, gateway: None, agents: Vec::new(), disk, ways, pace, exporters, receiver };
        if kind == Kind::Fedgate {
            pipeline.configure_gateway();
            pipeline.start_gateway();
        }
        pipeline.agents = (0..pipeline.clusters.len()).map(|_| None).collect();
        for cluster in 0..pipeline.clusters.len() {
            pipeline.configure_agent(cluster);
            pipeline.start_agent(cluster);
        }
        pipeline
    }

    fn configure_gateway(&self) {
        let clusters: Vec<&str> = self.clusters.iter().map(String::as_str).collect();
        clusters.iter().for_each(|cluster| self.site.issue(cluster));
        let extra = format!(
            "journal:\n  dir: {}\n  free_disk_min_ratio: 0\n  on_full: refuse\nremote_write:\n  - name: loss\n    url: http://127.0.0.1:{}/api/v1/write\n    \
             protobuf_message: prometheus.WriteRequest\n    metadata_config: {{send: false}}\n    \
             queue_config: {{min_backoff: 30ms, max_backoff: 1s}}\n",
            self.site.path(if self.disk.is_some() { "disk/journal" } else { "journal" }).display(),
            self.receiver
        );
        self.site.gateway_config(&clusters, &extra);
    }

    /// The jobs of a cluster, in the words that all three programs know.
    fn jobs(&self, cluster: usize) -> String {
        let mut jobs = String::new();
        for instance in 0..EXPORTERS {
            write!(
                jobs,
                "  - job_name: loss-{instance}\n    metrics_path: /{}/e{instance}\n    static_configs:\n      - targets: \
                 [\"127.0.0.1:{}\"]\n        labels: {{instance: e{instance}}}\n",
                self.clusters[cluster], self.exporters
            )
            .expect("a string takes all");
        }
        jobs
    }

    fn configure_agent(&self, cluster: usize) {
        let (name, port, pace) = (&self.clusters[cluster], self.ways[cluster].port, self.pace.as_secs());
        let jobs = self.jobs(cluster);
        if self.kind == Kind::Fedgate {
            let path = self.site.collector_config(name, &jobs);
            let text = std::fs::read_to_string(&path).expect("it was just written");
            let text = text.replace(
                &format!("url: https://127.0.0.1:{}\n", self.site.push_port),
                &format!("url: https://127.0.0.1:{port}\n  backoff_max: 1s\n"),
            );
            let spool = self.site.path(&format!("spool-{name}"));
            std::fs::write(path, format!("spool:\n  dir: {}\n  free_disk_min_ratio: 0\n{text}", spool.display()))
                .expect("a file can be written");
            return;
        }
        let url = format!("http://127.0.0.1:{port}/api/v1/write");
        let global = format!(
            "global:\n  scrape_interval: {pace}s\n  scrape_timeout: {pace}s\n  external_labels: {{cluster: {name}}}\n"
        );
        let write = "    queue_config: {min_backoff: 30ms, max_backoff: 1s, batch_send_deadline: 1s}\n    metadata_config: {send: false}\n";
        let remote = if self.kind == Kind::PrometheusAgent {
            format!("remote_write:\n  - url: {url}\n{write}")
        } else {
            String::new()
        };
        self.site.write(&format!("agent-{name}.yml"), &format!("{global}{remote}scrape_configs:\n{jobs}"));
    }

    pub(super) fn start_gateway(&mut self) {
        if self.kind == Kind::Fedgate {
            self.gateway = Some(self.site.start_gateway(&self.site.path("gateway.yml")));
        }
    }

    pub(super) fn kill_gateway(&mut self) {
        if let Some(gateway) = self.gateway.take() {
            gateway.kill();
        }
    }

    pub(super) fn start_agent(&mut self, cluster: usize) {
        let name = self.clusters[cluster].clone();
        let path = |kind: &str| -> PathBuf { self.site.path(&format!("{kind}-{name}")) };
        self.agents[cluster] = Some(match self.kind {
            Kind::Fedgate => {
                let config = self.site.path(&format!("collector-{name}.yml"));
                Process::start("collector", Command::new(program()).args(["collector", "--config"]).arg(config))
            }
            Kind::PrometheusAgent => Process::start(
                "prometheus agent",
                Command::new("prometheus")
                    .arg("--agent")
                    .arg(format!("--config.file={}.yml", path("agent").display()))
                    .arg(format!("--storage.agent.path={}", path("wal").display()))
                    .arg(format!("--web.listen-address=127.0.0.1:{}", free_port())),
            ),
            Kind::Vmagent => Process::start(
                "vmagent",
                Command::new("vmagent")
                    .arg(format!("-promscrape.config={}.yml", path("agent").display()))
                    .arg(format!("-remoteWrite.tmpDataPath={}", path("queue").display()))
                    .arg(format!("-remoteWrite.url=http://127.0.0.1:{}/api/v1/write", self.ways[cluster].port))
                    .arg("-remoteWrite.forcePromProto")
                    .arg("-remoteWrite.retryMaxInterval=1s")
                    .arg(format!("-httpListenAddr=127.0.0.1:{}", free_port())),
            ),
        });
    }

    /// Starts a cluster's collector with a clock that is `behind` and goes `speed` times as fast, a scrape a minute.
    pub(super) fn start_shifted_agent(&mut self, cluster: usize, behind: Duration, speed: u32) {
        let name = &self.clusters[cluster];
        let text = std::fs::read_to_string(self.site.path(&format!("collector-{name}.yml"))).expect("it was written");
        let pace = self.pace.as_secs();
        let text = ["scrape_interval", "scrape_timeout", "tick"]
            .iter()
            .fold(text, |text, key| text.replace(&format!("{key}: {pace}s"), &format!("{key}: 60s")));
        let config = self.site.write(&format!("shifted-{name}.yml"), &text);
        // The library alone: its wrapper would be killed in the collector's place.
        let mut command = Command::new(program());
        command.env("LD_PRELOAD", faketime().expect("the plan needs it"));
        command.env("FAKETIME", format!("-{}s x{speed}", behind.as_secs()));
        self.agents[cluster] = Some(Process::start("collector", command.args(["collector", "--config"]).arg(config)));
    }

    pub(super) fn kill_agent(&mut self, cluster: usize) {
        if let Some(agent) = self.agents[cluster].take() {
            agent.kill();
        }
    }

    /// Breaks the way out of a cluster.
    pub(super) fn cut(&self, cluster: usize) {
        self.ways[cluster].close();
    }

    pub(super) fn join(&self, cluster: usize) {
        self.ways[cluster].open();
    }

    /// Leaves no byte for the journal.
    pub(super) fn fill_disk(&self) {
        self.disk.as_ref().expect("the plan has one").fill();
    }

    pub(super) fn free_disk(&self) {
        self.disk.as_ref().expect("the plan has one").free();
    }

    /// Waits until every process that should run does.
    pub(super) fn wait_until_whole(&self) {
        if self.kind == Kind::Fedgate {
            wait_for("the gateway to listen", || (self.site.get("/-/healthy").0 == 200).then_some(()));
        }
    }

    /// What the gateway printed, for a run that went wrong.
    pub(super) fn gateway_output(&self) -> String {
        self.gateway.as_ref().map(Process::output).unwrap_or_default()
    }
}
