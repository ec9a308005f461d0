//! Time, tasks, CPU work and the order of shutdown: what the parts share with the machine.
//!
//! The clock is read in [`clock`] alone and tasks are spawned in [`tasks`] alone, so that everything else can be tested
//! with the time and the order that the test chooses, and nothing outlives a shutdown unseen.

pub mod clock;
mod lanes;
pub mod memory;
pub mod pool;
pub mod shutdown;
pub mod signals;
pub mod tasks;

pub use lanes::in_lanes;
pub use pool::{CpuPool, PoolError, Started};
pub use shutdown::{Ending, Shutdown, Stage};
pub use tasks::Tasks;

/// How many CPUs this process may use; at least 1.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Runs `main` on an asynchronous runtime with so many workers, and returns what it returns.
pub fn block_on<T>(threads: usize, main: impl Future<Output = T>) -> std::io::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    Ok(runtime.block_on(main))
}
