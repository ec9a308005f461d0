//! `/federate` beside the real Prometheus 3.5: over the same series the same status, Content-Type and body.
//!
//! A gateway has one cluster, whose collector scrapes some frozen pages; a Prometheus scrapes the same pages and has the
//! cluster's labels as external ones. The pages give their samples timestamps, so that both hold the same samples to the
//! millisecond; what the two make themselves (`up`, `scrape_…`) is compared without its time, and how long a scrape took not at
//! all. The order of lines in a family is its own in each program and is not compared; the order of families is.
//!
//! What is not compared, because fedgate differs on purpose, stands in `http/federate.rs`.

use std::io::Read;
use std::time::{SystemTime, UNIX_EPOCH};

use super::site::http::{self, Answer, Reply, percent_encoded};
use super::site::prometheus::{Prometheus, global, has_peer};
use super::site::{Process, Site, wait_for};
use crate::protobuf_messages;
use crate::protobuf_page::*;

/// Labels, names and numbers that are easily written wrong; every sample gets a timestamp.
const ODD: &str = "\
# HELP odd_total Help that nobody federates.
# TYPE odd_total counter
odd_total{i=\"0\"} 0
odd_total{i=\"1\"} 1e6
odd_total{i=\"2\"} 123456789
odd_total{i=\"3\"} 1e21
odd_total{i=\"4\"} 0.1
odd_total{i=\"5\"} 1e-7
odd_total{i=\"6\"} -1
odd_total{i=\"7\"} NaN
odd_total{i=\"8\"} +Inf
odd_total{i=\"9\"} -Inf
odd_total{i=\"10\"} 1.7976931348623157e308
odd_total{i=\"11\"} 5e-324
odd_total{i=\"12\"} 999999
odd_total{i=\"13\"} 1000000.5
odd_labels{path=\"/a\\\\b\\\"c\\nd\",z=\"\",unicode=\"ж😀\"} 1
odd_labels{region=\"own\",aa=\"\"} 2
odd_labels{region=\"own\",zone=\"z\"} 3
odd_labels{aa=\"before\",instance=\"own:1\",job=\"own\"} 4
odd_labels{_underscore=\"1\",A=\"2\",a=\"3\"} 5
odd_bare 6
odd:rule:sum{le=\"1\"} 7
{\"odd.dotted\",\"label.dotted\"=\"1\",label_under=\"2\"} 8
{\"odd.dotted\",\"label with blank\"=\"ж\"} 9
{\"odd_und.er\"} 10
{\"0digit\"} 11
{\"odd 😱\"} 12
# TYPE odd_histogram histogram
odd_histogram_bucket{le=\"0.5\"} 1
odd_histogram_bucket{le=\"1\"} 2
odd_histogram_bucket{le=\"+Inf\"} 3
odd_histogram_sum 4.5
odd_histogram_count 3
# TYPE odd_summary summary
odd_summary{quantile=\"0.5\"} 1
odd_summary{quantile=\"1\"} 2
odd_summary_sum 3
odd_summary_count 4
";

const PROTOBUF_PAGE: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
const TEXT1: &str = "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8";

/// Gives every sample of a text page the timestamp `at_ms`.
fn stamped(page: &str, at_ms: u128) -> Vec<u8> {
    let line = |line: &str| {
        if line.is_empty() || line.starts_with('#') { format!("{line}\n") } else { format!("{line} {at_ms}\n") }
    };
    page.lines().map(line).collect::<String>().into_bytes()
}

/// The pages' server.
fn serve_pages() -> u16 {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    let node = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/expositions/node_exporter-1.11.1.prom"
    ));
    let node = stamped(&node.expect("a fixture"), now_ms - 1_234);
    let odd = stamped(ODD, now_ms - 777);
    let custom = odd.clone();
    let native = native_page(now_ms as u64 - 555);
    http::serve(move |path| {
        let body = match path {
            "/odd" | "/honored" => odd.clone(),
            "/node" => node.clone(),
            "/custom" => custom.clone(),
            "/native" => return Answer { status: 200, content_type: PROTOBUF_PAGE, body: native.clone() },
            _ => return Answer { status: 404, content_type: "text/plain", body: Vec::new() },
        };
        Answer { status: 200, content_type: TEXT1, body }
    })
}

/// Native histograms of every kind, each with a timestamp.
fn native_page(at_ms: u64) -> Vec<u8> {
    let at = |histogram_of: &Message| histogram(histogram_of).number(6, at_ms);
    let sides = Message::new().number(1, 9).float(2, -1.5).signed(5, -2).float(6, 0.25).number(7, 2);
    let sides =
        sides.spans(9, &[(-3, 1), (2, 1)]).signed_list(10, &[1, 1]).spans(12, &[(0, 2)]).signed_list(13, &[3, -2]);
    let floats = Message::new().float(4, 4.5).float(2, 0.125).signed(5, 8).float(6, 1e-9).float(8, 0.5);
    let floats = floats.spans(12, &[(-1000, 1), (5, 1)]).float_list(14, &[1.5, 2.5]);
    let level = Message::new().label("a", "float").message(2, &Message::new().float(1, 3.0)).number(6, at_ms);
    page(&[
        family(
            "native_seconds",
            HISTOGRAM,
            &[at(&native()), at(&sides).label("a", "sides"), at(&floats).label("a", "floats")],
        ),
        family("native_level", GAUGE_HISTOGRAM, &[at(&sides), at(&native()).label("a", "ints")]),
        family("native_mixed", HISTOGRAM, &[at(&native())]),
        family("native_mixed", GAUGE_HISTOGRAM, &[at(&native()).label("a", "gauge")]),
        family("native_mixed", GAUGE, &[level]),
    ])
}

/// The jobs' names and keys, then keys that only fedgate has: to Prometheus they are a flag.
const JOBS: [(&str, &str, &str); 6] = [
    ("odd", "", ""),
    ("honored", "    honor_labels: true\n", ""),
    ("node", "", ""),
    ("gone", "", ""),
    ("native", "    scrape_protocols: [PrometheusProto]\n", "    scrape_native_histograms: true\n"),
    ("custom", "    convert_classic_histograms_to_nhcb: true\n", "    scrape_native_histograms: true\n"),
];

fn scrape_configs(port: u16, is_fedgate: bool) -> String {
    let job = |(name, keys, own): &(&str, &str, &str)| {
        let own = if is_fedgate { own } else { "" };
        format!(
            "  - job_name: {name}\n    metrics_path: /{name}\n    static_configs:\n      - targets: [\"127.0.0.1:{port}\"]\n{keys}{own}"
        )
    };
    JOBS.iter().map(job).collect()
}

struct Pair {
    site: Site,
    prometheus: Prometheus,
    _processes: [Process; 2],
}

impl Pair {
    fn start() -> Pair {
        let port = serve_pages();
        let site = Site::new();
        site.issue("alpha");
        let gateway = site.start_gateway(&site.gateway_config(
            &["alpha"],
            "      external_labels:\n        region: north\n      on_label_conflict: keep\n",
        ));
        let collector = site.start_collector(&site.collector_config("alpha", &scrape_configs(port, true)));
        let global = global(1) + "  external_labels:\n    cluster: alpha\n    environment: test\n    region: north\n";
        let prometheus = Prometheus::start_global(
            &site,
            "beside",
            &global,
            &scrape_configs(port, false),
            &["--enable-feature=native-histograms"],
        );
        let pair = Pair { site, prometheus, _processes: [gateway, collector] };
        for port in pair.ports() {
            wait_for("every target to be scraped twice", || {
                let added = http::request(port, "GET", "/federate?match[]=scrape_series_added", &[], "").body;
                let added = String::from_utf8_lossy(&added).into_owned();
                let settled = added.lines().filter(|line| is_compared(line) && line.contains("} 0 ")).count();
                (settled == JOBS.len()).then_some(())
            });
        }
        pair
    }

    /// fedgate's and Prometheus's.
    fn ports(&self) -> [u16; 2] {
        [self.site.http_port, self.prometheus.port]
    }

    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> [Reply; 2] {
        self.ports().map(|port| http::request(port, method, path, headers, ""))
    }
}

/// Series that only one of the two can have: fedgate's own, and its collectors'.
fn is_compared(line: &str) -> bool {
    !line.starts_with("fedgate_") && !line.contains("job=\"fedgate-collector\"")
}

/// What each program makes itself has its own time, and how long a scrape took its own value.
fn masked(line: &str) -> String {
    if !line.starts_with("up{") && !line.starts_with("scrape_") {
        return line.to_owned();
    }
    let cut = if line.starts_with("scrape_duration_seconds") { 2 } else { 1 };
    line.rsplitn(cut + 1, ' ').last().expect("a line").to_owned()
}

/// Families in the page's order, their lines sorted; those without a line that is compared left out.
fn text_families(body: &[u8]) -> Vec<(String, Vec<String>)> {
    let mut families: Vec<(String, Vec<String>)> = Vec::new();
    for line in String::from_utf8(body.to_vec()).expect("text").lines() {
        if line.starts_with('#') {
            families.push((line.to_owned(), Vec::new()));
        } else if is_compared(line) {
            families.last_mut().expect("a family's head first").1.push(masked(line));
        }
    }
    families.retain(|(_, lines)| !lines.is_empty());
    families.iter_mut().for_each(|(_, lines)| lines.sort());
    families
}

/// Messages by name and type, the bytes of those metrics that `is_shown` sorted.
fn protobuf_families(body: &[u8], is_shown: fn(&protobuf_messages::Message<'_>) -> bool) -> Vec<(String, Vec<String>)> {
    let mut families = Vec::new();
    for family in protobuf_messages::delimited(body) {
        let name = family.text(1).to_owned();
        let is_own = name == "up" || name.starts_with("scrape_");
        let shown = |metric: protobuf_messages::Message| {
            let label = |pair: &protobuf_messages::Message| (pair.text(1).to_owned(), pair.text(2).to_owned());
            let is_collectors =
                metric.messages(1).any(|pair| label(&pair) == ("job".to_owned(), "fedgate-collector".to_owned()));
            let masks: &[u64] = if name == "scrape_duration_seconds" {
                &[5, 6]
            } else if is_own {
                &[6]
            } else {
                &[]
            };
            (!is_collectors && is_shown(&metric)).then(|| metric.without(masks).escape_ascii().to_string())
        };
        let mut metrics: Vec<String> = family.messages(4).filter_map(shown).collect();
        metrics.sort();
        if !name.starts_with("fedgate_") && !metrics.is_empty() {
            families.push((format!("{name} {}", family.without(&[4]).escape_ascii()), metrics));
        }
    }
    families.sort_by(|(a, _), (b, _)| a.cmp(b));
    families
}

/// Whether a metric is a native histogram with custom buckets, told by its schema of -53: what fedgate leaves out.
fn is_custom(metric: &protobuf_messages::Message<'_>) -> bool {
    metric.messages(7).any(|histogram| histogram.field(5) == [5 << 3, 105])
}

/// The first difference between two answers, for a person.
fn difference(what: &str, [ours, theirs]: &[Reply; 2]) -> Option<String> {
    if ours.status != theirs.status {
        let said =
            [ours, theirs].map(|reply| String::from_utf8_lossy(&reply.body).chars().take(80).collect::<String>());
        return Some(format!("{what}: status {} but {} ({said:?})", ours.status, theirs.status));
    }
    let types = [ours, theirs].map(|reply| reply.header("content-type").to_owned());
    if types[0] != types[1] {
        return Some(format!("{what}: {:?} but {:?}", types[0], types[1]));
    }
    if ours.status != 200 {
        return None;
    }
    let families = |reply: &Reply, is_shown: fn(&protobuf_messages::Message<'_>) -> bool| {
        if types[0].contains("protobuf") {
            protobuf_families(&unpacked(reply), is_shown)
        } else {
            text_families(&unpacked(reply))
        }
    };
    let [ours, theirs] = &[families(ours, |_| true), families(theirs, |metric| !is_custom(metric))];
    if ours == theirs {
        return None;
    }
    let at = (0..).find(|at| ours.get(*at) != theirs.get(*at))?;
    let (Some((own, lines)), Some((other, others))) = (ours.get(at), theirs.get(at)) else {
        return Some(format!("{what}: {} families but {}", ours.len(), theirs.len()));
    };
    let at = (0..).find(|at| own != other || lines.get(*at) != others.get(*at))?;
    Some(format!("{what}:\n  ours   {own} {:?}\n  theirs {other} {:?}", lines.get(at), others.get(at)))
}

fn unpacked(reply: &Reply) -> Vec<u8> {
    let mut plain = Vec::new();
    match reply.header("content-encoding") {
        "" => plain.extend_from_slice(&reply.body),
        "gzip" => drop(flate2::read::MultiGzDecoder::new(&reply.body[..]).read_to_end(&mut plain).expect("gzip")),
        "deflate" => drop(flate2::read::ZlibDecoder::new(&reply.body[..]).read_to_end(&mut plain).expect("zlib")),
        "zstd" => plain = zstd::stream::decode_all(&reply.body[..]).expect("zstd"),
        other => panic!("content encoding {other:?}"),
    }
    plain
}

/// Selectors, good and bad.
const SELECTORS: &[&str] = &[
    "up",
    "odd_total",
    "odd_total{}",
    "odd_total{i=\"7\"}",
    "odd_total{i=~\"1.*\"}",
    "odd_total{i!~\"1.*\"}",
    "odd_total{i!=\"0\",job=\"odd\"}",
    "odd_total{i=~\"1|2|3\"}",
    "odd_total{i=~\"\"}",
    "odd_total{i=~\".*\"}",
    "odd_total{i=~\"[[:digit:]]\"}",
    "odd_total{i=~\"(?i)1\"}",
    "odd_total{i=~\"^1$\"}",
    "odd_total{i=~\"1.?\", i!=\"1\"}",
    "odd_total{unknown=\"\"}",
    "odd_total{unknown!=\"\"}",
    "odd_total{unknown=~\".+\"}",
    "odd_total{unknown!~\".+\"}",
    "odd_labels",
    "odd_labels{path=\"/a\\\\b\\\"c\\nd\"}",
    "odd_labels{path=`/a\\b\"c\nd`}",
    "odd_labels{unicode=\"ж😀\"}",
    "odd_labels{unicode='ж😀'}",
    "odd_labels{unicode=\"\\u0436\\U0001F600\"}",
    "odd_labels{z=\"\"}",
    "odd_labels{job=\"own\"}",
    "odd_labels{job=~\"own|honored\"}",
    "odd_labels{exported_job=\"own\"}",
    "odd_labels{A=\"2\"}",
    "odd_labels{instance!=\"\"}",
    "{job=\"odd\"}",
    "{job=~\"odd|node\"}",
    "{job=~\".+\"}",
    "{job!=\"node\"}",
    "{__name__=\"up\"}",
    "{__name__=~\"odd_.+\"}",
    "{__name__=~\"odd_.+\",__name__!=\"odd_total\"}",
    "{__name__!~\"odd_.+|node_.+\"}",
    "{__name__=~\".+\"}",
    "{__name__=~\".*\"}",
    "{__name__!=\"up\",job=\"odd\"}",
    "{\"odd.dotted\"}",
    "{\"odd.dotted\",\"label.dotted\"=\"1\"}",
    "{\"odd.dotted\",\"label with blank\"=~\"ж\"}",
    "{\"label.dotted\"!=\"\"}",
    "{\"odd_und.er\"}",
    "{\"0digit\"}",
    "{\"odd 😱\"}",
    "{'odd 😱'}",
    "{\"up\"}",
    "{\"up\",job=\"odd\",}",
    "{__name__=\"odd.dotted\"}",
    "odd:rule:sum",
    "odd_histogram_bucket",
    "odd_histogram_bucket{le=\"1.0\"}",
    "odd_histogram_bucket{le=\"1\"}",
    "odd_summary{quantile=\"0.5\"}",
    "odd_bare",
    "native_seconds",
    "native_seconds{a=\"floats\"}",
    "{__name__=~\"native_.*\"}",
    "native_mixed",
    "odd_histogram",
    "{__name__=~\"odd_hist.*\",job=\"custom\"}",
    "no_such_metric",
    "{}",
    "{,}",
    "{foo=\"\"}",
    "{foo=~\".*\"}",
    "{foo!~\".+\"}",
    "{job=\"\"}",
    "{job=\"\",__name__=\"odd_labels\"}",
    "{job=\"odd\",job=\"node\"}",
    "{job=\"odd\",instance=~\"127.*\",__name__=~\"up|scrape_.*\"}",
    " up ",
    "up # a comment",
    "up\n",
    "up{job = \"odd\" , }",
    "node_cpu_seconds_total{mode=\"idle\"}",
    "node_cpu_seconds_total{mode!~\"idle|user\",cpu=\"0\"}",
    "node_filesystem_size_bytes",
    "{__name__=~\"node_(cpu|memory).*\"}",
    "on",
    "sum",
    "offset",
    "bool",
    "inf",
    "nan",
    "NaN",
    "start",
    "avg{job=\"x\"}",
    "by",
    "limitk",
    // Bad ones.
    "",
    " ",
    "foo-bar",
    "up{",
    "up}",
    "up{job}",
    "up{job=}",
    "up{job=odd}",
    "up{job=\"odd}",
    "up{job=\"odd\"",
    "up{job==\"odd\"}",
    "up{job=~\"(\"}",
    "up{job=~\"*\"}",
    "up{job=~\"a{2,1}\"}",
    "up{job=~\"\\\\p{Greek}\"}",
    "up{job=~\"(?=a)\"}",
    "up{=\"a\"}",
    "up{,job=\"odd\"}",
    "up{job=\"odd\",,}",
    "up{job=\"odd\" instance=\"x\"}",
    "{up}",
    "{\"up\",\"down\"}",
    "up{\"down\"}",
    "up{__name__=\"up\"}",
    "up{__name__=\"down\"}",
    "up offset 5m",
    "up offset -5m",
    "up @ 0",
    "up @ start()",
    "up[5m]",
    "up[5m:1m]",
    "sum(up)",
    "rate(up[5m])",
    "(up)",
    "-up",
    "+up",
    "up + up",
    "1",
    "1.5",
    "\"text\"",
    "up up",
    "up;",
    "0up",
    "up.down",
    "ж",
    "up{job=\"\\xff\"}",
    "up{job=\"\\q\"}",
    "up{job=\"odd\" or job=\"node\"}",
    "a:b:c{x=\"1\"}",
    ":",
    "{job=\"odd\"}{job=\"odd\"}",
    "up{job='odd'}",
    "up{1=\"x\"}",
    "up{a.b=\"x\"}",
    "$up",
    "up{job=~\"odd\\n\"}",
];

/// Whole queries that no single selector says.
const QUERIES: &[&str] = &[
    "",
    "match[]",
    "match[]=",
    "match=up",
    "match[]=up&match[]=up",
    "match[]=up&match[]=odd_total&match[]=%7Bjob%3D%22odd%22%7D",
    "match[]=up&match[]=sum(up)",
    "match[]=%7B%7D&match[]=up",
    "match[]=no_such_metric&match[]=up",
    "match%5B%5D=up",
    "match%5b%5d=up",
    "match[]=up&other=1",
    "match[]=up&",
    "&match[]=up",
    "&&match[]=up&&",
    "match[]=%7Bjob%3D%22a+b%22%7D",
    "match[]=up%20",
    "match[]=+up",
    "match[]=%zz",
    "match[]=%",
    "match[]=%ff",
    "match[]=up;a=b",
    "match[]=up&a=%zz",
    "match[]=up=down",
    "match[]=up%00",
    "MATCH[]=up",
    "match[0]=up",
];

const PROTOBUF: &str = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";

/// What readers say that they accept.
fn accepts() -> Vec<String> {
    let mut accepts: Vec<String> = [
        "*/*",
        "text/plain",
        "text/plain;version=0.0.4",
        "text/plain;version=1.0.0",
        "text/plain;version=0.0.4;escaping=allow-utf-8",
        "text/plain;version=0.0.4;escaping=underscores",
        "text/plain;version=0.0.4;escaping=dots",
        "text/plain;version=0.0.4;escaping=values",
        "text/plain;version=0.0.4;escaping=nonsense",
        "application/openmetrics-text;version=1.0.0",
        "application/openmetrics-text;version=1.0.0;escaping=values",
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,\
         text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        ";;,=;q=x",
        "text",
        "application/json",
        "application/vnd.google.protobuf",
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily",
        "application/vnd.google.protobuf;proto=other;encoding=delimited",
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=other",
    ]
    .map(str::to_owned)
    .into();
    let with = |rest: &str| format!("{PROTOBUF}{rest}");
    accepts.extend(
        ["", ";escaping=dots", ";escaping=allow-utf-8", ";q=0.2,text/plain;q=0.3", ";q=0.7,text/plain;q=0.3"].map(with),
    );
    let rest = ",text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    accepts
        .push(format!("{PROTOBUF};escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5{rest}"));
    accepts
}

#[test]
fn federate_answers_as_prometheus_does() {
    if !has_peer("prometheus", "3.5.") {
        return;
    }
    let pair = Pair::start();
    let mut found = Vec::new();
    let queries: Vec<String> = SELECTORS
        .iter()
        .map(|selector| format!("match[]={}", percent_encoded(selector)))
        .chain(QUERIES.iter().map(|query| (*query).to_owned()))
        .collect();
    for (at, query) in queries.iter().enumerate() {
        let path = format!("/federate?{query}");
        let shown = SELECTORS.get(at).unwrap_or(&query.as_str()).to_owned();
        for accept in [TEXT1, PROTOBUF] {
            found
                .extend(difference(&format!("{shown:?} {accept:.15}"), &pair.ask("GET", &path, &[("Accept", accept)])));
        }
    }
    let everything = format!("/federate?match[]={}", percent_encoded("{__name__=~\".+\"}"));
    found.extend(difference("no Accept", &pair.ask("GET", &everything, &[])));
    for accept in accepts() {
        for encoding in [
            "",
            "gzip",
            "deflate, gzip",
            "gzip, deflate, br, zstd",
            "br",
            "*",
            "identity",
            "gzip;q=0",
            "zstd",
            "deflate",
            "gzip;q=1.0",
        ] {
            let headers: &[(&str, &str)] = &[("Accept", &accept), ("Accept-Encoding", encoding)];
            found.extend(difference(&format!("{accept} {encoding:?}"), &pair.ask("GET", &everything, headers)));
        }
    }
    for method in ["HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let replies = pair.ask(method, "/federate?match[]=up", &[]);
        if replies[0].status != replies[1].status {
            found.push(format!("{method}: {} but {}", replies[0].status, replies[1].status));
        }
    }
    assert!(found.is_empty(), "{} differences:\n{}", found.len(), found.join("\n"));
}
