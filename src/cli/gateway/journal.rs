//! What a gateway does with its logs beside appending: reading them at the start, and keeping them within their limits.

use std::sync::Arc;
use std::time::Duration;

use crate::cli::start::StartError;
use crate::journal::ReadError;
use crate::runtime::{CpuPool, Ending, Tasks, clock};
use crate::store::Store;
use crate::wal::{Now, Restored, Wal, reaching_back, replay_frames, replay_recorded};

/// How often is looked what may go; at each new segment, too.
const RETENTION_INTERVAL: Duration = Duration::from_secs(5);

/// Reads the logs into the store, on `threads` threads. False if the process was told to end meanwhile: then nothing is whole.
pub(super) async fn restore(
    wal: &Wal,
    store: &Arc<Store>,
    (pool, threads): (&CpuPool, usize),
    restored: &Arc<Restored>,
    ending: &Arc<Ending>,
) -> Result<bool, StartError> {
    let began = clock::monotonic();
    let (own_wal, own_store, own_restored, own_ending) = (wal.clone(), store.clone(), restored.clone(), ending.clone());
    let read = move || read(&own_wal, &own_store, threads, &own_restored, &own_ending);
    let key: Arc<str> = Arc::from("restore");
    pool.run(&key, read).await.map_err(std::io::Error::other)??;
    if ending.is_requested() {
        return Ok(false);
    }
    let (now, monotonic) = (clock::now(), clock::monotonic());
    store.resume(monotonic, None);
    // An empty buffer has room for anything, and nobody has appended yet.
    wal.frames.resume(now).map_err(std::io::Error::other)?;
    let took = monotonic.saturating_duration_since(began);
    // Set once, here.
    let _ = restored.took.set(took);
    let frames: u64 = restored.replayed.clusters().values().map(|counts| counts.applied).sum();
    let (evaluations, lost) = (restored.replayed.evaluations(), restored.replayed.lost_bytes());
    tracing::info!(seconds = took.as_secs_f64(), frames, evaluations, lost_bytes = lost, "journal read");
    Ok(true)
}

fn read(wal: &Wal, store: &Store, threads: usize, restored: &Restored, ending: &Ending) -> Result<(), StartError> {
    let now = Now { wall: clock::now(), monotonic: clock::monotonic() };
    let (scraped, recorded) = store.reach();
    let is_over = || ending.is_requested();
    let from = wal.retention.checkpoint().map_err(|error| StartError::Journal(error.to_string()))?;
    let from = from.min(reaching_back(wal.frames.log(), scraped, now.wall));
    let fault = |error: ReadError| StartError::Journal(error.to_string());
    replay_frames(&wal.frames, store, from, now, threads, &is_over, &restored.replayed).map_err(fault)?;
    let from = reaching_back(wal.recorded.log(), recorded, now.wall);
    replay_recorded(&wal.recorded, store, from, &is_over, &restored.replayed).map_err(fault)
}

/// Keeps the logs within their limits, until `tasks` end.
pub(super) fn keep_within_limits(tasks: &Tasks, wal: Wal, store: Arc<Store>, pool: CpuPool) {
    let stop = tasks.stop().clone();
    tasks.spawn("retention", async move {
        let key: Arc<str> = Arc::from("retention");
        let mut progress = wal.frames.committer().progress();
        loop {
            let (round, reach) = (wal.retention.clone(), store.reach());
            match pool.run(&key, move || round.round(clock::now(), reach)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "the journal's retention failed, trying again"),
                // A full pool only means that the next round drops more.
                Err(_) => {}
            }
            let begun = wal.frames.log().statistics().segments_begun;
            let new_segment = progress.wait_for(|_| wal.frames.log().statistics().segments_begun > begun);
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tokio::time::timeout(RETENTION_INTERVAL, new_segment) => {}
            }
        }
    });
}
