//! PromQL's semantics as data: every script of `tests/promql`, evaluated by fedgate's engine and by the real Prometheus 3.5.
//!
//! The answers in the scripts are the real one's, so a script holds fedgate to them where no Prometheus is at hand, and both
//! where one is. `promql/script.rs` has the form of a script, and how one is written.

use std::fs;
use std::path::{Path, PathBuf};

use super::promql::answer::is_same;
use super::promql::both::{Ours, Theirs};
use super::promql::script::{Part, Query, Script};

/// Rounding that may differ: sums taken in another order.
const ULPS: u64 = 4;

fn scripts() -> Vec<(PathBuf, Script)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/promql");
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).expect("the scripts").map(|entry| entry.expect("a file").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "test"));
    files.sort();
    assert!(!files.is_empty(), "there are scripts");
    let parsed = |file: &PathBuf| Script::parse(&fs::read_to_string(file).expect("a script is text"));
    files.into_iter().map(|file| (file.clone(), parsed(&file))).collect()
}

/// What is wrong with an answer, if it is.
fn difference(file: &Path, query: &Query, lines: &[String]) -> Option<String> {
    let is_right = is_same(lines, &query.expected, ULPS);
    let text = |lines: &[String]| lines.iter().map(|line| format!("    {line}\n")).collect::<String>();
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    (!is_right)
        .then(|| format!("{name}: {}\n  found\n{}  expected\n{}", query.line, text(lines), text(&query.expected)))
}

fn assert_none(differences: &[String]) {
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
}

/// Writes the answers into the file.
fn bless(file: &Path, script: &Script, theirs: &Theirs) {
    let mut text = String::new();
    for part in &script.parts {
        match part {
            Part::Text(line) => text.push_str(&format!("{line}\n")),
            Part::Query(query) => {
                let answer = theirs.ask(&query.expression, &query.steps, query.is_range);
                text.push_str(&format!("{}\n", query.line));
                answer.lines(query.is_ordered).iter().for_each(|line| text.push_str(&format!("  {line}\n")));
            }
        }
    }
    fs::write(file, text).expect("the script can be written");
}

#[test]
fn a_prometheus_answers_as_the_scripts_say() {
    let mut differences = Vec::new();
    for (file, script) in scripts() {
        let Some(theirs) = Theirs::start(&script.series) else { return };
        if std::env::var_os("FEDGATE_BLESS").is_some() {
            bless(&file, &script, &theirs);
            continue;
        }
        for query in script.queries() {
            let answer = theirs.ask(&query.expression, &query.steps, query.is_range);
            differences.extend(difference(&file, query, &answer.lines(query.is_ordered)));
        }
    }
    assert_none(&differences);
}

#[test]
fn the_engine_answers_as_the_scripts_say() {
    let mut differences = Vec::new();
    for (file, script) in scripts() {
        let ours = Ours::new(&script.series);
        for query in script.queries() {
            let answer = ours.ask(&query.expression, &query.steps, query.is_range);
            differences.extend(difference(&file, query, &answer.lines(query.is_ordered)));
        }
    }
    assert_none(&differences);
}
