//! Databases that are sent everything: Prometheus's section `remote_write`.
//!
//! Keys and meanings are Prometheus's but where fedgate's promise is another: nothing that was acknowledged is dropped because an
//! endpoint is overloaded, unreachable or misconfigured. What that changes stands with the key.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::client::{Authorization, BasicAuth, HttpClientConfig, TlsClientConfig};
use super::relabel::RelabelConfig;
use super::text::{UrlText, duration};

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RemoteWriteConfig {
    /// Where requests are posted. Required.
    pub url: UrlText,
    /// Names the endpoint in metrics and logs, and its place in the journal: with another name it begins anew. Default: made of
    /// the URL.
    pub name: Option<String>,
    /// When a request without an answer is given up, and sent again. Default 30s.
    #[serde(with = "duration")]
    pub remote_timeout: Duration,
    /// Further request headers. A value may name labels of the inventory, `{{cluster}}` or `{{environment}}` or another: a
    /// request holds one cluster's series.
    pub headers: BTreeMap<String, String>,
    /// Steps that each series goes through. Default none.
    pub write_relabel_configs: Vec<RelabelConfig>,
    /// The message to send: `prometheus.WriteRequest` (1.0) or `io.prometheus.write.v2.Request` (2.0). Default: 2.0, and 1.0 for
    /// endpoints that do not know it.
    pub protobuf_message: Option<ProtobufMessage>,
    /// Whether exemplars are sent. Default false.
    pub send_exemplars: bool,
    /// Whether native histograms are sent. Default false.
    pub send_native_histograms: bool,
    /// How types and helps are told to endpoints of 1.0; 2.0 has them with each series.
    pub metadata_config: MetadataConfig,
    /// How much is sent at once, and when it is tried again.
    pub queue_config: QueueConfig,
    /// User and password; excludes `authorization`.
    pub basic_auth: Option<BasicAuth>,
    /// The `Authorization` header; excludes `basic_auth`.
    pub authorization: Option<Authorization>,
    /// How the server's certificate is verified and which one is shown to it.
    pub tls_config: TlsClientConfig,
    /// Proxy for every request. Default none.
    pub proxy_url: Option<UrlText>,
    /// Hosts that are reached without the proxy, with commas between. Default none.
    pub no_proxy: String,
    /// As in Prometheus; a redirected request is a failed one, and is tried again. Default true.
    pub follow_redirects: bool,
    /// Whether HTTP/2 may be negotiated over TLS. Default true.
    pub enable_http2: bool,
    /// Refused: requests cannot be signed for AWS yet.
    pub sigv4: Option<Unspoken>,
    /// Refused: no tokens are fetched from Azure yet.
    pub azuread: Option<Unspoken>,
    /// Refused: no tokens are fetched by OAuth 2.0 yet.
    pub oauth2: Option<Unspoken>,
}

/// A section of Prometheus's that is known only so that it can be refused by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unspoken;

impl<'de> Deserialize<'de> for Unspoken {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Unspoken, D::Error> {
        serde::de::IgnoredAny::deserialize(deserializer).map(|_| Unspoken)
    }
}

impl Default for RemoteWriteConfig {
    fn default() -> Self {
        RemoteWriteConfig {
            url: UrlText::default(),
            name: None,
            remote_timeout: Duration::from_secs(30),
            headers: BTreeMap::new(),
            write_relabel_configs: Vec::new(),
            protobuf_message: None,
            send_exemplars: false,
            send_native_histograms: false,
            metadata_config: MetadataConfig::default(),
            queue_config: QueueConfig::default(),
            basic_auth: None,
            authorization: None,
            tls_config: TlsClientConfig::default(),
            proxy_url: None,
            no_proxy: String::new(),
            follow_redirects: true,
            enable_http2: true,
            sigv4: None,
            azuread: None,
            oauth2: None,
        }
    }
}

impl RemoteWriteConfig {
    /// The keys of its HTTP client.
    pub fn http_client(&self) -> HttpClientConfig {
        HttpClientConfig {
            basic_auth: self.basic_auth.clone(),
            authorization: self.authorization.clone(),
            tls_config: self.tls_config.clone(),
            proxy_url: self.proxy_url.clone(),
            no_proxy: self.no_proxy.clone(),
            follow_redirects: self.follow_redirects,
            enable_http2: self.enable_http2,
            ..HttpClientConfig::default()
        }
    }
}

/// A message of remote write by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum ProtobufMessage {
    /// 1.0.
    #[serde(rename = "prometheus.WriteRequest")]
    V1,
    /// 2.0.
    #[serde(rename = "io.prometheus.write.v2.Request")]
    V2,
}

/// The section `metadata_config`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetadataConfig {
    /// Whether they are sent at all. Default true.
    pub send: bool,
    /// How often. Default 1m.
    #[serde(with = "duration")]
    pub send_interval: Duration,
    /// Families of one request. Default 2000.
    pub max_samples_per_send: usize,
}

impl Default for MetadataConfig {
    fn default() -> Self {
        MetadataConfig { send: true, send_interval: Duration::from_secs(60), max_samples_per_send: 2000 }
    }
}

/// The section `queue_config`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueueConfig {
    /// Samples a shard that are read from the journal ahead of the endpoint. Default 10000.
    pub capacity: usize,
    /// Most requests at once. Default 50.
    pub max_shards: usize,
    /// Requests at once to begin with, and to come back to. Default 1.
    pub min_shards: usize,
    /// Samples of one request. Default 2000.
    pub max_samples_per_send: usize,
    /// Accepted for Prometheus's sake: what a frame brings is sent at once and waits for nothing. Default 5s.
    #[serde(with = "duration")]
    pub batch_send_deadline: Duration,
    /// The first pause after a failure; it doubles with each further one. Default 30ms.
    #[serde(with = "duration")]
    pub min_backoff: Duration,
    /// The longest pause that fedgate takes by itself. Default 5s.
    #[serde(with = "duration")]
    pub max_backoff: Duration,
    /// Accepted for Prometheus's sake: an answer 429 is tried again in any case, for nothing that was acknowledged is dropped
    /// because an endpoint is busy. Default true.
    pub retry_on_http_429: bool,
    /// Samples older than this are dropped, counted, not sent. Default 0: none are.
    #[serde(with = "duration")]
    pub sample_age_limit: Duration,
}

impl Default for QueueConfig {
    fn default() -> Self {
        QueueConfig {
            capacity: 10_000,
            max_shards: 50,
            min_shards: 1,
            max_samples_per_send: 2000,
            batch_send_deadline: Duration::from_secs(5),
            min_backoff: Duration::from_millis(30),
            max_backoff: Duration::from_secs(5),
            retry_on_http_429: true,
            sample_age_limit: Duration::ZERO,
        }
    }
}
