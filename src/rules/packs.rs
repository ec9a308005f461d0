//! The rule packs that fedgate brings along: `config/rules/`, as it stands there.
//!
//! A pack is a rule file like any other. Two things in them are configuration, and both are recorded constants, so that no
//! expression has to be rewritten for them: which family speaks for a cluster that several cover (`fedgate:family_rank`,
//! which follows from the order in which packs are named) and what a node's state weighs (`fedgate:health_weight`). Loading
//! replaces the constants of these rules and nothing else; docs/rules.md tells what they mean.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;

use super::file::{Rule, RuleFile, parse};
use crate::config::Weight;
use crate::promql::{self, ParseOptions};

/// What the others stand on; loaded before them.
const BASE: &str = "base";

/// Distance between the ranks of neighbours: a site's own packs fit between them.
const RANK_STEP: usize = 10;

const RANK: &str = "fedgate:family_rank";
const WEIGHT: &str = "fedgate:health_weight";

/// In the order in which families go before one another unless a site says otherwise.
const PACKS: [(&str, &str); 12] = [
    (BASE, include_str!("../../config/rules/base.yml")),
    ("slurm-native", include_str!("../../config/rules/slurm-native.yml")),
    ("slurm-slinky", include_str!("../../config/rules/slurm-slinky.yml")),
    ("slurm-sckyzo", include_str!("../../config/rules/slurm-sckyzo.yml")),
    ("slurm-vpenso", include_str!("../../config/rules/slurm-vpenso.yml")),
    ("slurm-jontk", include_str!("../../config/rules/slurm-jontk.yml")),
    ("slurm-rivosinc", include_str!("../../config/rules/slurm-rivosinc.yml")),
    ("pbs", include_str!("../../config/rules/pbs.yml")),
    ("node-exporter", include_str!("../../config/rules/node-exporter.yml")),
    ("gpu-dcgm", include_str!("../../config/rules/gpu-dcgm.yml")),
    ("gpu-amd", include_str!("../../config/rules/gpu-amd.yml")),
    ("site", include_str!("../../config/rules/site.yml")),
];

/// Why packs cannot be loaded as they are named.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PackError {
    /// No pack of this name.
    #[error("unknown rule pack {0:?}, expected one of {known}", known = names().collect::<Vec<_>>().join(", "))]
    Unknown(String),
    /// Its place among the others would be two.
    #[error("rule pack {0:?} is named twice")]
    Repeated(String),
    /// No state of this name has a weight.
    #[error("unknown state {0:?} of a node, expected one of idle, allocated, mixed, drain, maint, down, other")]
    UnknownState(String),
}

/// All packs, by the names that a configuration gives them.
pub fn names() -> impl Iterator<Item = &'static str> {
    PACKS.iter().map(|(name, _)| *name)
}

/// The packs of these names, `base` before them, ranked in their order; `weights` go over the default ones, by state.
/// No name, no rules: `base` alone says nothing.
pub fn load(chosen: &[String], weights: &BTreeMap<String, Weight>) -> Result<Vec<RuleFile>, PackError> {
    if let Some((_, name)) = chosen.iter().enumerate().find(|(at, name)| chosen[..*at].contains(name)) {
        return Err(PackError::Repeated(name.clone()));
    }
    if chosen.is_empty() {
        return Ok(Vec::new());
    }
    let mut files = vec![embedded(BASE).expect("base is a pack")];
    weigh(&mut files[0], weights)?;
    for (at, name) in chosen.iter().enumerate().filter(|(_, name)| *name != BASE) {
        let mut file = embedded(name).ok_or_else(|| PackError::Unknown(name.clone()))?;
        rules_of(&mut file, RANK).for_each(|rule| set(rule, (at + 1) * RANK_STEP));
        files.push(file);
    }
    Ok(files)
}

fn embedded(name: &str) -> Option<RuleFile> {
    let (name, source) = PACKS.iter().find(|(known, _)| *known == name)?;
    let path = format!("rule_packs/{name}.yml");
    let (file, _) = parse(Path::new(&path), source, &ParseOptions::default()).expect("the packs have no fault");
    Some(file)
}

fn weigh(base: &mut RuleFile, weights: &BTreeMap<String, Weight>) -> Result<(), PackError> {
    for (state, weight) in weights {
        let rule = rules_of(base, WEIGHT).find(|rule| rule.labels.get("state") == Some(state));
        set(rule.ok_or_else(|| PackError::UnknownState(state.clone()))?, weight);
    }
    Ok(())
}

fn rules_of<'a>(file: &'a mut RuleFile, name: &'a str) -> impl Iterator<Item = &'a mut Rule> {
    file.groups.iter_mut().flat_map(|group| &mut group.rules).filter(move |rule| rule.name() == name)
}

/// Makes the rule record this number.
fn set(rule: &mut Rule, value: impl Display) {
    rule.source = format!("vector({value})");
    rule.expr = promql::parse(&rule.source, &ParseOptions::default()).expect("a finite number is PromQL");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn weight(number: f64) -> Weight {
        Weight::try_from(number).unwrap()
    }

    /// Sources of the rules of that name, by the value of a label of theirs.
    fn constants(files: &mut [RuleFile], name: &str, label: &str) -> Vec<(String, String)> {
        let rules = files.iter_mut().flat_map(|file| rules_of(file, name));
        rules.map(|rule| (rule.labels.get(label).cloned().unwrap_or_default(), rule.source.clone())).collect()
    }

    #[test]
    fn every_pack_loads_and_stands_in_the_folder() {
        let all: Vec<String> = names().map(str::to_owned).collect();
        let files = load(&all, &BTreeMap::new()).unwrap();
        assert_eq!(files.len(), all.len(), "base once");
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/rules");
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), all.len());
    }

    #[test]
    fn the_order_of_packs_ranks_families() {
        let mut files = load(&chosen(&["site", "slurm-vpenso", "slurm-native"]), &BTreeMap::new()).unwrap();
        assert_eq!(files[0].path, Path::new("rule_packs/base.yml"));
        let ranks = constants(&mut files, RANK, "fedgate_family");
        let expected = [("slurm-vpenso", "vector(20)"), ("slurm-native", "vector(30)")];
        assert_eq!(ranks, expected.map(|(family, rank)| (family.to_owned(), rank.to_owned())));
    }

    #[test]
    fn a_weight_goes_over_its_default_and_no_other() {
        let weights = BTreeMap::from([("drain".to_owned(), weight(-0.5))]);
        let mut files = load(&chosen(&["pbs"]), &weights).unwrap();
        let weights: BTreeMap<String, String> = constants(&mut files, WEIGHT, "state").into_iter().collect();
        assert_eq!((weights["drain"].as_str(), weights["idle"].as_str()), ("vector(-0.5)", "vector(1.0)"));
        assert_eq!(weights.len(), 7);
    }

    #[test]
    fn what_is_not_there_is_refused() {
        let none = BTreeMap::new();
        assert_eq!(load(&[], &none), Ok(Vec::new()));
        assert_eq!(load(&chosen(&["pbs", "slurm"]), &none), Err(PackError::Unknown("slurm".to_owned())));
        assert_eq!(load(&chosen(&["pbs", "site", "pbs"]), &none), Err(PackError::Repeated("pbs".to_owned())));
        let state = BTreeMap::from([("idel".to_owned(), weight(1.0))]);
        assert_eq!(load(&chosen(&["pbs"]), &state), Err(PackError::UnknownState("idel".to_owned())));
        assert!(Weight::try_from(f64::INFINITY).is_err());
    }
}
