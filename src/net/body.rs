//! Bodies on their way in and out: a request's has a deadline, an answer's keeps its connection busy.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use tokio::time::Sleep;
use tower::BoxError;

use super::activity::Busy;
use super::counts::{Refusal, ServerCounts};

/// A body that did not come to its end in time.
#[derive(Debug, thiserror::Error)]
#[error("the request's body was not complete after {0:?}")]
pub struct BodyTimeout(Duration);

/// A request's body; fails with [`BodyTimeout`] once its time is over.
pub struct RequestBody {
    inner: Incoming,
    bound: Duration,
    counts: Arc<ServerCounts>,
    /// Made at the first wait: most bodies are there with their headers.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl RequestBody {
    pub(super) fn new(inner: Incoming, bound: Duration, counts: Arc<ServerCounts>) -> RequestBody {
        RequestBody { inner, bound, counts, deadline: None }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.inner).poll_frame(cx);
        if outcome.is_ready() {
            return outcome.map_err(Into::into);
        }
        let deadline = this.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(this.bound)));
        if deadline.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        this.counts.count(Refusal::BodyTimeout);
        Poll::Ready(Some(Err(BodyTimeout(this.bound).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// An answer's body of any origin.
pub(super) type Reply = UnsyncBoxBody<Bytes, BoxError>;

/// An answer's body; while it exists its request is under way.
pub(super) struct BusyBody {
    pub(super) inner: Reply,
    pub(super) _busy: Busy,
}

impl Body for BusyBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.get_mut().inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
