//! The two ends of the snapshot protocol: [`client`] at the collector, [`receive`] at the gateway, and between them
//! [`protocol`], what both say.
//!
//! The collector holds what was not acknowledged and repeats it, byte for byte, until it is; the gateway applies each
//! frame once, in order. Neither end needs the other to remember anything across a restart: a gateway that lost its
//! state asks for the last KEY, a collector that lost its own begins a new stream.

pub mod client;
mod inventory;
pub mod protocol;
pub mod queue;
mod rate;
pub mod receive;
pub mod sender;
pub mod transport;

pub use inventory::inventory;
