//! From a file and the environment to a valid configuration, or to every fault at once.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::fault::{Fault, Faults};
use super::layers::{self, Environment};
use super::report::{At, Report};
use super::tree::{self, Node, Shape, Spot};
use super::{CollectorConfig, GatewayConfig, check, files};

/// A configuration that passed every check.
#[derive(Clone, Debug)]
pub struct Loaded<T> {
    /// The configuration: complete, valid, never changed. A reload makes a new one.
    pub config: Arc<T>,
    /// What is allowed but probably not meant; for the log.
    pub warnings: Vec<Fault>,
}

/// Whose file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Scrapes and pushes.
    Collector,
    /// Takes in and serves.
    Gateway,
}

/// Loads a gateway's file: defaults ← file ← environment (`FEDGATE_HTTP__LISTEN=…`).
pub fn load_gateway(file: &Path) -> Result<Loaded<GatewayConfig>, Faults> {
    load_gateway_with(file, Environment::of_process())
}

/// [`load_gateway`] with a given environment.
pub fn load_gateway_with(file: &Path, environment: Environment) -> Result<Loaded<GatewayConfig>, Faults> {
    load(file, environment, files::resolve_gateway, check::check_gateway)
}

/// Loads a collector's file: defaults ← file ← environment (`FEDGATE_PUSH__URL=…`).
pub fn load_collector(file: &Path) -> Result<Loaded<CollectorConfig>, Faults> {
    load_collector_with(file, Environment::of_process())
}

/// [`load_collector`] with a given environment.
pub fn load_collector_with(file: &Path, environment: Environment) -> Result<Loaded<CollectorConfig>, Faults> {
    load(file, environment, complete_collector, check::check_collector)
}

/// Tells the role from the sections that only one of them has.
pub fn role_of(file: &Path) -> Result<Role, Faults> {
    let source = read_source(file)?;
    let tree = parse(file, &source)?;
    let has = |path: &[&str]| tree.find(path).1 == path.len();
    let collector = [&["scrape_configs"][..], &["push", "url"], &["push", "urls"], &["global", "scrape_interval"]]
        .into_iter()
        .any(has);
    let gateway = [&["push", "clusters"][..], &["push", "listen"], &["http", "federate"]].into_iter().any(has);
    match (collector, gateway) {
        (true, false) => Ok(Role::Collector),
        (false, true) => Ok(Role::Gateway),
        _ => Err(whole_file(
            file,
            "cannot tell the role: a collector's file has scrape_configs and push.url, a gateway's push.clusters",
        )),
    }
}

/// A fault that only a user of the configuration can find (a key that is not its certificate's), placed like the others.
pub fn place_fault(file: &Path, keys: &[&str], message: String) -> Fault {
    let path: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
    let placed = || {
        let source = read_source(file)?;
        let tree = parse(file, &source)?;
        let report = Report::new(file, &source, tree, Environment::of_process());
        report.add(&path, message.clone(), None);
        Err(Faults(report.finish().0))
    };
    let Faults(faults) = placed().map_or_else(|faults| faults, |()| Faults(Vec::new()));
    faults.into_iter().next().expect("a fault was added, or the file cannot be read any more")
}

/// Fills in what follows from other keys, then makes paths absolute.
fn complete_collector(config: &mut CollectorConfig, base: &Path) {
    config.complete();
    files::resolve_collector(config, base);
}

fn load<T: DeserializeOwned>(
    file: &Path,
    environment: Environment,
    complete: fn(&mut T, &Path),
    check: fn(&T, &At<'_>),
) -> Result<Loaded<T>, Faults> {
    let source = read_source(file)?;
    let tree = parse(file, &source)?;
    let mut report = Report::new(file, &source, tree, environment);
    let config = layers::read(&mut report).map(|mut config: T| {
        complete(&mut config, file.parent().unwrap_or(Path::new("")));
        check(&config, &report.root());
        check::check_file_mode(file, &source, &report.root());
        config
    });
    match (config, report.finish()) {
        (Some(config), (faults, warnings)) if faults.is_empty() => Ok(Loaded { config: Arc::new(config), warnings }),
        (_, (faults, _)) => Err(Faults(faults)),
    }
}

/// Reads a file that is no configuration but is written like one (rules, say): strictly, and with all its faults. `check` makes
/// of it what is used; what it reports at its [`At`] makes the whole file unusable, except for warnings, which are
/// handed out with the result.
pub fn load_document<T: DeserializeOwned, U>(
    file: &Path,
    check: impl FnOnce(T, &At<'_>) -> U,
) -> Result<(U, Vec<Fault>), Faults> {
    read_document(file, &read_source(file)?, check)
}

/// The same of a text that is at hand; `file` is what its faults are told of.
pub fn read_document<T: DeserializeOwned, U>(
    file: &Path,
    source: &str,
    check: impl FnOnce(T, &At<'_>) -> U,
) -> Result<(U, Vec<Fault>), Faults> {
    let mut report = Report::open(file, source, parse(file, source)?);
    let made = layers::read(&mut report).map(|document| check(document, &report.root()));
    match (made, report.finish()) {
        (Some(made), (faults, warnings)) if faults.is_empty() => Ok((made, warnings)),
        (_, (faults, _)) => Err(Faults(faults)),
    }
}

fn read_source(file: &Path) -> Result<String, Faults> {
    let bytes = fs::read(file).map_err(|error| whole_file(file, &format!("cannot read the file: {error}")))?;
    String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        whole_file(file, &format!("line {} is not UTF-8", line + 1))
    })
}

/// The tree of a file; an empty file is an empty mapping.
fn parse(file: &Path, source: &str) -> Result<Node, Faults> {
    let (spot, message) = match tree::parse(source) {
        Ok(node) if matches!(node.shape, Shape::Map(_)) => return Ok(node),
        Ok(node) if matches!(node.shape, Shape::Null) => return Ok(Node { shape: Shape::Map(Vec::new()), ..node }),
        Ok(node) => (Some(node.spot), "expected a mapping of sections".to_owned()),
        Err(error) => (error.spot, error.message),
    };
    let nothing = Node { spot: Spot::default(), path: Vec::new(), shape: Shape::Null };
    let report = Report::new(file, source, nothing, Environment::default());
    report.add_at(spot, &[], message);
    Err(Faults(report.finish().0))
}

fn whole_file(file: &Path, message: &str) -> Faults {
    Faults(vec![Fault {
        file: file.to_path_buf(),
        place: None,
        key: String::new(),
        message: message.to_owned(),
        suggestion: None,
    }])
}
