//! The only spawner of tasks, and of threads that work beside them.
//!
//! Invariant: every task has a name, belongs to one stage of the shutdown and is waited for. A task that panics takes
//! the process down in order: the panic is logged with the task's name, the shutdown begins, and the process ends with
//! code 1. A part that silently stopped would look like an idle one.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use futures_util::FutureExt as _;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::shutdown::Ending;

/// Spawns the tasks of one stage; clones spawn into the same stage.
#[derive(Clone, Debug)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
    ending: Arc<Ending>,
}

impl Tasks {
    pub(super) fn new(ending: Arc<Ending>) -> Tasks {
        Tasks { tracker: TaskTracker::new(), stop: CancellationToken::new(), ending }
    }

    /// Runs `task` until it is done. It must end soon after [`Tasks::stop`] fires; what is still running at the
    /// deadline of the shutdown is dropped at its next `.await`.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let ending = self.ending.clone();
        self.tracker.spawn(async move {
            if let Err(panic) = AssertUnwindSafe(task).catch_unwind().await {
                tracing::error!(task = name, panic = panic_text(&*panic), "task panicked, the process ends");
                ending.fail();
            }
        });
    }

    /// Runs `work` on a thread of its own, for work that blocks for as long as the process lives; it is waited for like a task, and
    /// must end soon after [`Tasks::stop`] fires.
    pub fn spawn_thread(&self, name: &'static str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let (give, take) = oneshot::channel();
        let run = move || drop(give.send(catch_unwind(AssertUnwindSafe(work))));
        std::thread::Builder::new().name(name.to_owned()).spawn(run)?;
        self.spawn(name, async move {
            if let Ok(Err(panic)) = take.await {
                resume_unwind(panic);
            }
        });
        Ok(())
    }

    /// Fires when the tasks of this stage are to end.
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Fires [`Tasks::stop`] and waits until every task is done.
    pub(super) async fn end(&self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// How many tasks run.
    pub(super) fn running(&self) -> usize {
        self.tracker.len()
    }
}

/// What a panic said.
pub(super) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without text")
}
