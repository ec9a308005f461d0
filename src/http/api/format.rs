//! `/api/v1/format_query`: an expression as Prometheus formats it, in lines where it is long.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Uri, header};
use axum::response::{IntoResponse, Response};

use super::envelope::{ApiError, ErrorKind, JSON};
use super::json::{Escapes, write_text};
use super::query::{ALLOWED, Queries, params_of};
use crate::http::readers::other_method;
use crate::promql::{ParseOptions, parse, pretty};

/// The key under which expressions take their turn on the pool for evaluations: a big one has thousands of lines.
const TURN: &str = "formatting";

pub(super) async fn format(
    State(queries): State<Arc<Queries>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if method != Method::GET && method != Method::POST {
        return other_method(&method, ALLOWED);
    }
    let options = queries.options.load().parse;
    let formatted = match params_of(&uri, &headers, &body) {
        Ok(params) => {
            let source = params.get("query").to_owned();
            let ran = queries.pool.run(&Arc::from(TURN), move || formatted(&source, options)).await;
            ran.unwrap_or_else(|fault| Err(ApiError::new(ErrorKind::Internal, fault)))
        }
        Err(error) => Err(error),
    };
    match formatted {
        Ok(body) => ([(header::CONTENT_TYPE, JSON)], body).into_response(),
        Err(error) => error.into_response(),
    }
}

fn formatted(source: &str, options: ParseOptions) -> Result<Vec<u8>, ApiError> {
    let expr = parse(source, &options).map_err(|fault| ApiError::parameter("query", fault.in_source(source)))?;
    let mut out = b"{\"status\":\"success\",\"data\":".to_vec();
    write_text(&mut out, &pretty(&expr), Escapes::Html);
    out.push(b'}');
    Ok(out)
}
