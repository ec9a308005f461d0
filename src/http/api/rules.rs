//! `/api/v1/rules` and `/api/v1/alerts`: what the running rules came to, as Prometheus 3.5 shows it.
//!
//! Read from the status that each group publishes after an evaluation: a request waits for no rule. Groups all of whose rules
//! are filtered away are left out. Written by hand, as results are: expressions hold `<` and `>`, which Prometheus escapes in all texts but labels.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;

use super::envelope::{ApiError, ErrorKind, JSON};
use super::json::{Escapes, write_labels, write_text};
use super::params::Params;
use super::query::params_of;
use crate::http::readers::other_method;
use crate::http::selectors::parse_selector;
use crate::model::{Labels, Timestamp};
use crate::rules::alert::Alert;
use crate::rules::group::Health;
use crate::rules::manager::Manager;
use crate::rules::notify::rfc3339;
use crate::rules::status::{AlertingStatus, GroupStatus, RuleStatus};
use crate::rules::template::go_float_exponential;
use crate::store::Selector;

const ALLOWED: &str = "GET, OPTIONS";

/// The routes.
pub fn routes(manager: Manager) -> Router {
    Router::new().route("/api/v1/rules", any(rules)).route("/api/v1/alerts", any(alerts)).with_state(manager)
}

async fn rules(State(manager): State<Manager>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    if method != Method::GET {
        return other_method(&method, ALLOWED);
    }
    let shown = params_of(&uri, &headers, &[]).and_then(|params| Shown::parse(&params));
    match shown.and_then(|shown| shown.written(&manager.status())) {
        Ok(body) => ([(header::CONTENT_TYPE, JSON)], body).into_response(),
        Err(error) => error.into_response(),
    }
}

async fn alerts(State(manager): State<Manager>, method: Method) -> Response {
    if method != Method::GET {
        return other_method(&method, ALLOWED);
    }
    let mut out = b"{\"status\":\"success\",\"data\":{\"alerts\":".to_vec();
    let groups = manager.status();
    let alerting = groups.iter().flat_map(|group| &group.rules).filter_map(|rule| rule.alerting.as_ref());
    write_each(&mut out, alerting.flat_map(|alerting| &alerting.alerts), write_alert);
    out.extend_from_slice(b"}}");
    ([(header::CONTENT_TYPE, JSON)], out).into_response()
}

/// What a request narrows the rules to.
#[derive(Debug)]
struct Shown {
    has_alerting: bool,
    has_recording: bool,
    names: Vec<String>,
    groups: Vec<String>,
    files: Vec<String>,
    selectors: Vec<Selector>,
    has_alerts: bool,
    /// Most groups, and the token of the first.
    page: Option<(usize, String)>,
}

impl Shown {
    fn parse(params: &Params) -> Result<Shown, ApiError> {
        let all = |name: &str| params.all(name).map(str::to_owned).collect();
        let kind = params.get("type").to_lowercase();
        if !matches!(&*kind, "" | "alert" | "record") {
            return Err(ApiError::parameter("type", format_args!("not supported value {kind:?}")));
        }
        Ok(Shown {
            has_alerting: kind != "record",
            has_recording: kind != "alert",
            names: all("rule_name[]"),
            groups: all("rule_group[]"),
            files: all("file[]"),
            selectors: selectors_of(params)?,
            has_alerts: !excludes_alerts(params.get("exclude_alerts"))?,
            page: page_of(params)?,
        })
    }

    fn written(&self, groups: &[Arc<GroupStatus>]) -> Result<Vec<u8>, ApiError> {
        let (limit, first) = self.page.as_ref().map_or((usize::MAX, ""), |(limit, first)| (*limit, first));
        let start = match first {
            "" => 0,
            first => groups.iter().position(|group| token_of(group) == first).ok_or_else(|| {
                let fault = format_args!("invalid group_next_token '{first}'. were rule groups changed?");
                ApiError::parameter("group_next_token", fault)
            })?,
        };
        let mut narrowed = groups[start..].iter().filter_map(|group| Some((group, self.rules_of(group)?)));
        let mut out = b"{\"status\":\"success\",\"data\":{\"groups\":".to_vec();
        write_each(&mut out, narrowed.by_ref().take(limit), |out, (group, rules)| self.write_group(out, group, &rules));
        if let Some((next, _)) = narrowed.next() {
            write!(out, ",\"groupNextToken\":\"{}\"", token_of(next)).expect("a vector takes everything");
        }
        out.extend_from_slice(b"}}");
        Ok(out)
    }

