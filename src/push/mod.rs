//! The two ends of the snapshot protocol: [`client`] at the collector, [`receive`] at the gateway, and between them
//! [`protocol`], what both say.
//!
//! The collector keeps what was not acknowledged in a log, on disk ([`spool`]) or in memory, and repeats it, byte for byte, until it
//! is; each gateway has a place of its own in it ([`sender`]), and gets the newest state ahead of a backlog ([`lane`]). The gateway applies each
//! frame once, in order. Neither end needs the other to remember anything across a restart: a gateway that lost its
//! state asks for the last KEY, a collector goes on with what its spool holds and begins a new stream behind it.

pub mod client;
mod delivery;
pub mod entry;
mod inventory;
pub mod lane;
pub mod protocol;
mod rate;
pub mod receive;
pub mod sender;
pub mod spool;
mod status;
mod step;
pub mod transport;
pub mod window;

pub use inventory::inventory;
