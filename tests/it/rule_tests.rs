//! Unit tests of rules: `fedgate test rules` and promtool come to the same verdict on the same files.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::site::FEDGATE;
use crate::site::prometheus::has_peer;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn folder() -> PathBuf {
    fixtures().join("rule_tests")
}

/// Test files, and whether they are to succeed: those called `bad_…` are not. Those of functions are PromQL's semantics as promtool
/// can check them.
fn files() -> Vec<(PathBuf, bool)> {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let folders = [folder(), fixtures().join("promql/functions")];
    let entries = folders.iter().flat_map(|folder| std::fs::read_dir(folder).expect("the fixtures"));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("a file").path()).collect();
    files.retain(|path| !name(path).ends_with("rules.yml"));
    files.sort();
    files.into_iter().map(|path| (path.clone(), !name(&path).starts_with("bad_"))).collect()
}

fn verdict(program: &str, path: &Path) -> (bool, String) {
    let output = Command::new(program).args(["test", "rules"]).arg(path).output().expect("the program runs");
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn good_files_succeed_and_bad_ones_fail() {
    for (path, is_good) in files() {
        let (succeeded, said) = verdict(FEDGATE, &path);
        assert_eq!(succeeded, is_good, "{}\n{said}", path.display());
    }
}

#[test]
fn promtool_comes_to_the_same_verdicts() {
    if !has_peer("promtool", "3.5.") {
        return;
    }
    for (path, is_good) in files() {
        let (succeeded, said) = verdict("promtool", &path);
        assert_eq!(succeeded, is_good, "{}\n{said}", path.display());
    }
}

#[test]
fn a_failure_shows_what_differs() {
    let (_, said) = verdict(FEDGATE, &folder().join("bad_value.yml"));
    assert!(said.contains("name: a wrong value"), "{said}");
    assert!(said.contains("- cluster:cpu_utilization{cluster=\"alpha\"} 0.2\n"), "{said}");
    assert!(said.contains("+ cluster:cpu_utilization{cluster=\"alpha\"} 0.1\n"), "{said}");
}

#[test]
fn many_files_are_one_run_with_one_verdict() {
    let run = |names: &[&str]| {
        let paths = names.iter().map(|name| folder().join(name));
        Command::new(FEDGATE).args(["test", "rules"]).args(paths).output().expect("the program runs").status.code()
    };
    assert_eq!(run(&["good.yml", "fuzzy.yml"]), Some(0));
    assert_eq!(run(&["good.yml", "bad_value.yml", "fuzzy.yml"]), Some(1));
    assert_eq!(run(&[]), Some(2));
}
