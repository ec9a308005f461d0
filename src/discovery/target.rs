//! From a found address to a target: the labels it gets, the URL it is scraped at, or why it is none.
//!
//! The order is Prometheus 3.5's (`scrape.PopulateLabels`): the address and the group's labels; where they leave room the
//! job's (`job`, `__scheme__`, `__metrics_path__`, `__scrape_interval__`, `__scrape_timeout__`, `__param_…`);
//! `relabel_configs`; then the checks, `instance` from the address where nothing set it, and every `__…` label goes. No
//! default port is added (version 3 dropped that).
//!
//! Invariant: no two targets of one result have the same labels. A frame knows a target by its labels, so a second one
//! (another path or address behind the same labels) cannot be told apart: it is reported, where Prometheus would scrape
//! both and drop the samples of one at random. The same target found twice is one target.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::group::TargetGroup;
use crate::config::{Params, ScrapeConfig};
use crate::model::{DurationError, INSTANCE, JOB, Labels, LabelsBuilder, format_duration, parse_duration};
use crate::relabel::{self, Steps};

const ADDRESS: &str = "__address__";
const SCHEME: &str = "__scheme__";
const METRICS_PATH: &str = "__metrics_path__";
const SCRAPE_INTERVAL: &str = "__scrape_interval__";
const SCRAPE_TIMEOUT: &str = "__scrape_timeout__";
const PARAM_PREFIX: &str = "__param_";
const RESERVED_PREFIX: &str = "__";

/// What Go's `url.URL` leaves as it is in a query.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// The same for a path.
const PATH: &AsciiSet = &QUERY
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b',')
    .remove(b'/')
    .remove(b':')
    .remove(b';')
    .remove(b'=')
    .remove(b'@');

/// One thing to scrape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What its series get: without any `__…` label.
    pub labels: Arc<Labels>,
    /// Scheme, address, path and parameters.
    pub url: Arc<str>,
    /// Time between two scrapes; relabelling may have changed the job's.
    pub interval: Duration,
    /// When a scrape is given up; at most the interval.
    pub timeout: Duration,
}

/// Why an address gave no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetFaultReason {
    /// Relabelling removed `__address__`, or it was empty.
    #[error("no address, expected host:port in __address__")]
    NoAddress,
    /// The address is a URL or has a path.
    #[error("address {0:?} has a slash, expected host:port")]
    Address(String),
    /// `__scrape_interval__` is no duration over zero.
    #[error("bad __scrape_interval__: {0}")]
    Interval(DurationFault),
    /// `__scrape_timeout__` is no duration over zero.
    #[error("bad __scrape_timeout__: {0}")]
    Timeout(DurationFault),
    /// The time-out is longer than the interval.
    #[error("scrape time-out {timeout} is over the scrape interval {interval}")]
    TimeoutOverInterval {
        /// `__scrape_timeout__`.
        timeout: String,
        /// `__scrape_interval__`.
        interval: String,
    },
    /// Another target of the job has the same labels but another URL.
    #[error("same labels as the target at {other}, expected labels that tell them apart")]
    SameLabels {
        /// The URL of the target that stays.
        other: Arc<str>,
    },
    /// A target of another job has the same labels.
    #[error("same labels {labels} as a target of another job, expected labels that tell them apart")]
    SameLabelsInOtherJob {
        /// The labels.
        labels: Arc<Labels>,
    },
}

/// What is wrong with an interval or time-out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationFault {
    /// It cannot be read.
    #[error(transparent)]
    Syntax(#[from] DurationError),
    /// It is zero.
    #[error("found 0, expected more")]
    Zero,
}

/// An address that gave no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("target {address:?} of {source_name}: {reason}")]
pub struct TargetFault {
    /// As discovery gave it.
    pub address: String,
    /// The group it stands in.
    pub source_name: String,
    /// Why.
    pub reason: TargetFaultReason,
}

impl TargetFault {
    /// For a target that another job has already.
    pub fn same_labels_in_other_job(job_name: &str, target: &Target) -> TargetFault {
        TargetFault {
            address: target.url.to_string(),
            source_name: job_name.to_owned(),
            reason: TargetFaultReason::SameLabelsInOtherJob { labels: target.labels.clone() },
        }
    }
}

/// What a job's groups come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// What to scrape, in the order of discovery.
    pub targets: Vec<Target>,
    /// What cannot be scraped, and why.
    pub faults: Vec<TargetFault>,
    /// How many addresses relabelling dropped on purpose.
    pub dropped: usize,
    /// The number of targets, where it is over the job's `target_limit`: then every scrape of the job fails.
    pub over_limit: Option<usize>,
}

