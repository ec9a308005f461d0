//! The collector's file: what to scrape, where to push it.

use std::time::Duration;

use serde::Deserialize;
use url::Url;

use super::client::TlsClientConfig;
use super::scrape::{ScrapeConfig, ScrapeProtocol};
use super::spool::SpoolConfig;
use super::text::{ByteSize, LabelMap, UrlText, duration};

/// Where a gateway takes in pushes, if `push.url` does not say.
const PUSH_PATH: &str = "/v1/push";

/// Everything a collector is told.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CollectorConfig {
    /// Defaults of every job.
    pub global: ScrapeGlobal,
    /// The jobs.
    pub scrape_configs: Vec<ScrapeConfig>,
    /// Where snapshots go.
    pub push: PushClientConfig,
    /// What could not be delivered yet.
    pub spool: SpoolConfig,
    /// The collector's own pages.
    pub http: CollectorHttpConfig,
    /// Bounds on what it scrapes.
    pub limits: CollectorLimits,
}

impl CollectorConfig {
    /// Fills in what a job takes over from `global`, and the path of the push URL.
    pub(super) fn complete(&mut self) {
        let global = self.global.clone();
        self.scrape_configs.iter_mut().for_each(|job| job.inherit(&global));
        self.push.complete();
    }
}

/// What a job takes over where it does not say otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScrapeGlobal {
    /// Time between two scrapes of a target. Default 30s.
    #[serde(with = "duration")]
    pub scrape_interval: Duration,
    /// When a scrape is given up; at most the interval. Default 10s.
    #[serde(with = "duration")]
    pub scrape_timeout: Duration,
    /// Labels added to every target that lacks them. The gateway's inventory wins over them. Default none.
    pub external_labels: LabelMap,
    /// Add the extra `scrape_*` series to every target. Default false.
    pub extra_scrape_metrics: bool,
    /// Formats to ask for, best first. Default: see [`ScrapeConfig::scrape_protocols`].
    pub scrape_protocols: Option<Vec<ScrapeProtocol>>,
    /// Take native histograms. Default false.
    pub scrape_native_histograms: bool,
    /// Take the classic form of a histogram too where it has native buckets. Default false.
    pub always_scrape_classic_histograms: bool,
    /// Make classic histograms native ones with custom buckets. Default false.
    pub convert_classic_histograms_to_nhcb: bool,
}

impl Default for ScrapeGlobal {
    fn default() -> Self {
        ScrapeGlobal {
            scrape_interval: Duration::from_secs(30),
            scrape_timeout: Duration::from_secs(10),
            external_labels: LabelMap::new(),
            extra_scrape_metrics: false,
            scrape_protocols: None,
            scrape_native_histograms: false,
            always_scrape_classic_histograms: false,
            convert_classic_histograms_to_nhcb: false,
        }
    }
}

/// The way to the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PushClientConfig {
    /// The gateway's push listener, `https://HOST:9491`; the path defaults to `/v1/push`. Required, here or in `urls`.
    pub url: UrlText,
    /// Further gateways that get the same, each at its own pace. Default none.
    pub urls: Vec<PushUrlConfig>,
    /// CA, client certificate and key. All three are required; always TLS 1.3.
    pub tls_config: TlsClientConfig,
    /// Proxy that the connection goes through by CONNECT: `http://HOST:PORT`. Default none.
    pub proxy_url: Option<UrlText>,
    /// Time between two snapshots. Default 15s; 1s to 5m.
    #[serde(with = "duration")]
    pub tick: Duration,
    /// When an unanswered push is given up and sent again. Default 30s.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// Frames kept in memory for each gateway that cannot be reached; beyond it they are read from the spool, and without one the
    /// oldest go, counted. Default 64MB.
    pub queue_bytes_max: ByteSize,
    /// Largest request body. Default 8MB.
    pub body_bytes_max: ByteSize,
    /// Longest pause between two tries. Default 30s.
    #[serde(with = "duration")]
    pub backoff_max: Duration,
    /// What the backlog of an outage may take of the line to each gateway; the newest state travels beside it. More than what comes
    /// anew, or it never ends. Default 0: no bound.
    pub backlog_bytes_per_second: ByteSize,
}

/// One more gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PushUrlConfig {
    /// Its push listener, as `push.url`. Required.
    pub url: UrlText,
    /// As `push.tls_config`, which is the default.
    pub tls_config: Option<TlsClientConfig>,
    /// As `push.proxy_url`, which is the default.
    pub proxy_url: Option<UrlText>,
}

impl Default for PushClientConfig {
    fn default() -> Self {
        PushClientConfig {
            url: UrlText::default(),
            urls: Vec::new(),
            tls_config: TlsClientConfig::default(),
            proxy_url: None,
            tick: Duration::from_secs(15),
            timeout: Duration::from_secs(30),
            queue_bytes_max: ByteSize::mib(64),
            body_bytes_max: ByteSize::mib(8),
            backoff_max: Duration::from_secs(30),
            backlog_bytes_per_second: ByteSize(0),
        }
    }
}

impl PushClientConfig {
    fn complete(&mut self) {
        complete_url(&mut self.url);
        self.urls.iter_mut().for_each(|further| complete_url(&mut further.url));
    }

    /// The way to each gateway, as if it were the only one.
    pub fn gateways(&self) -> Vec<PushClientConfig> {
        let alone = PushClientConfig { urls: Vec::new(), ..self.clone() };
        let further = self.urls.iter().map(|further| PushClientConfig {
            url: further.url.clone(),
            tls_config: further.tls_config.clone().unwrap_or_else(|| self.tls_config.clone()),
            proxy_url: further.proxy_url.clone().or_else(|| self.proxy_url.clone()),
            ..alone.clone()
        });
        Some(alone.clone()).filter(|alone| !alone.url.is_empty()).into_iter().chain(further).collect()
    }
}

fn complete_url(text: &mut UrlText) {
    if let Ok(mut url) = Url::parse(text)
        && url.path() == "/"
    {
        url.set_path(PUSH_PATH);
        *text = UrlText::from(String::from(url));
    }
}

/// The collector's own listener: metrics, health, targets.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CollectorHttpConfig {
    /// Address and port. Default 127.0.0.1:9492.
    pub listen: String,
}

impl Default for CollectorHttpConfig {
    fn default() -> Self {
        CollectorHttpConfig { listen: "127.0.0.1:9492".to_owned() }
    }
}

/// Bounds that keep one bad page from taking the machine.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CollectorLimits {
    /// Largest page after decompression, whatever a job says. Default 64MB.
    pub body_bytes_max: ByteSize,
    /// Most targets over all jobs; further ones are not scraped, counted. Default 10000.
    pub targets_max: usize,
    /// Most series over all targets; further ones are dropped, counted. Default 1000000.
    pub series_max: usize,
    /// Most scrapes in flight at once; the others wait. Default 64.
    pub concurrent_scrapes_max: usize,
}

impl Default for CollectorLimits {
    fn default() -> Self {
        CollectorLimits {
            body_bytes_max: ByteSize::mib(64),
            targets_max: 10_000,
            series_max: 1_000_000,
            concurrent_scrapes_max: 64,
        }
    }
}
