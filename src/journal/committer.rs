//! The thread that brings a log to disk, and the handle by which tasks wait for it.
//!
//! Invariant: whatever was appended is tried until it is synced. A disk that fails is asked again after a pause that doubles up to
//! [`RETRY_MAX`]; meanwhile the buffer fills up, and its bound refuses what comes. When the process ends, the thread ends last,
//! and what the disk still refuses then is said in the log.
//!
//! Commits are grouped: one is begun at most every [`CommitOptions::interval`], with all that was appended until then. After a
//! quiet time the first record does not wait.

use std::io;
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::runtime::{Tasks, clock};

use super::format::Position;
use super::log::{Log, State};
use super::writer::{CommitError, Journal};

/// How long relaxed durability leaves what was written to the operating system.
pub const RELAXED_SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// The first pause after a failure.
pub const RETRY_MIN: Duration = Duration::from_millis(100);
/// The longest pause.
pub const RETRY_MAX: Duration = Duration::from_secs(5);
/// How often a failing disk is asked when the process ends.
const LAST_ATTEMPTS: u32 = 3;

/// What [`Committer::wait`] waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Durability {
    /// The disk's word: it survives a power cut.
    #[default]
    Strict,
    /// The operating system's: it survives the end of the process. Synced within [`RELAXED_SYNC_INTERVAL`].
    Relaxed,
}

/// How a log is committed.
#[derive(Clone, Copy, Debug)]
pub struct CommitOptions {
    /// The shortest time from the begin of one commit to the next.
    pub interval: Duration,
    /// What [`Committer::wait`] waits for.
    pub durability: Durability,
}

impl Default for CommitOptions {
    /// 10 ms, strict.
    fn default() -> CommitOptions {
        CommitOptions { interval: Duration::from_millis(10), durability: Durability::Strict }
    }
}

/// How far the log came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// See [`Log::written`].
    pub written: Position,
    /// See [`Log::synced`].
    pub synced: Position,
    /// What the disk answered last, if it fails now.
    pub failure: Option<io::ErrorKind>,
}

/// The thread has ended, and the record will not become durable in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the journal is closed")]
pub struct Closed;

/// Handle of a log with a thread that commits it.
#[derive(Clone)]
pub struct Committer {
    log: Log,
    durability: Durability,
    progress: watch::Receiver<Progress>,
}

impl Committer {
    /// Starts the thread, as a task of the stage of `tasks`: that of what the others lean on, for when it is to stop it commits what
    /// is there and ends.
    pub fn start(journal: Journal, options: CommitOptions, tasks: &Tasks) -> io::Result<Committer> {
        let log = journal.log().clone();
        let begin = Progress { written: log.written(), synced: log.synced(), failure: None };
        let (tell, progress) = watch::channel(begin);
        let worker = Worker::new(journal, options, tell);
        tasks.spawn_thread("journal", move || worker.run())?;
        let (stop, stopped) = (tasks.stop().clone(), log.clone());
        tasks.spawn("journal-stop", async move {
            stop.cancelled().await;
            stopped.0.lock().wishes.end = true;
            stopped.0.work.notify_one();
        });
        Ok(Committer { log, durability: options.durability, progress })
    }

    /// Where to append, and where to read.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Waits until the record at `position` is as safe as [`CommitOptions::durability`] asks.
    pub async fn wait(&self, position: Position) -> Result<(), Closed> {
        match self.durability {
            Durability::Strict => self.wait_synced(position).await,
            Durability::Relaxed => self.wait_for(|progress| progress.written > position).await,
        }
    }

    /// Waits until the record at `position` survives a power cut.
    pub async fn wait_synced(&self, position: Position) -> Result<(), Closed> {
        self.wait_for(|progress| progress.synced > position).await
    }

    /// Waits until everything that was appended before this call survives a power cut.
    pub async fn flush(&self) -> Result<(), Closed> {
        let end = self.log.end();
        self.wait_for(|progress| progress.synced >= end).await
    }

    /// Changes whenever the log came further, or the disk began or ceased to fail.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// Has the thread drop the segments that end at or before `position`, soon; see [`Journal::drop_before`]. While the disk
    /// fails it is asked again at once, for there may be room now.
    pub fn drop_before(&self, position: Position) {
        let mut state = self.log.0.lock();
        // As cheap as a look where there is nothing to drop: cursors move more often than segments end.
        if state.segments.second().is_some_and(|second| second <= position) {
            state.wishes.drop_before = state.wishes.drop_before.max(Some(position));
            self.log.0.work.notify_one();
        }
    }

