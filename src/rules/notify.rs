//! Alerts to Alertmanagers, by their v2 API, as Prometheus sends them.
//!
//! Invariant: telling never holds up evaluating. Alerts wait in a bounded queue, of which the oldest are dropped and counted; one
//! task takes them out in batches and sends each batch to all Alertmanagers at once. A batch that no Alertmanager of a set takes
//! is dropped and counted: what still fires is told again after the resend delay.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::future::join_all;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use serde_json::{Map, Value, json};
use tokio::sync::Notify;
use url::Url;

use super::alert::Notice;
use super::template::expression_link;
use crate::config::{AlertingConfig, AlertmanagerConfig};
use crate::model::{Labels, LabelsBuilder, Timestamp};
use crate::net::client::{ClientError, HttpClient};
use crate::relabel::{self, Steps};
use crate::runtime::Tasks;
use crate::telemetry::{Kind, Registry};

/// Most alerts of one request.
const BATCH_MAX: usize = 64;
/// How long the last batches may take when the process ends.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// The path below an Alertmanager's prefix.
const ALERTS_PATH: &str = "/api/v2/alerts";
const ADDRESS: &str = "__address__";
const SCHEME: &str = "__scheme__";
const PATH: &str = "__alerts_path__";

/// Where alerts go cannot be understood.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says it")]
pub enum NotifyError {
    #[error("alerting: {0}")]
    Regex(#[from] crate::model::MatcherError),
    #[error("alerting: {0}")]
    Client(#[from] ClientError),
    #[error("alerting: {url:?} is no Alertmanager's address: {reason}")]
    Address { url: String, reason: String },
}

/// Who is told, and what is done with alerts before.
pub struct Recipients {
    external_labels: Labels,
    external_url: String,
    steps: Steps,
    capacity: usize,
    sets: Vec<Set>,
}

/// Alertmanagers of one section.
struct Set {
    client: HttpClient,
    timeout: Duration,
    steps: Steps,
    members: Vec<Arc<Member>>,
}

/// One Alertmanager.
struct Member {
    url: Url,
    sent: AtomicU64,
    errors: AtomicU64,
}

impl Recipients {
    /// Of a checked configuration.
    pub fn new(
        config: &AlertingConfig,
        external_labels: Labels,
        external_url: &str,
    ) -> Result<Recipients, NotifyError> {
        Ok(Recipients {
            external_labels,
            external_url: external_url.trim_end_matches('/').to_owned(),
            steps: relabel::compile(&config.alert_relabel_configs)?,
            capacity: config.queue_capacity,
            sets: config.alertmanagers.iter().map(Set::new).collect::<Result<_, _>>()?,
        })
    }

    /// An alert as it goes out; `None` if relabelling drops it.
    fn prepared(&self, notice: Notice) -> Option<Notice> {
        let mut labels = LabelsBuilder::from_labels(&notice.labels);
        for (name, value) in &self.external_labels {
            if labels.get(name).is_empty() {
                labels.set(name, value);
            }
        }
        relabel::process(&self.steps, &mut labels).then(|| Notice { labels: labels.build(), ..notice })
    }

    fn members(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.sets.iter().flat_map(|set| &set.members)
    }
}

impl Set {
    fn new(config: &AlertmanagerConfig) -> Result<Set, NotifyError> {
        let steps = relabel::compile(&config.relabel_configs)?;
        let mut members: Vec<Arc<Member>> = Vec::new();
        for group in &config.static_configs {
            for target in &group.targets {
                let mut labels = LabelsBuilder::default();
                group.labels.iter().for_each(|(name, value)| {
                    labels.set(name, value);
                });
                let prefix = config.path_prefix.trim_matches('/');
                let path = if prefix.is_empty() { ALERTS_PATH.to_owned() } else { format!("/{prefix}{ALERTS_PATH}") };
                labels.set(ADDRESS, target).set(SCHEME, config.scheme.as_str()).set(PATH, &path);
                if !relabel::process(&steps, &mut labels) {
                    continue;
                }
                let url = format!("{}://{}{}", labels.get(SCHEME), labels.get(ADDRESS), labels.get(PATH));
                let parsed = Url::parse(&url);
                let parsed = parsed.map_err(|error| NotifyError::Address { url, reason: error.to_string() })?;
                if !members.iter().any(|member| member.url == parsed) {
                    members.push(Arc::new(Member { url: parsed, sent: AtomicU64::new(0), errors: AtomicU64::new(0) }));
                }
            }
        }
        Ok(Set {
            client: HttpClient::new(&config.http_client())?,
            timeout: config.timeout,
            steps: relabel::compile(&config.alert_relabel_configs)?,
            members,
        })
    }

    /// Whether a batch reached at least one of them, or nobody was to be told.
    async fn send(&self, batch: &[Notice], external_url: &str) -> bool {
        let relabelled = batch.iter().filter_map(|notice| {
            let mut labels = LabelsBuilder::from_labels(&notice.labels);
            relabel::process(&self.steps, &mut labels).then(|| body_of(notice, &labels.build(), external_url))
        });
        let alerts: Vec<Value> = relabelled.collect();
        if alerts.is_empty() || self.members.is_empty() {
            return true;
        }
        let count = alerts.len() as u64;
        let body = Bytes::from(Value::Array(alerts).to_string());
        let sending = self.members.iter().map(|member| self.send_one(member, body.clone(), count));
        join_all(sending).await.into_iter().any(|is_taken| is_taken)
    }

    async fn send_one(&self, member: &Member, body: Bytes, count: u64) -> bool {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        let request = self.client.post(member.url.clone(), &headers, body);
        let fault = match tokio::time::timeout(self.timeout, request).await {
            Ok(Ok(answer)) if answer.status().is_success() => None,
            Ok(Ok(answer)) => Some(format!("bad response status {}", answer.status())),
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("no answer within {:?}", self.timeout)),
        };
        member.sent.fetch_add(count, Ordering::Relaxed);
        if let Some(fault) = &fault {
            member.errors.fetch_add(count, Ordering::Relaxed);
            tracing::error!(alertmanager = %member.url, count, %fault, "alerts not sent");
        }
        fault.is_none()
    }
}

fn body_of(notice: &Notice, labels: &Labels, external_url: &str) -> Value {
    let object = |labels: &Labels| {
        let pairs = labels.iter().map(|(name, value)| (name.to_owned(), Value::from(value)));
        Value::Object(pairs.collect::<Map<_, _>>())
    };
    json!({
        "labels": object(labels),
        "annotations": object(&notice.annotations),
        "startsAt": rfc3339(notice.starts_at),
        "endsAt": rfc3339(notice.ends_at),
        "generatorURL": format!("{external_url}{}", expression_link(&notice.expression)),
    })
}

/// A moment as JSON has it: `2026-01-02T15:04:05.123Z`.
pub fn rfc3339(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.0).map_or_else(|_| String::new(), |moment| moment.to_string())
}

