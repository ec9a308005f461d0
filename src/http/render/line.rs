//! One line: `name{own labels,appended labels} value timestamp`, or in protobuf the labels of one Metric.
//!
//! Invariant: the own labels (a series' pairs over its target's labels) stand first, sorted by name; then, sorted among
//! themselves, the appended ones (the inventory's, the gateway's external labels, labels to show empty) that the series
//! lacks. That is Prometheus' order on /federate, label for label.
//!
//! How pairs and target labels interleave depends on their names alone. So it is worked out once for each pair of a chunk
//! and each list of target label names ([`Place`]), and a line is then a few copies: target labels up to the pair's place,
//! the pair, … the rest of the target's labels, the tail.

use std::borrow::Cow;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::exposition::{
    Escaping, Format, escape_label_name, escape_metric_name, write_label, write_label_pair, write_millis, write_name,
    write_openmetrics_value, write_seconds, write_timestamp_ms, write_value,
};
use crate::model::{Labels, Timestamp, is_legacy_metric_name};
use crate::snapshot::Chunk;
use crate::store::{SiteView, TargetView};

/// What all lines of a page have in common.
#[derive(Clone, Debug)]
pub struct Style {
    /// How lines, numbers and timestamps are written.
    pub format: Format,
    /// How names outside the classic grammar are written. Protobuf has them as they are.
    pub escaping: Escaping,
    /// Whether samples have timestamps.
    pub has_stamps: bool,
    /// The gateway's own external labels.
    pub external_labels: Labels,
    /// Labels that are written with an empty value where a series lacks them.
    pub shown_empty: &'static [&'static str],
}

impl Style {
    /// The beginning of a line with this metric name, up to where labels follow.
    pub fn open(&self, name: &str) -> Vec<u8> {
        let name = escape_metric_name(name, self.escaping);
        let mut open = Vec::with_capacity(name.len() + 4);
        if is_legacy_metric_name(&name) {
            open.extend_from_slice(name.as_bytes());
            open.push(b'{');
        } else {
            open.push(b'{');
            write_name(&mut open, &name);
            open.push(b',');
        }
        open
    }

    /// A label under the name that the page has for it.
    fn write_label(&self, out: &mut Vec<u8>, name: &str, value: &str) {
        if self.format == Format::Protobuf {
            return write_label_pair(out, name, value);
        }
        write_label(out, name, value);
        out.push(b',');
    }

    /// The name of a label on the page.
    fn label_name<'a>(&self, name: &'a str) -> Cow<'a, str> {
        if self.format == Format::Protobuf { Cow::Borrowed(name) } else { escape_label_name(name, self.escaping) }
    }

    /// What follows a series' labels on its line.
    fn close(&self, out: &mut Vec<u8>) {
        if self.format == Format::Protobuf {
            return;
        }
        match out.last_mut() {
            Some(last) if *last == b',' => *last = b'}',
            _ => out.truncate(out.len() - 1),
        }
        out.push(b' ');
    }

    /// Appends a sample's value.
    pub fn write_value(&self, out: &mut Vec<u8>, value: f64) {
        if self.format == Format::OpenMetrics { write_openmetrics_value(out, value) } else { write_value(out, value) }
    }

    /// Appends a sample's timestamp, where the page has them, with the blank before it.
    pub fn write_stamp(&self, out: &mut Vec<u8>, timestamp: Timestamp) {
        if !self.has_stamps {
            return;
        }
        match self.format {
            Format::Protobuf => write_timestamp_ms(out, timestamp),
            Format::OpenMetrics => {
                out.push(b' ');
                write_seconds(out, timestamp);
            }
            Format::Text | Format::Text1 => {
                out.push(b' ');
                write_millis(out, timestamp);
            }
        }
    }

    /// What is appended to series of a cluster with these labels, by name.
    fn appended(&self, inventory: &Labels) -> Vec<(String, String)> {
        let empty = self.shown_empty.iter().map(|name| (*name, ""));
        let mut pairs: Vec<(String, String)> = Vec::new();
        for (name, value) in inventory.iter().chain(&self.external_labels).chain(empty) {
            if !pairs.iter().any(|(own, _)| own == name) {
                pairs.push((name.to_owned(), value.to_owned()));
            }
        }
        pairs.sort_unstable();
        pairs
    }

    /// Appends the labels of a series whose own ones are known as a whole, and closes the braces.
    pub fn write_labels(&self, out: &mut Vec<u8>, own: &[(&str, &str)], inventory: &Labels) {
        write_all(self, out, own, &self.appended(inventory));
    }
}

/// Writes each name once: two may become the same when they are escaped, and a line with one label twice would cost its
/// reader the whole page. The first one stays.
fn write_all(style: &Style, out: &mut Vec<u8>, own: &[(&str, &str)], appended: &[(String, String)]) {
    let lacking = appended.iter().filter(|(name, _)| !own.iter().any(|(own, _)| own == name));
    let labels = own.iter().copied().chain(lacking.map(|(name, value)| (name.as_str(), value.as_str())));
    let mut written = Vec::with_capacity(own.len() + appended.len());
    for (name, value) in labels {
        let name = style.label_name(name);
        if !written.contains(&name) {
            style.write_label(out, &name, value);
            written.push(name);
        }
    }
    style.close(out);
}

