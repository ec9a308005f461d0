//! Checks of a collector's file as a whole, and its way to the gateway.

use std::collections::HashSet;
use std::time::Duration;

use super::disk::{check_directory, check_required, check_required_private};
use super::jobs::{check_intervals, check_jobs, check_protocols};
use super::names::{check_duration, check_labels, check_listen, check_range, check_url};
use crate::config::report::At;
use crate::config::{
    ByteSize, CollectorConfig, CollectorLimits, PushClientConfig, SpoolConfig, TlsClientConfig, TlsVersion,
};

const TICK_MIN: Duration = Duration::from_secs(1);
const TICK_MAX: Duration = Duration::from_secs(300);
const WAIT_MIN: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(3600);
/// Smaller bodies could not hold one frame of a big target.
const BODY_BYTES_MIN: ByteSize = ByteSize(64 << 10);
const BYTES_MAX: ByteSize = ByteSize(1 << 40);
/// Less would not hold a few segments.
const SPOOL_BYTES_MIN: ByteSize = ByteSize(1 << 20);
const SPOOL_AGE_MIN: Duration = Duration::from_secs(60);
const SPOOL_AGE_MAX: Duration = Duration::from_secs(366 * 86_400);

/// Everything that must hold in a collector's file.
pub(in crate::config) fn check_collector(config: &CollectorConfig, at: &At<'_>) {
    let global = at.key("global");
    check_intervals(config.global.scrape_interval, config.global.scrape_timeout, &global);
    check_protocols(config.global.scrape_protocols.as_deref(), &global.key("scrape_protocols"));
    check_labels(&config.global.external_labels, &global.key("external_labels"));
    check_jobs(&config.scrape_configs, &at.key("scrape_configs"));
    check_push(&config.push, &at.key("push"));
    check_spool(&config.spool, &at.key("spool"));
    check_listen(&config.http.listen, &at.key("http").key("listen"));
    check_limits(&config.limits, &at.key("limits"));
}

fn check_push(push: &PushClientConfig, at: &At<'_>) {
    match push.url.is_empty() {
        true if push.urls.is_empty() => {
            at.key("url").fault("the gateway's push listener is required, like https://HOST:9491");
        }
        true => {}
        false => {
            check_url(&push.url, &["https"], &at.key("url"));
        }
    }
    if let Some(proxy) = &push.proxy_url {
        check_url(proxy, &["http", "https"], &at.key("proxy_url"));
    }
    if !push.url.is_empty() || push.urls.iter().any(|further| further.tls_config.is_none()) || push.urls.is_empty() {
        check_push_tls(&push.tls_config, &at.key("tls_config"));
    }
    check_further(push, &at.key("urls"));
    check_duration(push.tick, TICK_MIN, TICK_MAX, &at.key("tick"));
    check_duration(push.timeout, WAIT_MIN, WAIT_MAX, &at.key("timeout"));
    check_duration(push.backoff_max, WAIT_MIN, WAIT_MAX, &at.key("backoff_max"));
    check_range(push.body_bytes_max, BODY_BYTES_MIN, BYTES_MAX, &at.key("body_bytes_max"));
    check_range(push.queue_bytes_max, push.body_bytes_max, BYTES_MAX, &at.key("queue_bytes_max"));
}

/// Every gateway once: two ways to one would each bring it everything.
fn check_further(push: &PushClientConfig, at: &At<'_>) {
    let mut known: HashSet<&str> = HashSet::from([&*push.url]);
    for (nth, further) in push.urls.iter().enumerate() {
        let at = at.index(nth);
        match further.url.is_empty() {
            true => at.key("url").fault("a further gateway's push listener is required, like https://HOST:9491"),
            false if !known.insert(&further.url) => at.key("url").fault("this gateway is named before"),
            false => drop(check_url(&further.url, &["https"], &at.key("url"))),
        }
        if let Some(proxy) = &further.proxy_url {
            check_url(proxy, &["http", "https"], &at.key("proxy_url"));
        }
        if let Some(tls) = &further.tls_config {
            check_push_tls(tls, &at.key("tls_config"));
        }
    }
}

/// A collector is known by its certificate, and must know its gateway: nothing is optional here.
fn check_push_tls(tls: &TlsClientConfig, at: &At<'_>) {
    check_required(tls.ca_file.as_deref(), &at.key("ca_file"));
    check_required(tls.cert_file.as_deref(), &at.key("cert_file"));
    check_required_private(tls.key_file.as_deref(), &at.key("key_file"));
    at.key("insecure_skip_verify").require(!tls.insecure_skip_verify, "a push verifies its gateway, always");
    at.key("min_version").require(tls.min_version != Some(TlsVersion::Tls12), "a push speaks TLS13, always");
}

fn check_spool(spool: &SpoolConfig, at: &At<'_>) {
    if let Some(dir) = &spool.dir {
        check_directory(dir, &at.key("dir"));
    }
    check_range(spool.bytes_max, SPOOL_BYTES_MIN, BYTES_MAX, &at.key("bytes_max"));
    check_duration(spool.age_max, SPOOL_AGE_MIN, SPOOL_AGE_MAX, &at.key("age_max"));
}

fn check_limits(limits: &CollectorLimits, at: &At<'_>) {
    check_range(limits.body_bytes_max, ByteSize(1 << 10), BYTES_MAX, &at.key("body_bytes_max"));
    check_range(limits.targets_max, 1, 1_000_000, &at.key("targets_max"));
    check_range(limits.series_max, 1, 100_000_000, &at.key("series_max"));
    check_range(limits.concurrent_scrapes_max, 1, 10_000, &at.key("concurrent_scrapes_max"));
}
