//! Generated questions, good and bad, asked over HTTP of a real gateway and of the real Prometheus 3.5: equal answers.
//!
//! Both hold the same series over the same twenty minutes: what the Prometheus is sent by remote write, the gateway's push listener
//! is sent, too. So the whole way is compared, from the listener through store and history to the JSON. `promql/differences.rs` says
//! what of an answer counts; beside it here its status, kind of body and kind of result or error.
//!
//! ```sh
//! PATH="$(.ci/peers)":$PATH FEDGATE_SEEDS=1..20 cargo test --test it query_api_generated -- --nocapture
//! ```

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fedgate::model::{LabelsBuilder, Timestamp};
use fedgate::promql::Steps;
use serde_json::Value;

use super::dice::{Dice, seeds};
use super::promql::answer::Answer;
use super::promql::both::{ARGUMENTS, form};
use super::promql::differences::{Verdict, judge_unordered};
use super::promql::expressions::{Question, question, traits};
use super::promql::faults::{mangled, odd_parameters};
use super::promql::samples::{INTERVAL_MS, LENGTH_MS, START_MS, series_of};
use super::promql::series::{HEADERS, Series, packed, post, requests_in_time};
use super::site::http::{self, Reply, percent_encoded};
use super::site::prometheus::{Prometheus, has_peer};
use super::site::{Process, Site};

/// Good questions for each function, operator and modifier.
const ASKED: usize = 4;
/// Of them so many must have answers that hold more than nothing and NaN.
const TELLING_MIN: usize = 250;
/// Expressions that were mangled, and how many of them must be refused.
const MANGLED: usize = 200;
const REFUSED_MIN: usize = 100;
/// Questions with odd parameters.
const ODD: usize = 120;
/// The seed of every ordinary run.
const SEED: u64 = 1;
/// All steps of generated subqueries divide it, so a seed's questions meet the same samples at any time of day.
const ALIGNED_MS: i64 = 4_620_000;
const GATEWAY: &str =
    "query: {experimental_functions: true}\nhistory: {series: [{match: '{__name__!=\"\"}', for: 6h}]}\n";

/// A gateway and a Prometheus that hold the same.
struct Pair {
    site: Site,
    prometheus: Prometheus,
    /// Time of the first samples.
    start_ms: i64,
    _gateway: Process,
}

impl Pair {
    fn start(seed: u64) -> Pair {
        // The sender is not to fall silent while its samples are asked for.
        let site = Site::at_pace(Duration::from_secs(600));
        site.issue("alpha");
        let gateway = site.start_gateway(&site.gateway_config(&["alpha"], GATEWAY));
        let prometheus = Prometheus::start_with(&site, "beside", "", &ARGUMENTS);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as i64;
        let start_ms = START_MS + (now - LENGTH_MS - START_MS) / ALIGNED_MS * ALIGNED_MS;
        let pair = Pair { site, prometheus, start_ms, _gateway: gateway };
        let series: Vec<Series> = series_of(seed).into_iter().map(|series| pair.placed(series)).collect();
        for request in requests_in_time(&series, INTERVAL_MS) {
            post(&pair.prometheus, &request);
            let reply = pair.site.post_as("alpha", "/api/v1/write", &HEADERS, &packed(&request));
            assert_eq!(reply.status, 204, "{}", String::from_utf8_lossy(&reply.body));
        }
        pair
    }

    /// A series of this time, with the labels that the gateway's inventory stamps.
    fn placed(&self, series: Series) -> Series {
        let mut labels = LabelsBuilder::from_labels(&series.labels);
        labels.set("cluster", "alpha").set("environment", "test");
        let samples = series.samples.into_iter().map(|(at, sample)| (at - START_MS + self.start_ms, sample));
        Series { labels: labels.build(), samples: samples.collect() }
    }

    /// What the gateway and the Prometheus say.
    fn ask(&self, way: Way, path: &str, form: &str) -> [Reply; 2] {
        let kind = [("Content-Type", "application/x-www-form-urlencoded")];
        [self.site.http_port, self.prometheus.port].map(|port| match way {
            Way::Get => http::request(port, "GET", &format!("/api/v1/{path}?{form}"), &[], ""),
            Way::Post => http::request(port, "POST", &format!("/api/v1/{path}"), &kind, form),
            Way::Both => {
                let (first, rest) = form.split_once('&').unwrap_or((form, ""));
                http::request(port, "POST", &format!("/api/v1/{path}?{first}"), &kind, rest)
            }
        })
    }
}