/// Where a pair stands among its target's labels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// How many of the target's labels stand before it.
    pub(super) before: u16,
    /// It replaces the target's label of the same name.
    pub(super) replaces: bool,
    /// It is not written: the series lacks the label.
    pub(super) is_empty: bool,
    /// It has to do with an appended label or its name needs another form: the line is put together label by label.
    pub(super) is_special: bool,
}

/// A target's part of its lines; in protobuf the same things as fields of a Metric.
pub(super) struct TargetText {
    /// `a="b",c="d",`
    pub(super) labels: Box<[u8]>,
    /// Where each of the target's labels ends in `labels`; a zero in front.
    pub(super) ends: Box<[u32]>,
    /// `cluster="alpha",environment="production"} `
    pub(super) tail: Arc<[u8]>,
    /// ` 1795174520123\n`
    pub(super) stamp: Box<[u8]>,
    /// Which list of label names its pairs interleave with.
    shape: u32,
    /// Nothing is appended, so the last comma must go; or a name needs another form, which another label may have.
    pub(super) is_special: bool,
    /// For each of its chunks, the number of its places; [`UNKNOWN`] before it is met.
    places: Box<[u32]>,
}

const UNKNOWN: u32 = u32::MAX;

/// Writes lines of one view in one style; prepares targets and chunks when it first meets them.
pub struct Lines {
    view: Arc<SiteView>,
    style: Style,
    appended: Vec<Vec<(String, String)>>,
    targets: Vec<Option<Box<TargetText>>>,
    tails: HashMap<Vec<u8>, Arc<[u8]>>,
    shapes: HashMap<Vec<Box<str>>, u32>,
    places: Vec<Box<[Place]>>,
    /// Numbers of `places`, by the chunk's address and the shape.
    known_places: HashMap<(usize, u32), u32, foldhash::fast::FixedState>,
}

/// A target and one of its chunks, prepared.
pub struct RunLines<'a> {
    pub(super) lines: &'a Lines,
    pub(super) target: &'a TargetView,
    pub(super) text: &'a TargetText,
    pub(super) appended: &'a [(String, String)],
    pub(super) chunk: &'a Chunk,
    pub(super) places: &'a [Place],
}

impl Lines {
    /// Lines of `view`; nothing is prepared yet.
    pub fn new(view: Arc<SiteView>, style: Style) -> Lines {
        let appended = view.clusters.iter().map(|cluster| style.appended(&cluster.policy.labels)).collect();
        let targets = (0..view.targets.len()).map(|_| None).collect();
        let (tails, shapes, known_places) = (HashMap::new(), HashMap::new(), HashMap::default());
        Lines { view, style, appended, targets, tails, shapes, places: Vec::new(), known_places }
    }

    /// The view that the lines are of.
    pub fn view(&self) -> &Arc<SiteView> {
        &self.view
    }

    /// What the lines have in common.
    pub fn style(&self) -> &Style {
        &self.style
    }

