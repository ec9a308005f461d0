//! A YAML file as a tree that remembers where everything stood.
//!
//! `serde-saphyr` reads the YAML (anchors, merge keys and budgets included); this keeps what layering would lose: the place
//! of every key and value. Scalars are kept as the text that was written, never as YAML's guess of a type: `version: 1.10`
//! is a label value with a trailing zero, and whether `yes` is a word or a truth is for the key to say.
//!
//! A node knows the path it had in the file, so it can still be named after a faulty neighbour was taken out.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Location, Spanned};

/// A value of the file.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Where it begins.
    pub(super) spot: Spot,
    /// Its keys from the root in the file as written: `["scrape_configs", "0", "job_name"]`.
    pub(super) path: Vec<String>,
    pub(super) shape: Shape,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    Null,
    Scalar(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key with its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_spot: Spot,
    pub(super) value: Node,
}

/// A place in the source: line and column from 1, and how many characters stand there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) width: usize,
}

/// Why a file is no YAML.
#[derive(Clone, Debug)]
pub(super) struct SyntaxError {
    pub(super) spot: Option<Spot>,
    pub(super) message: String,
}

/// Reads the one document of a file.
pub(super) fn parse(source: &str) -> Result<Node, SyntaxError> {
    // Repeated keys come through and are reported with all other faults; the policy that refuses them stops at the first.
    let options = serde_saphyr::options! {
        with_snippet: false,
        duplicate_keys: DuplicateKeyPolicy::LastWins,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
    };
    match serde_saphyr::from_str_with_options::<Spanned<Raw>>(source, options) {
        Ok(raw) => Ok(Builder { source }.node(raw, &[])),
        Err(error) => Err(syntax_error(&error)),
    }
}

fn syntax_error(error: &serde_saphyr::Error) -> SyntaxError {
    let text = error.to_string();
    // The place is said by the fault itself.
    let message = text.split(" at line ").next().unwrap_or(&text).to_owned();
    SyntaxError { spot: error.location().map(spot_of), message: format!("this is no YAML: {message}") }
}

impl Node {
    /// The node that a path leads to, or the last one on the way and how many steps led there.
    pub(super) fn find<S: AsRef<str>>(&self, path: &[S]) -> (&Node, usize) {
        let mut node = self;
        for (steps, key) in path.iter().enumerate() {
            match node.child(key.as_ref()) {
                Some(child) => node = child,
                None => return (node, steps),
            }
        }
        (node, path.len())
    }

    fn child(&self, key: &str) -> Option<&Node> {
        match &self.shape {
            Shape::Map(entries) => entries.iter().rev().find(|entry| entry.key == key).map(|entry| &entry.value),
            Shape::List(nodes) => nodes.get(key.parse::<usize>().ok()?),
            Shape::Null | Shape::Scalar(_) => None,
        }
    }

    /// The entry of a key in a map.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.shape {
            Shape::Map(entries) => entries.iter().rev().find(|entry| entry.key == key),
            _ => None,
        }
    }

    /// Takes out the node that a path leads to; `false` if there is none, or the path is the root's.
    pub(super) fn remove<S: AsRef<str>>(&mut self, path: &[S]) -> bool {
        let Some((key, rest)) = path.split_first() else { return false };
        let (key, leaf) = (key.as_ref(), rest.is_empty());
        match &mut self.shape {
            Shape::Map(entries) => match entries.iter().rposition(|entry| entry.key == key) {
                Some(at) if leaf => {
                    entries.remove(at);
                    true
                }
                Some(at) => entries[at].value.remove(rest),
                None => false,
            },
            Shape::List(nodes) => match key.parse::<usize>().ok().filter(|at| *at < nodes.len()) {
                Some(at) if leaf => {
                    nodes.remove(at);
                    true
                }
                Some(at) => nodes[at].remove(rest),
                None => false,
            },
            Shape::Null | Shape::Scalar(_) => false,
        }
    }

    /// Every key that stands twice in one map: the later entry's spot and path.
    pub(super) fn repeated_keys(&self) -> Vec<(Spot, Vec<String>)> {
        let mut found = Vec::new();
        self.collect_repeated(&mut found);
        found
    }

    fn collect_repeated(&self, found: &mut Vec<(Spot, Vec<String>)>) {
        match &self.shape {
            Shape::List(nodes) => nodes.iter().for_each(|node| node.collect_repeated(found)),
            Shape::Map(entries) => {
                for (at, entry) in entries.iter().enumerate() {
                    if entries[..at].iter().any(|earlier| earlier.key == entry.key) {
                        found.push((entry.key_spot, entry.value.path.clone()));
                    }
                    entry.value.collect_repeated(found);
                }
            }
            Shape::Null | Shape::Scalar(_) => {}
        }
    }
}

