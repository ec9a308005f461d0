//! What each reader was shown lately, so that it is not sent what it would refuse.
//!
//! A Prometheus that tracks staleness marks a series that a page lacks with the time of that page. When the series is back
//! with a sample from before that time (its scrape had begun, but its push had not come), the sample is "out of order" there: it
//! is dropped, counted and warned about. So a scraper, which a request's time-out header tells apart from a person, gets
//! the series from its next sample on. Others get everything.
//!
//! Readers are told apart by address, program and URL; two that share all three may still be sent what one of them refuses.
//! Only the last pages are remembered, of a bounded number of readers, and nothing across a restart.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::http::{HeaderMap, Uri, header};

use super::readers::SCRAPE_TIMEOUT;
use crate::model::Timestamp;
use crate::net::Connection;
use crate::store::{Absence, Generation, Missing, SiteView};

/// Readers that are remembered; the one that asked longest ago makes room.
const READERS_MAX: usize = 64;
/// Pages of one reader: a series that is missing on more of them comes back with a sample that is newer than the first.
const PAGES_MAX: usize = 4;

/// Who asks for a page again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reader {
    address: Option<IpAddr>,
    /// Hash of the program's name and the URL.
    asks: u64,
}

impl Reader {
    /// `None` for who is no scraper.
    pub(super) fn of(connection: Option<&Connection>, uri: &Uri, headers: &HeaderMap) -> Option<Reader> {
        headers.get(SCRAPE_TIMEOUT)?;
        let agent = headers.get(header::USER_AGENT).map(|agent| agent.as_bytes()).unwrap_or_default();
        let asks = xxhash_rust::xxh3::xxh3_64_with_seed(uri.to_string().as_bytes(), xxhash_rust::xxh3::xxh3_64(agent));
        Some(Reader { address: connection.map(|connection| connection.address.ip()), asks })
    }
}

/// A page that a reader was shown.
struct Page {
    at: Timestamp,
    monotonic: Instant,
    /// By cluster, ascending: which of its views.
    generations: Vec<(Box<str>, Generation)>,
}

impl Page {
    fn of(view: &SiteView, monotonic: Instant) -> Page {
        let generations =
            view.clusters.iter().map(|cluster| (cluster.policy.cluster.as_str().into(), cluster.generation));
        Page { at: view.wall, monotonic, generations: generations.collect() }
    }

    fn generation(&self, cluster: &str) -> Option<Generation> {
        let at = self.generations.binary_search_by(|(own, _)| (**own).cmp(cluster)).ok()?;
        Some(self.generations[at].1)
    }
}

/// What one reader was shown.
struct Pages {
    /// Its first page since the gateway started.
    first: Arc<Page>,
    last: VecDeque<Arc<Page>>,
}

impl Pages {
    /// When the reader first saw a page of the cluster that lacked something so.
    fn marked(&self, cluster: &str, absence: Absence) -> Option<Timestamp> {
        let shown = |page: &Page| page.generation(cluster).unwrap_or_default();
        let lacked = |page: &&Arc<Page>| {
            let is_since = match absence.from {
                Missing::Always => true,
                Missing::View(generation) => shown(page) >= generation,
                Missing::Moment(ended) => page.monotonic > ended,
            };
            is_since && shown(page) < absence.until
        };
        let page = match absence.from {
            Missing::Always => Some(&self.first).filter(lacked),
            _ => self.last.iter().find(lacked),
        };
        page.map(|page| page.at)
    }
}

/// The last pages of the last readers.
#[derive(Default)]
pub(super) struct Shown {
    /// The reader that asked last stands last. Locked for as long as a page's view is compared with earlier ones.
    readers: Mutex<VecDeque<(Reader, Pages)>>,
    left_out: AtomicU64,
}

impl Shown {
    /// Leaves out of `view`, which is that of `monotonic`, what this reader would refuse, and remembers that it was shown the rest.
    pub(super) fn show(&self, reader: Reader, view: &mut SiteView, monotonic: Instant) {
        let page = Arc::new(Page::of(view, monotonic));
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        let known = readers.iter().position(|(known, _)| *known == reader);
        let mut pages = match known.and_then(|at| readers.remove(at)) {
            Some((_, pages)) => {
                let left_out = view.leave_out_refused(|policy, absence| pages.marked(&policy.cluster, absence));
                self.left_out.fetch_add(left_out as u64, Ordering::Relaxed);
                pages
            }
            None => Pages { first: page.clone(), last: VecDeque::new() },
        };
        pages.last.push_back(page);
        pages.last.drain(..pages.last.len().saturating_sub(PAGES_MAX));
        readers.push_back((reader, pages));
        let excess = readers.len().saturating_sub(READERS_MAX);
        readers.drain(..excess);
    }

    /// Samples left out so far, each time for one reader.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }
}
