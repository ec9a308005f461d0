//! A list of target groups, as files and HTTP endpoints of service discovery hold it, and the targets made of it.
//!
//! Promises: every target has an address, an interval no shorter than its time-out, and no label that begins with `__`.

use fedgate::config::ScrapeConfig;
use fedgate::config::{StaticConfig, parse_static_configs};
use fedgate::discovery::{TargetGroup, targets};
use fedgate::relabel::Steps;

/// Reads the input as YAML and as JSON.
pub(crate) fn run(input: &[u8]) {
    if let Ok(groups) = serde_json::from_slice::<Vec<StaticConfig>>(input) {
        check(&groups);
    }
    if let Ok(groups) = parse_static_configs(&String::from_utf8_lossy(input)) {
        check(&groups);
    }
}

fn check(groups: &[StaticConfig]) {
    let job = ScrapeConfig { job_name: "fuzzed".to_owned(), ..ScrapeConfig::default() };
    let found = targets(&job, &Steps::default(), &TargetGroup::of_static(&job.job_name, groups));
    for target in &found.targets {
        assert!(target.timeout <= target.interval && !target.timeout.is_zero(), "{target:?}");
        assert!(target.labels.iter().all(|(name, value)| !name.starts_with("__") && !value.is_empty()), "{target:?}");
    }
}
