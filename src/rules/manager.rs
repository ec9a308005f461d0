//! The groups at work: one task each, evaluations on the pool for CPU work, reloads without loss of state.
//!
//! Invariant: a group is evaluated at times of its grid, one after the other and never two at once; a time that passes while the
//! one before still runs is missed and counted. A reload keeps what has not changed running, and hands what a changed group
//! remembers to its successor; rules that are gone end their series at once. Files are read and checked before anything is
//! touched, so that a fault in one leaves the running rules as they are.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use super::alert::AlertSite;
use super::file::{self, RuleFile, matching_files};
use super::freshness::{Clusters, Reporting};
use super::group::{Group, GroupSpec, Health};
use super::notify::{Notifier, Recipients};
use super::outage::{self, Outage};
use super::packs;
use super::shared_names;
use super::status::{GroupCounts, GroupStatus};
use super::storage::SiteStorage;
use crate::config::{Fault, GatewayConfig};
use crate::model::{Labels, Timestamp};
use crate::promql::ParseOptions;
use crate::promql::ast::Expr;
use crate::runtime::{CpuPool, Tasks, clock};
use crate::store::{RuleId, Store};

/// What a configuration says of rules, read and checked.
pub struct LoadedRules {
    groups: Vec<Group>,
    recipients: Recipients,
    settings: Settings,
    warnings: Vec<Fault>,
}

/// What all evaluations share.
struct Settings {
    site: AlertSite,
    resend_delay: Duration,
    outage: Outage,
}

impl LoadedRules {
    /// What is allowed but probably not meant.
    pub fn warnings(&self) -> &[Fault] {
        &self.warnings
    }

    /// All expressions, each with how long after its time it is evaluated at the latest unless something is slow: what the store
    /// keeps of the past follows from them.
    pub fn expressions(&self) -> impl Iterator<Item = (&Expr, Duration)> {
        let delay = |spec: &GroupSpec| spec.query_offset + spec.freshness;
        self.groups
            .iter()
            .flat_map(move |group| group.rules.iter().map(move |rule| (&rule.spec.expr, delay(&group.spec))))
    }
}

/// Reads the rule files and packs of a configuration. `external_url` is where users reach the gateway.
pub fn load(config: &GatewayConfig, external_url: &str) -> Result<LoadedRules, String> {
    let external_labels = &config.global.external_labels;
    let external_labels =
        Labels::from_pairs(external_labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let mut read = Reading { config, groups: Vec::new(), warnings: Vec::new() };
    for pattern in &config.rule_files {
        let files = matching_files(pattern).map_err(|error| error.to_string())?;
        if files.is_empty() {
            tracing::warn!(pattern = %pattern.display(), "no rule file matches");
        }
        for path in files {
            read.file(&path)?;
        }
    }
    let packs = packs::load(&config.rule_packs, &config.rules.health_weights);
    for pack in packs.map_err(|error| error.to_string())? {
        read.groups_of(pack)?;
    }
    let recipients = Recipients::new(&config.alerting, external_labels.clone(), external_url);
    Ok(LoadedRules {
        groups: read.groups,
        warnings: read.warnings,
        recipients: recipients.map_err(|error| error.to_string())?,
        settings: Settings {
            site: AlertSite { external_labels, external_url: external_url.to_owned() },
            resend_delay: config.rules.resend_delay,
            outage: Outage { tolerance: config.rules.for_outage_tolerance, grace: config.rules.for_grace_period },
        },
    })
}

/// Rule files on their way into groups.
struct Reading<'c> {
    config: &'c GatewayConfig,
    groups: Vec<Group>,
    warnings: Vec<Fault>,
}

impl Reading<'_> {
    /// A file that two patterns find counts once.
    fn file(&mut self, path: &Path) -> Result<(), String> {
        let name = path.display().to_string();
        if self.groups.iter().any(|group| *group.spec.file == *name) {
            return Ok(());
        }
        let (file, warnings) = file::load(path, &ParseOptions::default()).map_err(|faults| faults.to_string())?;
        self.warnings.extend(warnings);
        self.groups_of(file)
    }

    fn groups_of(&mut self, file: RuleFile) -> Result<(), String> {
        let name = file.path.display().to_string();
        let (global, freshness) = (&self.config.global, &self.config.rules.freshness);
        for group in file.groups {
            let waits = freshness.groups.is_empty() || freshness.groups.contains(&group.name);
            let mut spec = GroupSpec::new(&name, group, global.evaluation_interval, global.rule_query_offset);
            spec.freshness = if waits { freshness.wait } else { Duration::ZERO };
            let mut group = Group::new(spec).map_err(|error| format!("{name}: {error}"))?;
            self.warnings.extend(shared_names::labels_shared(&mut group, self.config));
            self.groups.push(group);
        }
        Ok(())
    }
}

