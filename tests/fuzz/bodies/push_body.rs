//! Bodies that a collector pushes, each of several frames, and the site that readers then see.
//!
//! Promises: a refused body changes nothing of what stood before the frame at fault; what is taken can be selected and read;
//! no cluster shows more series than its limit.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fedgate::model::Timestamp;
use fedgate::push::protocol::Verdict;
use fedgate::push::receive::{BodyLimits, Pusher, Receiver};
use fedgate::runtime::CpuPool;
use fedgate::store::{ClusterLimits, ClusterPolicy, Inventory, LabelConflict, Store, select};
use fedgate::telemetry::{GatewayMetrics, Registry};
use fedgate::tls::{Identity, Serial};

use super::frame_stream;
use super::unpacked::{Records, START_MS, limits};

const IDENTITY: &str = "spiffe://fuzz/collector/alpha";
pub(super) const SERIES_MAX: u64 = 200;

/// Sends the records' frames in bodies.
pub(crate) fn run(input: &[u8]) {
    let mut records = Records::parse(input);
    frame_stream::read(&mut records);
    let site = Site::under(policy());
    let mut body = Vec::new();
    for record in 0..records.len() {
        if records.ends_body(record) {
            site.push(&std::mem::take(&mut body), record);
        }
        body.extend(records.frame(record));
    }
    site.push(&body, records.len());
}

pub(super) struct Site {
    pub(super) store: Arc<Store>,
    pub(super) receiver: Arc<Receiver>,
    pub(super) pusher: Pusher,
    pub(super) began: Instant,
}

thread_local! {
    /// Bodies are applied by the caller here, so the pool's one thread only waits.
    static POOL: RefCell<Option<CpuPool>> = const { RefCell::new(None) };
}

impl Site {
    /// A site of one cluster under this policy.
    pub(super) fn under(policy: ClusterPolicy) -> Site {
        let store = Arc::new(Store::new(limits()));
        let pool = POOL.with_borrow_mut(|pool| pool.get_or_insert_with(|| CpuPool::new(1).expect("a thread")).clone());
        let metrics = GatewayMetrics::new(&mut Registry::default());
        let body = BodyLimits { bytes_max: 1 << 20, frames_max: 8 };
        let receiver = Receiver::new(store.clone(), pool, metrics, body);
        receiver.set_inventory(Inventory::new([policy]).expect("an inventory without faults"));
        let identity = Identity {
            uris: vec![IDENTITY.to_owned()],
            dns: Vec::new(),
            serial: Serial::from_octets(&[1]),
            not_after: Timestamp(i64::MAX),
            fingerprint: [0; 32],
        };
        let pusher = receiver.identify(Some(&identity)).expect("the inventory has it");
        Site { store, receiver: Arc::new(receiver), pusher, began: Instant::now() }
    }

    fn push(&self, body: &[u8], nth: usize) {
        let after = Duration::from_secs(nth as u64);
        let (wall, monotonic) = (Timestamp(START_MS) + after, self.began + after);
        let verdict = self.receiver.apply(&self.pusher, body, wall, monotonic).verdict;
        assert!(!matches!(verdict, Verdict::Unauthenticated { .. }), "{verdict:?}");
        let view = self.store.view(wall, monotonic, None);
        let selection = select(&view, &[Vec::new()]);
        let live: usize = view.targets.iter().map(|target| target.target.layout.live()).sum();
        assert!(live as u64 <= SERIES_MAX, "{live} series of at most {SERIES_MAX}");
        drop(selection);
    }
}

/// A policy with limits that few bytes can reach.
pub(super) fn policy() -> ClusterPolicy {
    ClusterPolicy {
        identities: vec![IDENTITY.to_owned()],
        on_label_conflict: LabelConflict::Rename,
        limits: ClusterLimits {
            series: SERIES_MAX,
            labels_per_series: 12,
            label_name_bytes: 32,
            label_value_bytes: 64,
            streams: 2,
            ..ClusterLimits::default()
        },
        ..ClusterPolicy::new("alpha", "test")
    }
}
