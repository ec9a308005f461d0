//! The collector's own pages: its metrics, and how each of its targets is doing.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use serde::Serialize;

use super::readers::{header_of, plain_error};
use super::render::{Lines, OwnPage, Progress, Style, TypedBounds, typed_page};
use crate::discovery::TargetFault;
use crate::exposition::{Negotiated, negotiate_metrics};
use crate::model::{Labels, Timestamp};
use crate::push::client::StatusBoard;
use crate::scrape::{Manager, TargetStatus};
use crate::store::Selection;
use crate::telemetry::{LeftOut, Registry};

/// What a collector's pages show.
#[derive(Clone)]
pub struct OwnPages {
    /// Its metrics.
    pub registry: Arc<Registry>,
    /// Its targets.
    pub manager: Manager,
    /// How pushing goes.
    pub push: StatusBoard,
}

/// `/metrics` and `/targets`.
pub fn own_routes(pages: OwnPages) -> Router {
    Router::new().route("/metrics", get(metrics)).route("/targets", get(targets)).with_state(pages)
}

/// The registry's page in the format that the reader asks for.
async fn metrics(State(pages): State<OwnPages>, headers: HeaderMap) -> Response {
    let negotiated = negotiate_metrics(header_of(&headers, header::ACCEPT).as_deref());
    match OwnPage::parse(&pages.registry.page(), &[]) {
        Ok(own) => ([(header::CONTENT_TYPE, negotiated.content_type())], written(own, negotiated)).into_response(),
        Err(error) => plain_error(StatusCode::INTERNAL_SERVER_ERROR, error),
    }
}

/// The whole page at once: it has some hundred lines.
fn written(own: OwnPage, negotiated: Negotiated) -> Vec<u8> {
    let style = Style {
        format: negotiated.format,
        escaping: negotiated.escaping,
        has_stamps: false,
        external_labels: Labels::empty(),
        shown_empty: &[],
    };
    let lines = Lines::new(Arc::default(), style);
    let everything = TypedBounds { oldest: Timestamp(i64::MIN), limit: None };
    let page = typed_page(lines, Selection::default(), own, everything, LeftOut::default());
    let mut bytes = Vec::new();
    page.for_each(|mut piece| while piece(&mut bytes, usize::MAX) == Progress::More {});
    bytes
}

/// The page's JSON.
#[derive(Serialize)]
struct TargetsPage {
    push: PushEntry,
    targets: Vec<TargetEntry>,
    /// Addresses that gave no target, with the reason.
    faults: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PushEntry {
    last_acknowledged_ms: Option<i64>,
    last_error: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TargetEntry {
    job: String,
    url: String,
    labels: serde_json::Map<String, serde_json::Value>,
    health: &'static str,
    last_error: Option<String>,
    last_scrape_ms: Option<i64>,
    last_scrape_duration_seconds: f64,
    samples: u64,
}

async fn targets(State(pages): State<OwnPages>) -> Response {
    let push = pages.push.read();
    let faults: Vec<String> = push.faults.iter().map(|(gateway, fault)| format!("{gateway}: {fault}")).collect();
    let page = TargetsPage {
        push: PushEntry {
            last_acknowledged_ms: push.acknowledged.map(|time| time.as_millis()),
            last_error: (!faults.is_empty()).then(|| faults.join("; ")),
        },
        targets: pages.manager.targets().into_iter().map(entry).collect(),
        faults: pages.manager.target_faults().iter().map(TargetFault::to_string).collect(),
    };
    let json = serde_json::to_string_pretty(&page).expect("strings and numbers can always be written");
    ([(header::CONTENT_TYPE, "application/json")], json + "\n").into_response()
}

fn entry(status: TargetStatus) -> TargetEntry {
    let label = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned().into());
    TargetEntry {
        job: status.job.to_string(),
        url: status.target.url.to_string(),
        labels: status.target.labels.iter().map(label).collect(),
        health: status.health.as_str(),
        last_error: status.last_error.map(|error| error.to_string()),
        last_scrape_ms: status.last_scrape.map(|time| time.as_millis()),
        last_scrape_duration_seconds: status.last_duration.as_secs_f64(),
        samples: status.samples,
    }
}
