//! An alerting rule's alerts, from pending over firing to resolved.
//!
//! ```text
//!            result            for how long `for` says            no result, `keep_firing_for` over
//! (none) ──────────► pending ──────────────────────► firing ──────────────────────────────────────► inactive ──► (none)
//!                       └────────── no result ──────────────────────────────────────────────► (none)   15 m
//! ```
//!
//! Invariant: an alert is told by its labels. What has resolved is kept for a quarter of an hour, so that Alertmanagers that
//! were away or lost it are told again. No clock: time is the evaluation's.

use std::collections::BTreeMap;
use std::time::Duration;

use super::file;
use super::outage::{FOR_STATE, ForStates, Outage};
use super::storage::{RuleError, Sample};
use super::template::{self, Scope, Template};
use crate::config::LabelMap;
use crate::model::{Labels, LabelsBuilder, METRIC_NAME, Timestamp};
use crate::promql::Cell;

/// The label that holds an alert's name.
pub const ALERT_NAME: &str = "alertname";
/// How long a resolved alert is kept and told, as in Prometheus.
const RESOLVED_RETENTION: Duration = Duration::from_secs(15 * 60);
/// A firing alert that is not told again is taken for resolved after so many of the longer of interval and resend delay.
const VALID_ROUNDS: u32 = 4;

/// Where an alert stands; later ones are graver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlertState {
    /// Resolved.
    Inactive,
    /// Not yet for as long as `for` says.
    Pending,
    /// Told to Alertmanagers.
    Firing,
}

impl AlertState {
    /// Prometheus's word, which stands in the label `alertstate`.
    pub fn word(self) -> &'static str {
        match self {
            AlertState::Inactive => "inactive",
            AlertState::Pending => "pending",
            AlertState::Firing => "firing",
        }
    }
}

/// One alert.
#[derive(Clone, Debug)]
pub struct Alert {
    /// Where it stands.
    pub state: AlertState,
    /// The result's labels without the metric's name, the rule's, and `alertname`.
    pub labels: Labels,
    /// Expanded at the last evaluation that gave it.
    pub annotations: Labels,
    /// What that gave; NaN of a histogram.
    pub value: f64,
    /// Since when it is active.
    pub active_at: Timestamp,
    /// Since when it fires, or fired.
    pub fired_at: Option<Timestamp>,
    /// Since when it is no more.
    pub resolved_at: Option<Timestamp>,
    /// Since when it has no result and `keep_firing_for` holds it.
    pub kept_since: Option<Timestamp>,
    last_sent_at: Option<Timestamp>,
}

/// What an Alertmanager is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The alert's labels.
    pub labels: Labels,
    /// Its annotations.
    pub annotations: Labels,
    /// Since when it fires.
    pub starts_at: Timestamp,
    /// When it resolved, or when it is to be taken for resolved if nothing more comes.
    pub ends_at: Timestamp,
    /// The rule's expression.
    pub expression: String,
}

/// What all alerts of a site share.
#[derive(Clone, Debug, Default)]
pub struct AlertSite {
    /// Labels that templates see, and that alerts get on the way out where they lack them.
    pub external_labels: Labels,
    /// Where users reach this process.
    pub external_url: String,
}

/// The alerts of one rule.
#[derive(Clone, Debug)]
pub struct Alerts {
    name: String,
    hold: Duration,
    keep_firing_for: Duration,
    label_templates: Vec<(String, Template)>,
    annotation_templates: Vec<(String, Template)>,
    /// By labels.
    active: BTreeMap<Labels, Alert>,
    before: Option<Before>,
}

/// What was active before an outage, for a few evaluations.
#[derive(Clone, Debug)]
struct Before {
    states: ForStates,
    outage: Outage,
    evaluations_left: u8,
}

/// Evaluations in which an alert of before the outage is found again, as in Prometheus.
const EVALUATIONS_AFTER_OUTAGE: u8 = 2;

/// Expands templates for the results of one evaluation.
pub struct Expansion<'a> {
    /// What all alerts share.
    pub site: &'a AlertSite,
    /// Answers the templates' queries.
    pub query: &'a dyn Fn(&str) -> Result<Vec<template::Sample>, String>,
}

fn templates(name: &str, all: &LabelMap) -> Result<Vec<(String, Template)>, template::TemplateError> {
    all.iter().map(|(label, text)| Ok((label.clone(), Template::parse(name, text)?))).collect()
}

impl Alerts {
    /// Of a rule that adds `labels`; fails where a template does not read.
    pub fn new(rule: &file::Alert, labels: &LabelMap) -> Result<Alerts, template::TemplateError> {
        Ok(Alerts {
            name: rule.name.clone(),
            hold: rule.hold,
            keep_firing_for: rule.keep_firing_for,
            label_templates: templates(&rule.name, labels)?,
            annotation_templates: templates(&rule.name, &rule.annotations)?,
            active: BTreeMap::new(),
            before: None,
        })
    }

