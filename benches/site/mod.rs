//! A cluster's metrics as a pure function of seed and time: Slurm, node_exporter and DCGM families in their usual proportions,
//! 126 series a node, some 40 % of them changing from scrape to scrape, and 1 % of them replaced a minute.
//!
//! Shared by the benches; each uses a part of it.
#![allow(dead_code)]

pub(crate) mod latencies;

use std::sync::Arc;
use std::time::Duration;

use fedgate::model::{Labels, METRIC_NAME, Metadata, MetricType, Timestamp, stale_nan};
use fedgate::snapshot::{Beside, Outcome, OwnLabels, Report, Scrape, SlotTable};

/// Scrape interval.
pub(crate) const INTERVAL_MS: i64 = 15_000;
/// Series of one node.
pub(crate) const NODE_SERIES: usize = 126;

/// splitmix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// In 0..1.
    pub(crate) fn part(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.part() * end as f64) as usize
    }
}

/// How a series moves from one scrape to the next.
#[derive(Clone, Copy)]
enum Motion {
    Constant,
    /// 1 while the node is in this state, else 0.
    State {
        node: usize,
        state: usize,
    },
    /// With this chance a step of up to `step` either way, within `0..=top`, in units of `unit`.
    Walk {
        chance: f64,
        step: f64,
        top: f64,
        unit: f64,
    },
    /// With this chance it grows by half to one and a half times `rate` times the interval, in units of `unit`.
    Growth {
        chance: f64,
        rate: f64,
        unit: f64,
    },
}

struct Series {
    slot: u32,
    family: String,
    labels: Vec<(String, String)>,
    motion: Motion,
    value: f64,
}

/// One target's page in the course of time.
pub(crate) struct Page {
    target: Arc<Labels>,
    table: SlotTable,
    series: Vec<Series>,
    states: Vec<usize>,
    random: Random,
    now: i64,
    replaced: u64,
    /// Slots whose series ended with the last scrape.
    ended: Vec<u32>,
}

const GIB: f64 = 1_073_741_824.0;
const STATES: [&str; 6] = ["allocated", "down", "drain", "idle", "maint", "mixed"];
const PARTITIONS: [&str; 6] = ["batch", "debug", "gpu", "highmem", "interactive", "long"];

impl Page {
    /// A page with `nodes` whole nodes and then per-user series up to `series` in all.
    pub(crate) fn new(seed: u64, nodes: usize, series: usize) -> Page {
        Page::named("", seed, nodes, series)
    }

    /// The same with `prefix` before the names of nodes and users, so that no two pages share a label set.
    pub(crate) fn named(prefix: &str, seed: u64, nodes: usize, series: usize) -> Page {
        let target = Labels::from_pairs([("job", "site"), ("instance", &format!("cluster{seed}:9100"))]);
        let random = Random(seed.wrapping_mul(0xa076_1d64_78bd_642f));
        let mut page = Page {
            target: Arc::new(target),
            table: SlotTable::new(),
            series: Vec::new(),
            states: Vec::new(),
            random,
            now: 1_790_000_000_000,
            replaced: 0,
            ended: Vec::new(),
        };
        page.fill(prefix, nodes, series);
        page
    }

    /// What every series of the page has from its target.
    pub(crate) fn target(&self) -> &Labels {
        &self.target
    }

    /// The time before the first [`Page::advance`].
    pub(crate) fn set_now(&mut self, now: Timestamp) {
        self.now = now.0;
    }

    /// Metric name, labels of its own and value of each series, family by family.
    pub(crate) fn samples(&self) -> impl Iterator<Item = (&str, &[(String, String)], f64)> {
        self.series.iter().map(|series| (&*series.family, &*series.labels, series.value))
    }

    pub(crate) fn series(&self) -> usize {
        self.series.len()
    }

    fn fill(&mut self, prefix: &str, nodes: usize, series: usize) {
        self.states = (0..nodes).map(|_| self.random.below(STATES.len())).collect();
        let names: Vec<String> = (0..nodes).map(|node| format!("{prefix}cn{node:04}")).collect();
        let memory: Vec<f64> = (0..nodes).map(|_| [256.0, 512.0, 1024.0][self.random.below(3)] * GIB).collect();
        self.fill_slurm(&names, &memory);
        self.fill_node(&names, &memory);
        self.fill_devices(&names);
        assert_eq!(self.series.len(), nodes * NODE_SERIES);
        for user in 0..series - self.series.len() {
            let (account, user) = (format!("{prefix}proj{:03}", user / 7), format!("{prefix}user{user:04}"));
            let value = self.whole(500.0);
            let labels = [("account", &*account), ("user", &*user)];
            self.add("slurm_user_cpus_allocated", &labels, walk(0.1, 64.0, 4096.0, 1.0), value);
        }
    }

