//! One page over HTTP, asked for as Prometheus 3.5 asks.
//!
//! | header | value |
//! |---|---|
//! | `Accept` | the job's `scrape_protocols` with falling weights, then `*/*` |
//! | `Accept-Encoding` | `gzip`; `identity` without `enable_compression` |
//! | `X-Prometheus-Scrape-Timeout-Seconds` | the target's time-out |
//!
//! Only status 200 is a page. The limit on its size holds while it arrives, for what comes out of decompression, and as in
//! Prometheus a page that reaches `body_size_limit` exactly is over it.

use std::time::Duration;

use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use url::Url;

use super::bodies::Bodies;
use super::error::ScrapeError;
use crate::config::{ByteSize, ScrapeConfig, ScrapeProtocol};
use crate::discovery::Target;
use crate::exposition::{ContentTypeError, Format, format_of_content_type};
use crate::net::client::{Body, ClientError, HttpClient, read_limited};

const SCRAPE_TIMEOUT_SECONDS: HeaderName = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");
/// No page is larger, whatever the configuration says: positions in a page are 32 bits wide.
const PAGE_BYTES_MAX: u64 = 1 << 30;
/// Weight of the first of `scrape_protocols` in tenths: one more than Prometheus knows protocols.
const FIRST_WEIGHT: usize = 6;

/// As Prometheus asks for it.
const PROTOBUF_MEDIA_TYPE: &str =
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";

/// A page as it came.
#[derive(Debug)]
pub(super) struct Page {
    /// Decompressed; its memory goes back to the [`Bodies`] that it came from.
    pub(super) body: Body,
    content_type: Option<String>,
    fallback: Option<Format>,
}

impl Page {
    /// How to read it. An empty page needs no Content-Type, as in Prometheus: nothing has to be read.
    pub(super) fn format(&self) -> Result<Format, ContentTypeError> {
        let fallback = if self.body.is_empty() { Some(Format::Text) } else { self.fallback };
        format_of_content_type(self.content_type.as_deref(), fallback)
    }
}

/// What is asked of a target at every scrape.
#[derive(Debug)]
pub(super) struct Question {
    url: Result<Url, ScrapeError>,
    headers: HeaderMap,
    timeout: Duration,
}

/// Fetches the pages of one job.
pub(super) struct Fetcher {
    client: HttpClient,
    headers: HeaderMap,
    /// A page of this many bytes is allowed, one more is not.
    bytes_max: u64,
    /// As configured, for the message.
    limit: u64,
    fallback: Option<Format>,
}

impl Fetcher {
    /// A client for `job`; `own_limit` holds for every page.
    pub(super) fn new(job: &ScrapeConfig, own_limit: ByteSize) -> Result<Fetcher, ClientError> {
        let mut headers = HeaderMap::new();
        let accept = HeaderValue::try_from(accept(job.protocols()));
        headers.insert(ACCEPT, accept.expect("words and digits only"));
        let encoding = if job.enable_compression { "gzip" } else { "identity" };
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(encoding));
        let own_limit = own_limit.limit().unwrap_or(PAGE_BYTES_MAX).min(PAGE_BYTES_MAX);
        let (bytes_max, limit) = match job.body_size_limit.limit() {
            Some(limit) if limit <= own_limit => (limit - 1, limit),
            _ => (own_limit, own_limit),
        };
        Ok(Fetcher {
            client: HttpClient::new(&job.http_client())?,
            headers,
            bytes_max,
            limit,
            fallback: job.fallback_scrape_protocol.map(format_of),
        })
    }

    /// What to ask `target`, put together once for all its scrapes.
    pub(super) fn question(&self, target: &Target) -> Question {
        let url = Url::parse(&target.url).map_err(|error| ScrapeError::Request(error.to_string()));
        let mut headers = self.headers.clone();
        headers.insert(SCRAPE_TIMEOUT_SECONDS, seconds(target.timeout));
        Question { url, headers, timeout: target.timeout }
    }

    /// The target's page, whole and in time, in memory of `bodies`.
    pub(super) async fn fetch(&self, question: &Question, bodies: &Bodies) -> Result<Page, ScrapeError> {
        let in_time = tokio::time::timeout(question.timeout, self.fetch_untimed(question, bodies));
        in_time.await.unwrap_or(Err(ScrapeError::Timeout(question.timeout)))
    }

    async fn fetch_untimed(&self, question: &Question, bodies: &Bodies) -> Result<Page, ScrapeError> {
        let url = question.url.clone()?;
        let answer = self.client.get(url, &question.headers).await.map_err(|error| self.error(&error))?;
        if answer.status() != StatusCode::OK {
            return Err(ScrapeError::Status(answer.status().as_u16()));
        }
        // A header of other bytes than text is as good as none that can be understood.
        let content_type =
            answer.headers().get(CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let mut body = bodies.take();
        read_limited(answer, self.bytes_max, &mut body).await.map_err(|error| self.error(&error))?;
        Ok(Page { body, content_type, fallback: self.fallback })
    }

    fn error(&self, error: &ClientError) -> ScrapeError {
        match error {
            ClientError::TooLarge { .. } => ScrapeError::BodySize { limit: self.limit },
            other => ScrapeError::Request(other.to_string()),
        }
    }
}

