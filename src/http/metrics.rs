//! `/metrics`: every live series of the site, typed; `/metrics/{cluster}`: those of one cluster; `/metrics/self`: fedgate's own.
//!
//! Text 0.0.4, text 1.0.0, OpenMetrics 1.0 or delimited protobuf, as asked for; no timestamps unless `timestamps=1`, so that a scraper gives its
//! own and a series that is gone is stale at the next scrape. A series without `job` or `instance` carries empty ones:
//! with `honor_labels: true` it stays without them at the reader. A sample older than the lookback is not shown: without its
//! timestamp it would look fresh. `http.metrics.match` narrows what is shown.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;

use super::readers::{ReaderOptions, Readers, encoding_of, header_of, other_method, page_error, plain_error};
use super::render::{Lines, OwnPage, PageBody, Style, TypedBounds, respond, typed_page};
use super::selectors::parse_form;
use crate::exposition::{Negotiated, negotiate_metrics};
use crate::model::{METRIC_NAME, MatchOp, Matcher};
use crate::store::{CLUSTER, Selector, SiteView, select};
use crate::telemetry::LeftOut;

const ALLOWED: &str = "GET, OPTIONS";
/// What a scraper would add to series that lack it, so the pages of many targets' series say it is empty.
const LABELS_OF_A_SCRAPE: &[&str] = &["instance", "job"];

/// The routes.
pub fn routes(readers: Arc<Readers>) -> Router {
    Router::new()
        .route("/metrics", any(site))
        .route("/metrics/self", any(own))
        .route("/metrics/{cluster}", any(cluster))
        .with_state(readers)
}

/// What a page shows.
struct Shown {
    view: Arc<SiteView>,
    own: OwnPage,
    options: Arc<ReaderOptions>,
    /// Labels that are written with an empty value where a series lacks them.
    empty_labels: &'static [&'static str],
}

async fn site(State(readers): State<Arc<Readers>>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    if method != Method::GET {
        return other_method(&method, ALLOWED);
    }
    let options = readers.options.load_full();
    match OwnPage::parse(&(readers.own_metrics)(), &options.metrics_match) {
        Ok(own) => {
            let shown = Shown { view: readers.view(None), own, options, empty_labels: LABELS_OF_A_SCRAPE };
            answer(&readers, &uri, &headers, shown).await
        }
        Err(error) => plain_error(StatusCode::INTERNAL_SERVER_ERROR, error),
    }
}

async fn cluster(
    State(readers): State<Arc<Readers>>,
    Path(cluster): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    if method != Method::GET {
        return other_method(&method, ALLOWED);
    }
    let view = readers.view(Some(&cluster));
    if view.clusters.is_empty() {
        return plain_error(StatusCode::NOT_FOUND, format_args!("cluster {cluster:?} is not in the inventory"));
    }
    let mut options = ReaderOptions::clone(&readers.options.load());
    options.metrics_match = of_cluster(&options.metrics_match, &cluster);
    let options = Arc::new(options);
    let shown = Shown { view, own: OwnPage::default(), options, empty_labels: LABELS_OF_A_SCRAPE };
    answer(&readers, &uri, &headers, shown).await
}

/// What fedgate says of itself and of its clusters, whatever `http.metrics.match` shows elsewhere.
async fn own(State(readers): State<Arc<Readers>>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    if method != Method::GET {
        return other_method(&method, ALLOWED);
    }
    let mut options = ReaderOptions::clone(&readers.options.load());
    options.metrics_match.clear();
    match OwnPage::parse(&(readers.own_metrics)(), &[]) {
        Ok(own) => {
            let shown = Shown { view: readers.facts(), own, options: Arc::new(options), empty_labels: &[] };
            answer(&readers, &uri, &headers, shown).await
        }
        Err(error) => plain_error(StatusCode::INTERNAL_SERVER_ERROR, error),
    }
}

async fn answer(readers: &Readers, uri: &Uri, headers: &HeaderMap, shown: Shown) -> Response {
    let form = match parse_form(uri.query().unwrap_or_default()) {
        Ok(form) => form,
        Err(error) => return plain_error(StatusCode::BAD_REQUEST, error),
    };
    let has_stamps = form.iter().any(|(name, value)| name == "timestamps" && value == "1");
    let negotiated = negotiate_metrics(header_of(headers, header::ACCEPT).as_deref());
    let left_out = readers.left_out.clone();
    let begin = move || page(shown, negotiated, has_stamps, left_out);
    match respond(&readers.pool, negotiated.content_type(), encoding_of(headers), begin).await {
        Ok(response) => response.into_response(),
        Err(error) => page_error(&error),
    }
}

/// Selects and makes ready to write; runs on the pool.
fn page(shown: Shown, negotiated: Negotiated, has_stamps: bool, left_out: LeftOut) -> PageBody {
    let Shown { view, own, options, empty_labels } = shown;
    let everything = [everything()];
    let selectors = if options.metrics_match.is_empty() { &everything } else { &options.metrics_match[..] };
    let selection = select(&view, selectors);
    let style = Style {
        format: negotiated.format,
        escaping: negotiated.escaping,
        has_stamps,
        external_labels: options.external_labels.clone(),
        shown_empty: empty_labels,
    };
    let oldest = view.wall - options.lookback;
    typed_page(Lines::new(view, style), selection, own, TypedBounds { oldest, limit: None }, left_out)
}

/// The selectors, narrowed to a cluster's series: recorded ones of all clusters are in its view.
fn of_cluster(selectors: &[Selector], cluster: &str) -> Vec<Selector> {
    let everything = [everything()];
    let selectors = if selectors.is_empty() { &everything } else { selectors };
    let only = Matcher::new(CLUSTER, MatchOp::Equal, cluster).expect("no pattern to fail on");
    selectors.iter().map(|selector| selector.iter().cloned().chain([only.clone()]).collect()).collect()
}

/// `{__name__!=""}`
fn everything() -> Selector {
    vec![Matcher::new(METRIC_NAME, MatchOp::NotEqual, "").expect("no pattern to fail on")]
}
