//! One line: `name{own labels,appended labels} value timestamp`, or in protobuf the labels of one Metric.
//!
//! Invariant: the own labels (a series' pairs over its target's labels) stand first, sorted by name; then, sorted among
//! themselves, the appended ones (the inventory's, the gateway's external labels, labels to show empty) that the series
//! lacks. That is Prometheus' order on /federate, label for label.
//!
//! How pairs and target labels interleave depends on their names alone. So it is worked out once for each list of label
//! names that chunks have and each list that targets have ([`Place`]), and a line is then a few copies: target labels up
//! to the pair's place, the pair, … the rest of the target's labels, the tail.
//!
//! Several threads write lines at once: what is prepared of a target is prepared by the first that needs it.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use hashbrown::HashMap;

use crate::exposition::{
    Escaping, Format, escape_label_name, escape_metric_name, write_label, write_label_pair, write_millis, write_name,
    write_openmetrics_value, write_seconds, write_timestamp_ms, write_value,
};
use crate::model::{Labels, Timestamp, is_legacy_metric_name};
use crate::snapshot::{Chunk, PairId};
use crate::store::{COLLECTOR, FactRow, SiteTarget, SiteView};

/// What all lines of a page have in common.
#[derive(Clone, Debug)]
pub struct Style {
    /// How lines, numbers and timestamps are written.
    pub format: Format,
    /// How names outside the classic grammar are written.
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
pub(super) fn write_all(style: &Style, out: &mut Vec<u8>, own: &[(&str, &str)], appended: &[(String, String)]) {
    let lacking = appended.iter().filter(|(name, _)| !own.iter().any(|(own, _)| own == name));
    let labels = own.iter().copied().chain(lacking.map(|(name, value)| (name.as_str(), value.as_str())));
    let mut written = Vec::with_capacity(own.len() + appended.len());
    for (name, value) in labels {
        let name = escape_label_name(name, style.escaping);
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
    /// The bit of the appended label whose place it takes, 0 for none.
    pub(super) hides: u64,
    /// Its name needs another form: the line is put together label by label.
    pub(super) is_special: bool,
}

/// A target's part of its lines; in protobuf the same things as fields of a Metric.
pub(super) struct TargetText {
    /// `a="b",c="d",`, then `cluster="alpha",environment="production"} `, then ` 1795174520123\n`
    text: Box<[u8]>,
    /// Where each of the target's labels ends in `text`; a zero in front.
    ends: Box<[u32]>,
    /// Where each of the appended labels ends; one that the target has is empty.
    appended_ends: Box<[u32]>,
    /// Where the appended labels end, and the stamp begins.
    tail_end: u32,
    /// Nothing is appended, so the last comma must go; or a name needs another form, which another label may have.
    pub(super) is_special: bool,
    /// For each of its chunks, where the labels stand that its series have of their own.
    places: Box<[Places]>,
}

impl TargetText {
    /// The target's labels from `from` to before `to`.
    #[inline]
    pub(super) fn labels(&self, from: usize, to: usize) -> &[u8] {
        &self.text[self.ends[from] as usize..self.ends[to] as usize]
    }

    /// Those from `from` on, then the appended ones.
    #[inline]
    pub(super) fn labels_from(&self, from: usize) -> &[u8] {
        &self.text[self.ends[from] as usize..self.tail_end as usize]
    }

    /// The target's labels from `from` on, then each appended one that is not among `hidden`, as [`Style`] ends them.
    pub(super) fn write_shown(&self, style: &Style, out: &mut Vec<u8>, from: usize, hidden: u64) {
        let labels_end = self.ends[self.ends.len() - 1];
        out.extend_from_slice(&self.text[self.ends[from] as usize..labels_end as usize]);
        let mut start = labels_end;
        for (number, end) in self.appended_ends.iter().enumerate() {
            if hidden & 1 << number == 0 {
                out.extend_from_slice(&self.text[start as usize..*end as usize]);
            }
            start = *end;
        }
        // The last label of all has lost its comma.
        if style.format != Format::Protobuf && out.last() == Some(&b'"') {
            out.push(b',');
        }
        style.close(out);
    }

    /// The timestamp of the scrape and what ends the line.
    #[inline]
    pub(super) fn stamp(&self) -> &[u8] {
        &self.text[self.tail_end as usize..]
    }
}

/// The place of each label of a list.
type Places = Arc<[Place]>;

/// What targets and chunks of one kind have in common.
#[derive(Default)]
struct Shared {
    /// Numbers of the lists of names that targets have, appended ones behind an empty one.
    shapes: HashMap<Vec<Box<str>>, usize>,
    /// By the address of a chunk's list of label names and the target's shape.
    places: HashMap<(usize, usize), Places, foldhash::fast::FixedState>,
}

/// Writes lines of one view in one style, for as many threads as like to.
pub struct Lines {
    view: Arc<SiteView>,
    style: Style,
    /// Of each cluster, and of what belongs to none.
    appended: Vec<Vec<(String, String)>>,
    targets: Box<[OnceLock<Box<TargetText>>]>,
    /// Taken once a target.
    shared: Mutex<Shared>,
}

/// A target and one of its chunks, prepared.
#[derive(Clone, Copy)]
pub struct RunLines<'a> {
    pub(super) lines: &'a Lines,
    pub(super) site: &'a SiteTarget,
    pub(super) text: &'a TargetText,
    pub(super) chunk: &'a Chunk,
    pair_labels: &'a [u16],
    places: &'a [Place],
}

impl Lines {
    /// Lines of `view`; nothing is prepared yet.
    pub fn new(view: Arc<SiteView>, style: Style) -> Lines {
        let of_clusters = view.clusters.iter().map(|cluster| style.appended(&cluster.policy.labels));
        let appended = of_clusters.chain([style.appended(&Labels::empty())]).collect();
        let targets = view.targets.iter().map(|_| OnceLock::new()).collect();
        Lines { view, style, appended, targets, shared: Mutex::default() }
    }

