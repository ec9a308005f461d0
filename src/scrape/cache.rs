//! One target's memory from scrape to scrape: from the bytes of a page to a [`Scrape`].
//!
//! A page is read in one pass and takes effect whole or not at all, as in Prometheus: a fault anywhere in it ends every
//! series of the target. A series that the page before had costs a comparison of its key bytes and no allocation; only a
//! new key is read, relabelled and given a slot. What the counts of a [`Reading`] mean stands in [`super::page_reader`].

use std::sync::Arc;
use std::time::Duration;

use super::error::PageError;
use super::families::Families;
use super::keys::Keys;
use super::page_reader::PageReader;
use super::rules::Rules;
use super::series::{Series, SeriesBudget};
use crate::exposition::Format;
use crate::model::{Exemplar, Labels, LabelsBuilder, Timestamp};
use crate::snapshot::{Beside, Outcome, Report, Schema, Scrape};

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
    /// Native histograms passed over because the job does not ask for them.
    pub histograms_left_out: u64,
    /// Classic histograms dropped because they could not be converted.
    pub histograms_unconverted: u64,
}

impl Reading {
    /// The same of a page that is refused whole: what it would have dropped depends on how far the pages before it were remembered.
    fn of_refused(self) -> Reading {
        let Reading { scraped, post_relabel, added, .. } = self;
        Reading { scraped, post_relabel, added, ..Reading::default() }
    }
}

/// Everything that is kept of one target's pages.
#[derive(Debug)]
pub struct PageCache {
    /// The target's own labels: what its series get.
    pub(super) target: Arc<Labels>,
    /// The same with external labels: what identifies it in a snapshot.
    identity: Arc<Labels>,
    pub(super) keys: Keys,
    pub(super) families: Families,
    pub(super) series: Series,
    /// Of this page, by slot in the page's order until it ends.
    pub(super) exemplars: Vec<(u32, Exemplar)>,
    pub(super) starts: Vec<(u32, Timestamp)>,
    /// Of the newest good page: what a failed one does not change, unless its keys were too many.
    schema: Option<Arc<Schema>>,
    pub(super) labels: LabelsBuilder,
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
            starts: Vec::new(),
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
        let (mut reading, result) = PageReader::new(self, rules, started).read(page, format);
        if result.is_err() {
            reading = reading.of_refused();
        }
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
        self.abandon(rules, started);
    }

    fn abandon(&mut self, rules: &Rules, started: Timestamp) {
        self.exemplars.clear();
        self.starts.clear();
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
        self.keys.begin(format);
        self.families.begin(format);
        self.series.begin();
        self.exemplars.clear();
        self.starts.clear();
    }

    fn settle(&mut self, page: &[u8], rules: &Rules, started: Timestamp) {
        for (family, metadata) in self.families.settle(page) {
            self.series.set_metadata(&family, &metadata);
        }
        self.series.commit(rules, started, true);
        self.keys.settle();
        if let Some(moves) = self.series.free_ended() {
            self.keys.move_slots(&moves);
            move_slots(&mut self.exemplars, &moves);
            move_slots(&mut self.starts, &moves);
        }
        sort(&mut self.exemplars);
        sort(&mut self.starts);
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
                histograms: self.series.histograms(),
                starts: self.starts.clone(),
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

fn move_slots<T>(entries: &mut [(u32, T)], moves: &[Option<u32>]) {
    for (slot, _) in entries {
        // A slot that has a sample is never freed.
        *slot = moves[*slot as usize].unwrap_or(*slot);
    }
}

/// Brings the entries of a page to the order of slots; of several for one slot the last one stays.
fn sort<T>(entries: &mut Vec<(u32, T)>) {
    if !entries.is_sorted_by(|(one, _), (other, _)| one < other) {
        entries.sort_by_key(|(slot, _)| *slot);
        entries.dedup_by(|later, earlier| {
            let is_same = later.0 == earlier.0;
            if is_same {
                std::mem::swap(later, earlier);
            }
            is_same
        });
    }
}
