//! fedgate: a federating aggregation gateway for many clusters.
//!
//! A collector in each cluster scrapes the exporters there and pushes snapshots over mTLS; the gateway serves the merged
//! site. The modules stand in the order in which they may import each other (each only those above it), which
//! `tests/architecture.rs` holds; `docs/architecture.md` says what each is for and why it is so.

pub mod model;

pub mod config;

pub mod telemetry;

pub mod runtime;

pub mod exposition;

pub mod snapshot;

pub mod journal;

pub mod store;

pub mod wal;

pub mod promql;
pub mod tls;

pub mod net;

pub mod relabel;

pub mod discovery;

pub mod scrape;

pub mod push;

pub mod remote_write;

pub mod rules;

pub mod http;

pub mod demo;

pub mod cli;
