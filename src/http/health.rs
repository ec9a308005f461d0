//! `/-/healthy` and `/-/ready`, as Prometheus has them.
//!
//! Healthy means that the process answers. Ready means that a reader finds the whole site: before it a scrape would see
//! clusters missing that are only late, and Prometheus would end their series.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;

/// Names what is still awaited; nothing means ready.
pub type Awaited = Arc<dyn Fn() -> Vec<String> + Send + Sync>;

/// Awaited names that an answer lists.
const LISTED_MAX: usize = 20;

/// 200, always.
pub async fn healthy() -> &'static str {
    "fedgate is Healthy.\n"
}

/// 200 once nothing is awaited; 503 with what is.
pub async fn ready(State(awaited): State<Awaited>) -> (StatusCode, String) {
    let awaited = awaited();
    if awaited.is_empty() {
        return (StatusCode::OK, "fedgate is Ready.\n".to_owned());
    }
    let more = if awaited.len() > LISTED_MAX { ", …" } else { "" };
    let listed = awaited[..awaited.len().min(LISTED_MAX)].join(", ");
    (StatusCode::SERVICE_UNAVAILABLE, format!("not ready, {} awaited: {listed}{more}\n", awaited.len()))
}
