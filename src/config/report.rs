//! Collects the faults of one file, each with its place.
//!
//! A check says where it stands by keys ([`At`]); the place is looked up in the tree. A fault that only follows from
//! another one (a "missing" key that was taken out because its value was wrong) is not reported.
//!
//! What may be a secret is never shown: neither in a message nor in the line above the caret.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use super::fault::{Fault, Place};
use super::layers::Environment;
use super::scalar::spot_within;
use super::text::redact_urls;
use super::tree::{Node, Shape, Spot};

/// Parts of key names whose values are not shown.
const SECRET_WORDS: [&str; 9] =
    ["pass", "secret", "credential", "token", "bearer", "authorization", "basic_auth", "http_headers", "cookie"];

/// The faults and warnings of a file, and what is needed to place them.
pub(super) struct Report<'s> {
    file: &'s Path,
    source: &'s str,
    lines: Vec<&'s str>,
    /// Lines are shown as they stand: nothing in this kind of file is a secret.
    is_open: bool,
    /// The file without the nodes that were at fault.
    pub(super) tree: Node,
    /// The environment without the variables that were at fault.
    pub(super) environment: Environment,
    /// Paths (as written) of the nodes that were taken out.
    removed: Vec<Vec<String>>,
    faults: RefCell<Vec<Fault>>,
    warnings: RefCell<Vec<Fault>>,
}

impl<'s> Report<'s> {
    pub(super) fn new(file: &'s Path, source: &'s str, tree: Node, environment: Environment) -> Report<'s> {
        Report {
            file,
            source,
            lines: source.lines().collect(),
            is_open: false,
            tree,
            environment,
            removed: Vec::new(),
            faults: RefCell::default(),
            warnings: RefCell::default(),
        }
    }

    /// For a file without secrets, and without an environment.
    pub(super) fn open(file: &'s Path, source: &'s str, tree: Node) -> Report<'s> {
        Report { is_open: true, ..Report::new(file, source, tree, Environment::default()) }
    }

    /// Where the checks begin.
    pub(super) fn root(&self) -> At<'_> {
        At { report: self, path: Vec::new() }
    }

    /// Adds a fault of the value at a path; `suggestion` is the spelling that was probably meant.
    pub(super) fn add(&self, path: &[String], message: String, suggestion: Option<String>) {
        self.faults.borrow_mut().extend(self.placed(path, self.spot_of(path), message, suggestion));
    }

    /// Adds a fault of the key at the end of a path, not of its value.
    pub(super) fn add_to_key(&self, path: &[String], message: String, suggestion: Option<String>) {
        let spot = self.key_spot_of(path).or(self.spot_of(path));
        self.faults.borrow_mut().extend(self.placed(path, spot, message, suggestion));
    }

    /// Adds a fault at a spot of the source.
    pub(super) fn add_at(&self, spot: Option<Spot>, path: &[String], message: String) {
        let place = spot.and_then(|spot| self.place(spot, path));
        self.faults.borrow_mut().push(self.fault(place, path, message, None));
    }

    /// Takes out the node or variable at a path, so that reading can go on; `false` if there is none.
    pub(super) fn take_out(&mut self, path: &[String]) -> bool {
        if self.environment.remove(path) {
            self.removed.push(path.to_vec());
            return true;
        }
        let (node, steps) = self.tree.find(path);
        let written = node.path.clone();
        let removed = steps == path.len() && self.tree.remove(path);
        if removed {
            self.removed.push(written);
        }
        removed
    }

    /// Faults and warnings, each in the order of the file.
    pub(super) fn finish(self) -> (Vec<Fault>, Vec<Fault>) {
        let sorted = |mut list: Vec<Fault>| {
            list.sort_by_key(|fault| fault.place.as_ref().map_or((0, 0), |place| (place.line, place.column)));
            list.dedup();
            list
        };
        (sorted(self.faults.into_inner()), sorted(self.warnings.into_inner()))
    }

    /// The fault with its place, or `None` if it only follows from another one.
    fn placed(&self, path: &[String], spot: Option<Spot>, message: String, meant: Option<String>) -> Option<Fault> {
        if let Some(variable) = self.environment.variable_of(path) {
            let fault = self.fault(None, path, message, meant);
            return Some(Fault { file: PathBuf::from(variable), ..fault });
        }
        let written = self.written(path);
        let follows = |gone: &Vec<String>| gone.starts_with(&written) || written.starts_with(gone);
        if self.removed.iter().any(follows) {
            return None;
        }
        let place = spot.and_then(|spot| self.place(spot, &written));
        Some(self.fault(place, &written, message, meant))
    }

    /// The path in the file as written, before anything was taken out.
    fn written(&self, path: &[String]) -> Vec<String> {
        let (node, steps) = self.tree.find(path);
        node.path.iter().chain(&path[steps..]).cloned().collect()
    }

    /// A scalar is pointed at itself; a map or list at its key, for it begins somewhere below; a missing key at the
    /// nearest key above.
    fn spot_of(&self, path: &[String]) -> Option<Spot> {
        let (node, steps) = self.tree.find(path);
        match (&node.shape, self.key_spot_of(&path[..steps])) {
            _ if steps == 0 => None,
            (Shape::Scalar(_), _) | (_, None) => Some(node.spot),
            (_, key_spot) => key_spot,
        }
    }

    fn key_spot_of(&self, path: &[String]) -> Option<Spot> {
        let (last, parents) = path.split_last()?;
        self.tree.find(parents).0.entry(last).map(|entry| entry.key_spot)
    }

    fn place(&self, spot: Spot, path: &[String]) -> Option<Place> {
        let text = self.lines.get(spot.line.checked_sub(1)?).copied().unwrap_or_default();
        let rest_of_line = (text.chars().count() + 1).saturating_sub(spot.column);
        let width = spot.width.clamp(1, rest_of_line.max(1));
        Some(Place { line: spot.line, column: spot.column.max(1), width, text: self.shown(spot.line, path) })
    }

    /// The line as it may be shown: cut behind the first key that has to do with secrets, hidden whole where a secret may
    /// go on from the line above.
    fn shown(&self, line: usize, path: &[String]) -> String {
        let text = self.lines.get(line - 1).copied().unwrap_or_default();
        let above = line.checked_sub(2).and_then(|above| self.lines.get(above)).copied().unwrap_or_default();
        let may_go_on = path.is_empty() && secret_word(above).is_some();
        let keys = path.iter().skip_while(|key| !is_secret_key(key)).filter_map(|key| text.find(&format!("{key}:")));
        match keys.chain(secret_word(text)).min() {
            _ if self.is_open => text.to_owned(),
            _ if may_go_on => "<secret>".to_owned(),
            None if is_secret(path) => "<secret>".to_owned(),
            None => redact_urls(text),
            Some(from) => match text[from..].find(':') {
                Some(colon) => format!("{}: <secret>", redact_urls(&text[..from + colon])),
                None => "<secret>".to_owned(),
            },
        }
    }

    fn fault(&self, place: Option<Place>, path: &[String], message: String, suggestion: Option<String>) -> Fault {
        Fault { file: self.file.to_path_buf(), place, key: dotted(path), message, suggestion }
    }
}

