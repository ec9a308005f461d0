//! `/api/v1/rules` and `/api/v1/alerts`: the groups at work and what they came to, in Prometheus's form.
//!
//! Read from the status that each group publishes after an evaluation: a request waits for no rule. Groups all of whose rules are
//! filtered away are left out, as there. Selectors over rules' labels (`match[]`) and paging are not offered.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Map, Value, json};

use super::envelope::{ApiError, ErrorKind, JSON};
use super::params::Params;
use super::query::params_of;
use crate::model::{Labels, Timestamp};
use crate::rules::alert::Alert;
use crate::rules::group::Health;
use crate::rules::manager::Manager;
use crate::rules::notify::rfc3339;
use crate::rules::status::{AlertingStatus, GroupStatus, RuleStatus};

/// What stands for a time that has not come, in Go's JSON.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// The routes.
pub fn routes(manager: Manager) -> Router {
    Router::new().route("/api/v1/rules", get(rules)).route("/api/v1/alerts", get(alerts)).with_state(manager)
}

async fn rules(State(manager): State<Manager>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let wanted = params_of(&uri, &headers, &body).and_then(|params| Wanted::of(&params));
    match wanted {
        Ok(wanted) => success(json!({ "groups": groups(&manager.status(), &wanted) })),
        Err(error) => error.into_response(),
    }
}

async fn alerts(State(manager): State<Manager>) -> Response {
    let status = manager.status();
    let rules = status.iter().flat_map(|group| &group.rules).filter_map(|rule| rule.alerting.as_ref());
    let alerts: Vec<Value> = rules.flat_map(|alerting| &alerting.alerts).map(alert).collect();
    success(json!({ "alerts": alerts }))
}

fn success(data: Value) -> Response {
    let body = json!({ "status": "success", "data": data }).to_string();
    ([(header::CONTENT_TYPE, JSON)], body).into_response()
}

/// Which rules are asked for; an empty list is all.
struct Wanted {
    recording: bool,
    alerting: bool,
    has_alerts: bool,
    names: Vec<String>,
    groups: Vec<String>,
    files: Vec<String>,
}

impl Wanted {
    fn of(params: &Params) -> Result<Wanted, ApiError> {
        let all = |name: &str| params.all(name).map(str::to_owned).collect();
        let (recording, alerting) = match params.get("type").to_lowercase().as_str() {
            "" => (true, true),
            "record" => (true, false),
            "alert" => (false, true),
            other => {
                let fault = format!("invalid parameter \"type\": not supported value \"{other}\"");
                return Err(ApiError::new(ErrorKind::BadData, fault));
            }
        };
        let has_alerts = !matches!(params.get("exclude_alerts"), "1" | "t" | "T" | "true" | "TRUE" | "True");
        let (names, groups, files) = (all("rule_name[]"), all("rule_group[]"), all("file[]"));
        Ok(Wanted { recording, alerting, has_alerts, names, groups, files })
    }

    fn has_group(&self, group: &GroupStatus) -> bool {
        let has = |list: &[String], one: &String| list.is_empty() || list.contains(one);
        has(&self.groups, &group.name) && has(&self.files, &group.file)
    }

    fn has_rule(&self, rule: &RuleStatus) -> bool {
        let has_kind = if rule.alerting.is_some() { self.alerting } else { self.recording };
        has_kind && (self.names.is_empty() || self.names.contains(&rule.name))
    }
}

fn groups(all: &[Arc<GroupStatus>], wanted: &Wanted) -> Vec<Value> {
    let mut groups = Vec::new();
    for group in all.iter().filter(|group| wanted.has_group(group)) {
        let rules = group.rules.iter().filter(|rule| wanted.has_rule(rule));
        let rules: Vec<Value> = rules.map(|one| rule(one, wanted.has_alerts)).collect();
        if !rules.is_empty() {
            groups.push(json!({
                "name": group.name,
                "file": group.file,
                "rules": rules,
                "interval": group.interval.as_secs_f64(),
                "limit": group.limit,
                "evaluationTime": group.took.as_secs_f64(),
                "lastEvaluation": time(group.evaluated_at),
            }));
        }
    }
    groups
}

fn rule(rule: &RuleStatus, has_alerts: bool) -> Value {
    let (health, error) = match &rule.health {
        Health::Unknown => ("unknown", None),
        Health::Good => ("ok", None),
        Health::Bad(error) => ("err", Some(error.to_string())),
    };
    let mut value = json!({
        "name": rule.name,
        "query": rule.query,
        "health": health,
        "evaluationTime": rule.took.as_secs_f64(),
        "lastEvaluation": time(rule.evaluated_at),
        "type": if rule.alerting.is_some() { "alerting" } else { "recording" },
    });
    if let Some(error) = error {
        value["lastError"] = error.into();
    }
    if rule.alerting.is_some() || !rule.labels.is_empty() {
        value["labels"] = object(&rule.labels);
    }
    if let Some(alerting) = &rule.alerting {
        add_alerting(&mut value, alerting, has_alerts);
    }
    value
}

fn add_alerting(value: &mut Value, alerting: &AlertingStatus, has_alerts: bool) {
    value["state"] = alerting.state.word().into();
    value["duration"] = alerting.hold.as_secs_f64().into();
    value["keepFiringFor"] = alerting.keep_firing_for.as_secs_f64().into();
    value["annotations"] = object(&alerting.annotations);
    value["alerts"] = Value::Array(if has_alerts { alerting.alerts.iter().map(alert).collect() } else { Vec::new() });
}

fn alert(alert: &Alert) -> Value {
    let mut value = json!({
        "labels": object(&alert.labels),
        "annotations": object(&alert.annotations),
        "state": alert.state.word(),
        "activeAt": rfc3339(alert.active_at),
        "value": exponential(alert.value),
    });
    if let Some(since) = alert.kept_since {
        value["keepFiringSince"] = rfc3339(since).into();
    }
    value
}

/// `1e+00`: always with an exponent, as there.
fn exponential(value: f64) -> String {
    crate::rules::template::go_float_exponential(value)
}

fn object(labels: &Labels) -> Value {
    Value::Object(labels.iter().map(|(name, value)| (name.to_owned(), value.into())).collect::<Map<_, _>>())
}

fn time(at: Option<Timestamp>) -> String {
    at.map_or_else(|| NEVER.to_owned(), rfc3339)
}
