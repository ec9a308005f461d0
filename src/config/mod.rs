//! What a user may write, as data, and the reading of it.
//!
//! Every section is one plain struct whose serde defaults are the documented defaults, so a test can build any of them by
//! hand. Values that are wrong by themselves (a duration without a unit) never become a struct; values that are wrong
//! together (a time-out over its interval) are found by the checks that loading runs. What loading hands out is therefore
//! valid and complete: no other module checks configuration again.
//!
//! `figment` and `serde-saphyr` live here and nowhere else.

mod alerting;
mod check;
mod client;
mod collector;
mod fault;
mod files;
mod gateway;
mod groups;
mod history;
mod inventory;
mod journal;
mod layers;
mod listener;
mod load;
mod relabel;
mod remote_write;
mod report;
mod scalar;
mod scrape;
mod spool;
mod text;
mod tree;

pub use alerting::{AlertingConfig, AlertmanagerApi, AlertmanagerConfig, FreshnessConfig, RulesConfig, Weight};
pub use check::{ListenError, parse_listen};
pub use client::{Authorization, BasicAuth, HttpClientConfig, TlsClientConfig, TlsVersion};
pub use collector::{
    CollectorConfig, CollectorHttpConfig, CollectorLimits, PushClientConfig, PushUrlConfig, ScrapeGlobal,
};
pub use fault::{Fault, Faults, Place};
pub use gateway::{
    FederateConfig, GatewayConfig, GatewayGlobal, GatewayHttpConfig, GatewayLimits, MetricsPageConfig, PushLimits,
    PushListenerConfig, PushTlsConfig, QueryConfig,
};
pub use groups::parse_static_configs;
pub use history::{HistoryConfig, HistorySeries};
pub use inventory::{ClusterConfig, ClusterLimits, Maintenance, OnLabelConflict};
pub use journal::{JournalConfig, JournalDurability, JournalFull};
pub use layers::Environment;
pub use listener::{ClientAuthType, ListenerTlsConfig};
pub use load::{
    Loaded, Role, load_collector, load_collector_with, load_document, load_gateway, load_gateway_with, place_fault,
    read_document, role_of,
};
pub use relabel::{RelabelAction, RelabelConfig};
pub use remote_write::{MetadataConfig, ProtobufMessage, QueueConfig, RemoteWriteConfig};
pub use report::At;
pub use scrape::{FileSdConfig, HttpHeader, HttpSdConfig, Params, Scheme, ScrapeConfig, ScrapeProtocol, StaticConfig};
pub use spool::SpoolConfig;
pub use text::{ByteSize, LabelMap, Ratio, Secret, UrlText};
