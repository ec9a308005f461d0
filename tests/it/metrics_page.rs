//! `/metrics`: families of the whole site with their metadata, in each format.

use axum::http::{StatusCode, header};
use fedgate::exposition::{Entry, Format, parser};
use fedgate::http::readers::ReaderOptions;
use fedgate::http::selectors::parse_selector;
use fedgate::model::{Labels, LabelsBuilder, MetricType};

use crate::store_pushes::{Collector, Gateway, LACKING, START, policy, typed};

const OPENMETRICS: &str = "application/openmetrics-text;version=1.0.0";
const TEXT: &str = "text/plain;version=0.0.4";
const OWN: &str = "# HELP fedgate_x Things.\n# TYPE fedgate_x counter\nfedgate_x_total{kind=\"a\"} 3\n# EOF\n";

/// A gateway whose clusters expose these pages, one target each.
fn site(pages: &[(&str, &str)]) -> Gateway {
    let gateway = Gateway::with(pages.iter().map(|(cluster, _)| policy(cluster)), ReaderOptions::default(), OWN);
    for (run, (cluster, page)) in pages.iter().enumerate() {
        let mut collector = Collector::new(run as u8 + 1, START);
        collector.scrape(&[("job", "j")], START, page);
        gateway.take(cluster, &mut collector);
    }
    gateway
}

async fn page(gateway: &Gateway, path: &str, accept: &str) -> String {
    let (status, headers, body) = gateway.get(path, &[("accept", accept)]).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let format =
        if accept == OPENMETRICS { "application/openmetrics-text; version=1.0.0" } else { "text/plain; version=0.0.4" };
    assert!(headers[header::CONTENT_TYPE].to_str().unwrap().starts_with(format));
    check(&body, if accept == OPENMETRICS { Format::OpenMetrics } else { Format::Text });
    body
}

/// Our own strict parser takes the page, and each family has one head.
fn check(body: &str, format: Format) {
    let (mut entries, mut labels, mut families) =
        (parser(format, body.as_bytes()), LabelsBuilder::default(), Vec::new());
    while let Some(entry) = entries.next().unwrap_or_else(|fault| panic!("{fault}\n{body}")) {
        match entry {
            Entry::Type { family, .. } => families.push(family.into_owned()),
            Entry::Sample(sample) => sample.labels(&mut labels).unwrap(),
            _ => {}
        }
    }
    let mut distinct = families.clone();
    distinct.dedup();
    assert_eq!(distinct, families, "each family once");
    assert!(families.is_sorted(), "by name: {families:?}");
}

/// The lines about one family, heads included.
fn about<'a>(body: &'a str, name: &str) -> Vec<&'a str> {
    let is_about = |line: &&str| {
        let rest = line.strip_prefix("# HELP ").or_else(|| line.strip_prefix("# TYPE ")).unwrap_or(line);
        rest.starts_with(name)
    };
    body.lines().filter(is_about).collect()
}

const A: &str = r#"job="j",cluster="a",environment="test",instance="""#;

#[tokio::test]
async fn families_have_their_metadata_and_no_timestamps() {
    let gateway = site(&[("a", &typed("m_total", MetricType::Counter, "m_total{x=\"1\"} 5\n"))]);
    let body = page(&gateway, "/metrics", TEXT).await;
    assert_eq!(
        about(&body, "m_total"),
        [
            "# HELP m_total Help of m_total.",
            "# TYPE m_total counter",
            r#"m_total{job="j",x="1",cluster="a",environment="test",instance=""} 5"#
        ]
    );
    assert_eq!(
        about(&body, "up"),
        ["# HELP up Whether the last scrape of the target succeeded.", "# TYPE up gauge", &format!("up{{{A}}} 1")]
    );
    let stamped = page(&gateway, "/metrics?timestamps=1", TEXT).await;
    assert!(about(&stamped, "up")[2].ends_with(&format!(" 1 {START}")));
    let seconds = page(&gateway, "/metrics?timestamps=1", OPENMETRICS).await;
    assert!(about(&seconds, "up")[2].contains(" 1.0 1800000000"), "{:?}", about(&seconds, "up"));
}

