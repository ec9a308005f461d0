//! Checks of a gateway's file as a whole, and of its two listeners.

use std::time::Duration;

use bcrypt::HashParts;

use super::client::check_client;
use super::disk::{check_private, check_readable, check_required, check_required_private};
use super::inventory::check_inventory;
use super::names::{check_duration, check_labels, check_listen, check_range, check_url};
use super::relabel::check_steps;
use super::remote_write::check_remote_write;
use crate::config::report::At;
use crate::config::{
    AlertingConfig, ByteSize, ClientAuthType, FederateConfig, GatewayConfig, GatewayHttpConfig, GatewayLimits,
    HistoryConfig, JournalConfig, ListenerTlsConfig, PushLimits, PushListenerConfig, QueryConfig,
};

const WAIT_MIN: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(3600);
/// A series of which nothing came for a day has ended, whatever its readers say.
const LOOKBACK_MAX: Duration = Duration::from_secs(86_400);
/// Beyond it a database is the better place.
const HISTORY_MAX: Duration = Duration::from_secs(31 * 86_400);
const HISTORY_BYTES_MIN: ByteSize = ByteSize::mib(1);
const HISTORY_BYTES_MAX: ByteSize = ByteSize(1 << 44);
const CONNECTIONS_MAX: usize = 1_000_000;
const INTERVAL_MAX: Duration = Duration::from_secs(86_400);
const QUEUE_MAX: usize = 10_000_000;
const BODY_BYTES_MIN: ByteSize = ByteSize(64 << 10);
const BODY_BYTES_MAX: ByteSize = ByteSize(4 << 30);
const COMMIT_INTERVAL_MAX: Duration = Duration::from_secs(1);
const SEGMENT_BYTES_MIN: ByteSize = ByteSize(64 << 10);
const SEGMENT_BYTES_MAX: ByteSize = ByteSize(4 << 30);
/// Of a journal; whole segments go, and the one that is written never does.
const SEGMENTS_MIN: u64 = 4;
const JOURNAL_BYTES_MAX: ByteSize = ByteSize(1 << 50);
/// A frame is one record of the journal.
const JOURNALLED_BODY_BYTES_MAX: ByteSize = ByteSize::mib(60);

/// Everything that must hold in a gateway's file.
pub(in crate::config) fn check_gateway(config: &GatewayConfig, at: &At<'_>) {
    check_labels(&config.global.external_labels, &at.key("global").key("external_labels"));
    check_push(&config.push, &at.key("push"));
    check_http(&config.http, &at.key("http"));
    check_query(&config.query, &at.key("query"));
    check_rules(config, at);
    check_alerting(&config.alerting, &at.key("alerting"));
    check_history(&config.history, &at.key("history"));
    check_remote_write(&config.remote_write, &config.push.clusters, &at.key("remote_write"));
    let has_journal = config.remote_write.is_empty() || config.journal.dir.is_some();
    at.key("journal").key("dir").require(has_journal, "required: what remote_write sends is read from the journal");
    check_journal(&config.journal, &at.key("journal"));
    if config.journal.dir.is_some() && config.push.limits.body_bytes_max > JOURNALLED_BODY_BYTES_MAX {
        let at = at.key("push").key("limits").key("body_bytes_max");
        at.fault(format!("with a journal at most {JOURNALLED_BODY_BYTES_MAX}"));
    }
    check_limits(&config.limits, &at.key("limits"));
    let (push, http) = (&config.push.listen, &config.http.listen);
    at.key("http").key("listen").require(push != http, "push.listen has this address already");
}

fn check_rules(config: &GatewayConfig, at: &At<'_>) {
    let (global, rules) = (at.key("global"), at.key("rules"));
    check_duration(config.global.evaluation_interval, WAIT_MIN, INTERVAL_MAX, &global.key("evaluation_interval"));
    check_duration(config.global.rule_query_offset, Duration::ZERO, INTERVAL_MAX, &global.key("rule_query_offset"));
    check_duration(config.rules.resend_delay, WAIT_MIN, WAIT_MAX, &rules.key("resend_delay"));
    check_duration(config.rules.for_outage_tolerance, Duration::ZERO, HISTORY_MAX, &rules.key("for_outage_tolerance"));
    check_duration(config.rules.for_grace_period, Duration::ZERO, INTERVAL_MAX, &rules.key("for_grace_period"));
    check_duration(config.rules.freshness.wait, Duration::ZERO, WAIT_MAX, &rules.key("freshness").key("wait"));
    if let Some(url) = &config.http.external_url {
        check_url(url, &["http", "https"], &at.key("http").key("external_url"));
    }
}

