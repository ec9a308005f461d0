//! What rules share with others: names that scraped series have too, labels that external labels own.
//!
//! Neither is a fault, and nothing is changed or left out: both series are there, and the rule's own label goes out. But
//! mostly it is a slip, so it is told: a label when its file is loaded, a name when it is first seen on scraped series, and
//! both are counted for as long as they last.

use std::time::Instant;

use super::file::RuleKind;
use super::group::{Group, Rule};
use crate::config::{Fault, GatewayConfig};
use crate::store::Store;

/// Who has the name that a rule records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NameUse {
    /// No scraped series was seen with it.
    #[default]
    Own,
    /// Scraped series had it, and have it no more.
    WasShared,
    /// Scraped series have it.
    Shared,
}

impl NameUse {
    fn after(self, is_shared: bool) -> NameUse {
        match (self, is_shared) {
            (_, true) => NameUse::Shared,
            (NameUse::Own, false) => NameUse::Own,
            (NameUse::WasShared | NameUse::Shared, false) => NameUse::WasShared,
        }
    }
}

fn recorded_name(rule: &Rule) -> Option<&str> {
    match &rule.spec.kind {
        RuleKind::Record(name) => Some(name),
        RuleKind::Alert(_) => None,
    }
}

/// Looks whose names the recording rules of a group share now; says so of each that it sees for the first time.
pub(super) fn look(group: &mut Group, store: &Store, monotonic: Instant) {
    let names: Vec<&str> = group.rules.iter().filter_map(recorded_name).collect();
    let shared = store.has_scraped(&names, monotonic);
    let recording = group.rules.iter_mut().filter(|rule| recorded_name(rule).is_some());
    for (rule, is_shared) in recording.zip(shared) {
        if is_shared && rule.name_use == NameUse::Own {
            let (group, name) = (&group.spec.group.name, rule.spec.name());
            tracing::warn!(group, rule = name, "scraped series have the name that this rule records");
        }
        rule.name_use = rule.name_use.after(is_shared);
    }
}

/// What to say of rules whose labels `global.external_labels` has too. An alert's external labels give way as well.
pub(super) fn labels_shared(group: &mut Group, config: &GatewayConfig) -> Vec<Fault> {
    let external = &config.global.external_labels;
    let mut told = Vec::new();
    for rule in &mut group.rules {
        let mut shared = rule.spec.labels.keys().filter(|label| external.contains_key(*label)).peekable();
        rule.shares_labels = shared.peek().is_some();
        told.extend(shared.map(|label| Fault {
            file: group.spec.file.as_ref().into(),
            place: None,
            key: String::new(),
            message: format!(
                "the rule {:?} on line {} has the label {label:?}, which global.external_labels has too: the rule's value goes out",
                rule.spec.name(),
                rule.spec.line
            ),
            suggestion: None,
        }));
    }
    told
}
