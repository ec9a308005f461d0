//! `/api/v1/query` and `/api/v1/query_range`.
//!
//! An evaluation runs on a pool of its own: it may take every moment of its time-out, and a push must not wait for it. Its answer is
//! then written as a page is, on the readers' threads, compressed as asked. What bounds a query: how many are under way
//! ([`in_turn`](crate::http::turns::in_turn)), its time, its samples; and one whose client has gone is given up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;

use super::envelope::{ApiError, ErrorKind, JSON};
use super::evaluate::evaluate;
use super::format;
use super::params::{Params, QueryRequest};
use super::values::Answer;
use crate::http::readers::{Readers, encoding_of, header_of, other_method};
use crate::http::render::{PageBody, Piece, Progress, respond};
use crate::promql::{Engine, ParseOptions, Plans, SelectionCache, StoreSource};
use crate::runtime::{CpuPool, clock};

/// Of the routes here and of `format_query`.
pub(super) const ALLOWED: &str = "GET, POST, OPTIONS";
/// The key under which queries take their turn on the pool for evaluations.
const TURN: &str = "queries";
/// Samples that are written as one piece of an answer.
const PIECE_SAMPLES: usize = 4_096;

/// What a reload may change.
#[derive(Clone, Copy, Debug)]
pub struct QueryOptions {
    /// How expressions are evaluated.
    pub engine: Engine,
    /// What they may use.
    pub parse: ParseOptions,
    /// When an evaluation is given up.
    pub timeout: Duration,
}

/// State of the routes.
pub struct Queries {
    /// The views that are evaluated over, and the threads that write answers.
    pub readers: Arc<Readers>,
    /// Where expressions are evaluated.
    pub pool: CpuPool,
    /// Replaced by a reload, read once a request.
    pub options: ArcSwap<QueryOptions>,
    selections: SelectionCache,
    plans: Plans,
}

impl Queries {
    /// Queries over what `readers` read.
    pub fn new(readers: Arc<Readers>, pool: CpuPool, options: QueryOptions) -> Queries {
        let (selections, plans) = (SelectionCache::new(), Plans::default());
        Queries { readers, pool, options: ArcSwap::from_pointee(options), selections, plans }
    }
}

/// The routes: queries, and `format_query`.
pub fn routes(queries: Arc<Queries>) -> Router {
    let router = Router::new().route("/api/v1/query", any(instant)).route("/api/v1/query_range", any(range));
    router.route("/api/v1/format_query", any(format::format)).with_state(queries)
}

async fn instant(
    State(queries): State<Arc<Queries>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    answer(queries, method, uri, headers, body, |params| QueryRequest::instant(params, clock::now())).await
}

async fn range(
    State(queries): State<Arc<Queries>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    answer(queries, method, uri, headers, body, QueryRequest::range).await
}

async fn answer(
    queries: Arc<Queries>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
    read: impl FnOnce(&Params) -> Result<QueryRequest, ApiError>,
) -> Response {
    if method != Method::GET && method != Method::POST {
        return other_method(&method, ALLOWED);
    }
    let request = params_of(&uri, &headers, &body).and_then(|params| read(&params));
    let answer = match request {
        Ok(request) => queries.clone().evaluated(request).await,
        Err(error) => Err(error),
    };
    match answer {
        Ok(answer) => written(&queries.readers, &headers, answer).await,
        Err(error) => error.into_response(),
    }
}

/// The body counts where it is a form.
pub(super) fn params_of(uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Result<Params, ApiError> {
    let content_type = header_of(headers, header::CONTENT_TYPE).unwrap_or_default();
    let body = if content_type.starts_with("application/x-www-form-urlencoded") { body } else { &[] };
    let body = std::str::from_utf8(body);
    let body =
        body.map_err(|fault| ApiError::new(ErrorKind::BadData, format_args!("error parsing form values: {fault}")))?;
    Params::parse(body, uri.query().unwrap_or_default())
}

/// Says so when nobody waits any more.
struct Abandoned(Arc<AtomicBool>);

impl Drop for Abandoned {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Queries {
    async fn evaluated(self: Arc<Queries>, request: QueryRequest) -> Result<Answer, ApiError> {
        let options = **self.options.load();
        let timeout = request.timeout.unwrap_or(options.timeout).min(options.timeout);
        let deadline = clock::monotonic() + timeout;
        let waiting = Abandoned(Arc::default());
        let is_abandoned = waiting.0.clone();
        let job = {
            let queries = self.clone();
            move || {
                let is_over = || is_abandoned.load(Ordering::Relaxed) || clock::monotonic() >= deadline;
                let view = queries.readers.view(None);
                let source = StoreSource::new(&view, &queries.selections);
                evaluate(&source, (&options.engine, &queries.plans), &options.parse, &request, &is_over)
            }
        };
        let ran = self.pool.run(&Arc::from(TURN), job).await;
        drop(waiting);
        ran.unwrap_or_else(|fault| Err(ApiError::new(ErrorKind::Internal, fault)))
    }
}

async fn written(readers: &Readers, headers: &HeaderMap, answer: Answer) -> Response {
    let begin = move || pieces(answer);
    match respond(&readers.pool, JSON.to_owned(), encoding_of(headers), begin).await {
        Ok(response) => response.into_response(),
        Err(fault) => ApiError::new(ErrorKind::Timeout, fault).into_response(),
    }
}

/// An answer in pieces of some thousand samples; the first and the last bring what stands around the rows.
fn pieces(answer: Answer) -> PageBody {
    let (rows, step) = (answer.len(), (PIECE_SAMPLES / answer.row_samples()).max(1));
    let answer = Arc::new(answer);
    let starts = (0..rows.max(1)).step_by(step);
    Box::new(starts.map(move |start| {
        let answer = answer.clone();
        Box::new(move |out: &mut Vec<u8>, _: usize| {
            if start == 0 {
                answer.write_head(out);
            }
            let end = (start + step).min(rows);
            answer.write_rows(out, start, end);
            if end == rows {
                answer.write_tail(out);
            }
            Progress::Done
        }) as Piece
    }))
}
