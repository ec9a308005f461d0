//! The bounded pool for CPU work: decoding, rendering, parsing large pages.
//!
//! Asynchronous workers must not compute for long, or every connection waits. So this work runs on threads of its own,
//! one a core, fed from a queue a key: workers take from the keys in turn (round-robin), one job each. So when many
//! clusters catch up after an outage, one with a thousand jobs delays another's single job by one job a worker, not by
//! a thousand.
//!
//! Both the jobs of a key and of all keys are bounded; beyond that [`CpuPool::run`] fails at once with
//! [`PoolError::Full`] and nothing was done. A job that panics fails alone ([`PoolError::Panicked`], logged): input
//! that reaches a fault in a decoder must not end the service of all other clusters.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::tasks::panic_text;

/// Jobs that may wait over all keys: more than clusters of the largest site, each with a push or two.
pub const JOBS_MAX: usize = 4096;
/// Jobs that may wait of one key: a collector has one push in flight, a cluster has few collectors.
pub const JOBS_PER_KEY_MAX: usize = 64;

/// Why a job gave no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// Too many jobs wait; it was not run.
    #[error("the pool for CPU work is full")]
    Full,
    /// It panicked; the log says where.
    #[error("a job of the pool for CPU work panicked")]
    Panicked,
}

type Job = Box<dyn FnOnce() + Send>;

/// Handle of the pool; its threads end when the last one is dropped.
#[derive(Clone)]
pub struct CpuPool {
    shared: Arc<Shared>,
    threads: usize,
    /// Dropped with the last handle, which closes the queue.
    _closer: Arc<Closer>,
}

/// A job that was queued; awaiting it gives its result.
pub struct Started<T>(oneshot::Receiver<T>);

impl<T> Future for Started<T> {
    type Output = Result<T, PoolError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|done| done.map_err(|_| PoolError::Panicked))
    }
}

struct Shared {
    /// Guarded: every waiting job.
    queue: Mutex<Queue>,
    /// Notified for every job and at the end.
    wake: Condvar,
}

#[derive(Default)]
struct Queue {
    by_key: HashMap<Arc<str>, VecDeque<Job>>,
    /// Keys that have jobs, each once, in the order in which they are served.
    turn: VecDeque<Arc<str>>,
    waiting: usize,
    closed: bool,
}

struct Closer(Arc<Shared>);

impl Drop for Closer {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.wake.notify_all();
    }
}

impl CpuPool {
    /// Starts `threads` workers.
    pub fn new(threads: usize) -> std::io::Result<CpuPool> {
        let shared = Arc::new(Shared { queue: Mutex::default(), wake: Condvar::new() });
        let closer = Arc::new(Closer(shared.clone()));
        let threads = threads.max(1);
        for number in 0..threads {
            let shared = shared.clone();
            std::thread::Builder::new().name(format!("cpu-{number}")).spawn(move || shared.work())?;
        }
        Ok(CpuPool { shared, threads, _closer: closer })
    }

    /// How many jobs run at once.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Runs `job` in the turn of `key` (a cluster's name, or what else shall be served evenly). If the caller stops
    /// waiting the job still runs.
    pub async fn run<T: Send + 'static>(
        &self,
        key: &Arc<str>,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PoolError> {
        self.start(key, job)?.await
    }

    /// As [`CpuPool::run`], but the job is queued at once, not when somebody waits for it.
    pub fn start<T: Send + 'static>(
        &self,
        key: &Arc<str>,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Started<T>, PoolError> {
        let (give, take) = oneshot::channel();
        self.shared.push(
            key,
            Box::new(move || match catch_unwind(AssertUnwindSafe(job)) {
                Ok(result) => drop(give.send(result)),
                Err(panic) => tracing::error!(panic = panic_text(&*panic), "job of the CPU pool panicked"),
            }),
        )?;
        Ok(Started(take))
    }

    /// Whether half of the key's places are free: who only works ahead leaves the others to those who must.
    pub fn has_room(&self, key: &str) -> bool {
        let queue = self.shared.lock();
        let waiting = queue.by_key.get(key).map_or(0, VecDeque::len);
        waiting < JOBS_PER_KEY_MAX / 2 && queue.waiting < JOBS_MAX / 2
    }

    /// Jobs that wait for a worker.
    pub fn waiting(&self) -> usize {
        self.shared.lock().waiting
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Jobs run outside the lock and the queue's own steps do not panic half-way, so a poisoned queue is whole.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, key: &Arc<str>, job: Job) -> Result<(), PoolError> {
        self.lock().push(key, job)?;
        self.wake.notify_one();
        Ok(())
    }

    fn work(&self) {
        let mut queue = self.lock();
        loop {
            if let Some(job) = queue.pop() {
                drop(queue);
                job();
                queue = self.lock();
            } else if queue.closed {
                return;
            } else {
                queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

impl Queue {
    fn push(&mut self, key: &Arc<str>, job: Job) -> Result<(), PoolError> {
        if self.waiting >= JOBS_MAX {
            return Err(PoolError::Full);
        }
        let jobs = self.by_key.entry(key.clone()).or_default();
        if jobs.len() >= JOBS_PER_KEY_MAX {
            return Err(PoolError::Full);
        }
        if jobs.is_empty() {
            self.turn.push_back(key.clone());
        }
        jobs.push_back(job);
        self.waiting += 1;
        Ok(())
    }

    fn pop(&mut self) -> Option<Job> {
        let key = self.turn.pop_front()?;
        let jobs = self.by_key.get_mut(&key).expect("a key in turn has jobs");
        let job = jobs.pop_front().expect("a key in turn has jobs");
        if jobs.is_empty() {
            self.by_key.remove(&key);
        } else {
            self.turn.push_back(key);
        }
        self.waiting -= 1;
        Some(job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(order: &Arc<Mutex<Vec<String>>>, word: String) -> Job {
        let order = order.clone();
        Box::new(move || order.lock().unwrap().push(word))
    }

    #[test]
    fn keys_are_served_in_turn() {
        let (mut queue, order) = (Queue::default(), Arc::new(Mutex::new(Vec::new())));
        let (busy, calm): (Arc<str>, Arc<str>) = ("busy".into(), "calm".into());
        for number in 0..3 {
            queue.push(&busy, note(&order, format!("busy{number}"))).unwrap();
        }
        queue.push(&calm, note(&order, "calm0".into())).unwrap();
        while let Some(job) = queue.pop() {
            job();
        }
        assert_eq!(*order.lock().unwrap(), ["busy0", "calm0", "busy1", "busy2"]);
        assert_eq!(queue.waiting, 0);
        assert!(queue.by_key.is_empty());
    }

    #[test]
    fn a_full_key_leaves_room_for_others() {
        let (mut queue, order) = (Queue::default(), Arc::new(Mutex::new(Vec::new())));
        let (busy, calm): (Arc<str>, Arc<str>) = ("busy".into(), "calm".into());
        for _ in 0..JOBS_PER_KEY_MAX {
            queue.push(&busy, note(&order, String::new())).unwrap();
        }
        assert_eq!(queue.push(&busy, note(&order, String::new())), Err(PoolError::Full));
        assert_eq!(queue.push(&calm, note(&order, String::new())), Ok(()));
    }

    #[tokio::test]
    async fn a_panicking_job_fails_alone() {
        let pool = CpuPool::new(1).unwrap();
        let key: Arc<str> = "a".into();
        assert_eq!(pool.run(&key, || panic!("bad frame")).await, Err::<(), _>(PoolError::Panicked));
        assert_eq!(pool.run(&key, || 7).await, Ok(7));
    }
}
