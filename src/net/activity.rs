//! What a connection is waiting for, and until when it may.
//!
//! hyper can bound a request's headers, but takes the time between two requests for a slow header. Readers that come back
//! every minute are to keep their connection, and a peer that sends a header byte by byte is not; so the time is kept
//! here, fed by the bytes that arrive ([`Activity::arrived`]) and by the requests that begin and end ([`Busy`]).
//!
//! ```text
//!  start ──header──► first request ─► (busy: no bound here) ─► idle ──idle──► closed
//!                                                        first byte │ (HTTP/1)
//!                                                                   └─header──► closed, counted
//! ```
//!
//! On HTTP/2 bytes arrive between requests too (answers to pings), so only the idle bound holds there after the first.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// One connection's clock.
#[derive(Debug)]
pub(super) struct Activity {
    /// Written by the connection's reads and by its requests.
    state: Mutex<State>,
    /// Notified when a wait begins that may end before the one under way.
    changed: Notify,
    /// Notified when the connection is to close because a request was refused.
    refused: Notify,
}

#[derive(Debug)]
struct State {
    requests_open: usize,
    phase: Phase,
    h2: bool,
}

/// What a connection without a request under way waits for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// The first request since the connection stands.
    First(Instant),
    /// Any request, since the last one ended.
    Idle(Instant),
    /// The rest of a header, since its first byte.
    Header(Instant),
}

/// Why a connection waited long enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    Header,
    Idle,
}

impl Activity {
    pub(super) fn new() -> Arc<Activity> {
        let state = State { requests_open: 0, phase: Phase::First(Instant::now()), h2: false };
        Arc::new(Activity { state: Mutex::new(state), changed: Notify::new(), refused: Notify::new() })
    }

    /// Bytes came in.
    pub(super) fn arrived(&self) {
        let mut state = self.lock();
        if state.requests_open == 0 && !state.h2 && matches!(state.phase, Phase::Idle(_)) {
            state.phase = Phase::Header(Instant::now());
            self.changed.notify_one();
        }
    }

    /// A request's header is complete; it is under way until the returned value is dropped.
    pub(super) fn begin(self: &Arc<Activity>, h2: bool) -> Busy {
        let mut state = self.lock();
        state.requests_open += 1;
        state.h2 = h2;
        Busy(self.clone())
    }

    /// Asks the connection to close after what is under way.
    pub(super) fn refuse(&self) {
        self.refused.notify_one();
    }

    /// Resolves once [`Activity::refuse`] was called.
    pub(super) async fn refused(&self) {
        self.refused.notified().await;
    }

    /// Resolves when the peer has let us wait too long.
    pub(super) async fn overdue(&self, header: Duration, idle: Duration) -> Overdue {
        loop {
            let due = self.lock().due(header, idle);
            match due {
                Some((due, why)) if due <= Instant::now() => return why,
                Some((due, _)) => {
                    let _ = tokio::time::timeout_at(due, self.changed.notified()).await;
                }
                None => self.changed.notified().await,
            }
        }
    }

    /// Resolves when no request was under way for `grace`.
    pub(super) async fn quiet(&self, grace: Duration) {
        loop {
            let busy = self.lock().requests_open > 0;
            if busy {
                self.changed.notified().await;
            } else if tokio::time::timeout(grace, self.changed.notified()).await.is_err() {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn due(&self, header: Duration, idle: Duration) -> Option<(Instant, Overdue)> {
        if self.requests_open > 0 {
            return None;
        }
        Some(match self.phase {
            Phase::First(since) | Phase::Header(since) => (since + header, Overdue::Header),
            Phase::Idle(since) => (since + idle, Overdue::Idle),
        })
    }
}

/// A request under way, from its header to the last byte of its answer's body.
#[derive(Debug)]
pub(super) struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.requests_open -= 1;
        if state.requests_open == 0 {
            state.phase = Phase::Idle(Instant::now());
            self.0.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Duration = Duration::from_millis(40);
    const IDLE: Duration = Duration::from_millis(400);
    const SOON: Duration = Duration::from_millis(10);

    #[tokio::test]
    async fn the_first_request_has_the_header_s_time() {
        let (activity, start) = (Activity::new(), Instant::now());
        assert_eq!(activity.overdue(HEADER, IDLE).await, Overdue::Header);
        assert!(start.elapsed() >= HEADER && start.elapsed() < IDLE);
    }

    #[tokio::test]
    async fn between_requests_a_connection_may_idle_but_not_trickle() {
        let activity = Activity::new();
        drop(activity.begin(false));
        let waiting = activity.clone();
        let overdue = tokio::spawn(async move { waiting.overdue(HEADER, IDLE).await });
        tokio::time::sleep(2 * HEADER).await;
        assert!(!overdue.is_finished(), "idle is no slow header");
        activity.arrived();
        tokio::time::sleep(SOON).await;
        activity.arrived();
        assert_eq!(overdue.await.unwrap(), Overdue::Header);
    }

    #[tokio::test]
    async fn a_request_under_way_stops_the_clock() {
        let activity = Activity::new();
        let busy = activity.begin(false);
        let waiting = activity.clone();
        let overdue = tokio::spawn(async move { waiting.overdue(HEADER, SOON).await });
        tokio::time::sleep(2 * HEADER).await;
        assert!(!overdue.is_finished());
        drop(busy);
        assert_eq!(overdue.await.unwrap(), Overdue::Idle);
    }

    #[tokio::test]
    async fn bytes_between_the_requests_of_an_http2_connection_are_no_header() {
        let activity = Activity::new();
        drop(activity.begin(true));
        activity.arrived();
        let start = Instant::now();
        assert_eq!(activity.overdue(SOON, 2 * HEADER).await, Overdue::Idle);
        assert!(start.elapsed() >= HEADER);
    }
}
