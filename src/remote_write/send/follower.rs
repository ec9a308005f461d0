//! The site as it was, frame by frame: a store of the endpoint's own, fed with the journal's frames.
//!
//! Each frame is applied under the policy of its own time, by a monotonic clock that shows what it showed then; so labels, limits,
//! conflicts, who owns a target and whose series end by silence are what they were at the gateway, however late the endpoint is.
//!
//! Invariant: what comes out is a function of the frames that went in, in their order, and (for silence at the end of the log) of the
//! time at which it was asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::changes::Followed;
use super::labels::Labelling;
use super::rows::FrameSamples;
use crate::model::{Labels, MetricType, Timestamp};
use crate::snapshot::{Frame, FrameLimits, NameId};
use crate::store::{Arrival, ClusterPolicy, Inventory, NO_CLUSTER, Refusal, RuleId, Store};
use crate::wal::RuleChange;

/// A frame of the journal with what its record says beside it.
pub struct Record<'a> {
    /// Labels, limits and policies of then.
    pub policy: Arc<ClusterPolicy>,
    /// Who pushed it.
    pub collector: &'a str,
    /// When the collector's certificate expires.
    pub certificate_expires: Timestamp,
    /// How far the sender's clock was ahead, if it said so.
    pub clock_skew_ms: Option<i64>,
    /// The gateway's clock when it came.
    pub received: Timestamp,
    /// The frame.
    pub frame: &'a Frame<'a>,
}

/// What a family says of itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FamilyMetadata {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: MetricType,
    /// Its help.
    pub help: String,
    /// Its unit.
    pub unit: String,
}

/// Follows the log of frames.
pub struct Follower {
    store: Store,
    labelling: Labelling,
    /// Of the frames that came last.
    policies: BTreeMap<String, Arc<ClusterPolicy>>,
    followed: BTreeMap<String, Followed>,
    rules: Followed,
    /// A moment of the wall clock, and what the monotonic clock shows then.
    base: (Timestamp, Instant),
    /// The latest time that was applied: time only goes forward here.
    latest: Timestamp,
}

impl Follower {
    /// Before the first frame. `now` is any moment by both clocks.
    pub fn new(labelling: Labelling, limits: FrameLimits, now: (Timestamp, Instant)) -> Follower {
        Follower {
            store: Store::new(limits),
            labelling,
            policies: BTreeMap::new(),
            followed: BTreeMap::new(),
            rules: Followed::default(),
            base: now,
            latest: Timestamp(i64::MIN),
        }
    }

    /// Applies a frame and says what it brings. A frame that is refused was refused, or makes no sense without ones that are missing.
    pub fn frame(&mut self, record: &Record<'_>) -> Result<FrameSamples, Refusal> {
        self.adopt(&record.policy);
        let arrival = Arrival {
            collector: record.collector.into(),
            certificate_expires: record.certificate_expires,
            clock_skew_ms: record.clock_skew_ms,
            wall: record.received,
            monotonic: self.monotonic_at(record.received),
        };
        self.store.apply(&record.policy.cluster, record.frame, &arrival)?;
        Ok(self.follow(&record.policy.cluster))
    }

    /// Takes what a rule gave, or that it is gone, and says what that brings. `rules` are those that are there; kept by the caller.
    pub fn recorded(&mut self, change: RuleChange, rules: &mut BTreeSet<RuleId>) -> FrameSamples {
        match change {
            RuleChange::Gave(rule, results) => {
                self.store.restore(&rule, &results);
                rules.insert(rule);
            }
            RuleChange::Ended(rule, _) => {
                rules.remove(&rule);
                self.store.retain_rules(|other| *other != rule);
            }
        }
        self.store.show_restored();
        let view = self.store.view(self.latest, self.base.1, Some(""));
        // Both ascend by rule.
        let targets = view.targets.iter().filter(|target| target.cluster == NO_CLUSTER);
        let named = rules.iter().map(rule_name).zip(targets.map(|site| &site.target));
        self.rules.follow_recorded(named, &self.labelling)
    }

