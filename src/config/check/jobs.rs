//! Checks of scrape jobs and of where their targets come from.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::client::check_client;
use super::names::check_url;
use super::relabel::check_steps;
use crate::config::report::At;
use crate::config::{FileSdConfig, HttpSdConfig, ScrapeConfig, ScrapeProtocol, StaticConfig};
use crate::model::format_duration;

/// Shorter ones would be a busy loop.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
const REFRESH_MIN: Duration = Duration::from_secs(1);

/// Every job, and that no two have the same name.
pub(super) fn check_jobs(jobs: &[ScrapeConfig], at: &At<'_>) {
    let mut names = BTreeSet::new();
    for (nth, job) in jobs.iter().enumerate() {
        let at = at.index(nth);
        match job.job_name.as_str() {
            "" => at.key("job_name").fault("a job needs a name"),
            name if !names.insert(name) => at.key("job_name").fault(format!("a job {name:?} stands above already")),
            _ => {}
        }
        check_job(job, &at);
    }
    if jobs.is_empty() {
        at.warn("no job is configured: nothing will be scraped but the collector itself");
    }
}

/// An interval and the time-out within it.
pub(super) fn check_intervals(interval: Duration, timeout: Duration, at: &At<'_>) {
    let [interval_text, timeout_text] = [interval, timeout].map(format_duration);
    at.key("scrape_interval")
        .require(interval >= INTERVAL_MIN, format!("found {interval_text}, expected at least 100ms"));
    at.key("scrape_timeout").require(!timeout.is_zero(), "a scrape needs some time");
    if timeout > interval && !at.key("scrape_interval").is_faulty() {
        at.key("scrape_timeout").fault(format!("found {timeout_text}, expected at most the interval {interval_text}"));
    }
}

fn check_job(job: &ScrapeConfig, at: &At<'_>) {
    check_intervals(job.scrape_interval, job.scrape_timeout, at);
    check_protocols(job.scrape_protocols.as_deref(), &at.key("scrape_protocols"));
    check_client(&job.http_client(), at);
    check_steps(&job.relabel_configs, &at.key("relabel_configs"));
    check_steps(&job.metric_relabel_configs, &at.key("metric_relabel_configs"));
    let each = |key: &str, nth: usize| at.key(key).index(nth);
    job.static_configs.iter().enumerate().for_each(|(nth, group)| check_static(group, &each("static_configs", nth)));
    job.file_sd_configs.iter().enumerate().for_each(|(nth, files)| check_file_sd(files, &each("file_sd_configs", nth)));
    job.http_sd_configs.iter().enumerate().for_each(|(nth, http)| check_http_sd(http, &each("http_sd_configs", nth)));
    if job.static_configs.is_empty() && job.file_sd_configs.is_empty() && job.http_sd_configs.is_empty() {
        at.key("job_name").warn("this job has no targets: no static_configs, file_sd_configs or http_sd_configs");
    }
}

/// Formats where they are listed: at least one, each once.
pub(super) fn check_protocols(protocols: Option<&[ScrapeProtocol]>, at: &At<'_>) {
    let Some(protocols) = protocols else {
        return;
    };
    at.require(!protocols.is_empty(), "expected at least one format");
    for (nth, protocol) in protocols.iter().enumerate() {
        at.index(nth).require(!protocols[..nth].contains(protocol), "this format stands above already");
    }
}

fn check_static(group: &StaticConfig, at: &At<'_>) {
    for (nth, target) in group.targets.iter().enumerate() {
        let is_address = !target.is_empty() && !target.contains('/');
        let message = format!("{target:?} is no address, expected HOST:PORT; scheme and path are keys of the job");
        at.key("targets").index(nth).require(is_address, message);
    }
    // Prometheus takes any UTF-8 name here, inner ones like __param_target too.
    if group.labels.contains_key("") {
        at.key("labels").fault("a label needs a name");
    }
}

fn check_file_sd(discovery: &FileSdConfig, at: &At<'_>) {
    at.key("files").require(!discovery.files.is_empty(), "expected at least one file");
    for (nth, file) in discovery.files.iter().enumerate() {
        check_file_pattern(file, &at.key("files").index(nth));
    }
    check_refresh(discovery.refresh_interval, at);
}

fn check_file_pattern(file: &Path, at: &At<'_>) {
    let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let known = ["json", "yml", "yaml"].iter().any(|known| extension.eq_ignore_ascii_case(known));
    at.require(known, format!("{} ends in neither .json, .yml nor .yaml", file.display()));
    let name = file.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let directory_has_star = file.parent().is_some_and(|parent| parent.to_string_lossy().contains('*'));
    let stars_fit = name.matches('*').count() <= 1 && !directory_has_star;
    at.require(stars_fit, "at most one *, and only in the last part of the path");
    if known && !name.contains('*') && !file.exists() {
        at.warn(format!("{} is not there yet", file.display()));
    }
}

fn check_http_sd(discovery: &HttpSdConfig, at: &At<'_>) {
    check_url(&discovery.url, &["http", "https"], &at.key("url"));
    check_refresh(discovery.refresh_interval, at);
    check_client(&discovery.http_client(), at);
}

fn check_refresh(interval: Duration, at: &At<'_>) {
    let found = format!("found {}, expected at least 1s", format_duration(interval));
    at.key("refresh_interval").require(interval >= REFRESH_MIN, found);
}