    /// What is appended to series of a cluster.
    fn appended(&self, cluster: u32) -> &[(String, String)] {
        let of_none = self.appended.len() - 1;
        &self.appended[(cluster as usize).min(of_none)]
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
    #[inline]
    pub fn run(&self, target: u32, chunk: u32) -> RunLines<'_> {
        let site = &self.view.targets[target as usize];
        let text = self.targets[target as usize].get_or_init(|| Box::new(self.prepare(site)));
        let indexed = &site.target.layout.chunks()[chunk as usize];
        RunLines {
            lines: self,
            site,
            text,
            chunk: indexed.chunk(),
            pair_labels: indexed.pair_labels(),
            places: &text.places[chunk as usize],
        }
    }

    /// Appends the labels of a series that the gateway makes itself, and closes the braces.
    pub fn write_fact_labels(&self, out: &mut Vec<u8>, fact: FactRow) {
        let (own, cluster): (Vec<(&str, &str)>, u32) = match fact {
            FactRow::Scrape(target, _) => {
                let site = &self.view.targets[target as usize];
                (site.target.labels.iter().collect(), site.cluster)
            }
            FactRow::Cluster(cluster, _) => (Vec::new(), cluster),
            FactRow::Collector(cluster, which) => {
                let collectors = &self.view.clusters[cluster as usize].facts.collectors;
                (vec![(COLLECTOR, &collectors[which as usize].collector)], cluster)
            }
        };
        write_all(&self.style, out, &own, self.appended(cluster));
    }

