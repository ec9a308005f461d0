//! The collector's requests to its gateway: HTTP/2 or 1.1 over mutual TLS 1.3, straight or through a CONNECT proxy.
//!
//! Certificates are read again when the gateway or the handshake refuses the present ones and, cheaply, every few
//! ticks: a new certificate replaces an expiring one without a restart. Bad new files keep the old in force.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::CONTENT_TYPE;
use url::Url;

use super::protocol::{
    ANSWER_BYTES_MAX, AnswerError, CLOCK_HEADER, IDENTITY_PATH, IdentityAnswer, PUSH_PATH, Verdict, reason_text,
};
use super::sender::{Body, Failure};
use crate::config::PushClientConfig;
use crate::model::Timestamp;
use crate::net::retry_after;
use crate::runtime::clock;
use crate::snapshot::negotiate::content_type;
use crate::tls::{ClientFiles, ClientTls, HandshakeRefusal, TlsError};

/// How long name resolution, TCP, proxy and TLS may take together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often an idle HTTP/2 connection is asked whether it still stands, so that a dead path is found before a push.
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// Why no transport could be made of a configuration.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// `push.url` cannot be used.
    #[error("bad push.url {url:?}: {reason}, expected https://HOST:PORT")]
    Url {
        /// As written, without passwords.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The HTTP client could not be built.
    #[error("cannot build the push client: {0}")]
    Client(#[from] reqwest::Error),
}

/// Why a request got no verdict.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No connection, or no answer in time.
    #[error("{}", chain(.0))]
    Request(#[from] reqwest::Error),
    /// An answer that is no verdict.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// The gateway does not say who we are.
    #[error("status {status}: {reason}")]
    Unknown {
        /// The answer's status.
        status: u16,
        /// What the gateway says about it.
        reason: String,
    },
    /// An answer longer than any verdict.
    #[error("the answer has over {ANSWER_BYTES_MAX} bytes, expected a verdict")]
    TooLong,
}

impl SendError {
    /// What the state machine makes of it.
    pub fn failure(&self) -> Failure {
        match self {
            SendError::Request(error) if is_tls(error) => Failure::Tls,
            _ => Failure::Unanswered,
        }
    }

    /// A fixed word for the label `result`.
    pub fn as_str(&self) -> &'static str {
        match self {
            SendError::Request(error) if is_tls(error) => "tls",
            SendError::Request(error) if error.is_timeout() => "timeout",
            SendError::Request(error) if error.is_connect() => "connect",
            SendError::Request(_) => "interrupted",
            SendError::Answer(_) | SendError::Unknown { .. } | SendError::TooLong => "no_verdict",
        }
    }
}

/// The error and its causes: reqwest's own text leaves out what happened.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    text
}

/// Whether TLS is what failed. A TLS 1.3 server refuses a certificate only after the client's handshake, so this may
/// come with the first answer as well as with the connection.
fn is_tls(error: &reqwest::Error) -> bool {
    HandshakeRefusal::of_causes(error).is_some()
}

/// The way to one gateway.
pub struct Transport {
    push: Url,
    identity: Url,
    files: ClientFiles,
    proxy: Option<String>,
    timeout: Duration,
    tls: ClientTls,
    client: reqwest::Client,
}

impl Transport {
    /// Reads the certificates and prepares requests; nothing is sent.
    pub fn new(config: &PushClientConfig) -> Result<Transport, TransportError> {
        let base = base_url(&config.url)?;
        let at = |path| if base.path() == "/" { with_path(&base, path) } else { base.clone() };
        let files = ClientFiles::of_push(&config.tls_config);
        let tls = ClientTls::read(&files)?;
        let proxy = config.proxy_url.as_ref().map(|proxy| proxy.to_string());
        let client = build(&tls, proxy.as_deref(), config.timeout)?;
        let identity = with_path(&base, IDENTITY_PATH);
        Ok(Transport { push: at(PUSH_PATH), identity, files, proxy, timeout: config.timeout, tls, client })
    }

    /// Reads the certificates again; true if they had changed. New connections use the new ones.
    pub fn refresh(&mut self) -> Result<bool, TransportError> {
        let tls = ClientTls::read(&self.files)?;
        if tls.is_same(&self.tls) {
            return Ok(false);
        }
        self.client = build(&tls, self.proxy.as_deref(), self.timeout)?;
        self.tls = tls;
        Ok(true)
    }

    /// Whether our own certificate counts at `now`.
    pub fn check_validity(&self, now: Timestamp) -> Result<(), TlsError> {
        self.tls.check_validity(now)
    }

    /// Sends one body. The future owns what it needs and may be dropped at any time.
    pub fn push(&self, body: Body, version: u8) -> impl Future<Output = Result<Verdict, SendError>> + Send + use<> {
        let request = self.client.post(self.push.clone()).header(CONTENT_TYPE, content_type(version));
        let request = request.header(CLOCK_HEADER, clock::now().as_millis());
        async move { read_verdict(request.body(joined(body)).send().await?).await }
    }

    /// Asks what the gateway takes us for.
    pub async fn identity(&self) -> Result<IdentityAnswer, SendError> {
        let response = self.client.get(self.identity.clone()).send().await?;
        let status = response.status().as_u16();
        let body = read_answer(response).await?;
        if status != 200 {
            return Err(SendError::Unknown { status, reason: reason_text(&body) });
        }
        serde_json::from_slice(&body).map_err(|fault| AnswerError::Body { status, reason: fault.to_string() }.into())
    }
}

fn base_url(url: &str) -> Result<Url, TransportError> {
    let bad = |reason: String| TransportError::Url { url: crate::config::UrlText::from(url).redacted(), reason };
    let parsed = Url::parse(url).map_err(|error| bad(error.to_string()))?;
    if parsed.scheme() != "https" || !parsed.has_host() {
        return Err(bad(format!("scheme {:?}", parsed.scheme())));
    }
    Ok(parsed)
}

fn with_path(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(path);
    url.set_query(None);
    url
}

fn build(tls: &ClientTls, proxy: Option<&str>, timeout: Duration) -> Result<reqwest::Client, reqwest::Error> {
    let builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls.config())
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT.min(timeout))
        .timeout(timeout)
        .http2_keep_alive_interval(PING_INTERVAL)
        .http2_keep_alive_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_while_idle(true)
        .tcp_nodelay(true)
        .user_agent(concat!("fedgate/", env!("CARGO_PKG_VERSION")));
    // Without a proxy of its own the push goes straight: proxies of the environment are for browsers.
    match proxy {
        Some(proxy) => builder.proxy(reqwest::Proxy::all(proxy)?),
        None => builder.no_proxy(),
    }
    .build()
}

/// One piece for the wire. Copying a body costs far less than its compression did.
fn joined(body: Body) -> Bytes {
    match <[Bytes; 1]>::try_from(body.pieces) {
        Ok([piece]) => piece,
        Err(pieces) => {
            let mut joined = BytesMut::with_capacity(body.bytes);
            pieces.iter().for_each(|piece| joined.extend_from_slice(piece));
            joined.freeze()
        }
    }
}

async fn read_verdict(response: reqwest::Response) -> Result<Verdict, SendError> {
    let status = response.status().as_u16();
    let retry_after = retry_after(response.headers(), clock::now());
    let body = read_answer(response).await?;
    Ok(Verdict::parse(status, retry_after, &body)?)
}

async fn read_answer(mut response: reqwest::Response) -> Result<Vec<u8>, SendError> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await? {
        if body.len() + piece.len() > ANSWER_BYTES_MAX {
            return Err(SendError::TooLong);
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}
