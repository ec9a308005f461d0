//! All endpoints of a gateway: started, changed and ended with its configuration.
//!
//! Invariant: an endpoint that stays as it is goes on undisturbed; one that changes goes on from the same place when its predecessor has
//! ended; one that leaves the configuration gives up its place, and what only it wanted of the journal.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::endpoint::{Endpoint, EndpointError, Read, settings_of};
use super::feed::Feed;
use super::follower::Follower;
use super::labels::Labelling;
use super::metrics::SenderCounts;
use super::place::{Begin, Hold, Place, cursor_name};
use super::queue::Source;
use crate::config::RemoteWriteConfig;
use crate::journal::{CursorError, Cursors, DiskFiles};
use crate::model::Labels;
use crate::relabel;
use crate::runtime::{CpuPool, Tasks, clock};
use crate::snapshot::FrameLimits;
use crate::wal::{Logs, Wal};

/// What is read ahead of an endpoint's task.
const READS_AHEAD: usize = 16;
/// How often is looked which series are silent.
const SILENCE_INTERVAL: Duration = Duration::from_secs(5);
/// How long a fault of the disk is left alone.
const DISK_PAUSE: Duration = Duration::from_secs(5);

/// The endpoints. Clones are the same.
#[derive(Clone)]
pub struct Senders {
    shared: Arc<Shared>,
}

struct Shared {
    wal: Wal,
    dir: PathBuf,
    pool: CpuPool,
    tasks: Tasks,
    /// Where tasks are spawned, for a reload works on a thread that has no runtime.
    runtime: Handle,
    counts: SenderCounts,
    /// By name.
    endpoints: Mutex<BTreeMap<String, Running>>,
}

struct Running {
    config: RemoteWriteConfig,
    external_labels: Labels,
    stop: CancellationToken,
    /// Fires when the task has ended.
    ended: Option<oneshot::Receiver<()>>,
}

/// An endpoint that can be started.
struct Prepared {
    name: String,
    config: RemoteWriteConfig,
    endpoint: Endpoint,
    labelling: Labelling,
}

/// The name by which an endpoint is known: its own, or its URL's.
pub fn endpoint_name(config: &RemoteWriteConfig) -> String {
    config.name.clone().unwrap_or_else(|| config.url.redacted())
}

impl Senders {
    /// Over the logs below `dir`; without endpoints. Their tasks are of `tasks`. To be called within the runtime.
    pub fn new(wal: Wal, dir: &Path, pool: CpuPool, tasks: Tasks, counts: SenderCounts) -> Senders {
        let endpoints = Mutex::default();
        Senders {
            shared: Arc::new(Shared {
                wal,
                dir: dir.to_owned(),
                pool,
                tasks,
                runtime: Handle::current(),
                counts,
                endpoints,
            }),
        }
    }

    /// Makes the endpoints those of a configuration: all of them, or on a fault nothing changes.
    pub fn configure(&self, configs: &[RemoteWriteConfig], external_labels: &Labels) -> Result<(), EndpointError> {
        let _runtime = self.shared.runtime.enter();
        let mut endpoints = self.shared.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = |config: &RemoteWriteConfig| {
            let known = endpoints.get(&endpoint_name(config));
            known.is_some_and(|known| known.config == *config && known.external_labels == *external_labels)
        };
        let new = configs.iter().filter(|config| !is_same(config));
        let new = new.map(|config| self.prepare(config, external_labels)).collect::<Result<Vec<_>, _>>()?;
        let names: Vec<String> = configs.iter().map(endpoint_name).collect();
        let gone: Vec<String> = endpoints.keys().filter(|name| !names.contains(name)).cloned().collect();
        for name in gone {
            if let Some(running) = endpoints.remove(&name) {
                self.end(name, running);
            }
        }
        for prepared in new {
            let before = endpoints.remove(&prepared.name);
            let before = before.and_then(|running| {
                running.stop.cancel();
                running.ended
            });
            let (name, running) = self.start(prepared, external_labels, before);
            endpoints.insert(name, running);
        }
        Ok(())
    }

    fn prepare(&self, config: &RemoteWriteConfig, external_labels: &Labels) -> Result<Prepared, EndpointError> {
        let name = endpoint_name(config);
        let steps = relabel::compile(&config.write_relabel_configs)?;
        let labelling = Labelling { external_labels: external_labels.clone(), steps };
        let endpoint = Endpoint::new(&name, config, self.shared.pool.clone(), self.shared.counts.of(&name))?;
        Ok(Prepared { name, config: config.clone(), endpoint, labelling })
    }

    /// Ends an endpoint that is no more, and gives up its place.
    fn end(&self, name: String, running: Running) {
        running.stop.cancel();
        let shared = self.shared.clone();
        self.shared.tasks.spawn("remote_write", async move {
            if let Some(ended) = running.ended {
                let _ = ended.await;
            }
            shared.counts.remove(&name);
            shared.wal.retention.release(&cursor_name(&name));
            let cursors = [Logs::Frames, Logs::Recorded].map(|log| shared.cursors(log));
            let remove = move || cursors.iter().try_for_each(|cursors| cursors.remove(&cursor_name(&name)));
            if let Ok(Err(fault)) = tokio::task::spawn_blocking(remove).await {
                tracing::warn!(%fault, "the cursor of an endpoint that is no more was not removed");
            }
        });
    }