    fn prepare(&self, site: &SiteTarget) -> TargetText {
        let (labels, appended) = (&site.target.labels, self.appended(site.cluster));
        let (mut text, mut ends) = (Vec::new(), vec![0]);
        for (name, value) in &**labels {
            self.style.write_label(&mut text, &escape_label_name(name, self.style.escaping), value);
            ends.push(text.len() as u32);
        }
        let labels_end = text.len();
        let mut appended_ends = Vec::with_capacity(appended.len());
        for (name, value) in appended {
            if labels.get(name).is_none() {
                self.style.write_label(&mut text, &escape_label_name(name, self.style.escaping), value);
            }
            appended_ends.push(text.len() as u32);
        }
        let has_foreign = labels.iter().any(|(name, _)| self.is_foreign(name))
            || appended.iter().any(|(name, _)| self.is_foreign(name));
        let (is_text, has_tail) = (self.style.format != Format::Protobuf, text.len() > labels_end);
        if is_text && has_tail {
            text.pop();
            appended_ends.iter_mut().for_each(|end| *end = (*end).min(text.len() as u32));
        }
        text.extend_from_slice(if is_text { b"} " } else { b"" });
        let tail_end = text.len() as u32;
        self.style.write_stamp(&mut text, site.target.started);
        text.extend_from_slice(if is_text { b"\n" } else { b"" });
        let is_special = has_foreign || (is_text && !has_tail);
        let (ends, appended_ends) = (ends.into(), appended_ends.into());
        TargetText { text: text.into(), ends, appended_ends, tail_end, is_special, places: self.places_of(site) }
    }

    /// Whether a label's name needs another form in this style.
    fn is_foreign(&self, name: &str) -> bool {
        escape_label_name(name, self.style.escaping) != name
    }

    /// The places in each chunk of a target.
    fn places_of(&self, site: &SiteTarget) -> Box<[Places]> {
        let (labels, appended) = (&site.target.labels, self.appended(site.cluster));
        let mut names: Vec<Box<str>> = labels.iter().map(|(name, _)| name.into()).collect();
        names.push("".into());
        names.extend(appended.iter().map(|(name, _)| name.as_str().into()));
        // Every change of what is shared is one call, so a panic elsewhere leaves it whole.
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let next = shared.shapes.len();
        let shape = *shared.shapes.entry(names).or_insert(next);
        let chunks = site.target.layout.chunks().iter();
        let places = chunks.map(|chunk| {
            let of_names = || self.places_of_names(chunk.labels(), labels, appended);
            shared.places.entry((chunk.labels().as_ptr().addr(), shape)).or_insert_with(of_names).clone()
        });
        places.collect()
    }

    fn places_of_names(&self, names: &[Arc<str>], target: &Labels, appended: &[(String, String)]) -> Places {
        let of_target: Vec<&str> = target.iter().map(|(name, _)| name).collect();
        let place = |name: &Arc<str>| {
            let found = of_target.binary_search(&&**name);
            let appended = appended.iter().position(|(own, _)| **own == **name);
            let bit = appended.and_then(|number| 1u64.checked_shl(number as u32));
            Place {
                before: found.unwrap_or_else(|before| before) as u16,
                replaces: found.is_ok(),
                hides: bit.unwrap_or(0),
                is_special: self.is_foreign(name) || (appended.is_some() && bit.is_none()),
            }
        };
        names.iter().map(place).collect()
    }
}

/// A pair of a series, ready to be written.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    /// Empty where the series lacks the label.
    pub(super) text: &'a [u8],
    place: Place,
}

impl<'a> RunLines<'a> {
    /// Appends the line of one slot, without what may follow the timestamp; `open` is the metric name's beginning.
    #[inline]
    pub fn write(&self, out: &mut Vec<u8>, open: &[u8], chunk: u32, slot: u8, value: f64) {
        let parts = self.pairs_of(slot).iter().map(|pair| self.part(*pair));
        self.write_parts(out, open, chunk, slot, value, parts);
    }

