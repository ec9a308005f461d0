//! A group of rules: evaluated one after the other, all at the same times.
//!
//! Invariant: evaluation times lie on a grid, `interval` apart and shifted by a hash of the group's name and its file's, so that
//! the groups of a gateway do not start together, and two gateways with the same files evaluate at the same times. A rule that
//! fails says so and lets the others go on. No clock: time is the evaluation's, and what an evaluation took is told from outside.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use super::alert::{AlertSite, Alerts, Expansion, Notice};
use super::file::{self, RuleGroup, RuleKind};
use super::outage::{ForStates, Outage};
use super::shared_names::NameUse;
use super::storage::{RuleError, Sample, Storage};
use super::template::{self, TemplateError};
use crate::model::{LabelsBuilder, METRIC_NAME, Timestamp};
use crate::promql::{ParseOptions, Plan, parse};
use crate::store::RuleId;

/// A group as its file says, with the defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupSpec {
    /// The file's path.
    pub file: Arc<str>,
    /// As the file says.
    pub group: RuleGroup,
    /// Time between two evaluations; whole milliseconds, above zero.
    pub interval: Duration,
    /// How far behind the evaluation's time expressions look.
    pub query_offset: Duration,
    /// How long an evaluation waits for the clusters' snapshots of its time.
    pub freshness: Duration,
}

/// How a rule fared when it was evaluated last.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Health {
    /// Not evaluated yet.
    #[default]
    Unknown,
    /// Its results were taken.
    Good,
    /// Why there are none.
    Bad(RuleError),
}

/// A rule and what it remembers.
#[derive(Debug)]
pub struct Rule {
    /// As its file says.
    pub spec: file::Rule,
    /// Of an alerting rule.
    pub alerts: Option<Alerts>,
    /// How it fared.
    pub health: Health,
    /// When it was evaluated last.
    pub evaluated_at: Option<Timestamp>,
    /// How long that took.
    pub took: Duration,
    /// Whether scraped series have the name that it records.
    pub name_use: NameUse,
    /// Whether external labels have a label that it sets.
    pub shares_labels: bool,
    plan: Plan,
}

/// A group and what its rules remember.
#[derive(Debug)]
pub struct Group {
    /// As its file says.
    pub spec: GroupSpec,
    /// In the order in which they are evaluated.
    pub rules: Vec<Rule>,
    id: Arc<str>,
}

/// What one evaluation of one rule came to.
#[derive(Debug, Default)]
pub struct Evaluated {
    /// What Alertmanagers are to be told.
    pub notices: Vec<Notice>,
    /// Results.
    pub samples: usize,
}

impl GroupSpec {
    /// Of a group of `file`; where it does not say, `interval` and `query_offset` hold.
    pub fn new(file: &str, group: RuleGroup, interval: Duration, query_offset: Duration) -> GroupSpec {
        GroupSpec {
            file: file.into(),
            interval: group.interval.unwrap_or(interval),
            query_offset: group.query_offset.unwrap_or(query_offset),
            freshness: Duration::ZERO,
            group,
        }
    }

    /// What tells the group from all others: `file;name`.
    pub fn id(&self) -> String {
        format!("{};{}", self.file, self.group.name)
    }

    /// The latest time of the grid that is not later than `now`.
    pub fn slot(&self, now: Timestamp) -> Timestamp {
        let interval = self.interval_ms();
        let shift = (xxh3_64(self.grid_name().as_bytes()) % interval as u64) as i64;
        Timestamp(now.0 - (now.0 - shift).rem_euclid(interval))
    }

    /// The file's own name alone: where it lies may differ between two gateways.
    fn grid_name(&self) -> String {
        let file = self.file.rsplit('/').next().unwrap_or_default();
        format!("{file};{}", self.group.name)
    }

    /// Milliseconds of the interval.
    pub fn interval_ms(&self) -> i64 {
        i64::try_from(self.interval.as_millis()).unwrap_or(i64::MAX).max(1)
    }
}

impl Rule {
    fn new(spec: file::Rule) -> Result<Rule, TemplateError> {
        let alerts = match &spec.kind {
            RuleKind::Record(_) => None,
            RuleKind::Alert(alert) => Some(Alerts::new(alert, &spec.labels)?),
        };
        Ok(Rule {
            spec,
            alerts,
            health: Health::default(),
            evaluated_at: None,
            took: Duration::ZERO,
            name_use: NameUse::default(),
            shares_labels: false,
            plan: Plan::default(),
        })
    }

