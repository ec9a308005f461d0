//! A scrape job in Prometheus's own keys, and where its targets come from.
//!
//! Invariant after loading: `scrape_interval` and `scrape_timeout` are set (from `global` where the job leaves them out),
//! the time-out is at most the interval, and file names are resolved against the configuration's own directory.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::client::{Authorization, BasicAuth, HttpClientConfig, TlsClientConfig};
use super::collector::ScrapeGlobal;
use super::relabel::RelabelConfig;
use super::text::{ByteSize, LabelMap, Secret, UrlText, duration};

/// Query parameters: each name with its values, in order.
pub type Params = BTreeMap<String, Vec<String>>;

/// One entry of `scrape_configs`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScrapeConfig {
    /// Name of the job, unique; becomes the label `job`.
    pub job_name: String,
    /// Time between two scrapes of a target. Default: `global.scrape_interval`.
    #[serde(with = "duration")]
    pub scrape_interval: Duration,
    /// When a scrape is given up; at most the interval. Default: `global.scrape_timeout`, or the interval if that is less.
    #[serde(with = "duration")]
    pub scrape_timeout: Duration,
    /// Path of the page. Default `/metrics`.
    pub metrics_path: String,
    /// `http` or `https`. Default `http`.
    pub scheme: Scheme,
    /// Query parameters.
    pub params: Params,
    /// Keep the page's labels where they collide with the target's, instead of renaming them to `exported_…`. Default false.
    pub honor_labels: bool,
    /// Keep the page's timestamps. Default true.
    pub honor_timestamps: bool,
    /// Mark series with own timestamps stale when they vanish. Default false.
    pub track_timestamps_staleness: bool,
    /// Formats to ask for, best first. Default: `global.scrape_protocols`, else [`ScrapeProtocol::PROTOBUF_FIRST`] with
    /// `scrape_native_histograms` and [`ScrapeProtocol::DEFAULT`] without.
    pub scrape_protocols: Option<Vec<ScrapeProtocol>>,
    /// Format of a page without a usable Content-Type. Default: none, such a page fails.
    pub fallback_scrape_protocol: Option<ScrapeProtocol>,
    /// Take native histograms, which protobuf pages alone have. Default: `global.scrape_native_histograms`. Without it a
    /// histogram that has native buckets brings nothing but what `always_scrape_classic_histograms` takes, as in Prometheus 3.5.
    pub scrape_native_histograms: Option<bool>,
    /// Take the classic form of a histogram too where it has native buckets. Default:
    /// `global.always_scrape_classic_histograms`.
    pub always_scrape_classic_histograms: Option<bool>,
    /// Make classic histograms of any page native ones with custom buckets; the classic series then go, unless
    /// `always_scrape_classic_histograms` keeps them. Default: `global.convert_classic_histograms_to_nhcb`.
    pub convert_classic_histograms_to_nhcb: Option<bool>,
    /// Most buckets of a native histogram; one with more gets a coarser resolution, and the scrape fails where there is
    /// none. `0` is no limit. Default 0.
    pub native_histogram_bucket_limit: u64,
    /// A bucket of a native histogram is at least this many times as wide as the one below; a finer one gets a coarser
    /// resolution. Default 0, any resolution.
    pub native_histogram_min_bucket_factor: f64,
    /// Largest page after decompression; `0` is no limit of the job's own. Default 0.
    pub body_size_limit: ByteSize,
    /// Most samples of a page after relabelling; `0` is no limit. Default 0.
    pub sample_limit: u64,
    /// Most targets of the job; `0` is no limit. Default 0.
    pub target_limit: u64,
    /// Most labels of a series; `0` is no limit. Default 0.
    pub label_limit: u64,
    /// Longest label name in bytes; `0` is no limit. Default 0.
    pub label_name_length_limit: u64,
    /// Longest label value in bytes; `0` is no limit. Default 0.
    pub label_value_length_limit: u64,
    /// Whether 3xx answers are followed. Default true.
    pub follow_redirects: bool,
    /// Ask for gzip. Default true.
    pub enable_compression: bool,
    /// Whether HTTP/2 may be negotiated over TLS. Default true.
    pub enable_http2: bool,
    /// User and password; excludes `authorization`.
    pub basic_auth: Option<BasicAuth>,
    /// The `Authorization` header; excludes `basic_auth`.
    pub authorization: Option<Authorization>,
    /// How the target's certificate is verified and which one is shown to it.
    pub tls_config: TlsClientConfig,
    /// Proxy for every scrape: `http://`, `https://` or `socks5://`.
    pub proxy_url: Option<UrlText>,
    /// Hosts, domains and networks that are reached without the proxy, with commas between.
    pub no_proxy: String,
    /// Further request headers, by name.
    pub http_headers: BTreeMap<String, HttpHeader>,
    /// Targets written down here.
    pub static_configs: Vec<StaticConfig>,
    /// Targets from JSON or YAML files.
    pub file_sd_configs: Vec<FileSdConfig>,
    /// Targets from HTTP endpoints.
    pub http_sd_configs: Vec<HttpSdConfig>,
    /// Steps over each target's labels before it is scraped.
    pub relabel_configs: Vec<RelabelConfig>,
    /// Steps over each series' labels before it is kept.
    pub metric_relabel_configs: Vec<RelabelConfig>,
    /// Add `scrape_timeout_seconds`, `scrape_sample_limit` and `scrape_body_size_bytes`. Default: `global.extra_scrape_metrics`.
    pub extra_scrape_metrics: Option<bool>,
}