    /// The group's rules that are shown; a group without one is not shown either.
    fn rules_of<'a>(&self, group: &'a GroupStatus) -> Option<Vec<&'a RuleStatus>> {
        let has = |list: &[String], text: &str| list.is_empty() || list.iter().any(|own| own == text);
        if !has(&self.groups, &group.name) || !has(&self.files, &group.file) {
            return None;
        }
        let is_shown = |rule: &&RuleStatus| {
            let is_of_kind = if rule.alerting.is_some() { self.has_alerting } else { self.has_recording };
            is_of_kind && has(&self.names, &rule.name) && self.is_selected(&rule.labels)
        };
        let rules: Vec<&RuleStatus> = group.rules.iter().filter(is_shown).collect();
        (!rules.is_empty()).then_some(rules)
    }

    fn is_selected(&self, labels: &Labels) -> bool {
        let holds = |selector: &Selector| {
            selector.iter().all(|matcher| matcher.matches(labels.get(&matcher.name).unwrap_or_default()))
        };
        self.selectors.is_empty() || self.selectors.iter().any(holds)
    }

    fn write_group(&self, out: &mut Vec<u8>, group: &GroupStatus, rules: &[&RuleStatus]) {
        out.extend_from_slice(b"{\"name\":");
        write_text(out, &group.name, Escapes::Html);
        write_member(out, "file", &group.file);
        out.extend_from_slice(b",\"rules\":");
        write_each(out, rules, |out, rule| match &rule.alerting {
            Some(alerting) => write_alerting(out, rule, alerting, self.has_alerts),
            None => write_recording(out, rule),
        });
        let (interval, limit) = (group.interval.as_secs_f64(), group.limit);
        write!(out, ",\"interval\":{interval},\"limit\":{limit}").expect("a vector takes everything");
        write_timing(out, group.took, group.evaluated_at);
        out.push(b'}');
    }
}

fn selectors_of(params: &Params) -> Result<Vec<Selector>, ApiError> {
    let bad = |fault: &dyn std::fmt::Display| ApiError::new(ErrorKind::BadData, fault);
    let parsed = params.all("match[]").map(|text| parse_selector(text).map_err(|fault| bad(&fault)));
    let selectors: Vec<Selector> = parsed.collect::<Result<_, _>>()?;
    let matches_all = |selector: &Selector| selector.iter().all(|matcher| matcher.matches(""));
    match selectors.iter().any(matches_all) {
        true => Err(bad(&"match[] must contain at least one non-empty matcher")),
        false => Ok(selectors),
    }
}

/// A boolean in the spellings that Go reads.
fn excludes_alerts(text: &str) -> Result<bool, ApiError> {
    match text.to_lowercase().as_str() {
        "1" | "t" | "true" => Ok(true),
        "" | "0" | "f" | "false" => Ok(false),
        other => {
            let fault =
                format_args!("error converting exclude_alerts: strconv.ParseBool: parsing {other:?}: invalid syntax");
            Err(ApiError::parameter("exclude_alerts", fault))
        }
    }
}

fn page_of(params: &Params) -> Result<Option<(usize, String)>, ApiError> {
    let (limit, token) = (params.get("group_limit"), params.get("group_next_token"));
    if limit.is_empty() {
        let fault = "group_limit needs to be present in order to paginate over the groups";
        return if token.is_empty() { Ok(None) } else { Err(ApiError::parameter("group_next_token", fault)) };
    }
    let bad = |fault: &dyn std::fmt::Display| ApiError::parameter("group_limit", fault);
    let number: i32 = limit.parse().map_err(|_| {
        bad(&format_args!(
            "group_limit needs to be a valid number: strconv.ParseInt: parsing {limit:?}: invalid syntax"
        ))
    })?;
    match usize::try_from(number) {
        Ok(number) if number > 0 => Ok(Some((number, token.to_owned()))),
        _ => Err(bad(&"group_limit needs to be greater than 0")),
    }
}

