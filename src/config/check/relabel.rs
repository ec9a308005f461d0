//! Checks of relabelling steps: which keys an action takes, as Prometheus's `relabel.Config.Validate` has it.

use crate::config::report::At;
use crate::config::{RelabelAction, RelabelConfig};
use crate::model::anchored_regex;

/// Every step by itself; they have no rules between them.
pub(super) fn check_steps(steps: &[RelabelConfig], at: &At<'_>) {
    steps.iter().enumerate().for_each(|(nth, step)| check_step(step, &at.index(nth)));
}

fn check_step(step: &RelabelConfig, at: &At<'_>) {
    use RelabelAction::*;
    if let Err(error) = anchored_regex(&step.regex) {
        at.key("regex").fault(error.to_string());
    }
    if at.key("action").is_faulty() {
        return;
    }
    match step.action {
        Replace => require_target(step, at),
        Keep | Drop => {}
        KeepEqual | DropEqual => {
            require_target(step, at);
            refuse(step, at, &["separator", "regex", "modulus", "replacement"]);
        }
        HashMod => {
            require_target(step, at);
            at.key("modulus").require(step.modulus > 0, "hashmod needs a modulus of at least 1");
        }
        LabelMap => at.key("replacement").require(!step.replacement.is_empty(), "labelmap needs a name to map to"),
        LabelDrop | LabelKeep => {
            refuse(step, at, &["source_labels", "separator", "modulus", "target_label", "replacement"]);
        }
        Lowercase | Uppercase => {
            require_target(step, at);
            refuse(step, at, &["replacement"]);
        }
    }
}

fn require_target(step: &RelabelConfig, at: &At<'_>) {
    let message = format!("action {} needs a target_label", step.action.as_str());
    at.key("target_label").require(!step.target_label.is_empty(), message);
}

/// Keys that this action would ignore: whoever writes one means something else.
fn refuse(step: &RelabelConfig, at: &At<'_>, keys: &[&str]) {
    let default = RelabelConfig::default();
    for key in keys {
        let is_default = match *key {
            "source_labels" => step.source_labels == default.source_labels,
            "separator" => step.separator == default.separator,
            "regex" => step.regex == default.regex,
            "modulus" => step.modulus == default.modulus,
            "target_label" => step.target_label == default.target_label,
            _ => step.replacement == default.replacement,
        };
        at.key(key).require(is_default, format!("action {} takes no {key}", step.action.as_str()));
    }
}
