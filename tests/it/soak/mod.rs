//! A site in operation, watched by a real Prometheus with the documented job: exporters whose series and targets come, go and
//! flap, a gateway, a collector for each cluster, and every few minutes one of them killed or ended and started again.
//!
//! What is counted: samples that Prometheus refused (each out-of-order one is held against the restarts, see [`order`]), and how
//! long a series that an exporter no longer has stays in Prometheus (see [`staleness`]). The test suite runs a short soak;
//! `cargo bench --bench soak` one of an hour. Both are repeatable up to timing: moments and victims follow from a seed.

mod exporters;
mod order;
mod staleness;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::dice::Dice;
use crate::site::prometheus::Prometheus;
use crate::site::{Process, Site, wait_for};
use exporters::Exporters;
use order::{Refusals, Restart, Victim};
use staleness::Vanishings;

/// Between two looks at everything.
const LOOK: Duration = Duration::from_millis(500);
/// How long a process may take to end after SIGTERM.
const END: Duration = Duration::from_secs(20);
/// The program's own limits are not what is tested here.
const REFUSED: [&str; 3] = ["out_of_order", "duplicate_timestamp", "out_of_bounds"];

/// How long, how large, how rough.
pub(crate) struct Plan {
    pub(crate) length: Duration,
    /// Scrape interval of collectors and Prometheus, and the collectors' tick; whole seconds.
    pub(crate) pace: Duration,
    pub(crate) clusters: usize,
    pub(crate) nodes: usize,
    /// Shortest and longest time between two restarts.
    pub(crate) calm: (Duration, Duration),
    pub(crate) seed: u64,
    /// Whether every minute is reported on standard error.
    pub(crate) is_verbose: bool,
}

/// What came of it.
pub(crate) struct Report {
    /// The table.
    pub(crate) text: String,
    /// What should not have been; empty after a good run.
    pub(crate) faults: Vec<String>,
}

/// A time between two others, to the millisecond.
fn between(dice: &mut Dice, (least, most): (Duration, Duration)) -> Duration {
    least + Duration::from_millis(dice.below((most - least).as_millis().max(1) as usize) as u64)
}

/// Everything that runs.
struct Soak<'a> {
    plan: &'a Plan,
    site: Site,
    names: Vec<String>,
    exporters: Exporters,
    gateway: Option<Process>,
    collectors: Vec<Option<Process>>,
    prometheus: Prometheus,
    dice: Dice,
    restarts: Vec<Restart>,
    refusals: Refusals,
    vanishings: Vanishings,
    left_out: LeftOut,
}

/// The gateway's counter of samples that it left out for its reader, over all its runs.
#[derive(Default)]
struct LeftOut {
    before: f64,
    newest: f64,
}

impl LeftOut {
    fn read(&mut self, site: &Site) {
        let page = site.get("/metrics/self").1;
        let line = page.lines().find(|line| line.starts_with("fedgate_gateway_samples_left_out_total"));
        let Some(value) = line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok()) else { return };
        if value < self.newest {
            self.before += self.newest;
        }
        self.newest = value;
    }

    fn total(&self) -> f64 {
        self.before + self.newest
    }
}

/// Runs the soak to its end.
pub(crate) fn run(plan: &Plan) -> Report {
    let mut soak = Soak::start(plan);
    let (start, mut minute, mut said) = (Instant::now(), 0, 0);
    let mut next_restart = start + between(&mut soak.dice, plan.calm);
    while start.elapsed() < plan.length {
        std::thread::sleep(LOOK);
        soak.look();
        // Nothing is started again so late that nobody sees what comes of it.
        let is_late = start.elapsed() + 8 * plan.pace > plan.length;
        if Instant::now() >= next_restart && !is_late {
            soak.restart_one();
            next_restart = Instant::now() + between(&mut soak.dice, plan.calm);
        }
        if plan.is_verbose && start.elapsed().as_secs() / 60 > minute {
            minute = start.elapsed().as_secs() / 60;
            soak.say(minute, &mut said);
        }
    }
    soak.report()
}

