//! What the demo says while the site comes up, and where to look once it is.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::time::Duration;

use crate::cli::gateway::role::Gateway;
use crate::cli::print;
use crate::cli::start::sleeps_until;
use crate::runtime::{Tasks, clock};

/// How often progress is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// What has arrived so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Progress {
    clusters: usize,
    targets: usize,
    series: u64,
}

/// Tells how many clusters have arrived until all have and every target was scraped once; then where to look.
pub(super) fn watch(tasks: &Tasks, gateway: Gateway, clusters: usize, interval: Duration) {
    let stop = tasks.stop().clone();
    tasks.spawn("greeting", async move {
        let whole_at = clock::monotonic() + interval + interval;
        let mut last = None;
        loop {
            let progress = look(&gateway);
            if last != Some(progress) {
                show(progress, clusters);
                last = Some(progress);
            }
            if progress.clusters == clusters && clock::monotonic() >= whole_at {
                break;
            }
            if sleeps_until(&stop, LOOK_INTERVAL).await {
                return;
            }
        }
        say(&where_to_look(gateway.readers, interval, last));
    });
}

fn look(gateway: &Gateway) -> Progress {
    let view = gateway.store.view(clock::now(), clock::monotonic(), None);
    Progress {
        clusters: view.clusters.iter().filter(|cluster| cluster.facts.up).count(),
        targets: view.targets.len(),
        series: view.clusters.iter().map(|cluster| cluster.facts.series).sum(),
    }
}

/// Writes a line. That nobody reads any more is no reason to end.
pub(super) fn say(line: &str) {
    print(&format!("{line}\n"));
}

/// One line that is written over on a terminal; a line for each change elsewhere.
fn show(progress: Progress, clusters: usize) {
    let Progress { clusters: up, targets, series } = progress;
    let line = format!("  arrived       {up} of {clusters} clusters, {targets} targets, {series} series");
    if std::io::stdout().is_terminal() {
        print(&format!("\r\x1b[K{line}"));
    } else {
        say(&line);
    }
}

fn where_to_look(readers: SocketAddr, interval: Duration, progress: Option<Progress>) -> String {
    let Progress { clusters, targets, series } = progress.unwrap_or(Progress { clusters: 0, targets: 0, series: 0 });
    let seconds = interval.as_secs();
    format!(
        "
The site is up: {clusters} clusters, {targets} targets, {series} series. One node of each cluster answers badly now and then.

  Look at      http://{readers}/
  clusters     curl -gs 'http://{readers}/federate?match[]=fedgate_cluster_up'
  Slurm        curl -sG http://{readers}/federate --data-urlencode 'match[]={{job=~\"slurm-.*\",cluster=\"alpha\"}}'
  recorded     fedgate query {readers} 'slurm:cluster:cpu_utilization'     after two minutes; docs/rules.md names them all
  everything   curl -s http://{readers}/metrics
  the gateway  curl -s http://{readers}/metrics/self

A job for prometheus.yml:

scrape_configs:
  - job_name: fedgate
    honor_labels: true
    honor_timestamps: true
    track_timestamps_staleness: true
    scrape_interval: {seconds}s
    scrape_timeout: {timeout}s
    metrics_path: /federate
    params:
      match[]: ['{{__name__=~\".+\"}}']
    static_configs:
      - targets: [\"{readers}\"]

Ctrl-C ends the site.",
        timeout = seconds.clamp(1, 10),
    )
}
