//! A bound on how many big pages are written at once.
//!
//! A page takes part of the CPU pool and a few blocks of memory until its reader has the last byte, not only until its
//! headers are out; so its place is given back when the body is dropped, whether it was written whole or not. Who finds
//! no place waits in the order of arrival.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::routes::Routes;

/// Lets `places` answers of `routes` be written at once; at least one.
pub fn in_turn(routes: Routes, places: usize) -> Routes {
    let places = Arc::new(Semaphore::new(places.clamp(1, Semaphore::MAX_PERMITS)));
    routes.layer(axum::middleware::from_fn_with_state(places, wait))
}

async fn wait(State(places): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    let place = places.acquire_owned().await.expect("the semaphore is never closed");
    next.run(request).await.map(|inner| Body::new(Placed { inner, _place: place }))
}

/// A body that holds its place.
struct Placed {
    inner: Body,
    _place: OwnedSemaphorePermit,
}

impl HttpBody for Placed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::routing::get;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn the_place_is_given_back_with_the_body() {
        let routes = in_turn(Routes::new().route("/", get(|| async { "page" })), 1);
        let ask = || routes.clone().oneshot(Request::new(Body::empty()));
        let first = ask().await.unwrap();
        let second = tokio::time::timeout(Duration::from_millis(20), ask()).await;
        assert!(second.is_err(), "the first page is not read yet");
        drop(first);
        assert_eq!(ask().await.unwrap().status(), 200);
    }
}
