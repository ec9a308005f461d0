//! What must hold between keys: the checks that loading runs on a configuration that could be read.
//!
//! Each check reports to [`At`](super::report::At) and goes on, so that a user sees all faults at once.

mod client;
mod collector;
mod disk;
mod gateway;
mod inventory;
mod jobs;
mod names;
mod relabel;
mod remote_write;

pub(super) use collector::check_collector;
pub(super) use disk::check_file_mode;
pub(super) use gateway::check_gateway;
pub use names::{ListenError, parse_listen};