impl Default for ScrapeConfig {
    fn default() -> Self {
        let client = HttpClientConfig::default();
        ScrapeConfig {
            job_name: String::new(),
            scrape_interval: Duration::ZERO,
            scrape_timeout: Duration::ZERO,
            metrics_path: "/metrics".to_owned(),
            scheme: Scheme::Http,
            params: Params::new(),
            honor_labels: false,
            honor_timestamps: true,
            track_timestamps_staleness: false,
            scrape_protocols: None,
            fallback_scrape_protocol: None,
            scrape_native_histograms: None,
            always_scrape_classic_histograms: None,
            convert_classic_histograms_to_nhcb: None,
            native_histogram_bucket_limit: 0,
            native_histogram_min_bucket_factor: 0.0,
            body_size_limit: ByteSize(0),
            sample_limit: 0,
            target_limit: 0,
            label_limit: 0,
            label_name_length_limit: 0,
            label_value_length_limit: 0,
            follow_redirects: client.follow_redirects,
            enable_compression: true,
            enable_http2: client.enable_http2,
            basic_auth: None,
            authorization: None,
            tls_config: client.tls_config,
            proxy_url: None,
            no_proxy: String::new(),
            http_headers: BTreeMap::new(),
            static_configs: Vec::new(),
            file_sd_configs: Vec::new(),
            http_sd_configs: Vec::new(),
            relabel_configs: Vec::new(),
            metric_relabel_configs: Vec::new(),
            extra_scrape_metrics: None,
        }
    }
}

impl ScrapeConfig {
    /// Takes over from `global` what the job leaves out. Only a time-out that stands in `global` is cut to a shorter
    /// interval: the job's own is the user's to mend.
    pub(super) fn inherit(&mut self, global: &ScrapeGlobal) {
        if self.scrape_interval.is_zero() {
            self.scrape_interval = global.scrape_interval;
        }
        if self.scrape_timeout.is_zero() {
            self.scrape_timeout = global.scrape_timeout.min(self.scrape_interval);
        }
        self.extra_scrape_metrics.get_or_insert(global.extra_scrape_metrics);
        self.scrape_native_histograms.get_or_insert(global.scrape_native_histograms);
        self.always_scrape_classic_histograms.get_or_insert(global.always_scrape_classic_histograms);
        self.convert_classic_histograms_to_nhcb.get_or_insert(global.convert_classic_histograms_to_nhcb);
        if self.scrape_protocols.is_none() {
            self.scrape_protocols.clone_from(&global.scrape_protocols);
        }
    }

    /// The formats to ask for, best first.
    pub fn protocols(&self) -> &[ScrapeProtocol] {
        match &self.scrape_protocols {
            Some(protocols) => protocols,
            None if self.scrape_native_histograms == Some(true) => &ScrapeProtocol::PROTOBUF_FIRST,
            None => &ScrapeProtocol::DEFAULT,
        }
    }

    /// The job's HTTP keys in one piece.
    pub fn http_client(&self) -> HttpClientConfig {
        HttpClientConfig {
            basic_auth: self.basic_auth.clone(),
            authorization: self.authorization.clone(),
            tls_config: self.tls_config.clone(),
            proxy_url: self.proxy_url.clone(),
            no_proxy: self.no_proxy.clone(),
            follow_redirects: self.follow_redirects,
            enable_http2: self.enable_http2,
            http_headers: self.http_headers.clone(),
        }
    }
}

/// The URL scheme of a job's targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// Plain HTTP.
    #[default]
    Http,
    /// HTTP over TLS.
    Https,
}

