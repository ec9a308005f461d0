//! Label sets: sorted, without empty values, in one allocation.
//!
//! Invariant: names strictly ascend by bytes and no value is empty, so two equal label sets have equal bytes and can be
//! hashed and compared as such. An empty value means "no such label" in Prometheus' data model and is dropped on entry.
//!
//! The bytes are `len(name) name len(value) value` repeated, lengths as LEB128. A boxed slice costs 16 bytes a handle
//! and one allocation, against one a string in the obvious `Vec<(String, String)>`.

use std::cmp::Ordering;
use std::fmt;
use std::ops::Range;

/// The label that holds the metric name.
pub const METRIC_NAME: &str = "__name__";
/// The label that may say a metric's type.
pub const METRIC_TYPE: &str = "__type__";
/// The label that may say a metric's unit.
pub const METRIC_UNIT: &str = "__unit__";
/// The label of the scrape job.
pub const JOB: &str = "job";
/// The label of the scraped address.
pub const INSTANCE: &str = "instance";

/// A sorted label set without empty values.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Labels {
    bytes: Box<[u8]>,
}

impl Labels {
    /// The empty label set.
    pub fn empty() -> Labels {
        Labels::default()
    }

    /// Builds a set from pairs in any order; later pairs win over earlier ones of the same name.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Labels {
        let mut builder = LabelsBuilder::default();
        for (name, value) in pairs {
            builder.set(name, value);
        }
        builder.build()
    }

    /// The value of `name`, `None` where the set lacks it.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(own, _)| *own == name).map(|(_, value)| value)
    }

    /// The metric name, empty where there is none.
    pub fn metric_name(&self) -> &str {
        self.get(METRIC_NAME).unwrap_or_default()
    }

    /// Pairs in ascending order of names.
    pub fn iter(&self) -> LabelsIter<'_> {
        LabelsIter { rest: &self.bytes }
    }

    /// How many labels there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is no label at all.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The order of names and values, pair by pair, in which Prometheus sorts series. (`Ord` is that of the bytes, and cheaper.)
    pub fn compare_pairs(&self, other: &Labels) -> Ordering {
        self.iter().cmp(other.iter())
    }

    /// The canonical bytes: equal for equal sets and for no others.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = (&'a str, &'a str);
    type IntoIter = LabelsIter<'a>;
    fn into_iter(self) -> LabelsIter<'a> {
        self.iter()
    }
}

/// Writes the set as PromQL does: `name{label="value",…}`, values escaped.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.metric_name();
        let quoted_name = !name.is_empty() && !is_legacy_metric_name(name);
        if !quoted_name {
            f.write_str(name)?;
        }
        f.write_str("{")?;
        let mut separator = "";
        if quoted_name {
            write!(f, "{name:?}")?;
            separator = ", ";
        }
        for (name, value) in self.iter().filter(|(name, _)| *name != METRIC_NAME) {
            f.write_str(separator)?;
            separator = ", ";
            if is_legacy_label_name(name) {
                write!(f, "{name}={value:?}")?;
            } else {
                write!(f, "{name:?}={value:?}")?;
            }
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Iterates over the pairs of a [`Labels`] in ascending order of names.
#[derive(Clone)]
pub struct LabelsIter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for LabelsIter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        Some((take_string(&mut self.rest), take_string(&mut self.rest)))
    }
}

/// Reads one length-prefixed string. The bytes were written by [`put_string`] from a `str`, so they are valid.
fn take_string<'a>(rest: &mut &'a [u8]) -> &'a str {
    let mut length = 0usize;
    let mut shift = 0;
    loop {
        let byte = rest[0];
        *rest = &rest[1..];
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
        shift += 7;
    }
    let (string, after) = rest.split_at(length);
    *rest = after;
    std::str::from_utf8(string).expect("label bytes are written from strings only")
}

/// Bytes of the length before a string of `length` bytes.
fn prefix_bytes(length: usize) -> usize {
    (usize::BITS - (length | 1).leading_zeros()).div_ceil(7) as usize
}