fn check_alerting(alerting: &AlertingConfig, at: &At<'_>) {
    check_steps(&alerting.alert_relabel_configs, &at.key("alert_relabel_configs"));
    check_range(alerting.queue_capacity, 1, QUEUE_MAX, &at.key("queue_capacity"));
    for (nth, alertmanager) in alerting.alertmanagers.iter().enumerate() {
        let at = at.key("alertmanagers").index(nth);
        check_client(&alertmanager.http_client(), &at);
        check_duration(alertmanager.timeout, WAIT_MIN, WAIT_MAX, &at.key("timeout"));
        check_steps(&alertmanager.relabel_configs, &at.key("relabel_configs"));
        check_steps(&alertmanager.alert_relabel_configs, &at.key("alert_relabel_configs"));
    }
}

fn check_history(history: &HistoryConfig, at: &At<'_>) {
    check_range(history.memory_max, HISTORY_BYTES_MIN, HISTORY_BYTES_MAX, &at.key("memory_max"));
    for (key, series) in [("series", &history.series), ("recorded", &history.recorded)] {
        for (number, one) in series.iter().enumerate() {
            let at = at.key(key).index(number);
            at.key("match").require(!one.selector.is_empty(), "required");
            check_duration(one.duration, WAIT_MIN, HISTORY_MAX, &at.key("for"));
        }
    }
}

fn check_journal(journal: &JournalConfig, at: &At<'_>) {
    check_duration(journal.commit_interval, Duration::ZERO, COMMIT_INTERVAL_MAX, &at.key("commit_interval"));
    check_duration(journal.age_max, Duration::from_secs(60), HISTORY_MAX, &at.key("age_max"));
    check_range(journal.segment_bytes, SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX, &at.key("segment_bytes"));
    let bytes_min = ByteSize(SEGMENTS_MIN.saturating_mul(journal.segment_bytes.0));
    check_range(journal.bytes_max, bytes_min, JOURNAL_BYTES_MAX, &at.key("bytes_max"));
}

fn check_push(push: &PushListenerConfig, at: &At<'_>) {
    check_listen(&push.listen, &at.key("listen"));
    let (tls, tls_at) = (&push.tls_config, at.key("tls_config"));
    check_required(Some(&tls.cert_file), &tls_at.key("cert_file"));
    check_required_private(Some(&tls.key_file), &tls_at.key("key_file"));
    check_required(Some(&tls.client_ca_file), &tls_at.key("client_ca_file"));
    if let Some(file) = &tls.crl_file {
        check_readable(file, &tls_at.key("crl_file"));
    }
    check_inventory(&push.clusters, &at.key("clusters"));
    check_push_limits(&push.limits, &at.key("limits"));
}

fn check_push_limits(limits: &PushLimits, at: &At<'_>) {
    let wait = |value: Duration, key: &str| check_duration(value, WAIT_MIN, WAIT_MAX, &at.key(key));
    wait(limits.handshake_timeout, "handshake_timeout");
    wait(limits.header_timeout, "header_timeout");
    wait(limits.body_timeout, "body_timeout");
    wait(limits.idle_timeout, "idle_timeout");
    check_range(limits.connections_max, 1, CONNECTIONS_MAX, &at.key("connections_max"));
    check_range(limits.connections_per_address_max, 1, CONNECTIONS_MAX, &at.key("connections_per_address_max"));
    check_range(limits.frames_per_body_max, 1, 1_000_000, &at.key("frames_per_body_max"));
    check_range(limits.body_bytes_max, BODY_BYTES_MIN, BODY_BYTES_MAX, &at.key("body_bytes_max"));
    check_range(limits.frame_raw_bytes_max, BODY_BYTES_MIN, BODY_BYTES_MAX, &at.key("frame_raw_bytes_max"));
}

