//! The push listener's routes: `POST /v1/push` and `GET /v1/identity` here, `POST /api/v1/write` in `write.rs`.
//!
//! The sender is looked up and its rate checked before a byte of the body is read, and reading stops at the limit, so
//! that who may not push costs next to nothing.

use std::str::FromStr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::sync::OwnedSemaphorePermit;

use crate::net::Connection;
use crate::push::protocol::{CLOCK_HEADER, IDENTITY_PATH, PUSH_PATH, Verdict, is_supported};
use crate::push::receive::{Pusher, Receiver};
use crate::remote_write::receive::WriteReceiver;
use crate::runtime::clock;

/// All routes of the push listener.
pub fn push_routes(receiver: Arc<Receiver>, written: Arc<WriteReceiver>) -> Router {
    let frames = Router::new().route(PUSH_PATH, post(push)).route(IDENTITY_PATH, get(identity)).with_state(receiver);
    frames.merge(super::write::routes(written))
}

async fn push(
    State(receiver): State<Arc<Receiver>>,
    Extension(connection): Extension<Arc<Connection>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let (pusher, _room) = match admit(&receiver, &connection, &headers) {
        Ok(admitted) => admitted,
        Err(verdict) => return answer(&verdict),
    };
    match read(body, receiver.limits().bytes_max).await {
        Ok(body) => answer(&receiver.receive(pusher, body).await),
        Err(Unread::TooLong) => answer(&receiver.too_large(&pusher)),
        Err(Unread::Interrupted) => {
            receiver.interrupted(&pusher);
            StatusCode::REQUEST_TIMEOUT.into_response()
        }
    }
}

fn admit(
    receiver: &Receiver,
    connection: &Connection,
    headers: &HeaderMap,
) -> Result<(Pusher, OwnedSemaphorePermit), Verdict> {
    let mut pusher = receiver.identify(connection.identity.as_deref())?;
    pusher.clock_skew_ms =
        number_of(headers, CLOCK_HEADER).map(|sent: i64| sent.saturating_sub(clock::now().as_millis()));
    if !is_supported(text_of(headers, &header::CONTENT_TYPE)) {
        return Err(receiver.unsupported(&pusher));
    }
    let room = admit_body(receiver, &pusher, headers)?;
    Ok((pusher, room))
}

/// A header as text, empty where it is none.
pub(super) fn text_of<'h>(headers: &'h HeaderMap, name: &header::HeaderName) -> &'h str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Room for the body that is announced, if its sender may send it now.
pub(super) fn admit_body(
    receiver: &Receiver,
    pusher: &Pusher,
    headers: &HeaderMap,
) -> Result<OwnedSemaphorePermit, Verdict> {
    let announced: Option<usize> = number_of(headers, header::CONTENT_LENGTH.as_str());
    if announced.is_some_and(|bytes| bytes > receiver.limits().bytes_max) {
        return Err(receiver.too_large(pusher));
    }
    receiver.check_rate(pusher)?;
    receiver.room(pusher, announced)
}

fn number_of<N: FromStr>(headers: &HeaderMap, name: &str) -> Option<N> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

/// Why there is no body.
pub(super) enum Unread {
    TooLong,
    Interrupted,
}

pub(super) async fn read(body: Body, bytes_max: usize) -> Result<Bytes, Unread> {
    match Limited::new(body, bytes_max).collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(fault) if fault.is::<LengthLimitError>() => Err(Unread::TooLong),
        Err(_) => Err(Unread::Interrupted),
    }
}

async fn identity(
    State(receiver): State<Arc<Receiver>>,
    Extension(connection): Extension<Arc<Connection>>,
) -> Response {
    match receiver.identify(connection.identity.as_deref()) {
        Ok(pusher) => {
            let json = serde_json::to_string(&receiver.describe(&pusher)).expect("strings can always be written");
            ([(header::CONTENT_TYPE, "application/json")], json).into_response()
        }
        Err(verdict) => answer(&verdict),
    }
}

/// A verdict as a response.
pub(super) fn answer(verdict: &Verdict) -> Response {
    let status = StatusCode::from_u16(verdict.status()).expect("verdicts have valid statuses");
    let mut response = (status, [(header::CONTENT_TYPE, "application/json")], verdict.body()).into_response();
    if let Some(wait) = verdict.retry_after() {
        let seconds = wait.as_millis().div_ceil(1000) as u64;
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