    /// The slot's own pairs.
    #[inline]
    pub(super) fn pairs_of(&self, slot: u8) -> &'a [PairId] {
        self.chunk.pairs_of(usize::from(slot))
    }

    /// How long a pair's text is, and where its label stands: to have both near.
    #[inline]
    pub(super) fn width(&self, pair: PairId) -> usize {
        self.chunk.text_of(pair).map_or(0, <[u8]>::len) ^ usize::from(self.pair_labels[usize::from(pair.0)])
    }

    #[inline]
    pub(super) fn part(&self, pair: PairId) -> Part<'a> {
        Part { text: self.chunk.text_of(pair).unwrap_or_default(), place: self.place(pair) }
    }

    /// The same line, of the slot's parts.
    #[inline]
    pub(super) fn write_parts(
        &self,
        out: &mut Vec<u8>,
        open: &[u8],
        chunk: u32,
        slot: u8,
        value: f64,
        parts: impl Iterator<Item = Part<'a>>,
    ) {
        self.write_series(out, open, slot, parts);
        self.lines.style.write_value(out, value);
        if self.site.target.beside.timestamps.is_empty() {
            out.extend_from_slice(self.text.stamp());
        } else {
            let slot = chunk * crate::snapshot::CHUNK_SLOTS as u32 + u32::from(slot);
            self.lines.style.write_stamp(out, self.site.target.timestamp_of(slot));
            out.push(b'\n');
        }
    }

    #[inline]
    fn write_series(&self, out: &mut Vec<u8>, open: &[u8], slot: u8, parts: impl Iterator<Item = Part<'a>>) {
        let (text, start) = (self.text, out.len());
        out.extend_from_slice(open);
        let (mut done, mut hidden, mut is_special) = (0, 0, text.is_special);
        for Part { text: pair, place } in parts {
            let before = usize::from(place.before);
            if before > done {
                out.extend_from_slice(text.labels(done, before));
            }
            done = before + usize::from(place.replaces);
            // Who lacks a label that its target has may have the appended one instead.
            is_special |= place.is_special || (place.hides != 0 && pair.is_empty());
            hidden |= place.hides;
            if !pair.is_empty() {
                out.extend_from_slice(pair);
                out.push(b',');
            }
        }
        if is_special {
            out.truncate(start);
            return self.write_label_by_label(out, open, slot, None);
        }
        match hidden {
            0 => out.extend_from_slice(text.labels_from(done)),
            _ => text.write_shown(&self.lines.style, out, done, hidden),
        }
    }

    /// Where a pair stands among the target's labels.
    #[inline]
    pub(super) fn place(&self, pair: PairId) -> Place {
        self.places[usize::from(self.pair_labels[usize::from(pair.0)])]
    }

    /// What is appended to series of the target's cluster where they lack it.
    pub(super) fn appended(&self) -> &[(String, String)] {
        self.lines.appended(self.site.cluster)
    }

    /// The line of a slot with a label that it lacks: what a page makes of the slot's sample.
    pub(super) fn write_with(
        &self,
        out: &mut Vec<u8>,
        open: &[u8],
        at: (u32, u8),
        le: Option<(&str, &str)>,
        value: f64,
    ) {
        let (chunk, slot) = at;
        self.write_label_by_label(out, open, slot, le);
        self.lines.style.write_value(out, value);
        let slot = chunk * crate::snapshot::CHUNK_SLOTS as u32 + u32::from(slot);
        self.lines.style.write_stamp(out, self.site.target.timestamp_of(slot));
        out.push(b'\n');
    }

    #[cold]
    fn write_label_by_label(&self, out: &mut Vec<u8>, open: &[u8], slot: u8, extra: Option<(&str, &str)>) {
        out.extend_from_slice(open);
        let pairs = self.chunk.pairs_of(usize::from(slot)).iter().map(|pair| self.chunk.pair(*pair));
        let pairs: Vec<(&str, &str)> = pairs.map(|pair| (pair.name, pair.value)).chain(extra).collect();
        let targets = self.site.target.labels.iter().filter(|(name, _)| !pairs.iter().any(|(own, _)| own == name));
        let mut own: Vec<(&str, &str)> = pairs.iter().filter(|(_, value)| !value.is_empty()).copied().collect();
        own.extend(targets);
        own.sort_unstable();
        write_all(&self.lines.style, out, &own, self.appended());
    }
}
