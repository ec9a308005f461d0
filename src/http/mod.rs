//! The listeners' routes: what collectors push to, what readers scrape, the collector's own pages.
//!
//! `axum` lives here. Handlers know no sockets: a connection's identity comes in the request's extensions, put there by
//! `net`, and what they answer is decided by the parts below; here only verdicts and faults become status codes.

pub mod api;
pub mod auth;
pub mod federate;
pub mod health;
pub mod metrics;
pub mod own;
pub mod push;
pub mod readers;
pub mod reload;
pub mod render;
pub mod routes;
pub mod selectors;
mod shown;
pub mod turns;
pub mod whole;
mod write;

pub use routes::Routes;
