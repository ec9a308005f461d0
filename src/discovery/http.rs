//! `http_sd_configs`: target groups from an endpoint that answers in Prometheus's own protocol.
//!
//! A request says how often it will be repeated (`X-Prometheus-Refresh-Interval-Seconds`); an answer is status 200,
//! `application/json` in UTF-8, and the whole list. Anything else keeps the groups of the last good answer.

use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use url::Url;

use super::group::{GroupsError, TargetGroup, parse_json};
use crate::config::HttpSdConfig;
use crate::net::client::{Body, ClientError, HttpClient, read_limited};

const REFRESH_INTERVAL_SECONDS: HeaderName = HeaderName::from_static("x-prometheus-refresh-interval-seconds");
/// Largest answer.
const ANSWER_BYTES_MAX: u64 = 32 << 20;
/// The label with the endpoint's URL.
const URL: &str = "__meta_url";

/// Why an endpoint gave no groups.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    /// The configured URL is none.
    #[error("{url}: {error}")]
    Url {
        /// As configured.
        url: String,
        /// What is wrong.
        error: url::ParseError,
    },
    /// No whole answer.
    #[error("{url}: {error}")]
    Request {
        /// The endpoint.
        url: String,
        /// What happened.
        error: ClientError,
    },
    /// Nothing within the refresh interval.
    #[error("{url}: no whole answer within the refresh interval of {seconds} s")]
    Timeout {
        /// The endpoint.
        url: String,
        /// The interval.
        seconds: f64,
    },
    /// Another status than 200.
    #[error("{url}: status {status}, expected 200")]
    Status {
        /// The endpoint.
        url: String,
        /// What it answered.
        status: u16,
    },
    /// Not JSON in UTF-8.
    #[error("{url}: Content-Type {found:?}, expected application/json")]
    ContentType {
        /// The endpoint.
        url: String,
        /// What it answered.
        found: String,
    },
    /// No list of target groups.
    #[error("{url}: {error}")]
    Groups {
        /// The endpoint.
        url: String,
        /// What is wrong.
        error: GroupsError,
    },
}

/// One entry of `http_sd_configs`.
pub(super) struct HttpSource {
    config: HttpSdConfig,
    client: HttpClient,
    /// Of the last good answer.
    last: Option<Vec<TargetGroup>>,
}

impl HttpSource {
    /// A source that has asked for nothing yet.
    pub(super) fn new(config: &HttpSdConfig) -> Result<HttpSource, ClientError> {
        Ok(HttpSource { config: config.clone(), client: HttpClient::new(&config.http_client())?, last: None })
    }

    /// The pause between two requests, and how long one may take.
    pub(super) fn refresh_interval(&self) -> Duration {
        self.config.refresh_interval
    }

    /// Asks once. Nothing where the answer is the one known.
    pub(super) async fn refresh(&mut self) -> Result<Option<Vec<TargetGroup>>, HttpError> {
        let interval = self.refresh_interval();
        let timeout = || HttpError::Timeout { url: self.config.url.to_string(), seconds: interval.as_secs_f64() };
        let groups = tokio::time::timeout(interval, self.ask()).await.map_err(|_| timeout())??;
        if self.last.as_ref() == Some(&groups) {
            return Ok(None);
        }
        self.last = Some(groups.clone());
        Ok(Some(groups))
    }

    async fn ask(&self) -> Result<Vec<TargetGroup>, HttpError> {
        let named = || self.config.url.to_string();
        let url = Url::parse(&self.config.url).map_err(|error| HttpError::Url { url: named(), error })?;
        let request_error = |error| HttpError::Request { url: named(), error };
        let answer = self.client.get(url, &self.headers()).await.map_err(request_error)?;
        if answer.status() != StatusCode::OK {
            return Err(HttpError::Status { url: named(), status: answer.status().as_u16() });
        }
        let header = answer.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        let found = String::from_utf8_lossy(header).into_owned();
        if !is_json(&found) {
            return Err(HttpError::ContentType { url: named(), found });
        }
        let mut body = Body::default();
        read_limited(answer, ANSWER_BYTES_MAX, &mut body).await.map_err(request_error)?;
        let listed = parse_json(&body).map_err(|error| HttpError::Groups { url: named(), error })?;
        let origin = named();
        let group = |(index, group)| TargetGroup::new(&origin, index, group, Some((URL, &self.config.url)));
        Ok(listed.iter().enumerate().map(group).collect())
    }

    fn headers(&self) -> HeaderMap {
        let seconds = HeaderValue::try_from(self.refresh_interval().as_secs_f64().to_string());
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(REFRESH_INTERVAL_SECONDS, seconds.expect("digits and a point only"));
        headers
    }
}

/// `application/json`, perhaps with `charset=utf-8` and nothing else (Prometheus: `^(?i:application\/json(;\s*charset=("utf-8"|utf-8))?)$`).
fn is_json(content_type: &str) -> bool {
    let lower = content_type.trim().to_ascii_lowercase();
    let Some(rest) = lower.strip_prefix("application/json") else { return false };
    rest.is_empty()
        || rest.strip_prefix(';').is_some_and(|rest| matches!(rest.trim_start(), "charset=utf-8" | "charset=\"utf-8\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_in_utf8_is_json() {
        for good in ["application/json", "Application/JSON;charset=UTF-8", "application/json; charset=\"utf-8\""] {
            assert!(is_json(good), "{good}");
        }
        for bad in ["", "text/json", "application/json5", "application/json; charset=latin1", "application/json;"] {
            assert!(!is_json(bad), "{bad}");
        }
    }
}
