//! What one cluster exposes in the course of time: pages of 5,000 series, whose label sets no two pages share.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fedgate::model::Timestamp;
use fedgate::snapshot::Scrape;

use crate::options::Shape;
use crate::site::{INTERVAL_MS, NODE_SERIES, Page};

/// Metric time between two rounds, whatever their pace.
pub(crate) const INTERVAL: Duration = Duration::from_millis(INTERVAL_MS as u64);
/// Every cluster's environment.
pub(crate) const ENVIRONMENT: &str = "production";
const PAGE_SERIES: usize = 5_000;
/// Of a page's series, those of its users: as many as are left, this share at least.
const USERS_SHARE: usize = 60;

/// A cluster's name by its number.
pub(crate) fn name(number: usize) -> String {
    format!("c{number:04}")
}

/// Time of the first of `rounds` rounds when the last is now.
pub(crate) fn first_round(rounds: usize) -> Timestamp {
    let now = fedgate::runtime::clock::now();
    Timestamp(now.0 - (rounds as i64 - 1) * INTERVAL_MS)
}

/// One cluster.
pub(crate) struct Cluster {
    pub(crate) name: String,
    pub(crate) pages: Vec<Page>,
    replaced: f64,
}

impl Cluster {
    /// Its first [`Cluster::advance`] leads to `first`; of all series the share `replaced` is another after each one.
    pub(crate) fn new(number: usize, series: usize, first: Timestamp, replaced: f64) -> Cluster {
        let page = |page: usize| {
            let series = PAGE_SERIES.min(series - page * PAGE_SERIES);
            let prefix = format!("c{number:04}p{page:03}-");
            let seed = number as u64 * 10_000 + page as u64 + 1;
            let nodes = (series - series / USERS_SHARE) / NODE_SERIES;
            let mut page = Page::named(&prefix, seed, nodes, series);
            page.set_now(Timestamp(first.0 - INTERVAL_MS));
            page
        };
        let pages = (0..series.div_ceil(PAGE_SERIES)).map(page).collect();
        Cluster { name: name(number), pages, replaced }
    }

    /// One interval ahead.
    pub(crate) fn advance(&mut self) {
        for page in &mut self.pages {
            page.advance();
            if self.replaced > 0.0 {
                page.replace(self.replaced);
            }
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.pages[0].now()
    }

    /// As a collector would hand it to the encoder.
    pub(crate) fn scrapes(&mut self) -> Vec<Scrape> {
        self.pages.iter_mut().map(Page::scrape).collect()
    }
}

/// Makes something of every cluster on all cores, one cluster at a time on each: a whole site need not fit into memory.
pub(crate) fn for_each<T: Send>(shape: Shape, make: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let (next, made) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= shape.clusters {
                return;
            }
            let one = make(number);
            made.lock().expect("no worker panics while it holds the list").push((number, one));
        }
    };
    std::thread::scope(|scope| {
        (0..std::thread::available_parallelism().map_or(1, usize::from)).for_each(|_| {
            scope.spawn(work);
        });
    });
    let mut made = made.into_inner().expect("no worker panicked");
    made.sort_by_key(|(number, _)| *number);
    made.into_iter().map(|(_, one)| one).collect()
}