/// The way to the Alertmanagers; clones share one queue.
#[derive(Clone)]
pub struct Notifier {
    shared: Arc<Shared>,
}

struct Shared {
    recipients: ArcSwap<Recipients>,
    /// Oldest first.
    queue: Mutex<VecDeque<Notice>>,
    more: Notify,
    dropped: AtomicU64,
}

impl Notifier {
    /// With an empty queue; nothing is sent before [`Notifier::run`].
    pub fn new(recipients: Recipients) -> Notifier {
        Notifier {
            shared: Arc::new(Shared {
                recipients: ArcSwap::from_pointee(recipients),
                queue: Mutex::default(),
                more: Notify::new(),
                dropped: AtomicU64::new(0),
            }),
        }
    }

    /// Tells others from now on. Those who stay begin to be counted anew.
    pub fn set_recipients(&self, recipients: Recipients) {
        self.shared.recipients.store(Arc::new(recipients));
    }

    /// Queues alerts; the oldest are dropped where they are too many. Never waits.
    pub fn send(&self, notices: Vec<Notice>) {
        let recipients = self.shared.recipients.load();
        let mut queue = self.shared.lock();
        queue.extend(notices.into_iter().filter_map(|notice| recipients.prepared(notice)));
        let excess = queue.len().saturating_sub(recipients.capacity);
        if excess > 0 {
            queue.drain(..excess);
            self.shared.drop_alerts(excess, "the queue is full");
        }
        if !queue.is_empty() {
            self.shared.more.notify_one();
        }
    }

    /// Spawns the task that sends. At the end it sends what is still queued, within a bound.
    pub fn run(&self, tasks: &Tasks) {
        let (shared, stop) = (self.shared.clone(), tasks.stop().clone());
        tasks.spawn("alerts", async move {
            loop {
                tokio::select! {
                    () = shared.more.notified() => shared.send_queued().await,
                    () = stop.cancelled() => break,
                }
            }
            if tokio::time::timeout(DRAIN_MAX, shared.send_queued()).await.is_err() {
                let left = shared.lock().len();
                shared.drop_alerts(left, "the process ends");
            }
        });
    }