impl Soak<'_> {
    fn start(plan: &Plan) -> Soak<'_> {
        let site = Site::at_pace(plan.pace);
        let exporters = Exporters::start(plan);
        let names = exporters.clusters();
        let clusters: Vec<&str> = names.iter().map(String::as_str).collect();
        let gateway = site.start_gateway(&site.gateway_config(&clusters, ""));
        let start = |(at, name): (usize, &String)| {
            site.issue(name);
            exporters.write_guests(&site, name, true);
            Some(site.start_collector(&site.collector_config(name, &exporters.scrape_configs(&site, at))))
        };
        let collectors = names.iter().enumerate().map(start).collect();
        wait_for("every cluster to have pushed", || (site.get("/-/ready").0 == 200).then_some(()));
        let prometheus = Prometheus::start_verbose(&site, "soak", plan.pace, &job(&site));
        Soak {
            plan,
            exporters,
            gateway: Some(gateway),
            collectors,
            prometheus,
            dice: Dice(plan.seed),
            restarts: Vec::new(),
            refusals: Refusals::new(plan.pace),
            vanishings: Vanishings::new(plan.pace),
            left_out: LeftOut::default(),
            names,
            site,
        }
    }

    /// Reads what Prometheus refused since the last look, and what it has.
    fn look(&mut self) {
        self.refusals.read(&self.prometheus.take_log());
        self.exporters.take_turns(&self.site, &mut self.vanishings);
        self.vanishings.scraped(self.exporters.take_scrapes());
        let now = Instant::now();
        let there = self.prometheus.query("soak_marker");
        self.vanishings.look(now, there.into_keys(), &self.restarts);
        self.left_out.read(&self.site);
    }

    fn faults(&self) -> Vec<String> {
        let refused = self.refusals.faults(&self.restarts);
        refused.into_iter().chain(self.vanishings.faults()).collect()
    }

    /// How it goes, with the faults beyond the first `said`.
    fn say(&self, minute: u64, said: &mut usize) {
        eprintln!("minute {minute}: {} restarts, {}", self.restarts.len(), self.refusals.summary(&self.restarts));
        let faults = self.faults();
        faults.iter().skip(*said).for_each(|fault| eprintln!("  {fault}"));
        *said = faults.len();
    }

    /// Kills or ends the gateway, a collector, or both, and starts them again a little later.
    fn restart_one(&mut self) {
        let victim = match self.dice.below(5) {
            0 | 1 => Victim::Gateway,
            2 | 3 => Victim::Collector(self.dice.below(self.names.len())),
            _ => Victim::Both(self.dice.below(self.names.len())),
        };
        let (is_killed, down) = (self.dice.below(2) == 0, between(&mut self.dice, (Duration::ZERO, self.plan.pace)));
        let mut restart = Restart::begin(victim, is_killed, &self.names);
        self.stop(victim, is_killed);
        std::thread::sleep(down);
        self.start_again(victim);
        restart.end();
        if self.plan.is_verbose {
            eprintln!("restarted {restart}");
        }
        self.restarts.push(restart);
    }

    fn stop(&mut self, victim: Victim, is_killed: bool) {
        let end = |process: Option<Process>| {
            let Some(mut process) = process else { return };
            match is_killed {
                true => process.kill(),
                false => assert_eq!(process.terminate(END), Some(0), "it ends in order"),
            }
        };
        if let Some(at) = victim.collector() {
            end(self.collectors[at].take());
        }
        if victim.is_gateway() {
            end(self.gateway.take());
        }
    }

    fn start_again(&mut self, victim: Victim) {
        if victim.is_gateway() {
            self.gateway = Some(self.site.start_gateway(&self.site.path("gateway.yml")));
        }
        if let Some(at) = victim.collector() {
            let config = self.site.path(&format!("collector-{}.yml", self.names[at]));
            self.collectors[at] = Some(self.site.start_collector(&config));
        }
    }

    fn report(mut self) -> Report {
        self.look();
        let counted: Vec<f64> = REFUSED.iter().map(|what| self.prometheus.own_metric(&refused_metric(what))).collect();
        let mut faults = self.faults();
        if counted.iter().sum::<f64>() != self.refusals.total() as f64 {
            faults.push(format!("Prometheus counts {counted:?} refused, its log has {}", self.refusals.total()));
        }
        let mut text = String::new();
        let mut row = |what: &str, found: String| writeln!(text, "{what:<66} {found}").expect("a string takes all");
        row("length", format!("{:?}", self.plan.length));
        row("pace of scrapes, pushes and Prometheus", format!("{:?}", self.plan.pace));
        row("series in Prometheus at the end", self.prometheus.value("count({__name__=~\".+\"})").unwrap_or_default());
        row(
            "samples that Prometheus took",
            self.prometheus.own_metric("prometheus_tsdb_head_samples_appended_total{type=\"float\"}").to_string(),
        );
        for (what, found) in order::kinds(&self.restarts) {
            row(&format!("restarts: {what}"), found.to_string());
        }
        row("duplicate samples refused", counted[1].to_string());
        row("samples out of bounds refused", counted[2].to_string());
        row("samples out of order refused", counted[0].to_string());
        for (what, found) in self.refusals.table(&self.restarts) {
            row(&format!("  {what}"), found);
        }
        row("samples left out that Prometheus would have refused", self.left_out.total().to_string());
        for (what, found) in self.vanishings.table() {
            row(what, found);
        }
        Report { text, faults }
    }
}

fn refused_metric(what: &str) -> String {
    format!("prometheus_target_scrapes_sample_{what}_total")
}

/// The README's job.
fn job(site: &Site) -> String {
    format!(
        "  - job_name: fedgate\n    honor_labels: true\n    track_timestamps_staleness: true\n    metrics_path: /federate\n    \
         params:\n      'match[]': ['{{__name__=~\".+\"}}']\n    static_configs:\n      - targets: [\"127.0.0.1:{}\"]\n",
        site.http_port
    )
}
