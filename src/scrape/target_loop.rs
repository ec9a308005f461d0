//! One target's scrape loop.
//!
//! Invariant: at most one scrape is in flight, and every interval yields exactly one [`Scrape`], even if the target is down:
//! then it holds the facts of the failure alone. So a reader downstream can tell "target down" from "collector gone".
//!
//! The loop goes by its [`Order`]s. A reload that keeps the target changes the order only: the memory of its pages and
//! its slots stay. A target that discovery no longer names is on leave for a little over two intervals, as in Prometheus, so
//! that one that comes back at once (a file written in two steps) loses nothing; then its series end at the time of the
//! first scrape that it missed. A shutdown ends no series: the collector may be back before anyone notices.
//!
//! A late timer is made up for at once, but only the newest missed interval: nothing piles up behind a slow target.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc, watch};

use super::bodies::Bodies;
use super::cache::{PageCache, Reading, Timing};
use super::counters::Counters;
use super::error::ScrapeError;
use super::fetch::{Page, Question};
use super::finished::Finished;
use super::job::Job;
use super::offset::{aligned, first_start, offset};
use super::own::report;
use super::status::StatusCell;
use crate::discovery::Target;
use crate::model::{Labels, Timestamp};
use crate::runtime::{CpuPool, clock};
use crate::snapshot::{Outcome, Report};

/// Pages up to this size are read where they arrive; a larger one would hold up other connections for over a millisecond.
const INLINE_BYTES_MAX: usize = 256 << 10;

/// What a loop is to do from now on.
#[derive(Clone, Debug)]
pub(super) enum Order {
    /// Scrape.
    Scrape(Plan),
    /// Discovery no longer names the target.
    Leave,
}

/// How a target is scraped.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) job: Arc<Job>,
    pub(super) target: Target,
    /// The job may not be scraped at all (`target_limit`): every scrape fails with this.
    pub(super) forced: Option<ScrapeError>,
}

/// What all loops share.
#[derive(Debug)]
pub(super) struct Shop {
    pub(super) finished: Finished,
    pub(super) counters: Arc<Counters>,
    /// One permit a scrape in flight.
    pub(super) permits: Semaphore,
    pub(super) bodies: Bodies,
}

/// One target's loop, before it runs.
pub(super) struct TargetLoop {
    pub(super) shop: Arc<Shop>,
    pub(super) pool: CpuPool,
    pub(super) status: Arc<StatusCell>,
    /// Behind a lock because large pages are read on the pool's threads; never contended.
    pub(super) cache: Arc<Mutex<PageCache>>,
    pub(super) orders: watch::Receiver<Order>,
    /// Tells the manager that the leave is over; the manager then drops the sender of `orders`, or has another order.
    pub(super) leave_over: mpsc::Sender<Arc<Labels>>,
    pub(super) labels: Arc<Labels>,
}

/// When the next scrape is due, on both clocks.
#[derive(Clone, Copy)]
struct Due {
    at: Instant,
    stamp: Timestamp,
}

impl Due {
    fn first(target: &Target) -> Due {
        let now = clock::now();
        let stamp = first_start(now, target.interval, offset(target));
        Due { at: clock::monotonic() + stamp.since(now), stamp }
    }

    fn next(self, interval: Duration) -> Due {
        Due { at: self.at + interval, stamp: self.stamp + interval }
    }

    /// The newest due time that is not a whole interval ago, and how many were passed over for it.
    fn caught_up(self, interval: Duration) -> (Due, u64) {
        let (mut due, mut missed, now) = (self, 0, clock::monotonic());
        while due.at + interval <= now {
            due = due.next(interval);
            missed += 1;
        }
        (due, missed)
    }
}

impl Plan {
    /// Whether `other` would do the very same.
    pub(super) fn is_same(&self, other: &Plan) -> bool {
        Arc::ptr_eq(&self.job, &other.job) && self.target == other.target && self.forced == other.forced
    }

    /// Whether the target is scraped at the same times.
    fn is_timed_as(&self, other: &Plan) -> bool {
        self.target.interval == other.target.interval && self.target.url == other.target.url
    }
}

impl TargetLoop {
    /// Runs until the target is gone; the caller cancels it at a shutdown.
    pub(super) async fn run(mut self) {
        let mut last: Option<(Plan, Due)> = None;
        loop {
            let order = self.orders.borrow_and_update().clone();
            match (order, last.take()) {
                (Order::Scrape(plan), last_plan) => last = Some(self.scrape_until_ordered(plan, last_plan).await),
                (Order::Leave, None) => {
                    self.say_leave_over().await;
                    if self.orders.changed().await.is_err() {
                        return;
                    }
                }
                (Order::Leave, Some((plan, due))) => {
                    if self.leave(&plan.target, due).await {
                        let gone = self.cache().gone(due.stamp, &plan.job.rules);
                        self.push(gone);
                        return;
                    }
                    last = Some((plan, due));
                }
            }
        }
    }

