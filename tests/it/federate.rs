//! `/federate` against the behaviour of Prometheus 3.5, point by point.

use std::io::Read;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use fedgate::http::readers::ReaderOptions;
use fedgate::model::Labels;
use fedgate::snapshot::Outcome;

use crate::store_pushes::{Collector, Gateway, LACKING, START, escaped, policy};

const NODE: [(&str, &str); 2] = [("instance", "n1:9100"), ("job", "node")];
const EVERYTHING: &str = r#"{__name__=~".+"}"#;
const STAMPED: &str = r#"cluster="alpha",environment="test""#;

fn gateway_with(page: &str) -> Gateway {
    let gateway = Gateway::new([policy("alpha")]);
    let mut collector = Collector::new(1, START);
    collector.scrape(&NODE, START - 1000, page);
    gateway.take("alpha", &mut collector);
    gateway
}

#[tokio::test]
async fn lines_are_prometheus_own() {
    let gateway = gateway_with("b_total{z=\"1\",a=\"x\\\"\\\\\\n\"} 12345.5\na 1e6\n");
    let page = gateway.page(&[r#"{__name__=~"a|b_total"}"#]).await;
    let stamp = START - 1000;
    assert_eq!(
        page,
        format!(
            "# TYPE a untyped\n\
             a{{instance=\"n1:9100\",job=\"node\",{STAMPED}}} 1e+06 {stamp}\n\
             # TYPE b_total untyped\n\
             b_total{{a=\"x\\\"\\\\\\n\",instance=\"n1:9100\",job=\"node\",z=\"1\",{STAMPED}}} 12345.5 {stamp}\n"
        )
    );
}

#[tokio::test]
async fn values_are_written_as_go_writes_them() {
    let page = "v{i=\"0\"} -1\nv{i=\"1\"} 0\nv{i=\"2\"} NaN\nv{i=\"3\"} +Inf\nv{i=\"4\"} -Inf\nv{i=\"5\"} 1e-7\nv{i=\"6\"} 1e21\n";
    let gateway = gateway_with(page);
    let lines = gateway.lines(&["v"]).await;
    let values: Vec<&str> = lines.iter().map(|line| line.rsplit(' ').nth(1).unwrap()).collect();
    assert_eq!(values, ["-1", "0", "NaN", "+Inf", "-Inf", "1e-07", "1e+21"]);
}

#[tokio::test]
async fn appended_labels_are_sorted_among_themselves_and_only_where_absent() {
    let external_labels = Labels::from_pairs([("aa", "gateway"), ("cluster", "never"), ("zone", "z1")]);
    let options = ReaderOptions { external_labels, ..ReaderOptions::default() };
    let gateway = Gateway::with([policy("alpha")], options, "# EOF\n");
    let mut collector = Collector::new(1, START);
    collector.scrape(&NODE, START, "m{zz=\"1\"} 1\nm{zone=\"own\"} 2\n");
    gateway.take("alpha", &mut collector);
    assert_eq!(
        gateway.lines(&["m"]).await,
        [
            format!(r#"m{{instance="n1:9100",job="node",zz="1",aa="gateway",{STAMPED},zone="z1"}} 1 {START}"#),
            format!(r#"m{{instance="n1:9100",job="node",zone="own",aa="gateway",{STAMPED}}} 2 {START}"#),
        ]
    );
}

#[tokio::test]
async fn a_series_without_instance_shows_an_empty_one_but_no_job() {
    let gateway = gateway_with(&format!("m{{instance=\"{LACKING}\",job=\"{LACKING}\"}} 1\n"));
    assert_eq!(gateway.lines(&["m"]).await, [format!(r#"m{{{STAMPED},instance=""}} 1 {}"#, START - 1000)]);
}

#[tokio::test]
async fn the_synthesised_series_have_the_targets_labels() {
    let gateway = gateway_with("m 1\n");
    let stamp = START - 1000;
    let labels = format!(r#"{{instance="n1:9100",job="node",{STAMPED}}}"#);
    assert_eq!(
        gateway.lines(&[r#"{job="node"}"#]).await,
        [
            format!("m{labels} 1 {stamp}"),
            format!("scrape_duration_seconds{labels} 0.25 {stamp}"),
            format!("scrape_samples_post_metric_relabeling{labels} 1 {stamp}"),
            format!("scrape_samples_scraped{labels} 1 {stamp}"),
            format!("scrape_series_added{labels} 0 {stamp}"),
            format!("up{labels} 1 {stamp}"),
        ]
    );
}

#[tokio::test]
async fn selectors_see_pushed_target_and_inventory_labels() {
    let gateway = gateway_with(&format!("m{{a=\"1\"}} 1\nm{{a=\"2\",job=\"own\"}} 2\nm{{job=\"{LACKING}\"}} 3\n"));
    for (selector, values) in [
        (r#"m{a="1"}"#, "1"),
        (r#"m{a=""}"#, "3"),
        (r#"m{a!=""}"#, "12"),
        (r#"m{job="node"}"#, "1"),
        (r#"m{job=~"own|"}"#, "23"),
        (r#"m{cluster="alpha"}"#, "123"),
        (r#"m{cluster!="alpha"}"#, ""),
        (r#"m{unknown=""}"#, "123"),
        (r#"m{unknown=~".+"}"#, ""),
        (r#"{a!~"1|2",__name__="m"}"#, "3"),
        (r#"{__name__="m",instance=~"n1.*",a=~"[12]"}"#, "12"),
    ] {
        let lines = gateway.lines(&[selector]).await;
        let found: String = lines.iter().map(|line| line.rsplit(' ').nth(1).unwrap()).collect();
        assert_eq!(found, values, "{selector}");
    }
}

#[tokio::test]
async fn several_selectors_are_a_union_with_each_series_once() {
    let gateway = gateway_with("m{a=\"1\"} 1\nm{a=\"2\"} 2\nn 3\n");
    let lines = gateway.lines(&[r#"m{a="1"}"#, "m", "n", r#"{a="2"}"#]).await;
    assert_eq!(lines.len(), 3, "{lines:?}");
    let two = gateway.lines(&[r#"m{a="2"}"#, r#"{a="1"}"#]).await;
    assert_eq!(two.len(), 2, "{two:?}");
}

#[tokio::test]
async fn no_selector_and_the_empty_one_select_nothing() {
    let gateway = gateway_with("m 1\n");
    for query in ["/federate", "/federate?", "/federate?match[]={}", "/federate?other=1"] {
        let (status, _, body) = gateway.get(query, &[]).await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, ""), "{query}");
    }
    assert!(!gateway.lines(&[r#"{__name__=~".*"}"#]).await.is_empty());
}

#[tokio::test]
async fn what_is_no_selector_is_a_400() {
    let gateway = gateway_with("m 1\n");
    for selector in ["foo-bar", "up offset 5m", "up[5m]", "sum(up)", "", "up @ 3", "{a=~\"(\"}"] {
        let (status, headers, body) = gateway.get(&format!("/federate?match[]={}", escaped(selector)), &[]).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{selector}");
        assert_eq!(headers[header::CONTENT_TYPE], "text/plain; charset=utf-8");
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert!(body.ends_with('\n') && body.contains("parse error"), "{body}");
    }
    let (status, _, body) = gateway.get("/federate?match[]=%zz", &[]).await;
    assert_eq!(
        (status, body.as_str()),
        (StatusCode::BAD_REQUEST, "error parsing form values: invalid URL escape \"%zz\"\n")
    );
}

#[tokio::test]
async fn methods_are_get_and_a_posted_form() {
    let gateway = gateway_with("m 1\n");
    for method in ["HEAD", "PUT", "DELETE"] {
        let request = Request::builder().method(method).uri("/federate").body(Body::empty()).unwrap();
        let (status, headers, _) = gateway.request(request).await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
        assert_eq!(headers[header::ALLOW], "GET, POST, OPTIONS");
    }
    let options = Request::builder().method("OPTIONS").uri("/federate").body(Body::empty()).unwrap();
    assert_eq!(gateway.request(options).await.0, StatusCode::OK);
    let form = Request::post("/federate").header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    let (status, _, body) = gateway.request(form.body(Body::from("match[]=m")).unwrap()).await;
    assert_eq!(status, StatusCode::OK);
    assert!(String::from_utf8(body).unwrap().contains("m{"));
}

#[tokio::test]
async fn samples_show_for_the_lookback_its_bound_included() {
    let gateway = Gateway::new([policy("alpha")]);
    let mut collector = Collector::new(1, START);
    collector.scrape(&[("job", "at")], START - 300_000, "m 1\n");
    collector.scrape(&[("job", "before")], START - 300_001, "m 1\n");
    collector.scrape(&[("job", "explicit")], START - 900_000, &format!("m 1 {}\nold 1\n", START - 1));
    gateway.take("alpha", &mut collector);
    let lines = gateway.lines(&["m", "old"]).await;
    let jobs: Vec<&str> = lines.iter().map(|line| line.split('"').nth(1).unwrap()).collect();
    assert_eq!(jobs, ["at", "explicit"], "{lines:?}");
    assert!(lines[1].ends_with(&format!(" {}", START - 1)), "its own timestamp: {lines:?}");
    assert_eq!(gateway.lines(&["up"]).await.len(), 1, "up is as old as its scrape");
    let (_, _, typed) = gateway.get("/federate?match[]=up&metadata=1", &[]).await;
    assert_eq!(typed.matches("\nup{").count(), 1, "{typed}");
}

#[tokio::test]
async fn what_ends_is_gone_at_the_next_page() {
    let gateway = Gateway::new([policy("alpha")]);
    let mut collector = Collector::new(1, START);
    collector.scrape(&NODE, START, "m{a=\"1\"} 1\nm{a=\"2\"} 1\n");
    gateway.take("alpha", &mut collector);
    gateway.pass(15);
    collector.scrape(&NODE, gateway.now(), "m{a=\"2\"} 2\n");
    gateway.take("alpha", &mut collector);
    let lines = gateway.lines(&["m"]).await;
    assert_eq!(lines.len(), 1, "a vanished series is stale: {lines:?}");
    assert!(lines[0].contains("a=\"2\""));
    gateway.pass(15);
    collector.without_page(&NODE, gateway.now(), Outcome::Failed);
    gateway.take("alpha", &mut collector);
    assert_eq!(gateway.lines(&["m"]).await, [""; 0]);
    let up = gateway.lines(&["up"]).await;
    assert!(up[0].contains(" 0 "), "{up:?}");
    gateway.pass(15);
    collector.without_page(&NODE, gateway.now(), Outcome::Gone);
    gateway.take("alpha", &mut collector);
    assert_eq!(gateway.lines(&[r#"{job="node"}"#]).await, [""; 0], "no up of a target that was removed");
}

#[tokio::test]
async fn opt_in_extras() {
    let gateway =
        gateway_with("# HELP m_total Of m.\n# TYPE m_total counter\nm_total{a=\"1\"} 1\nm_total{a=\"2\"} 2\n");
    let (_, _, typed) = gateway.get("/federate?match[]=m_total&metadata=1", &[]).await;
    assert!(typed.starts_with("# HELP m_total Of m.\n# TYPE m_total counter\nm_total{a=\"1\","), "{typed}");
    assert!(typed.contains(&format!(" 1 {}\n", START - 1000)), "{typed}");
    let (_, _, bare) = gateway.get("/federate?match[]=m_total&timestamps=0", &[]).await;
    assert!(bare.contains("} 1\n"), "{bare}");
    let (_, _, cut) = gateway.get("/federate?match[]=m_total&limit=1", &[]).await;
    assert_eq!(cut.lines().filter(|line| !line.starts_with('#')).count(), 1);
    assert!(cut.ends_with("# cut here: limit reached\n"), "{cut}");
    let (_, _, cut) = gateway.get("/federate?match[]=m_total&limit=1&metadata=1", &[]).await;
    assert_eq!(cut.lines().filter(|line| !line.starts_with('#')).count(), 1);
    let (status, _, _) = gateway.get("/federate?match[]=m_total&limit=many", &[]).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn the_limit_holds_for_the_gateways_own_series_too() {
    let gateway = Gateway::new([policy("alpha"), policy("beta"), policy("gamma")]);
    for query in ["match[]=fedgate_cluster_up&limit=2", "match[]=fedgate_cluster_up&limit=2&metadata=1"] {
        let (_, _, cut) = gateway.get(&format!("/federate?{query}"), &[]).await;
        assert_eq!(cut.lines().filter(|line| !line.starts_with('#')).count(), 2, "{cut}");
        assert!(cut.ends_with("# cut here: limit reached\n"), "{cut}");
    }
}

#[tokio::test]
async fn the_format_is_always_text_and_the_escaping_the_readers() {
    let gateway = gateway_with("{\"my.metric\",\"l.a\"=\"v\"} 1\n");
    let selector = escaped(r#"{"my.metric"}"#);
    let path = format!("/federate?match[]={selector}");
    let text = "text/plain; version=0.0.4; charset=utf-8";
    for (accept, content_type, line) in [
        ("*/*", "underscores", "my_metric{instance=\"n1:9100\",job=\"node\",l_a=\"v\","),
        ("application/openmetrics-text;version=1.0.0", "underscores", "my_metric{"),
        (
            "text/plain;version=0.0.4;escaping=allow-utf-8",
            "allow-utf-8",
            "{\"my.metric\",instance=\"n1:9100\",job=\"node\",\"l.a\"=\"v\",",
        ),
        ("text/plain;escaping=dots", "dots", "my_dot_metric{"),
        ("text/plain;escaping=values", "values", "U__my_2e_metric{"),
    ] {
        let (status, headers, body) = gateway.get(&path, &[("accept", accept)]).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(headers[header::CONTENT_TYPE], format!("{text}; escaping={content_type}").as_str(), "{accept}");
        assert!(body.contains(&format!("\n{line}")), "{accept}: {body}");
    }
}

#[tokio::test]
async fn labels_that_escaping_makes_one_stand_once() {
    let gateway = Gateway::new([policy("alpha")]);
    let mut collector = Collector::new(1, START);
    collector.scrape(&[("job", "j"), ("t.a", "target")], START, "m{\"l.a\"=\"1\",l_a=\"2\",t_a=\"own\"} 1\n");
    gateway.take("alpha", &mut collector);
    let lines = gateway.lines(&["m", "up"]).await;
    assert_eq!(
        lines,
        [
            r#"m{job="j",l_a="1",t_a="target",cluster="alpha",environment="test",instance=""} 1 1800000000000"#,
            r#"up{job="j",t_a="target",cluster="alpha",environment="test",instance=""} 1 1800000000000"#,
        ]
    );
}

#[tokio::test]
async fn pages_are_compressed_as_asked() {
    let samples: String = (0..20_000).map(|i| format!("m{{i=\"{i}\"}} {i}\n")).collect();
    let gateway = gateway_with(&samples);
    let (_, headers, plain) = gateway.get("/federate?match[]=m", &[]).await;
    assert!(!headers.contains_key(header::CONTENT_ENCODING));
    assert_eq!(plain.lines().count(), 20_001);
    for (accepted, encoding) in
        [("gzip", "gzip"), ("zstd, gzip", "zstd"), ("gzip;q=1.0, zstd;q=0.5", "gzip"), ("deflate, gzip;q=0.1", "gzip")]
    {
        let request = Request::get("/federate?match[]=m").header(header::ACCEPT_ENCODING, accepted);
        let (_, headers, body) = gateway.request(request.body(Body::empty()).unwrap()).await;
        assert_eq!(headers[header::CONTENT_ENCODING], encoding, "{accepted}");
        assert!(body.len() < plain.len() / 10, "{} of {}", body.len(), plain.len());
        let mut unpacked = String::new();
        match encoding {
            "gzip" => flate2::read::MultiGzDecoder::new(&body[..]).read_to_string(&mut unpacked).unwrap(),
            _ => zstd::stream::read::Decoder::new(&body[..]).unwrap().read_to_string(&mut unpacked).unwrap(),
        };
        assert!(unpacked == plain, "{accepted}: the same page");
    }
    let (_, headers, _) = gateway.get("/federate?match[]=m", &[("accept-encoding", "gzip;q=0, br")]).await;
    assert!(!headers.contains_key(header::CONTENT_ENCODING));
}

#[tokio::test]
async fn families_come_by_name_whatever_the_order_of_targets() {
    let gateway = Gateway::new([policy("beta"), policy("alpha")]);
    for (run, cluster) in [(1, "beta"), (2, "alpha")] {
        let mut collector = Collector::new(run, START);
        collector.scrape(&[("job", "z")], START, "b 1\na 1\n");
        collector.scrape(&[("job", "y")], START, "a 1\n");
        gateway.take(cluster, &mut collector);
    }
    let lines = gateway.lines(&["a", "b"]).await;
    let places: Vec<(&str, &str, &str)> = lines
        .iter()
        .map(|line| (&line[..1], line.split('"').nth(1).unwrap(), line.split('"').nth(3).unwrap()))
        .collect();
    assert_eq!(
        places,
        [
            ("a", "y", "alpha"),
            ("a", "z", "alpha"),
            ("a", "y", "beta"),
            ("a", "z", "beta"),
            ("b", "z", "alpha"),
            ("b", "z", "beta")
        ]
    );
}

#[tokio::test]
async fn a_slow_reader_keeps_its_own_moment_and_stops_nobody() {
    let samples: String = (0..20_000).map(|i| format!("m{{i=\"{i}\"}} 1\n")).collect();
    let gateway = Gateway::new([policy("alpha")]);
    let mut collector = Collector::new(1, START);
    collector.scrape(&NODE, START, &samples);
    gateway.take("alpha", &mut collector);
    let view = gateway.store.view(gateway.moment().0, gateway.moment().1, None);
    collector.scrape(&NODE, START, &samples.replace("} 1", "} 2"));
    gateway.take("alpha", &mut collector);
    assert!(view.targets[0].target.column.iter().all(|value| value == 1.0), "an old view does not change");
    let lines = gateway.lines(&["m"]).await;
    assert!(lines.iter().all(|line| line.contains("} 2 ")), "and the new one is whole");
}

#[tokio::test]
async fn always_there_facts_are_selectable() {
    let gateway = Gateway::new([policy("alpha"), policy("beta")]);
    let mut collector = Collector::new(1, START);
    collector.scrape(&NODE, START, "m 1\n");
    gateway.take("alpha", &mut collector);
    assert_eq!(
        gateway.lines(&["fedgate_cluster_up"]).await,
        [
            format!(r#"fedgate_cluster_up{{{STAMPED},instance=""}} 1 {START}"#),
            format!(r#"fedgate_cluster_up{{cluster="beta",environment="test",instance=""}} 0 {START}"#),
        ]
    );
    assert_eq!(
        gateway.lines(&[r#"fedgate_collector_up{collector="alpha.example"}"#]).await,
        [format!(r#"fedgate_collector_up{{collector="alpha.example",{STAMPED},instance=""}} 1 {START}"#)]
    );
    gateway.pass(Duration::from_secs(31).as_secs());
    assert_eq!(gateway.lines(&[r#"fedgate_cluster_up{cluster="alpha"}"#]).await[0].matches("} 0 ").count(), 1);
    assert!(!gateway.lines(&[EVERYTHING]).await.is_empty());
}
