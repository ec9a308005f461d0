//! Every served page held against what arrived.

use std::collections::BTreeMap;
use std::fmt;

use super::exporter::Served;
use super::receiver::{Arrived, STALE, Series};

/// What became of all series of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict {
    /// Pages that exporters served, and of these, pages that did not arrive.
    pub(crate) served: u64,
    pub(crate) missing: u64,
    /// Pages missing beyond one for each kill of what scraped them.
    pub(crate) unexplained: u64,
    /// Samples that came twice though their request was answered.
    pub(crate) repeated: u64,
    /// Samples whose first arrival was after a later one's.
    pub(crate) out_of_order: u64,
    /// Two values of one series at one time.
    pub(crate) conflicting: u64,
    /// Refused scrapes without a stale marker in their place, unless their scraper was killed around it.
    pub(crate) not_ended: u64,
    /// Pages of which some series arrived and others did not.
    pub(crate) torn: u64,
    /// Samples in all.
    pub(crate) samples: u64,
    /// The first few details of what is wrong.
    pub(crate) details: Vec<String>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = [
            ("pages served", self.served),
            ("samples received", self.samples),
            ("pages missing", self.missing),
            ("  beyond one a kill of their scraper", self.unexplained),
            ("pages of which only a part arrived", self.torn),
            ("samples again after their answer", self.repeated),
            ("samples out of order", self.out_of_order),
            ("two values at one time", self.conflicting),
            ("failed scrapes without a stale marker", self.not_ended),
        ];
        rows.iter().try_for_each(|(what, count)| writeln!(f, "{what:<44} {count}"))
    }
}

/// Compares. `kills` says how often what scrapes a cluster was killed.
pub(super) fn judge(
    served: &BTreeMap<String, Served>,
    samples: &BTreeMap<Series, Vec<Arrived>>,
    kills: &BTreeMap<String, u64>,
) -> Verdict {
    let mut verdict = Verdict::default();
    for (exporter, served) in served {
        let (cluster, _) = exporter.split_once('/').expect("CLUSTER/INSTANCE");
        let own: Vec<&Series> = samples.keys().filter(|labels| is_of(labels, exporter)).collect();
        let counter = own.iter().find(|labels| labels["__name__"] == "loss_scrapes_total");
        let first = counter.map_or_else(Vec::new, |labels| verdict.first_arrivals(exporter, &samples[*labels]));
        verdict.samples += own.iter().map(|labels| samples[*labels].len() as u64).sum::<u64>();
        let allowed = kills.get(cluster).copied().unwrap_or_default();
        verdict.compare(exporter, served, &first, allowed);
        for labels in own.iter().filter(|labels| labels["__name__"] != "loss_scrapes_total") {
            let part = verdict.first_arrivals(exporter, &samples[*labels]);
            let torn = values(&part).filter(|(_, value)| !values(&first).any(|(_, own)| own == *value)).count();
            let torn = torn + values(&first).filter(|(_, value)| !values(&part).any(|(_, own)| own == *value)).count();
            verdict.note(torn, || format!("{exporter}: {torn} pages torn at {labels:?}"));
            verdict.torn += torn as u64;
        }
    }
    verdict
}

/// The newest value of an exporter that arrived.
pub(super) fn newest(exporter: &str, samples: &BTreeMap<Series, Vec<Arrived>>) -> u64 {
    let own = samples.iter().filter(|(labels, _)| is_of(labels, exporter));
    own.flat_map(|(_, arrived)| values(arrived)).map(|(_, value)| value).max().unwrap_or_default()
}

/// Whether a series was on an exporter's page.
fn is_of(labels: &Series, exporter: &str) -> bool {
    let text = |name| labels.get(name).map(String::as_str).unwrap_or_default();
    text("__name__").starts_with("loss_") && exporter == format!("{}/{}", text("cluster"), text("instance"))
}

/// Samples that are no stale markers, with their times.
fn values(first: &[Arrived]) -> impl Iterator<Item = (i64, u64)> {
    first
        .iter()
        .filter(|sample| sample.bits != STALE)
        .map(|sample| (sample.timestamp, f64::from_bits(sample.bits) as u64))
}

impl Verdict {
    /// Whether nothing happened that should not.
    pub(crate) fn is_good(&self) -> bool {
        [self.unexplained, self.torn, self.out_of_order, self.conflicting, self.not_ended] == [0; 5]
    }

    /// Adds another run's counts.
    pub(crate) fn add(&mut self, other: &Verdict) {
        self.served += other.served;
        self.samples += other.samples;
        self.missing += other.missing;
        self.unexplained += other.unexplained;
        self.torn += other.torn;
        self.repeated += other.repeated;
        self.out_of_order += other.out_of_order;
        self.conflicting += other.conflicting;
        self.not_ended += other.not_ended;
    }

    fn note(&mut self, count: usize, detail: impl FnOnce() -> String) {
        if count > 0 && self.details.len() < 40 {
            self.details.push(detail());
        }
    }

    /// Each sample once, as it came first; counts what should not be.
    fn first_arrivals(&mut self, exporter: &str, arrived: &[Arrived]) -> Vec<Arrived> {
        let mut seen: BTreeMap<i64, Arrived> = BTreeMap::new();
        let (mut newest, mut first) = (i64::MIN, Vec::new());
        for sample in arrived {
            if let Some(known) = seen.get_mut(&sample.timestamp) {
                if known.bits != sample.bits {
                    self.conflicting += 1;
                    self.note(1, || format!("{exporter}: {known:?} and {sample:?}"));
                } else if known.is_answered {
                    self.repeated += 1;
                }
                known.is_answered |= sample.is_answered;
                continue;
            }
            if sample.timestamp < newest {
                self.out_of_order += 1;
                self.note(1, || format!("{exporter}: {sample:?} after one of {newest}"));
            }
            newest = newest.max(sample.timestamp);
            seen.insert(sample.timestamp, *sample);
            first.push(*sample);
        }
        first.sort_by_key(|sample| sample.timestamp);
        first
    }

    fn compare(&mut self, exporter: &str, served: &Served, first: &[Arrived], allowed: u64) {
        let there: BTreeMap<u64, i64> = values(first).map(|(timestamp, value)| (value, timestamp)).collect();
        let missing: Vec<u64> = (1..=served.last).filter(|value| !there.contains_key(value)).collect();
        self.served += served.last;
        self.missing += missing.len() as u64;
        let beyond = (missing.len() as u64).saturating_sub(allowed);
        self.unexplained += beyond;
        self.note(missing.len(), || {
            format!("{exporter}: of {} pages missing {missing:?}, {allowed} kills", served.last)
        });
        let mut not_ended = Vec::new();
        for value in &served.refused_after {
            let (Some(before), Some(after)) = (there.get(value), there.get(&(value + 1))) else { continue };
            let ends = first.iter().any(|sample| sample.bits == STALE && (*before..*after).contains(&sample.timestamp));
            if !ends {
                not_ended.push(*value);
            }
        }
        // A scraper that was killed before it told of a failed scrape tells nothing of it.
        let beyond = (not_ended.len() as u64).saturating_sub(allowed);
        self.not_ended += beyond;
        self.note(beyond as usize, || format!("{exporter}: no stale marker after {not_ended:?}, {allowed} kills"));
    }
}
