//! What the readers' pages are made from.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::render::PageError;
use super::shown::{Reader, Shown};
use crate::exposition::{Encoding, negotiate_encoding};
use crate::model::{Labels, Timestamp};
use crate::runtime::{CpuPool, clock};
use crate::store::{Selector, SiteView, Store};
use crate::telemetry::LeftOut;

/// What a reload may change.
#[derive(Clone, Debug)]
pub struct ReaderOptions {
    /// The gateway's own `external_labels`, added where absent.
    pub external_labels: Labels,
    /// How old a sample on `/federate` may be.
    pub lookback: Duration,
    /// Selectors in one request.
    pub selectors_max: usize,
    /// What `/metrics` is narrowed to; empty for everything.
    pub metrics_match: Vec<Selector>,
}

/// Prometheus' own, `--query.lookback-delta`.
pub const LOOKBACK: Duration = Duration::from_secs(300);

impl Default for ReaderOptions {
    fn default() -> ReaderOptions {
        ReaderOptions {
            external_labels: Labels::empty(),
            lookback: LOOKBACK,
            selectors_max: 256,
            metrics_match: Vec::new(),
        }
    }
}

/// How long a scraper waits for its page, in seconds; Prometheus and vmagent send it.
pub(super) const SCRAPE_TIMEOUT: HeaderName = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");

/// fedgate's own metrics as an OpenMetrics page.
pub type OwnMetrics = Box<dyn Fn() -> String + Send + Sync>;

/// State of `/federate` and `/metrics`.
pub struct Readers {
    /// Where the series are.
    pub store: Arc<Store>,
    /// Where pages are written.
    pub pool: CpuPool,
    /// Replaced by a reload, read once a request.
    pub options: ArcSwap<ReaderOptions>,
    /// Called for every page that shows them.
    pub own_metrics: OwnMetrics,
    /// Counts the native histograms that pages of text leave out.
    pub left_out: LeftOut,
    moment: Moment,
    shown: Shown,
}

/// The wall clock and the monotonic one.
pub type Moment = Box<dyn Fn() -> (Timestamp, Instant) + Send + Sync>;

impl Readers {
    /// Readers of a store.
    pub fn new(store: Arc<Store>, pool: CpuPool, options: ReaderOptions, own_metrics: OwnMetrics) -> Readers {
        let moment = Box::new(|| (clock::now(), clock::monotonic()));
        let (left_out, shown) = (LeftOut::default(), Shown::default());
        Readers { store, pool, options: ArcSwap::from_pointee(options), own_metrics, left_out, moment, shown }
    }

    /// The same, counting what pages leave out.
    pub fn counting(self, left_out: LeftOut) -> Readers {
        Readers { left_out, ..self }
    }

    /// The same with another clock: a test's.
    pub fn at(self, moment: Moment) -> Readers {
        Readers { moment, ..self }
    }

    /// The site, or one cluster of it, as it is now.
    pub(super) fn view(&self, only: Option<&str>) -> Arc<SiteView> {
        let (wall, monotonic) = (self.moment)();
        Arc::new(self.store.view(wall, monotonic, only))
    }

    /// The site as it is now without what this reader would refuse as out of order.
    pub(super) fn view_for(&self, reader: Option<Reader>) -> Arc<SiteView> {
        let (wall, monotonic) = (self.moment)();
        let mut view = self.store.view(wall, monotonic, None);
        if let Some(reader) = reader {
            self.shown.show(reader, &mut view, monotonic);
        }
        Arc::new(view)
    }

    /// Samples that were left out of pages because their readers would have refused them.
    pub fn samples_left_out(&self) -> u64 {
        self.shown.left_out()
    }

    /// The clusters without what they pushed: what the gateway itself knows of them.
    pub(super) fn facts(&self) -> Arc<SiteView> {
        let (wall, monotonic) = (self.moment)();
        let mut view = self.store.view(wall, monotonic, None);
        view.targets.clear();
        Arc::new(view)
    }
}

/// A header's value, where there is one in readable letters; several of one name are joined, as HTTP has it.
pub(super) fn header_of(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let values: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    (!values.is_empty()).then(|| values.join(","))
}

/// The compression that a request asks for.
pub(super) fn encoding_of(headers: &HeaderMap) -> Encoding {
    negotiate_encoding(header_of(headers, header::ACCEPT_ENCODING).as_deref())
}

/// A refusal in Prometheus' manner: plain text with a line feed, not to be taken for anything else.
pub(super) fn plain_error(status: StatusCode, reason: impl std::fmt::Display) -> Response {
    let mut response = (status, format!("{reason}\n")).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// 200 without content for OPTIONS, 405 for every other method that is not served here.
pub(super) fn other_method(method: &Method, allowed: &'static str) -> Response {
    let mut response = match *method {
        Method::OPTIONS => StatusCode::OK.into_response(),
        _ => plain_error(StatusCode::METHOD_NOT_ALLOWED, format_args!("method {method}, expected one of {allowed}")),
    };
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}

/// A page that could not be begun: busy, so come back.
pub(super) fn page_error(error: &PageError) -> Response {
    tracing::warn!(%error, "page not written");
    plain_error(StatusCode::SERVICE_UNAVAILABLE, error)
}