/// How the parameters are given.
#[derive(Clone, Copy, Debug)]
enum Way {
    Get,
    Post,
    /// The first in the path, the others in the body.
    Both,
}

/// What was asked and came of it.
#[derive(Default)]
struct Outcome {
    asked: usize,
    telling: usize,
    refused: usize,
    near: usize,
    differences: Vec<String>,
}

impl Outcome {
    fn ask(&mut self, pair: &Pair, question: &Question, form: &str) {
        let path = if question.is_range { "query_range" } else { "query" };
        let ways: Vec<_> = [Way::Get, Way::Post].map(|way| (way, pair.ask(way, path, form))).into();
        let [ours, theirs] = &ways[0].1;
        let of = |reply: &Reply| Answer::of(&reply.body, &question.steps, question.is_range);
        self.asked += 1;
        self.telling += usize::from(of(ours).is_telling() && of(theirs).is_telling());
        self.refused += usize::from(ours.status != 200 && theirs.status != 200);
        ways.iter().for_each(|(way, replies)| self.compare(*way, question, replies));
    }

    /// Parameters by any way; where samples stand is compared by their times, for the steps may be odd.
    fn ask_odd(&mut self, pair: &Pair, parameters: &[(&str, String)], is_range: bool) {
        let form: Vec<_> =
            parameters.iter().map(|(name, value)| format!("{name}={}", percent_encoded(value))).collect();
        let form = form.join("&");
        let path = if is_range { "query_range" } else { "query" };
        let steps = Steps::instant(Timestamp(0));
        let question =
            Question { expression: format!("{path}?{form}"), steps, is_range: false, shows: BTreeSet::new() };
        self.asked += 1;
        for way in [Way::Get, Way::Post, Way::Both] {
            self.compare(way, &question, &pair.ask(way, path, &form));
        }
    }

    fn compare(&mut self, way: Way, question: &Question, [ours, theirs]: &[Reply; 2]) {
        let of = |reply: &Reply| {
            let mut answer = Answer::of(&reply.body, &question.steps, question.is_range);
            answer.notes.push(head(reply));
            answer
        };
        match judge_unordered(question, &of(ours), &of(theirs)) {
            Verdict::Equal | Verdict::Known => {}
            Verdict::Near => self.near += 1,
            Verdict::Different(text) => self.differences.push(format!("{way:?} {text}")),
        }
    }
}

/// What stands about an answer.
fn head(reply: &Reply) -> String {
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let (kind, error) = (&body["data"]["resultType"], &body["errorType"]);
    format!("{} {} {} {kind} {error}", reply.status, reply.header("content-type"), body["status"])
}

fn ask_all(seed: u64) -> Outcome {
    let (pair, mut dice, mut outcome) = (Pair::start(seed), Dice(seed.wrapping_mul(6271)), Outcome::default());
    for what in traits() {
        for _ in 0..ASKED {
            let question = question(&mut dice, what, pair.start_ms);
            outcome.ask(&pair, &question, &form(&question.expression, &question.steps, question.is_range));
        }
    }
    let (asked, refused) = (outcome.asked, outcome.refused);
    for _ in 0..MANGLED {
        let question = mangled(&mut dice, pair.start_ms);
        outcome.ask(&pair, &question, &form(&question.expression, &question.steps, question.is_range));
    }
    println!(
        "seed {seed}: {asked} good questions, {refused} of them refused; of {MANGLED} bad {}",
        outcome.refused - refused
    );
    for _ in 0..ODD {
        let is_range = dice.percent(50);
        outcome.ask_odd(&pair, &odd_parameters(&mut dice, pair.start_ms, is_range), is_range);
    }
    outcome
}

#[test]
fn generated_questions_have_the_answers_of_prometheus() {
    if !has_peer("prometheus", "3.5.") {
        return;
    }
    let mut differing = Vec::new();
    for seed in seeds(SEED) {
        let Outcome { asked, telling, refused, near, differences } = ask_all(seed);
        println!("{asked} asked, {telling} telling, {refused} refused, {near} equal but for last bits");
        assert!(asked >= 300 && telling >= TELLING_MIN, "{telling} of {asked} answers hold anything");
        assert!(refused >= REFUSED_MIN, "{refused} were refused");
        differing.extend(differences.into_iter().map(|text| format!("seed {seed}: {text}")));
    }
    let shown = &differing[..differing.len().min(40)];
    assert!(differing.is_empty(), "{} differ:\n{}", differing.len(), shown.join("\n"));
}
