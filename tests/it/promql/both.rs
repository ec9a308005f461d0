//! Asking: the real Prometheus over HTTP, fedgate's engine through the query API's own functions.

use fedgate::http::api::evaluate;
use fedgate::http::api::params::{Params, QueryRequest};
use fedgate::model::Timestamp;
use fedgate::promql::{Engine, ParseOptions, Plans, SeriesSource, Steps};

use super::answer::Answer;
use super::expressions::Question;
use super::series::{Series, send, source_of};
use crate::site::Site;
use crate::site::http::{percent_encoded, request};
use crate::site::prometheus::{Prometheus, has_peer};

/// Blocks so long that whatever a test sends, in any order of series, is taken.
pub(crate) const ARGUMENTS: [&str; 5] = [
    "--web.enable-remote-write-receiver",
    "--enable-feature=native-histograms,promql-experimental-functions",
    "--storage.tsdb.min-block-duration=5000h",
    "--storage.tsdb.max-block-duration=5000h",
    "--storage.tsdb.retention.time=100y",
];

/// A Prometheus that holds some series and nothing else.
pub(crate) struct Theirs {
    prometheus: Prometheus,
    _site: Site,
}

impl Theirs {
    /// Starts one, unless the peers are not there.
    pub(crate) fn start(series: &[Series]) -> Option<Theirs> {
        if !has_peer("prometheus", "3.5.") {
            return None;
        }
        let site = Site::new();
        let prometheus = Prometheus::start_with(&site, "promql", "", &ARGUMENTS);
        send(&prometheus, series);
        Some(Theirs { prometheus, _site: site })
    }

    /// What it says to a generated question.
    pub(crate) fn ask_question(&self, question: &Question) -> Answer {
        self.ask(&question.expression, &question.steps, question.is_range)
    }

    /// What it says.
    pub(crate) fn ask(&self, expression: &str, steps: &Steps, is_range: bool) -> Answer {
        let body = form(expression, steps, is_range);
        let path = if is_range { "/api/v1/query_range" } else { "/api/v1/query" };
        let headers = [("Content-Type", "application/x-www-form-urlencoded")];
        let reply = request(self.prometheus.port, "POST", path, &headers, &body);
        Answer::of(&reply.body, steps, is_range)
    }
}

/// fedgate's engine over the same series.
pub(crate) struct Ours {
    source: SeriesSource,
}

impl Ours {
    /// Holds the series in memory.
    pub(crate) fn new(series: &[Series]) -> Ours {
        Ours { source: source_of(series) }
    }

    /// What it says to a generated question.
    pub(crate) fn ask_question(&self, question: &Question) -> Answer {
        self.ask(&question.expression, &question.steps, question.is_range)
    }

    /// What it says.
    pub(crate) fn ask(&self, expression: &str, steps: &Steps, is_range: bool) -> Answer {
        let params = Params::parse(&form(expression, steps, is_range), "").expect("a form");
        let request =
            if is_range { QueryRequest::range(&params) } else { QueryRequest::instant(&params, Timestamp(0)) };
        let options = ParseOptions { experimental: true };
        let evaluate =
            |request| evaluate(&self.source, (&Engine::default(), &Plans::default()), &options, &request, &|| false);
        let body = match request.and_then(evaluate) {
            Ok(answer) => answer.to_json(),
            Err(error) => error.to_json(),
        };
        Answer::of(&body, steps, is_range)
    }
}

/// A question as both programs read it.
pub(crate) fn form(expression: &str, steps: &Steps, is_range: bool) -> String {
    let seconds = |millis: i64| format!("{}.{:03}", millis / 1000, millis % 1000);
    let query = percent_encoded(expression);
    if is_range {
        let (start, end) = (seconds(steps.start.0), seconds(steps.end().0));
        format!("query={query}&start={start}&end={end}&step={}", seconds(steps.step))
    } else {
        format!("query={query}&time={}", seconds(steps.start.0))
    }
}
