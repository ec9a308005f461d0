//! A scraper that comes while a gateway is still filling after its start is kept waiting, as long as it can.
//!
//! What a page lacks, a scraper that tracks staleness marks as ended; an error ends everything. A gateway that starts has
//! every cluster back within one push of its collectors, so a page that comes a few seconds later is whole, and the reader
//! notices nothing of the restart. Who does not say how long it waits is answered at once, with what there is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::health::Awaited;
use super::readers::SCRAPE_TIMEOUT;
use super::routes::Routes;

/// How often is looked whether everything is there.
const POLL: Duration = Duration::from_millis(50);
/// Part of the scraper's time-out that may pass here; the rest is for the page.
const SHARE: f64 = 0.5;
/// No scraper is kept longer, whatever it says.
const PATIENCE_MAX: Duration = Duration::from_secs(30);

/// Lets scrapers of `routes` wait while something is awaited.
pub fn when_whole(routes: Routes, awaited: Awaited) -> Routes {
    routes.layer(axum::middleware::from_fn_with_state(awaited, wait))
}

/// Refuses readers of `routes` while the gateway reads its journal: half of a site on a page would end the other half's series.
pub fn when_restored(routes: Routes, is_restored: Arc<AtomicBool>) -> Routes {
    routes.layer(axum::middleware::from_fn_with_state(is_restored, refuse))
}

async fn refuse(State(is_restored): State<Arc<AtomicBool>>, request: Request, next: Next) -> Response {
    match is_restored.load(Ordering::Acquire) {
        true => next.run(request).await,
        false => (StatusCode::SERVICE_UNAVAILABLE, "the journal is being read\n").into_response(),
    }
}

async fn wait(State(awaited): State<Awaited>, request: Request, next: Next) -> Response {
    if let Some(patience) = patience_of(request.headers()) {
        let whole = async {
            while !awaited().is_empty() {
                tokio::time::sleep(POLL).await;
            }
        };
        // What is still missing then is missing on the page.
        let _ = tokio::time::timeout(patience, whole).await;
    }
    next.run(request).await
}

/// `None` for who does not say how long it waits.
fn patience_of(headers: &HeaderMap) -> Option<Duration> {
    let seconds: f64 = headers.get(SCRAPE_TIMEOUT)?.to_str().ok()?.parse().ok()?;
    Some(Duration::try_from_secs_f64(seconds * SHARE).ok()?.min(PATIENCE_MAX))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;
    use tower::ServiceExt as _;

    use super::*;
    use crate::runtime::clock;

    const COMES_AFTER: Duration = Duration::from_millis(200);

    /// Whether a request with this header gets its page only when alpha is there.
    async fn is_kept_waiting(timeout: Option<&str>) -> bool {
        let start = clock::monotonic();
        let awaited = move || if start.elapsed() < COMES_AFTER { vec!["alpha".to_owned()] } else { Vec::new() };
        let routes = when_whole(Routes::new().route("/", get(|| async { "page" })), Arc::new(awaited));
        let mut request = Request::get("/");
        if let Some(timeout) = timeout {
            request = request.header(SCRAPE_TIMEOUT, timeout);
        }
        let response = routes.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), 200);
        start.elapsed() >= COMES_AFTER
    }

    #[tokio::test]
    async fn a_scraper_waits_until_all_is_there_or_half_its_time_is_over() {
        assert!(is_kept_waiting(Some("10")).await);
        assert!(!is_kept_waiting(Some("0.2")).await, "its time is over before");
        for nobody in [None, Some("never"), Some("-1")] {
            assert!(!is_kept_waiting(nobody).await, "{nobody:?}");
        }
    }
}
