//! Which series have a history, and how long.
//!
//! Invariant: what a [`Keep`] asks for is kept at least that long; times are rounded up to one of a few, for each needs a strip of its
//! own. A series that several name is kept as long as the longest says.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::model::{Labels, LabelsBuilder, METRIC_NAME, MatchOp, Matcher};
use crate::snapshot::CHUNK_SLOTS;
use crate::store::facts::SCRAPE_FAMILIES;
use crate::store::layout::IndexedChunk;
use crate::store::pick::Unsaid;
use crate::store::select::{Conditions, Filter, Scope};

/// Series that someone will ask for, and how far back.
#[derive(Clone, Debug, PartialEq)]
pub struct Keep {
    /// All must hold.
    pub matchers: Vec<Matcher>,
    /// How far back from now. Zero: the newest sample and the one before it.
    pub duration: Duration,
    /// Of recorded series only.
    pub is_of_recorded: bool,
}

const MINUTE_MS: i64 = 60_000;
/// Times that are kept are whole minutes with so many significant binary digits: each other time is another strip.
const DIGITS: u32 = 4;

/// The time that is kept for one that is asked for, in milliseconds.
fn rounded(duration: Duration) -> i64 {
    let asked = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 2).min(i64::MAX / 4);
    let minutes = (asked + MINUTE_MS - 1) / MINUTE_MS;
    let unit = 1 << (i64::BITS - minutes.leading_zeros()).saturating_sub(DIGITS);
    (minutes + unit - 1) / unit * unit * MINUTE_MS
}

/// Rules ask for the same series again and again: of each selector the longest, in a fixed order.
fn longest_of_each(keeps: Vec<Keep>) -> Vec<Keep> {
    let mut longest: BTreeMap<(String, bool), Keep> = BTreeMap::new();
    for keep in keeps {
        let key = (format!("{:?}", keep.matchers), keep.is_of_recorded);
        let known = longest.entry(key).or_insert_with(|| keep.clone());
        known.duration = known.duration.max(keep.duration);
    }
    longest.into_values().collect()
}

/// All of them, made ready.
#[derive(Debug, Default)]
pub(in crate::store) struct Keeper {
    keeps: Vec<Keep>,
    /// Numbers of those that want one metric name.
    by_name: HashMap<String, Vec<u16>>,
    /// The others.
    others: Vec<u16>,
}

/// In place of a time.
const NOT_KEPT: i64 = -1;

/// A chunk's slots that are kept, by the time; ascending.
pub(super) type KeptSlots = BTreeMap<i64, Vec<u8>>;

impl Keeper {
    pub(in crate::store) fn new(keeps: Vec<Keep>) -> Keeper {
        let keeps = longest_of_each(keeps);
        let mut keeper = Keeper::default();
        for (number, keep) in keeps.iter().enumerate().take(usize::from(u16::MAX)) {
            let name = keep.matchers.iter().find(|one| one.name == METRIC_NAME && one.op == MatchOp::Equal);
            match name {
                Some(name) => keeper.by_name.entry(name.value.clone()).or_default().push(number as u16),
                None => keeper.others.push(number as u16),
            }
        }
        keeper.keeps = keeps;
        keeper
    }

    pub(in crate::store) fn keeps(&self) -> &[Keep] {
        &self.keeps
    }

    /// How far back scraped and recorded series are kept at most.
    pub(in crate::store) fn reach(&self) -> (Duration, Duration) {
        let longest = |keeps: &mut dyn Iterator<Item = &Keep>| {
            let longest = keeps.map(|keep| keep.duration).max().unwrap_or_default();
            Duration::from_millis(rounded(longest).unsigned_abs())
        };
        let scraped = longest(&mut self.keeps.iter().filter(|keep| !keep.is_of_recorded));
        (scraped, longest(&mut self.keeps.iter()))
    }

