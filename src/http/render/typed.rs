//! The page of `/metrics`: families with TYPE and HELP, the parts of a histogram or summary together.
//!
//! Invariant: families ascend by name, each with its head once and only if a sample follows. In a family of several names
//! the samples of one label set stand together, buckets ascending by `le`, as OpenMetrics §4.5 wants it; the order of
//! everything depends on the view alone.

use std::collections::BTreeMap;

use super::block::{PageBody, Progress};
use super::family::{Declared, Family, form_families};
use super::line::Lines;
use super::own::{OwnMetric, OwnPage};
use super::untyped::{Samples, is_fact_shown, write_fact};
use crate::exposition::{Format, escape_metric_name, write_eof, write_exemplar, write_help, write_type, write_unit};
use crate::model::{Labels, MetricType, Timestamp};
use crate::snapshot::CHUNK_SLOTS;
use crate::store::{CLUSTER_FAMILIES, COLLECTOR_UP, FactFamily, FactRow, PickedRun, SCRAPE_FAMILIES, Selection};

/// Stands for the help that an exporter did not give: tools that check a page want one.
const NO_HELP: &str = "No help from the exporter.";

/// One metric name and where its series are.
struct Metric {
    name: String,
    /// Its number in the selection.
    rows: Option<usize>,
    own: OwnMetric,
    /// How its lines begin.
    open: Vec<u8>,
}

/// Writes the page bit by bit.
pub struct TypedPage {
    lines: Lines,
    selection: Selection,
    format: Format,
    metrics: Vec<Metric>,
    families: Vec<Family>,
    oldest: Option<Timestamp>,
    room: Option<u64>,
    at: Position,
}

/// Where a page is.
#[derive(Clone, Debug, Default)]
struct Position {
    family: usize,
    /// For each member, the run that comes next.
    runs: Vec<usize>,
    /// All runs are written; facts and own series come next.
    is_past_runs: bool,
    has_head: bool,
}

impl TypedPage {
    /// A page of everything that is selected and of fedgate's own metrics.
    pub fn new(lines: Lines, selection: Selection, own: OwnPage) -> TypedPage {
        let format = lines.style().format;
        let metrics = metrics_of(&lines, &selection, own);
        let declared: Vec<(&str, Declared)> =
            metrics.iter().map(|metric| (metric.name.as_str(), declared_of(&lines, &selection, metric))).collect();
        let families = form_families(&declared, format);
        let at = Position::default();
        TypedPage { lines, selection, format, metrics, families, oldest: None, room: None, at }
    }

    /// Leaves out samples before `oldest` and everything after `limit` lines.
    pub fn bounded(self, oldest: Timestamp, limit: Option<u64>) -> TypedPage {
        TypedPage { oldest: Some(oldest), room: limit, ..self }
    }

    /// The page as a body.
    pub fn into_body(mut self) -> PageBody {
        Box::new(move |out, bytes| self.write(out, bytes))
    }

    fn write(&mut self, out: &mut Vec<u8>, bytes: usize) -> Progress {
        while out.len() < bytes {
            if self.room == Some(0) {
                out.extend_from_slice(b"# cut here: limit reached\n");
                return Progress::Done;
            }
            if self.at.family == self.families.len() {
                write_eof(out, self.format);
                return Progress::Done;
            }
            self.write_some(out);
        }
        Progress::More
    }

    /// The samples of one run or target, what follows the runs, or the step to the next family.
    fn write_some(&mut self, out: &mut Vec<u8>) {
        let start = out.len();
        let members = self.families[self.at.family].members.len();
        self.at.runs.resize(members, 0);
        if !self.at.has_head {
            self.write_head(out);
        }
        let before = out.len();
        let written = match self.next_target() {
            Some(target) if members == 1 => self.write_run(out, target),
            Some(target) => self.write_target(out, target),
            None if !self.at.is_past_runs => self.write_rest(out),
            None => {
                self.at = Position { family: self.at.family + 1, ..Position::default() };
                0
            }
        };
        debug_assert!(written > 0 || out.len() == before);
        match written {
            0 => out.truncate(start),
            _ => self.at.has_head = true,
        }
        self.room = self.room.map(|room| room - written);
    }

    fn write_head(&self, out: &mut Vec<u8>) {
        let family = &self.families[self.at.family];
        let name = escape_metric_name(&family.name, self.lines.style().escaping);
        let help = if family.help.is_empty() { NO_HELP } else { &family.help };
        write_help(out, self.format, &name, help);
        write_type(out, self.format, &name, family.kind);
        if !family.unit.is_empty() {
            write_unit(out, self.format, &name, &family.unit);
        }
    }