    /// Prepares a chunk of a target.
    pub fn run(&mut self, target: u32, chunk: u32) -> RunLines<'_> {
        let (at, number) = (target as usize, chunk as usize);
        if self.targets[at].is_none() {
            self.targets[at] = Some(Box::new(self.prepare_target(at)));
        }
        if self.targets[at].as_ref().is_some_and(|text| text.places[number] == UNKNOWN) {
            self.prepare_chunk(at, number);
        }
        let (site, text) = (&self.view.targets[at], self.targets[at].as_ref().expect("prepared above"));
        RunLines {
            lines: self,
            target: &site.target,
            text,
            appended: &self.appended[site.cluster as usize],
            chunk: site.target.layout.chunks()[number].chunk(),
            places: &self.places[text.places[number] as usize],
        }
    }

    /// Finds or makes the places of a chunk for a prepared target.
    fn prepare_chunk(&mut self, at: usize, number: usize) {
        let Some(mut text) = self.targets[at].take() else { return };
        let chunk = self.view.targets[at].target.layout.chunks()[number].chunk().clone();
        let key = (Arc::as_ptr(&chunk).addr(), text.shape);
        let known = self.known_places.get(&key).copied();
        text.places[number] = known.unwrap_or_else(|| {
            let places = self.prepare_places(at, &chunk);
            self.places.push(places);
            self.known_places.insert(key, self.places.len() as u32 - 1);
            self.places.len() as u32 - 1
        });
        self.targets[at] = Some(text);
    }

    /// Appends the labels of a target's own series (`up` and the like), and closes the braces.
    pub fn write_target_labels(&mut self, out: &mut Vec<u8>, target: u32) {
        let site = &self.view.targets[target as usize];
        let own: Vec<(&str, &str)> = site.target.labels.iter().collect();
        write_all(&self.style, out, &own, &self.appended[site.cluster as usize]);
    }

    fn prepare_target(&mut self, at: usize) -> TargetText {
        let site = &self.view.targets[at];
        let (labels, appended) = (&site.target.labels, &self.appended[site.cluster as usize]);
        let (mut text, mut ends) = (Vec::new(), vec![0]);
        for (name, value) in &**labels {
            self.style.write_label(&mut text, &self.style.label_name(name), value);
            ends.push(text.len() as u32);
        }
        let lacking = appended.iter().filter(|(name, _)| labels.get(name).is_none());
        let mut tail = Vec::new();
        for (name, value) in lacking {
            self.style.write_label(&mut tail, &self.style.label_name(name), value);
        }
        let is_foreign = |name: &str| self.style.label_name(name) != name;
        let has_foreign =
            labels.iter().any(|(name, _)| is_foreign(name)) || appended.iter().any(|(name, _)| is_foreign(name));
        let mut stamp = Vec::new();
        self.style.write_stamp(&mut stamp, site.target.started);
        let mut is_special = has_foreign;
        if self.style.format != Format::Protobuf {
            is_special |= tail.pop().is_none();
            tail.extend_from_slice(b"} ");
            stamp.push(b'\n');
        }
        let mut names: Vec<Box<str>> = labels.iter().map(|(name, _)| name.into()).collect();
        names.push("".into());
        names.extend(appended.iter().map(|(name, _)| name.as_str().into()));
        let next = self.shapes.len() as u32;
        let shape = *self.shapes.entry(names).or_insert(next);
        let tail = self.tails.entry(tail).or_insert_with_key(|tail| tail.as_slice().into()).clone();
        let places = vec![UNKNOWN; site.target.layout.chunks().len()].into();
        TargetText { labels: text.into(), ends: ends.into(), tail, stamp: stamp.into(), shape, is_special, places }
    }

    fn prepare_places(&self, at: usize, chunk: &Chunk) -> Box<[Place]> {
        let site = &self.view.targets[at];
        let names: Vec<&str> = site.target.labels.iter().map(|(name, _)| name).collect();
        let appended = &self.appended[site.cluster as usize];
        let place = |id: usize| {
            let pair = chunk.pair(crate::snapshot::PairId(id as u16));
            let found = names.binary_search(&pair.name);
            let is_foreign = self.style.label_name(pair.name) != pair.name;
            Place {
                before: found.unwrap_or_else(|before| before) as u16,
                replaces: found.is_ok(),
                is_empty: pair.value.is_empty(),
                is_special: is_foreign || appended.iter().any(|(name, _)| name == pair.name),
            }
        };
        (0..chunk.pairs()).map(place).collect()
    }
}

impl RunLines<'_> {
    /// Appends the line of one slot, without what may follow the timestamp; `open` is the metric name's beginning.
    #[inline]
    pub fn write(&self, out: &mut Vec<u8>, open: &[u8], chunk: u32, slot: u8, value: f64) {
        self.write_series(out, open, slot);
        self.lines.style.write_value(out, value);
        if self.target.beside.timestamps.is_empty() {
            out.extend_from_slice(&self.text.stamp);
        } else {
            let slot = chunk * crate::snapshot::CHUNK_SLOTS as u32 + u32::from(slot);
            self.lines.style.write_stamp(out, self.target.timestamp_of(slot));
            out.push(b'\n');
        }
    }

    #[inline]
    fn write_series(&self, out: &mut Vec<u8>, open: &[u8], slot: u8) {
        let start = out.len();
        out.extend_from_slice(open);
        let (mut done, mut is_special) = (0, self.text.is_special);
        for pair in self.chunk.pairs_of(usize::from(slot)) {
            let place = self.places[usize::from(pair.0)];
            let before = usize::from(place.before);
            if before > done {
                out.extend_from_slice(
                    &self.text.labels[self.text.ends[done] as usize..self.text.ends[before] as usize],
                );
            }
            done = before + usize::from(place.replaces);
            is_special |= place.is_special;
            if !place.is_empty {
                out.extend_from_slice(self.chunk.pair(*pair).text.as_bytes());
                out.push(b',');
            }
        }
        if is_special {
            out.truncate(start);
            return self.write_label_by_label(out, open, slot);
        }
        out.extend_from_slice(&self.text.labels[self.text.ends[done] as usize..]);
        out.extend_from_slice(&self.text.tail);
    }

    #[cold]
    pub(super) fn write_label_by_label(&self, out: &mut Vec<u8>, open: &[u8], slot: u8) {
        out.extend_from_slice(open);
        let pairs: Vec<(&str, &str)> = self
            .chunk
            .pairs_of(usize::from(slot))
            .iter()
            .map(|pair| self.chunk.pair(*pair))
            .map(|pair| (pair.name, pair.value))
            .collect();
        let targets = self.target.labels.iter().filter(|(name, _)| !pairs.iter().any(|(own, _)| own == name));
        let mut own: Vec<(&str, &str)> = pairs.iter().filter(|(_, value)| !value.is_empty()).copied().collect();
        own.extend(targets);
        own.sort_unstable();
        write_all(&self.lines.style, out, &own, self.appended);
    }
}