impl Scheme {
    /// As it stands in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

/// An exposition format, in Prometheus's spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum ScrapeProtocol {
    /// `application/vnd.google.protobuf`, delimited: the one format that has native histograms.
    PrometheusProto,
    /// `text/plain; version=0.0.4`
    #[serde(rename = "PrometheusText0.0.4")]
    PrometheusText0_0_4,
    /// `text/plain; version=1.0.0`
    #[serde(rename = "PrometheusText1.0.0")]
    PrometheusText1_0_0,
    /// `application/openmetrics-text; version=0.0.1`
    #[serde(rename = "OpenMetricsText0.0.1")]
    OpenMetricsText0_0_1,
    /// `application/openmetrics-text; version=1.0.0`
    #[serde(rename = "OpenMetricsText1.0.0")]
    OpenMetricsText1_0_0,
}

impl ScrapeProtocol {
    /// What is asked for where a job does not say: Prometheus's own default.
    pub const DEFAULT: [ScrapeProtocol; 4] = [
        ScrapeProtocol::OpenMetricsText1_0_0,
        ScrapeProtocol::OpenMetricsText0_0_1,
        ScrapeProtocol::PrometheusText1_0_0,
        ScrapeProtocol::PrometheusText0_0_4,
    ];

    /// What is asked for where native histograms are wanted.
    pub const PROTOBUF_FIRST: [ScrapeProtocol; 5] = [
        ScrapeProtocol::PrometheusProto,
        ScrapeProtocol::OpenMetricsText1_0_0,
        ScrapeProtocol::OpenMetricsText0_0_1,
        ScrapeProtocol::PrometheusText1_0_0,
        ScrapeProtocol::PrometheusText0_0_4,
    ];
}

/// One request header: plain values, secret ones and ones from files, all of them sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpHeader {
    /// Values that may be seen.
    pub values: Vec<String>,
    /// Values that are never printed.
    pub secrets: Vec<Secret>,
    /// Files that hold one value each.
    pub files: Vec<PathBuf>,
}

/// Targets with the labels they share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StaticConfig {
    /// `host:port` of each target.
    pub targets: Vec<String>,
    /// Labels for all of them.
    pub labels: LabelMap,
}

/// Discovery by files of target groups.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FileSdConfig {
    /// `.json`, `.yml` or `.yaml`; the last part of the path may hold one `*`.
    pub files: Vec<PathBuf>,
    /// How often they are read again at the latest. Default 5m.
    #[serde(with = "duration")]
    pub refresh_interval: Duration,
}

impl Default for FileSdConfig {
    fn default() -> Self {
        FileSdConfig { files: Vec::new(), refresh_interval: Duration::from_secs(300) }
    }
}

/// Discovery by an HTTP endpoint that answers with target groups as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSdConfig {
    /// `http://` or `https://`.
    pub url: UrlText,
    /// How often it is asked. Default 1m.
    #[serde(with = "duration")]
    pub refresh_interval: Duration,
    /// Whether 3xx answers are followed. Default true.
    pub follow_redirects: bool,
    /// Whether HTTP/2 may be negotiated over TLS. Default true.
    pub enable_http2: bool,
    /// User and password; excludes `authorization`.
    pub basic_auth: Option<BasicAuth>,
    /// The `Authorization` header; excludes `basic_auth`.
    pub authorization: Option<Authorization>,
    /// How the server's certificate is verified and which one is shown to it.
    pub tls_config: TlsClientConfig,
    /// Proxy for the requests: `http://`, `https://` or `socks5://`.
    pub proxy_url: Option<UrlText>,
    /// Hosts, domains and networks that are reached without the proxy, with commas between.
    pub no_proxy: String,
    /// Further request headers, by name.
    pub http_headers: BTreeMap<String, HttpHeader>,
}

impl Default for HttpSdConfig {
    fn default() -> Self {
        let client = HttpClientConfig::default();
        HttpSdConfig {
            url: UrlText::default(),
            refresh_interval: Duration::from_secs(60),
            follow_redirects: client.follow_redirects,
            enable_http2: client.enable_http2,
            basic_auth: None,
            authorization: None,
            tls_config: client.tls_config,
            proxy_url: None,
            no_proxy: String::new(),
            http_headers: BTreeMap::new(),
        }
    }
}

impl HttpSdConfig {
    /// The HTTP keys in one piece.
    pub fn http_client(&self) -> HttpClientConfig {
        HttpClientConfig {
            basic_auth: self.basic_auth.clone(),
            authorization: self.authorization.clone(),
            tls_config: self.tls_config.clone(),
            proxy_url: self.proxy_url.clone(),
            no_proxy: self.no_proxy.clone(),
            follow_redirects: self.follow_redirects,
            enable_http2: self.enable_http2,
            http_headers: self.http_headers.clone(),
        }
    }
}