/// What serde hands over. A plain scalar that YAML takes for a number or a truth carries no text: the source has it.
enum Raw {
    Null,
    Text(String),
    Plain,
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Raw, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = access.next_element()? {
            list.push(element);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

/// Turns raw values into nodes with their paths and texts.
struct Builder<'s> {
    source: &'s str,
}

impl Builder<'_> {
    fn node(&self, raw: Spanned<Raw>, path: &[String]) -> Node {
        let (defined, spot) = (raw.defined, spot_of(raw.referenced));
        let shape = match raw.value {
            Raw::Null => Shape::Null,
            Raw::Text(text) => Shape::Scalar(text),
            Raw::Plain => Shape::Scalar(self.text_at(defined).to_owned()),
            Raw::List(list) => Shape::List(self.list(list, path)),
            Raw::Map(entries) => Shape::Map(self.map(entries, path)),
        };
        Node { spot, path: path.to_vec(), shape }
    }

    fn list(&self, list: Vec<Spanned<Raw>>, path: &[String]) -> Vec<Node> {
        list.into_iter().enumerate().map(|(at, raw)| self.node(raw, &below(path, &at.to_string()))).collect()
    }

    fn map(&self, entries: Vec<(Spanned<String>, Spanned<Raw>)>, path: &[String]) -> Vec<Entry> {
        let entry = |(key, raw): (Spanned<String>, Spanned<Raw>)| Entry {
            key_spot: spot_of(key.referenced),
            value: self.node(raw, &below(path, &key.value)),
            key: key.value,
        };
        entries.into_iter().map(entry).collect()
    }

    /// The source's own text of a plain scalar; `!!int "7"` is the one that has quotes around it.
    fn text_at(&self, location: Location) -> &str {
        let span = location.span();
        let range = span.byte_offset().zip(span.byte_len());
        let text = range.and_then(|(start, length)| self.source.get(start as usize..(start + length) as usize));
        text.unwrap_or_default().trim_matches(['"', '\''])
    }
}

fn below(path: &[String], key: &str) -> Vec<String> {
    path.iter().cloned().chain([key.to_owned()]).collect()
}

fn spot_of(location: Location) -> Spot {
    let width = location.span().len() as usize;
    Spot { line: location.line() as usize, column: location.column() as usize, width }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalar<'n>(node: &'n Node, path: &[&str]) -> &'n str {
        match node.find(path) {
            (Node { shape: Shape::Scalar(text), .. }, steps) if steps == path.len() => text,
            (node, steps) => panic!("{path:?}: {steps} steps, {node:?}"),
        }
    }

    #[test]
    fn scalars_keep_the_text_that_was_written() {
        let tree = parse("a: 1.10\nb: yes\nc: 'no'\nd: [010, .inf, \"x\\ty\", !!int '7']\n1: one\n").unwrap();
        let found = ["a", "b", "c", "1"].map(|key| scalar(&tree, &[key]));
        assert_eq!(found, ["1.10", "yes", "no", "one"]);
        assert_eq!(["0", "1", "2", "3"].map(|at| scalar(&tree, &["d", at])), ["010", ".inf", "x\ty", "7"]);
    }

    #[test]
    fn places_are_those_of_the_use_also_through_merges() {
        let tree = parse("base: &b\n  k: 1\n  l: 2\nuse:\n  <<: *b\n  l: 3\n").unwrap();
        assert_eq!((scalar(&tree, &["use", "k"]), scalar(&tree, &["use", "l"])), ("1", "3"));
        assert_eq!(tree.find(&["base", "l"]).0.spot, Spot { line: 3, column: 6, width: 1 });
        assert_eq!(tree.find(&["use", "k"]).0.spot.line, 5);
        assert!(tree.repeated_keys().is_empty(), "an overridden key is not a repeated one");
    }

    #[test]
    fn repeated_keys_come_through() {
        let tree = parse("a: 1\nb: {c: 1, c: 2}\na: 2\n").unwrap();
        let found: Vec<_> = tree.repeated_keys().into_iter().map(|(spot, path)| (spot.line, path.join("."))).collect();
        assert_eq!(found, [(2, "b.c".to_owned()), (3, "a".to_owned())]);
    }

    #[test]
    fn a_removed_element_leaves_the_others_their_paths() {
        let mut tree = parse("l: [a, b, c]\n").unwrap();
        assert!(tree.remove(&["l", "1"]));
        assert_eq!(tree.find(&["l", "1"]).0.path, ["l", "2"]);
        assert!(!tree.remove(&["l", "7"]));
    }

    #[test]
    fn what_is_no_yaml_says_where() {
        let error = parse("a:\n\tb: 3\n").unwrap_err();
        assert_eq!(error.spot.map(|spot| (spot.line, spot.column)), Some((2, 2)));
        assert!(error.message.contains("tabs disallowed"), "{}", error.message);
    }
}