/// Runs groups and tells of them. Clones are the same manager.
#[derive(Clone)]
pub struct Manager {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<Store>,
    storage: SiteStorage,
    pool: CpuPool,
    tasks: Tasks,
    /// Reloads come from threads without a runtime of their own.
    runtime: tokio::runtime::Handle,
    notifier: Notifier,
    settings: ArcSwap<Settings>,
    /// By [`GroupSpec::id`]; locked by reloads and readers of the status, never during an evaluation.
    groups: Mutex<BTreeMap<String, Running>>,
    /// Cancelled by [`Manager::begin`].
    begun: CancellationToken,
}

/// One group at work.
#[derive(Clone)]
struct Running {
    spec: Arc<GroupSpec>,
    /// Locked while a rule is evaluated.
    group: Arc<Mutex<Group>>,
    status: Arc<ArcSwap<GroupStatus>>,
    stop: CancellationToken,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A rule that panicked left its own health and alerts as they were at worst.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Manager {
    /// Takes the groups of `loaded`; they are evaluated from [`Manager::begin`] on. Must be called within a runtime.
    pub fn start(
        loaded: LoadedRules,
        (store, storage): (Arc<Store>, SiteStorage),
        pool: CpuPool,
        (evaluations, alerts): (&Tasks, &Tasks),
    ) -> Manager {
        let LoadedRules { groups, recipients, settings, warnings } = loaded;
        warnings.iter().for_each(|warning| tracing::warn!(%warning, "rules"));
        let notifier = Notifier::new(recipients);
        notifier.run(alerts);
        let manager = Manager {
            shared: Arc::new(Shared {
                store,
                storage,
                pool,
                tasks: evaluations.clone(),
                runtime: tokio::runtime::Handle::current(),
                notifier,
                settings: ArcSwap::from_pointee(settings),
                groups: Mutex::default(),
                begun: CancellationToken::new(),
            }),
        };
        manager.take_groups(groups);
        manager
    }

    /// Lets evaluations begin: what an earlier run recorded is in the store. Its alerts go on, and series of rules that are gone end.
    pub fn begin(&self) {
        let states = outage::for_states(&self.shared.store.all_recorded());
        let outage = self.shared.settings.load().outage;
        let running = lock(&self.shared.groups);
        running.values().for_each(|running| lock(&running.group).restore(&states, outage));
        let kept: HashSet<RuleId> = running.values().flat_map(|running| lock(&running.group).rule_ids()).collect();
        drop(running);
        self.shared.storage.retain(|id| kept.contains(id));
        self.shared.begun.cancel();
    }

    /// The way to the Alertmanagers.
    pub fn notifier(&self) -> &Notifier {
        &self.shared.notifier
    }

    /// Takes a new configuration into force. Waits for evaluations of groups that change, so it is for a thread that may.
    pub fn take(&self, loaded: LoadedRules) {
        let LoadedRules { groups, recipients, settings, warnings } = loaded;
        warnings.iter().for_each(|warning| tracing::warn!(%warning, "rules"));
        self.shared.settings.store(Arc::new(settings));
        self.shared.notifier.set_recipients(recipients);
        self.take_groups(groups);
    }

    fn take_groups(&self, groups: Vec<Group>) {
        let _runtime = self.shared.runtime.enter();
        let mut running = lock(&self.shared.groups);
        let mut before = std::mem::take(&mut *running);
        let mut kept = Vec::new();
        for mut group in groups {
            let id = group.spec.id();
            kept.extend((0..group.rules.len()).map(|rule| group.rule_id(rule)));
            match before.remove(&id) {
                Some(old) if *old.spec == group.spec => {
                    // External labels are no part of a group.
                    lock(&old.group).take_shared_labels(&group);
                    running.insert(id, old);
                    continue;
                }
                Some(old) => {
                    old.stop.cancel();
                    group.take_over(&lock(&old.group));
                }
                None => {}
            }
            running.insert(id, self.shared.start_group(group));
        }
        before.values().for_each(|old| old.stop.cancel());
        if self.shared.begun.is_cancelled() {
            self.shared.storage.retain(|id| kept.contains(id));
        }
    }

    /// All groups, by file and name.
    pub fn status(&self) -> Vec<Arc<GroupStatus>> {
        lock(&self.shared.groups).values().map(|running| running.status.load_full()).collect()
    }
}

impl Shared {
    fn start_group(self: &Arc<Self>, group: Group) -> Running {
        let status = GroupStatus::of(&group, None, Duration::ZERO, GroupCounts::default());
        let running = Running {
            spec: Arc::new(group.spec.clone()),
            group: Arc::new(Mutex::new(group)),
            status: Arc::new(ArcSwap::from_pointee(status)),
            stop: self.tasks.stop().child_token(),
        };
        self.tasks.spawn("rule group", run(self.clone(), running.clone()));
        running
    }

