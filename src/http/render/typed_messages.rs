//! The page of `/metrics` in protobuf: each family one message with its type, and a Metric that holds a whole histogram or
//! summary where its series are all there.
//!
//! Invariant: whoever takes the page apart as Prometheus does gets back every selected series with its name, labels and
//! value, and every native histogram as it was scraped. Samples that would not come back so (a bucket without its `_sum`, an `le` that is
//! written unusually) stand under their own names in families of no type.
//!
//! | part of a family | what it holds |
//! |---|---|
//! | 0 | the family's type: counters, gauges, …; classic histograms and summaries, assembled from their series |
//! | 1, 2 | native histograms, and native gauge histograms; with the classic buckets of the same label set |
//! | 3, 4 | those with custom buckets, as the classic histograms that they were |
//! | 5… | for each metric name the series that could not be assembled |
//!
//! A native histogram and a classic one never share a message: Prometheus takes all of a message for what its first is.

use std::sync::Arc;

use super::family::{Family, form_families};
use super::gathered::{Gathered, Role, Sample, Source};
use super::line::Lines;
use super::messages::Families;
use super::own::OwnPage;
use super::typed::{Metric, declared_of, metrics_of};
use super::untyped::{Samples, fact_value, is_fact_shown};
use crate::exposition::{
    ClassicBucket, ClassicHistogram, escape_metric_name, is_count, write_classic_histogram, write_counter,
    write_family_head, write_gauge, write_metric, write_native_histogram, write_summary, write_untyped,
};
use crate::model::{Exemplar, HistogramSample, Labels, MetricType, ResetHint, Timestamp};
use crate::snapshot::CHUNK_SLOTS;
use crate::store::{FactRow, PickedRun, Selection, SiteView};
use crate::telemetry::LeftOut;

const TYPED: usize = 0;
const NATIVE: usize = 1;
const CUSTOM: usize = 3;
const LOOSE: usize = 5;
/// What the two parts from [`NATIVE`] and from [`CUSTOM`] on hold.
const HISTOGRAMS: [MetricType; 2] = [MetricType::Histogram, MetricType::GaugeHistogram];

/// The families of a selection and of fedgate's own metrics.
pub(super) struct TypedMessages {
    lines: Lines,
    view: Arc<SiteView>,
    selection: Selection,
    metrics: Vec<Metric>,
    families: Vec<Family>,
    /// Samples before this are not shown.
    oldest: Timestamp,
    left_out: LeftOut,
}

/// For each metric name of a family the run that comes next; behind the runs the gateway's own series.
#[derive(Default)]
pub(super) struct Place {
    runs: Vec<usize>,
    is_past_runs: bool,
    /// What is read of a target and not yet written.
    gathered: Gathered,
}

impl TypedMessages {
    /// What is selected and not before `oldest`, and fedgate's own metrics.
    pub(super) fn new(
        lines: Lines,
        selection: Selection,
        own: OwnPage,
        oldest: Timestamp,
        left_out: LeftOut,
    ) -> TypedMessages {
        let metrics = metrics_of(&lines, &selection, own);
        let declared: Vec<_> =
            metrics.iter().map(|metric| (metric.name.as_str(), declared_of(&lines, &selection, metric))).collect();
        let families = form_families(&declared, lines.style().format);
        let view = lines.view().clone();
        TypedMessages { lines, view, selection, metrics, families, oldest, left_out }
    }

    /// The next run of a family's member, if it is of `target`, or of any.
    fn next_run(&self, family: usize, at: &Place, member: usize) -> Option<PickedRun> {
        let rows = self.metrics[self.families[family].members[member]].rows?;
        self.selection.names[rows].runs.get(at.runs[member]).copied()
    }

    /// All samples of the family in the first target that still has some; false where there is none.
    fn write_target(&self, family: usize, at: &mut Place, room: &mut u64, parts: &mut [Vec<u8>]) -> bool {
        let members = 0..self.families[family].members.len();
        let runs = members.clone().filter_map(|member| self.next_run(family, at, member));
        let Some(target) = runs.map(|run| run.target).min() else { return false };
        let is_assembled = is_assembled(self.families[family].kind);
        for member in members {
            while let Some(run) = self.next_run(family, at, member).filter(|run| run.target == target) {
                at.runs[member] += 1;
                match is_assembled {
                    true => self.gather_run(&mut at.gathered, family, member, &run),
                    false => self.write_run(family, &run, room, parts),
                }
            }
        }
        if is_assembled {
            self.write_gathered(family, &mut at.gathered, room, parts);
        }
        true
    }