/// Whether what stands under this path must not be shown.
pub(super) fn is_secret(path: &[String]) -> bool {
    path.iter().any(|key| is_secret_key(key))
}

fn is_secret_key(key: &str) -> bool {
    secret_word(key).is_some() && !key.ends_with("_file") && !key.ends_with("_files")
}

fn secret_word(text: &str) -> Option<usize> {
    let text = text.to_ascii_lowercase();
    SECRET_WORDS.iter().filter_map(|word| text.find(word)).min()
}

/// `scrape_configs[0].job_name`
fn dotted(path: &[String]) -> String {
    let mut text = String::new();
    for key in path {
        match key.parse::<usize>() {
            Ok(at) => text.push_str(&format!("[{at}]")),
            Err(_) if text.is_empty() => text.push_str(key),
            Err(_) => text.push_str(&format!(".{key}")),
        }
    }
    text
}

/// Where a check stands: a path of keys, from the root. What it finds is placed there.
#[derive(Clone)]
pub struct At<'r> {
    report: &'r Report<'r>,
    path: Vec<String>,
}

impl<'r> At<'r> {
    /// One key further down.
    pub fn key(&self, key: &str) -> At<'r> {
        let path = self.path.iter().cloned().chain([key.to_owned()]).collect();
        At { report: self.report, path }
    }

    /// At an element of the list here.
    pub fn index(&self, at: usize) -> At<'r> {
        self.key(&at.to_string())
    }

    /// Reports what is wrong here.
    pub fn fault(&self, message: impl Into<String>) {
        self.report.add(&self.path, message.into(), None);
    }

    /// Reports what is wrong within the text here, so many bytes from its beginning; `width` characters are at fault.
    pub fn fault_within(&self, offset: usize, width: usize, message: impl Into<String>) {
        let (node, _) = self.report.tree.find(&self.path);
        let Shape::Scalar(value) = &node.shape else { return self.fault(message) };
        let spot = Spot { width, ..spot_within(self.report.source, node.spot, value, offset) };
        self.report.faults.borrow_mut().extend(self.report.placed(&self.path, Some(spot), message.into(), None));
    }

    /// Reports what is wrong with the key here, not with its value.
    pub fn fault_of_key(&self, message: impl Into<String>) {
        self.report.add_to_key(&self.path, message.into(), None);
    }

    /// The line on which this begins, from 1.
    pub fn line(&self) -> usize {
        self.report.tree.find(&self.path).0.spot.line
    }

    /// Reports what is allowed here but probably not meant.
    pub fn warn(&self, message: impl Into<String>) {
        let (report, spot) = (self.report, self.report.spot_of(&self.path));
        report.warnings.borrow_mut().extend(report.placed(&self.path, spot, message.into(), None));
    }

    /// Whether what was written here could not be read, so that the value seen is only the default.
    pub fn is_faulty(&self) -> bool {
        let written = self.report.written(&self.path);
        self.report.removed.contains(&written) || self.report.removed.contains(&self.path)
    }

    /// Reports a fault if `condition` does not hold.
    pub fn require(&self, condition: bool, message: impl Into<String>) {
        if !condition {
            self.fault(message);
        }
    }
}