    fn fill_slurm(&mut self, names: &[String], memory: &[f64]) {
        let constant = Motion::Constant;
        for (metric, chance) in [("cpus_allocated", 0.1), ("cpus_idle", 0.1), ("cpus_other", 0.0), ("cpus_total", 0.0)]
        {
            self.each(names, &format!("slurm_node_{metric}"), |page, _| {
                (if chance > 0.0 { walk(chance, 32.0, 128.0, 1.0) } else { constant }, page.whole(128.0))
            });
        }
        let mib = 1_048_576.0;
        for (metric, chance, part) in [("allocated", 0.1, 8.0), ("free", 0.6, 64.0), ("total", 0.0, 1.0)] {
            self.each(names, &format!("slurm_node_memory_{metric}_bytes"), |page, node| {
                let motion = if chance > 0.0 { walk(chance, memory[node] / part, memory[node], mib) } else { constant };
                (motion, page.whole(memory[node] / mib) * mib)
            });
        }
        self.each(names, "slurm_node_cpu_load", |page, _| (walk(0.4, 4.0, 128.0, 0.01), page.whole(12_800.0) / 100.0));
        self.each(names, "slurm_node_gpus_allocated", |_, _| (walk(0.05, 4.0, 4.0, 1.0), 2.0));
        self.each(names, "slurm_node_gpus_total", |_, _| (constant, 4.0));
        self.each(names, "slurm_node_weight", |_, _| (constant, 10.0));
        for (node, name) in names.iter().enumerate() {
            for (state, word) in STATES.iter().enumerate() {
                let value = f64::from(u8::from(self.states[node] == state));
                let labels = [("node", &**name), ("partition", PARTITIONS[node % 6]), ("state", word)];
                self.add("slurm_node_state", &labels, Motion::State { node, state }, value);
            }
        }
    }

    fn fill_node(&mut self, names: &[String], memory: &[f64]) {
        let modes = [("idle", 0.2, 1.0), ("iowait", 0.004, 1.0), ("irq", 0.001, 0.3), ("softirq", 0.003, 1.0)];
        for name in names {
            for cpu in ["0", "1", "2", "3"] {
                for (mode, rate, chance) in modes.into_iter().chain([("system", 0.03, 1.0), ("user", 0.75, 1.0)]) {
                    let value = self.whole(4e8 * rate) / 100.0;
                    let labels = [("cpu", cpu), ("instance", &**name), ("mode", mode)];
                    self.add("node_cpu_seconds_total", &labels, grow(chance, rate, 0.01), value);
                }
            }
        }
        for (metric, step) in [("node_load1", 4.0), ("node_load5", 1.0), ("node_load15", 0.3)] {
            self.each(names, metric, |page, _| (walk(0.5, step, 128.0, 0.01), page.whole(12_800.0) / 100.0));
        }
        let fields = [("MemFree", 0.6), ("MemAvailable", 0.6), ("Buffers", 0.05), ("Cached", 0.3), ("Active", 0.5)];
        let more = [("Inactive", 0.3), ("Dirty", 0.4), ("Slab", 0.3), ("AnonPages", 0.5)];
        for (field, chance) in fields.into_iter().chain(more) {
            self.each(names, &format!("node_memory_{field}_bytes"), |page, node| {
                (walk(chance, memory[node] / 256.0, memory[node], 4096.0), page.whole(memory[node] / 4096.0) * 4096.0)
            });
        }
        self.each(names, "node_memory_MemTotal_bytes", |_, node| (Motion::Constant, memory[node]));
        for metric in ["node_memory_SwapTotal_bytes", "node_memory_SwapFree_bytes"] {
            self.each(names, metric, |_, _| (Motion::Constant, 0.0));
        }
        self.each(names, "node_boot_time_seconds", |page, _| (Motion::Constant, 1.7e9 + page.whole(5e7)));
        self.each(names, "node_uname_info", |_, _| (Motion::Constant, 1.0));
        let kernel =
            [("vmstat_pgfault", 1.0, 5e3), ("vmstat_pgmajfault", 0.3, 0.5), ("context_switches_total", 1.0, 2e4)];
        for (metric, chance, rate) in kernel.into_iter().chain([("forks_total", 0.8, 3.0), ("intr_total", 1.0, 1e4)]) {
            self.each(names, &format!("node_{metric}"), |page, _| (grow(chance, rate, 1.0), page.whole(rate * 4e6)));
        }
    }