    /// What may name series of this metric name.
    fn of_name(&self, name: &str, is_recorded: bool) -> impl Iterator<Item = u16> {
        let own = self.by_name.get(name).map_or(&[][..], Vec::as_slice);
        let accepts = move |number: &&u16| {
            let keep = &self.keeps[usize::from(**number)];
            let mut names = keep.matchers.iter().filter(|one| one.name == METRIC_NAME);
            (is_recorded || !keep.is_of_recorded) && names.all(|one| one.matches(name))
        };
        own.iter().chain(&self.others).filter(accepts).copied()
    }

    /// The slots of a chunk that are kept.
    pub(super) fn slots(&self, chunk: &IndexedChunk, unsaid: &Unsaid<'_>) -> KeptSlots {
        let mut longest = [NOT_KEPT; CHUNK_SLOTS];
        let mut filters: HashMap<u16, Filter> = HashMap::new();
        for (name, run) in chunk.names().iter().zip(chunk.runs()) {
            for number in self.of_name(name, unsaid.policy.is_none()) {
                let filter = filters.entry(number).or_insert_with(|| self.filter(number, chunk, unsaid));
                let keep_ms = rounded(self.keeps[usize::from(number)].duration);
                for slot in chunk.slots_of(run).iter().filter(|slot| filter.passes(chunk, usize::from(**slot))) {
                    let longest = &mut longest[usize::from(*slot)];
                    *longest = keep_ms.max(*longest);
                }
            }
        }
        let mut kept = KeptSlots::new();
        for (slot, keep_ms) in longest.into_iter().enumerate().filter(|(_, keep_ms)| *keep_ms != NOT_KEPT) {
            kept.entry(keep_ms).or_default().push(slot as u8);
        }
        kept
    }

    fn filter(&self, number: u16, chunk: &IndexedChunk, unsaid: &Unsaid<'_>) -> Filter {
        let conditions = Conditions::new(&self.keeps[usize::from(number)].matchers);
        let nothing = Labels::empty();
        let inventory = unsaid.policy.map_or(&nothing, |policy| &policy.labels);
        if unsaid.policy.is_some() && !conditions.accept_cluster(inventory) {
            return Filter::Nothing;
        }
        let matchers = conditions.labels_of(unsaid.policy.is_none());
        let scope = Scope { target: unsaid.target, inventory };
        Filter::new(chunk, matchers, &scope.fallbacks(matchers), &scope)
    }

    /// How long a series with these labels is kept, if it is.
    pub(super) fn keeps_series(&self, labels: &Labels, is_recorded: bool) -> Option<i64> {
        let holds = |one: &Matcher| one.matches(labels.get(&one.name).unwrap_or_default());
        let named = self.of_name(labels.metric_name(), is_recorded).map(|number| &self.keeps[usize::from(number)]);
        named.filter(|keep| keep.matchers.iter().all(holds)).map(|keep| rounded(keep.duration)).max()
    }

    /// The series of a target's scrapes that are kept: their number in [`SCRAPE_FAMILIES`] and the time.
    pub(super) fn facts(&self, unsaid: &Unsaid<'_>) -> Vec<(u8, i64)> {
        let Some(policy) = unsaid.policy else { return Vec::new() };
        let mut builder = LabelsBuilder::from_labels(&policy.labels);
        unsaid.target.iter().for_each(|(name, value)| {
            builder.set(name, value);
        });
        let mut labels = |name: &str| builder.set(METRIC_NAME, name).build();
        let families = SCRAPE_FAMILIES.iter().enumerate();
        families
            .filter_map(|(number, family)| Some((number as u8, self.keeps_series(&labels(family.name), false)?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rounded_up_to_a_few() {
        let seconds = [0, 1, 300, 301, 86_400, 86_401, 7 * 86_400];
        let kept: Vec<i64> = seconds.iter().map(|asked| rounded(Duration::from_secs(*asked)) / 1000).collect();
        assert_eq!(kept, [0, 60, 300, 360, 92_160, 92_160, 614_400]);
    }
}
