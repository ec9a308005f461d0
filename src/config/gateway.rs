//! The gateway's file: who may push, what is served to readers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::alerting::{AlertingConfig, RulesConfig};
use super::history::HistoryConfig;
use super::inventory::ClusterConfig;
use super::journal::JournalConfig;
use super::listener::ListenerTlsConfig;
use super::remote_write::RemoteWriteConfig;
use super::text::{ByteSize, LabelMap, Secret, UrlText, duration};

/// Everything a gateway is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewayConfig {
    /// What holds for the whole site.
    pub global: GatewayGlobal,
    /// The collectors' side.
    pub push: PushListenerConfig,
    /// The readers' side.
    pub http: GatewayHttpConfig,
    /// What a PromQL expression may take.
    pub query: QueryConfig,
    /// Files with recording and alerting rules; the last part of a path may hold `*`. Default none.
    pub rule_files: Vec<PathBuf>,
    /// Rule packs that fedgate brings along, by name; where several families of exporters cover a cluster, the one that
    /// stands first speaks. Default none.
    pub rule_packs: Vec<String>,
    /// How rules are evaluated.
    pub rules: RulesConfig,
    /// Where alerts go.
    pub alerting: AlertingConfig,
    /// What is kept of the past.
    pub history: HistoryConfig,
    /// Databases that are sent everything. Default none.
    pub remote_write: Vec<RemoteWriteConfig>,
    /// Where what was acknowledged outlives the process.
    pub journal: JournalConfig,
    /// Bounds over all clusters.
    pub limits: GatewayLimits,
}

/// What holds for the whole site.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewayGlobal {
    /// Labels added on the way out where a series lacks them. Default none.
    pub external_labels: LabelMap,
    /// Time between evaluations of a rule group that does not say. Default 30s.
    #[serde(with = "duration")]
    pub evaluation_interval: Duration,
    /// How far behind its evaluation's time a rule group looks that does not say. Default 0.
    #[serde(with = "duration")]
    pub rule_query_offset: Duration,
}

impl Default for GatewayGlobal {
    fn default() -> Self {
        GatewayGlobal {
            external_labels: LabelMap::new(),
            evaluation_interval: Duration::from_secs(30),
            rule_query_offset: Duration::ZERO,
        }
    }
}

/// The listener that collectors push to: mutual TLS 1.3, always.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PushListenerConfig {
    /// Address and port; an empty host is every address. Default :9491.
    pub listen: String,
    /// The gateway's certificate and whose certificates it trusts.
    pub tls_config: PushTlsConfig,
    /// The inventory.
    pub clusters: Vec<ClusterConfig>,
    /// Bounds on connections and bodies.
    pub limits: PushLimits,
}

impl Default for PushListenerConfig {
    fn default() -> Self {
        PushListenerConfig {
            listen: ":9491".to_owned(),
            tls_config: PushTlsConfig::default(),
            clusters: Vec::new(),
            limits: PushLimits::default(),
        }
    }
}

/// Certificates of the push listener. Files are read again when they change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PushTlsConfig {
    /// PEM file of the gateway's certificate and chain. Required.
    pub cert_file: PathBuf,
    /// PEM file of its key. Required.
    pub key_file: PathBuf,
    /// PEM file of the CAs that sign collectors' certificates. Required.
    pub client_ca_file: PathBuf,
    /// PEM file of revoked certificates; open connections are cut when it changes. Default none.
    pub crl_file: Option<PathBuf>,
}

/// Bounds of the push listener; what is refused is counted by reason.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PushLimits {
    /// Most open connections. Default 4096.
    pub connections_max: usize,
    /// Most open connections of one address. Default 64.
    pub connections_per_address_max: usize,
    /// When an unfinished TLS handshake is cut. Default 10s.
    #[serde(with = "duration")]
    pub handshake_timeout: Duration,
    /// When a request whose headers are not complete is cut. Default 10s.
    #[serde(with = "duration")]
    pub header_timeout: Duration,
    /// When a request whose body is not complete is cut. Default 60s.
    #[serde(with = "duration")]
    pub body_timeout: Duration,
    /// When a connection without a request is closed. Default 5m.
    #[serde(with = "duration")]
    pub idle_timeout: Duration,
    /// Largest request body. Default 16MB.
    pub body_bytes_max: ByteSize,
    /// Most frames of one body. Default 4096.
    pub frames_per_body_max: usize,
    /// Largest frame after decompression. Default 64MB.
    pub frame_raw_bytes_max: ByteSize,
}

