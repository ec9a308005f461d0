//! What every answer stands in, and which fault has which status.
//!
//! Invariant: an answer is JSON whose `status` says whether there is a result, errors of every kind included; so a client
//! reads one form. The kinds and their codes are Prometheus's, which clients act on: 503 is tried again, 422 is not.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::json::{Escapes, write_text};

/// What kind of fault it is: `errorType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request is wrong.
    BadData,
    /// The expression cannot be evaluated over these samples.
    Execution,
    /// Nobody waits for the answer any more.
    Canceled,
    /// It took too long, or there was no place to begin.
    Timeout,
    /// A fault of ours.
    Internal,
}

impl ErrorKind {
    /// Its name in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorKind::BadData => "bad_data",
            ErrorKind::Execution => "execution",
            ErrorKind::Canceled => "canceled",
            ErrorKind::Timeout => "timeout",
            ErrorKind::Internal => "internal",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            ErrorKind::BadData => StatusCode::BAD_REQUEST,
            ErrorKind::Execution => StatusCode::UNPROCESSABLE_ENTITY,
            // nginx's "client closed request", which no table of statuses has.
            ErrorKind::Canceled => StatusCode::from_u16(499).expect("499 is a status"),
            ErrorKind::Timeout => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct ApiError {
    /// What kind.
    pub kind: ErrorKind,
    /// In Prometheus's words where it has some.
    pub text: String,
}

impl ApiError {
    /// A fault of the kind.
    pub fn new(kind: ErrorKind, text: impl ToString) -> ApiError {
        ApiError { kind, text: text.to_string() }
    }

    /// A parameter that cannot be used.
    pub fn parameter(name: &str, fault: impl std::fmt::Display) -> ApiError {
        ApiError::new(ErrorKind::BadData, format_args!("invalid parameter \"{name}\": {fault}"))
    }

    /// The body of the answer.
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = b"{\"status\":\"error\",\"errorType\":".to_vec();
        write_text(&mut out, self.kind.as_str(), Escapes::Html);
        out.extend_from_slice(b",\"error\":");
        write_text(&mut out, &self.text, Escapes::Html);
        out.push(b'}');
        out
    }
}

/// The media type of all answers.
pub(super) const JSON: &str = "application/json";

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.kind.status(), self.to_json()).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
        response
    }
}
