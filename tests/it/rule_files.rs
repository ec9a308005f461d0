//! Rule files: what they become, every fault at its place, and promtool's opinion of each.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use fedgate::config::{Fault, Faults};
use fedgate::promql::ParseOptions;
use fedgate::rules::file::{PatternError, RuleFile, RuleKind, load, matching_files};

use super::site::prometheus::has_peer;

/// Every kind of rule and every key, written in every style of YAML.
const GOOD: &str = include_str!("../fixtures/rules/good.yml");

fn read(text: &str) -> Result<(RuleFile, Vec<Fault>), Faults> {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("rules.yml");
    fs::write(&path, text).expect("a file");
    load(&path, &ParseOptions::default())
}

/// `line:column: key: message` of each.
fn shown(faults: &[Fault]) -> Vec<String> {
    let place = |fault: &Fault| fault.place.as_ref().map(|place| format!("{}:{}", place.line, place.column));
    let shown = |fault: &Fault| format!("{}: {}: {}", place(fault).unwrap_or_default(), fault.key, fault.message);
    faults.iter().map(shown).collect()
}

fn faults(text: &str) -> Vec<String> {
    let Faults(faults) = read(text).expect_err("a faulty file");
    shown(&faults)
}

/// A file with one rule of these keys.
fn rule(keys: &str) -> String {
    format!("groups:\n- name: g\n  rules:\n  - {}\n", keys.replace('\n', "\n    "))
}

#[test]
fn a_file_becomes_groups_and_rules() {
    let (file, warnings) = read(GOOD).expect("a good file");
    assert_eq!(shown(&warnings), [] as [String; 0]);
    let [first, second, third] = &file.groups[..] else { panic!("{file:?}") };
    assert_eq!(
        (first.interval, first.limit, first.query_offset),
        (Some(Duration::from_secs(15)), 5, Some(Duration::ZERO))
    );
    assert_eq!((second.interval, second.limit, second.query_offset), (None, 0, None));
    assert!(third.rules.is_empty());
    let names: Vec<_> = first.rules.iter().chain(&second.rules).map(|rule| (rule.name(), rule.line)).collect();
    assert_eq!(names, [("job:up:sum", 11), ("job:up:share", 15), ("JobDown", 22), ("my.metric:rate:5m", 43)]);
    let labels: Vec<_> = first.rules[0].labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(labels, ["team=hpc", "version=1.10"], "a rule's own label goes before its group's");
    let RuleKind::Alert(alert) = &first.rules[2].kind else { panic!("{:?}", first.rules[2]) };
    assert_eq!((alert.hold, alert.keep_firing_for), (Duration::from_secs(300), Duration::from_secs(3600)));
    assert_eq!(alert.annotations["summary"], "{{ $labels.job }} is at {{ $value | humanizePercentage }}");
    assert_eq!(first.rules[1].expr.to_string(), "job:up:sum / on () group_left () count(up{job=~\"a\\\\d+\"})");
    assert_eq!(first.rules[1].source, "job:up:sum\n  / on () group_left\ncount(up{job=~`a\\d+`}) # of all\n");
}

#[test]
fn every_fault_is_told_at_its_place() {
    let text = include_str!("../fixtures/rules/faulty.yml");
    let expected: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert!(!expected.is_empty());
    assert_eq!(faults(text), expected);
}

#[test]
fn a_fault_of_an_expression_stands_at_its_character_in_every_style() {
    let at = |keys: &str| faults(&rule(keys))[0].split(": ").next().expect("a place").to_owned();
    assert_eq!(at("record: a:b\nexpr: sum(up) up"), "5:19");
    assert_eq!(at("record: a:b\nexpr: sum(up)\n  up"), "6:7");
    assert_eq!(at("record: a:b\nexpr: 'up{a=''b''} up'"), "5:24");
    assert_eq!(at("record: a:b\nexpr: \"up{a=\\\"b\\\"}\\n up\""), "5:26");
    assert_eq!(at("record: a:b\nexpr: |\n  sum(up)\n    up"), "7:9");
    assert_eq!(at("record: a:b\nexpr: >-\n  sum(up)\n\n  up"), "8:7");
    assert_eq!(at("record: a:b\nexpr: |2\n   up +\n"), "6:12", "the end is behind what was written");
}

