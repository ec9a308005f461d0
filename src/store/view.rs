//! What readers see: immutable, whole, without locks.
//!
//! Invariant: a view holds one state of each stream, published at the end of a snapshot and never changed again; each
//! target is in exactly one stream of its cluster's view. A reader takes a [`SiteView`] once and may keep it as long
//! as it needs: nobody waits for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::arrival::CollectorSeen;
use super::facts::ClusterFacts;
use super::history::Strips;
use super::inventory::ClusterPolicy;
use super::layout::Layout;
use super::returns::{Absence, Ended};
use crate::model::{Labels, Timestamp};
use crate::snapshot::{Beside, Column, Outcome, Report, StreamId};

/// Numbers the published views, ascending over the whole store.
pub type Generation = u64;

/// One target after its last scrape.
#[derive(Clone, Debug)]
pub struct TargetView {
    /// Labels of every series that does not override them; the inventory's are not among them.
    pub labels: Arc<Labels>,
    /// The admitted series; of recorded ones as pages show them.
    pub layout: Layout,
    /// Recorded series with exactly the labels that their rule gave them, slot by slot as in `layout`.
    pub recorded: Option<Layout>,
    /// Values by slot; the stale marker where a series has no sample.
    pub column: Column,
    /// Start of the scrape: the timestamp of its samples.
    pub started: Timestamp,
    /// How long the scrape took.
    pub duration: Duration,
    /// Whether it succeeded.
    pub outcome: Outcome,
    /// What the collector counted.
    pub report: Report,
    /// What few slots have beside their value.
    pub beside: Arc<Beside>,
    /// Series that readers saw end and that are back since a view or a few.
    pub back: Arc<[Ended]>,
    /// What is kept of the samples before, and of these.
    pub history: Strips,
    /// Which pages lacked the whole target, while it is there since a view or a few.
    pub absence: Option<Absence>,
}

impl TargetView {
    /// The series as queries see them.
    pub fn queried(&self) -> &Layout {
        self.recorded.as_ref().unwrap_or(&self.layout)
    }

    /// The time of the sample in `slot`: the page's, where it gave one, else the scrape's.
    pub fn timestamp_of(&self, slot: u32) -> Timestamp {
        self.beside.timestamp_of(slot).unwrap_or(self.started)
    }
}

/// One stream's targets after its last whole snapshot.
#[derive(Clone, Debug)]
pub struct StreamView {
    /// The stream.
    pub id: StreamId,
    /// The identity that pushed it.
    pub collector: Arc<str>,
    /// Last sign of life, by the monotonic clock.
    pub heard: Instant,
    /// The targets that it owns, ascending by their labels' canonical bytes.
    pub targets: Arc<[Arc<TargetView>]>,
}

/// What is kept of a target that is gone.
#[derive(Clone, Debug)]
pub struct DepartedTarget {
    /// The labels that it had.
    pub labels: Arc<Labels>,
    /// All its series are retired.
    pub history: Strips,
}

/// A cluster's streams and the policy that admitted them.
#[derive(Clone, Debug)]
pub struct ClusterView {
    /// Labels, limits, time-outs.
    pub policy: Arc<ClusterPolicy>,
    /// Its streams, by id.
    pub streams: Vec<Arc<StreamView>>,
    /// Which view of the store's views it is; two of the same targets may share a number.
    pub generation: Generation,
    /// Targets that are gone, of which something is still kept.
    pub departed: Arc<[DepartedTarget]>,
    pub(super) collectors: Vec<CollectorSeen>,
}

impl ClusterView {
    /// Whether a collector has told how it stands now. Definitions tell nothing, and what comes again after a restart begins
    /// with a state of minutes ago.
    pub fn is_current(&self, wall: Timestamp) -> bool {
        let oldest = wall - self.policy.fresh_within();
        self.collectors.iter().any(|seen| seen.told.is_some_and(|told| told.tick >= oldest))
    }

    /// The streams whose series have not ended by silence at `monotonic`.
    pub fn live_streams(&self, monotonic: Instant) -> impl Iterator<Item = &Arc<StreamView>> {
        let end_after = self.policy.series_end_after();
        self.streams.iter().filter(move |stream| monotonic.saturating_duration_since(stream.heard) <= end_after)
    }
}

/// [`SiteTarget::cluster`] of recorded series, which belong to none.
pub const NO_CLUSTER: u32 = u32::MAX;

/// A target in a [`SiteView`].
#[derive(Clone, Debug)]
pub struct SiteTarget {
    /// Index into [`SiteView::clusters`], or [`NO_CLUSTER`].
    pub cluster: u32,
    /// The target.
    pub target: Arc<TargetView>,
}

/// A cluster in a [`SiteView`].
#[derive(Clone, Debug)]
pub struct SiteCluster {
    /// Labels, limits, time-outs.
    pub policy: Arc<ClusterPolicy>,
    /// The always-there facts.
    pub facts: ClusterFacts,
    /// Which of its views this is.
    pub generation: Generation,
}

/// The whole site at one moment.
#[derive(Clone, Debug, Default)]
pub struct SiteView {
    /// Every cluster of the inventory, by name.
    pub clusters: Vec<SiteCluster>,
    /// Every target that is alive, by cluster, then by its labels' canonical bytes.
    pub targets: Vec<SiteTarget>,
    /// Targets that are gone, with their clusters as [`SiteTarget::cluster`] has them.
    pub departed: Vec<(u32, DepartedTarget)>,
    /// The gateway's clock when the view was taken.
    pub wall: Timestamp,
}

impl SiteView {
    /// The cluster that a target belongs to.
    pub fn cluster_of(&self, site: &SiteTarget) -> Option<&SiteCluster> {
        self.clusters.get(site.cluster as usize)
    }

    /// Leaves out the samples that a reader would refuse because it marked their series as ended later than they were taken;
    /// says how many series these are. `marked` gives the time of the first page of a cluster that the reader was shown
    /// and that lacked something so.
    pub fn leave_out_refused(&mut self, marked: impl Fn(&ClusterPolicy, Absence) -> Option<Timestamp>) -> usize {
        let (mut left_out, clusters) = (0, &self.clusters);
        self.targets.retain_mut(|site| {
            let Some(cluster) = clusters.get(site.cluster as usize) else { return true };
            let marked = |absence| marked(&cluster.policy, absence);
            if site.target.is_refused(marked) {
                left_out += site.target.layout.live();
                return false;
            }
            if let Some((view, samples)) = site.target.without_refused(marked) {
                site.target = Arc::new(view);
                left_out += samples;
            }
            true
        });
        left_out
    }
}