    async fn wait_for(&self, done: impl FnMut(&Progress) -> bool) -> Result<(), Closed> {
        let mut progress = self.progress.clone();
        progress.wait_for(done).await.map(|_| ()).map_err(|_| Closed)
    }
}

/// What the thread owns.
struct Worker {
    journal: Journal,
    log: Log,
    options: CommitOptions,
    tell: watch::Sender<Progress>,
    /// When the last commit was begun, and when the last sync.
    begun: Option<Instant>,
    synced: Instant,
    /// The failure that lasts, when to try again, and the pause after that.
    failing: Option<(io::ErrorKind, Instant)>,
    pause: Duration,
}

impl Worker {
    fn new(journal: Journal, options: CommitOptions, tell: watch::Sender<Progress>) -> Worker {
        let log = journal.log().clone();
        let (begun, failing) = (None, None);
        let synced = clock::monotonic();
        Worker { journal, log, options, tell, begun, synced, failing, pause: RETRY_MIN }
    }

    fn run(mut self) {
        while !self.wait() {
            self.drop_segments();
            self.commit(false);
        }
        self.finish();
    }

    /// Sleeps until there is something to do; true if it is to end.
    fn wait(&self) -> bool {
        let shared = self.log.0.clone();
        let mut state = shared.lock();
        loop {
            if state.wishes.end || state.wishes.drop_before.is_some() {
                return state.wishes.end;
            }
            let left = self.due(&state).map(|due| due.saturating_duration_since(clock::monotonic()));
            state = match left {
                Some(Duration::ZERO) => return false,
                Some(left) => wait_timeout(&shared.work, state, left),
                None => shared.work.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner),
            };
        }
    }

    /// When the next commit is due, if one is.
    fn due(&self, state: &State) -> Option<Instant> {
        if let Some((_, again)) = self.failing {
            return Some(again);
        }
        let commit = self.begun.map_or(self.synced, |begun| begun + self.options.interval);
        let sync = self.synced + RELAXED_SYNC_INTERVAL;
        let (write, sync) = (!state.buffer.is_empty(), self.journal.has_pending().then_some(sync));
        write.then_some(commit).into_iter().chain(sync).min()
    }

    /// Commits as the durability asks, or all the way.
    fn commit(&mut self, all: bool) {
        let begun = clock::monotonic();
        self.begun = Some(begun);
        let relaxed = self.options.durability == Durability::Relaxed && !all;
        let mut outcome = self.journal.write(clock::now()).map(|_| ());
        if !relaxed || begun.duration_since(self.synced) >= RELAXED_SYNC_INTERVAL {
            outcome = outcome.and_then(|()| self.journal.sync()).map(|_| ());
            self.synced = begun;
        }
        self.log.0.lock().statistics.commit_time += clock::monotonic().duration_since(begun);
        match outcome {
            Ok(()) => self.recovered(),
            Err(error) => self.failed(&error),
        }
        self.publish();
    }

    fn recovered(&mut self) {
        if self.failing.take().is_some() {
            tracing::info!(dir = %self.log.0.dir.display(), "the journal's disk works again");
        }
        self.pause = RETRY_MIN;
    }

    fn failed(&mut self, error: &CommitError) {
        if self.failing.is_none() {
            let buffered = self.log.buffered();
            tracing::error!(%error, buffered_bytes = buffered, "the journal cannot be written, trying again");
        }
        self.failing = Some((error.source.kind(), clock::monotonic() + self.pause));
        self.pause = (self.pause * 2).min(RETRY_MAX);
    }

    fn publish(&self) {
        let failure = self.failing.map(|(kind, _)| kind);
        let progress = Progress { written: self.log.written(), synced: self.log.synced(), failure };
        self.tell.send_if_modified(|told| std::mem::replace(told, progress) != progress);
    }

    /// Drops what the owner wants dropped. What failed is tried again with the next wish.
    fn drop_segments(&mut self) {
        let Some(before) = self.log.0.lock().wishes.drop_before.take() else { return };
        if let Err(error) = self.journal.drop_before(before) {
            tracing::warn!(%error, "a segment of the journal cannot be dropped");
        }
    }

    fn finish(&mut self) {
        self.drop_segments();
        for _ in 0..LAST_ATTEMPTS {
            self.commit(true);
            let Some((_, again)) = self.failing else { return };
            std::thread::sleep(again.saturating_duration_since(clock::monotonic()));
        }
        tracing::error!(bytes = self.log.buffered(), "the journal ends with records that the disk did not take");
    }
}

fn wait_timeout<'a>(work: &std::sync::Condvar, state: MutexGuard<'a, State>, left: Duration) -> MutexGuard<'a, State> {
    work.wait_timeout(state, left).unwrap_or_else(std::sync::PoisonError::into_inner).0
}