#[test]
fn what_is_doubtful_is_a_warning() {
    let text = "groups:\n- name: g\n  evaluation_delay: 1m\n  rules:\n  - {record: up_sum, expr: sum(up), labels: {theJob: x}}\n  \
                - {record: 'a:b', expr: '1'}\n  - {record: 'a:b', expr: '2'}\n  - {alert: A, expr: '1', labels: {alertname: B}}\n";
    let (file, warnings) = read(text).expect("warnings are no faults");
    assert_eq!(file.groups[0].query_offset, Some(Duration::from_secs(60)));
    let keys: Vec<_> =
        shown(&warnings).iter().map(|line| line.split(": ").nth(1).unwrap_or_default().to_owned()).collect();
    let expected =
        ["evaluation_delay", "rules[0].record", "rules[0].labels.theJob", "rules[2]", "rules[3].labels.alertname"];
    assert_eq!(keys, expected.map(|key| format!("groups[0].{key}")));
}

#[test]
fn what_is_no_rule_file_says_so() {
    assert_eq!(faults("groups: 5\n"), ["1:9: groups: found \"5\", expected a list"]);
    assert!(faults("groups:\n\t- a\n")[0].contains("this is no YAML"));
    assert!(read("").is_ok_and(|(file, _)| file.groups.is_empty()), "an empty file has no rules");
    let Faults(missing) = load(Path::new("/nowhere/rules.yml"), &ParseOptions::default()).expect_err("no file");
    assert!(missing[0].message.contains("cannot read the file"), "{missing:?}");
}

/// Each of these is one file; promtool and this reading accept the same ones.
const JUDGED: [&str; 24] = [
    "record: a\nexpr: up",
    "record: ''\nexpr: up",
    "record: a b\nexpr: up",
    "record: a\nexpr: ''",
    "record: a",
    "record: a\nexpr: up\nfor: 0s",
    "record: a\nexpr: up\nfor: 1s",
    "record: a\nexpr: up\nkeep_firing_for: 1s",
    "record: a\nexpr: up\nannotations: {a: b}",
    "record: a\nexpr: up\nannotations: {}",
    "record: a\nexpr: up\nlabels: {__name__: b}",
    "record: a\nexpr: up\nlabels: {'': b}",
    "record: a\nexpr: up\nlabels: {a.b: c, 1: 2}",
    "record: a\nexpr: 5",
    "record: a\nexpr: sort_by_label(up, 'a')",
    "alert: a\nexpr: up\nfor: 1d12h",
    "alert: a\nexpr: up\nfor: 12h1d",
    "alert: a\nexpr: up\nfor: 5",
    "alert: a b\nexpr: up\nlabels: {x: '{{ .Labels.a }}'}",
    "alert: a\nexpr: up\nlabels: {x: '{{ .Labels.a '}",
    "alert: a\nexpr: up\nannotations: {x: '{{ nothing }}'}",
    "alert: a\nexpr: up\nannotations: {'': b}",
    "record: a\nalert: b\nexpr: up",
    "record: a\nexpr: up\ninterval: 5m",
];

#[test]
fn promtool_accepts_the_same_files() {
    if !has_peer("promtool", "3.5.") {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("rules.yml");
    let accepts = |text: &str| {
        fs::write(&path, text).expect("a file");
        let theirs = Command::new("promtool").args(["check", "rules"]).arg(&path).output().expect("promtool runs");
        (load(&path, &ParseOptions::default()).is_ok(), theirs.status.success())
    };
    let chain = |operator: &str| rule(&format!("record: a\nexpr: {}", vec!["sum(up)"; 1_001].join(operator)));
    let texts = JUDGED.iter().map(|keys| rule(keys)).chain([GOOD.to_owned(), chain(" or "), chain(" + ")]);
    let differ: Vec<_> =
        texts.map(|text| (accepts(&text), text)).filter(|((ours, theirs), _)| ours != theirs).collect();
    assert!(differ.is_empty(), "{differ:#?}");
}

#[test]
fn patterns_name_files_in_one_directory() {
    let dir = tempfile::tempdir().expect("a directory");
    for name in ["b.yml", "a.yml", "a.yaml"] {
        fs::write(dir.path().join(name), "").expect("a file");
    }
    let names = |pattern: &str| {
        let files = matching_files(&dir.path().join(pattern)).expect("a directory");
        files.iter().map(|file| file.file_name().expect("a name").to_string_lossy().into_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("*.yml"), ["a.yml", "b.yml"]);
    assert_eq!(names("?.y*ml"), ["a.yaml", "a.yml", "b.yml"]);
    assert_eq!(names("missing.yml"), ["missing.yml"], "who is named must be there: reading tells");
    assert_eq!(names("missing*.yml"), [] as [&str; 0]);
    assert!(matches!(matching_files(&dir.path().join("*/a.yml")), Err(PatternError::Wildcard(_))));
}
