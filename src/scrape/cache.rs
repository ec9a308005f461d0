//! One target's memory from scrape to scrape: from the bytes of a page to a [`Scrape`].
//!
//! A page is read in one pass and takes effect whole or not at all, as in Prometheus: a fault anywhere in it ends every
//! series of the target. A series that the page before had costs a comparison of its key bytes and no allocation; only a
//! new key is read, relabelled and given a slot. What the counts of a [`Reading`] mean stands with Prometheus's
//! `scrapeLoop.append`, which counts dropped and refused samples in ways of its own; they are the same here.
//!
//! | sample | scraped | post relabel | added, if its key is new |
//! |---|---|---|---|
//! | dropped by relabelling | yes | no | no |
//! | duplicate, out of order, too far ahead | yes | yes | no, but for a second spelling of a series of this page |
//! | over `sample_limit` (the scrape fails) | yes | yes | no |
//! | taken | yes | yes | yes |

use std::sync::Arc;
use std::time::Duration;

use super::error::PageError;
use super::families::Families;
use super::keys::{Fate, Keys};
use super::rules::Rules;
use super::series::{Placed, Series, SeriesBudget};
use crate::exposition::{Entry, Format, SampleLine, parser};
use crate::model::{Exemplar, Labels, LabelsBuilder, METRIC_NAME, Timestamp};
use crate::snapshot::{Beside, Outcome, Report, Schema, Scrape};

/// How far ahead of the clock a sample's own timestamp may be.
const AHEAD_MAX: Duration = Duration::from_secs(600);

/// What a page was, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Samples on the page, up to the fault if it has one.
    pub scraped: u64,
    /// Those that metric relabelling left.
    pub post_relabel: u64,
    /// New series.
    pub added: u64,
    /// Samples dropped because their series had another value at the same time.
    pub duplicates: u64,
    /// Samples dropped because their series had a newer one.
    pub out_of_order: u64,
    /// Samples dropped because they are more than ten minutes ahead.
    pub out_of_bounds: u64,
    /// Samples dropped because the collector has no room for their series (too many, or too long labels).
    pub no_room: u64,
    /// Exemplars dropped because their labels are longer than allowed.
    pub bad_exemplars: u64,
}

/// Everything that is kept of one target's pages.
#[derive(Debug)]
pub struct PageCache {
    /// The target's own labels: what its series get.
    target: Arc<Labels>,
    /// The same with external labels: what identifies it in a snapshot.
    identity: Arc<Labels>,
    keys: Keys,
    families: Families,
    series: Series,
    exemplars: Vec<(u32, Exemplar)>,
    /// Of the newest good page: what a failed one does not change, unless its keys were too many.
    schema: Option<Arc<Schema>>,
    labels: LabelsBuilder,
}

/// When and how a scrape went, beside its page.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Its timestamp.
    pub started: Timestamp,
    /// How long it took.
    pub duration: Duration,
}

impl PageCache {
    /// An empty memory for the target with these labels; `identity` has the external labels too.
    pub fn new(target: Arc<Labels>, identity: Arc<Labels>, budget: Arc<SeriesBudget>) -> PageCache {
        PageCache {
            target,
            identity,
            keys: Keys::default(),
            families: Families::default(),
            series: Series::new(budget),
            exemplars: Vec::new(),
            schema: None,
            labels: LabelsBuilder::default(),
        }
    }

    /// Forgets what keys came to, because the job's rules changed. Series keep their slots.
    pub fn forget_keys(&mut self) {
        self.keys = Keys::default();
    }

    /// Takes over the target's own labels, which external labels may have hidden a change of.
    pub(super) fn set_target(&mut self, target: &Arc<Labels>) {
        if self.target != *target {
            self.target = target.clone();
            self.forget_keys();
        }
    }

    /// Forgets everything but who the target is, after a reading that broke off half-way.
    pub(super) fn reset(&mut self) {
        *self = PageCache::new(self.target.clone(), self.identity.clone(), self.series.budget().clone());
    }

    /// Series that have a sample.
    pub fn live(&self) -> usize {
        self.series.live()
    }

