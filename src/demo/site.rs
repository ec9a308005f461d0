//! The site as a whole: its clusters, their targets, and what each path answers at each step.

use std::net::SocketAddr;
use std::time::Duration;

use super::dice::roll;
use super::fleet::{ACCOUNTS, Fleet, PARTITIONS, USERS};
use super::node::Template;
use super::slurm::{self, Page};
use crate::config::{ScrapeConfig, StaticConfig};

/// Names of the first clusters; later ones are numbered.
const NAMES: [&str; 8] = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"];
/// CPUs of a node where no budget of series says otherwise.
const CPUS_DEFAULT: u64 = 8;
/// CPUs of a node, at least and at most; always even, half of them a job's.
const CPUS_RANGE: (u64, u64) = (2, 256);
/// Steps between two bad times of a cluster's flapping target, at least; up to twice that.
const FLAP_EVERY: u64 = 24;
/// How many steps a bad time lasts.
const FLAP_STEPS: u64 = 4;

/// How large a site is, and which.
#[derive(Clone, Copy, Debug)]
pub struct SiteConfig {
    /// Clusters, each with a collector of its own.
    pub clusters: usize,
    /// Nodes of a cluster, each a target.
    pub nodes: usize,
    /// Series that a cluster's targets have together, about; `None` for nodes of 8 CPUs, whatever that makes.
    pub series_per_cluster: Option<usize>,
    /// Two sites of one seed are the same site.
    pub seed: u64,
    /// What counters take a step for.
    pub step: Duration,
}

impl Default for SiteConfig {
    fn default() -> SiteConfig {
        SiteConfig { clusters: 3, nodes: 50, series_per_cluster: None, seed: 1, step: Duration::from_secs(15) }
    }
}

impl SiteConfig {
    /// As many CPUs a node as the budget of series allows.
    fn cpus(&self) -> u64 {
        let Some(budget) = self.series_per_cluster else {
            return CPUS_DEFAULT;
        };
        let nodes = self.nodes.max(1);
        // slurmctld's pages: the cluster's, the partitions', the users', and ten lines a node.
        let users = USERS.len().min(nodes) + ACCOUNTS.len().min(nodes);
        let slurm = 29 + 19 + 23 + PARTITIONS.len() * 57 + users * 29;
        let a_node = budget.saturating_sub(slurm) / nodes;
        let for_cpus = a_node.saturating_sub(10 + Template::FIXED_LINES + 6) / Template::LINES_PER_CPU;
        (for_cpus as u64 & !1).clamp(CPUS_RANGE.0, CPUS_RANGE.1)
    }
}

/// One thing to scrape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Scrape job: `node`, or `slurm-…` for a page of slurmctld.
    pub job: String,
    /// The label `instance`: all targets share one address, so that it would not tell them apart.
    pub instance: String,
    /// Path on the exporters' listener.
    pub path: String,
}

/// What a path answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A page was written.
    Page,
    /// Status 500, as of an exporter that broke.
    Fault,
    /// The connection ends without an answer.
    HangUp,
    /// There is no such path.
    NotFound,
}

/// A simulated site. Holds what does not change; everything else follows from the step.
pub struct Site {
    clusters: Vec<Fleet>,
    template: Template,
}

impl Site {
    /// The site that `config` describes.
    pub fn new(config: SiteConfig) -> Site {
        let cpus = config.cpus();
        let clusters = (0..config.clusters)
            .map(|at| {
                let name = NAMES.get(at).map_or_else(|| format!("cluster-{:03}", at + 1), |name| (*name).to_owned());
                Fleet::new(name, roll(config.seed, [at as u64]), config.nodes, cpus)
            })
            .collect();
        Site { clusters, template: Template::new(cpus, config.step.as_secs_f64()) }
    }

    /// The clusters' names.
    pub fn clusters(&self) -> impl ExactSizeIterator<Item = &str> {
        self.clusters.iter().map(|fleet| fleet.name.as_str())
    }

