//! Why a request gave no page.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use crate::tls::TlsError;

/// Faults of configuration, network and answer; the text is what `up 0` is explained with.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says it")]
pub enum ClientError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("{}: cannot be read: {source}", path.display())]
    Secret { path: PathBuf, source: io::Error },
    #[error("header {name:?} cannot be sent: its name or value has characters that no header may have")]
    BadHeader { name: String },
    #[error("proxy_url cannot be used: {reason}")]
    BadProxy { reason: String },
    #[error("{reason}")]
    Request { reason: String },
    #[error("more than {max} redirects in a row")]
    TooManyRedirects { max: usize },
    #[error("redirected to {location:?}, which is no http or https URL")]
    BadRedirect { location: String },
    #[error("content-encoding {found:?}, expected gzip, zstd or none")]
    UnknownEncoding { found: String },
    #[error("content-encoding {encoding}, but the body does not decode: {reason}")]
    BadBody { encoding: &'static str, reason: String },
    #[error("body exceeds {limit} bytes")]
    TooLarge { limit: u64 },
}

impl ClientError {
    /// The library's error with all its causes, without the URL: that is the caller's context and may hold a password.
    pub(super) fn of_request(error: reqwest::Error) -> ClientError {
        let error = error.without_url();
        let mut reason = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            let text = inner.to_string();
            if !reason.contains(&text) {
                reason.push_str(": ");
                reason.push_str(&text);
            }
            cause = inner.source();
        }
        ClientError::Request { reason }
    }
}
