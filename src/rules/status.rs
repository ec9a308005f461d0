//! What a group and its rules came to, as the query API and the metrics show it.

use std::time::Duration;

use super::alert::{Alert, AlertState};
use super::file::RuleKind;
use super::group::{Group, Health, Rule};
use super::shared_names::NameUse;
use crate::model::{Labels, Timestamp};

/// One group after its last evaluation.
#[derive(Clone, Debug)]
pub struct GroupStatus {
    /// Its file's path.
    pub file: String,
    /// Its name.
    pub name: String,
    /// Time between evaluations.
    pub interval: Duration,
    /// Most results of one rule; 0 is no limit.
    pub limit: u64,
    /// In the order of evaluation.
    pub rules: Vec<RuleStatus>,
    /// When it was evaluated last: the clock's time, not the grid's.
    pub evaluated_at: Option<Timestamp>,
    /// How long that took.
    pub took: Duration,
    /// What has happened since the group is there.
    pub counts: GroupCounts,
}

/// What has happened to a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupCounts {
    /// Times of the grid that have come, missed ones included.
    pub iterations: u64,
    /// Those that passed while an evaluation still ran.
    pub missed: u64,
    /// Evaluations of rules.
    pub evaluations: u64,
    /// Those that failed.
    pub failures: u64,
    /// Results of the last evaluation of all rules.
    pub samples: u64,
    /// Clusters whose snapshots of the evaluation's time had come when it began.
    pub clusters_reporting: u64,
    /// Clusters of the inventory.
    pub clusters_expected: u64,
}

/// One rule.
#[derive(Clone, Debug)]
pub struct RuleStatus {
    /// Its name.
    pub name: String,
    /// Its expression in canonical form.
    pub query: String,
    /// Labels that it adds, as written.
    pub labels: Labels,
    /// How it fared.
    pub health: Health,
    /// When it was evaluated last: the grid's time.
    pub evaluated_at: Option<Timestamp>,
    /// How long that took.
    pub took: Duration,
    /// Whether scraped series had the name that it records, at the last evaluation.
    pub shares_name: bool,
    /// Whether external labels have a label that it sets.
    pub shares_labels: bool,
    /// Of an alerting rule.
    pub alerting: Option<AlertingStatus>,
}

/// What an alerting rule has beyond a recording one.
#[derive(Clone, Debug)]
pub struct AlertingStatus {
    /// How long there must be a result before it fires.
    pub hold: Duration,
    /// How long it fires on without one.
    pub keep_firing_for: Duration,
    /// Annotations, as written.
    pub annotations: Labels,
    /// The gravest state of its alerts.
    pub state: AlertState,
    /// Pending and firing ones.
    pub alerts: Vec<Alert>,
}

fn labels_of(map: &crate::config::LabelMap) -> Labels {
    Labels::from_pairs(map.iter().map(|(name, value)| (name.as_str(), value.as_str())))
}

impl GroupStatus {
    pub(super) fn of(
        group: &Group,
        evaluated_at: Option<Timestamp>,
        took: Duration,
        counts: GroupCounts,
    ) -> GroupStatus {
        GroupStatus {
            file: group.spec.file.to_string(),
            name: group.spec.group.name.clone(),
            interval: group.spec.interval,
            limit: group.spec.group.limit,
            rules: group.rules.iter().map(RuleStatus::of).collect(),
            evaluated_at,
            took,
            counts,
        }
    }
}

impl RuleStatus {
    fn of(rule: &Rule) -> RuleStatus {
        let alerting = match (&rule.spec.kind, &rule.alerts) {
            (RuleKind::Alert(alert), Some(alerts)) => Some(AlertingStatus {
                hold: alert.hold,
                keep_firing_for: alert.keep_firing_for,
                annotations: labels_of(&alert.annotations),
                state: alerts.state(),
                alerts: alerts.active().cloned().collect(),
            }),
            _ => None,
        };
        RuleStatus {
            name: rule.spec.name().to_owned(),
            query: rule.spec.expr.to_string(),
            labels: labels_of(&rule.spec.labels),
            health: rule.health.clone(),
            evaluated_at: rule.evaluated_at,
            took: rule.took,
            shares_name: rule.name_use == NameUse::Shared,
            shares_labels: rule.shares_labels,
            alerting,
        }
    }
}
