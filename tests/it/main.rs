//! Contracts and end-to-end tests, one binary: each module here is one subject, seen through public functions or the
//! real program.

mod always_there;
mod certs;
mod check_push;
mod cli;
mod config;
mod demo;
mod discovery;
mod exposition;
mod exposition_roundtrip;
mod federate;
mod metrics_page;
mod net;
mod net_client;
mod peers;
mod push_resync;
mod push_sender;
mod push_verdicts;
mod relabel;
mod returning_series;
mod roles;
mod roles_demo;
mod roles_push;
mod scrape;
mod scrape_cache;
mod site;
mod snapshot;
mod snapshot_frames;
mod soak;
mod store;
mod store_model;
mod store_pushes;
mod tls;