    /// Registers what is counted here.
    pub fn register(&self, registry: &mut Registry) {
        let by_member = |read: fn(&Member) -> &AtomicU64, shared: Arc<Shared>| {
            move |emit: &mut crate::telemetry::Emit<'_, '_>| {
                for member in shared.recipients.load().members() {
                    emit.series(&[("alertmanager", member.url.as_str())], read(member).load(Ordering::Relaxed) as f64);
                }
            }
        };
        let shared = || self.shared.clone();
        let (sent, errors) = (by_member(|member| &member.sent, shared()), by_member(|member| &member.errors, shared()));
        registry.derive("fedgate_notifications_sent", "Alerts sent, failed ones included", Kind::Counter, sent);
        registry.derive(
            "fedgate_notifications_errors",
            "Alerts that an Alertmanager did not take",
            Kind::Counter,
            errors,
        );
        let (dropped, length, capacity) = (shared(), shared(), shared());
        registry.derive("fedgate_notifications_dropped", "Alerts that nobody was told", Kind::Counter, move |emit| {
            emit.series(&[], dropped.dropped.load(Ordering::Relaxed) as f64);
        });
        registry.derive(
            "fedgate_notifications_queue_length",
            "Alerts that wait to be sent",
            Kind::Gauge,
            move |emit| {
                emit.series(&[], length.lock().len() as f64);
            },
        );
        registry.derive("fedgate_notifications_queue_capacity", "Most that may wait", Kind::Gauge, move |emit| {
            emit.series(&[], capacity.recipients.load().capacity as f64);
        });
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Notice>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn drop_alerts(&self, count: usize, reason: &'static str) {
        self.dropped.fetch_add(count as u64, Ordering::Relaxed);
        tracing::warn!(count, reason, "alerts dropped");
    }

    async fn send_queued(&self) {
        loop {
            let batch: Vec<Notice> = {
                let mut queue = self.lock();
                let count = queue.len().min(BATCH_MAX);
                queue.drain(..count).collect()
            };
            if batch.is_empty() {
                return;
            }
            let recipients = self.recipients.load_full();
            let sending = recipients.sets.iter().map(|set| set.send(&batch, &recipients.external_url));
            if !join_all(sending).await.into_iter().all(|is_taken| is_taken) {
                self.drop_alerts(batch.len(), "no Alertmanager took them");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{RelabelAction, RelabelConfig};

    fn notice(name: &str) -> Notice {
        Notice {
            labels: Labels::from_pairs([("alertname", name), ("site", if name == "own" { "mine" } else { "" })]),
            annotations: Labels::from_pairs([("summary", "s")]),
            starts_at: Timestamp(1_000),
            ends_at: Timestamp(61_500),
            expression: "up == 0".to_owned(),
        }
    }

    fn recipients(config: &AlertingConfig) -> Recipients {
        Recipients::new(config, Labels::from_pairs([("site", "north")]), "http://h/base/").unwrap()
    }

    #[test]
    fn alerts_get_external_labels_where_they_lack_them_and_may_be_dropped() {
        let drop = RelabelConfig {
            source_labels: vec!["alertname".to_owned()],
            regex: "quiet".to_owned(),
            action: RelabelAction::Drop,
            ..RelabelConfig::default()
        };
        let all = recipients(&AlertingConfig { alert_relabel_configs: vec![drop], ..AlertingConfig::default() });
        let site =
            |name| all.prepared(notice(name)).map(|notice| notice.labels.get("site").unwrap_or_default().to_owned());
        assert_eq!((site("a"), site("own"), site("quiet")), (Some("north".into()), Some("mine".into()), None));
    }

    #[test]
    fn a_body_has_the_fields_of_the_v2_api() {
        let body = body_of(&notice("a"), &notice("a").labels, "http://h/base");
        let expected = json!({
            "labels": {"alertname": "a"},
            "annotations": {"summary": "s"},
            "startsAt": "1970-01-01T00:00:01Z",
            "endsAt": "1970-01-01T00:01:01.5Z",
            "generatorURL": "http://h/base/graph?g0.expr=up+%3D%3D+0&g0.tab=1",
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn a_full_queue_drops_the_oldest_and_counts_them() {
        let notifier = Notifier::new(recipients(&AlertingConfig { queue_capacity: 2, ..AlertingConfig::default() }));
        notifier.send(vec![notice("1"), notice("2")]);
        notifier.send(vec![notice("3")]);
        let left: Vec<String> =
            notifier.shared.lock().iter().map(|one| one.labels.get("alertname").unwrap().to_owned()).collect();
        assert_eq!(left, ["2", "3"]);
        assert_eq!(notifier.shared.dropped.load(Ordering::Relaxed), 1);
    }
}
