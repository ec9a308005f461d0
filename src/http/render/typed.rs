//! The page of `/metrics`: families with TYPE and HELP, the parts of a histogram or summary together.
//!
//! Invariant: families ascend by name, each with its head once and only if a sample follows. In a family of several names
//! the samples of one label set stand together, buckets ascending by `le`, as OpenMetrics §4.5 wants it; the order of
//! everything depends on the view alone.
//!
//! A family of one name is written run by run. One of several names is written group by group, a target's samples sorted;
//! a target with too many to sort at once is cut into groups by a hash of the label set.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::batch::Batch;
use super::block::{PageBody, Piece, Progress};
use super::family::{Declared, Family, form_families};
use super::group::{Group, Groups, Line, Member, bound_in, part_of};
use super::line::Lines;
use super::messages::messages_page;
use super::own::{OwnMetric, OwnPage};
use super::plan::{CUT_HERE, Place, Stretch, plan};
use super::typed_messages::TypedMessages;
use super::untyped::{Samples, count_histograms, is_fact_shown, write_fact};
use crate::exposition::{
    ClassicHistogram, Format, escape_metric_name, write_eof, write_exemplar, write_help, write_openmetrics_value,
    write_type, write_unit,
};
use crate::model::{Exemplar, HistogramSample, Labels, MetricType, Timestamp};
use crate::snapshot::CHUNK_SLOTS;
use crate::store::{CLUSTER_FAMILIES, COLLECTOR_UP, FactFamily, FactRow, PickedRun, SCRAPE_FAMILIES, Selection};
use crate::telemetry::LeftOut;

/// Stands for the help that an exporter did not give: tools that check a page want one.
const NO_HELP: &str = "No help from the exporter.";
/// About how many series a histogram is in its classic form.
const CLASSIC_SERIES: usize = 12;
/// The label of a bucket's bound.
const LE: &str = "le";

/// One metric name and where its series are.
pub(super) struct Metric {
    pub(super) name: String,
    /// Its number in the selection.
    pub(super) rows: Option<usize>,
    pub(super) own: OwnMetric,
    /// How its lines begin.
    open: Vec<u8>,
}

/// What a page of typed families leaves out.
#[derive(Clone, Copy, Debug)]
pub struct TypedBounds {
    /// Samples before this.
    pub oldest: Timestamp,
    /// What comes after so many samples.
    pub limit: Option<u64>,
}

/// A page of everything that is selected and of fedgate's own metrics, in the format of the lines' style. `left_out` counts the
/// samples that have no form in it.
pub fn typed_page(
    lines: Lines,
    selection: Selection,
    own: OwnPage,
    bounds: TypedBounds,
    left_out: LeftOut,
) -> PageBody {
    if lines.style().format == Format::Protobuf {
        return messages_page(TypedMessages::new(lines, selection, own, bounds.oldest, left_out), bounds.limit);
    }
    TypedPage::new(lines, selection, own, bounds, left_out).into_body()
}

/// What is on a page of text.
struct TypedPage {
    lines: Lines,
    selection: Selection,
    format: Format,
    metrics: Vec<Metric>,
    families: Vec<Family>,
    /// For each family; empty where it has one name.
    groups: Vec<Vec<Group>>,
    oldest: Timestamp,
    limit: Option<u64>,
    /// Whether any target has native histograms.
    has_histograms: bool,
    left_out: LeftOut,
}