    /// Reads a page; on a fault every series of the target has ended, as [`PageCache::fail`] has it.
    pub fn read(
        &mut self,
        page: &[u8],
        format: Format,
        started: Timestamp,
        rules: &Rules,
    ) -> (Reading, Result<(), PageError>) {
        self.begin(format);
        let mut reader = Reader { cache: self, rules, started, samples: 0, reading: Reading::default() };
        let result = reader.read(page, format);
        let reading = reader.reading;
        match &result {
            // A page without a byte is good and has no series; as in Prometheus, known keys stay known.
            Ok(()) if page.is_empty() => self.abandon(rules, started),
            Ok(()) => self.settle(page, rules, started),
            Err(_) => self.fail(started, rules),
        }
        (reading, result)
    }

    /// Ends every series, because there was no page.
    pub fn fail(&mut self, started: Timestamp, rules: &Rules) {
        self.series.begin();
        self.exemplars.clear();
        self.abandon(rules, started);
    }

    fn abandon(&mut self, rules: &Rules, started: Timestamp) {
        self.families.abandon();
        let keeps_keys = self.keys.abandon();
        self.series.commit(rules, started, false);
        if !keeps_keys {
            self.forget_keys();
            self.series.free_all_ended();
            // Slots may have moved, those of series that their own timestamps keep alive among them.
            self.schema = Some(self.series.schema());
        }
    }

    fn begin(&mut self, format: Format) {
        self.keys.begin();
        self.families.begin(format);
        self.series.begin();
        self.exemplars.clear();
    }

    fn settle(&mut self, page: &[u8], rules: &Rules, started: Timestamp) {
        for (family, metadata) in self.families.settle(page) {
            self.series.set_metadata(&family, &metadata);
        }
        self.series.commit(rules, started, true);
        self.keys.settle();
        if let Some(moves) = self.series.free_ended() {
            self.keys.move_slots(&moves);
            self.exemplars.iter_mut().for_each(|(slot, _)| *slot = moves[*slot as usize].expect("it has a sample"));
        }
        // Lines stand in the page's order, and two spellings of a series have one slot.
        self.exemplars.sort_by_key(|(slot, _)| *slot);
        self.exemplars.dedup_by_key(|(slot, _)| *slot);
        self.schema = Some(self.series.schema());
    }

    /// The scrape that the last page made, or the failure to get one.
    pub fn scrape(&mut self, timing: Timing, outcome: Outcome, report: Report) -> Scrape {
        let schema = self.schema.get_or_insert_with(|| self.series.schema()).clone();
        let length = schema.slots().min(self.series.values().len());
        Scrape {
            target: self.identity.clone(),
            started: timing.started,
            duration: timing.duration,
            outcome,
            report,
            values: self.series.values()[..length].to_vec(),
            beside: Beside {
                timestamps: self.series.own_times(),
                exemplars: std::mem::take(&mut self.exemplars),
                ..Beside::default()
            },
            schema,
        }
    }

    /// The news that the target is gone; its series end at `ended`.
    pub fn gone(&mut self, ended: Timestamp, rules: &Rules) -> Scrape {
        self.fail(ended, rules);
        let timing = Timing { started: ended, duration: Duration::ZERO };
        self.scrape(timing, Outcome::Gone, Report::default())
    }
}

/// One page on its way in.
struct Reader<'c> {
    cache: &'c mut PageCache,
    rules: &'c Rules,
    started: Timestamp,
    /// Samples that count for `sample_limit`.
    samples: u64,
    reading: Reading,
}

