//! Lays the environment over the file over the defaults, and reads the result into a section's struct.
//!
//! `figment` merges and serde reads, and both stop at the first fault. So that all faults of a file come at once, the node
//! at fault is taken out and the file is read again, until nothing is left to complain of: every key but a few has a
//! default, so what is left is still a configuration, good enough to run the checks on.

use figment::error::{Actual, Kind};
use figment::providers::{Env, Serialized};
use figment::value::{Dict, Empty, Tag, Value};
use figment::{Figment, Profile};
use serde::de::DeserializeOwned;

use super::report::{Report, is_secret};
use super::tree::{self, Node, Shape};

/// Faults reported of one file; what lies beyond is seen when these are mended.
const FAULTS_MAX: usize = 200;

/// Variables are named `FEDGATE_` and the keys' path with `__` between, as `FEDGATE_PUSH__TLS_CONFIG__CA_FILE`.
const PREFIX: &str = "FEDGATE_";
const SEPARATOR: &str = "__";

/// The variables that override keys of the file.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: Vec<Variable>,
}

#[derive(Clone, Debug)]
struct Variable {
    path: Vec<String>,
    value: Node,
}

impl Environment {
    /// The variables of this process. One without `__` after the prefix names no key of a section and is not ours.
    pub fn of_process() -> Environment {
        let env = Env::prefixed(PREFIX).split(SEPARATOR);
        let pairs: Vec<_> = env.iter().map(|(key, value)| (key.to_string(), value)).collect();
        Environment { variables: pairs.iter().filter_map(|(key, value)| Variable::new(key, value)).collect() }
    }

    /// Overrides by dotted path, as `("http.listen", "127.0.0.1:0")`.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Environment {
        Environment { variables: pairs.into_iter().filter_map(|(key, value)| Variable::new(key, value)).collect() }
    }

    /// The name of the variable that sets the key at this path, or one above it.
    pub(super) fn variable_of(&self, path: &[String]) -> Option<String> {
        let variable = self.variables.iter().find(|variable| path.starts_with(&variable.path))?;
        Some(format!("{PREFIX}{}", variable.path.join(SEPARATOR).to_ascii_uppercase()))
    }

    /// Takes out the variable that sets this path; `false` if there is none.
    pub(super) fn remove(&mut self, path: &[String]) -> bool {
        let before = self.variables.len();
        self.variables.retain(|variable| !path.starts_with(&variable.path));
        self.variables.len() != before
    }

    fn layer(&self) -> Vec<Dict> {
        let nested = |variable: &Variable| {
            let value = value_of(&variable.value);
            figment::util::nest(&variable.path.join("."), value).into_dict().unwrap_or_default()
        };
        self.variables.iter().map(nested).collect()
    }
}

impl Variable {
    /// Lists and maps are written as in YAML's flow style; everything else is plain text.
    fn new(key: &str, value: &str) -> Option<Variable> {
        let path: Vec<String> = key.split('.').map(str::to_owned).collect();
        let structured = value.starts_with(['[', '{']).then(|| tree::parse(value).ok()).flatten();
        let plain = || Node { spot: Default::default(), path: Vec::new(), shape: Shape::Scalar(value.to_owned()) };
        (path.len() > 1).then(|| Variable { path, value: structured.unwrap_or_else(plain) })
    }
}

/// Reads the struct, reporting every fault on the way; `None` where not even a mended file is one.
pub(super) fn read<T: DeserializeOwned>(report: &mut Report<'_>) -> Option<T> {
    for (spot, path) in report.tree.repeated_keys() {
        report.add_at(Some(spot), &path, "this key stands twice here".to_owned());
    }
    let mut faults = 0;
    while faults < FAULTS_MAX {
        match layered(report).extract_lossy() {
            Ok(config) => return Some(config),
            Err(error) if is_left_out(&error) && report.tree.remove(&error.path) => {}
            Err(error) if note(&error, report) => faults += 1,
            Err(_) => return None,
        }
    }
    None
}

/// A known key without a value is a key that was left out, as in Prometheus. Which keys are known only reading tells.
fn is_left_out(error: &figment::Error) -> bool {
    let is_empty = matches!(error.kind, Kind::InvalidType(Actual::Unit | Actual::Option, _));
    is_empty && error.path.last().is_some_and(|key| key.parse::<usize>().is_err())
}

/// Reports a fault and takes out the node; `false` if there is none to take out.
fn note(error: &figment::Error, report: &mut Report<'_>) -> bool {
    let path = blamed_path(error, &report.environment);
    let (message, suggestion) = describe(&error.kind, &path);
    match &error.kind {
        Kind::UnknownField(..) => report.add_to_key(&path, message, suggestion),
        _ => report.add(&path, message, suggestion),
    }
    report.take_out(&path)
}

/// Where the fault is: usually where serde found it; but a variable below that place has turned a list or a plain value
/// into a mapping, and then the variable is to blame.
fn blamed_path(error: &figment::Error, environment: &Environment) -> Vec<String> {
    let below = environment.variables.iter().find(|variable| variable.path.starts_with(&error.path));
    match (&error.kind, below) {
        (Kind::InvalidType(Actual::Map, _), Some(variable)) => variable.path.clone(),
        _ => error.path.clone(),
    }
}

fn layered(report: &Report<'_>) -> Figment {
    let file = value_of(&report.tree).into_dict().unwrap_or_default();
    let layers = report.environment.layer();
    layers.into_iter().fold(Figment::from(layer(file)), |figment, variable| figment.merge(layer(variable)))
}

fn layer(dict: Dict) -> Serialized<Dict> {
    Serialized::from(dict, Profile::Default)
}

