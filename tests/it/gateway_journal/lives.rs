//! A gateway's store, receiver and logs without its listeners, started again and again over one directory.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fedgate::config::{JournalConfig, Ratio};
use fedgate::journal::{DiskFiles, Files};
use fedgate::model::{Labels, Timestamp, is_stale};
use fedgate::push::protocol::Verdict;
use fedgate::push::receive::{BodyLimits, Pusher, Receiver};
use fedgate::runtime::{CpuPool, Shutdown, Stage, clock};
use fedgate::snapshot::{EncodedFrame, FrameLimits};
use fedgate::store::{ClusterLimits, ClusterPolicy, Inventory, Keep, Store};
use fedgate::telemetry::{GatewayMetrics, Registry};
use fedgate::wal::{Now, Replayed, Wal, reaching_back, replay_frames, replay_recorded};

/// Long enough for a commit on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

/// One run of a gateway.
pub(super) struct Life {
    pub(super) wal: Wal,
    pub(super) store: Arc<Store>,
    pub(super) receiver: Arc<Receiver>,
    pub(super) replayed: Arc<Replayed>,
    shutdown: Shutdown,
}

/// What readers see: by target and series the value and its time.
pub(super) type Shown = BTreeMap<String, (u64, i64)>;

/// A policy whose collectors are `CLUSTER-1`, `CLUSTER-2`, …
pub(super) fn policy(cluster: &str) -> ClusterPolicy {
    let limits = ClusterLimits { samples_per_second: u64::MAX, ..ClusterLimits::default() };
    let identities = (1..4).map(|number| format!("{cluster}-{number}")).collect();
    ClusterPolicy { identities, limits, ..ClusterPolicy::new(cluster, "test") }
}

pub(super) fn small_segments() -> JournalConfig {
    let mut config = JournalConfig { commit_interval: Duration::ZERO, ..JournalConfig::default() };
    config.segment_bytes.0 = 4 << 10;
    // The machine that runs the tests may have a full disk.
    config.free_disk_min_ratio = Ratio::default();
    config
}

impl Life {
    /// Begins with the directory as it is. `keeps`: what is kept of the past.
    pub(super) async fn begin(dir: &Path, config: &JournalConfig, clusters: &[&str], keeps: Vec<Keep>) -> Life {
        Life::begin_on(Arc::new(DiskFiles), dir, config, clusters, keeps)
    }

    /// The same over another disk. Within a runtime.
    pub(super) fn begin_on(
        files: Arc<dyn Files>,
        dir: &Path,
        config: &JournalConfig,
        clusters: &[&str],
        keeps: Vec<Keep>,
    ) -> Life {
        let (shutdown, limits) = (Shutdown::new(), FrameLimits::default());
        let wal = Wal::open(&files, dir, config, &limits, &shutdown.tasks(Stage::Rest), clock::now()).unwrap();
        let store = Arc::new(Store::new(limits));
        let metrics = GatewayMetrics::new(&mut Registry::new());
        let bounds = BodyLimits { bytes_max: 1 << 20, frames_max: 4096 };
        let receiver = Receiver::new(store.clone(), CpuPool::new(2).unwrap(), metrics, bounds);
        let receiver = Arc::new(receiver.journalling(Some(wal.frames.clone())));
        receiver.set_inventory(Inventory::new(clusters.iter().map(|cluster| policy(cluster))).unwrap());
        store.keep(keeps);
        let life = Life { wal, store, receiver, replayed: Arc::default(), shutdown };
        life.replay();
        life
    }

    fn replay(&self) {
        let now = Now { wall: clock::now(), monotonic: clock::monotonic() };
        let (scraped, recorded) = self.store.reach();
        let from = self.wal.retention.checkpoint().unwrap();
        let from = from.min(reaching_back(self.wal.frames.log(), scraped, now.wall));
        replay_frames(&self.wal.frames, &self.store, from, now, 2, &|| false, &self.replayed).unwrap();
        let from = reaching_back(self.wal.recorded.log(), recorded, now.wall);
        replay_recorded(&self.wal.recorded, &self.store, from, &|| false, &self.replayed).unwrap();
        self.store.resume(clock::monotonic(), None);
        self.wal.frames.resume(clock::now()).unwrap();
    }

    /// Pushes as a collector of this identity.
    pub(super) async fn push(&self, collector: &str, frames: &[EncodedFrame]) -> Verdict {
        let membership = self.store.inventory().identify([collector]).expect("a collector of the inventory");
        let pusher = Pusher { membership, certificate_expires: Timestamp(i64::MAX), clock_skew_ms: Some(7) };
        let body: Vec<u8> = frames.iter().flat_map(|frame| frame.bytes.iter().copied()).collect();
        self.receiver.receive(pusher, body.into()).await
    }

    /// All that readers see now.
    pub(super) fn shown(&self) -> Shown {
        shown(&self.store)
    }

    /// One round of the retention.
    pub(super) fn round(&self) {
        self.wal.retention.round(clock::now(), self.store.reach()).unwrap();
    }

    /// Ends in order.
    pub(super) async fn end(self) {
        self.shutdown.ending().request();
        assert!(self.shutdown.run(DEADLINE).await, "the logs end in time");
    }
}

pub(super) fn shown(store: &Store) -> Shown {
    let view = store.view(clock::now(), Instant::now(), None);
    let mut shown = Shown::new();
    for site in &view.targets {
        let target = &site.target;
        for (number, indexed) in target.layout.chunks().iter().enumerate() {
            for slot in indexed.slots() {
                let at = number * 256 + usize::from(*slot);
                let value = target.column.get(at);
                if !is_stale(value) {
                    let labels =
                        indexed.chunk().labels(usize::from(*slot), &target.labels).unwrap_or_else(Labels::empty);
                    shown.insert(format!("{}{labels}", site.cluster), (value.to_bits(), target.started.0));
                }
            }
        }
    }
    shown
}