    fn runs_of(&self, member: usize) -> &[PickedRun] {
        let metric = &self.metrics[self.families[self.at.family].members[member]];
        metric.rows.map_or(&[], |rows| &self.selection.names[rows].runs)
    }

    /// The first target that still has runs of the family.
    fn next_target(&self) -> Option<u32> {
        let next = |member: usize| self.runs_of(member).get(self.at.runs[member]).map(|run| run.target);
        (0..self.at.runs.len()).filter_map(next).min()
    }

    /// Takes the next run of a member, if it is of `target`.
    fn take_run(&mut self, member: usize, target: u32) -> Option<PickedRun> {
        let run = self.runs_of(member).get(self.at.runs[member]).copied().filter(|run| run.target == target)?;
        self.at.runs[member] += 1;
        Some(run)
    }

    /// A family of one name: run by run, as the slots come.
    fn write_run(&mut self, out: &mut Vec<u8>, target: u32) -> u64 {
        let Some(run) = self.take_run(0, target) else { return 0 };
        let view = self.lines.view().clone();
        let Some(samples) = Samples::of(&view, &run, self.oldest) else { return 0 };
        let metric = self.families[self.at.family].members[0];
        let slots = self.selection.slots_of(&view, &run);
        let shown: Vec<(u8, f64)> = samples.of_slots(slots).take(self.lines_left()).collect();
        for (slot, value) in &shown {
            let line = Line { metric, target: run.target, chunk: run.chunk, slot: *slot, value: *value };
            self.write_line(out, &line);
        }
        shown.len() as u64
    }

    /// A family of several names: all its samples in one target, sorted into label sets.
    fn write_target(&mut self, out: &mut Vec<u8>, target: u32) -> u64 {
        let view = self.lines.view().clone();
        let mut sorted: Vec<(Place, Line)> = Vec::new();
        for member in 0..self.at.runs.len() {
            let metric = self.families[self.at.family].members[member];
            while let Some(run) = self.take_run(member, target) {
                let Some(samples) = Samples::of(&view, &run, self.oldest) else { continue };
                for (slot, value) in samples.of_slots(self.selection.slots_of(&view, &run)) {
                    let line = Line { metric, target, chunk: run.chunk, slot, value };
                    sorted.push((self.place_of(&line), line));
                }
            }
        }
        sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
        sorted.truncate(self.lines_left());
        sorted.iter().for_each(|(_, line)| self.write_line(out, line));
        sorted.len() as u64
    }

    fn place_of(&self, line: &Line) -> Place {
        let site = &self.lines.view().targets[line.target as usize];
        let chunk = site.target.layout.chunks()[line.chunk as usize].chunk();
        let pairs = chunk.pairs_of(usize::from(line.slot)).iter().map(|pair| chunk.pair(*pair));
        Place::of(&self.metrics[line.metric].name, pairs.map(|pair| (pair.name, pair.value)))
    }

    fn write_line(&mut self, out: &mut Vec<u8>, line: &Line) {
        let Line { target, chunk, slot, .. } = *line;
        self.lines.run(target, chunk).write(out, &self.metrics[line.metric].open, chunk, slot, line.value);
        let view = self.lines.view();
        let exemplar =
            view.targets[target as usize].target.beside.exemplar_of(chunk * CHUNK_SLOTS as u32 + u32::from(slot));
        let family = &self.families[self.at.family];
        let may_have = matches!(family.kind, MetricType::Counter | MetricType::Histogram | MetricType::GaugeHistogram);
        if let Some(exemplar) = exemplar.filter(|_| may_have && self.format == Format::OpenMetrics) {
            out.pop();
            write_exemplar(out, exemplar);
            out.push(b'\n');
        }
    }

    /// Lines that may still be written.
    fn lines_left(&self) -> usize {
        self.room.map_or(usize::MAX, |room| usize::try_from(room).unwrap_or(usize::MAX))
    }

