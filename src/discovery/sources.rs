//! The running sources of all jobs: one task each, which sends its groups whenever they change.
//!
//! Invariant: a reload keeps every source whose configuration is unchanged, with the groups it found, so that an HTTP
//! endpoint that happens to be down at that moment costs no target. A source that is no longer configured ends when its
//! entry here is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::file::{FileSource, POLL_INTERVAL};
use super::group::TargetGroup;
use super::http::HttpSource;
use crate::config::{FileSdConfig, HttpSdConfig, ScrapeConfig};
use crate::net::client::ClientError;
use crate::runtime::Tasks;

/// What went wrong in discovery, counted since the start.
#[derive(Debug, Default)]
pub struct Counters {
    file: AtomicU64,
    http: AtomicU64,
}

impl Counters {
    /// Each reason with its count.
    pub fn faults(&self) -> [(&'static str, u64); 2] {
        [("file", self.file.load(Ordering::Relaxed)), ("http", self.http.load(Ordering::Relaxed))]
    }

    fn count(counter: &AtomicU64, faults: usize) {
        counter.fetch_add(faults as u64, Ordering::Relaxed);
    }
}

/// The groups of one source, as they are from now on.
#[derive(Debug)]
pub struct Discovered {
    source: u64,
    groups: Vec<TargetGroup>,
}

/// What a source was started with; equal ones need no restart.
#[derive(Clone, Debug, PartialEq)]
enum SourceConfig {
    File(FileSdConfig),
    Http(Box<HttpSdConfig>),
}

/// The sources of a configuration, made ready but not running.
pub struct PreparedSources(Vec<Prepared>);

struct Prepared {
    job: Arc<str>,
    config: SourceConfig,
    task: Task,
}

impl Prepared {
    fn is_as(&self, running: &Running) -> bool {
        (&self.job, &self.config) == (&running.job, &running.config)
    }
}

impl PreparedSources {
    /// The file and HTTP sources of `jobs`; fails where a client cannot be built.
    pub fn new<'a>(jobs: impl Iterator<Item = &'a ScrapeConfig>) -> Result<PreparedSources, ClientError> {
        let mut prepared = Vec::new();
        for job in jobs {
            let name: Arc<str> = job.job_name.as_str().into();
            let files = job.file_sd_configs.iter().cloned().map(SourceConfig::File);
            let https = job.http_sd_configs.iter().cloned().map(|own| SourceConfig::Http(Box::new(own)));
            for config in files.chain(https) {
                prepared.push(Prepared { job: name.clone(), task: Task::new(&config)?, config });
            }
        }
        Ok(PreparedSources(prepared))
    }
}

struct Running {
    id: u64,
    job: Arc<str>,
    config: SourceConfig,
    groups: Vec<TargetGroup>,
    /// Ends the task when dropped.
    _stop: DropGuard,
}

/// The sources of all jobs.
pub struct Sources {
    tasks: Tasks,
    sender: mpsc::Sender<Discovered>,
    counters: Arc<Counters>,
    running: Vec<Running>,
    next_id: u64,
}

impl Sources {
    /// No source yet. What they find goes into `sender`; a source waits where it is full.
    pub fn new(tasks: Tasks, sender: mpsc::Sender<Discovered>, counters: Arc<Counters>) -> Sources {
        Sources { tasks, sender, counters, running: Vec::new(), next_id: 0 }
    }

    /// Runs the prepared sources and no others.
    pub fn apply(&mut self, prepared: PreparedSources) {
        let wanted = prepared.0;
        self.running.retain(|own| wanted.iter().any(|other| other.is_as(own)));
        for source in wanted {
            if !self.running.iter().any(|own| source.is_as(own)) {
                self.start(source);
            }
        }
    }

    fn start(&mut self, source: Prepared) {
        let Prepared { job, config, task } = source;
        let (id, stop) = (self.next_id, self.tasks.stop().child_token());
        self.next_id += 1;
        let outlet =
            Outlet { source: id, sender: self.sender.clone(), counters: self.counters.clone(), job: job.clone() };
        self.tasks.spawn("discovery", task.run(outlet, stop.clone()));
        self.running.push(Running { id, job, config, groups: Vec::new(), _stop: stop.drop_guard() });
    }

    /// Takes over what a source sent; the job that it concerns, or none where the source has been stopped since.
    pub fn take(&mut self, found: Discovered) -> Option<Arc<str>> {
        let running = self.running.iter_mut().find(|own| own.id == found.source)?;
        running.groups = found.groups;
        Some(running.job.clone())
    }

    /// Everything known for `job`: its static groups, then what its sources found.
    pub fn groups(&self, job: &ScrapeConfig) -> Vec<TargetGroup> {
        let mut groups = TargetGroup::of_static(&job.job_name, &job.static_configs);
        let own = self.running.iter().filter(|own| *own.job == *job.job_name);
        groups.extend(own.flat_map(|own| own.groups.iter().cloned()));
        groups
    }
}

/// A source's way out.
struct Outlet {
    source: u64,
    job: Arc<str>,
    sender: mpsc::Sender<Discovered>,
    counters: Arc<Counters>,
}

impl Outlet {
    /// Sends; a closed channel means that the process ends.
    async fn send(&self, groups: Vec<TargetGroup>) {
        let _ = self.sender.send(Discovered { source: self.source, groups }).await;
    }
}

enum Task {
    File(FileSource),
    Http(Box<HttpSource>),
}

impl Task {
    fn new(config: &SourceConfig) -> Result<Task, ClientError> {
        Ok(match config {
            SourceConfig::File(config) => Task::File(FileSource::new(config.clone())),
            SourceConfig::Http(config) => Task::Http(Box::new(HttpSource::new(config)?)),
        })
    }

    async fn run(self, outlet: Outlet, stop: CancellationToken) {
        let work = async {
            match self {
                Task::File(source) => run_file(source, &outlet).await,
                Task::Http(source) => run_http(*source, &outlet).await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = work => {}
        }
    }
}

async fn run_file(mut source: FileSource, outlet: &Outlet) {
    let refresh = source.refresh_interval();
    let mut since_forced = refresh;
    let mut told = Vec::new();
    loop {
        let forced = since_forced >= refresh;
        let mut faults = Vec::new();
        if source.refresh(forced, &mut faults).await {
            outlet.send(source.groups()).await;
        }
        Counters::count(&outlet.counters.file, faults.len());
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        for fault in faults.iter().filter(|fault| !told.contains(*fault)) {
            tracing::warn!(job = &*outlet.job, fault, "file discovery keeps the targets it had");
        }
        told = faults;
        let pause = POLL_INTERVAL.min(refresh);
        tokio::time::sleep(pause).await;
        since_forced = if forced { pause } else { since_forced + pause };
    }
}

async fn run_http(mut source: HttpSource, outlet: &Outlet) {
    let mut last_fault = None;
    loop {
        match source.refresh().await {
            Ok(groups) => {
                last_fault = None;
                if let Some(groups) = groups {
                    outlet.send(groups).await;
                }
            }
            Err(fault) => {
                Counters::count(&outlet.counters.http, 1);
                let text = fault.to_string();
                if last_fault.as_ref() != Some(&text) {
                    tracing::warn!(job = &*outlet.job, fault = text, "HTTP discovery keeps the targets it had");
                }
                last_fault = Some(text);
            }
        }
        tokio::time::sleep(source.refresh_interval()).await;
    }
}