    /// What was active before an outage is as it was, if the next evaluations give it.
    pub fn restore(&mut self, states: ForStates, outage: Outage) {
        self.before = Some(Before { states, outage, evaluations_left: EVALUATIONS_AFTER_OUTAGE });
    }

    /// Takes over the alerts of the same rule before a reload.
    pub fn take_over(&mut self, before: &Alerts) {
        (self.active, self.before) = (before.active.clone(), before.before.clone());
    }

    /// All alerts, resolved ones included, by labels.
    pub fn all(&self) -> impl Iterator<Item = &Alert> {
        self.active.values()
    }

    /// Pending and firing ones.
    pub fn active(&self) -> impl Iterator<Item = &Alert> {
        self.all().filter(|alert| alert.resolved_at.is_none())
    }

    /// The gravest state of all.
    pub fn state(&self) -> AlertState {
        self.all().map(|alert| alert.state).max().unwrap_or(AlertState::Inactive)
    }

    /// Takes what the expression gave at `at`. More than `limit` alerts (0 is none) are a fault, and then none is left.
    pub fn update(
        &mut self,
        at: Timestamp,
        results: &[Sample],
        expansion: &Expansion<'_>,
        limit: u64,
    ) -> Result<(), RuleError> {
        let mut found = self.expanded(at, results, expansion)?;
        self.find_again(at, &mut found);
        let mut count = 0;
        let mut kept = BTreeMap::new();
        for (labels, mut alert) in std::mem::take(&mut self.active) {
            let result = found.remove(&labels);
            match result {
                Some(result) if alert.state == AlertState::Inactive => alert = result,
                Some(result) => {
                    (alert.value, alert.annotations, alert.kept_since) = (result.value, result.annotations, None);
                }
                None if !self.outlives(&mut alert, at) => continue,
                None => {}
            }
            kept.insert(labels, alert);
        }
        kept.append(&mut found);
        for alert in kept.values_mut().filter(|alert| alert.state != AlertState::Inactive) {
            count += 1;
            if alert.state == AlertState::Pending && at.since(alert.active_at) >= self.hold {
                (alert.state, alert.fired_at) = (AlertState::Firing, Some(at));
            }
        }
        if limit > 0 && count as u64 > limit {
            return Err(RuleError::LimitExceeded { limit, count, what: "alerts" });
        }
        self.active = kept;
        Ok(())
    }

    /// Sets alerts back to since when they were active before the outage.
    fn find_again(&mut self, at: Timestamp, found: &mut BTreeMap<Labels, Alert>) {
        let Some(mut before) = self.before.take() else { return };
        for (labels, alert) in found.iter_mut().filter(|(labels, _)| !self.active.contains_key(*labels)) {
            let state = before.states.get(labels);
            let active_at = state.and_then(|state| before.outage.active_at(*state, self.hold, at));
            alert.active_at = active_at.unwrap_or(alert.active_at);
        }
        before.evaluations_left -= 1;
        self.before = Some(before).filter(|before| before.evaluations_left > 0);
    }

    /// An alert without a result at `at`: whether it is kept, firing on or resolved.
    fn outlives(&self, alert: &mut Alert, at: Timestamp) -> bool {
        let is_kept_firing = alert.state == AlertState::Firing && !self.keep_firing_for.is_zero() && {
            let since = *alert.kept_since.get_or_insert(at);
            at.since(since) < self.keep_firing_for
        };
        let is_forgotten = alert.resolved_at.is_some_and(|resolved| at.since(resolved) > RESOLVED_RETENTION);
        if alert.state == AlertState::Pending || is_forgotten {
            return false;
        }
        if alert.state == AlertState::Firing && !is_kept_firing {
            (alert.state, alert.resolved_at) = (AlertState::Inactive, Some(at));
        }
        true
    }

    fn expanded(
        &self,
        at: Timestamp,
        results: &[Sample],
        expansion: &Expansion<'_>,
    ) -> Result<BTreeMap<Labels, Alert>, RuleError> {
        let mut found = BTreeMap::new();
        for (labels, value) in results {
            let alert = self.alert(at, labels, value, expansion);
            if found.insert(alert.labels.clone(), alert).is_some() {
                return Err(RuleError::SameLabels("alert"));
            }
        }
        Ok(found)
    }