    /// Scrapes at every due time until there is another order; a scrape in flight is brought to its end. A new plan with
    /// the old times goes on with them. Returns the plan and when the next scrape would have been due.
    async fn scrape_until_ordered(&mut self, plan: Plan, last: Option<(Plan, Due)>) -> (Plan, Due) {
        let mut due = match &last {
            Some((old, due)) if plan.is_timed_as(old) => due.caught_up(plan.target.interval).0,
            _ => Due::first(&plan.target),
        };
        self.cache().set_target(&plan.target.labels);
        if last.is_some_and(|(old, _)| !old.job.reads_alike(&plan.job)) {
            self.cache().forget_keys();
        }
        let question = plan.job.fetcher.question(&plan.target);
        loop {
            tokio::select! {
                changed = self.orders.changed() => match changed {
                    Ok(()) => return (plan, due),
                    // Only a loop on leave is let go; without the manager the process ends.
                    Err(_) => std::future::pending().await,
                },
                () = tokio::time::sleep_until(due.at.into()) => {}
            }
            self.scrape(&plan, &question, due).await;
            let (next, missed) = due.next(plan.target.interval).caught_up(plan.target.interval);
            self.shop.counters.missed_ticks(missed);
            due = next;
        }
    }

    async fn scrape(&mut self, plan: &Plan, question: &Question, due: Due) {
        let shop = self.shop.clone();
        let permit = shop.permits.acquire().await.expect("the semaphore is never closed");
        let (began, started) = (clock::monotonic(), aligned(clock::now(), due.stamp, plan.target.interval));
        let fetched = match &plan.forced {
            Some(error) => Err(error.clone()),
            None => plan.job.fetcher.fetch(question, &shop.bodies).await,
        };
        drop(permit);
        let body_bytes = match &fetched {
            Ok(page) => page.body.len() as i64,
            Err(ScrapeError::BodySize { .. }) => -1,
            Err(_) => 0,
        };
        let (reading, result) = self.take(plan, fetched, started).await;
        let took = clock::monotonic().saturating_duration_since(began);
        let outcome = if result.is_ok() { Outcome::Up } else { Outcome::Failed };
        let report = extended(report(&reading), plan, body_bytes);
        let scrape = self.cache().scrape(Timing { started, duration: took }, outcome, report);
        self.shop.counters.scraped(&reading, result.as_ref().err());
        self.status.note(started, took, reading.scraped, result);
        self.push(scrape);
    }

    /// Reads the page into the cache, or ends the target's series where there is none.
    async fn take(
        &self,
        plan: &Plan,
        fetched: Result<Page, ScrapeError>,
        started: Timestamp,
    ) -> (Reading, Result<(), ScrapeError>) {
        let (reading, error) = match fetched.and_then(|page| Ok((page.format()?, page.body))) {
            Err(error) => (Reading::default(), error),
            Ok((format, body)) => {
                let (cache, job, shop) = (self.cache.clone(), plan.job.clone(), self.shop.clone());
                let size = body.len();
                let read = move || {
                    let read = lock(&cache).read(&body, format, started, &job.rules);
                    shop.bodies.give_back(body);
                    read
                };
                if size <= INLINE_BYTES_MAX {
                    let (reading, result) = read();
                    return (reading, result.map_err(ScrapeError::Page));
                }
                match self.pool.run(&plan.job.name, read).await {
                    Ok((reading, result)) => return (reading, result.map_err(ScrapeError::Page)),
                    Err(error) => (Reading::default(), ScrapeError::Overload(error.to_string())),
                }
            }
        };
        self.cache().fail(started, &plan.job.rules);
        (reading, Err(error))
    }

    /// Waits a little over two intervals; false if there is another order by then. `due` is the first scrape that is missed.
    async fn leave(&mut self, target: &Target, due: Due) -> bool {
        let patience = target.interval + target.interval / 10;
        tokio::select! {
            changed = self.orders.changed() => match changed {
                Ok(()) => return false,
                Err(_) => std::future::pending().await,
            },
            () = tokio::time::sleep_until((due.at + patience).into()) => {}
        }
        self.say_leave_over().await;
        self.orders.changed().await.is_err()
    }

    async fn say_leave_over(&self) {
        // A closed channel means that the process ends.
        let _ = self.leave_over.send(self.labels.clone()).await;
    }

    fn push(&self, scrape: crate::snapshot::Scrape) {
        let dropped = self.shop.finished.push(scrape);
        self.shop.counters.dropped_scrapes(dropped);
    }

    fn cache(&self) -> MutexGuard<'_, PageCache> {
        lock(&self.cache)
    }
}

/// A page whose reading panicked left the cache half-way: it starts anew with the next one.
fn lock(cache: &Mutex<PageCache>) -> MutexGuard<'_, PageCache> {
    cache.lock().unwrap_or_else(|poisoned: PoisonError<_>| {
        cache.clear_poison();
        let mut cache: MutexGuard<'_, PageCache> = poisoned.into_inner();
        cache.reset();
        cache
    })
}

/// Adds what only `extra_scrape_metrics` reports.
fn extended(report: Report, plan: &Plan, body_bytes: i64) -> Report {
    if !plan.job.extra_metrics {
        return report;
    }
    Report {
        body_bytes: Some(body_bytes),
        timeout: Some(plan.target.timeout),
        sample_limit: Some(plan.job.rules.sample_limit),
        ..report
    }
}