#[tokio::test]
async fn job_and_instance_are_shown_empty_where_they_lack() {
    let gateway = site(&[("a", &format!("m{{job=\"{LACKING}\"}} 1\n"))]);
    let body = page(&gateway, "/metrics", TEXT).await;
    assert_eq!(about(&body, "m")[2], r#"m{cluster="a",environment="test",instance="",job=""} 1"#);
    assert_eq!(about(&body, "m")[1], "# TYPE m untyped");
}

#[tokio::test]
async fn names_do_not_depend_on_the_format() {
    let counters =
        [typed("good_total", MetricType::Counter, "good_total 1\n"), typed("bare", MetricType::Counter, "bare 2\n")];
    let gateway = site(&[("a", &counters.concat())]);
    let text = page(&gateway, "/metrics", TEXT).await;
    assert!(text.contains("# TYPE bare counter\n") && text.contains("# TYPE good_total counter\n"), "{text}");
    let openmetrics = page(&gateway, "/metrics", OPENMETRICS).await;
    assert!(
        openmetrics.contains("# TYPE bare unknown\n") && openmetrics.contains("# TYPE good counter\n"),
        "{openmetrics}"
    );
    assert!(openmetrics.contains(&format!("\ngood_total{{{A}}} 1.0\n")) && openmetrics.ends_with("# EOF\n"));
}

#[tokio::test]
async fn clusters_that_disagree_make_a_family_unknown() {
    let gateway = site(&[
        ("a", &typed("m", MetricType::Gauge, "m 1\n")),
        ("b", &typed("m", MetricType::Counter, "m 2\n")),
        ("c", "m 3\n"),
    ]);
    let text = page(&gateway, "/metrics", TEXT).await;
    assert_eq!(about(&text, "m")[1], "# TYPE m untyped");
    assert_eq!(about(&text, "m").len(), 5);
    let openmetrics = page(&gateway, "/metrics", OPENMETRICS).await;
    assert_eq!(about(&openmetrics, "m")[1], "# TYPE m unknown");
}

#[tokio::test]
async fn parts_of_a_histogram_stand_together_by_label_set() {
    let samples = "h_bucket{a=\"1\",le=\"+Inf\"} 3\nh_bucket{a=\"1\",le=\"0.5\"} 1\nh_count{a=\"1\"} 3\nh_sum{a=\"1\"} 4\n\
                   h_bucket{a=\"0\",le=\"0.5\"} 0\nh_bucket{a=\"0\",le=\"10.0\"} 2\nh_bucket{a=\"0\",le=\"+Inf\"} 2\nh_sum{a=\"0\"} 9\nh_count{a=\"0\"} 2\n";
    let gateway = site(&[("a", &typed("h", MetricType::Histogram, samples)), ("b", "z 1\n")]);
    for accept in [TEXT, OPENMETRICS] {
        let body = page(&gateway, "/metrics", accept).await;
        let lines = about(&body, "h");
        assert_eq!(lines[1], "# TYPE h histogram");
        let places: Vec<String> = lines[2..]
            .iter()
            .map(|line| {
                let label =
                    |name: &str| line.split(&format!("{name}=\"")).nth(1).and_then(|rest| rest.split('"').next());
                format!("{} {} {}", &line[..line.find('{').unwrap()], label("a").unwrap(), label("le").unwrap_or("-"))
            })
            .collect();
        assert_eq!(
            places,
            [
                "h_bucket 0 0.5",
                "h_bucket 0 10.0",
                "h_bucket 0 +Inf",
                "h_count 0 -",
                "h_sum 0 -",
                "h_bucket 1 0.5",
                "h_bucket 1 +Inf",
                "h_count 1 -",
                "h_sum 1 -",
            ]
        );
    }
}

#[tokio::test]
async fn exemplars_are_shown_in_openmetrics() {
    let gateway = Gateway::with([policy("a")], ReaderOptions::default(), OWN);
    let mut collector = Collector::new(1, START);
    let own = "# TYPE m counter\nm_total 5.0 # {trace_id=\"abc\"} 0.5 1800000000.125\n# TYPE m_created gauge\nm_created 3\n# EOF\n";
    collector.finished(
        Labels::from_pairs([("job", "j")]),
        START,
        Format::OpenMetrics,
        own,
        fedgate::snapshot::Outcome::Up,
    );
    gateway.take("a", &mut collector);
    let body = page(&gateway, "/metrics", OPENMETRICS).await;
    assert!(body.contains(&format!("m_total{{{A}}} 5.0 # {{trace_id=\"abc\"}} 0.5 1800000000.125\n")), "{body}");
    let text = page(&gateway, "/metrics", TEXT).await;
    assert!(text.contains(&format!("m_total{{{A}}} 5\n")), "{text}");
}

#[tokio::test]
async fn our_own_metrics_stand_among_the_others() {
    let gateway =
        site(&[("a", &typed("fedgate_x_total", MetricType::Counter, "fedgate_x_total{kind=\"pushed\"} 1\n"))]);
    let text = page(&gateway, "/metrics", TEXT).await;
    assert_eq!(
        about(&text, "fedgate_x_total"),
        [
            "# HELP fedgate_x_total Things.",
            "# TYPE fedgate_x_total counter",
            r#"fedgate_x_total{job="j",kind="pushed",cluster="a",environment="test",instance=""} 1"#,
            r#"fedgate_x_total{kind="a",instance="",job=""} 3"#,
        ]
    );
    assert!(text.contains("# TYPE fedgate_cluster_up gauge\n"));
    assert!(page(&gateway, "/metrics", OPENMETRICS).await.contains("# TYPE fedgate_x counter\n"));
}

#[tokio::test]
async fn our_own_page_is_ours_alone_in_the_format_that_is_asked_for() {
    let gateway = site(&[("a", &typed("m_total", MetricType::Counter, "m_total 1\n"))]);
    let text = page(&gateway, "/metrics/self", TEXT).await;
    assert_eq!(
        about(&text, "fedgate_x_total"),
        ["# HELP fedgate_x_total Things.", "# TYPE fedgate_x_total counter", "fedgate_x_total{kind=\"a\"} 3"]
    );
    assert!(text.contains("\nfedgate_cluster_up{cluster=\"a\",environment=\"test\"} 1\n"), "{text}");
    assert!(text.lines().all(|line| line.starts_with("fedgate_") || line.starts_with("# ")), "{text}");
    let openmetrics = page(&gateway, "/metrics/self", OPENMETRICS).await;
    assert!(openmetrics.contains("# TYPE fedgate_x counter\n") && openmetrics.ends_with("# EOF\n"), "{openmetrics}");
}

#[tokio::test]
async fn one_cluster_alone() {
    let gateway = site(&[("a", "m 1\n"), ("b", "m 2\n")]);
    let body = page(&gateway, "/metrics/b", TEXT).await;
    assert_eq!(about(&body, "m").len(), 3, "{body}");
    assert!(body.contains("fedgate_cluster_up{") && !body.contains("cluster=\"a\"") && !body.contains("fedgate_x"));
    let (status, _, body) = gateway.get("/metrics/c", &[]).await;
    assert_eq!((status, body.as_str()), (StatusCode::NOT_FOUND, "cluster \"c\" is not in the inventory\n"));
}

#[tokio::test]
async fn the_page_can_be_narrowed() {
    let metrics_match = vec![parse_selector("m").unwrap(), parse_selector(r#"{kind="a"}"#).unwrap()];
    let options = ReaderOptions { metrics_match, ..ReaderOptions::default() };
    let gateway = Gateway::with([policy("a")], options, OWN);
    let mut collector = Collector::new(1, START);
    collector.scrape(&[("job", "j")], START, "m 1\nn{kind=\"a\"} 2\nother 3\n");
    gateway.take("a", &mut collector);
    let body = page(&gateway, "/metrics", TEXT).await;
    let names: Vec<&str> =
        body.lines().filter(|line| !line.starts_with('#')).map(|line| line.split('{').next().unwrap()).collect();
    assert_eq!(names, ["fedgate_x_total", "m", "n"]);
}
