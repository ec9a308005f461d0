//! A site to measure with: clusters of Slurm nodes, one scraped page a cluster, label sets that no two clusters share.
//!
//! Each of a cluster's series names its node and cluster-wide host name in its own labels, so that nothing is shared
//! between clusters: the hardest shape for memory. 40 % of the values change from one round to the next.

#![allow(dead_code, reason = "each bench uses its part")]

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fedgate::model::{Labels, METRIC_NAME, Metadata, MetricType, Timestamp};
use fedgate::snapshot::{Beside, Encoder, Frame, FrameLimits, Outcome, OwnLabels, Report, Scrape, SlotTable, StreamId};
use fedgate::store::{Arrival, ClusterPolicy, Inventory, Store};

pub(crate) const CLUSTERS: usize = 200;
pub(crate) const SERIES: usize = 5_000;
pub(crate) const ROUNDS: usize = 20;
pub(crate) const START: i64 = 1_800_000_000_000;
pub(crate) const INTERVAL_MS: i64 = 15_000;

const MODES: [&str; 8] = ["idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user"];
const NODES: usize = 40;

/// How a cluster's page is ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// All nodes' series of a family, then the next family, as exporters write their pages.
    Family,
    /// All series of a node, then the next node, with a family for each: some two series of a name in a chunk.
    Node,
}

/// Writes the frames of all rounds of all clusters, in the order in which a gateway gets them.
pub(crate) fn produce(path: &Path, order: Order) {
    let mut file = std::io::BufWriter::new(File::create(path).expect("a file to write to"));
    let mut clusters: Vec<Producer> = (0..CLUSTERS).map(|number| Producer::new(number, order)).collect();
    for round in 0..ROUNDS {
        for (number, cluster) in clusters.iter_mut().enumerate() {
            for frame in cluster.round(round) {
                file.write_all(&(number as u32).to_le_bytes()).expect("room on the disk");
                file.write_all(&(frame.len() as u32).to_le_bytes()).expect("room on the disk");
                file.write_all(&frame).expect("room on the disk");
            }
        }
        file.write_all(&u32::MAX.to_le_bytes()).expect("room on the disk");
    }
}

struct Producer {
    encoder: Encoder,
    table: SlotTable,
    target: Arc<Labels>,
    values: Vec<f64>,
    random: u64,
}

impl Producer {
    fn new(number: usize, order: Order) -> Producer {
        let mut id = [7; 16];
        id[..8].copy_from_slice(&(number as u64).to_le_bytes());
        let encoder = Encoder::new(StreamId(id), Timestamp(START), FrameLimits::default());
        let target = Labels::from_pairs([
            ("instance", format!("exporter.c{number:03}.hpc.example:9100").as_str()),
            ("job", "site"),
        ]);
        let mut table = SlotTable::new();
        for series in 0..SERIES {
            let (labels, family, kind) = series_of(number, series, order);
            let all = with_target(&labels, &target);
            let metadata = Metadata { kind, help: format!("Help of {family}.").into(), unit: "".into() };
            table.insert(OwnLabels::between(&all, &target), &family, &metadata).expect("room");
        }
        assert_eq!(table.len(), SERIES, "no series twice");
        let values = (0..SERIES).map(|series| (series % 977) as f64).collect();
        Producer { encoder, table, target: Arc::new(target), values, random: number as u64 + 1 }
    }

    fn round(&mut self, round: usize) -> Vec<Vec<u8>> {
        for (series, value) in self.values.iter_mut().enumerate() {
            self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let draw = self.random >> 33;
            if draw % 10 < 4 {
                *value += if series % 5 < 2 { (draw % 1500) as f64 / 100.0 } else { (draw % 7) as f64 - 3.0 };
            }
        }
        let at = Timestamp(START + round as i64 * INTERVAL_MS);
        let scrape = Scrape {
            target: self.target.clone(),
            started: at,
            duration: Duration::from_micros(12_345),
            outcome: Outcome::Up,
            report: Report { samples_scraped: SERIES as u64, samples_post_relabel: SERIES as u64, ..Report::default() },
            schema: self.table.schema(),
            values: self.values.clone(),
            beside: Beside::default(),
        };
        let frames = self.encoder.tick(at, at, &[scrape], round == 0);
        frames.into_iter().map(|frame| frame.bytes.to_vec()).collect()
    }
}

fn with_target(series: &Labels, target: &Labels) -> Labels {
    Labels::from_pairs(target.iter().chain(series))
}