/// What is written in one go, as far as it fits. The rows of a family come in this order.
enum Row<'a> {
    /// The samples of one chunk, and the rows like it behind it.
    Runs(&'a [PickedRun]),
    /// The samples of one target or of a part of its label sets.
    Group(&'a Group),
    /// Native histograms that are written as classic ones.
    Classic(&'a PickedRun),
    /// A series of the gateway's own making, of a metric.
    Fact(usize, FactRow),
    /// fedgate's own metrics.
    Own,
}

/// A stretch under way, and what is sorted and not yet written of a group.
struct TypedPiece {
    stretch: Stretch,
    sorted: VecDeque<Line>,
}

impl TypedPage {
    fn new(
        lines: Lines,
        selection: Selection,
        own: OwnPage,
        TypedBounds { oldest, limit }: TypedBounds,
        left_out: LeftOut,
    ) -> TypedPage {
        let format = lines.style().format;
        let metrics = metrics_of(&lines, &selection, own);
        let declared: Vec<(&str, Declared)> =
            metrics.iter().map(|metric| (metric.name.as_str(), declared_of(&lines, &selection, metric))).collect();
        let families = form_families(&declared, format);
        let has_histograms = lines.view().targets.iter().any(|site| !site.target.beside.histograms.is_empty());
        let groups = Vec::new();
        let mut page =
            TypedPage { lines, selection, format, metrics, families, groups, oldest, limit, has_histograms, left_out };
        page.groups = page.families.iter().map(|family| page.groups_of(family).divide()).collect();
        page
    }

    /// The page as a body.
    fn into_body(self) -> PageBody {
        self.count_left_out();
        let stretches =
            plan((0..self.families.len()).map(|family| self.weights(family)), self.limit, |at| self.count(at));
        let page = Arc::new(self);
        let piece = move |stretch: Stretch| -> Piece {
            let (page, mut piece) = (page.clone(), TypedPiece { stretch, sorted: VecDeque::new() });
            Box::new(move |out, bytes| page.write(&mut piece, out, bytes))
        };
        Box::new(stretches.into_iter().map(piece))
    }

    fn runs_of(&self, metric: usize) -> &[PickedRun] {
        self.metrics[metric].rows.map_or(&[], |rows| &self.selection.names[rows].runs)
    }

    fn facts_of(&self, metric: usize) -> &[FactRow] {
        self.metrics[metric].rows.map_or(&[], |rows| &self.selection.names[rows].facts)
    }

    /// The runs of a family that is written run by run.
    fn single_runs(&self, family: &Family) -> &[PickedRun] {
        if let [metric] = family.members[..] { self.runs_of(metric) } else { &[] }
    }

    /// A family of several names, target by target.
    fn groups_of(&self, family: &Family) -> Groups<'_> {
        let member =
            |metric: &usize| Member { metric: *metric, name: &self.metrics[*metric].name, runs: self.runs_of(*metric) };
        let is_grouped = family.members.len() > 1;
        let members = family.members.iter().filter(|_| is_grouped).map(member).collect();
        Groups { view: self.lines.view(), selection: &self.selection, members }
    }

    /// How many series each row of a family has.
    fn weights(&self, number: usize) -> impl Iterator<Item = usize> {
        let family = &self.families[number];
        let own: usize = family.members.iter().map(|metric| self.metrics[*metric].own.series.len()).sum();
        let runs = self.single_runs(family).iter().map(PickedRun::count);
        let facts = family.members.iter().flat_map(|metric| self.facts_of(*metric)).map(|_| 1);
        let classic = self.classic_runs(family).iter().map(|run| run.count() * CLASSIC_SERIES);
        runs.chain(self.groups[number].iter().map(|group| group.series)).chain(classic).chain(facts).chain([own])
    }

    /// How many rows a family has.
    fn rows(&self, number: usize) -> usize {
        let family = &self.families[number];
        let facts: usize = family.members.iter().map(|metric| self.facts_of(*metric).len()).sum();
        self.single_runs(family).len() + self.groups[number].len() + self.classic_runs(family).len() + facts + 1
    }

    fn row(&self, at: Place) -> Row<'_> {
        let family = &self.families[at.family];
        let (runs, groups, classic) = (self.single_runs(family), &self.groups[at.family], self.classic_runs(family));
        if at.row < runs.len() {
            return Row::Runs(&runs[at.row..]);
        }
        if let Some(group) = groups.get(at.row - runs.len()) {
            return Row::Group(group);
        }
        if let Some(run) = classic.get(at.row - runs.len() - groups.len()) {
            return Row::Classic(run);
        }
        let mut number = at.row - runs.len() - groups.len() - classic.len();
        for metric in &family.members {
            let facts = self.facts_of(*metric);
            match facts.get(number) {
                Some(fact) => return Row::Fact(*metric, *fact),
                None => number -= facts.len(),
            }
        }
        Row::Own
    }

    /// How many lines a row has.
    fn count(&self, at: Place) -> usize {
        let view = self.lines.view();
        match self.row(at) {
            Row::Runs(runs) => Samples::of(view, &runs[0], Some(self.oldest))
                .map_or(0, |samples| samples.of_slots(self.selection.slots_of(view, &runs[0])).count()),
            Row::Group(group) => self.groups_of(&self.families[at.family]).collect(group, Some(self.oldest)).len(),
            Row::Classic(run) => self
                .classic_of(&self.families[at.family], run)
                .map(|(_, sample)| ClassicHistogram::of(sample).map_or(0, |classic| classic.buckets.len() + 2))
                .sum(),
            Row::Fact(_, fact) => usize::from(is_fact_shown(view, fact, Some(self.oldest))),
            Row::Own => self.own_series(&self.families[at.family]).count(),
        }
    }

    /// Goes on until `out` has `bytes` or the piece ends.
    fn write(&self, piece: &mut TypedPiece, out: &mut Vec<u8>, bytes: usize) -> Progress {
        while out.len() < bytes {
            if piece.stretch.room == Some(0) {
                out.extend_from_slice(CUT_HERE);
                return Progress::Done;
            }
            if piece.stretch.from.family == self.families.len() {
                write_eof(out, self.format);
                return Progress::Done;
            }
            if piece.stretch.from >= piece.stretch.to {
                return Progress::Done;
            }
            self.write_family(piece, out, bytes);
        }
        Progress::More
    }

    /// The rows of one family, or the step to the next.
    fn write_family(&self, piece: &mut TypedPiece, out: &mut Vec<u8>, bytes: usize) {
        let TypedPiece { stretch, sorted } = piece;
        let (start, number) = (out.len(), stretch.from.family);
        let family = &self.families[number];
        let all = self.rows(number);
        if !stretch.has_head {
            self.write_head(out, family);
        }
        let (mut batch, end) = (Batch::new(&self.lines, &self.selection, Some(self.oldest)), stretch.rows(all).end);
        while stretch.from.row < end && out.len() < bytes && stretch.room != Some(0) {
            let (at, room) = (stretch.from, stretch.lines_left());
            let (fitting, written) = match self.row(at) {
                Row::Runs(runs) => {
                    let runs = &runs[..Batch::fitting(&runs[..runs.len().min(end - at.row)])];
                    (runs.len(), self.write_runs(&mut batch, out, family, runs, room))
                }
                Row::Group(group) => {
                    if sorted.is_empty() {
                        sorted.extend(self.groups_of(family).sorted(group, Some(self.oldest)));
                    }
                    let written = self.write_sorted(out, family, sorted, room, bytes);
                    (usize::from(sorted.is_empty()), written)
                }
                Row::Classic(run) => (1, self.write_classic(out, family, run, room)),
                Row::Fact(metric, fact) => (1, self.write_fact(out, metric, fact)),
                Row::Own => (1, self.write_own(out, family, room)),
            };
            stretch.wrote(written);
            stretch.from.row += fitting;
        }
        if !stretch.has_head {
            out.truncate(start);
        }
        if stretch.from.row == all {
            stretch.next_family();
        }
    }

    fn write_head(&self, out: &mut Vec<u8>, family: &Family) {
        let name = escape_metric_name(&family.name, self.lines.style().escaping);
        let help = if family.help.is_empty() { NO_HELP } else { &family.help };
        write_help(out, self.format, &name, help);
        write_type(out, self.format, &name, family.kind);
        if !family.unit.is_empty() {
            write_unit(out, self.format, &name, &family.unit);
        }
    }

    /// A family of one name: the slots as they come.
    fn write_runs(
        &self,
        batch: &mut Batch<'_>,
        out: &mut Vec<u8>,
        family: &Family,
        runs: &[PickedRun],
        room: usize,
    ) -> usize {
        batch.write(out, &self.metrics[family.members[0]].open, runs, room, |out, run, slot| {
            if self.may_have_exemplars(family, run.target) {
                self.write_exemplar(out, run.target, run.chunk, slot);
            }
        })
    }

    /// What was sorted, until `out` has `bytes`.
    fn write_sorted(
        &self,
        out: &mut Vec<u8>,
        family: &Family,
        sorted: &mut VecDeque<Line>,
        room: usize,
        bytes: usize,
    ) -> usize {
        let mut written = 0;
        while written < room && out.len() < bytes {
            let Some(Line { metric, target, chunk, slot, value, .. }) = sorted.pop_front() else { break };
            self.lines.run(target, chunk).write(out, &self.metrics[metric].open, chunk, slot, value);
            if self.may_have_exemplars(family, target) {
                self.write_exemplar(out, target, chunk, slot);
            }
            written += 1;
        }
        if written == room {
            sorted.clear();
        }
        written
    }

    /// Whether samples of a target may carry exemplars in this format.
    fn may_have_exemplars(&self, family: &Family, target: u32) -> bool {
        let may_have = matches!(family.kind, MetricType::Counter | MetricType::Histogram | MetricType::GaugeHistogram);
        let target = &self.lines.view().targets[target as usize].target;
        self.format == Format::OpenMetrics && may_have && !target.beside.exemplars.is_empty()
    }

    /// Puts a sample's exemplar, where there is one, behind the line that was just written.
    fn write_exemplar(&self, out: &mut Vec<u8>, target: u32, chunk: u32, slot: u8) {
        let beside = &self.lines.view().targets[target as usize].target.beside;
        if let Some(exemplar) = beside.exemplar_of(chunk * CHUNK_SLOTS as u32 + u32::from(slot)) {
            self.append_exemplar(out, exemplar);
        }
    }

    /// Puts an exemplar behind the line that was just written, where the format has them.
    fn append_exemplar(&self, out: &mut Vec<u8>, exemplar: &Exemplar) {
        if self.format == Format::OpenMetrics {
            out.pop();
            write_exemplar(out, exemplar);
            out.push(b'\n');
        }
    }

    /// Where a family's native histograms are, if it is one whose parts stand for them.
    fn classic_runs(&self, family: &Family) -> &[PickedRun] {
        let is_named = |metric: &&usize| self.metrics[**metric].name == family.name;
        match family.members.iter().find(is_named) {
            Some(metric) if self.has_histograms && family.kind == MetricType::Histogram => self.runs_of(*metric),
            _ => &[],
        }
    }

    /// Those of a run that have a classic form: custom buckets. Where the target exposes the buckets as series too, these
    /// are shown and not both.
    fn classic_of<'a>(&'a self, family: &Family, run: &PickedRun) -> impl Iterator<Item = (u8, &'a HistogramSample)> {
        let view = self.lines.view();
        let has_parts = |metric: &usize| {
            let runs = self.runs_of(*metric);
            let first = runs.partition_point(|other| other.target < run.target);
            self.metrics[*metric].name != family.name && runs.get(first).is_some_and(|other| other.target == run.target)
        };
        let slots = if family.members.iter().any(has_parts) { &[] } else { self.selection.slots_of(view, run) };
        let samples = Samples::of(view, run, Some(self.oldest));
        let natives: Vec<_> = samples.iter().flat_map(|samples| samples.histograms_of(slots)).collect();
        natives.into_iter().filter(|(_, sample)| sample.histogram.has_custom_buckets())
    }

    /// Counts the native histograms that the page has no form for.
    fn count_left_out(&self) {
        if self.has_histograms {
            let all = count_histograms(self.lines.view(), &self.selection, self.oldest, |_| true);
            let runs = self.families.iter().map(|family| (family, self.classic_runs(family)));
            let shown = runs.flat_map(|(family, runs)| runs.iter().flat_map(|run| self.classic_of(family, run)));
            self.left_out.add(all.saturating_sub(shown.count() as u64));
        }
    }

    /// Histograms as the series that they were made of; at most `room` lines.
    fn write_classic(&self, out: &mut Vec<u8>, family: &Family, run: &PickedRun, room: usize) -> usize {
        let open = |suffix: &str| self.lines.style().open(&format!("{}{suffix}", family.name));
        let (bucket, totals, mut written) = (open("_bucket"), [open("_count"), open("_sum")], 0);
        let lines = self.lines.run(run.target, run.chunk);
        let classics = self.classic_of(family, run).filter_map(|(slot, one)| Some((slot, ClassicHistogram::of(one)?)));
        for (slot, ClassicHistogram { count, sum, buckets }) in classics {
            let at = (run.chunk, slot);
            for part in buckets.iter().take(room - written) {
                let le = (LE, &*written_bound(part.upper_bound));
                lines.write_with(out, &bucket, at, Some(le), part.cumulative);
                part.exemplar.into_iter().for_each(|exemplar| self.append_exemplar(out, exemplar));
                written += 1;
            }
            for (open, value) in totals.iter().zip([count, sum]).take(room - written) {
                lines.write_with(out, open, at, None, value);
                written += 1;
            }
        }
        written
    }

    fn write_fact(&self, out: &mut Vec<u8>, metric: usize, fact: FactRow) -> usize {
        let is_shown = is_fact_shown(self.lines.view(), fact, Some(self.oldest));
        if is_shown {
            write_fact(&self.lines, out, &self.metrics[metric].open, fact);
        }
        usize::from(is_shown)
    }

    /// fedgate's own series of a family: metric, labels, value.
    fn own_series<'a>(&'a self, family: &'a Family) -> impl Iterator<Item = (usize, &'a Labels, f64)> {
        let series = |metric: &usize| self.metrics[*metric].own.series.iter();
        family.members.iter().flat_map(move |metric| series(metric).map(|(labels, value)| (*metric, labels, *value)))
    }

    /// At most `room` lines of them.
    fn write_own(&self, out: &mut Vec<u8>, family: &Family, room: usize) -> usize {
        let mut own: Vec<(usize, &Labels, f64)> = self.own_series(family).collect();
        own.sort_by(|(metric, labels, _), (other, others, _)| {
            let part = |metric: usize| part_of(&self.metrics[metric].name);
            let by_set = set_of(labels).cmp(set_of(others)).then(part(*metric).cmp(&part(*other)));
            by_set.then(bound_of(labels).total_cmp(&bound_of(others)))
        });
        own.truncate(room);
        for (metric, labels, value) in &own {
            out.extend_from_slice(&self.metrics[*metric].open);
            let labels: Vec<(&str, &str)> = labels.iter().collect();
            self.lines.style().write_labels(out, &labels, &Labels::empty());
            self.lines.style().write_value(out, *value);
            out.push(b'\n');
        }
        own.len()
    }
}

