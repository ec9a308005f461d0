//! A job's relabelling steps, compiled and applied.
//!
//! Promises: what compiles applies to any label set; the same set always becomes the same.
//!
//! Input, by lines: `label=value` pairs up to an empty line, then steps of fields separated by tabs: action, source
//! labels (by commas), separator, regex, modulus, target label, replacement. A missing field keeps its default.

use fedgate::config::RelabelAction::{self, Drop, Keep, LabelDrop, LabelKeep, LabelMap};
use fedgate::config::RelabelConfig;
use fedgate::model::{Labels, LabelsBuilder};
use fedgate::relabel::{compile, process};

/// Steps of one input: a replacement may double a value's length, and so may the next one.
const STEPS_MAX: usize = 8;
const FIELD_BYTES_MAX: usize = 64;

/// Compiles the steps and applies them.
pub(crate) fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (labels, steps) = text.split_once("\n\n").unwrap_or((&text, ""));
    let steps: Option<Vec<RelabelConfig>> = steps.lines().take(STEPS_MAX).map(step).collect();
    let Some(Ok(steps)) = steps.map(|steps| compile(&steps)) else { return };
    let labels = Labels::from_pairs(labels.lines().filter_map(|line| line.split_once('=')));
    let apply = || {
        let mut builder = LabelsBuilder::from_labels(&labels);
        process(&steps, &mut builder).then(|| builder.build())
    };
    let relabelled = apply();
    assert_eq!(relabelled, apply());
    let is_bare = |(name, value): (&str, &str)| name.is_empty() || value.is_empty();
    let had_bare = labels.iter().any(is_bare);
    assert!(had_bare || !relabelled.iter().flatten().any(is_bare), "an empty label: {relabelled:?}");
}

fn step(line: &str) -> Option<RelabelConfig> {
    let mut fields = line.split('\t');
    let action = action(fields.next()?)?;
    let default = RelabelConfig::default();
    let mut field = |default: &str| fields.next().unwrap_or(default).to_owned();
    let sources = field("");
    let step = RelabelConfig {
        action,
        source_labels: sources.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
        separator: field(&default.separator),
        regex: field(&default.regex),
        modulus: field("").parse().unwrap_or(default.modulus),
        target_label: field(&default.target_label),
        replacement: field(&default.replacement),
    };
    // As the configuration's check demands.
    let needs_target = !matches!(action, Keep | Drop | LabelMap | LabelDrop | LabelKeep);
    if needs_target && step.target_label.is_empty() {
        return None;
    }
    let lengths = [&step.separator, &step.target_label, &step.replacement].map(String::len);
    lengths.into_iter().all(|bytes| bytes <= FIELD_BYTES_MAX).then_some(step)
}

fn action(word: &str) -> Option<RelabelAction> {
    use RelabelAction::{DropEqual, HashMod, KeepEqual, Lowercase, Replace, Uppercase};
    let all =
        [Replace, Keep, Drop, KeepEqual, DropEqual, HashMod, LabelMap, LabelDrop, LabelKeep, Lowercase, Uppercase];
    all.into_iter().find(|action| action.as_str() == word)
}