fn value_of(node: &Node) -> Value {
    match &node.shape {
        Shape::Null => Value::Empty(Tag::Default, Empty::Unit),
        Shape::Scalar(text) => Value::from(text.as_str()),
        Shape::List(nodes) => Value::from(nodes.iter().map(value_of).collect::<Vec<_>>()),
        Shape::Map(entries) => {
            Value::from(entries.iter().map(|entry| (entry.key.clone(), value_of(&entry.value))).collect::<Dict>())
        }
    }
}

/// What was found and what was expected, and the spelling that was probably meant.
fn describe(kind: &Kind, path: &[String]) -> (String, Option<String>) {
    match kind {
        Kind::UnknownField(name, known) => (format!("unknown key {name:?}"), nearest(name, known)),
        Kind::UnknownVariant(name, known) => {
            (format!("found {name:?}, expected one of {}", known.join(", ")), nearest(name, known))
        }
        Kind::MissingField(name) => (format!("key {name:?} is missing"), None),
        Kind::InvalidType(found, expected) | Kind::InvalidValue(found, expected) => {
            (format!("found {}, expected {}", found_text(found, path), expected_text(expected)), None)
        }
        Kind::Message(message) if is_secret(path) => (format!("bad value of {} characters", message.len()), None),
        other => (other.to_string(), None),
    }
}

fn found_text(found: &Actual, path: &[String]) -> String {
    match found {
        Actual::Seq => "a list".to_owned(),
        Actual::Map => "a mapping".to_owned(),
        Actual::Unit | Actual::Option => "nothing".to_owned(),
        _ if is_secret(path) => "a plain value".to_owned(),
        Actual::Str(text) => format!("{text:?}"),
        Actual::Unsigned(number) => number.to_string(),
        Actual::Signed(number) => number.to_string(),
        Actual::Float(number) => number.to_string(),
        other => other.to_string(),
    }
}

/// serde's names of Rust types, in words.
fn expected_text(expected: &str) -> String {
    let expected = expected.trim_matches('`');
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, not negative".to_owned(),
        "i64" => "a whole number".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a mapping".to_owned(),
        "a boolean" | "bool" => "true or false".to_owned(),
        "path string" | "a string" | "string" => "text".to_owned(),
        _ if expected.starts_with("struct ") => "a mapping of keys".to_owned(),
        _ if expected.starts_with("enum ") => "a word".to_owned(),
        _ => expected.to_owned(),
    }
}

/// The known word within a third of the letters, if there is one.
pub(super) fn nearest(word: &str, known: &[&str]) -> Option<String> {
    let distance = |candidate: &str| strsim::damerau_levenshtein(word, candidate);
    let near = known.iter().map(|candidate| (distance(candidate), *candidate)).min()?;
    (near.0 <= (word.chars().count() / 3).max(1)).then(|| near.1.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_word_is_suggested_and_a_far_one_is_not() {
        let known = ["scrape_interval", "scrape_timeout", "scheme"];
        assert_eq!(nearest("scrape_intervall", &known).as_deref(), Some("scrape_interval"));
        assert_eq!(nearest("shceme", &known).as_deref(), Some("scheme"));
        assert_eq!(nearest("remote_write", &known), None);
    }

    /// The keys that a section knows, as serde names them when it meets another.
    fn keys_of<T: DeserializeOwned + std::fmt::Debug>() -> &'static [&'static str] {
        let stray = Dict::from([("?".to_owned(), Value::from("x"))]);
        match Figment::from(layer(stray)).extract::<T>().unwrap_err().kind {
            Kind::UnknownField(_, keys) => keys,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn every_key_stands_in_its_example() {
        use crate::config::*;
        let collector = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/config/collector.yml"));
        let gateway = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/config/gateway.yml"));
        let sections = [
            (collector, keys_of::<CollectorConfig>()),
            (collector, keys_of::<ScrapeGlobal>()),
            (collector, keys_of::<PushClientConfig>()),
            (collector, keys_of::<PushUrlConfig>()),
            (collector, keys_of::<SpoolConfig>()),
            (collector, keys_of::<ScrapeConfig>()),
            (collector, keys_of::<CollectorHttpConfig>()),
            (collector, keys_of::<CollectorLimits>()),
            (gateway, keys_of::<GatewayConfig>()),
            (gateway, keys_of::<GatewayGlobal>()),
            (gateway, keys_of::<PushListenerConfig>()),
            (gateway, keys_of::<PushTlsConfig>()),
            (gateway, keys_of::<PushLimits>()),
            (gateway, keys_of::<ClusterConfig>()),
            (gateway, keys_of::<ClusterLimits>()),
            (gateway, keys_of::<Maintenance>()),
            (gateway, keys_of::<GatewayHttpConfig>()),
            (gateway, keys_of::<ListenerTlsConfig>()),
            (gateway, keys_of::<MetricsPageConfig>()),
            (gateway, keys_of::<FederateConfig>()),
            (gateway, keys_of::<QueryConfig>()),
            (gateway, keys_of::<RulesConfig>()),
            (gateway, keys_of::<JournalConfig>()),
            (gateway, keys_of::<GatewayLimits>()),
        ];
        for (example, keys) in sections {
            let missing: Vec<_> = keys.iter().filter(|key| !example.contains(&format!("{key}:"))).collect();
            assert!(missing.is_empty(), "{missing:?} of {keys:?}");
        }
    }

    #[test]
    fn variables_without_a_section_are_not_ours() {
        let environment = Environment::from_pairs([("log_level", "debug"), ("http.listen", ":1")]);
        let path = ["http".to_owned(), "listen".to_owned()];
        assert_eq!(environment.variables.len(), 1);
        assert_eq!(environment.variable_of(&path).as_deref(), Some("FEDGATE_HTTP__LISTEN"));
    }
}
