//! The rule packs, by fedgate and by promtool: their own unit tests, and what they make of pages of real exporters.
//!
//! Five families were scraped beside one cluster within minutes, so their canonical series must agree as far as the
//! exporters know the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::site::fedgate;
use super::site::prometheus::has_peer;

const VERSION: &str = "3.5";

/// A family, its pages, and what it says of cluster alpha: CPU utilization and node availability, to a thousandth.
const FAMILIES: [(&str, &[&str], &str, &str); 5] = [
    (
        "slurm-native",
        &["slurm-native-nodes", "slurm-native-jobs", "slurm-native-partitions", "slurm-native-scheduler"],
        "0.306",
        "0.692",
    ),
    ("slurm-sckyzo", &["sckyzo-1.8-alpha"], "0.311", "0.692"),
    ("slurm-vpenso", &["vpenso-0.20-alpha"], "0.311", "0.75"),
    ("slurm-jontk", &["jontk-0.1.0-alpha"], "0.311", "0.962"),
    ("slurm-rivosinc", &["rivosinc-1.7-alpha"], "0.301", "0.692"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The YAML files of a folder of the repository, sorted.
fn files_in(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(folder)).expect("the folder is there");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{folder} is empty");
    files
}

/// Runs unit tests by fedgate and, where it is there, by promtool.
fn test_rules(files: &[PathBuf]) {
    let names = files.iter().map(|path| path.to_str().expect("a plain path"));
    fedgate(&["test", "rules"].into_iter().chain(names).collect::<Vec<_>>());
    if has_peer("promtool", VERSION) {
        promtool(&["test", "rules"], files);
    }
}

/// Runs promtool with the files appended; panics with all that it said if it is not content.
fn promtool(arguments: &[&str], files: &[PathBuf]) {
    let output = Command::new("promtool").args(arguments).args(files).output().expect("promtool runs");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

/// The names that a pack records or alerts by.
fn names_of(pack: &str) -> Vec<&str> {
    let keys = ["- record: ", "- alert: "];
    pack.lines().filter_map(|line| keys.iter().find_map(|key| line.trim().strip_prefix(key))).collect()
}

/// One line of a page as an input series of alpha's: the labels that collector and gateway add stand before its own.
fn input_series(line: &str, family: &str) -> String {
    let (series, value) = line.rsplit_once(' ').expect("a sample has a value");
    let (name, own) = series.split_once('{').unwrap_or((series, "}"));
    // What the gateway makes of a page's own `cluster`.
    let own = own
        .replace("cluster=\"alpha\",", "")
        .replace("cluster=\"alpha\"}", "}")
        .replace("cluster=", "exported_cluster=");
    let labels = format!("cluster=\"alpha\",environment=\"test\",instance=\"page\",fedgate_family=\"{family}\",{own}");
    format!("      - {{series: '{}', values: '{value}x20'}}\n", format!("{name}{{{labels}").replace('\'', "''"))
}

/// A unit test in promtool's format: the family's pages, and what is expected of them.
fn page_test(family: &str, pages: &[&str], utilization: &str, availability: &str) -> String {
    let rules = root().join("config/rules");
    let mut text = format!(
        "rule_files: [{0}/base.yml, {0}/{family}.yml]\nevaluation_interval: 30s\n\
         group_eval_order: [fedgate-settings, {family}, fedgate-families, slurm-derived]\n\
         tests:\n  - interval: 30s\n    input_series:\n",
        rules.display()
    );
    text.push_str(&input_series("up 1", family));
    for page in pages {
        let path = root().join("tests/fixtures/expositions").join(format!("{page}.prom"));
        let page = fs::read_to_string(path).expect("the page is there");
        let samples = page.lines().filter(|line| line.starts_with("slurm_"));
        samples.for_each(|line| text.push_str(&input_series(line, family)));
    }
    text.push_str("    promql_expr_test:\n");
    for (series, value) in [("cpu_utilization", utilization), ("node_availability", availability)] {
        let labels = "{cluster=\"alpha\", environment=\"test\"}";
        text.push_str(&format!(
            "      - expr: round(slurm:cluster:{series}, 0.001)\n        eval_time: 5m\n        \
             exp_samples: [{{labels: '{labels}', value: {value}}}]\n"
        ));
    }
    text
}

#[test]
fn every_pack_is_accepted() {
    let files = files_in("config/rules");
    let names = files.iter().map(|path| path.to_str().expect("a plain path"));
    fedgate(&["check", "rules"].into_iter().chain(names).collect::<Vec<_>>());
    if has_peer("promtool", VERSION) {
        promtool(&["check", "rules", "--lint=all", "--lint-fatal"], &files);
    }
}

#[test]
fn every_unit_test_of_a_pack_passes() {
    test_rules(&files_in("tests/rules"));
}

#[test]
fn every_rule_has_a_unit_test() {
    for pack in files_in("config/rules") {
        let rules = fs::read_to_string(&pack).unwrap();
        let tests = fs::read_to_string(root().join("tests/rules").join(pack.file_name().unwrap())).unwrap();
        assert!(!names_of(&rules).is_empty(), "{}", pack.display());
        for name in names_of(&rules) {
            let asked =
                [format!("expr: {name}\n"), format!("{name}{{"), format!("({name})"), format!("alertname: {name}\n")];
            assert!(asked.iter().any(|asked| tests.contains(asked.as_str())), "{name} of {}", pack.display());
        }
    }
}

#[test]
fn families_agree_on_pages_of_one_cluster() {
    let folder = tempfile::tempdir().unwrap();
    let tests: Vec<PathBuf> = FAMILIES
        .iter()
        .map(|(family, pages, utilization, availability)| {
            let path = folder.path().join(format!("{family}.yml"));
            fs::write(&path, page_test(family, pages, utilization, availability)).unwrap();
            path
        })
        .collect();
    test_rules(&tests);
}