impl Reader<'_> {
    fn read(&mut self, page: &[u8], format: Format) -> Result<(), PageError> {
        if page.is_empty() {
            return Ok(());
        }
        let mut parser = parser(format, page);
        loop {
            if self.cache.families.pass_over(&mut parser) {
                continue;
            }
            let from = parser.position();
            let entry = match self.cache.keys.remembered() {
                Some(line) => parser.next_remembering(line)?,
                None => parser.next()?,
            };
            let families = &mut self.cache.families;
            match entry {
                Some(Entry::Sample(sample)) => {
                    self.take(&sample)?;
                    continue;
                }
                Some(Entry::Type { family, kind }) => families.set_kind(&family, kind),
                Some(Entry::Help { family, help }) => families.set_help(&family, &help),
                Some(Entry::Unit { family, unit }) => families.set_unit(&family, unit),
                None => break,
            }
            families.note_line(from, &parser);
        }
        match self.rules.sample_limit {
            limit if limit > 0 && self.samples > limit => {
                Err(PageError::SampleLimit { samples: self.reading.post_relabel, limit })
            }
            _ => Ok(()),
        }
    }

    #[inline]
    fn take(&mut self, sample: &SampleLine<'_>) -> Result<(), PageError> {
        self.reading.scraped += 1;
        let known = if sample.is_remembered { Some(self.cache.keys.hit()) } else { self.cache.keys.find(sample.key) };
        let Some(key) = known else {
            return self.take_new(sample);
        };
        let is_first = self.cache.keys.see(key, sample.value_text, sample.value);
        let Fate::Slot(slot) = self.cache.keys.fate(key) else {
            return Ok(());
        };
        self.reading.post_relabel += 1;
        let time = sample.timestamp.filter(|_| self.rules.honor_timestamps);
        if !is_first && time.is_none() {
            self.reading.duplicates += 1;
        } else if self.is_within_limit() && !self.put(slot, sample, time) {
            self.cache.keys.forget(key);
        }
        Ok(())
    }

    /// A key that the pages before did not have.
    fn take_new(&mut self, sample: &SampleLine<'_>) -> Result<(), PageError> {
        let exposed = sample.pairs().find(|pair| pair.name.is_none()).map(|pair| pair.value.to_owned());
        let mut room = std::mem::take(&mut self.cache.labels);
        let series = self.rules.series(sample, &self.cache.target, &mut room);
        self.cache.labels = room;
        let Some(series) = series? else {
            let key = self.cache.keys.insert(sample.key, Fate::Dropped);
            self.cache.keys.see(key, sample.value_text, sample.value);
            return Ok(());
        };
        self.reading.post_relabel += 1;
        let time = sample.timestamp.filter(|_| self.rules.honor_timestamps);
        if !self.is_within_limit() || !self.is_within_bounds(time) {
            return Ok(());
        }
        let kept = series.get(METRIC_NAME).unwrap_or_default();
        let (family, metadata) = self.cache.families.of_series(&exposed.unwrap_or_default(), kept);
        let own = Series::own_labels(&series, &self.cache.target);
        let Some(slot) = self.cache.series.slot(own, family, &metadata) else {
            self.reading.no_room += 1;
            return Ok(());
        };
        if self.put(slot, sample, time) {
            self.reading.added += 1;
            let key = self.cache.keys.insert(sample.key, Fate::Slot(slot));
            self.cache.keys.see(key, sample.value_text, sample.value);
        }
        Ok(())
    }

    /// Counts a sample for `sample_limit`. Beyond it the page is only read on for its totals.
    fn is_within_limit(&mut self) -> bool {
        self.samples += 1;
        self.rules.sample_limit == 0 || self.samples <= self.rules.sample_limit
    }

    fn is_within_bounds(&mut self, time: Option<Timestamp>) -> bool {
        let is_within = time.is_none_or(|time| time <= self.started + AHEAD_MAX);
        self.reading.out_of_bounds += u64::from(!is_within);
        is_within
    }

    /// False where the sample was refused.
    #[inline]
    fn put(&mut self, slot: u32, sample: &SampleLine<'_>, time: Option<Timestamp>) -> bool {
        if time.is_some() && !self.is_within_bounds(time) {
            return false;
        }
        match self.cache.series.put(slot, sample.value, time, self.started) {
            Placed::Taken => {}
            Placed::Repeated => {
                self.reading.duplicates += 1;
                return true;
            }
            Placed::Duplicate => {
                self.reading.duplicates += 1;
                return false;
            }
            Placed::OutOfOrder => {
                self.reading.out_of_order += 1;
                return false;
            }
        }
        if let Some(exemplar) = sample.exemplar {
            match exemplar.read(&mut self.cache.labels) {
                Some(exemplar) => self.cache.exemplars.push((slot, exemplar)),
                None => self.reading.bad_exemplars += 1,
            }
        }
        true
    }
}
