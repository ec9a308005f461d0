//! Samples that Prometheus refused, and which restart explains each.
//!
//! While the gateway is away Prometheus marks every series as ended at the time of its failed scrape; the first sample after it may
//! be older than that mark, and a collector that starts again may be away long enough for the same. So of a series at most one
//! sample may be out of order for each restart that concerns it, soon after that restart. Every other one is a fault, as is any
//! duplicate and anything out of bounds.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::{Duration, SystemTime};

/// How long after a restart the first samples come.
const SOON: Duration = Duration::from_secs(30);

/// Who is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Victim {
    Gateway,
    Collector(usize),
    Both(usize),
}

impl Victim {
    pub(super) fn collector(self) -> Option<usize> {
        match self {
            Victim::Gateway => None,
            Victim::Collector(at) | Victim::Both(at) => Some(at),
        }
    }

    pub(super) fn is_gateway(self) -> bool {
        !matches!(self, Victim::Collector(_))
    }
}

/// One of them was away.
#[derive(Clone, Debug)]
pub(super) struct Restart {
    victim: Victim,
    is_killed: bool,
    /// The collector's cluster; `None` where only the gateway was away.
    cluster: Option<String>,
    pub(super) from: SystemTime,
    pub(super) to: SystemTime,
}

impl Restart {
    pub(super) fn begin(victim: Victim, is_killed: bool, names: &[String]) -> Restart {
        let (now, cluster) = (SystemTime::now(), victim.collector().map(|at| names[at].clone()));
        Restart { victim, is_killed, cluster, from: now, to: now }
    }

    pub(super) fn end(&mut self) {
        self.to = SystemTime::now();
    }

    /// Whether series of this cluster had to do with it.
    pub(super) fn concerns(&self, cluster: &str) -> bool {
        self.victim.is_gateway() || self.cluster.as_deref() == Some(cluster)
    }

    fn explains(&self, refusal: &Refusal) -> bool {
        self.concerns(&refusal.cluster) && self.from <= refusal.at && refusal.at <= self.to + SOON
    }

    fn kind(&self) -> &'static str {
        match (self.victim, self.is_killed) {
            (Victim::Gateway, true) => "gateway, kill -9",
            (Victim::Gateway, false) => "gateway, SIGTERM",
            (Victim::Collector(_), true) => "collector, kill -9",
            (Victim::Collector(_), false) => "collector, SIGTERM",
            (Victim::Both(_), true) => "gateway and a collector, kill -9",
            (Victim::Both(_), false) => "gateway and a collector, SIGTERM",
        }
    }
}

impl fmt::Display for Restart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let away = self.to.duration_since(self.from).unwrap_or_default();
        write!(f, "{} {} away for {away:.1?}", self.kind(), self.cluster.as_deref().unwrap_or_default())
    }
}

/// How many restarts of each kind there were.
pub(super) fn kinds(restarts: &[Restart]) -> BTreeMap<&'static str, usize> {
    let mut kinds = BTreeMap::new();
    restarts.iter().for_each(|restart| *kinds.entry(restart.kind()).or_default() += 1);
    kinds
}

/// A sample that Prometheus refused as out of order.
#[derive(Clone, Debug, PartialEq)]
struct Refusal {
    at: SystemTime,
    series: String,
    cluster: String,
}

/// What Prometheus's log says.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    out_of_order: Vec<Refusal>,
    /// Lines of refusals that nothing explains.
    others: Vec<String>,
    /// How long a sample is on pages: until its target is scraped again, at most a pace later, and that is pushed, as late.
    shown_again: Duration,
}

impl Refusals {
    pub(super) fn new(pace: Duration) -> Refusals {
        Refusals { shown_again: 2 * pace + pace / 2, ..Refusals::default() }
    }

    /// Reads more lines of the log.
    pub(super) fn read(&mut self, lines: &[String]) {
        for line in lines {
            if line.contains("msg=\"Out of order sample\"") {
                self.out_of_order.push(refusal(line));
            } else if line.contains("msg=\"Duplicate sample for timestamp\"")
                || line.contains("msg=\"Out of bounds metric\"")
            {
                self.others.push(line.clone());
            }
        }
    }

    pub(super) fn total(&self) -> usize {
        self.out_of_order.len() + self.others.len()
    }