fn put_string(out: &mut Vec<u8>, string: &str) {
    let mut length = string.len();
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(string.as_bytes());
}

/// Writes a label set whose pairs come in ascending order of names, without a string of its own for each. Reusable: what was
/// written can be hashed and compared as [`Labels::as_bytes`] before anything is allocated for it.
#[derive(Clone, Debug, Default)]
pub struct LabelsWriter {
    bytes: Vec<u8>,
}

impl LabelsWriter {
    /// Forgets everything, keeps the allocation.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Adds a pair; its name must stand behind those of all before it. An empty value adds nothing.
    #[inline]
    pub fn push(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            put_string(&mut self.bytes, name);
            put_string(&mut self.bytes, value);
        }
    }

    /// Adds pairs as another writer, or a set, has them in bytes; they too must stand behind all before them.
    #[inline]
    pub fn push_written(&mut self, pairs: &[u8]) {
        self.bytes.extend_from_slice(pairs);
    }

    /// What [`Labels::as_bytes`] of this set is.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The pairs written so far.
    pub fn iter(&self) -> LabelsIter<'_> {
        LabelsIter { rest: &self.bytes }
    }

    /// The set written so far.
    pub fn labels(&self) -> Labels {
        let labels = Labels { bytes: self.bytes.as_slice().into() };
        debug_assert!(labels.iter().map(|(name, _)| name).is_sorted(), "{labels} was written out of order");
        labels
    }
}

/// Many label sets in one allocation, by number in the order in which they came.
#[derive(Clone, Debug, Default)]
pub struct LabelsArena {
    bytes: Vec<u8>,
    /// Behind each set.
    ends: Vec<usize>,
}

impl LabelsArena {
    /// Keeps a set.
    pub fn push(&mut self, set: &LabelsWriter) {
        self.bytes.extend_from_slice(&set.bytes);
        self.ends.push(self.bytes.len());
    }

    /// How many sets there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// [`Labels::as_bytes`] of a set.
    #[inline]
    pub fn bytes(&self, at: usize) -> &[u8] {
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.bytes[start..self.ends[at]]
    }

    /// A set.
    pub fn labels(&self, at: usize) -> Labels {
        Labels { bytes: self.bytes(at).into() }
    }
}

/// Collects labels in any order. Reusable: [`LabelsBuilder::clear`] keeps the allocations, and nothing else allocates for
/// a label: names and values stand one after the other in one text, what was replaced there too until the next clear.
#[derive(Clone, Debug, Default)]
pub struct LabelsBuilder {
    text: String,
    /// Ascending by name, no value empty.
    pairs: Vec<Place>,
}

/// Where a label stands in the text.
#[derive(Clone, Debug)]
struct Place {
    name: Range<usize>,
    value: Range<usize>,
}

impl LabelsBuilder {
    /// Starts from the labels of `base`.
    pub fn from_labels(base: &Labels) -> LabelsBuilder {
        let mut builder = LabelsBuilder::default();
        for (name, value) in base {
            builder.add(name, value);
        }
        builder
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.text.clear();
        self.pairs.clear();
    }

