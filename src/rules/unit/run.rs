//! A test file run.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::compare::{FiringAlert, ResultSample, alerts_differ, results_differ};
use super::file::{AlertTest, ExpressionTest, TestFile, TestGroup};
use super::notation::{Point, parse_metric, parse_values, show_histogram};
use crate::model::{Labels, LabelsBuilder, Timestamp, format_duration};
use crate::promql::{Cell, Engine, ParseOptions, parse};
use crate::rules::alert::{ALERT_NAME, AlertSite, AlertState};
use crate::rules::file::{self, matching_files};
use crate::rules::group::{Group, GroupSpec, Health};
use crate::rules::storage::{MemoryStorage, Storage as _};

/// Between evaluations, where the file does not say.
const EVALUATION_INTERVAL: Duration = Duration::from_secs(60);
/// Alerts are not sent, so that it does not matter.
const RESEND_DELAY: Duration = Duration::from_secs(60);
/// Evaluations of one test; a week by the second is over half a million.
const EVALUATIONS_MAX: i64 = 1_000_000;

/// How a file's tests went.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Tests run.
    pub tests: usize,
    /// What failed, each with all its lines.
    pub failures: Vec<String>,
    /// What is strange and no failure.
    pub warnings: Vec<String>,
}

/// Runs the tests of a file.
pub fn test_file(path: &Path) -> Verdict {
    let mut verdict = Verdict::default();
    if let Err(fault) = run_file(path, &mut verdict) {
        verdict.failures.push(fault);
    }
    verdict
}

fn run_file(path: &Path, verdict: &mut Verdict) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let file: TestFile = serde_saphyr::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    for (nth, name) in file.group_eval_order.iter().enumerate() {
        if file.group_eval_order[..nth].contains(name) {
            return Err(format!("group name repeated in evaluation order: {name}"));
        }
    }
    let rule_files = found_files(path, &file.rule_files, &mut verdict.warnings)?;
    let evaluation_interval = file.evaluation_interval.map_or(EVALUATION_INTERVAL, |span| span.0);
    for test in &file.tests {
        verdict.tests += 1;
        let interval = test.interval.map_or(evaluation_interval, |span| span.0);
        let mut run = match Run::new(&file, test, &rule_files, (evaluation_interval, interval)) {
            Ok(run) => run,
            Err(fault) => {
                verdict.failures.push(named(test, &fault));
                continue;
            }
        };
        run.run();
        verdict.failures.extend(run.failures.iter().map(|fault| named(test, fault)));
    }
    Ok(())
}

fn named(test: &TestGroup, fault: &str) -> String {
    if test.name.is_empty() { format!("    {fault}") } else { format!("    name: {}\n    {fault}", test.name) }
}

fn found_files(path: &Path, patterns: &[String], warnings: &mut Vec<String>) -> Result<Vec<PathBuf>, String> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut found = Vec::new();
    for pattern in patterns {
        let mut files = matching_files(&folder.join(pattern)).map_err(|error| error.to_string())?;
        if files.is_empty() {
            warnings.push(format!("no file matches {pattern}"));
        }
        found.append(&mut files);
    }
    Ok(found)
}