    /// Samples that each are a Metric.
    fn write_run(&self, family: usize, run: &PickedRun, room: &mut u64, parts: &mut [Vec<u8>]) {
        let Some(samples) = Samples::of(&self.view, run, Some(self.oldest)) else { return };
        let (lines, slots) = (self.lines.run(run.target, run.chunk), self.selection.slots_of(&self.view, run));
        let beside = &self.view.targets[run.target as usize].target.beside;
        for (slot, value) in samples.of_slots(slots).take(usize::try_from(*room).unwrap_or(usize::MAX)) {
            let own = run.chunk * CHUNK_SLOTS as u32 + u32::from(slot);
            write_metric(&mut parts[TYPED], |out| {
                lines.write_label_fields(out, slot, None);
                let kind = self.families[family].kind;
                write_float(out, kind, value, beside.exemplar_of(own), beside.start_of(own));
                lines.write_stamp_field(out, run.chunk, slot);
            });
            *room -= 1;
        }
        for (slot, sample) in samples.histograms_of(slots).take(usize::try_from(*room).unwrap_or(usize::MAX)) {
            let start = beside.start_of(run.chunk * CHUNK_SLOTS as u32 + u32::from(slot));
            write_metric(&mut parts[part_of(sample)], |out| {
                lines.write_label_fields(out, slot, None);
                lines.write_stamp_field(out, run.chunk, slot);
                write_histogram(out, sample, std::iter::empty(), start);
            });
            *room -= 1;
        }
    }

    fn gather_run(&self, gathered: &mut Gathered, family: usize, member: usize, run: &PickedRun) {
        let Some(samples) = Samples::of(&self.view, run, Some(self.oldest)) else { return };
        let family = &self.families[family];
        let part = Gathered::part_of(family, &self.metrics[family.members[member]].name);
        let chunk = self.view.targets[run.target as usize].target.layout.chunks()[run.chunk as usize].chunk();
        let slots = self.selection.slots_of(&self.view, run);
        for (slot, value) in samples.of_slots(slots) {
            gathered.add_slot(&part, member, (run, chunk, slot), value);
        }
        for (slot, _) in samples.histograms_of(slots) {
            gathered.add_native(member, (run, chunk, slot));
        }
    }

    /// The gateway's own series: facts, then its metrics.
    fn write_rest(&self, family: usize, gathered: &mut Gathered, room: &mut u64, parts: &mut [Vec<u8>]) {
        let Family { kind, members, .. } = &self.families[family];
        for metric in members {
            let facts = self.metrics[*metric].rows.map_or(&[][..], |rows| &self.selection.names[rows].facts);
            facts.iter().for_each(|fact| self.write_fact(*kind, *fact, room, parts));
        }
        for (member, metric) in members.iter().enumerate() {
            let part = Gathered::part_of(&self.families[family], &self.metrics[*metric].name);
            for (number, (labels, value)) in self.metrics[*metric].own.series.iter().enumerate() {
                gathered.add_own(&part, member, (*metric, number), labels, *value);
            }
        }
        self.write_gathered(family, gathered, room, parts);
    }

    fn write_fact(&self, kind: MetricType, fact: FactRow, room: &mut u64, parts: &mut [Vec<u8>]) {
        if *room > 0 && is_fact_shown(&self.view, fact, Some(self.oldest)) {
            let (value, at) = fact_value(&self.view, fact);
            write_metric(&mut parts[TYPED], |out| {
                self.lines.write_fact_labels(out, fact);
                write_float(out, kind, value, None, None);
                self.lines.style().write_stamp(out, at);
            });
            *room -= 1;
        }
    }

    /// What was gathered, label set by label set.
    fn write_gathered(&self, family: usize, gathered: &mut Gathered, room: &mut u64, parts: &mut [Vec<u8>]) {
        gathered.sort();
        for set in gathered.sets() {
            if *room == 0 {
                break;
            }
            *room = room.saturating_sub(set.len() as u64);
            self.write_set(family, set, parts);
        }
        gathered.clear();
    }