    fn fill_devices(&mut self, names: &[String]) {
        let mounts = [("/dev/nvme0n1p2", "/"), ("/dev/nvme0n1p3", "/local/scratch"), ("tmpfs", "/run")];
        for (metric, chance) in [
            ("size_bytes", 0.0),
            ("free_bytes", 0.08),
            ("avail_bytes", 0.08),
            ("files", 0.0),
            ("files_free", 0.08),
            ("readonly", 0.0),
        ] {
            self.each_labelled(
                names,
                &format!("node_filesystem_{metric}"),
                ["device", "mountpoint"],
                &mounts,
                |page| {
                    let motion = if chance > 0.0 { walk(chance, 1e8, 8e11, 512.0) } else { Motion::Constant };
                    (motion, if metric == "readonly" { 0.0 } else { page.whole(8e8) * 512.0 })
                },
            );
        }
        let devices = [("eth0", "up"), ("ib0", "up")];
        let network = [
            ("receive_bytes_total", 1.0, 3e7),
            ("transmit_bytes_total", 1.0, 3e7),
            ("receive_packets_total", 1.0, 2e4),
            ("transmit_packets_total", 1.0, 2e4),
            ("receive_errs_total", 0.001, 0.1),
            ("transmit_errs_total", 0.0, 0.0),
            ("receive_drop_total", 0.05, 0.2),
            ("transmit_drop_total", 0.0, 0.0),
            ("up", 0.0, 1.0),
            ("speed_bytes", 0.0, 3e9),
        ];
        for (metric, chance, rate) in network {
            self.each_labelled(names, &format!("node_network_{metric}"), ["device", "operstate"], &devices, |page| {
                (if chance > 0.0 { grow(chance, rate, 1.0) } else { Motion::Constant }, page.whole(rate * 4e6))
            });
        }
        let disk = [
            ("read_bytes_total", 0.5, 1e5, 512.0),
            ("written_bytes_total", 0.9, 1e6, 512.0),
            ("reads_completed_total", 0.5, 10.0, 1.0),
            ("writes_completed_total", 0.9, 100.0, 1.0),
            ("io_time_seconds_total", 0.9, 0.05, 0.001),
        ];
        for (metric, chance, rate, unit) in disk {
            self.each_labelled(
                names,
                &format!("node_disk_{metric}"),
                ["device", "model"],
                &[("nvme0n1", "m1")],
                |page| (grow(chance, rate, unit), page.whole(rate * 4e6 / unit) * unit),
            );
        }
        for metric in ["received", "transmitted"] {
            let metric = format!("node_infiniband_port_data_{metric}_bytes_total");
            self.each_labelled(names, &metric, ["device", "port"], &[("mlx5_0", "1")], |page| {
                (grow(1.0, 1e9, 1.0), page.whole(4e15))
            });
        }
        let sensors = [("0000:18_3", "temp1"), ("0000:18_3", "temp2")];
        self.each_labelled(names, "node_hwmon_temp_celsius", ["chip", "sensor"], &sensors, |page| {
            (walk(0.3, 1.0, 95.0, 0.125), 30.0 + page.whole(40.0))
        });
        let cards = [("0", "NVIDIA H100"), ("1", "NVIDIA H100"), ("2", "NVIDIA H100"), ("3", "NVIDIA H100")];
        for (metric, chance, top, unit) in [
            ("GPU_UTIL", 0.4, 100.0, 1.0),
            ("GPU_TEMP", 0.2, 60.0, 1.0),
            ("FB_USED", 0.15, 81_920.0, 1.0),
            ("POWER_USAGE", 0.6, 640.0, 0.001),
        ] {
            self.each_labelled(names, &format!("DCGM_FI_DEV_{metric}"), ["gpu", "modelName"], &cards, |page| {
                (walk(chance, top / 10.0, top, unit), page.whole(top))
            });
        }
    }

    fn whole(&mut self, top: f64) -> f64 {
        (self.random.part() * top).floor()
    }

    fn each(&mut self, names: &[String], metric: &str, mut value: impl FnMut(&mut Page, usize) -> (Motion, f64)) {
        for (node, name) in names.iter().enumerate() {
            let (motion, start) = value(self, node);
            let labels = [("instance", &**name), ("partition", PARTITIONS[node % 6])];
            self.add(metric, &labels, motion, start);
        }
    }

    fn each_labelled(
        &mut self,
        names: &[String],
        metric: &str,
        labels: [&str; 2],
        values: &[(&str, &str)],
        mut value: impl FnMut(&mut Page) -> (Motion, f64),
    ) {
        for name in names {
            for (one, two) in values {
                let (motion, start) = value(self);
                self.add(metric, &[(labels[0], one), ("instance", name), (labels[1], two)], motion, start);
            }
        }
    }