impl std::fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetcher").field("limit", &self.limit).field("fallback", &self.fallback).finish_non_exhaustive()
    }
}

/// The Accept header of these protocols.
fn accept(protocols: &[ScrapeProtocol]) -> String {
    let mut clauses = String::new();
    for (nth, protocol) in protocols.iter().enumerate() {
        let media_type = match protocol {
            ScrapeProtocol::PrometheusProto => PROTOBUF_MEDIA_TYPE,
            ScrapeProtocol::OpenMetricsText1_0_0 => "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8",
            ScrapeProtocol::OpenMetricsText0_0_1 => "application/openmetrics-text;version=0.0.1",
            ScrapeProtocol::PrometheusText1_0_0 => "text/plain;version=1.0.0;escaping=allow-utf-8",
            ScrapeProtocol::PrometheusText0_0_4 => "text/plain;version=0.0.4",
        };
        clauses.push_str(&format!("{media_type};q=0.{},", FIRST_WEIGHT.saturating_sub(nth).max(1)));
    }
    clauses + &format!("*/*;q=0.{}", FIRST_WEIGHT.saturating_sub(protocols.len()).max(1))
}

fn format_of(protocol: ScrapeProtocol) -> Format {
    match protocol {
        ScrapeProtocol::PrometheusProto => Format::Protobuf,
        ScrapeProtocol::PrometheusText0_0_4 => Format::Text,
        ScrapeProtocol::PrometheusText1_0_0 => Format::Text1,
        ScrapeProtocol::OpenMetricsText0_0_1 | ScrapeProtocol::OpenMetricsText1_0_0 => Format::OpenMetrics,
    }
}

/// As Go writes it: no exponent, no needless digit.
fn seconds(duration: Duration) -> HeaderValue {
    HeaderValue::try_from(duration.as_secs_f64().to_string()).expect("digits and a point only")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::SCRAPE_ACCEPT;

    #[test]
    fn the_default_accept_header_is_prometheus_own() {
        assert_eq!(accept(&ScrapeProtocol::DEFAULT), SCRAPE_ACCEPT);
        assert_eq!(accept(&[ScrapeProtocol::PrometheusText0_0_4]), "text/plain;version=0.0.4;q=0.6,*/*;q=0.5");
    }

    #[test]
    fn protobuf_is_asked_for_first_where_native_histograms_are_wanted() {
        let expected = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
            application/openmetrics-text;version=0.0.1;q=0.4,\
            text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
            text/plain;version=0.0.4;q=0.2,\
            */*;q=0.1";
        assert_eq!(accept(&ScrapeProtocol::PROTOBUF_FIRST), format!("{PROTOBUF_MEDIA_TYPE};q=0.6,{expected}"));
    }

    #[test]
    fn seconds_are_written_as_go_does() {
        for (millis, text) in [(10_000, "10"), (500, "0.5"), (1, "0.001"), (86_400_000, "86400")] {
            assert_eq!(seconds(Duration::from_millis(millis)), text);
        }
    }
}