    /// The samples of one label set, in the order of their roles.
    fn write_set(&self, family: usize, set: &[Sample], parts: &mut [Vec<u8>]) {
        let kind = self.families[family].kind;
        if !is_assembled(kind) {
            return set.iter().for_each(|sample| self.write_alone(kind, sample, &mut parts[TYPED]));
        }
        let (natives, floats) = set.split_at(set.partition_point(|sample| sample.role == Role::Native));
        let others = floats.partition_point(|sample| sample.role != Role::Other);
        let assembled =
            Assembled::of(kind, &floats[..others]).filter(|_| self.is_of_one_time(&set[..natives.len() + others]));
        let loose = if assembled.is_some() { &floats[others..] } else { floats };
        match (natives.first(), assembled) {
            (Some(native), Some(assembled)) => self.write_both(kind, native, &assembled, parts),
            (Some(native), None) => self.write_native(native, None, parts),
            (None, Some(assembled)) => self.write_assembled(kind, &assembled, &mut parts[TYPED]),
            (None, None) => {}
        }
        for sample in loose {
            self.write_alone(MetricType::Unknown, sample, &mut parts[LOOSE + sample.member]);
        }
    }

    /// A Metric has one timestamp, so series that bring several cannot be one.
    fn is_of_one_time(&self, set: &[Sample]) -> bool {
        let stamp = |sample: &Sample| match sample.source {
            Source::Slot { target, .. } => Some(self.view.targets[target as usize].target.timestamp_of(sample.slot()?)),
            Source::Own { .. } => None,
        };
        !self.lines.style().has_stamps || set.windows(2).all(|pair| stamp(&pair[0]) == stamp(&pair[1]))
    }

    fn write_both(&self, kind: MetricType, native: &Sample, assembled: &Assembled<'_>, parts: &mut [Vec<u8>]) {
        if histogram_of(&self.view, native).is_some_and(|(sample, _)| sample.histogram.has_custom_buckets()) {
            // The same buckets once more: the classic series say them already.
            self.left_out.add(1);
            return self.write_assembled(kind, assembled, &mut parts[TYPED]);
        }
        self.write_native(native, Some(assembled), parts);
    }

    fn write_native(&self, native: &Sample, assembled: Option<&Assembled<'_>>, parts: &mut [Vec<u8>]) {
        let Some((sample, start)) = histogram_of(&self.view, native) else { return };
        self.write_labelled(native, &mut parts[part_of(sample)], |out, stamp| {
            stamp(out);
            write_histogram(
                out,
                sample,
                assembled.into_iter().flat_map(|assembled| assembled.classic(&self.view)),
                start,
            );
        });
    }

    fn write_assembled(&self, kind: MetricType, assembled: &Assembled<'_>, out: &mut Vec<u8>) {
        let (view, count, sum) = (&self.view, assembled.count.value, assembled.sum.value);
        let start = assembled.count.start(view);
        self.write_labelled(assembled.count, out, |out, stamp| {
            if kind == MetricType::Summary {
                let quantiles = assembled.bounds.iter().map(|sample| (sample.bound, sample.value));
                write_summary(out, count, sum, quantiles, start);
                return stamp(out);
            }
            stamp(out);
            write_classic_histogram(out, count, sum, assembled.classic(view), start);
        });
    }

    /// A sample as a Metric of its own, all its labels shown.
    fn write_alone(&self, kind: MetricType, sample: &Sample, out: &mut Vec<u8>) {
        let alone = sample.alone();
        let (exemplar, start) = (alone.exemplar(&self.view), alone.start(&self.view));
        self.write_labelled(&alone, out, |out, stamp| {
            write_float(out, kind, alone.value, exemplar, start);
            stamp(out);
        });
    }

    /// A Metric with the labels of `sample` but its bound; `write` appends the value and, where it belongs, the timestamp.
    fn write_labelled(
        &self,
        sample: &Sample,
        out: &mut Vec<u8>,
        write: impl FnOnce(&mut Vec<u8>, &dyn Fn(&mut Vec<u8>)),
    ) {
        match sample.source {
            Source::Slot { target, chunk, slot } => {
                let lines = self.lines.run(target, chunk);
                write_metric(out, |out| {
                    lines.write_label_fields(out, slot, sample.bound_pair);
                    write(out, &|out| lines.write_stamp_field(out, chunk, slot));
                });
            }
            Source::Own { metric, number } => {
                let (labels, _) = &self.metrics[metric].own.series[number];
                let labels: Vec<(&str, &str)> = labels.iter().collect();
                write_metric(out, |out| {
                    self.lines.style().write_labels(out, &labels, &Labels::empty());
                    write(out, &|_| {});
                });
            }
        }
    }
}

impl Families for TypedMessages {
    type Cursor = Place;

