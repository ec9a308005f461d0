//! One connection: handshake, requests, end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE};
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::activity::{Activity, Overdue};
use super::body::{BusyBody, Reply, RequestBody};
use super::counts::Refusal;
use super::limits::{
    CLOSE_GRACE, H2_LOCAL_RESETS, H2_PENDING_RESETS, H2_PING_INTERVAL, H2_PING_TIMEOUT, H2_STREAMS, H2_WINDOW_BYTES,
    HEADER_BYTES,
};
use super::server::{Routes, Shared};
use super::watched::{StalledWrite, Watched};
use crate::runtime::clock;
use crate::tls::{HandshakeRefusal, Identity, Peer};

/// What a request's extensions say (as `Arc<Connection>`) about where it came from.
#[derive(Debug)]
pub struct Connection {
    /// The other end's address; a proxy's, where one stands between.
    pub address: SocketAddr,
    /// Who the other end proved to be; `None` without a client certificate.
    pub identity: Option<Arc<Identity>>,
    /// When the connection was accepted.
    pub since: Instant,
    peer: Option<Peer>,
}

/// Serves `stream` until either side ends it.
pub(super) async fn serve(
    shared: Arc<Shared>,
    stream: TcpStream,
    address: SocketAddr,
    routes: Routes,
    stop: CancellationToken,
) {
    // Answers are written whole; waiting for more only costs time.
    let _ = stream.set_nodelay(true);
    let since = clock::monotonic();
    let Some(tls) = shared.tls.clone() else {
        let connection = Connection { address, identity: None, since, peer: None };
        return requests(shared, stream, connection, routes, stop).await;
    };
    let handshake = tokio::time::timeout(shared.limits.handshake, tls.accept(stream));
    let accepted = tokio::select! {
        () = stop.cancelled() => return,
        accepted = handshake => accepted,
    };
    let refusal = match accepted {
        Ok(Ok(accepted)) => {
            let identity = accepted.peer.as_ref().map(|peer| peer.identity.clone());
            let connection = Connection { address, identity, since, peer: accepted.peer };
            return requests(shared, accepted.stream, connection, routes, stop).await;
        }
        Ok(Err(refusal)) => Refusal::Tls(refusal),
        Err(_) => Refusal::HandshakeTimeout,
    };
    tracing::debug!(%address, reason = refusal.as_str(), "handshake refused");
    shared.counts.count(refusal);
}

async fn requests<I>(shared: Arc<Shared>, io: I, connection: Connection, routes: Routes, stop: CancellationToken)
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let activity = Activity::new();
    let limits = shared.limits.clone();
    let io = TokioIo::new(Watched::new(io, activity.clone(), limits.stalled_write));
    let desk = Arc::new(Desk { shared: shared.clone(), connection: Arc::new(connection), activity: activity.clone() });
    let service = hyper::service::service_fn(move |request| desk.clone().answer(request, routes.clone()));
    let streams = CancellationToken::new();
    let _end_streams = streams.clone().drop_guard();
    let builder = builder(StreamTasks(streams));
    let mut serving = std::pin::pin!(builder.serve_connection(io, service));
    let mut ended = tokio::select! {
        ended = serving.as_mut() => Some(ended),
        () = stop.cancelled() => None,
        () = activity.refused() => None,
        why = activity.overdue(limits.header, limits.idle) => {
            if why == Overdue::Header {
                shared.counts.count(Refusal::HeaderTimeout);
            }
            None
        }
    };
    if ended.is_none() {
        serving.as_mut().graceful_shutdown();
        ended = tokio::select! {
            ended = serving.as_mut() => Some(ended),
            () = activity.quiet(CLOSE_GRACE) => None,
        };
    }
    if let Some(Err(error)) = ended {
        count_fault(&shared, &*error);
    }
}