impl Default for PushLimits {
    fn default() -> Self {
        PushLimits {
            connections_max: 4096,
            connections_per_address_max: 64,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(300),
            body_bytes_max: ByteSize::mib(16),
            frames_per_body_max: 4096,
            frame_raw_bytes_max: ByteSize::mib(64),
        }
    }
}

/// The listener that readers scrape: `/federate`, `/metrics`, health.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewayHttpConfig {
    /// Address and port; an empty host is every address. Default 127.0.0.1:9490.
    pub listen: String,
    /// Where users reach this listener; stands in alerts and their templates. Default: what `listen` says.
    pub external_url: Option<UrlText>,
    /// TLS as in exporter-toolkit's file. Default none: plain HTTP.
    pub tls_server_config: Option<ListenerTlsConfig>,
    /// Users and their bcrypt hashes, as in exporter-toolkit's file. Default none: no password asked.
    pub basic_auth_users: BTreeMap<String, Secret>,
    /// Files that hold one accepted bearer token each. Default none.
    pub bearer_token_files: Vec<PathBuf>,
    /// Most open connections. Default 512.
    pub connections_max: usize,
    /// When a request whose headers are not complete is cut. Default 10s.
    #[serde(with = "duration")]
    pub header_timeout: Duration,
    /// When a connection without a request is closed. Default 5m.
    #[serde(with = "duration")]
    pub idle_timeout: Duration,
    /// What `/metrics` shows.
    pub metrics: MetricsPageConfig,
    /// Bounds of `/federate` and `/metrics`.
    pub federate: FederateConfig,
}

impl Default for GatewayHttpConfig {
    fn default() -> Self {
        GatewayHttpConfig {
            listen: "127.0.0.1:9490".to_owned(),
            external_url: None,
            tls_server_config: None,
            basic_auth_users: BTreeMap::new(),
            bearer_token_files: Vec::new(),
            connections_max: 512,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(300),
            metrics: MetricsPageConfig::default(),
            federate: FederateConfig::default(),
        }
    }
}

/// What `/metrics` shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsPageConfig {
    /// Selectors; only series that one of them matches are shown. Default none: all.
    #[serde(rename = "match")]
    pub matches: Vec<String>,
}

/// Bounds on the readers' big pages.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FederateConfig {
    /// Most pages written at once; the others wait. Default 8.
    pub concurrent_max: usize,
    /// When a page that its reader does not take is cut. Default 2m.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// Most selectors in one request. Default 256.
    pub matches_max: usize,
}

impl Default for FederateConfig {
    fn default() -> Self {
        FederateConfig { concurrent_max: 8, timeout: Duration::from_secs(120), matches_max: 256 }
    }
}

/// What evaluating an expression may take, as Prometheus's flags `--query.…` say it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueryConfig {
    /// When an evaluation is given up. Default 30s.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// Most samples that one evaluation may touch. Default 50000000.
    pub max_samples: u64,
    /// How old the newest sample of a series may be to count. Default 5m.
    #[serde(with = "duration")]
    pub lookback_delta: Duration,
    /// Most queries of readers under way at once; the others wait. Default 20.
    pub max_concurrency: usize,
    /// Whether the functions that Prometheus calls experimental are known. Default false.
    pub experimental_functions: bool,
}

impl Default for QueryConfig {
    fn default() -> Self {
        QueryConfig {
            timeout: Duration::from_secs(30),
            max_samples: 50_000_000,
            lookback_delta: Duration::from_secs(300),
            max_concurrency: 20,
            experimental_functions: false,
        }
    }
}

/// Bounds over all clusters.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewayLimits {
    /// How far a sample may lie ahead of the gateway's clock. Default 10m.
    #[serde(with = "duration")]
    pub future_max: Duration,
    /// Threads for decoding and rendering; `0` is one a core. Default 0.
    pub cpu_threads: usize,
}

impl Default for GatewayLimits {
    fn default() -> Self {
        GatewayLimits { future_max: Duration::from_secs(600), cpu_threads: 0 }
    }
}
