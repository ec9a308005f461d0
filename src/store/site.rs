//! All clusters of the inventory, and the moment at which a reader looks at them.
//!
//! Invariant: the clusters here are those of the inventory that was set last, no more and no fewer; a cluster that left
//! it is gone for the readers that come after, with everything it pushed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use dashmap::DashMap;

use super::arrival::{Accepted, Arrival, Taken};
use super::cluster::{Cluster, Shared};
use super::history::{HistoryTotals, Keep, Keeper};
use super::inventory::Inventory;
use super::names::Wanted;
use super::recorded::{RecordError, Recorded, RecordedResults, RecordedSample, RuleId};
use super::refusal::Refusal;
use super::view::{ClusterView, NO_CLUSTER, SiteCluster, SiteTarget, SiteView};
use crate::model::{Labels, Timestamp};
use crate::snapshot::{Frame, FrameLimits, StreamId, TargetState};

/// The newest sample of every series of the site.
pub struct Store {
    clusters: DashMap<Arc<str>, Arc<Cluster>>,
    /// The same by name, for readers, who walk over all of them for each page. Replaced with the inventory.
    by_name: ArcSwap<Vec<Arc<Cluster>>>,
    shared: Shared,
    recorded: Recorded,
    /// Replaced by a reload, at its end; every push reads it.
    inventory: ArcSwap<Inventory>,
    /// Held while a reload judges all streams again, so that two do not mix.
    reload: Mutex<()>,
}

impl Store {
    /// A store that holds frames to these limits; without clusters until an inventory is set.
    pub fn new(limits: FrameLimits) -> Store {
        let shared = Shared { limits, ..Shared::default() };
        let (by_name, inventory) = (ArcSwap::default(), ArcSwap::default());
        Store {
            clusters: DashMap::new(),
            by_name,
            shared,
            recorded: Recorded::default(),
            inventory,
            reload: Mutex::default(),
        }
    }

    /// The inventory in force.
    pub fn inventory(&self) -> Arc<Inventory> {
        self.inventory.load_full()
    }

    /// The limits that frames are held to.
    pub fn frame_limits(&self) -> &FrameLimits {
        &self.shared.limits
    }

    /// Takes over an inventory: new clusters appear, those not listed vanish, and where labels, limits or policies
    /// changed every stream of the cluster is judged again, before readers see any of it.
    pub fn set_inventory(&self, inventory: Inventory) {
        let inventory = Arc::new(inventory);
        let _alone = self.reload.lock().unwrap_or_else(PoisonError::into_inner);
        self.clusters.retain(|name, _| inventory.get(name).is_some());
        for policy in inventory.iter() {
            let known = self.clusters.get(policy.cluster.as_str()).map(|known| known.value().clone());
            match known {
                Some(cluster) => cluster.set_policy(policy, &self.shared),
                None => {
                    let cluster = Arc::new(Cluster::new(policy.clone()));
                    self.clusters.insert(policy.cluster.as_str().into(), cluster);
                }
            }
        }
        self.by_name.store(Arc::new(self.sorted()));
        self.recorded.set_inventory(&self.shared.layouts, &inventory);
        self.inventory.store(inventory);
    }

    fn sorted(&self) -> Vec<Arc<Cluster>> {
        let named = self.clusters.iter().map(|entry| (entry.key().clone(), entry.value().clone()));
        let mut named: Vec<(Arc<str>, Arc<Cluster>)> = named.collect();
        named.sort_by(|a, b| a.0.cmp(&b.0));
        named.into_iter().map(|(_, cluster)| cluster).collect()
    }

    /// Applies one frame that a collector of `cluster` pushed: all of it or nothing.
    pub fn apply(&self, cluster: &str, frame: &Frame<'_>, arrival: &Arrival) -> Result<Accepted, Refusal> {
        self.apply_then(cluster, frame, arrival, |_| ()).map(|(accepted, ())| accepted)
    }

