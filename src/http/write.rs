//! `POST /api/v1/write`: remote write 1.0 and 2.0, by the rules of their specifications.
//!
//! The message is what `Content-Type` says, whatever the version header does. Only snappy is unpacked; 415 lets a vmagent that tried
//! zstd fall back to it. The `-Written` headers stand on every answer that says what became of a request.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;

use super::push::{Unread, admit_body, answer, read, text_of};
use crate::net::Connection;
use crate::push::protocol::Verdict;
use crate::push::receive::Pusher;
use crate::remote_write::message::{EXEMPLARS_WRITTEN, HISTOGRAMS_WRITTEN, SAMPLES_WRITTEN};
use crate::remote_write::receive::{Answer, RequestFault, Version, WriteReceiver, Written};

const PATH: &str = "/api/v1/write";
/// Bytes of a reason.
const REASON_BYTES_MAX: usize = 1024;

/// The route.
pub(super) fn routes(receiver: Arc<WriteReceiver>) -> Router {
    Router::new().route(PATH, post(write)).with_state(receiver)
}

async fn write(
    State(written): State<Arc<WriteReceiver>>,
    Extension(connection): Extension<Arc<Connection>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let receiver = written.receiver();
    let pusher = match receiver.identify(connection.identity.as_deref()) {
        Ok(pusher) => pusher,
        Err(verdict) => return answer(&verdict),
    };
    let Some(version) = version_of(text_of(&headers, &header::CONTENT_TYPE)) else {
        return unsupported(&written, &pusher, "content_type", "content type is no remote write request");
    };
    // Without one Prometheus assumes snappy.
    if !matches!(text_of(&headers, &header::CONTENT_ENCODING), "" | "snappy") {
        return unsupported(&written, &pusher, "content_encoding", "content encoding is not snappy");
    }
    let _room = match admit_body(receiver, &pusher, &headers) {
        Ok(room) => room,
        Err(verdict) => return answer(&verdict),
    };
    match read(body, receiver.limits().bytes_max).await {
        Ok(body) => told(&written.receive(pusher, body, version).await),
        Err(Unread::TooLong) => answer(&receiver.too_large(&pusher)),
        Err(Unread::Interrupted) => {
            receiver.interrupted(&pusher);
            StatusCode::REQUEST_TIMEOUT.into_response()
        }
    }
}

/// The message that a content type names; without a `proto` it is that of 1.0.
fn version_of(content_type: &str) -> Option<Version> {
    let mut parts = content_type.split(';').map(str::trim);
    if !parts.next()?.eq_ignore_ascii_case("application/x-protobuf") {
        return None;
    }
    let proto = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("proto").then(|| value.trim().trim_matches('"'))
    });
    match proto {
        None | Some("prometheus.WriteRequest") => Some(Version::V1),
        Some("io.prometheus.write.v2.Request") => Some(Version::V2),
        Some(_) => None,
    }
}

fn unsupported(written: &WriteReceiver, pusher: &Pusher, reason: &'static str, text: &'static str) -> Response {
    written.receiver().request_refused(pusher, reason, text);
    (StatusCode::UNSUPPORTED_MEDIA_TYPE, text).into_response()
}

fn told(answer: &Answer) -> Response {
    match answer {
        Answer::Taken(written) => with_counts(StatusCode::NO_CONTENT.into_response(), written),
        Answer::Partly(written) => with_counts((StatusCode::BAD_REQUEST, reason_of(written)).into_response(), written),
        Answer::Unreadable(fault) => {
            let status = match fault {
                RequestFault::TooLong { .. } | RequestFault::TooMany { .. } => StatusCode::PAYLOAD_TOO_LARGE,
                RequestFault::Compression | RequestFault::Malformed(_) => StatusCode::BAD_REQUEST,
            };
            with_counts((status, fault.to_string()).into_response(), &Written::default())
        }
        Answer::Refused(verdict) => with_counts(answer_of(verdict), &Written::default()),
    }
}

/// Frames made here are refused for the time being or for who sends them, never for what they are.
fn answer_of(verdict: &Verdict) -> Response {
    match verdict {
        Verdict::Busy { .. }
        | Verdict::SlowDown { .. }
        | Verdict::Unauthenticated { .. }
        | Verdict::Forbidden { .. } => answer(verdict),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "the gateway cannot take this request in").into_response(),
    }
}

fn reason_of(written: &Written) -> String {
    let refused = written.refused.iter().map(|(reason, count, first)| format!("{reason}: {count}, the first {first}"));
    let mut text = refused.collect::<Vec<_>>().join("\n");
    text.truncate(text.floor_char_boundary(REASON_BYTES_MAX));
    text
}

fn with_counts(mut response: Response, written: &Written) -> Response {
    let counts = [
        (SAMPLES_WRITTEN, written.samples),
        (HISTOGRAMS_WRITTEN, written.histograms),
        (EXEMPLARS_WRITTEN, written.exemplars),
    ];
    for (name, count) in counts {
        response.headers_mut().insert(name, HeaderValue::from(count));
    }
    response
}
