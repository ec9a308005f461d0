//! One compiled step, and what each action does to a label set.

use std::fmt;

use md5::{Digest, Md5};
use regex_automata::meta::Regex;

use crate::config::{RelabelAction, RelabelConfig};
use crate::model::{LabelsBuilder, MatcherError, Template, anchored_regex};

/// Compiled relabelling steps, applied in order. Cheap to clone: patterns are shared.
#[derive(Clone, Debug, Default)]
pub struct Steps {
    steps: Vec<Step>,
}

impl Steps {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

#[derive(Clone)]
struct Step {
    action: RelabelAction,
    source_labels: Vec<String>,
    separator: String,
    regex: Regex,
    modulus: u64,
    target_label: String,
    /// `target_label` as `replace` expands it.
    target: Template,
    replacement: Template,
}

/// Compiles the steps of a checked configuration; fails only where a pattern is none.
pub fn compile(configs: &[RelabelConfig]) -> Result<Steps, MatcherError> {
    let steps = configs.iter().map(Step::new).collect::<Result<_, _>>()?;
    Ok(Steps { steps })
}

/// Applies the steps to a label set; `false` if it was dropped, and then `labels` is in no particular state.
pub fn process(steps: &Steps, labels: &mut LabelsBuilder) -> bool {
    steps.steps.iter().all(|step| step.apply(labels))
}

impl Step {
    fn new(config: &RelabelConfig) -> Result<Step, MatcherError> {
        let regex = anchored_regex(&config.regex)?;
        Ok(Step {
            action: config.action,
            source_labels: config.source_labels.clone(),
            separator: config.separator.clone(),
            modulus: config.modulus,
            target_label: config.target_label.clone(),
            target: Template::new(&config.target_label, &regex),
            replacement: Template::new(&config.replacement, &regex),
            regex,
        })
    }

    /// `false` drops the label set.
    fn apply(&self, labels: &mut LabelsBuilder) -> bool {
        use RelabelAction::*;
        let source = self.source(labels);
        match self.action {
            Keep => return self.regex.is_match(&source),
            Drop => return !self.regex.is_match(&source),
            KeepEqual => return labels.get(&self.target_label) == source,
            DropEqual => return labels.get(&self.target_label) != source,
            Replace => self.replace(&source, labels),
            HashMod => self.set_target(&(hash(&source) % self.modulus.max(1)).to_string(), labels),
            Lowercase => self.set_target(&map_case(&source, |c| single(c.to_lowercase()).unwrap_or('i')), labels),
            Uppercase => self.set_target(&map_case(&source, |c| single(c.to_uppercase()).unwrap_or(c)), labels),
            LabelMap => self.map_names(labels),
            LabelDrop => labels.retain(|name, _| !self.regex.is_match(name)),
            LabelKeep => labels.retain(|name, _| self.regex.is_match(name)),
        }
        true
    }

    fn source(&self, labels: &LabelsBuilder) -> String {
        let mut source = String::new();
        for (nth, name) in self.source_labels.iter().enumerate() {
            if nth > 0 {
                source.push_str(&self.separator);
            }
            source.push_str(labels.get(name));
        }
        source
    }

    fn replace(&self, source: &str, labels: &mut LabelsBuilder) {
        let mut captures = self.regex.create_captures();
        if self.target.is_constant() && self.replacement.is_constant() {
            // No group is needed, and a search that only answers yes or no is several times faster.
            if !self.regex.is_match(source) {
                return;
            }
        } else {
            self.regex.captures(source, &mut captures);
            if !captures.is_match() {
                return;
            }
        }
        let name = self.target.expand(source, &captures);
        if !name.is_empty() {
            labels.set(&name, &self.replacement.expand(source, &captures));
        }
    }

    fn set_target(&self, value: &str, labels: &mut LabelsBuilder) {
        labels.set(&self.target_label, value);
    }

    /// Copies labels to new names. All matches are taken before the first copy, so a copy is never mapped again.
    fn map_names(&self, labels: &mut LabelsBuilder) {
        let mut captures = self.regex.create_captures();
        let mut copies = Vec::new();
        for (name, value) in labels.iter() {
            self.regex.captures(name, &mut captures);
            if captures.is_match() {
                copies.push((self.replacement.expand(name, &captures), value.to_owned()));
            }
        }
        for (name, value) in copies.iter().filter(|(name, _)| !name.is_empty()) {
            labels.set(name, value);
        }
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} -> {:?}", self.action.as_str(), self.source_labels, self.target_label)
    }
}

/// The last eight bytes of MD5, big endian: what Prometheus shards by, so that a fedgate collector takes the same share.
fn hash(source: &str) -> u64 {
    let digest: [u8; 16] = Md5::digest(source.as_bytes()).into();
    let (_, last) = digest.split_at(8);
    u64::from_be_bytes(last.try_into().expect("an MD5 is sixteen bytes"))
}

fn map_case(text: &str, map: impl Fn(char) -> char) -> String {
    text.chars().map(map).collect()
}

/// Go maps letter by letter. Rust's mapping is that one wherever it gives one letter; where it gives several, Go leaves an
/// upper-case mapping out, and the only such lower-case one is `İ` to `i`.
fn single(mut mapped: impl Iterator<Item = char>) -> Option<char> {
    let first = mapped.next();
    first.filter(|_| mapped.next().is_none())
}
