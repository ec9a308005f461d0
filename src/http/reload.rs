//! `POST /-/reload`: asks the role to read its configuration again, and says how that went.
//!
//! As in Prometheus the path answers 403 unless a flag switches it on: who can reach a listener need not be who may
//! change the process. SIGHUP asks in the same way, so both meet in one queue and one reload runs at a time.

use axum::extract::State;
use axum::http::StatusCode;
use tokio::sync::{mpsc, oneshot};

/// Reloads that may wait; further ones find the queue full, which answers 503: one is about to run anyway.
const WAITING_MAX: usize = 8;

/// One wish to reload; whoever fulfils it answers with the faults or nothing.
pub type ReloadRequest = oneshot::Sender<Result<(), String>>;

/// Where wishes to reload are brought.
#[derive(Clone, Debug)]
pub struct ReloadQueue {
    requests: mpsc::Sender<ReloadRequest>,
    allowed: bool,
}

impl ReloadQueue {
    /// The queue and its end; `allowed` says whether HTTP may ask.
    pub fn new(allowed: bool) -> (ReloadQueue, mpsc::Receiver<ReloadRequest>) {
        let (requests, fulfil) = mpsc::channel(WAITING_MAX);
        (ReloadQueue { requests, allowed }, fulfil)
    }
}

/// The handler of `POST` and `PUT`.
pub async fn reload(State(queue): State<ReloadQueue>) -> (StatusCode, String) {
    if !queue.allowed {
        return (StatusCode::FORBIDDEN, "Lifecycle API is not enabled: start with --enable-reload.\n".to_owned());
    }
    let (answer, outcome) = oneshot::channel();
    if queue.requests.try_send(answer).is_err() {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many reloads wait\n".to_owned());
    }
    match outcome.await {
        Ok(Ok(())) => (StatusCode::OK, String::new()),
        Ok(Err(faults)) => (StatusCode::INTERNAL_SERVER_ERROR, format!("failed to reload config: {faults}\n")),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n".to_owned()),
    }
}
