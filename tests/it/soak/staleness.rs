//! Whether Prometheus has the series that the exporters have, and no others.
//!
//! A series that a page lacks is pushed within a tick and gone from Prometheus at its next scrape. A series that a page has is
//! in Prometheus as soon; one that was marked as ended there with its second sample, for the first may be older than the
//! mark. A restart that concerns the series stops both clocks until its samples can have come again.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use super::order::Restart;
use crate::site::prometheus::LabelSet;

/// A series by its cluster and its label `id`.
pub(super) type Marker = (String, String);

/// A page as it was served.
pub(super) struct Scraped {
    pub(super) at: Instant,
    pub(super) cluster: String,
    /// Which of the cluster's pages.
    pub(super) page: &'static str,
    pub(super) ids: Vec<String>,
}

/// How long a target stays that only the run before a collector's restart has scraped: until silence ends it.
const FORMER_RUN: Duration = Duration::from_secs(60);

/// What the newest page said of a series.
#[derive(Clone, Copy)]
struct Told {
    page: &'static str,
    is_there: bool,
    since: Instant,
    /// Its target is not there any more.
    is_taken_away: bool,
}

/// The series and what Prometheus has of them.
pub(super) struct Vanishings {
    pace: Duration,
    /// When Prometheus began.
    start: Instant,
    told: HashMap<Marker, Told>,
    ended: u64,
    came: u64,
    looks: u64,
    /// How long an ended series was still there, without a restart between.
    longest: Duration,
    faults: Vec<String>,
}

impl Vanishings {
    pub(super) fn new(pace: Duration) -> Vanishings {
        Vanishings {
            pace,
            start: Instant::now(),
            told: HashMap::new(),
            ended: 0,
            came: 0,
            looks: 0,
            longest: Duration::ZERO,
            faults: Vec::new(),
        }
    }

    /// From the scrape that lacks a series to the query without it: a tick, Prometheus's own interval, and what a busy machine takes.
    fn end_allowed(&self) -> Duration {
        2 * self.pace + self.slack()
    }

    /// A sample more.
    fn begin_allowed(&self) -> Duration {
        4 * self.pace + self.slack()
    }

    fn slack(&self) -> Duration {
        Duration::from_millis(2000) + self.pace / 4
    }

    /// Follows pages.
    pub(super) fn scraped(&mut self, pages: Vec<Scraped>) {
        for page in pages {
            let ids: HashMap<&str, ()> = page.ids.iter().map(|id| (id.as_str(), ())).collect();
            for ((cluster, id), told) in &mut self.told {
                if *cluster == page.cluster && told.page == page.page && told.is_there && !ids.contains_key(id.as_str())
                {
                    (told.is_there, told.since) = (false, page.at);
                    self.ended += 1;
                }
            }
            for id in &page.ids {
                let fresh = Told { page: page.page, is_there: true, since: page.at, is_taken_away: false };
                let told =
                    self.told.entry((page.cluster.clone(), id.clone())).or_insert(Told { is_there: false, ..fresh });
                if !told.is_there {
                    *told = fresh;
                    self.came += 1;
                }
            }
        }
    }

    /// The target with this page is taken away, and the collector knows it at `at`.
    pub(super) fn taken_away(&mut self, at: Instant, cluster: &str, page: &'static str) {
        self.scraped(vec![Scraped { at, cluster: cluster.to_owned(), page, ids: Vec::new() }]);
        let taken = self.told.iter_mut().filter(|((own, _), told)| own == cluster && told.page == page);
        taken.for_each(|(_, told)| told.is_taken_away = true);
    }

    /// Compares with what a query for all of them found at `now`.
    pub(super) fn look(&mut self, now: Instant, found: impl Iterator<Item = LabelSet>, restarts: &[Restart]) {
        self.looks += 1;
        let found: HashMap<Marker, ()> =
            found.map(|labels| ((labels["cluster"].clone(), labels["id"].clone()), ())).collect();
        let (end_allowed, begin_allowed) = (self.end_allowed(), self.begin_allowed());
        for (marker, told) in &self.told {
            let is_found = found.contains_key(marker);
            if is_found == told.is_there {
                continue;
            }
            let restarted = restarted(restarts, &marker.0, now);
            let pause = if told.is_taken_away { FORMER_RUN } else { 4 * self.pace };
            let settled = restarted.map_or(self.start, |at| at + pause).max(told.since);
            let late = now.saturating_duration_since(settled);
            if is_found && restarted.is_none_or(|at| at < told.since) {
                self.longest = self.longest.max(now.saturating_duration_since(told.since));
            }
            if is_found && late > end_allowed {
                self.faults.push(format!("{marker:?} ended {late:?} ago and is still in Prometheus"));
            }
            if !is_found && late > begin_allowed {
                self.faults.push(format!("{marker:?} is exposed since {late:?} and not in Prometheus"));
            }
        }
        let unknown = found.keys().filter(|marker| !self.told.contains_key(*marker));
        self.faults.extend(unknown.map(|marker| format!("{marker:?} was never exposed")));
    }

    pub(super) fn faults(&self) -> Vec<String> {
        self.faults.clone()
    }

    pub(super) fn table(&self) -> Vec<(&'static str, String)> {
        vec![
            ("looks at the marked series in Prometheus", self.looks.to_string()),
            ("marked series that came", self.came.to_string()),
            ("marked series that ended", self.ended.to_string()),
            ("longest that one was seen after the scrape without it", format!("{:.1?}", self.longest)),
            ("  of which scrape, push and Prometheus's scrape may take", format!("{:.1?}", 2 * self.pace)),
        ]
    }
}

/// When the last restart that concerns a cluster was over.
fn restarted(restarts: &[Restart], cluster: &str, now: Instant) -> Option<Instant> {
    let last = restarts.iter().rev().find(|restart| restart.concerns(cluster))?;
    now.checked_sub(SystemTime::now().duration_since(last.to).unwrap_or_default())
}