    /// Ends what is silent by now: to be asked where the log ends. Gives the clusters of which something ended.
    pub fn silence(&mut self, now: Timestamp) -> Vec<(Arc<ClusterPolicy>, FrameSamples)> {
        let monotonic = self.monotonic_at(now);
        self.store.sweep(monotonic);
        let clusters: Vec<Arc<ClusterPolicy>> = self.policies.values().cloned().collect();
        let ended = clusters.into_iter().map(|policy| {
            let frame = self.follow(&policy.cluster);
            (policy, frame)
        });
        ended.filter(|(_, frame)| !frame.ends.is_empty()).collect()
    }

    /// What the families of a cluster say of themselves, each once; where targets differ, the first.
    pub fn metadata(&self) -> Vec<(Arc<ClusterPolicy>, Vec<FamilyMetadata>)> {
        let of = |(name, followed): (&String, &Followed)| {
            let mut families: BTreeMap<&str, FamilyMetadata> = BTreeMap::new();
            let targets = followed.targets().flat_map(|(view, _)| view.layout.chunks());
            for chunk in targets.map(|indexed| indexed.chunk()) {
                for id in (0..chunk.names()).map(|id| NameId(id as u16)) {
                    let family = chunk.family_of(id);
                    families.entry(family.name).or_insert_with(|| FamilyMetadata {
                        name: family.name.to_owned(),
                        kind: family.kind,
                        help: family.help.to_owned(),
                        unit: family.unit.to_owned(),
                    });
                }
            }
            Some((self.policies.get(name)?.clone(), families.into_values().collect()))
        };
        self.followed.iter().filter_map(of).collect()
    }

    /// The policy under which a cluster's frames came last.
    pub fn policy(&self, cluster: &str) -> Option<&Arc<ClusterPolicy>> {
        self.policies.get(cluster)
    }

    /// The store, for what only the journal's reader can tell it.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What the monotonic clock showed, or will show, at a time of the wall clock.
    pub fn monotonic_at(&mut self, wall: Timestamp) -> Instant {
        self.latest = self.latest.max(wall);
        let (then, shown) = self.base;
        let back = then.since(self.latest);
        let ahead = self.latest.since(then);
        // A monotonic clock cannot show what lies before the machine's start; that far back all is equally long ago.
        shown.checked_sub(back).map_or(shown, |earlier| earlier) + ahead.min(FAR)
    }

    fn follow(&mut self, cluster: &str) -> FrameSamples {
        let Some(view) = self.store.cluster(cluster) else { return FrameSamples::default() };
        self.followed.entry(cluster.to_owned()).or_default().follow(&view, &self.labelling)
    }

    /// Takes a cluster's policy into force. An identity that stood with another cluster until now stands with this one.
    fn adopt(&mut self, policy: &Arc<ClusterPolicy>) {
        let known = self.policies.get(&policy.cluster);
        if known.is_some_and(|known| Arc::ptr_eq(known, policy) || **known == **policy) {
            return;
        }
        self.policies.insert(policy.cluster.clone(), policy.clone());
        let own = |identity: &String| policy.identities.contains(identity);
        let others = self.policies.values().map(|other| {
            let mut other = ClusterPolicy::clone(other);
            if other.cluster != policy.cluster {
                other.identities.retain(|identity| !own(identity));
            }
            other
        });
        match Inventory::new(others) {
            Ok(inventory) => self.store.set_inventory(inventory),
            Err(fault) => {
                tracing::warn!(%fault, cluster = policy.cluster, "an old inventory of the journal is not followed")
            }
        }
    }
}

/// Far enough in the future for everything to have ended.
const FAR: Duration = Duration::from_secs(400 * 86_400);

/// By this a rule's target is told from those of other rules; nobody sees it.
fn rule_name(rule: &RuleId) -> Arc<Labels> {
    Arc::new(Labels::from_pairs([("group", &*rule.group), ("rule", &*rule.rule.to_string())]))
}