    fn weights(&self) -> Vec<usize> {
        let series = |metric: &usize| {
            let metric = &self.metrics[*metric];
            let rows = metric.rows.map(|rows| &self.selection.names[rows]);
            let pushed =
                rows.map_or(0, |rows| rows.runs.iter().map(PickedRun::count).sum::<usize>() + rows.facts.len());
            pushed + metric.own.series.len()
        };
        self.families.iter().map(|family| family.members.iter().map(series).sum()).collect()
    }

    fn heads(&self, family: usize) -> Vec<Vec<u8>> {
        let Family { name, kind, help, unit, members } = &self.families[family];
        let head = |name: &str, kind: MetricType, unit: &str| {
            let (name, mut head) = (escape_metric_name(name, self.lines.style().escaping), Vec::new());
            write_family_head(&mut head, &name, help, kind, unit);
            head
        };
        let mut heads = vec![head(name, *kind, unit)];
        heads.extend(HISTOGRAMS.iter().chain(&HISTOGRAMS).map(|kind| head(name, *kind, unit)));
        heads.extend(members.iter().map(|metric| head(&self.metrics[*metric].name, MetricType::Unknown, "")));
        heads
    }

    fn write_next(&self, family: usize, at: &mut Place, room: &mut u64, parts: &mut [Vec<u8>]) -> bool {
        at.runs.resize(self.families[family].members.len(), 0);
        if *room == 0 || at.is_past_runs {
            return false;
        }
        if !self.write_target(family, at, room, parts) {
            at.is_past_runs = true;
            self.write_rest(family, &mut at.gathered, room, parts);
        }
        true
    }
}

/// Whether a family of this type has several series to a Metric.
fn is_assembled(kind: MetricType) -> bool {
    matches!(kind, MetricType::Histogram | MetricType::GaugeHistogram | MetricType::Summary)
}

/// The series of one label set that are a whole classic histogram or summary.
struct Assembled<'a> {
    bounds: &'a [Sample],
    count: &'a Sample,
    sum: &'a Sample,
}

impl<'a> Assembled<'a> {
    /// From the floats of a label set, in the order of their roles; `None` where a reader would make other series of them.
    fn of(kind: MetricType, floats: &'a [Sample]) -> Option<Assembled<'a>> {
        let [bounds @ .., count, sum] = floats else { return None };
        let is_whole = bounds.iter().all(|sample| sample.role == Role::Bound)
            && (count.role, sum.role) == (Role::Count, Role::Sum)
            && bounds.windows(2).all(|pair| pair[0].bound < pair[1].bound);
        let is_good = match kind {
            MetricType::Summary => is_count(count.value),
            _ => bounds.last().is_some_and(|last| last.bound == f64::INFINITY),
        };
        (is_whole && is_good).then_some(Assembled { bounds, count, sum })
    }

    fn classic(&self, view: &'a SiteView) -> impl Iterator<Item = ClassicBucket<'a>> + use<'a> {
        self.bounds.iter().map(|sample| ClassicBucket {
            upper_bound: sample.bound,
            cumulative: sample.value,
            exemplar: sample.exemplar(view),
        })
    }
}

/// The histogram of a gathered sample, and when it began.
fn histogram_of<'a>(view: &'a SiteView, sample: &Sample) -> Option<(&'a HistogramSample, Option<Timestamp>)> {
    let Source::Slot { target, .. } = sample.source else { return None };
    let histogram = view.targets[target as usize].target.beside.histogram_of(sample.slot()?)?;
    Some((histogram, sample.start(view)))
}

/// Where a native histogram stands.
fn part_of(sample: &HistogramSample) -> usize {
    let is_gauge = sample.histogram.reset_hint == ResetHint::Gauge;
    usize::from(is_gauge) + if sample.histogram.has_custom_buckets() { CUSTOM } else { NATIVE }
}

fn write_histogram<'a>(
    out: &mut Vec<u8>,
    sample: &HistogramSample,
    buckets: impl Iterator<Item = ClassicBucket<'a>>,
    start: Option<Timestamp>,
) {
    match ClassicHistogram::of(sample) {
        Some(ClassicHistogram { count, sum, buckets }) => {
            write_classic_histogram(out, count, sum, buckets.into_iter(), start);
        }
        None => write_native_histogram(out, sample, buckets, start),
    }
}

fn write_float(out: &mut Vec<u8>, kind: MetricType, value: f64, exemplar: Option<&Exemplar>, start: Option<Timestamp>) {
    match kind {
        MetricType::Counter => write_counter(out, value, exemplar, start),
        MetricType::Gauge | MetricType::Info | MetricType::StateSet => write_gauge(out, value),
        _ => write_untyped(out, value),
    }
}
