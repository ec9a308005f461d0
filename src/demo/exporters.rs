//! The site's exporters, all of them behind one listener; the path tells which one is meant.
//!
//! The listener knows no more than the site: it asks a clock for the step and the site for the answer. A simulated hang-up
//! is an error of the service, upon which the connection ends without a byte.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::site::{Answer, Site};
use crate::runtime::clock;

/// Connections at once; further ones wait in the system's own queue.
const CONNECTIONS_MAX: usize = 4096;
/// Pause after an accept that failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Says which step it is.
pub type StepClock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// A clock that starts at step `first` now and goes on one step each `step`.
pub fn step_clock(first: u64, step: Duration) -> StepClock {
    let start = clock::monotonic();
    let step_nanos = step.as_nanos().max(1);
    Arc::new(move || {
        let steps = clock::monotonic().saturating_duration_since(start).as_nanos() / step_nanos;
        first.saturating_add(u64::try_from(steps).unwrap_or(u64::MAX))
    })
}

/// A bound listener that is not yet served.
pub struct Exporters {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    site: Arc<Site>,
    clock: StepClock,
}

/// Why a request got no answer: the site wanted it so.
#[derive(Debug, thiserror::Error)]
#[error("simulated hang-up")]
struct HungUp;

impl Exporters {
    /// Takes `listen`, port 0 for any.
    pub async fn bind(listen: SocketAddr, site: Arc<Site>, clock: StepClock) -> io::Result<Exporters> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        Ok(Exporters { listener, address, shared: Arc::new(Shared { site, clock }) })
    }

    /// Where the exporters listen.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop` fires; then open connections end at once, as of machines that are switched off.
    pub async fn serve(self, stop: CancellationToken) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        let accepting = async {
            loop {
                let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
                match self.listener.accept().await {
                    Ok((stream, _)) => {
                        let shared = self.shared.clone();
                        connections.spawn(async move {
                            shared.serve_connection(stream).await;
                            drop(place);
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the simulated exporters cannot accept");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
                while connections.try_join_next().is_some() {}
            }
        };
        let served: Option<Infallible> = stop.run_until_cancelled(accepting).await;
        debug_assert!(served.is_none(), "accepting ends with the stop alone");
        connections.shutdown().await;
    }
}

impl Shared {
    async fn serve_connection(self: Arc<Shared>, stream: TcpStream) {
        // Answers are one write each, so waiting for more to send would only add delay.
        drop(stream.set_nodelay(true));
        let service = service_fn(move |request: Request<hyper::body::Incoming>| {
            let answer = self.answer(request.uri().path());
            async move { answer }
        });
        // A peer that goes away, and every simulated hang-up, is an error here and nobody's concern.
        let served =
            http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
        if let Err(error) = served {
            tracing::trace!(%error, "connection of a simulated exporter");
        }
    }

    fn answer(&self, path: &str) -> Result<Response<Full<Bytes>>, HungUp> {
        let mut page = Vec::new();
        let status = match self.site.answer(path, (self.clock)(), &mut page) {
            Answer::Page => StatusCode::OK,
            Answer::Fault => StatusCode::INTERNAL_SERVER_ERROR,
            Answer::NotFound => StatusCode::NOT_FOUND,
            Answer::HangUp => return Err(HungUp),
        };
        let mut response = Response::new(Full::from(page));
        *response.status_mut() = status;
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"));
        Ok(response)
    }
}
