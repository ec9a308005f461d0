//! The loss test: what exporters served, through real processes that are killed and cut off, held against what a receiver of
//! remote write recorded.
//!
//! Every moment and victim follows from a seed, up to timing. `cargo bench --bench loss` runs as many as
//! wanted, of fedgate or of what a site would run instead. What is promised stands in docs/reliability.md.

mod disk;
mod exporter;
mod pipeline;
mod proxy;
mod receiver;
mod verdict;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::dice::Dice;
use exporter::Exporters;
use pipeline::Pipeline;
pub(crate) use pipeline::{Kind, faketime};
use receiver::{Mode, Receiver};
pub(crate) use verdict::Verdict;

/// The long outage as its cluster's clock has it, and how much faster than others that clock goes.
const OUTAGE: (Duration, u32) = (Duration::from_secs(3 * 3600), 360);
/// How far the other clusters' newest values may be behind their exporters then, in scrapes.
const LAG: u64 = 5;
/// How finely moments are kept to.
const LOOK: Duration = Duration::from_millis(20);
/// How long everything may take to arrive once nothing breaks any more.
const SETTLE: Duration = Duration::from_secs(60);

/// How long, how rough.
pub(crate) struct Plan {
    pub(crate) kind: Kind,
    pub(crate) length: Duration,
    /// Interval of scrapes and pushes; whole seconds.
    pub(crate) pace: Duration,
    pub(crate) clusters: usize,
    pub(crate) faults: usize,
    pub(crate) seed: u64,
    /// Whether the last cluster begins with three hours without a gateway, in shifted time; needs [`faketime`].
    pub(crate) has_long_outage: bool,
    /// Whether the gateway's journal is on a disk of its own, which is full at times; needs the right to mount.
    pub(crate) has_small_disk: bool,
    pub(crate) is_verbose: bool,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    ReceiverRefuses,
    ReceiverResets,
    GatewayKilled,
    AgentKilled(usize),
    CutOff(usize),
    DiskFull,
}

/// When it begins and when it is over, since the start.
#[derive(Clone, Copy, Debug)]
struct Episode {
    fault: Fault,
    begins: Duration,
    ends: Duration,
}

/// The faults of a run, at random moments, so that a kill may well fall into a refusal.
fn draw(plan: &Plan) -> Vec<Episode> {
    let mut dice = Dice(plan.seed);
    let millis = plan.length.as_millis() as usize;
    let mut episodes: Vec<Episode> = Vec::new();
    while episodes.len() < plan.faults {
        let cluster = dice.below(plan.clusters);
        // Each kind has its turn; only what surrounds it is left to chance.
        let fault = match episodes.len() % 6 {
            3 if plan.has_small_disk => Fault::DiskFull,
            0 | 3 => dice.of(&[Fault::ReceiverRefuses, Fault::ReceiverResets]),
            1 => Fault::GatewayKilled,
            2 => Fault::AgentKilled(cluster),
            4 => dice.of(&[Fault::GatewayKilled, Fault::AgentKilled(cluster)]),
            _ => Fault::CutOff(cluster),
        };
        let begins = Duration::from_millis((millis / 20 + dice.below(millis * 3 / 4)) as u64);
        let ends = begins + Duration::from_millis(500 + dice.below(millis / 6) as u64);
        let is_busy = |other: &Episode| other.fault == fault && begins < other.ends && other.begins < ends;
        if !episodes.iter().any(is_busy) {
            episodes.push(Episode { fault, begins, ends });
        }
    }
    episodes
}

struct Run<'a> {
    plan: &'a Plan,
    receiver: Receiver,
    exporters: Exporters,
    pipeline: Pipeline,
    kills: BTreeMap<String, u64>,
    active: Vec<Fault>,
}

/// Runs it to its end and judges.
pub(crate) fn run(plan: &Plan) -> Verdict {
    let (receiver, exporters) = (Receiver::start(), Exporters::start());
    let pipeline = Pipeline::start(plan, exporters.port, receiver.port);
    let mut run = Run { plan, receiver, exporters, pipeline, kills: BTreeMap::new(), active: Vec::new() };
    if plan.has_long_outage {
        run.cut_off_for_hours();
    }
    run.go();
    run.settle();
    let verdict = verdict::judge(&run.exporters.served(), &run.receiver.samples(), &run.kills);
    if !verdict.details.is_empty() && plan.is_verbose {
        eprintln!("{}\n{}", verdict.details.join("\n"), run.pipeline.gateway_output());
    }
    verdict
}

