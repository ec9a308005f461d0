//! `fedgate demo`: a whole site in one process. Everything but the exporters is the real thing: a collector a cluster,
//! certificates of a throwaway CA, pushes over mutual TLS to a gateway on loopback.

mod greeting;
mod keys;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use super::collector::role::Collector;
use super::gateway::role::Gateway;
use super::start::{StartError, run_role};
use crate::config::{ClusterConfig, CollectorConfig, GatewayConfig};
use crate::demo::{Exporters, Site, SiteConfig, step_clock};
use crate::model::parse_duration;
use crate::runtime::{CpuPool, Shutdown, Stage, cores};
use greeting::say;
use keys::Keys;

/// The demo's site is always the same one.
const SEED: u64 = 1;
/// The step at which the site begins: counters have a past.
const FIRST_STEP: u64 = 1000;
/// Below it a scrape and a push could not be over before the next.
const INTERVAL_MIN: Duration = Duration::from_secs(1);
/// Prometheus's own default, unless the interval is shorter.
const SCRAPE_TIMEOUT_MAX: Duration = Duration::from_secs(10);
/// Samples a second and series that a simulated cluster may send: no bound, this is no guest.
const UNBOUNDED: u64 = 1 << 40;

/// Run a whole simulated site in one process, with throwaway certificates, until Ctrl-C.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many clusters, each with a collector of its own.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub clusters: u32,
    /// How many nodes a cluster has.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub nodes: u32,
    /// Time between two scrapes, and between two pushes; at least 1s.
    #[arg(long, default_value = "15s", value_name = "DURATION", value_parser = parse_interval)]
    pub interval: Duration,
    /// Where the site is served.
    #[arg(long, default_value = "127.0.0.1:9490", value_name = "ADDRESS", value_parser = parse_listen)]
    pub listen: SocketAddr,
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let interval = parse_duration(text).map_err(|fault| fault.to_string())?;
    if interval < INTERVAL_MIN {
        return Err(format!("found {text}, expected at least 1s"));
    }
    Ok(interval)
}

fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("found {text:?}, expected IP-ADDRESS:PORT"))
}

/// What makes canonical series of the simulated exporters' pages.
const RULE_PACKS: [&str; 3] = ["slurm-native", "node-exporter", "site"];

/// Runs the site until it is told to stop.
pub fn run(args: Args) -> ExitCode {
    // Dropped after the shutdown, when nobody reads the certificates any more.
    let mut keys = None;
    run_role(cores(), async |shutdown| {
        keys = Some(start(&args, shutdown).await?);
        Ok(())
    })
}

/// A demo that runs, in the order of the way that samples take.
async fn start(args: &Args, shutdown: &Shutdown) -> Result<Keys, StartError> {
    let site = Arc::new(Site::new(SiteConfig {
        clusters: args.clusters as usize,
        nodes: args.nodes as usize,
        series_per_cluster: None,
        seed: SEED,
        step: args.interval,
    }));
    say(&format!(
        "fedgate demo: {} clusters of {} nodes, scraped and pushed every {:?}",
        args.clusters, args.nodes, args.interval
    ));
    let keys = Keys::make(site.clusters())?;
    say(&format!("  certificates  {} (removed at the end)", keys.folder().display()));
    let exporters = start_exporters(&site, args.interval, shutdown).await?;
    say(&format!("  exporters     http://{exporters} (simulated)"));
    // The collectors end first, so that their last snapshots find the gateway, and the exporters last.
    let (gateway_end, collectors_end) = (Shutdown::new(), Shutdown::new());
    let gateway = Gateway::start(Arc::new(gateway_config(args, &site, &keys)), None, &gateway_end).await?;
    say(&format!(
        "  gateway       http://{} for readers, https://{} for collectors (mTLS)",
        gateway.readers, gateway.push
    ));
    start_collectors(args, &site, &keys, exporters, gateway.push, &collectors_end)?;
    say(&format!("  collectors    {} started, first scrapes within {:?}", args.clusters, args.interval));
    shutdown.nest(Stage::Intake, "collectors", collectors_end);
    shutdown.nest(Stage::Drain, "gateway", gateway_end);
    greeting::watch(&shutdown.tasks(Stage::Intake), gateway, args.clusters as usize, args.interval);
    Ok(keys)
}

async fn start_exporters(site: &Arc<Site>, step: Duration, shutdown: &Shutdown) -> Result<SocketAddr, StartError> {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let exporters = Exporters::bind(listen, site.clone(), step_clock(FIRST_STEP, step)).await?;
    let address = exporters.address();
    let tasks = shutdown.tasks(Stage::Rest);
    tasks.spawn("exporters", exporters.serve(tasks.stop().clone()));
    Ok(address)
}

fn gateway_config(args: &Args, site: &Site, keys: &Keys) -> GatewayConfig {
    let mut config = GatewayConfig::default();
    config.http.listen = args.listen.to_string();
    config.push.listen = "127.0.0.1:0".to_owned();
    config.push.tls_config = keys.gateway();
    config.push.clusters = site.clusters().map(|cluster| inventory_entry(cluster, args.interval)).collect();
    config.rule_packs = RULE_PACKS.map(str::to_owned).to_vec();
    // All collectors come from one address here.
    let connections = config.push.limits.connections_max.max(2 * args.clusters as usize);
    config.push.limits.connections_max = connections;
    config.push.limits.connections_per_address_max = connections;
    config
}

fn inventory_entry(cluster: &str, interval: Duration) -> ClusterConfig {
    let mut entry = ClusterConfig {
        cluster: cluster.to_owned(),
        environment: "demo".to_owned(),
        identities: vec![keys::identity(cluster)],
        expect_every: interval,
        ..ClusterConfig::default()
    };
    entry.limits.samples_per_second = UNBOUNDED;
    entry.limits.series = UNBOUNDED as usize;
    entry
}

fn start_collectors(
    args: &Args,
    site: &Site,
    keys: &Keys,
    exporters: SocketAddr,
    gateway: SocketAddr,
    shutdown: &Shutdown,
) -> Result<(), StartError> {
    let pool = CpuPool::new(cores())?;
    for (at, cluster) in site.clusters().enumerate() {
        let mut config = CollectorConfig { scrape_configs: site.scrape_configs(at, exporters), ..Default::default() };
        for job in &mut config.scrape_configs {
            job.scrape_interval = args.interval;
            job.scrape_timeout = args.interval.min(SCRAPE_TIMEOUT_MAX);
        }
        config.limits.targets_max = config.limits.targets_max.max(2 * args.nodes as usize);
        config.push.url = format!("https://{gateway}").as_str().into();
        config.push.tick = args.interval;
        config.push.tls_config = keys.collector(cluster);
        Collector::start(Arc::new(config), &pool, shutdown)?;
    }
    Ok(())
}