    /// Sets `name` to `value`; an empty value removes the label.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        match self.find(name) {
            Ok(at) if value.is_empty() => {
                self.pairs.remove(at);
            }
            Ok(at) => self.pairs[at].value = self.put(value),
            Err(_) if value.is_empty() => {}
            Err(at) => {
                let place = Place { name: self.put(name), value: self.put(value) };
                self.pairs.insert(at, place);
            }
        }
        self
    }

    /// Adds a label that is not there yet; false, and nothing changes, where it is, or where the value is empty. Labels in
    /// ascending order of their names are not searched for.
    pub fn add(&mut self, name: &str, value: &str) -> bool {
        let is_last = self.pairs.last().is_none_or(|last| &self.text[last.name.clone()] < name);
        let at = if is_last { Err(self.pairs.len()) } else { self.find(name) };
        let Some(at) = at.err().filter(|_| !value.is_empty()) else { return false };
        let place = Place { name: self.put(name), value: self.put(value) };
        self.pairs.insert(at, place);
        true
    }

    /// Removes `name` if it is there.
    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.set(name, "")
    }

    /// The value of `name`, empty where there is none (as relabelling sees it).
    pub fn get(&self, name: &str) -> &str {
        match self.find(name) {
            Ok(at) => &self.text[self.pairs[at].value.clone()],
            Err(_) => "",
        }
    }

    /// Pairs in ascending order of names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|place| (&self.text[place.name.clone()], &self.text[place.value.clone()]))
    }

    /// Keeps the labels for which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &str) -> bool) {
        let text = &self.text;
        self.pairs.retain(|place| keep(&text[place.name.clone()], &text[place.value.clone()]));
    }

    /// Whether no label is set.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The finished set; the builder keeps its labels.
    pub fn build(&self) -> Labels {
        let string = |range: &Range<usize>| prefix_bytes(range.len()) + range.len();
        let length = self.pairs.iter().map(|place| string(&place.name) + string(&place.value)).sum();
        let mut bytes = Vec::with_capacity(length);
        for (name, value) in self.iter() {
            put_string(&mut bytes, name);
            put_string(&mut bytes, value);
        }
        Labels { bytes: bytes.into_boxed_slice() }
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.pairs.binary_search_by(|place| self.text[place.name.clone()].cmp(name))
    }

    fn put(&mut self, string: &str) -> Range<usize> {
        let start = self.text.len();
        self.text.push_str(string);
        start..self.text.len()
    }
}

/// `[a-zA-Z_:][a-zA-Z0-9_:]*`: a metric name that needs no quotes in any format.
pub fn is_legacy_metric_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    !bytes.is_empty()
        && !bytes[0].is_ascii_digit()
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':'))
}

/// `[a-zA-Z_][a-zA-Z0-9_]*`: a label name that needs no quotes in any format.
pub fn is_legacy_label_name(name: &str) -> bool {
    is_legacy_metric_name(name) && !name.contains(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_of_entry_does_not_matter_and_empty_values_vanish() {
        let one = Labels::from_pairs([("b", "2"), ("a", "1"), ("c", "")]);
        let two = Labels::from_pairs([("a", "0"), ("a", "1"), ("b", "2")]);
        assert_eq!(one, two);
        assert_eq!(one.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "2")]);
        assert_eq!(one.get("c"), None);
    }

    #[test]
    fn what_is_written_in_order_is_what_the_builder_makes() {
        let mut writer = LabelsWriter::default();
        [("a", "1"), ("b", ""), ("c", "3")].iter().for_each(|(name, value)| writer.push(name, value));
        let built = Labels::from_pairs([("c", "3"), ("a", "1")]);
        assert_eq!((writer.labels(), writer.as_bytes()), (built.clone(), built.as_bytes()));
    }

    #[test]
    fn pairs_compare_by_their_text_where_bytes_compare_by_length_first() {
        let value = |value| Labels::from_pairs([("a", value)]);
        assert_eq!(value("10").compare_pairs(&value("9")), Ordering::Less);
        assert_eq!(value("10").cmp(&value("9")), Ordering::Greater);
    }

    #[test]
    fn long_values_survive_the_length_prefix() {
        let value = "x".repeat(20_000);
        let labels = Labels::from_pairs([("long", value.as_str()), ("z", "end")]);
        assert_eq!(labels.get("long"), Some(value.as_str()));
        assert_eq!(labels.get("z"), Some("end"));
    }

    #[test]
    fn displays_as_promql_does() {
        let labels = Labels::from_pairs([(METRIC_NAME, "up"), ("path", "a\"b\\c\nd")]);
        assert_eq!(labels.to_string(), r#"up{path="a\"b\\c\nd"}"#);
        let utf8 = Labels::from_pairs([(METRIC_NAME, "my.metric"), ("a.b", "c")]);
        assert_eq!(utf8.to_string(), r#"{"my.metric", "a.b"="c"}"#);
    }
}