struct Run<'a> {
    test: &'a TestGroup,
    is_fuzzy: bool,
    evaluation_interval: i64,
    site: AlertSite,
    storage: MemoryStorage,
    groups: Vec<Group>,
    /// By time; appended as time goes on.
    pending: Vec<(i64, Labels, Option<Cell>)>,
    failures: Vec<String>,
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl<'a> Run<'a> {
    fn new(
        file: &TestFile,
        test: &'a TestGroup,
        rule_files: &[PathBuf],
        (evaluation_interval, interval): (Duration, Duration),
    ) -> Result<Run<'a>, String> {
        let mut groups = Vec::new();
        for path in rule_files {
            let (file, _) = file::load(path, &ParseOptions::default()).map_err(|faults| faults.to_string())?;
            for group in file.groups {
                let spec = GroupSpec::new(&path.display().to_string(), group, interval, Duration::ZERO);
                groups.push(Group::new(spec).map_err(|error| error.to_string())?);
            }
        }
        let place =
            |group: &Group| file.group_eval_order.iter().position(|name| *name == group.spec.group.name).unwrap_or(0);
        groups.sort_by_key(place);
        let engine = Engine { default_subquery_step: millis(evaluation_interval).max(1), ..Engine::default() };
        Ok(Run {
            test,
            is_fuzzy: file.fuzzy_compare,
            evaluation_interval: millis(evaluation_interval).max(1),
            site: AlertSite {
                external_labels: labels_of(&test.external_labels),
                external_url: test.external_url.clone(),
            },
            storage: MemoryStorage::new(engine),
            groups,
            pending: input_samples(test, interval)?,
            failures: Vec::new(),
        })
    }

    fn run(&mut self) {
        let times = self.test.alert_rule_test.iter().map(|test| test.eval_time);
        let times = times.chain(self.test.promql_expr_test.iter().map(|test| test.eval_time));
        let end = millis(times.max().unwrap_or_default().0);
        if end / self.evaluation_interval > EVALUATIONS_MAX {
            self.failures.push(format!("more than {EVALUATIONS_MAX} evaluations"));
            return;
        }
        for at in (0..=end).step_by(self.evaluation_interval as usize) {
            self.append_until(at);
            if !self.evaluate(Timestamp(at)) {
                return;
            }
            self.check_alerts(at);
        }
        for test in &self.test.promql_expr_test {
            if let Err(fault) = self.check_expression(test) {
                let time = format_duration(test.eval_time.0);
                self.failures.push(format!("expr: {:?}, time: {time},\n{fault}", test.expr));
            }
        }
    }

    fn append_until(&mut self, at: i64) {
        let count = self.pending.partition_point(|(time, ..)| *time <= at);
        for (time, labels, sample) in self.pending.drain(..count) {
            if !self.storage.append(&labels, Timestamp(time), sample) {
                self.failures.push(format!("{labels}: sample at {time} ms is not later than the one before"));
            }
        }
    }

    /// False if a rule failed: what follows would only repeat it.
    fn evaluate(&mut self, at: Timestamp) -> bool {
        let mut is_good = true;
        for group in &mut self.groups {
            for rule in 0..group.rules.len() {
                group.evaluate(rule, at, &self.storage, &self.site, RESEND_DELAY);
                if let Health::Bad(error) = &group.rules[rule].health {
                    let time = format_duration(Duration::from_millis(at.0 as u64));
                    let name = group.rules[rule].spec.name();
                    self.failures.push(format!("rule: {name}, time: {time}, err: {error}"));
                    is_good = false;
                }
            }
        }
        is_good
    }

    /// Tests of times up to the next evaluation see what this one left.
    fn check_alerts(&mut self, at: i64) {
        let is_now = |test: &&AlertTest| (at..at + self.evaluation_interval).contains(&millis(test.eval_time.0));
        for test in self.test.alert_rule_test.iter().filter(is_now) {
            let time = format_duration(test.eval_time.0);
            if test.alertname.is_empty() {
                let fault = "an item under alert_rule_test misses required attribute alertname";
                self.failures.push(format!("{fault} at eval_time {time}"));
                continue;
            }
            if let Some(difference) = alerts_differ(expected_alerts(test), self.firing(&test.alertname)) {
                self.failures.push(format!("alertname: {}, time: {time},\n{difference}", test.alertname));
            }
        }
    }

    fn firing(&self, name: &str) -> Vec<FiringAlert> {
        let rules = self.groups.iter().flat_map(|group| &group.rules).filter(|rule| rule.spec.name() == name);
        let alerts = rules.filter_map(|rule| rule.alerts.as_ref()).flat_map(|alerts| alerts.active());
        alerts
            .filter(|alert| alert.state == AlertState::Firing)
            .map(|alert| FiringAlert { labels: alert.labels.clone(), annotations: alert.annotations.clone() })
            .collect()
    }

    fn check_expression(&self, test: &ExpressionTest) -> Result<(), String> {
        let expr = parse(&test.expr, &ParseOptions::default())
            .map_err(|error| format!("      {}", error.in_source(&test.expr)))?;
        let at = Timestamp(millis(test.eval_time.0));
        let got = self.storage.query(&expr, at, None).map_err(|error| format!("      {error}"))?;
        let got = got.into_iter().map(|(labels, cell)| ResultSample::new(labels, &cell)).collect();
        let mut expected = Vec::new();
        for sample in &test.exp_samples {
            let labels = parse_metric(&sample.labels).map_err(|error| format!("      labels {error}"))?;
            let histogram = match sample.histogram.as_str() {
                "" => String::new(),
                written => expected_histogram(written).map_err(|error| format!("      histogram {error}"))?,
            };
            let value = if histogram.is_empty() { sample.value } else { 0.0 };
            expected.push(ResultSample { labels, value, histogram });
        }
        results_differ(expected, got, self.is_fuzzy).map_or(Ok(()), Err)
    }
}

fn expected_histogram(written: &str) -> Result<String, String> {
    match parse_values(written).map_err(|error| error.to_string())?.as_slice() {
        [Point::Sample(Cell::Histogram(histogram))] => Ok(show_histogram(histogram)),
        _ => Err(format!("{written:?}: expected one histogram")),
    }
}

fn labels_of(map: &std::collections::BTreeMap<String, String>) -> Labels {
    Labels::from_pairs(map.iter().map(|(name, value)| (name.as_str(), value.as_str())))
}

fn expected_alerts(test: &AlertTest) -> Vec<FiringAlert> {
    let alert = |expected: &super::file::ExpectedAlert| {
        let labels = labels_of(&expected.exp_labels);
        let labels = LabelsBuilder::from_labels(&labels).set(ALERT_NAME, &test.alertname).build();
        FiringAlert { labels, annotations: labels_of(&expected.exp_annotations) }
    };
    test.exp_alerts.iter().map(alert).collect()
}

/// All samples by time. Of a series that stands there twice the second counts, as in promtool.
fn input_samples(test: &TestGroup, interval: Duration) -> Result<Vec<(i64, Labels, Option<Cell>)>, String> {
    let mut series = std::collections::BTreeMap::new();
    for input in &test.input_series {
        let labels = parse_metric(&input.series).map_err(|error| format!("series {error}"))?;
        let points = parse_values(&input.values).map_err(|error| format!("series {labels}: values {error}"))?;
        series.insert(labels, points);
    }
    let mut samples = Vec::new();
    for (labels, points) in series {
        for (nth, point) in points.into_iter().enumerate() {
            let at = nth as i64 * millis(interval);
            match point {
                Point::Omitted => {}
                Point::Stale => samples.push((at, labels.clone(), None)),
                Point::Sample(cell) => samples.push((at, labels.clone(), Some(cell))),
            }
        }
    }
    samples.sort_by_key(|(at, ..)| *at);
    Ok(samples)
}