    /// Everything to scrape in the cluster of that number.
    pub fn targets(&self, cluster: usize) -> Vec<Target> {
        let fleet = &self.clusters[cluster];
        let nodes = fleet.nodes.iter().map(|node| Target {
            job: "node".to_owned(),
            instance: node.name.clone(),
            path: format!("/c/{}/node/{}/metrics", fleet.name, node.name),
        });
        let pages = Page::ALL.iter().map(|page| Target {
            job: format!("slurm-{}", page.as_str()),
            instance: "slurmctld".to_owned(),
            path: format!("/c/{}/slurm/{}", fleet.name, page.as_str()),
        });
        nodes.chain(pages).collect()
    }

    /// The targets of a cluster as the jobs of a collector's configuration; `exporters` is where they listen. Intervals
    /// are left to the configuration's `global`. Each says its exporter's family, to which the rule packs bind.
    pub fn scrape_configs(&self, cluster: usize, exporters: SocketAddr) -> Vec<ScrapeConfig> {
        let mut jobs: Vec<ScrapeConfig> = Vec::new();
        for target in self.targets(cluster) {
            let family = if target.job == "node" { "node-exporter" } else { "slurm-native" };
            let labels = [
                ("instance".to_owned(), target.instance),
                ("__metrics_path__".to_owned(), target.path),
                ("fedgate_family".to_owned(), family.to_owned()),
            ];
            let group = StaticConfig { targets: vec![exporters.to_string()], labels: labels.into() };
            match jobs.last_mut().filter(|job| job.job_name == target.job) {
                Some(job) => job.static_configs.push(group),
                None => jobs.push(ScrapeConfig {
                    job_name: target.job,
                    static_configs: vec![group],
                    ..ScrapeConfig::default()
                }),
            }
        }
        jobs
    }

    /// Appends the page of `path` at `step`, if that is the answer.
    pub fn answer(&self, path: &str, step: u64, out: &mut Vec<u8>) -> Answer {
        let mut parts = path.strip_prefix("/c/").unwrap_or_default().split('/');
        let Some(fleet) = parts.next().and_then(|name| self.clusters.iter().find(|fleet| fleet.name == name)) else {
            return Answer::NotFound;
        };
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some("node"), Some(node), Some("metrics"), None) => self.answer_node(fleet, node, step, out),
            (Some("slurm"), Some(page), None, None) => match Page::of_str(page) {
                Some(page) => {
                    slurm::write_page(out, page, fleet, step);
                    Answer::Page
                }
                None => Answer::NotFound,
            },
            _ => Answer::NotFound,
        }
    }

    fn answer_node(&self, fleet: &Fleet, node: &str, step: u64, out: &mut Vec<u8>) -> Answer {
        let number = node.trim_start_matches(|c: char| c.is_ascii_alphabetic()).parse::<usize>();
        let at = number.ok().and_then(|number| number.checked_sub(1));
        let Some(at) = at.filter(|at| fleet.nodes.get(*at).is_some_and(|own| own.name == node)) else {
            return Answer::NotFound;
        };
        if let Some(bad) = flap(fleet, at, step) {
            return bad;
        }
        self.template.write_page(out, fleet, at, step);
        Answer::Page
    }
}

/// The bad answer of a cluster's flapping target in its bad times: in one of them it breaks, in the next it hangs up.
fn flap(fleet: &Fleet, at: usize, step: u64) -> Option<Answer> {
    let flapping = (fleet.seed % fleet.nodes.len() as u64) as usize;
    let every = FLAP_EVERY + fleet.seed % FLAP_EVERY;
    let step = step + fleet.seed % every;
    let is_bad = at == flapping && step % every < FLAP_STEPS;
    is_bad.then_some(if (step / every).is_multiple_of(2) { Answer::Fault } else { Answer::HangUp })
}