impl Run<'_> {
    /// The last cluster's collector scrapes for hours that nobody hears of, is killed, and starts anew in the present.
    fn cut_off_for_hours(&mut self) {
        let cluster = self.plan.clusters - 1;
        let (length, speed) = OUTAGE;
        self.pipeline.kill_agent(cluster);
        self.pipeline.cut(cluster);
        self.pipeline.start_shifted_agent(cluster, length, speed);
        // A little before its clock would overtake the others'.
        std::thread::sleep(length * 97 / 100 / speed);
        self.others_are_live(cluster);
        self.kill(cluster);
        self.pipeline.join(cluster);
        self.pipeline.start_agent(cluster);
    }

    fn others_are_live(&self, cut_off: usize) {
        let samples = self.receiver.samples();
        let prefix = format!("{}/", self.pipeline.clusters[cut_off]);
        for (exporter, served) in self.exporters.served().iter().filter(|(name, _)| !name.starts_with(&prefix)) {
            let newest = verdict::newest(exporter, &samples);
            assert!(newest + LAG >= served.last, "{exporter} stays live: {newest} of {} arrived", served.last);
        }
    }

    fn kill(&mut self, cluster: usize) {
        *self.kills.entry(self.pipeline.clusters[cluster].clone()).or_default() += 1;
        self.pipeline.kill_agent(cluster);
    }

    fn go(&mut self) {
        let episodes = draw(self.plan);
        let mut turns: Vec<(Duration, bool, Fault)> = episodes
            .iter()
            .flat_map(|episode| [(episode.begins, true, episode.fault), (episode.ends, false, episode.fault)])
            .collect();
        turns.sort_by_key(|(at, ..)| *at);
        let start = Instant::now();
        for (at, begins, fault) in turns {
            while start.elapsed() < at {
                std::thread::sleep(LOOK);
            }
            if self.plan.is_verbose {
                eprintln!(
                    "{:6.1} s {} {fault:?}",
                    start.elapsed().as_secs_f64(),
                    if begins { "begins" } else { "ends" }
                );
            }
            if begins { self.begin(fault) } else { self.end(fault) }
        }
        while start.elapsed() < self.plan.length {
            std::thread::sleep(LOOK);
        }
    }

    fn begin(&mut self, fault: Fault) {
        self.active.push(fault);
        match fault {
            Fault::ReceiverRefuses | Fault::ReceiverResets => self.set_receiver_mode(),
            Fault::GatewayKilled => self.pipeline.kill_gateway(),
            Fault::AgentKilled(cluster) => self.kill(cluster),
            Fault::CutOff(cluster) => self.pipeline.cut(cluster),
            Fault::DiskFull => self.pipeline.fill_disk(),
        }
    }

    fn end(&mut self, fault: Fault) {
        self.active.retain(|active| *active != fault);
        match fault {
            Fault::ReceiverRefuses | Fault::ReceiverResets => self.set_receiver_mode(),
            Fault::GatewayKilled => self.pipeline.start_gateway(),
            Fault::AgentKilled(cluster) => self.pipeline.start_agent(cluster),
            Fault::CutOff(cluster) => self.pipeline.join(cluster),
            Fault::DiskFull => self.pipeline.free_disk(),
        }
    }

    fn set_receiver_mode(&self) {
        let mode = match self.active.contains(&Fault::ReceiverResets) {
            true => Mode::Reset,
            false if self.active.contains(&Fault::ReceiverRefuses) => Mode::Refuse,
            false => Mode::Accept,
        };
        self.receiver.set_mode(mode);
    }

    /// Lets what is under way arrive: until the last page of each exporter is there, and for a while at most.
    fn settle(&self) {
        self.pipeline.wait_until_whole();
        self.exporters.freeze();
        let start = Instant::now();
        while start.elapsed() < SETTLE && !self.has_all() {
            std::thread::sleep(self.plan.pace / 4);
        }
        // What comes again would come now.
        std::thread::sleep(2 * self.plan.pace);
    }

    fn has_all(&self) -> bool {
        let verdict = verdict::judge(&self.exporters.served(), &self.receiver.samples(), &self.kills);
        verdict.missing == 0 || verdict.unexplained == 0 && self.receiver_is_quiet()
    }

    fn receiver_is_quiet(&self) -> bool {
        let before = self.receiver.requests();
        std::thread::sleep(4 * self.plan.pace);
        // Own metrics and `up` go on, so silence is not to be had; all pages being explained is what counts.
        self.receiver.requests() >= before
    }
}