    fn alert(&self, at: Timestamp, labels: &Labels, value: &Cell, expansion: &Expansion<'_>) -> Alert {
        let scope = Scope {
            labels,
            external_labels: &expansion.site.external_labels,
            external_url: &expansion.site.external_url,
            value,
            query: expansion.query,
        };
        let mut own = LabelsBuilder::from_labels(labels);
        own.remove(METRIC_NAME);
        for (name, template) in &self.label_templates {
            own.set(name, &template.expand_or_explain(&scope));
        }
        own.set(ALERT_NAME, &self.name);
        let mut annotations = LabelsBuilder::default();
        for (name, template) in &self.annotation_templates {
            annotations.set(name, &template.expand_or_explain(&scope));
        }
        Alert {
            state: AlertState::Pending,
            labels: own.build(),
            annotations: annotations.build(),
            value: if let Cell::Float(value) = value { *value } else { f64::NAN },
            active_at: at,
            fired_at: None,
            resolved_at: None,
            kept_since: None,
            last_sent_at: None,
        }
    }

    /// The series `ALERTS` and `ALERTS_FOR_STATE` of the active alerts.
    pub fn series(&self) -> Vec<Sample> {
        let mut series = Vec::new();
        for alert in self.active() {
            let mut labels = LabelsBuilder::from_labels(&alert.labels);
            labels.set(METRIC_NAME, FOR_STATE);
            let since = alert.active_at.0.div_euclid(1000) as f64;
            series.push((labels.build(), Cell::Float(since)));
            labels.set(METRIC_NAME, "ALERTS").set("alertstate", alert.state.word());
            series.push((labels.build(), Cell::Float(1.0)));
        }
        series
    }

    /// What Alertmanagers are to be told at `at`: what has not been told for `resend_delay`, and what has resolved since.
    pub fn notices(
        &mut self,
        at: Timestamp,
        resend_delay: Duration,
        interval: Duration,
        expression: &str,
    ) -> Vec<Notice> {
        let valid_until = at + resend_delay.max(interval) * VALID_ROUNDS;
        let mut notices = Vec::new();
        for alert in self.active.values_mut().filter(|alert| alert.is_due(at, resend_delay)) {
            alert.last_sent_at = Some(at);
            notices.push(Notice {
                labels: alert.labels.clone(),
                annotations: alert.annotations.clone(),
                starts_at: alert.fired_at.unwrap_or(alert.active_at),
                ends_at: alert.resolved_at.unwrap_or(valid_until),
                expression: expression.to_owned(),
            });
        }
        notices
    }
}