    /// The gateway's own series: facts, then its metrics.
    fn write_rest(&mut self, out: &mut Vec<u8>) -> u64 {
        self.at.is_past_runs = true;
        let (room, view) = (self.lines_left(), self.lines.view().clone());
        let members = &self.families[self.at.family].members;
        let mut written = 0;
        for metric in members.iter().map(|member| &self.metrics[*member]) {
            let facts = metric.rows.map_or(&[][..], |rows| &self.selection.names[rows].facts);
            let shown = facts.iter().filter(|fact| is_fact_shown(&view, **fact, self.oldest));
            for fact in shown.take(room - written) {
                write_fact(&mut self.lines, out, &metric.open, *fact);
                written += 1;
            }
        }
        (written + self.write_own(out, room - written)) as u64
    }

    /// fedgate's own metrics of the family, at most `room` lines.
    fn write_own(&self, out: &mut Vec<u8>, room: usize) -> usize {
        let members = self.families[self.at.family].members.iter().map(|member| &self.metrics[*member]);
        let mut own: Vec<(Place, &Metric, &(Labels, f64))> = members
            .flat_map(|metric| {
                metric.own.series.iter().map(move |series| (Place::of(&metric.name, &series.0), metric, series))
            })
            .collect();
        own.sort_by(|(a, ..), (b, ..)| a.cmp(b));
        own.truncate(room);
        for (_, metric, (labels, value)) in &own {
            out.extend_from_slice(&metric.open);
            let labels: Vec<(&str, &str)> = labels.iter().collect();
            self.lines.style().write_labels(out, &labels, &Labels::empty());
            self.lines.style().write_value(out, *value);
            out.push(b'\n');
        }
        own.len()
    }
}

/// A sample to be written.
#[derive(Clone, Copy, Debug)]
struct Line {
    metric: usize,
    target: u32,
    chunk: u32,
    slot: u8,
    value: f64,
}

/// Where a sample stands among those of its family: by label set, then part, then bound.
#[derive(Debug)]
struct Place {
    labels: String,
    part: u8,
    bound: f64,
}

impl Place {
    fn of<'a>(metric: &str, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Place {
        let parts: [&[&str]; 3] = [&["_count", "_gcount"], &["_sum", "_gsum"], &["_created"]];
        let part = parts.iter().position(|suffixes| suffixes.iter().any(|suffix| metric.ends_with(suffix)));
        let mut place = Place { labels: String::new(), part: part.map_or(0, |part| part as u8 + 1), bound: 0.0 };
        for (name, value) in pairs {
            match (name, value.parse()) {
                ("le" | "quantile", Ok(bound)) => place.bound = bound,
                _ => [name, "\0", value, "\0"].into_iter().for_each(|text| place.labels.push_str(text)),
            }
        }
        place
    }

    fn cmp(&self, other: &Place) -> std::cmp::Ordering {
        let by_set = self.labels.cmp(&other.labels).then(self.part.cmp(&other.part));
        by_set.then(self.bound.total_cmp(&other.bound))
    }
}

fn metrics_of(lines: &Lines, selection: &Selection, own: OwnPage) -> Vec<Metric> {
    let mut metrics: BTreeMap<String, (Option<usize>, OwnMetric)> =
        own.0.into_iter().map(|(name, metric)| (name, (None, metric))).collect();
    for (number, rows) in selection.names.iter().enumerate() {
        metrics.entry(rows.name.to_string()).or_default().0 = Some(number);
    }
    let metrics = metrics.into_iter().map(|(name, (rows, own))| {
        let open = lines.style().open(&name);
        Metric { name, rows, own, open }
    });
    metrics.collect()
}

fn declared_of(lines: &Lines, selection: &Selection, metric: &Metric) -> Declared {
    let mut declared = metric.own.declared.clone();
    let Some(rows) = metric.rows.map(|rows| &selection.names[rows]) else { return declared };
    let view = lines.view();
    let mut last = None;
    for run in &rows.runs {
        let chunk = view.targets[run.target as usize].target.layout.chunks()[run.chunk as usize].chunk();
        let family = chunk.family_of(selection.name_id(view, run));
        if last != Some(family) {
            declared.add(&metric.name, family);
            last = Some(family);
        }
    }
    if let Some(fact) = rows.facts.first() {
        let FactFamily { name, kind, help } = fact_family(*fact);
        declared.add(&metric.name, crate::snapshot::Family { name, kind, help, unit: "" });
    }
    declared
}

fn fact_family(fact: FactRow) -> FactFamily {
    match fact {
        FactRow::Scrape(_, which) => SCRAPE_FAMILIES[usize::from(which)],
        FactRow::Cluster(_, which) => CLUSTER_FAMILIES[usize::from(which)],
        FactRow::Collector(..) => COLLECTOR_UP,
    }
}