    /// What explains each refusal; no restart explains two samples of one series.
    fn explained<'a>(&'a self, restarts: &[Restart]) -> Vec<Explanation> {
        let mut used: HashMap<(&str, usize), SystemTime> = HashMap::new();
        let explain = |refusal: &'a Refusal| {
            for at in (0..restarts.len()).rev().filter(|at| restarts[*at].explains(refusal)) {
                let first = *used.entry((refusal.series.as_str(), at)).or_insert(refusal.at);
                if first == refusal.at {
                    return Explanation::Restart(at);
                }
                if refusal.at.duration_since(first).is_ok_and(|since| since <= self.shown_again) {
                    return Explanation::Again;
                }
            }
            Explanation::None
        };
        self.out_of_order.iter().map(explain).collect()
    }

    pub(super) fn faults(&self, restarts: &[Restart]) -> Vec<String> {
        let explained = self.explained(restarts);
        let unexplained = self.out_of_order.iter().zip(&explained).filter(|(_, why)| **why == Explanation::None);
        let out_of_order = unexplained.map(|(refusal, _)| {
            let at = jiff::Timestamp::try_from(refusal.at).map(|at| at.to_string()).unwrap_or_default();
            format!("out of order without a restart at {at}: {}", refusal.series)
        });
        out_of_order.chain(self.others.iter().cloned()).collect()
    }

    pub(super) fn summary(&self, restarts: &[Restart]) -> String {
        let explained = self.explained(restarts);
        let unexplained = explained.iter().filter(|why| **why == Explanation::None).count();
        format!("{} out of order, {unexplained} of them unexplained, {} others", explained.len(), self.others.len())
    }

    /// Rows: out-of-order samples by what explains them.
    pub(super) fn table(&self, restarts: &[Restart]) -> Vec<(String, String)> {
        let mut rows = BTreeMap::from([("without a restart".to_owned(), 0)]);
        for why in self.explained(restarts) {
            let row = match why {
                Explanation::Restart(at) => format!("after a restart: {}", restarts[at].kind()),
                Explanation::Again => "the same sample again, on the next pages".to_owned(),
                Explanation::None => "without a restart".to_owned(),
            };
            *rows.entry(row).or_insert(0) += 1;
        }
        rows.into_iter().map(|(row, count)| (row, count.to_string())).collect()
    }
}

/// Why a sample was out of order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Explanation {
    /// The first of its series after this restart.
    Restart(usize),
    /// Later pages still had it: its target had not been scraped and pushed again.
    Again,
    None,
}

fn refusal(line: &str) -> Refusal {
    let at = line.strip_prefix("time=").and_then(|rest| rest.split(' ').next()).and_then(|time| time.parse().ok());
    let at = at.map_or(SystemTime::UNIX_EPOCH, |time: jiff::Timestamp| time.into());
    let series = line.split_once(" series=").map_or(line, |(_, series)| series);
    let series = series.trim_matches('"').replace("\\\"", "\"");
    let cluster = series.split_once("cluster=\"").and_then(|(_, rest)| rest.split('"').next());
    Refusal { at, cluster: cluster.unwrap_or_default().to_owned(), series }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "time=2026-11-20T16:16:22.711Z level=DEBUG source=scrape.go:2007 msg=\"Out of order sample\" \
        scrape_pool=fedgate target=\"http://x/federate?match%5B%5D=up\" series=\"m{job=\\\"node\\\",cluster=\\\"alpha\\\"}\"";

    fn restart(victim: Victim, from: &str) -> Restart {
        let mut restart = Restart::begin(victim, true, &["alpha".to_owned(), "beta".to_owned()]);
        let from: jiff::Timestamp = from.parse().unwrap();
        (restart.from, restart.to) = (from.into(), from.into());
        restart
    }

    /// Faults where the sample is refused at these seconds of a minute, with a pace of two seconds.
    fn unexplained(seconds: &[&str], restarts: &[Restart]) -> usize {
        let mut refusals = Refusals::new(Duration::from_secs(2));
        let lines: Vec<String> =
            seconds.iter().map(|second| LINE.replace(":22.711Z", &format!(":{second}Z"))).collect();
        refusals.read(&lines);
        refusals.faults(restarts).len()
    }

    #[test]
    fn a_restart_explains_one_sample_of_a_series_of_its_own() {
        assert_eq!(refusal(LINE).series, "m{job=\"node\",cluster=\"alpha\"}");
        let gateway = restart(Victim::Gateway, "2026-11-20T16:16:10Z");
        let collector = restart(Victim::Collector(0), "2026-11-20T16:16:00Z");
        assert_eq!(unexplained(&["22"], std::slice::from_ref(&gateway)), 0);
        assert_eq!(unexplained(&["22", "24"], std::slice::from_ref(&gateway)), 0, "the next page has it still");
        assert_eq!(unexplained(&["22", "28"], std::slice::from_ref(&gateway)), 1, "another sample");
        assert_eq!(unexplained(&["22", "28"], &[collector, gateway]), 0);
        assert_eq!(
            unexplained(&["22"], &[restart(Victim::Collector(1), "2026-11-20T16:16:10Z")]),
            1,
            "another cluster"
        );
        assert_eq!(unexplained(&["22"], &[restart(Victim::Gateway, "2026-11-20T16:15:10Z")]), 1, "too long ago");
        assert_eq!(unexplained(&["22"], &[restart(Victim::Gateway, "2026-11-20T16:17:10Z")]), 1, "too late");
    }

    #[test]
    fn nothing_explains_a_duplicate() {
        let mut refusals = Refusals::default();
        refusals.read(&["msg=\"Duplicate sample for timestamp\" series=m".to_owned(), "msg=else".to_owned()]);
        assert_eq!(refusals.faults(&[restart(Victim::Gateway, "2026-11-20T16:16:10Z")]).len(), 1);
    }
}
