//! `/federate`: the newest sample of every selected series, as Prometheus 3.5 gives it, status by status and byte by byte.
//!
//! | asked for | answer |
//! |---|---|
//! | `match[]=` selectors, several are a union | 200, each series once |
//! | no `match[]`, or only `{}` | 200, nothing |
//! | anything but an instant vector selector, a bad escape | 400 |
//! | `metadata=1` | families with their TYPE and HELP in place of untyped names |
//! | `timestamps=0` | lines without timestamps |
//! | `limit=N` | at most N samples (0: all); the last line of a text page that was cut is a comment that says so |
//!
//! The page is text 0.0.4 or delimited protobuf, as the reader accepts; native histograms stand in protobuf alone, and a
//! text page leaves them out. `tests/it/federate_peers.rs` asks both programs the same questions. What differs, on purpose:
//!
//! * The inventory's labels are matchable, though they are written where external labels are.
//! * A POST form may carry what does not fit into a URL.
//! * Encodings are chosen by their q-values, zstd is one of them and deflate is not; Prometheus takes the first that is
//!   literally `gzip` or `deflate`. A clause with `q=0` is a refusal, parameters may be quoted, and several Accept headers
//!   count as one.
//! * A native histogram with custom buckets is left out. Prometheus 3.5 writes it without its bounds, which no Prometheus can
//!   read: the whole page is refused. `/metrics` has it as the classic histogram that it was.
//! * Protobuf's two text encodings, which nothing scrapes, are not offered: who asks for them gets text 0.0.4.
//! * Where escaping gives two labels of a series one name, the first stays. Prometheus writes both, and every reader then
//!   refuses the page. Two *metric* names that become one are two families of that name, as in Prometheus.
//! * What the parser says of a bad selector is in its own words.
//!
//! A sample shows if it is at most the lookback old (the bound included). There is no upper bound: only the newest sample
//! of a series is kept, and what lies too far ahead of the clock was refused when it came.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;

use super::readers::{ReaderOptions, Readers, encoding_of, header_of, other_method, page_error, plain_error};
use super::render::{
    Federated, Lines, OwnPage, PageBody, Style, TypedBounds, UntypedPage, messages_page, respond, typed_page,
};
use super::selectors::{FormError, SelectorError, parse_form, parse_selector};
use super::shown::Reader;
use crate::exposition::{Format, Negotiated, negotiate_federate};
use crate::net::Connection;
use crate::store::{Selector, SiteView, select};
use crate::telemetry::LeftOut;

const ALLOWED: &str = "GET, POST, OPTIONS";

/// The route.
pub fn routes(readers: Arc<Readers>) -> Router {
    Router::new().route("/federate", any(federate)).with_state(readers)
}

/// Why a request is not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum RequestError {
    #[error("error parsing form values: {0}")]
    Form(#[from] FormError),
    #[error(transparent)]
    Selector(#[from] SelectorError),
    #[error("{found} selectors, expected at most {max}")]
    TooManySelectors { found: usize, max: usize },
    #[error("{name}={found:?}, expected {expected}")]
    Parameter { name: &'static str, found: String, expected: &'static str },
}

/// What a request asks for.
#[derive(Debug, Default)]
struct Request {
    selectors: Vec<Selector>,
    is_typed: bool,
    has_no_stamps: bool,
    limit: Option<u64>,
}

async fn federate(
    State(readers): State<Arc<Readers>>,
    connection: Option<Extension<Arc<Connection>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let form = match method {
        Method::GET => Ok(""),
        Method::POST => form_of(&headers, &body),
        _ => return other_method(&method, ALLOWED),
    };
    let options = readers.options.load_full();
    let query = uri.query().unwrap_or_default();
    let request = match form.and_then(|form| Request::parse(&[query, form], &options)) {
        Ok(request) => request,
        Err(error) => return plain_error(StatusCode::BAD_REQUEST, error),
    };
    let negotiated = negotiate_federate(header_of(&headers, header::ACCEPT).as_deref());
    let is_kept = method == Method::GET && !request.has_no_stamps;
    let reader = Reader::of(connection.as_deref().map(|connection| &**connection), &uri, &headers).filter(|_| is_kept);
    let view = readers.view_for(reader);
    let left_out = readers.left_out.clone();
    let begin = move || page(view, &request, negotiated, &options, left_out);
    match respond(&readers.pool, negotiated.content_type(), encoding_of(&headers), begin).await {
        Ok(response) => response.into_response(),
        Err(error) => page_error(&error),
    }
}

/// The body of a POST, where it is a form.
fn form_of<'a>(headers: &HeaderMap, body: &'a [u8]) -> Result<&'a str, RequestError> {
    let content_type = header_of(headers, header::CONTENT_TYPE).unwrap_or_default();
    if !content_type.starts_with("application/x-www-form-urlencoded") {
        return Ok("");
    }
    let form = std::str::from_utf8(body);
    Ok(form.map_err(|_| FormError::Utf8(String::from_utf8_lossy(body).chars().take(40).collect()))?)
}

impl Request {
    fn parse(forms: &[&str], options: &ReaderOptions) -> Result<Request, RequestError> {
        let mut request = Request::default();
        for form in forms {
            for (name, value) in parse_form(form)? {
                request.take(&name, value)?;
            }
        }
        let (found, max) = (request.selectors.len(), options.selectors_max);
        if found > max {
            return Err(RequestError::TooManySelectors { found, max });
        }
        Ok(request)
    }

    fn take(&mut self, name: &str, value: String) -> Result<(), RequestError> {
        match name {
            "match[]" => self.selectors.push(parse_selector(&value)?),
            "metadata" => self.is_typed = switch("metadata", value)?,
            "timestamps" => self.has_no_stamps = !switch("timestamps", value)?,
            "limit" => {
                let (name, expected) = ("limit", "a number of lines, 0 for all");
                let limit = value.parse().map_err(|_| RequestError::Parameter { name, found: value, expected })?;
                self.limit = (limit > 0).then_some(limit);
            }
            _ => {}
        }
        Ok(())
    }
}

fn switch(name: &'static str, value: String) -> Result<bool, RequestError> {
    match value.as_str() {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(RequestError::Parameter { name, found: value, expected: "0 or 1" }),
    }
}

/// Selects and makes ready to write; runs on the pool.
fn page(
    view: Arc<SiteView>,
    request: &Request,
    negotiated: Negotiated,
    options: &ReaderOptions,
    left_out: LeftOut,
) -> PageBody {
    let selection = select(&view, &request.selectors);
    let style = Style {
        format: negotiated.format,
        escaping: negotiated.escaping,
        has_stamps: !request.has_no_stamps,
        external_labels: options.external_labels.clone(),
        shown_empty: &["instance"],
    };
    let (lines, limit, lookback) = (Lines::new(view, style), request.limit, options.lookback);
    let is_protobuf = negotiated.format == Format::Protobuf;
    if request.is_typed {
        let oldest = lines.view().wall - lookback;
        return typed_page(lines, selection, OwnPage::default(), TypedBounds { oldest, limit }, left_out);
    }
    if is_protobuf {
        return messages_page(Federated::new(lines, selection, lookback).counting(&left_out), limit);
    }
    UntypedPage::new(lines, selection, lookback, limit).counting(&left_out).into_body()
}