fn written_bound(bound: f64) -> String {
    let mut text = Vec::new();
    write_openmetrics_value(&mut text, bound);
    String::from_utf8(text).expect("numbers are written in ASCII")
}

/// The labels that the parts of a histogram have in common.
fn set_of(labels: &Labels) -> impl Iterator<Item = (&str, &str)> {
    labels.iter().filter(|(name, value)| bound_in(name, value).is_none())
}

fn bound_of(labels: &Labels) -> f64 {
    labels.iter().find_map(|(name, value)| bound_in(name, value)).unwrap_or(0.0)
}

pub(super) fn metrics_of(lines: &Lines, selection: &Selection, own: OwnPage) -> Vec<Metric> {
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

pub(super) fn declared_of(lines: &Lines, selection: &Selection, metric: &Metric) -> Declared {
    let mut declared = metric.own.declared.clone();
    let Some(rows) = metric.rows.map(|rows| &selection.names[rows]) else { return declared };
    let view = lines.view();
    let (mut last_key, mut last) = (None, None);
    for run in &rows.runs {
        let key = Some(selection.family_key(view, run));
        if std::mem::replace(&mut last_key, key) == key {
            continue;
        }
        let chunk = view.targets[run.target as usize].target.layout.chunks()[run.chunk as usize].chunk();
        let family = chunk.family_of(selection.name_id(view, run));
        if last.replace(family) != Some(family) {
            declared.add(&metric.name, family);
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