    fn add(&mut self, metric: &str, labels: &[(&str, &str)], motion: Motion, value: f64) {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut series = Series { slot: 0, family: metric.to_owned(), labels, motion, value };
        series.slot = self.place(&series);
        self.series.push(series);
    }

    fn place(&mut self, series: &Series) -> u32 {
        let pairs = series.labels.iter().map(|(name, value)| (&**name, &**value));
        let labels = Labels::from_pairs(pairs.chain([(METRIC_NAME, &*series.family)]));
        let kind = if series.family.ends_with("_total") { MetricType::Counter } else { MetricType::Gauge };
        let help = format!("What {} says.", series.family).into();
        let metadata = Metadata { kind, help, unit: "".into() };
        self.table.insert(OwnLabels::from(&labels), &series.family, &metadata).unwrap()
    }

    /// Ends a share of the series and begins as many others: the same metric with a label value never seen before.
    pub(crate) fn replace(&mut self, share: f64) {
        for slot in std::mem::take(&mut self.ended) {
            self.table.remove(slot);
        }
        let count = (self.series.len() as f64 * share + self.random.part()) as usize;
        for _ in 0..count {
            let at = self.random.below(self.series.len());
            self.replaced += 1;
            self.ended.push(self.series[at].slot);
            self.series[at].labels.last_mut().unwrap().1 = format!("new{:05}", self.replaced);
            let series = std::mem::replace(
                &mut self.series[at],
                Series { slot: 0, family: String::new(), labels: Vec::new(), motion: Motion::Constant, value: 0.0 },
            );
            let slot = self.place(&series);
            self.series[at] = Series { slot, ..series };
        }
    }

    /// Moves every series one interval ahead.
    pub(crate) fn advance(&mut self) {
        self.now += INTERVAL_MS;
        let random = &mut self.random;
        for state in &mut self.states {
            if random.part() < 0.03 {
                *state = random.below(STATES.len());
            }
        }
        for series in &mut self.series {
            match series.motion {
                Motion::Constant => {}
                Motion::State { node, state } => series.value = f64::from(u8::from(self.states[node] == state)),
                Motion::Walk { chance, step, top, unit } => {
                    if random.part() < chance {
                        let moved = (series.value + (random.part() * 2.0 - 1.0) * step).clamp(0.0, top);
                        series.value = quantized(moved, unit);
                    }
                }
                Motion::Growth { chance, rate, unit } => {
                    if random.part() < chance {
                        series.value = quantized(series.value + rate * 15.0 * (0.5 + random.part()), unit);
                    }
                }
            }
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp(self.now)
    }

    /// The page as it is now, as its exporter would write it.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let mut family = "";
        for series in &self.series {
            if series.family != family {
                family = &series.family;
                let kind = if family.ends_with("_total") { "counter" } else { "gauge" };
                text.push_str(&format!("# HELP {family} What {family} says.\n# TYPE {family} {kind}\n"));
            }
            let pair = |(name, value): &(String, String)| format!("{name}=\"{value}\"");
            let pairs = series.labels.iter().map(pair).collect::<Vec<_>>().join(",");
            text.push_str(&format!("{family}{{{pairs}}} {}\n", series.value));
        }
        text
    }

    /// The page as it is now, as the collector would hand it on.
    pub(crate) fn scrape(&mut self) -> Scrape {
        let schema = self.table.schema();
        let mut values = vec![stale_nan(); self.table.len()];
        for series in &self.series {
            values[series.slot as usize] = series.value;
        }
        let samples = self.series.len() as u64;
        Scrape {
            target: self.target.clone(),
            started: Timestamp(self.now - 200 + self.random.below(3) as i64),
            duration: Duration::from_micros(9000 + self.random.below(3000) as u64),
            outcome: Outcome::Up,
            report: Report { samples_scraped: samples, samples_post_relabel: samples, ..Report::default() },
            schema,
            values,
            beside: Beside::default(),
        }
    }
}

/// Decimal units divide, so that the result is what a page's text would be read as.
fn quantized(value: f64, unit: f64) -> f64 {
    if unit >= 1.0 {
        (value / unit).round() * unit
    } else {
        (value * (1.0 / unit).round()).round() / (1.0 / unit).round()
    }
}

fn walk(chance: f64, step: f64, top: f64, unit: f64) -> Motion {
    Motion::Walk { chance, step, top, unit }
}

fn grow(chance: f64, rate: f64, unit: f64) -> Motion {
    Motion::Growth { chance, rate, unit }
}
