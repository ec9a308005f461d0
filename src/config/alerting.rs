//! Where alerts go: Prometheus's section `alerting`; and what rules are told beyond their files.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::client::{Authorization, BasicAuth, HttpClientConfig, TlsClientConfig};
use super::relabel::RelabelConfig;
use super::scrape::{Scheme, StaticConfig};
use super::text::{UrlText, duration};

/// The section `alerting`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlertingConfig {
    /// Steps that every alert's labels go through before it is queued. Default none.
    pub alert_relabel_configs: Vec<RelabelConfig>,
    /// Alertmanagers; each gets every alert. Default none: alerts are evaluated and shown, and told to nobody.
    pub alertmanagers: Vec<AlertmanagerConfig>,
    /// Most alerts that wait to be sent; beyond it the oldest are dropped and counted. Default 10000.
    pub queue_capacity: usize,
}

impl Default for AlertingConfig {
    fn default() -> Self {
        AlertingConfig { alert_relabel_configs: Vec::new(), alertmanagers: Vec::new(), queue_capacity: 10_000 }
    }
}

/// The API that an Alertmanager is spoken to by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertmanagerApi {
    /// The only one that current ones have.
    #[default]
    V2,
}

/// Alertmanagers that are spoken to in the same way.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlertmanagerConfig {
    /// `http` or `https`. Default `http`.
    pub scheme: Scheme,
    /// What stands before `/api/v2/alerts`. Default nothing.
    pub path_prefix: String,
    /// When a request is given up. Default 10s.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// Default `v2`.
    pub api_version: AlertmanagerApi,
    /// Their addresses.
    pub static_configs: Vec<StaticConfig>,
    /// Steps over an Alertmanager's own labels (`__address__`, `__scheme__`, `__alerts_path__`). Default none.
    pub relabel_configs: Vec<RelabelConfig>,
    /// Steps over the labels of the alerts that it is sent. Default none.
    pub alert_relabel_configs: Vec<RelabelConfig>,
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
    /// Whether HTTP/2 may be negotiated over TLS. Default true.
    pub enable_http2: bool,
}

impl Default for AlertmanagerConfig {
    fn default() -> Self {
        AlertmanagerConfig {
            scheme: Scheme::Http,
            path_prefix: String::new(),
            timeout: Duration::from_secs(10),
            api_version: AlertmanagerApi::V2,
            static_configs: Vec::new(),
            relabel_configs: Vec::new(),
            alert_relabel_configs: Vec::new(),
            basic_auth: None,
            authorization: None,
            tls_config: TlsClientConfig::default(),
            proxy_url: None,
            no_proxy: String::new(),
            enable_http2: true,
        }
    }
}

impl AlertmanagerConfig {
    /// The keys of its HTTP client.
    pub fn http_client(&self) -> HttpClientConfig {
        HttpClientConfig {
            basic_auth: self.basic_auth.clone(),
            authorization: self.authorization.clone(),
            tls_config: self.tls_config.clone(),
            proxy_url: self.proxy_url.clone(),
            no_proxy: self.no_proxy.clone(),
            follow_redirects: false,
            enable_http2: self.enable_http2,
            ..HttpClientConfig::default()
        }
    }
}

/// The section `rules`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RulesConfig {
    /// How long an alert that was sent is not sent again. Default 1m.
    #[serde(with = "duration")]
    pub resend_delay: Duration,
    /// After a longer outage of the gateway alerts are pending anew, as after Prometheus's flag of this name. Default 1h.
    #[serde(with = "duration")]
    pub for_outage_tolerance: Duration,
    /// An alert goes on pending, where it did before the outage, if its `for` is not below this; and is pending so long at least
    /// before it fires. As Prometheus's flag of this name. Default 10m.
    #[serde(with = "duration")]
    pub for_grace_period: Duration,
    /// Whether evaluations wait for the clusters' snapshots of their time.
    pub freshness: FreshnessConfig,
    /// What a node's state adds to its health score in the rule packs. Default idle 1, allocated 0.8, mixed 0.6, drain and
    /// maint 0.2, down and other 0.
    pub health_weights: BTreeMap<String, Weight>,
}

/// A finite number.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "f64")]
pub struct Weight(f64);

/// NaN, the one number that is not itself, is refused.
impl Eq for Weight {}

impl TryFrom<f64> for Weight {
    type Error = String;

    fn try_from(number: f64) -> Result<Weight, String> {
        if number.is_finite() { Ok(Weight(number)) } else { Err(format!("{number} is not a finite number")) }
    }
}

impl std::fmt::Display for Weight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Default for RulesConfig {
    fn default() -> Self {
        RulesConfig {
            resend_delay: Duration::from_secs(60),
            for_outage_tolerance: Duration::from_secs(3600),
            for_grace_period: Duration::from_secs(600),
            freshness: FreshnessConfig::default(),
            health_weights: BTreeMap::new(),
        }
    }
}

/// How an evaluation waits so that a sum over clusters is not half old.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FreshnessConfig {
    /// At most so long, from the evaluation's time on. Default 0: not at all.
    #[serde(with = "duration")]
    pub wait: Duration,
    /// Names of groups that wait. Default none named: all do.
    pub groups: Vec<String>,
}
