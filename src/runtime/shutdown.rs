//! The order in which a process ends.
//!
//! Three stages, each ended only when the one before it is over: first nothing new comes in (listeners, scrape loops),
//! then what is there is brought out (the last tick, requests under way), then the rest stops. One deadline stands over
//! all of them; what runs longer is left behind and named.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::tasks::Tasks;

/// How long a process may take to end. systemd's own bound is 90 s, Kubernetes' 30 s.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// How much of it a process in the process may take: two of them end within it.
const NESTED_DEADLINE: Duration = Duration::from_secs(9);

/// When the tasks of a [`Tasks`] end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// What brings something in: accept loops, scrape loops, discovery, signals.
    Intake,
    /// What brings something out: the collector's last tick and push.
    Drain,
    /// What the others lean on: sweeps, reload watchers, the collector's own listener.
    Rest,
}

/// Says that the process is to end, and whether because something broke.
#[derive(Debug, Default)]
pub struct Ending {
    requested: CancellationToken,
    failed: AtomicBool,
}

impl Ending {
    /// Begins the shutdown.
    pub fn request(&self) {
        self.requested.cancel();
    }

    /// Begins the shutdown because a part cannot go on; the process will end with code 1.
    pub fn fail(&self) {
        self.failed.store(true, Ordering::Release);
        self.request();
    }

    /// Resolves when the shutdown was begun.
    pub async fn requested(&self) {
        self.requested.cancelled().await;
    }

    /// Whether the shutdown was begun.
    pub fn is_requested(&self) -> bool {
        self.requested.is_cancelled()
    }

    /// Whether something broke.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }
}

/// All stages of one process.
#[derive(Debug)]
pub struct Shutdown {
    ending: Arc<Ending>,
    stages: [(Stage, Tasks); 3],
}

impl Default for Shutdown {
    fn default() -> Shutdown {
        Shutdown::new()
    }
}

impl Shutdown {
    /// Three stages without tasks.
    pub fn new() -> Shutdown {
        let ending = Arc::new(Ending::default());
        let stages = [Stage::Intake, Stage::Drain, Stage::Rest].map(|stage| (stage, Tasks::new(ending.clone())));
        Shutdown { ending, stages }
    }

    /// The spawner of one stage.
    pub fn tasks(&self, stage: Stage) -> Tasks {
        self.stages[stage as usize].1.clone()
    }

    /// The handle by which any part can begin the shutdown.
    pub fn ending(&self) -> &Arc<Ending> {
        &self.ending
    }

    /// Makes `inner`, a whole process in the process, a part of `stage`: it ends, all its stages in order, before the stage
    /// does, and if it ends by itself or late the outer one has failed.
    pub fn nest(&self, stage: Stage, name: &'static str, inner: Shutdown) {
        let (tasks, outer) = (self.tasks(stage), self.ending.clone());
        let stop = tasks.stop().clone();
        tasks.spawn(name, async move {
            tokio::select! {
                () = stop.cancelled() => inner.ending().request(),
                () = inner.ending().requested() => outer.fail(),
            }
            if !inner.run(NESTED_DEADLINE).await {
                outer.fail();
            }
        });
    }

    /// Waits for the shutdown to be begun, then ends the stages in order, all within `deadline`. False if a part broke
    /// or did not end in time.
    pub async fn run(self, deadline: Duration) -> bool {
        self.ending.requested().await;
        let in_time = tokio::time::timeout(deadline, self.end_stages()).await.is_ok();
        if !in_time {
            let left: usize = self.stages.iter().map(|(_, tasks)| tasks.running()).sum();
            tracing::error!(deadline_seconds = deadline.as_secs_f64(), tasks = left, "shutdown took too long");
        }
        in_time && !self.ending.has_failed()
    }

    async fn end_stages(&self) {
        for (stage, tasks) in &self.stages {
            tasks.end().await;
            tracing::debug!(?stage, "stage ended");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[tokio::test]
    async fn stages_end_one_after_the_other() {
        let shutdown = Shutdown::new();
        let order = Arc::new(Mutex::new(Vec::new()));
        for stage in [Stage::Rest, Stage::Drain, Stage::Intake] {
            let (tasks, order) = (shutdown.tasks(stage), order.clone());
            let stop = tasks.stop().clone();
            tasks.spawn("test", async move {
                stop.cancelled().await;
                tokio::time::sleep(Duration::from_millis(5)).await;
                order.lock().unwrap().push(stage);
            });
        }
        shutdown.ending().request();
        assert!(shutdown.run(DEADLINE).await);
        assert_eq!(*order.lock().unwrap(), [Stage::Intake, Stage::Drain, Stage::Rest]);
    }

    #[tokio::test]
    async fn a_process_in_the_process_ends_with_its_stage_and_its_failure_is_the_outer_one_s() {
        let outer = Shutdown::new();
        outer.nest(Stage::Intake, "inner", Shutdown::new());
        outer.ending().request();
        assert!(outer.run(DEADLINE).await);
        let (outer, inner) = (Shutdown::new(), Shutdown::new());
        inner.tasks(Stage::Rest).spawn("test", async { panic!("broken") });
        outer.nest(Stage::Drain, "inner", inner);
        assert!(!outer.run(DEADLINE).await);
    }

    #[tokio::test]
    async fn a_panic_ends_the_process_as_failed() {
        let shutdown = Shutdown::new();
        shutdown.tasks(Stage::Drain).spawn("test", async { panic!("broken") });
        assert!(!shutdown.run(DEADLINE).await);
    }

    #[tokio::test]
    async fn what_does_not_end_is_left_behind() {
        let shutdown = Shutdown::new();
        shutdown.tasks(Stage::Intake).spawn("test", std::future::pending());
        shutdown.ending().request();
        assert!(!shutdown.run(Duration::from_millis(10)).await);
    }
}