/// Makes targets of `groups`; `steps` are the compiled `relabel_configs` of `job`.
pub fn targets(job: &ScrapeConfig, steps: &Steps, groups: &[TargetGroup]) -> Found {
    let mut found = Found::default();
    let mut by_labels: HashMap<Arc<Labels>, Arc<str>> = HashMap::new();
    for (group, address) in groups.iter().flat_map(|group| group.addresses.iter().map(move |own| (group, own))) {
        let fault = |reason| TargetFault { address: address.clone(), source_name: group.source.clone(), reason };
        match target(job, steps, address, &group.labels) {
            Ok(None) => found.dropped += 1,
            Err(reason) => found.faults.push(fault(reason)),
            Ok(Some(target)) => match by_labels.get(&target.labels) {
                Some(other) if *other == target.url => {}
                Some(other) => found.faults.push(fault(TargetFaultReason::SameLabels { other: other.clone() })),
                None => {
                    by_labels.insert(target.labels.clone(), target.url.clone());
                    found.targets.push(target);
                }
            },
        }
    }
    let is_over = job.target_limit > 0 && found.targets.len() as u64 > job.target_limit;
    found.over_limit = is_over.then_some(found.targets.len());
    found
}

/// One address' target; `None` where relabelling dropped it.
fn target(
    job: &ScrapeConfig,
    steps: &Steps,
    address: &str,
    group: &Labels,
) -> Result<Option<Target>, TargetFaultReason> {
    let mut labels = discovered_labels(job, address, group);
    if !relabel::process(steps, &mut labels) {
        return Ok(None);
    }
    let address = labels.get(ADDRESS).to_owned();
    if address.is_empty() {
        return Err(TargetFaultReason::NoAddress);
    }
    if address.contains('/') {
        return Err(TargetFaultReason::Address(address));
    }
    let (interval, timeout) = times(&labels)?;
    let url = url(&labels, &address, &job.params).into();
    if labels.get(INSTANCE).is_empty() {
        labels.set(INSTANCE, &address);
    }
    labels.retain(|name, _| !name.starts_with(RESERVED_PREFIX));
    Ok(Some(Target { labels: Arc::new(labels.build()), url, interval, timeout }))
}

/// The labels before relabelling: the target's own win over the group's, the group's over the job's.
fn discovered_labels(job: &ScrapeConfig, address: &str, group: &Labels) -> LabelsBuilder {
    let mut labels = LabelsBuilder::from_labels(group);
    labels.set(ADDRESS, address);
    let mut default = |name: &str, value: &str| {
        if labels.get(name).is_empty() {
            labels.set(name, value);
        }
    };
    default(JOB, &job.job_name);
    default(SCRAPE_INTERVAL, &format_duration(job.scrape_interval));
    default(SCRAPE_TIMEOUT, &format_duration(job.scrape_timeout));
    default(METRICS_PATH, &job.metrics_path);
    default(SCHEME, job.scheme.as_str());
    for (name, values) in &job.params {
        if let Some(first) = values.first() {
            default(&format!("{PARAM_PREFIX}{name}"), first);
        }
    }
    labels
}

/// Interval and time-out as the labels have them.
fn times(labels: &LabelsBuilder) -> Result<(Duration, Duration), TargetFaultReason> {
    let (interval_text, timeout_text) = (labels.get(SCRAPE_INTERVAL), labels.get(SCRAPE_TIMEOUT));
    let interval = positive_duration(interval_text).map_err(TargetFaultReason::Interval)?;
    let timeout = positive_duration(timeout_text).map_err(TargetFaultReason::Timeout)?;
    if timeout > interval {
        return Err(TargetFaultReason::TimeoutOverInterval {
            timeout: timeout_text.to_owned(),
            interval: interval_text.to_owned(),
        });
    }
    Ok((interval, timeout))
}

fn positive_duration(text: &str) -> Result<Duration, DurationFault> {
    match parse_duration(text)? {
        Duration::ZERO => Err(DurationFault::Zero),
        duration => Ok(duration),
    }
}

/// The URL as Go's `url.URL` writes it; `__param_…` replaces the first value of its parameter or adds one.
fn url(labels: &LabelsBuilder, address: &str, params: &Params) -> String {
    let mut params = params.clone();
    for (name, value) in labels.iter().filter_map(|(name, value)| Some((name.strip_prefix(PARAM_PREFIX)?, value))) {
        let values = params.entry(name.to_owned()).or_default();
        match values.first_mut() {
            Some(first) => first.replace_range(.., value),
            None => values.push(value.to_owned()),
        }
    }
    let path = labels.get(METRICS_PATH);
    let slash = if path.starts_with('/') || path.is_empty() { "" } else { "/" };
    let mut url = format!("{}://{address}{slash}{}", labels.get(SCHEME), utf8_percent_encode(path, PATH));
    let pairs = params.iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
    for (nth, (name, value)) in pairs.enumerate() {
        url.push(if nth == 0 { '?' } else { '&' });
        url.push_str(&query_escaped(name));
        url.push('=');
        url.push_str(&query_escaped(value));
    }
    url
}

/// As Go's `url.QueryEscape`: a space is a plus.
fn query_escaped(text: &str) -> String {
    utf8_percent_encode(text, QUERY).to_string().replace("%20", "+")
}