fn check_http(http: &GatewayHttpConfig, at: &At<'_>) {
    if let Some(tls) = &http.tls_server_config {
        check_listener_tls(tls, &at.key("tls_server_config"));
    }
    for (user, hash) in &http.basic_auth_users {
        let is_hash = hash.expose().parse::<HashParts>().is_ok();
        at.key("basic_auth_users").key(user).require(is_hash, "expected a bcrypt hash, as htpasswd -nB prints it");
    }
    for (nth, file) in http.bearer_token_files.iter().enumerate() {
        check_private(file, &at.key("bearer_token_files").index(nth));
    }
    check_exposure(http, &at.key("listen"));
    check_range(http.connections_max, 1, CONNECTIONS_MAX, &at.key("connections_max"));
    check_duration(http.header_timeout, WAIT_MIN, WAIT_MAX, &at.key("header_timeout"));
    check_duration(http.idle_timeout, WAIT_MIN, WAIT_MAX, &at.key("idle_timeout"));
    check_federate(&http.federate, &at.key("federate"));
}

fn check_query(query: &QueryConfig, at: &At<'_>) {
    check_duration(query.timeout, WAIT_MIN, WAIT_MAX, &at.key("timeout"));
    check_duration(query.lookback_delta, WAIT_MIN, LOOKBACK_MAX, &at.key("lookback_delta"));
    check_range(query.max_samples, 1, u64::MAX, &at.key("max_samples"));
    check_range(query.max_concurrency, 1, CONNECTIONS_MAX, &at.key("max_concurrency"));
}

/// Warns of a listener that others than this machine reach and that asks nobody who they are.
fn check_exposure(http: &GatewayHttpConfig, at: &At<'_>) {
    let is_public = check_listen(&http.listen, at).is_some_and(|address| !address.ip().is_loopback());
    let asks_password = !http.basic_auth_users.is_empty() || !http.bearer_token_files.is_empty();
    let asks_certificate = http
        .tls_server_config
        .as_ref()
        .is_some_and(|tls| tls.client_auth_type == ClientAuthType::RequireAndVerifyClientCert);
    if is_public && !asks_password && !asks_certificate {
        at.warn(
            "anyone who reaches this address can read every metric of the site: set basic_auth_users, \
                 bearer_token_files or client certificates, or listen on 127.0.0.1",
        );
    } else if is_public && asks_password && http.tls_server_config.is_none() {
        at.warn("passwords and tokens cross the network in the clear: set tls_server_config");
    }
}

fn check_listener_tls(tls: &ListenerTlsConfig, at: &At<'_>) {
    check_required(Some(&tls.cert_file), &at.key("cert_file"));
    check_required_private(Some(&tls.key_file), &at.key("key_file"));
    let verifies = tls.client_auth_type != ClientAuthType::NoClientCert;
    match &tls.client_ca_file {
        Some(file) => check_readable(file, &at.key("client_ca_file")),
        None if verifies => at.key("client_ca_file").fault("client certificates are verified with a client_ca_file"),
        None => {}
    }
    if tls.client_ca_file.is_some() && !verifies {
        at.key("client_ca_file").fault("nobody is verified: set client_auth_type: RequireAndVerifyClientCert");
    }
}

fn check_federate(federate: &FederateConfig, at: &At<'_>) {
    check_range(federate.concurrent_max, 1, 1024, &at.key("concurrent_max"));
    check_range(federate.matches_max, 1, 65_536, &at.key("matches_max"));
    check_duration(federate.timeout, WAIT_MIN, WAIT_MAX, &at.key("timeout"));
}

fn check_limits(limits: &GatewayLimits, at: &At<'_>) {
    check_duration(limits.future_max, Duration::ZERO, Duration::from_secs(86_400), &at.key("future_max"));
    check_range(limits.cpu_threads, 0, 1024, &at.key("cpu_threads"));
}