/// Runs the requests of an HTTP/2 connection, each in a task that ends with the connection at the latest.
#[derive(Clone)]
struct StreamTasks(CancellationToken);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for StreamTasks {
    fn execute(&self, stream: F) {
        tokio::spawn(self.0.clone().run_until_cancelled_owned(stream));
    }
}

fn builder(streams: StreamTasks) -> auto::Builder<StreamTasks> {
    let mut builder = auto::Builder::new(streams);
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(HEADER_BYTES as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(H2_STREAMS)
        .max_header_list_size(HEADER_BYTES)
        .initial_stream_window_size(H2_WINDOW_BYTES)
        .initial_connection_window_size(H2_WINDOW_BYTES)
        .max_pending_accept_reset_streams(H2_PENDING_RESETS)
        .max_local_error_reset_streams(H2_LOCAL_RESETS)
        .keep_alive_interval(H2_PING_INTERVAL)
        .keep_alive_timeout(H2_PING_TIMEOUT);
    builder
}

/// A peer that goes away is no fault; one that breaks the rules or stops reading is.
fn count_fault(shared: &Shared, error: &(dyn std::error::Error + 'static)) {
    let causes = || std::iter::successors(Some(error), |error| error.source());
    let stalled = |error: &std::io::Error| error.get_ref().is_some_and(|inner| inner.is::<StalledWrite>());
    let ours = causes().filter_map(|error| error.downcast_ref::<hyper::Error>());
    if causes().filter_map(|error| error.downcast_ref()).any(stalled) {
        shared.counts.count(Refusal::WriteTimeout);
    } else if ours.clone().any(hyper::Error::is_parse) || causes().any(is_h2_fault) {
        shared.counts.count(Refusal::Protocol);
    }
    tracing::debug!(%error, "connection ended");
}

/// hyper does not show the faults of HTTP/2 as values. Its library's text begins so when this side ended the connection,
/// be it for a breach of the rules or of a bound.
fn is_h2_fault(error: &(dyn std::error::Error + 'static)) -> bool {
    error.to_string().starts_with("connection error detected")
}

/// Where a connection's requests pass before they reach the routes.
struct Desk {
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    activity: Arc<Activity>,
}

impl Desk {
    async fn answer(
        self: Arc<Desk>,
        request: Request<Incoming>,
        routes: Routes,
    ) -> Result<Response<BusyBody>, Infallible> {
        let busy = self.activity.begin(request.version() == Version::HTTP_2);
        let answer = match self.still_welcome() {
            Ok(()) => routes.oneshot(self.with_origin(request)).await?,
            Err(refusal) => self.refuse(refusal, request.version()),
        };
        Ok(answer.map(|inner| BusyBody { inner, _busy: busy }))
    }

    fn still_welcome(&self) -> Result<(), HandshakeRefusal> {
        match (&self.shared.tls, &self.connection.peer) {
            (Some(tls), Some(peer)) => tls.admit(peer, clock::now()),
            _ => Ok(()),
        }
    }

    fn with_origin(&self, request: Request<Incoming>) -> Request<RequestBody> {
        let mut request =
            request.map(|body| RequestBody::new(body, self.shared.limits.body, self.shared.counts.clone()));
        request.extensions_mut().insert(self.connection.clone());
        request
    }

    /// The one status that is not the routes' to choose: such a request never reaches them. The connection closes after
    /// it, and the handshake of the next one says the same.
    fn refuse(&self, refusal: HandshakeRefusal, version: Version) -> Response<Reply> {
        self.shared.counts.count(Refusal::Tls(refusal));
        if let Some(identity) = &self.connection.identity {
            tracing::warn!(%identity, serial = %identity.serial, reason = refusal.as_str(), "open connection refused");
        }
        self.activity.refuse();
        let text = format!("{refusal}\n");
        let mut answer = Response::new(Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync());
        *answer.status_mut() = StatusCode::FORBIDDEN;
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        if version != Version::HTTP_2 {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }
}