    /// As [`Store::apply`]; a frame that was applied is shown to `then` before another one of the cluster can be, so what that writes
    /// down stands in the order of application. It must be short.
    pub fn apply_then<R>(
        &self,
        cluster: &str,
        frame: &Frame<'_>,
        arrival: &Arrival,
        then: impl FnOnce(Taken<'_>) -> R,
    ) -> Result<(Accepted, R), Refusal> {
        let known = self.clusters.get(cluster).map(|known| known.value().clone());
        let cluster = known.ok_or_else(|| Refusal::UnknownCluster(cluster.to_owned()))?;
        cluster.apply(frame, arrival, &self.shared, then)
    }

    /// Says that nobody could push until now, to one cluster or to all: silence before it is nobody's, and streams that end by silence
    /// are counted from here.
    pub fn resume(&self, now: Instant, only: Option<&str>) {
        let clusters = match only {
            Some(name) => self.clusters.get(name).map(|known| known.value().clone()).into_iter().collect(),
            None => Vec::clone(&self.by_name.load()),
        };
        clusters.iter().for_each(|cluster| cluster.resume(now));
    }

    /// The targets that a collector wrote by remote write, as its latest stream tells them.
    pub fn written_by(&self, cluster: &str, collector: &str) -> Vec<TargetState> {
        let known = self.clusters.get(cluster).map(|known| known.value().clone());
        known.map_or_else(Vec::new, |cluster| cluster.written_by(collector))
    }

    /// Says that frames of a stream are missing for good: readers go on seeing what was before, and its next KEY begins it anew.
    pub fn forget_frames(&self, cluster: &str, stream: StreamId) {
        let known = self.clusters.get(cluster).map(|known| known.value().clone());
        known.into_iter().for_each(|cluster| cluster.forget_frames(stream));
    }

    /// Takes what a rule's evaluation at `at` gave: all its series, which take the place of those that the same rule gave before.
    /// One that is not among them ends at `at`. What other rules gave stays as it is.
    pub fn record(
        &self,
        rule: &RuleId,
        at: Timestamp,
        series: impl IntoIterator<Item = (Labels, RecordedSample)>,
    ) -> Result<RecordedResults, RecordError> {
        let inventory = self.inventory();
        self.recorded.record(rule, at, &mut series.into_iter(), (&self.shared, &inventory))
    }

    /// Takes what a rule of an earlier run gave, with its time; ascending by time for each rule. Readers see it with the next
    /// [`Store::show_restored`].
    pub fn restore(&self, rule: &RuleId, results: &RecordedResults) {
        self.recorded.restore(rule, results, (&self.shared, &self.inventory()));
    }

    /// Brings what was restored before the readers.
    pub fn show_restored(&self) {
        self.recorded.show();
    }

    /// What every rule gave last.
    pub fn all_recorded(&self) -> Vec<(RuleId, RecordedResults)> {
        self.recorded.all()
    }

    /// Ends the series of all rules but those that `keeps` names: what a reload does once the new rules are known. Gives what these
    /// rules gave last.
    pub fn retain_rules(&self, keeps: impl Fn(&RuleId) -> bool) -> Vec<(RuleId, RecordedResults)> {
        self.recorded.retain(keeps, &self.shared)
    }

    /// How far back scraped and recorded series are kept at most.
    pub fn reach(&self) -> (Duration, Duration) {
        self.shared.keeper.load().reach()
    }

    /// Says whose samples are kept from now on, and how long; what is kept already stays as far as it is still wanted.
    pub fn keep(&self, keeps: Vec<Keep>) {
        let _alone = self.reload.lock().unwrap_or_else(PoisonError::into_inner);
        let keeper = Keeper::new(keeps);
        if self.shared.keeper.load().keeps() == keeper.keeps() {
            return;
        }
        self.shared.keeper.store(Arc::new(keeper));
        self.by_name.load_full().iter().for_each(|cluster| cluster.keep(&self.shared));
        self.recorded.keep(&self.shared);
    }

    /// What the history may take, in bytes; where it takes more, everything is kept for a shorter time.
    pub fn set_history_max(&self, bytes: usize) {
        self.shared.usage.set_max(bytes);
    }

    /// What the history takes.
    pub fn history(&self) -> HistoryTotals {
        let (bytes, samples) = self.shared.usage.kept();
        HistoryTotals { bytes, samples, share: self.shared.usage.share() }
    }

    /// Frees streams whose series ended by silence, and what only they used.
    pub fn sweep(&self, monotonic: Instant) {
        self.by_name.load_full().iter().for_each(|cluster| cluster.sweep(monotonic, &self.shared));
        self.shared.layouts.sweep();
        self.shared.usage.balance();
    }

    /// One cluster's published view.
    pub fn cluster(&self, cluster: &str) -> Option<Arc<ClusterView>> {
        self.clusters.get(cluster).map(|known| known.view())
    }

    /// Beside `names`, whether live series have them that no rule recorded.
    pub fn has_scraped(&self, names: &[&str], monotonic: Instant) -> Vec<bool> {
        let mut wanted = Wanted::new(names);
        for cluster in self.by_name.load().iter() {
            wanted.look(&cluster.view(), monotonic);
        }
        wanted.found()
    }

    /// The whole site as it is now; `only` narrows it to one cluster. Recorded series are there in any case.
    pub fn view(&self, wall: Timestamp, monotonic: Instant, only: Option<&str>) -> SiteView {
        let views: Vec<Arc<ClusterView>> = match only {
            Some(name) => self.cluster(name).into_iter().collect(),
            None => self.by_name.load().iter().map(|cluster| cluster.view()).collect(),
        };
        let mut site = SiteView { wall, clusters: Vec::with_capacity(views.len()), ..SiteView::default() };
        for view in views {
            let cluster = site.clusters.len() as u32;
            let first = site.targets.len();
            for target in view.live_streams(monotonic).flat_map(|stream| stream.targets.iter()) {
                site.targets.push(SiteTarget { cluster, target: target.clone() });
            }
            if view.streams.len() > 1 {
                site.targets[first..].sort_by(|a, b| a.target.labels.cmp(&b.target.labels));
            }
            let facts = view.facts(wall, monotonic);
            site.departed.extend(view.departed.iter().map(|target| (cluster, target.clone())));
            site.clusters.push(SiteCluster { policy: view.policy.clone(), facts, generation: view.generation });
        }
        let recorded = self.recorded.shown();
        site.departed.extend(recorded.departed.iter().map(|target| (NO_CLUSTER, target.clone())));
        site.targets
            .extend(recorded.targets.iter().map(|target| SiteTarget { cluster: NO_CLUSTER, target: target.clone() }));
        site
    }
}