/// Labels, family and type of one series of a cluster.
fn series_of(cluster: usize, series: usize, order: Order) -> (Labels, String, MetricType) {
    let (node, number) = match order {
        Order::Family => (series % NODES, series / NODES),
        Order::Node => (series / (SERIES / NODES), series % (SERIES / NODES)),
    };
    let host = format!("node{node:04}.c{cluster:03}.hpc.example");
    let (name, kind, first, second) = match number {
        0..64 => (
            "node_cpu_seconds_total",
            MetricType::Counter,
            ("cpu", (number / 8).to_string()),
            ("mode", MODES[number % 8].to_owned()),
        ),
        64..84 => (
            "node_disk_bytes_total",
            MetricType::Counter,
            ("device", format!("nvme{}n1", number / 2 % 10)),
            ("direction", ["read", "write"][number % 2].to_owned()),
        ),
        _ => ("", MetricType::Gauge, ("partition", "batch".to_owned()), ("state", "allocated".to_owned())),
    };
    let gauge = format!("slurm_node_gauge_{number:03}");
    let is_gauge = name.is_empty() || order == Order::Node;
    let (name, kind) = if is_gauge { (gauge.as_str(), MetricType::Gauge) } else { (name, kind) };
    let pairs =
        [(METRIC_NAME, name), (first.0, first.1.as_str()), (second.0, second.1.as_str()), ("node", host.as_str())];
    (Labels::from_pairs(pairs), name.to_owned(), kind)
}

/// A file with [`produce`]'s frames, made by another process so that its memory is not counted here.
pub(crate) fn produced(order: Order) -> PathBuf {
    let path = std::env::temp_dir().join(format!("fedgate-bench-{}.frames", std::process::id()));
    let this = std::env::current_exe().expect("the bench's own path");
    let word = if order == Order::Node { "produce-by-node" } else { "produce-by-family" };
    let done = std::process::Command::new(this).arg(word).arg(&path).status().expect("the bench runs itself");
    assert!(done.success());
    path
}

/// True where this process is the one that produces.
pub(crate) fn is_producer() -> bool {
    let arguments: Vec<String> = std::env::args().collect();
    for (word, order) in [("produce-by-family", Order::Family), ("produce-by-node", Order::Node)] {
        if let Some(at) = arguments.iter().position(|argument| argument == word) {
            produce(Path::new(&arguments[at + 1]), order);
            return true;
        }
    }
    false
}

pub(crate) fn store() -> Store {
    let store = Store::new(FrameLimits::default());
    let policies = (0..CLUSTERS).map(|number| {
        let name = format!("c{number:03}");
        ClusterPolicy { identities: vec![name.clone()], ..ClusterPolicy::new(&name, "production") }
    });
    store.set_inventory(Inventory::new(policies).expect("unique names"));
    store
}

/// Applies round after round; `after` sees each one's number and CPU time.
pub(crate) fn replay(store: &Store, path: &Path, mut after: impl FnMut(usize, Duration)) {
    for (round, pushes) in rounds(path).enumerate() {
        let before = cpu_time();
        pushes.iter().for_each(|push| push.apply(store));
        after(round, cpu_time() - before);
    }
}

/// A frame as a gateway gets it.
pub(crate) struct Push {
    pub(crate) cluster: Arc<str>,
    bytes: Vec<u8>,
    wall: Timestamp,
}

impl Push {
    pub(crate) fn apply(&self, store: &Store) {
        let (wall, monotonic) = (self.wall, Instant::now());
        let collector = self.cluster.clone();
        let arrival = Arrival { collector, certificate_expires: wall, clock_skew_ms: None, wall, monotonic };
        let (frame, _) = Frame::parse(&self.bytes, store.frame_limits()).expect("our own frame");
        store.apply(&self.cluster, &frame, &arrival).expect("frames in order");
    }
}

/// The rounds of a file, each read when it is asked for.
pub(crate) fn rounds(path: &Path) -> impl Iterator<Item = Vec<Push>> + use<> {
    let mut file = std::io::BufReader::new(File::open(path).expect("the produced file"));
    let names: Vec<Arc<str>> = (0..CLUSTERS).map(|number| format!("c{number:03}").into()).collect();
    (0..ROUNDS).map(move |round| {
        let (mut pushes, wall) = (Vec::new(), Timestamp(START + round as i64 * INTERVAL_MS));
        loop {
            let cluster = read_u32(&mut file);
            if cluster == u32::MAX {
                return pushes;
            }
            let mut bytes = vec![0; read_u32(&mut file) as usize];
            file.read_exact(&mut bytes).expect("a whole frame");
            pushes.push(Push { cluster: names[cluster as usize].clone(), bytes, wall });
        }
    })
}

fn read_u32(file: &mut impl Read) -> u32 {
    let mut bytes = [0; 4];
    file.read_exact(&mut bytes).expect("the file ends with a round");
    u32::from_le_bytes(bytes)
}

/// CPU time of all threads of this process.
pub(crate) fn cpu_time() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
    let of_task = |task: std::io::Result<std::fs::DirEntry>| {
        let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    };
    Duration::from_nanos(tasks.filter_map(of_task).sum())
}

/// Resident memory in bytes.
pub(crate) fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<usize>().ok()).expect("kilobytes") * 1024
}