/// Names a group for the next page; nobody but this file reads it.
fn token_of(group: &GroupStatus) -> String {
    blake3::hash(format!("{};{}", group.file, group.name).as_bytes()).to_hex()[..40].to_owned()
}

fn write_each<T>(out: &mut Vec<u8>, all: impl IntoIterator<Item = T>, write: impl Fn(&mut Vec<u8>, T)) {
    out.push(b'[');
    for (at, one) in all.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write(out, one);
    }
    out.push(b']');
}

fn write_member(out: &mut Vec<u8>, name: &str, text: &str) {
    write!(out, ",\"{name}\":").expect("a vector takes everything");
    write_text(out, text, Escapes::Html);
}

fn write_alerting(out: &mut Vec<u8>, rule: &RuleStatus, alerting: &AlertingStatus, has_alerts: bool) {
    out.extend_from_slice(b"{\"state\":");
    write_text(out, alerting.state.word(), Escapes::Html);
    write_member(out, "name", &rule.name);
    write_member(out, "query", &rule.query);
    let (hold, keep) = (alerting.hold.as_secs_f64(), alerting.keep_firing_for.as_secs_f64());
    write!(out, ",\"duration\":{hold},\"keepFiringFor\":{keep},\"labels\":").expect("a vector takes everything");
    write_labels(out, &rule.labels);
    out.extend_from_slice(b",\"annotations\":");
    write_labels(out, &alerting.annotations);
    out.extend_from_slice(b",\"alerts\":");
    match has_alerts {
        true => write_each(out, &alerting.alerts, write_alert),
        false => out.extend_from_slice(b"null"),
    }
    write_health(out, rule);
    out.extend_from_slice(b",\"type\":\"alerting\"}");
}

fn write_recording(out: &mut Vec<u8>, rule: &RuleStatus) {
    out.extend_from_slice(b"{\"name\":");
    write_text(out, &rule.name, Escapes::Html);
    write_member(out, "query", &rule.query);
    if !rule.labels.is_empty() {
        out.extend_from_slice(b",\"labels\":");
        write_labels(out, &rule.labels);
    }
    write_health(out, rule);
    out.extend_from_slice(b",\"type\":\"recording\"}");
}

fn write_health(out: &mut Vec<u8>, rule: &RuleStatus) {
    match &rule.health {
        Health::Unknown => write_member(out, "health", "unknown"),
        Health::Good => write_member(out, "health", "ok"),
        Health::Bad(error) => {
            write_member(out, "health", "err");
            write_member(out, "lastError", &error.to_string());
        }
    }
    write_timing(out, rule.took, rule.evaluated_at);
}

fn write_timing(out: &mut Vec<u8>, took: Duration, at: Option<Timestamp>) {
    write!(out, ",\"evaluationTime\":{}", took.as_secs_f64()).expect("a vector takes everything");
    write_member(out, "lastEvaluation", &at.map_or_else(|| NEVER.to_owned(), rfc3339));
}

/// Go's zero time.
const NEVER: &str = "0001-01-01T00:00:00Z";

fn write_alert(out: &mut Vec<u8>, alert: &Alert) {
    out.extend_from_slice(b"{\"labels\":");
    write_labels(out, &alert.labels);
    out.extend_from_slice(b",\"annotations\":");
    write_labels(out, &alert.annotations);
    write_member(out, "state", alert.state.word());
    write_member(out, "activeAt", &rfc3339(alert.active_at));
    if let Some(since) = alert.kept_since {
        write_member(out, "keepFiringSince", &rfc3339(since));
    }
    write_member(out, "value", &go_float_exponential(alert.value));
    out.push(b'}');
}