impl Alert {
    fn is_due(&self, at: Timestamp, resend_delay: Duration) -> bool {
        if self.state == AlertState::Pending {
            return false;
        }
        match self.last_sent_at {
            None => true,
            Some(sent) => self.resolved_at.is_some_and(|resolved| resolved > sent) || sent + resend_delay < at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    fn alerts(hold: u64, keep: u64) -> Alerts {
        let map = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect::<LabelMap>()
        };
        let rule = file::Alert {
            name: "A".to_owned(),
            hold: Duration::from_secs(hold * 60),
            keep_firing_for: Duration::from_secs(keep * 60),
            annotations: map(&[("summary", "{{ $value }}")]),
        };
        Alerts::new(&rule, &map(&[("severity", "page"), ("zone", "{{ $labels.zone }}-1")])).unwrap()
    }

    fn step(alerts: &mut Alerts, minute: i64, values: &[f64]) -> Result<(), RuleError> {
        let results: Vec<Sample> = values
            .iter()
            .map(|value| (Labels::from_pairs([(METRIC_NAME, "m"), ("zone", "z")]), Cell::Float(*value)))
            .collect();
        let (site, query) = (AlertSite::default(), |_: &str| Ok(Vec::new()));
        alerts.update(Timestamp(minute * MINUTE), &results, &Expansion { site: &site, query: &query }, 0)
    }

    fn state_of(alerts: &Alerts) -> Option<AlertState> {
        alerts.all().next().map(|alert| alert.state)
    }

    #[test]
    fn pending_becomes_firing_and_resolves_and_is_forgotten() {
        let mut alerts = alerts(2, 0);
        let states: Vec<_> = [(0, true), (1, true), (2, true), (3, false), (18, false), (19, false)]
            .map(|(minute, has_result)| {
                step(&mut alerts, minute, if has_result { &[7.0] } else { &[] }).unwrap();
                state_of(&alerts)
            })
            .into();
        use AlertState::*;
        assert_eq!(states, [Some(Pending), Some(Pending), Some(Firing), Some(Inactive), Some(Inactive), None]);
        step(&mut alerts, 20, &[1.0]).unwrap();
        step(&mut alerts, 21, &[]).unwrap();
        assert_eq!(state_of(&alerts), None, "what never fired leaves nothing");
    }

    #[test]
    fn what_was_active_before_an_outage_goes_on() {
        let outage = Outage { tolerance: Duration::from_secs(3600), grace: Duration::ZERO };
        let mut before = alerts(10, 0);
        (0..=5).for_each(|minute| step(&mut before, minute, &[7.0]).unwrap());
        let alert = before.active().next().unwrap();
        let state = super::super::outage::ForState { active_at: alert.active_at, down_at: Timestamp(5 * MINUTE) };
        let states: ForStates = std::sync::Arc::new([(alert.labels.clone(), state)].into());
        for (first, fires) in [(8, 13), (9, 14)] {
            let mut after = alerts(10, 0);
            after.restore(states.clone(), outage);
            // The first evaluation may still lack it.
            step(&mut after, first - 1, &[]).unwrap();
            (first..fires).for_each(|minute| {
                step(&mut after, minute, &[7.0]).unwrap();
                assert_eq!(state_of(&after), Some(AlertState::Pending), "minute {minute}");
            });
            step(&mut after, fires, &[7.0]).unwrap();
            assert_eq!(state_of(&after), Some(AlertState::Firing));
        }
    }

    #[test]
    fn keep_firing_for_bridges_gaps() {
        let mut alerts = alerts(0, 3);
        for (minute, has_result, firing) in [
            (0, true, true),
            (1, false, true),
            (2, false, true),
            (3, true, true),
            (4, false, true),
            (6, false, true),
            (7, false, false),
        ] {
            step(&mut alerts, minute, if has_result { &[7.0] } else { &[] }).unwrap();
            assert_eq!(state_of(&alerts) == Some(AlertState::Firing), firing, "minute {minute}");
        }
    }

    #[test]
    fn labels_and_annotations_are_expanded_and_the_series_say_the_state() {
        let mut alerts = alerts(1, 0);
        step(&mut alerts, 1, &[7.0]).unwrap();
        let alert = alerts.active().next().unwrap();
        assert_eq!(alert.labels.to_string(), r#"{alertname="A", severity="page", zone="z-1"}"#);
        assert_eq!(alert.annotations.get("summary"), Some("7"));
        let series: Vec<String> = alerts.series().iter().map(|(labels, value)| format!("{labels} {value:?}")).collect();
        assert_eq!(
            series,
            [
                r#"ALERTS_FOR_STATE{alertname="A", severity="page", zone="z-1"} Float(60.0)"#,
                r#"ALERTS{alertname="A", alertstate="pending", severity="page", zone="z-1"} Float(1.0)"#,
            ]
        );
        assert_eq!(step(&mut alerts, 2, &[1.0, 2.0]), Err(RuleError::SameLabels("alert")));
    }

    #[test]
    fn notices_are_repeated_and_end_with_the_alert() {
        let mut alerts = alerts(0, 0);
        let (delay, interval) = (Duration::from_secs(60), Duration::from_secs(30));
        let mut due = |seconds: i64, has_result: bool| {
            let at = Timestamp(seconds * 1000);
            let results: Vec<Sample> =
                has_result.then(|| (Labels::from_pairs([("zone", "z")]), Cell::Float(1.0))).into_iter().collect();
            let (site, query) = (AlertSite::default(), |_: &str| Ok(Vec::new()));
            alerts.update(at, &results, &Expansion { site: &site, query: &query }, 0).unwrap();
            let notices = alerts.notices(at, delay, interval, "up == 0");
            notices.first().map(|notice| (notice.starts_at.0, notice.ends_at.0))
        };
        assert_eq!(due(0, true), Some((0, 240_000)), "at once, valid for four rounds");
        assert_eq!(due(30, true), None);
        assert_eq!(due(60, true), None, "the delay is not over yet");
        assert_eq!(due(90, true), Some((0, 330_000)));
        assert_eq!(due(120, false), Some((0, 120_000)), "resolved: at once");
        assert_eq!(due(150, false), None);
        assert_eq!(due(210, false), Some((0, 120_000)), "and again");
    }

    #[test]
    fn a_limit_exceeded_leaves_no_alert() {
        let mut alerts = alerts(0, 0);
        step(&mut alerts, 0, &[1.0]).unwrap();
        let results: Vec<Sample> =
            ["a", "b"].map(|zone| (Labels::from_pairs([("zone", zone)]), Cell::Float(1.0))).into();
        let (site, query) = (AlertSite::default(), |_: &str| Ok(Vec::new()));
        let error = alerts.update(Timestamp(1), &results, &Expansion { site: &site, query: &query }, 1).unwrap_err();
        assert_eq!(error.to_string(), "exceeded limit of 1 with 2 alerts");
        assert_eq!(alerts.all().count(), 0);
    }
}
