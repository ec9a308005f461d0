//! The structure that `docs/architecture.md` promises, held against the source: modules import only upwards, and a
//! package lives in one module.
//!
//! The check reads text, not syntax trees: a path `crate::module` anywhere outside a comment counts as an import.

use std::fs;
use std::path::{Path, PathBuf};

/// The order of `src/lib.rs`: each module may import those before it and itself.
const ORDER: [&str; 22] = [
    "model",
    "config",
    "telemetry",
    "runtime",
    "exposition",
    "snapshot",
    "journal",
    "store",
    "wal",
    "promql",
    "tls",
    "net",
    "relabel",
    "discovery",
    "scrape",
    "push",
    "remote_write",
    "rules",
    "http",
    "demo",
    "cli",
    "main",
];

/// Where a package may be named. Replacing it touches these places and no others.
const HOMES: [(&str, &[&str]); 12] = [
    ("axum", &["http"]),
    ("rustls", &["tls"]),
    ("rcgen", &["tls"]),
    ("x509_parser", &["tls"]),
    ("dashmap", &["store"]),
    ("figment", &["config"]),
    ("serde_saphyr", &["config", "discovery", "rules"]),
    ("prometheus_client", &["telemetry"]),
    ("promql_parser", &["promql"]),
    ("clap", &["cli", "main"]),
    ("snap", &["remote_write"]),
    ("bcrypt", &["http", "config"]),
];

/// Every source file with the module it belongs to.
fn sources() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("src can be read") {
            let path = entry.expect("src can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
        .into_iter()
        .map(|path| {
            let inside = path.strip_prefix(&root).expect("below src");
            let first = inside.iter().next().expect("a name").to_string_lossy();
            let module = first.trim_end_matches(".rs").to_owned();
            let text = fs::read_to_string(&path).expect("source is UTF-8");
            (module, path, text)
        })
        .collect()
}

/// The lines that are code, numbered from 1.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")).map(|(at, line)| (at + 1, line))
}

/// The names that follow `crate::` in a line, groups (`crate::{a, b}`) included.
fn imported_modules(line: &str) -> Vec<&str> {
    let name = |text: &'_ str| text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    let mut found = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        let rest = &line[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(group.split(',').map(str::trim).map(|part| &part[..name(part)])),
            None => found.push(&rest[..name(rest)]),
        }
    }
    found
}

#[test]
fn modules_import_only_those_above_them() {
    let rank = |module: &str| ORDER.iter().position(|own| *own == module);
    let mut faults = Vec::new();
    for (module, path, text) in sources().iter().filter(|(module, ..)| module != "lib") {
        let own = rank(module).unwrap_or_else(|| panic!("{module} has no place in the order"));
        for (number, line) in code_lines(text) {
            for imported in imported_modules(line) {
                if rank(imported).is_some_and(|other| other > own) {
                    faults.push(format!("{}:{number}: {module} imports {imported}", path.display()));
                }
            }
        }
    }
    assert!(faults.is_empty(), "imports against the order of src/lib.rs:\n{}", faults.join("\n"));
}

#[test]
fn a_package_lives_in_one_module() {
    let mut faults = Vec::new();
    for (module, path, text) in sources() {
        for (number, line) in code_lines(&text) {
            for (package, homes) in HOMES {
                let named = line
                    .match_indices(&format!("{package}::"))
                    .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':'));
                if named && !homes.contains(&module.as_str()) {
                    faults.push(format!("{}:{number}: {package} outside {}", path.display(), homes.join(", ")));
                }
            }
        }
    }
    assert!(faults.is_empty(), "packages away from home:\n{}", faults.join("\n"));
}

#[test]
fn every_file_says_what_it_is() {
    let silent: Vec<_> =
        sources().into_iter().filter(|(.., text)| !text.starts_with("//!")).map(|(_, path, _)| path).collect();
    assert!(silent.is_empty(), "files without a module doc: {silent:?}");
}

#[test]
fn the_order_is_the_one_of_lib_rs() {
    let lib = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).expect("src/lib.rs");
    let declared: Vec<&str> =
        lib.lines().filter_map(|line| line.strip_prefix("pub mod ")).map(|rest| rest.trim_end_matches(';')).collect();
    assert_eq!(declared, ORDER[..ORDER.len() - 1]);
}
