//! Native histograms end to end: a Prometheus that scrapes the gateway in protobuf has the very histograms, exemplars and
//! classic series that one has which scrapes the page itself.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use super::protobuf_page::*;
use super::site::http::{self, Answer, percent_encoded};
use super::site::prometheus::{LabelSet, Prometheus, has_peer};
use super::site::{Site, wait_for};

const PROTOBUF: &str = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
const FEATURES: &str = "--enable-feature=native-histograms,exemplar-storage";

fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// An exemplar under `field`.
fn exemplar(message: Message, field: u32, value: f64) -> Message {
    let label = Message::new().text(1, "trace_id").text(2, &format!("t{value}"));
    let exemplar = Message::new().message(1, &label).float(2, value).time(3, now_seconds() as i64, 250_000_000);
    message.message(field, &exemplar)
}

fn float() -> Message {
    let floats = Message::new().float(4, 7.5).float(2, -3.25).signed(5, 2).float(6, 0.5).float(8, 1.25);
    floats.spans(9, &[(-2, 1)]).float_list(11, &[2.25]).spans(12, &[(0, 1), (3, 1)]).float_list(14, &[3.0, 1.0])
}

fn classic() -> Message {
    Message::new().number(1, 5).float(2, 12.5).buckets(&[(0.5, 1), (2.0, 4), (f64::INFINITY, 5)])
}

/// Everything that the format has, each under its own name.
fn everything() -> Vec<u8> {
    let counter = exemplar(Message::new().float(1, 17.0), 2, 0.75).time(3, now_seconds() as i64 - 60, 0);
    let bucket = exemplar(Message::new().number(1, 4).float(2, 2.0), 3, 1.5);
    let summary = Message::new().number(1, 9).float(2, 4.5).message(3, &Message::new().float(1, 0.5).float(2, 0.25));
    let empty = Message::new().number(1, 0).float(2, 0.0).signed(5, 3).spans(12, &[(0, 0)]);
    page(&[
        family("things_total", COUNTER, &[Message::new().label("a", "1").message(3, &counter)]),
        family("classic_seconds", HISTOGRAM, &[histogram(&classic().message(3, &bucket)).label("a", "1")]),
        family("untouched", HISTOGRAM, &[histogram(&empty)]),
        family(
            "native_seconds",
            HISTOGRAM,
            &[
                histogram(&exemplar(exemplar(native(), 16, 3.0), 16, 9.0).time(
                    15,
                    now_seconds() as i64 - 90,
                    5_000_000,
                )),
                histogram(&native().float(2, f64::NAN)).label("a", "2"),
                histogram(&float()).label("a", "3"),
            ],
        ),
        family("queue", GAUGE_HISTOGRAM, &[histogram(&float()), histogram(&native()).label("a", "2")]),
        family("both", HISTOGRAM, &[histogram(&native().buckets(&[(1.0, 1), (8.0, 4)]))]),
        family("latency", SUMMARY, &[Message::new().message(4, &summary)]),
        family("bare", SUMMARY, &[Message::new().message(4, &Message::new().number(1, 1).float(2, 1.0))]),
        family("level", GAUGE, &[gauge(-0.0), gauge(2.5).label("a", "1")]),
        family("whatever", UNTYPED, &[Message::new().message(5, &Message::new().float(1, 1.0))]),
    ])
}

fn job(name: &str, port: u16, extra: &str) -> String {
    format!("  - job_name: {name}\n    static_configs:\n      - targets: [\"127.0.0.1:{port}\"]\n{extra}")
}

/// Every series of the page with its value or histogram, as Prometheus writes them.
fn series(prometheus: &Prometheus) -> BTreeMap<LabelSet, String> {
    let answer = get(prometheus, &format!("query?query={}", percent_encoded("{job=~\"native|both\"}")));
    let sample = |series: &serde_json::Value| {
        let histogram = series.get("histogram").map(|histogram| histogram[1].to_string());
        (labels(&series["metric"]), histogram.unwrap_or_else(|| series["value"][1].to_string()))
    };
    let all = answer["data"]["result"].as_array().expect("a vector").iter().map(sample);
    all.filter(|(labels, _)| !labels["__name__"].starts_with("scrape_")).collect()
}

