//! What groups count, as fedgate's own metrics, by Prometheus's names with another prefix.

use super::manager::Manager;
use super::status::GroupStatus;
use crate::telemetry::{Kind, Registry};

/// A metric by group: its name, help and kind, and where it is read.
type ByGroup = (&'static str, &'static str, Kind, fn(&GroupStatus) -> f64);

const BY_GROUP: [ByGroup; 13] = [
    (
        "fedgate_rule_group_iterations",
        "Times of a group's grid that have come, missed ones included",
        Kind::Counter,
        |group| group.counts.iterations as f64,
    ),
    (
        "fedgate_rule_group_iterations_missed",
        "Times that passed while an evaluation still ran",
        Kind::Counter,
        |group| group.counts.missed as f64,
    ),
    ("fedgate_rule_evaluations", "Evaluations of rules", Kind::Counter, |group| group.counts.evaluations as f64),
    ("fedgate_rule_evaluation_failures", "Evaluations of rules that failed", Kind::Counter, |group| {
        group.counts.failures as f64
    }),
    ("fedgate_rule_group_interval_seconds", "Time between evaluations", Kind::Gauge, |group| {
        group.interval.as_secs_f64()
    }),
    ("fedgate_rule_group_rules", "Rules of a group", Kind::Gauge, |group| group.rules.len() as f64),
    ("fedgate_rule_group_last_evaluation_samples", "Results of the last evaluation", Kind::Gauge, |group| {
        group.counts.samples as f64
    }),
    ("fedgate_rule_group_last_duration_seconds", "How long the last evaluation took", Kind::Gauge, |group| {
        group.took.as_secs_f64()
    }),
    ("fedgate_rule_group_last_evaluation_timestamp_seconds", "When the last evaluation began", Kind::Gauge, |group| {
        group.evaluated_at.map_or(0.0, |at| at.as_seconds())
    }),
    (
        "fedgate_rules_clusters_reporting",
        "Clusters whose snapshots of the last evaluation's time had come when it began",
        Kind::Gauge,
        |group| group.counts.clusters_reporting as f64,
    ),
    ("fedgate_rules_clusters_expected", "Clusters that could have", Kind::Gauge, |group| {
        group.counts.clusters_expected as f64
    }),
    ("fedgate_rules_names_shared", "Rules that record onto a name that scraped series have", Kind::Gauge, |group| {
        group.rules.iter().filter(|rule| rule.shares_name).count() as f64
    }),
    ("fedgate_rules_labels_shared", "Rules that set a label that external labels have", Kind::Gauge, |group| {
        group.rules.iter().filter(|rule| rule.shares_labels).count() as f64
    }),
];

/// Registers everything that `manager` and its notifier count.
pub fn register(manager: &Manager, registry: &mut Registry) {
    for (name, help, kind, read) in BY_GROUP {
        let manager = manager.clone();
        registry.derive(name, help, kind, move |emit| {
            for group in manager.status() {
                emit.series(&[("rule_group", &format!("{};{}", group.file, group.name))], read(&group));
            }
        });
    }
    manager.notifier().register(registry);
}