    /// Results under the rule's name and with its labels.
    fn recorded(&self, results: Vec<Sample>, limit: u64) -> Result<Vec<Sample>, RuleError> {
        let mut seen = HashSet::with_capacity(results.len());
        let mut recorded = Vec::with_capacity(results.len());
        for (labels, cell) in results {
            let mut own = LabelsBuilder::from_labels(&labels);
            own.set(METRIC_NAME, self.spec.name());
            self.spec.labels.iter().for_each(|(name, value)| {
                own.set(name, value);
            });
            let labels = own.build();
            if !seen.insert(labels.clone()) {
                return Err(RuleError::SameLabels("rule"));
            }
            recorded.push((labels, cell));
        }
        match recorded.len() {
            count if limit > 0 && count as u64 > limit => {
                Err(RuleError::LimitExceeded { limit, count, what: "series" })
            }
            _ => Ok(recorded),
        }
    }
}

impl Group {
    /// Fails where an alert's template does not read.
    pub fn new(spec: GroupSpec) -> Result<Group, TemplateError> {
        let rules = spec.group.rules.iter().cloned().map(Rule::new).collect::<Result<_, _>>()?;
        Ok(Group { id: spec.id().into(), spec, rules })
    }

    /// Who records, for the store.
    pub fn rule_id(&self, rule: usize) -> RuleId {
        RuleId { group: self.id.clone(), rule: rule as u32 }
    }

    /// Every rule, as the store knows it.
    pub fn rule_ids(&self) -> Vec<RuleId> {
        (0..self.rules.len()).map(|rule| self.rule_id(rule)).collect()
    }

    /// Takes over what the rules of the same group remember from before a reload: of those with the same name and labels; of
    /// several such the first from the first, the second from the second.
    pub fn take_over(&mut self, before: &Group) {
        let mut taken = HashSet::new();
        for rule in &mut self.rules {
            let is_same = |other: &Rule| other.spec.name() == rule.spec.name() && other.spec.labels == rule.spec.labels;
            let found = before.rules.iter().enumerate().find(|(at, other)| !taken.contains(at) && is_same(other));
            let Some((at, other)) = found else { continue };
            taken.insert(at);
            if let (Some(alerts), Some(old)) = (&mut rule.alerts, &other.alerts) {
                alerts.take_over(old);
            }
            (rule.health, rule.evaluated_at, rule.took) = (other.health.clone(), other.evaluated_at, other.took);
            rule.name_use = other.name_use;
        }
    }

    /// Follows a change of external labels alone: `anew` is the same group.
    pub(super) fn take_shared_labels(&mut self, anew: &Group) {
        self.rules.iter_mut().zip(&anew.rules).for_each(|(rule, anew)| rule.shares_labels = anew.shares_labels);
    }

    /// What was active before an outage is as it was, if the next evaluations give it.
    pub fn restore(&mut self, states: &ForStates, outage: Outage) {
        let alerts = self.rules.iter_mut().filter_map(|rule| rule.alerts.as_mut());
        alerts.for_each(|alerts| alerts.restore(states.clone(), outage));
    }

    /// Evaluates one rule at `at` and hands its results to `storage`; how it fared is the rule's health.
    pub fn evaluate(
        &mut self,
        rule: usize,
        at: Timestamp,
        storage: &dyn Storage,
        site: &AlertSite,
        resend_delay: Duration,
    ) -> Evaluated {
        let mut evaluated = Evaluated::default();
        let outcome = self.evaluate_into(&mut evaluated, rule, at, storage, site, resend_delay);
        self.rules[rule].evaluated_at = Some(at);
        self.rules[rule].health = outcome.map_or_else(Health::Bad, |()| Health::Good);
        evaluated
    }

    /// Notices stand even if the series about them are not taken.
    fn evaluate_into(
        &mut self,
        evaluated: &mut Evaluated,
        at_rule: usize,
        at: Timestamp,
        storage: &dyn Storage,
        site: &AlertSite,
        resend_delay: Duration,
    ) -> Result<(), RuleError> {
        let (id, limit, interval) = (self.rule_id(at_rule), self.spec.group.limit, self.spec.interval);
        let looked_at = at - self.spec.query_offset;
        let rule = &mut self.rules[at_rule];
        let results = storage.query(&rule.spec.expr, looked_at, Some(&rule.plan))?;
        let results = match &mut rule.alerts {
            None => rule.recorded(results, limit)?,
            Some(alerts) => {
                let query = |source: &str| template_query(source, at, storage);
                alerts.update(at, &results, &Expansion { site, query: &query }, limit)?;
                evaluated.notices = alerts.notices(at, resend_delay, interval, &rule.spec.expr.to_string());
                alerts.series()
            }
        };
        evaluated.samples = results.len();
        storage.record(&id, looked_at, results)
    }
}

fn template_query(source: &str, at: Timestamp, storage: &dyn Storage) -> Result<Vec<template::Sample>, String> {
    let expr = parse(source, &ParseOptions::default()).map_err(|error| error.to_string())?;
    let found = storage.query(&expr, at, None).map_err(|error| error.to_string())?;
    Ok(found.into_iter().map(|(labels, value)| template::Sample { labels, value }).collect())
}