/// The exemplars of each series.
fn exemplars(prometheus: &Prometheus) -> BTreeMap<LabelSet, String> {
    let query = percent_encoded("{job=~\"native|both\"}");
    let now = now_seconds();
    let answer = get(prometheus, &format!("query_exemplars?query={query}&start={}&end={}", now - 600, now + 600));
    let all = answer["data"].as_array().expect("a list").iter();
    all.map(|series| (labels(&series["seriesLabels"]), series["exemplars"].to_string())).collect()
}

fn get(prometheus: &Prometheus, path: &str) -> serde_json::Value {
    let (status, body) = http::get(prometheus.port, &format!("/api/v1/{path}"));
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).expect("JSON")
}

/// Without what the gateway adds.
fn labels(metric: &serde_json::Value) -> LabelSet {
    let mut labels: LabelSet = serde_json::from_value(metric.clone()).expect("labels");
    labels.remove("cluster");
    labels.remove("environment");
    labels
}

/// Prometheus federates a histogram that has counted nothing, and has no zero bucket, without the span that says it is native;
/// so does fedgate, and its reader makes classic series of it.
fn without_untouched(mut series: BTreeMap<LabelSet, String>) -> BTreeMap<LabelSet, String> {
    series.retain(|labels, _| !labels["__name__"].starts_with("untouched"));
    series
}

#[test]
fn histograms_are_the_same_through_the_gateway() {
    if !has_peer("prometheus", "3.5.") {
        return;
    }
    let body = everything();
    let port = http::serve(move |_| Answer { status: 200, content_type: PROTOBUF, body: body.clone() });
    let both = job("both", port, "    always_scrape_classic_histograms: true\n");
    let direct_jobs = job("native", port, "") + &both;
    let keys = "    scrape_native_histograms: true\n";
    let site = Site::new();
    site.issue("alpha");
    let _gateway = site.start_gateway(&site.gateway_config(&["alpha"], ""));
    let collector = job("native", port, keys) + &both + keys;
    let _collector = site.start_collector(&site.collector_config("alpha", &collector));
    let honoured = "    honor_labels: true\n    scrape_protocols: [PrometheusProto]\n";
    let classic = "    always_scrape_classic_histograms: true\n";
    let federate = "    metrics_path: /federate\n    params:\n      'match[]': ['{__name__=~\".+\"}']\n";
    let start = |name: &str, configs: &str| Prometheus::start_with(&site, name, configs, &[FEATURES]);
    let direct = start("direct", &direct_jobs);
    let typed = start("typed", &job("fedgate", site.http_port, &format!("{honoured}{classic}")));
    let federated = start("federated", &job("fedgate", site.http_port, &format!("{honoured}{federate}")));
    let expected = wait_for("the page to be scraped", || Some(series(&direct)).filter(|all| all.len() > 45));
    assert!(expected.values().filter(|value| value.contains("buckets")).count() >= 12, "{expected:?}");
    for (reader, expected) in [(&typed, expected.clone()), (&federated, without_untouched(expected))] {
        let mut last = BTreeMap::new();
        let is_same = (0..40).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(250));
            last = series(reader);
            last == expected || without_untouched(last.clone()) == expected
        });
        let differing: Vec<_> = expected.iter().filter(|(labels, value)| last.get(*labels) != Some(value)).collect();
        let invented: Vec<_> = last.keys().filter(|labels| !expected.contains_key(*labels)).collect();
        let got: Vec<_> = differing.iter().map(|(labels, _)| last.get(*labels)).collect();
        assert!(is_same, "differing {differing:#?}\ngot {got:#?}\ninvented {invented:#?}");
    }
    // Of a family's native histograms Prometheus 3.5 takes the exemplars of the first, and of the next those behind as many;
    // through the gateway both jobs' are one family.
    let mut expected = exemplars(&direct);
    expected.retain(|labels, _| labels["__name__"] != "native_seconds" || labels["job"] == "both");
    assert!(expected.len() >= 3, "{expected:?}");
    assert_eq!(exemplars(&typed), expected);
}