    /// Evaluates all rules for `at`, each a job of its own: a push waits for one rule, not for a group.
    async fn evaluate(self: &Arc<Self>, running: &Running, at: Timestamp, counts: &mut GroupCounts) {
        let (started, clock_start) = (clock::now(), clock::monotonic());
        let key: Arc<str> = running.spec.id().into();
        let count = running.spec.group.rules.len();
        counts.samples = 0;
        for rule in 0..count {
            if running.stop.is_cancelled() {
                return;
            }
            let (shared, group) = (self.clone(), running.group.clone());
            let outcome = self.pool.run(&key, move || shared.evaluate_rule(&mut lock(&group), rule, at)).await;
            counts.evaluations += 1;
            match outcome {
                Ok((samples, is_good)) => {
                    counts.samples += samples as u64;
                    counts.failures += u64::from(!is_good);
                }
                Err(error) => {
                    counts.failures += 1;
                    tracing::warn!(group = %key, rule, %error, "rule not evaluated");
                }
            }
        }
        let (shared, group) = (self.clone(), running.group.clone());
        let look = move || shared_names::look(&mut lock(&group), &shared.store, clock::monotonic());
        // What was seen the time before holds on where the pool has no room.
        let _ = self.pool.run(&key, look).await;
        let status = GroupStatus::of(&lock(&running.group), Some(started), clock_start.elapsed(), *counts);
        running.status.store(Arc::new(status));
    }

    fn evaluate_rule(&self, group: &mut Group, rule: usize, at: Timestamp) -> (usize, bool) {
        let (settings, start) = (self.settings.load(), clock::monotonic());
        let evaluated = group.evaluate(rule, at, &self.storage, &settings.site, settings.resend_delay);
        group.rules[rule].took = start.elapsed();
        if !evaluated.notices.is_empty() {
            self.notifier.send(evaluated.notices);
        }
        let rule = &group.rules[rule];
        if let Health::Bad(error) = &rule.health {
            tracing::warn!(group = %group.spec.id(), rule = rule.spec.name(), %error, "rule failed");
        }
        (evaluated.samples, matches!(rule.health, Health::Good))
    }
}

/// One group's task.
async fn run(shared: Arc<Shared>, running: Running) {
    tokio::select! {
        () = shared.begun.cancelled() => {}
        () = running.stop.cancelled() => return,
    }
    let spec = &running.spec;
    let (interval, mut counts) = (spec.interval_ms(), running.status.load().counts);
    let mut slot = Timestamp(spec.slot(clock::now()).0 + interval);
    loop {
        tokio::select! {
            () = tokio::time::sleep(slot.since(clock::now())) => {}
            () = running.stop.cancelled() => return,
        }
        let clusters = Clusters { store: &shared.store, at: slot };
        let Reporting { reporting, expected } = tokio::select! {
            reporting = clusters.wait(spec.freshness) => reporting,
            () = running.stop.cancelled() => return,
        };
        (counts.clusters_reporting, counts.clusters_expected) = (reporting, expected);
        counts.iterations += 1;
        shared.evaluate(&running, slot, &mut counts).await;
        let missed = ((clock::now().0 - slot.0) / interval - 1).max(0);
        counts.missed += missed as u64;
        counts.iterations += missed as u64;
        slot = Timestamp(slot.0 + (missed + 1) * interval);
    }
}
