//! The accept loop.
//!
//! The loop owns its connections: each is a task in a set of the loop's own, not one of `runtime`'s. A fault while serving
//! one peer ends that connection, is counted and logged, and leaves the process and the others alone; and when the loop
//! ends, none is left behind.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::BodyExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tower::util::BoxCloneService;
use tower::{BoxError, Service, ServiceExt as _};

use super::body::{Reply, RequestBody};
use super::connection;
use super::counts::{Refusal, ServerCounts};
use super::limits::ServerLimits;
use super::slots::Slots;
use crate::tls::ServerTls;

/// Pauses after an accept that failed for lack of something: the first, and the longest.
const ACCEPT_PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// What answers requests.
pub(super) type Routes = BoxCloneService<Request<RequestBody>, Response<Reply>, Infallible>;

/// Why a listener does not stand.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {listen:?}: {source}")]
pub struct BindError {
    /// As it was configured.
    pub listen: String,
    /// What the system says.
    pub source: io::Error,
}

/// A listener that is bound but not yet served.
pub struct Server {
    listener: TcpListener,
    shared: Arc<Shared>,
}

/// What a listener's connections share.
pub(super) struct Shared {
    pub(super) tls: Option<Arc<ServerTls>>,
    pub(super) limits: ServerLimits,
    pub(super) counts: Arc<ServerCounts>,
}

impl Server {
    /// Takes the address: `HOST:PORT`, or `:PORT` for every address of the machine.
    pub async fn bind(listen: &str, tls: Option<Arc<ServerTls>>, limits: ServerLimits) -> Result<Server, BindError> {
        let listener = listen_on(listen).await.map_err(|source| BindError { listen: listen.to_owned(), source })?;
        Ok(Server { listener, shared: Arc::new(Shared { tls, limits, counts: Arc::default() }) })
    }

    /// Where it listens, with the port that the system chose for port 0.
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("a bound listener has an address")
    }

    /// The listener's counters, which go on after the listener is served.
    pub fn counts(&self) -> Arc<ServerCounts> {
        self.shared.counts.clone()
    }

    /// Accepts until `stop` fires; then requests under way have the drain time, and what is left is cut.
    ///
    /// Each request carries an `Arc<Connection>` in its extensions.
    pub async fn serve<S, B>(self, service: S, stop: CancellationToken)
    where
        S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible, Future: Send>
            + Clone
            + Send
            + 'static,
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let boxed = |answer: Response<B>| answer.map(|body| body.map_err(Into::into).boxed_unsync());
        self.run(service.map_response(boxed).boxed_clone(), stop).await;
    }

    async fn run(self, routes: Routes, stop: CancellationToken) {
        let limits = &self.shared.limits;
        let slots = Slots::new(limits.connections, limits.connections_per_address, self.shared.counts.clone());
        let slots = Arc::new(slots);
        let mut connections = JoinSet::new();
        let mut pause = ACCEPT_PAUSE.0;
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = connections.join_next() => {
                    self.shared.note_end(ended);
                    continue;
                }
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, address)) => {
                    pause = ACCEPT_PAUSE.0;
                    self.shared.admit(stream, address, &slots, &routes, &stop, &mut connections);
                }
                Err(error) => pause = self.shared.back_off(&error, pause).await,
            }
        }
        drop(self.listener);
        self.shared.drain(connections).await;
    }
}

impl Shared {
    fn admit(
        self: &Arc<Shared>,
        stream: TcpStream,
        address: SocketAddr,
        slots: &Arc<Slots>,
        routes: &Routes,
        stop: &CancellationToken,
        connections: &mut JoinSet<()>,
    ) {
        self.counts.count_accepted();
        match slots.take(address.ip()) {
            Err(refusal) => self.counts.count(refusal),
            Ok(slot) => {
                let task = connection::serve(self.clone(), stream, address, routes.clone(), stop.clone());
                connections.spawn(async move {
                    let _slot = slot;
                    task.await;
                });
            }
        }
    }

    /// Out of file descriptors or memory the next accept fails at once too, so wait for connections to end. A peer that
    /// went away before it was accepted says nothing about the next.
    async fn back_off(&self, error: &io::Error, pause: Duration) -> Duration {
        use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
        if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted) {
            return pause;
        }
        self.counts.count(Refusal::Accept);
        tracing::warn!(%error, pause_ms = pause.as_millis(), "cannot accept connections");
        tokio::time::sleep(pause).await;
        (pause * 2).min(ACCEPT_PAUSE.1)
    }

    fn note_end(&self, ended: Result<(), JoinError>) {
        if let Err(fault) = ended
            && fault.is_panic()
        {
            self.counts.count(Refusal::Panic);
            tracing::error!(%fault, "serving a connection panicked");
        }
    }

    async fn drain(&self, mut connections: JoinSet<()>) {
        let all = async {
            while let Some(ended) = connections.join_next().await {
                self.note_end(ended);
            }
        };
        if tokio::time::timeout(self.limits.drain, all).await.is_err() {
            tracing::warn!(connections = connections.len(), "connections cut, their requests took too long");
        }
        connections.shutdown().await;
    }
}

async fn listen_on(listen: &str) -> io::Result<TcpListener> {
    match listen.strip_prefix(':') {
        None => TcpListener::bind(listen).await,
        // `[::]` takes IPv4 as well, where there is IPv6 at all.
        Some(port) => match TcpListener::bind(format!("[::]:{port}")).await {
            Ok(listener) => Ok(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
            Err(_) => TcpListener::bind(format!("0.0.0.0:{port}")).await,
        },
    }
}