    fn start(
        &self,
        prepared: Prepared,
        external_labels: &Labels,
        before: Option<oneshot::Receiver<()>>,
    ) -> (String, Running) {
        let Prepared { name, config, endpoint, labelling } = prepared;
        let (stop, (ending, ended)) = (self.shared.tasks.stop().child_token(), oneshot::channel());
        let running = Running {
            config: config.clone(),
            external_labels: external_labels.clone(),
            stop: stop.clone(),
            ended: Some(ended),
        };
        let (shared, own) = (self.shared.clone(), name.clone());
        self.shared.tasks.spawn("remote_write", async move {
            if let Some(before) = before {
                let _ = before.await;
            }
            shared.run(&own, &config, endpoint, labelling, stop).await;
            let _ = ending.send(());
        });
        (name, running)
    }
}

impl Shared {
    fn cursors(&self, log: Logs) -> Cursors {
        Cursors::new(Arc::new(DiskFiles), &self.dir.join(log.as_str()))
    }

    fn hold(&self, name: &str) -> Hold {
        let (retention, name) = (self.wal.retention.clone(), cursor_name(name));
        Arc::new(move |source, position| retention.hold(&name, log_of(source), position))
    }

    async fn run(
        self: &Arc<Shared>,
        name: &str,
        config: &RemoteWriteConfig,
        endpoint: Endpoint,
        labelling: Labelling,
        stop: CancellationToken,
    ) {
        let Some((place, begin)) = self.open(name, &stop).await else { return };
        let now = (clock::now(), clock::monotonic());
        let limits = FrameLimits { raw_bytes_max: u32::MAX as usize, ..FrameLimits::default() };
        let follower = Follower::new(labelling, limits, now);
        let metadata = config.metadata_config.send.then_some((config.metadata_config.send_interval, now.1));
        let feed = Feed::new(&self.wal, begin, follower, metadata, endpoint.names_labels());
        let (give, take) = mpsc::channel(READS_AHEAD);
        let reading = self.read(feed, give, stop.clone());
        tokio::join!(reading, endpoint.run(settings_of(config), place, take, stop.clone()));
    }

    /// Finds the endpoint's place in both logs; tries again while the disk refuses.
    async fn open(self: &Arc<Shared>, name: &str, stop: &CancellationToken) -> Option<(Place, (Begin, Begin))> {
        loop {
            let (shared, own) = (self.clone(), name.to_owned());
            let opening = tokio::task::spawn_blocking(move || shared.open_place(&own)).await;
            match opening {
                Ok(Ok(opened)) => return Some(opened),
                Ok(Err(fault)) => tracing::error!(%fault, name, "the endpoint's cursor cannot be read, trying again"),
                Err(fault) => tracing::error!(%fault, name, "the endpoint's cursor cannot be read, trying again"),
            }
            tokio::select! {
                () = stop.cancelled() => return None,
                () = tokio::time::sleep(DISK_PAUSE) => {}
            }
        }
    }

    fn open_place(&self, name: &str) -> Result<(Place, (Begin, Begin)), CursorError> {
        let mut place = Place::new(name, self.hold(name));
        let (frames, recorded) = (&self.wal.frames, &self.wal.recorded);
        let end = frames.log().synced();
        let origin = frames.origin(clock::now()).unwrap_or(end).min(end);
        let first = frames.log().first();
        let frames = place.open(Source::Frames, self.cursors(Logs::Frames), first, (end, origin))?;
        let end = recorded.log().synced();
        let origin = recorded.origin().unwrap_or(end).min(end);
        let first = recorded.log().first();
        let recorded = place.open(Source::Recorded, self.cursors(Logs::Recorded), first, (end, origin))?;
        Ok((place, (frames, recorded)))
    }

    /// Reads the logs and hands over what is found, until `stop` fires.
    async fn read(&self, mut feed: Feed, give: mpsc::Sender<Read>, stop: CancellationToken) {
        let mut frames = self.wal.frames.committer().progress();
        let mut recorded = self.wal.recorded.committer().progress();
        let mut silence_at = clock::monotonic() + SILENCE_INTERVAL;
        while !stop.is_cancelled() {
            frames.mark_unchanged();
            recorded.mark_unchanged();
            let is_due = clock::monotonic() >= silence_at;
            let stepping = move || {
                let mut found = feed.step(clock::now(), clock::monotonic());
                if let Ok(reads) = &mut found
                    && is_due
                    && reads.is_empty()
                {
                    reads.extend(feed.silence(clock::now()));
                }
                (feed, found)
            };
            let Ok((back, found)) = tokio::task::spawn_blocking(stepping).await else { return };
            feed = back;
            if is_due {
                silence_at = clock::monotonic() + SILENCE_INTERVAL;
            }
            let is_idle = match found {
                Ok(reads) => {
                    let is_idle = reads.is_empty();
                    for read in reads {
                        tokio::select! {
                            () = stop.cancelled() => return,
                            sent = give.send(read) => if sent.is_err() { return },
                        }
                    }
                    is_idle
                }
                Err(fault) => {
                    tracing::error!(%fault, "the journal cannot be read for an endpoint, trying again");
                    tokio::time::sleep(DISK_PAUSE).await;
                    continue;
                }
            };
            if is_idle {
                tokio::select! {
                    () = stop.cancelled() => return,
                    _ = frames.changed() => {}
                    _ = recorded.changed() => {}
                    () = tokio::time::sleep(SILENCE_INTERVAL) => {}
                }
            }
        }
    }
}

fn log_of(source: Source) -> Logs {
    match source {
        Source::Frames => Logs::Frames,
        Source::Recorded => Logs::Recorded,
    }
}
