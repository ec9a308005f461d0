//! Checks of the endpoints that are written to.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::client::check_client;
use super::names::{check_duration, check_range, check_url};
use super::relabel::check_steps;
use crate::config::report::At;
use crate::config::{ClusterConfig, MetadataConfig, QueueConfig, RemoteWriteConfig};
use crate::model::is_legacy_label_name;

const TIMEOUT_MIN: Duration = Duration::from_millis(100);
const TIMEOUT_MAX: Duration = Duration::from_secs(3600);
const BACKOFF_MIN: Duration = Duration::from_millis(1);
const AGE_MAX: Duration = Duration::from_secs(366 * 86_400);
const SHARDS_MAX: usize = 1000;
const ROWS_MAX: usize = 1_000_000;
const CAPACITY_MAX: usize = 100_000_000;
/// A name is part of a file's name.
const NAME_BYTES_MAX: usize = 64;

/// Headers that are remote write's own, or HTTP's.
const RESERVED_HEADERS: [&str; 15] = [
    "accept-encoding",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "retry-attempt",
    "transfer-encoding",
    "user-agent",
    "www-authenticate",
    "x-prometheus-remote-write-version",
];

/// Every endpoint, and that no two are the same one.
pub(super) fn check_remote_write(endpoints: &[RemoteWriteConfig], clusters: &[ClusterConfig], at: &At<'_>) {
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    for (nth, endpoint) in endpoints.iter().enumerate() {
        let at = at.index(nth);
        match &endpoint.name {
            Some(name) => {
                check_name(name, &at.key("name"));
                let is_new = known.insert(name, nth).is_none();
                at.key("name").require(is_new, format!("an endpoint {name:?} stands above already"));
            }
            None => {
                let is_new = known.insert(&endpoint.url, nth).is_none();
                at.key("url").require(is_new, "this URL stands above already: give each a name");
            }
        }
        check_endpoint(endpoint, clusters, &at);
    }
}

fn check_name(name: &str, at: &At<'_>) {
    let is_legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
    let is_good = (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_legal);
    at.require(is_good, format!("found {name:?}, expected 1 to {NAME_BYTES_MAX} of a-z, 0-9, - and _"));
}

fn check_endpoint(endpoint: &RemoteWriteConfig, clusters: &[ClusterConfig], at: &At<'_>) {
    if endpoint.url.is_empty() {
        at.key("url").fault("required");
    } else {
        check_url(&endpoint.url, &["http", "https"], &at.key("url"));
    }
    check_duration(endpoint.remote_timeout, TIMEOUT_MIN, TIMEOUT_MAX, &at.key("remote_timeout"));
    check_headers(&endpoint.headers, clusters, &at.key("headers"));
    check_steps(&endpoint.write_relabel_configs, &at.key("write_relabel_configs"));
    check_metadata(&endpoint.metadata_config, &at.key("metadata_config"));
    check_queue(&endpoint.queue_config, &at.key("queue_config"));
    check_client(&endpoint.http_client(), at);
    for (key, section) in [("sigv4", &endpoint.sigv4), ("azuread", &endpoint.azuread), ("oauth2", &endpoint.oauth2)] {
        let instead = "put a proxy that signs before the endpoint, or use authorization with a credentials_file";
        at.key(key).require(section.is_none(), format!("{key} is not supported: {instead}"));
    }
}

fn check_headers(headers: &BTreeMap<String, String>, clusters: &[ClusterConfig], at: &At<'_>) {
    for (name, value) in headers {
        let at = at.key(name);
        match name.parse::<HeaderName>() {
            Err(_) => at.fault(format!("{name:?} is no header name")),
            Ok(name) if RESERVED_HEADERS.contains(&name.as_str()) => {
                at.fault(format!("the header {name} is set by fedgate itself"));
            }
            Ok(_) => check_template(value, clusters, &at),
        }
    }
}

/// `{{label}}` with a label that some cluster has, and text that may stand in a header.
fn check_template(value: &str, clusters: &[ClusterConfig], at: &At<'_>) {
    let mut rest = value;
    while let Some(start) = rest.find("{{") {
        let Some(end) = rest[start..].find("}}") else { return at.fault("expected }} behind {{") };
        let label = rest[start + 2..start + end].trim();
        if !is_legacy_label_name(label) {
            at.fault(format!("found {label:?} between {{{{ and }}}}, expected the name of a label of the inventory"));
        } else if !clusters.iter().any(|cluster| cluster.stamped_labels().contains_key(label)) {
            at.warn(format!("no cluster has a label {label}: the header is left out"));
        }
        rest = &rest[start + end + 2..];
    }
    at.require(HeaderValue::from_str(value).is_ok(), "expected characters that may stand in a header");
}

fn check_metadata(metadata: &MetadataConfig, at: &At<'_>) {
    check_duration(metadata.send_interval, Duration::from_secs(1), AGE_MAX, &at.key("send_interval"));
    check_range(metadata.max_samples_per_send, 1, ROWS_MAX, &at.key("max_samples_per_send"));
}

fn check_queue(queue: &QueueConfig, at: &At<'_>) {
    check_range(queue.capacity, 1, CAPACITY_MAX, &at.key("capacity"));
    check_range(queue.max_shards, 1, SHARDS_MAX, &at.key("max_shards"));
    check_range(queue.min_shards, 1, SHARDS_MAX, &at.key("min_shards"));
    let is_ordered = queue.min_shards <= queue.max_shards;
    at.key("min_shards").require(is_ordered, format!("expected at most max_shards, {}", queue.max_shards));
    check_range(queue.max_samples_per_send, 1, ROWS_MAX, &at.key("max_samples_per_send"));
    check_duration(queue.min_backoff, BACKOFF_MIN, TIMEOUT_MAX, &at.key("min_backoff"));
    check_duration(queue.max_backoff, BACKOFF_MIN, TIMEOUT_MAX, &at.key("max_backoff"));
    let is_ordered = queue.min_backoff <= queue.max_backoff;
    at.key("min_backoff").require(is_ordered, "expected at most max_backoff");
    check_duration(queue.sample_age_limit, Duration::ZERO, AGE_MAX, &at.key("sample_age_limit"));
    if !queue.retry_on_http_429 {
        at.key("retry_on_http_429").warn("429 is always tried again: nothing acknowledged is dropped for it");
    }
}
