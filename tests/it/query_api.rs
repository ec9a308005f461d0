//! The query API of a real gateway beside that of the real Prometheus 3.5: the same statuses, headers and bodies.
//!
//! Both scrape the same page, whose samples have timestamps of their own; the Prometheus gives its target the labels that the
//! gateway's inventory stamps. The order of an instant vector, and of warnings, is each program's own, so bodies with several rows are
//! compared row by row, all others byte by byte.

use std::io::Read as _;
use std::time::{SystemTime, UNIX_EPOCH};

use fedgate::model::Timestamp;
use fedgate::promql::Steps;

use super::promql::answer::Answer;
use super::site::http::{self, Reply, percent_encoded};
use super::site::prometheus::{Prometheus, has_peer};
use super::site::{FEDGATE, Process, Site, wait_for};

const PAGE: &str = "\
# TYPE jobs gauge
jobs{state=\"running\",partition=\"gpu\"} 12
jobs{state=\"pending\",partition=\"gpu\"} 3
jobs{state=\"running\",partition=\"cpu <&> \\\"fast\\\"\"} 40.5
# TYPE seconds_total counter
seconds_total 123456789.125
# TYPE extreme gauge
extreme{i=\"0\"} 1e300
extreme{i=\"1\"} NaN
extreme{i=\"2\"} -Inf
extreme{i=\"3\"} 1e-9
extreme{i=\"4\"} -0
# TYPE wait_seconds histogram
wait_seconds_bucket{le=\"0.5\"} 1
wait_seconds_bucket{le=\"1\"} 2
wait_seconds_bucket{le=\"+Inf\"} 3
wait_seconds_sum 4.5
wait_seconds_count 3
";

const RULES: &str = "\
groups:
  - name: <api>
    interval: 1s
    limit: 10
    rules:
      - record: jobs:sum
        expr: sum by (state) (jobs) > 1
        labels: {a: <b>}
      - alert: Many
        expr: jobs > 20
        for: 1h
        keep_firing_for: 5m
        labels: {severity: page}
        annotations: {text: '{{ $value }} <jobs>'}
      - alert: Ambiguous
        expr: jobs * on (partition) jobs
  - name: other
    interval: 2s
    rules:
      - record: one
        expr: vector(1)
";

/// What is asked of the rules; no order of groups but by file and name, no token.
const OF_RULES: [&str; 12] = [
    "rules",
    "rules?type=alert",
    "rules?type=record",
    "rules?type=other",
    "rules?rule_name[]=Many&rule_name[]=one",
    "rules?rule_group[]=other",
    "rules?file[]=none",
    "rules?exclude_alerts=true",
    "rules?exclude_alerts=perhaps",
    "rules?group_limit=0",
    "rules?group_next_token=x",
    "alerts",
];

/// Parameters of the two paths; `T` is the time of the samples.
const QUESTIONS: [(&str, &str); 43] = [
    ("query", "query=jobs&time=T"),
    ("query", "query=seconds_total&time=T"),
    ("query", "query=sum by (state) (jobs)&time=T"),
    ("query", "query=jobs{partition=~\"cpu.*\"}&time=T"),
    ("query", "query=extreme&time=T"),
    ("query", "query=sum(jobs) / 0&time=T"),
    ("query", "query=histogram_quantile(0.7, wait_seconds_bucket)&time=T"),
    ("query", "query=histogram_quantile(1.7, wait_seconds_bucket)&time=T"),
    ("query", "query=histogram_quantile(1.7, wait_seconds_bucket) + quantile(2, jobs)&time=T"),
    ("query", "query=label_replace(vector(1), \"a\", \"<&>\", \"\", \"\")&time=T"),
    ("query", "query=nothing&time=T"),
    ("query", "query=1e21&time=T"),
    ("query", "query=-Inf&time=T"),
    ("query", "query=\"a <b> & \\\"c\\\"\"&time=T"),
    ("query", "query=time()&time=1.5"),
    ("query", "query=time()&time=2015-07-01T20:10:51.781Z"),
    ("query", "query=topk(1, jobs)&time=T&limit=1"),
    ("query", "query=jobs&time=T&limit=x"),
    ("query", "query=jobs&time=T&limit=-2"),
    ("query", "query=jobs&time=yesterday"),
    ("query", "query=jobs&time=T&timeout=soon"),
    ("query", "query=jobs&time=T&lookback_delta=x"),
    ("query", "query=seconds_total&time=U&lookback_delta=1s"),
    ("query", "query=seconds_total&time=U&lookback_delta=1h"),
    ("query", "time=T"),
    ("query", "query=sum(jobs&time=T"),
    ("query", "query=jobs < \"x\"&time=T"),
    ("query", "query=jobs / on (partition) jobs&time=T"),
    ("query", "query=absent(nothing{a=\"<b>\"})&time=T"),
    ("query_range", "query=sum(jobs)&start=T&end=U&step=15"),
    ("query_range", "query=1.5&start=1&end=2.5&step=500ms"),
    ("query_range", "query=seconds_total&start=T&end=U&step=1m&limit=1"),
    ("query_range", "query=jobs[5m]&start=T&end=U&step=1m"),
    ("query_range", "query=jobs&start=T&step=1m"),
    ("query_range", "query=jobs&start=U&end=T&step=1m"),
    ("query_range", "query=jobs&start=T&end=U&step=0"),
    ("query_range", "query=jobs&start=T&end=U&step=1e20"),
    ("query_range", "query=jobs&start=0&end=T&step=1m"),
    ("query_range", "query=jobs&start=T&end=U"),
    ("format_query", "query=jobs{a=\"<b>&\"}<2"),
    (
        "format_query",
        "query=sum(jobs) by (state) / on (state) group_left () (sum without (partition) (seconds_total{partition=\"x\"}) < 1)",
    ),
    ("format_query", "query=sum("),
    ("format_query", "time=T"),
];

struct Pair {
    site: Site,
    prometheus: Prometheus,
    /// Of the samples, in milliseconds.
    time: u128,
    _processes: [Process; 2],
}

impl Pair {
    fn start() -> Pair {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
        let time = now / 1000 * 1000 - 10_000;
        let line = |line: &str| if line.starts_with('#') { format!("{line}\n") } else { format!("{line} {time}\n") };
        let page: Vec<u8> = PAGE.lines().map(line).collect::<String>().into_bytes();
        let port = http::serve(move |_| http::Answer { status: 200, content_type: "text/plain", body: page.clone() });
        let job = format!("  - job_name: page\n    static_configs:\n      - targets: [\"127.0.0.1:{port}\"]\n");
        let site = Site::new();
        site.issue("alpha");
        let rules = format!("rule_files: [\"{}\"]\n", site.write("rules.yml", RULES).display());
        let gateway = site.start_gateway(&site.gateway_config(&["alpha"], &rules));
        let collector = site.start_collector(&site.collector_config("alpha", &job));
        let labels = "        labels: {cluster: alpha, environment: test}\n";
        let prometheus = Prometheus::start(&site, "beside", &format!("{job}{labels}{rules}"));
        let pair = Pair { site, prometheus, time, _processes: [gateway, collector] };
        for port in pair.ports() {
            wait_for("the page's series", || {
                let body = http::get(port, &format!("/api/v1/query?query=count(jobs)&time={}", time / 1000)).1;
                body.contains("\"3\"").then_some(())
            });
        }
        pair
    }

    /// The gateway's and the Prometheus's.
    fn ports(&self) -> [u16; 2] {
        [self.site.http_port, self.prometheus.port]
    }

    /// Parameters with their values escaped and the times in place.
    fn form(&self, parameters: &str) -> String {
        let seconds = |at: u128| format!("{}.{:03}", at / 1000, at % 1000);
        let time = |text: &str| match text {
            "T" => seconds(self.time),
            "U" => seconds(self.time + 60_000),
            text => percent_encoded(text),
        };
        let (mut form, mut rest) = (Vec::new(), parameters);
        // An `&` inside of an expression is followed by no name and `=`.
        while let Some((name, behind)) = rest.split_once('=') {
            let is_name = |text: &str| {
                text.split('=').next().is_some_and(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
            };
            let end = behind
                .match_indices('&')
                .map(|(at, _)| at)
                .find(|at| behind[at + 1..].contains('=') && is_name(&behind[at + 1..]));
            form.push(format!("{name}={}", time(&behind[..end.unwrap_or(behind.len())])));
            rest = end.map_or("", |end| &behind[end + 1..]);
        }
        form.join("&")
    }

    fn ask(&self, method: &str, path: &str, form: &str) -> [Reply; 2] {
        let kind = [("Content-Type", "application/x-www-form-urlencoded")];
        self.ports().map(|port| match method {
            "POST" => http::request(port, method, &format!("/api/v1/{path}"), &kind, form),
            _ => http::request(port, method, &format!("/api/v1/{path}?{form}"), &[], ""),
        })
    }
}

fn text(reply: &Reply) -> String {
    String::from_utf8_lossy(&reply.body).into_owned()
}

/// What differs, for a person.
fn difference(question: &str, [ours, theirs]: &[Reply; 2]) -> Option<String> {
    let told = |ours: &str, theirs: &str| Some(format!("{question}\n  ours   {ours}\n  theirs {theirs}"));
    let head = |reply: &Reply| format!("{} {}", reply.status, reply.header("content-type"));
    if head(ours) != head(theirs) {
        return told(&format!("{}: {}", head(ours), text(ours)), &format!("{}: {}", head(theirs), text(theirs)));
    }
    let lines = |reply: &Reply| Answer::of(&reply.body, &Steps::instant(Timestamp(0)), false).lines(false);
    // Warnings and infos come in any order, too.
    let has_many = lines(theirs).len() > 1;
    match has_many {
        true if lines(ours) != lines(theirs) => {
            told(&lines(ours).join("\n         "), &lines(theirs).join("\n         "))
        }
        false if ours.body != theirs.body => told(&text(ours), &text(theirs)),
        _ => None,
    }
}

#[test]
fn statuses_headers_and_bodies_are_prometheus_own() {
    if !has_peer("prometheus", "3.5.") {
        return;
    }
    let pair = Pair::start();
    let mut differences = Vec::new();
    for (path, parameters) in QUESTIONS {
        for method in ["GET", "POST"] {
            let replies = pair.ask(method, path, &pair.form(parameters));
            differences.extend(difference(&format!("{method} {path}?{parameters}"), &replies));
        }
    }
    for operator in ["or", "+"] {
        let chain = vec!["sum(jobs)"; 1_001].join(&format!(" {operator} "));
        let replies = pair.ask("POST", "query", &pair.form(&format!("query={chain}&time=T")));
        assert_eq!(replies[0].status, 200, "{}", text(&replies[0]));
        differences.extend(difference(&format!("1,000 {operator}"), &replies));
    }
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
    rules_and_alerts_are_shown_alike(&pair);
    what_is_not_kept_is_warned_of(&pair);
    answers_are_compressed(&pair);
    the_command_prints_what_promtool_prints(&pair);
}

/// An answer without what each program measures and when it did.
fn masked(body: &str) -> String {
    let mut masked = body.to_owned();
    for key in ["\"evaluationTime\":", "\"lastEvaluation\":", "\"activeAt\":"] {
        let mut parts = masked.split(key);
        let mut kept = parts.next().unwrap_or_default().to_owned();
        parts.for_each(|part| kept.push_str(&part[part.find([',', '}']).unwrap_or(part.len())..]));
        masked = kept;
    }
    masked
}

fn rules_and_alerts_are_shown_alike(pair: &Pair) {
    let ask = |port: u16, path: &str| http::get(port, &format!("/api/v1/{path}"));
    for port in pair.ports() {
        wait_for("every rule to be evaluated", || {
            let body = ask(port, "rules").1;
            (!body.contains("\"unknown\"") && body.contains("\"pending\"")).then_some(())
        });
    }
    for path in OF_RULES {
        let [ours, theirs] = pair.ports().map(|port| ask(port, path));
        assert_eq!((ours.0, masked(&ours.1)), (theirs.0, masked(&theirs.1)), "{path}");
    }
    let first = ask(pair.site.http_port, "rules?group_limit=1").1;
    let token = first.split("\"groupNextToken\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a token");
    let second = ask(pair.site.http_port, &format!("rules?group_limit=1&group_next_token={token}")).1;
    assert!(first.contains("Many") && !first.contains("\"one\""), "{first}");
    assert!(second.contains("\"one\"") && !second.contains("groupNextToken"), "{second}");
}

/// A gateway that no rule and no `history` told to keep samples has the newest ones.
fn what_is_not_kept_is_warned_of(pair: &Pair) {
    let form = pair.form("query=rate(seconds_total[5m])&time=T");
    let body = http::get(pair.site.http_port, &format!("/api/v1/query?{form}")).1;
    assert!(body.contains("\"result\":[]") && body.contains("not kept as far back"), "{body}");
}

fn answers_are_compressed(pair: &Pair) {
    let path = format!("/api/v1/query?{}", pair.form("query=jobs&time=T"));
    let plain = http::request(pair.site.http_port, "GET", &path, &[], "").body;
    let packed = http::request(pair.site.http_port, "GET", &path, &[("Accept-Encoding", "gzip")], "");
    assert_eq!(packed.header("content-encoding"), "gzip");
    let mut unpacked = Vec::new();
    flate2::read::MultiGzDecoder::new(&packed.body[..]).read_to_end(&mut unpacked).expect("gzip");
    assert_eq!(unpacked, plain);
}

fn the_command_prints_what_promtool_prints(pair: &Pair) {
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let [ours, theirs] = pair.ports().map(url);
    let (time, end) = ((pair.time / 1000).to_string(), (pair.time / 1000 + 60).to_string());
    let printed = |program: &str, arguments: &[&str]| {
        let output = std::process::Command::new(program).args(arguments).output().expect("the program runs");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    for expression in ["seconds_total", "sum(jobs)", "extreme{i=\"3\"} * 1e30", "scalar(seconds_total)", "nothing"] {
        let own = printed(FEDGATE, &["query", &ours, expression, "--time", &time]);
        let tools = printed("promtool", &["query", "instant", &theirs, expression, "--time", &time]);
        assert_eq!((own.0, own.1.trim_end()), (tools.0, tools.1.trim_end()), "{expression}");
    }
    let range = ["--start", &time, "--end", &end, "--step", "30s"];
    let own = printed(FEDGATE, &[&["query", &ours, "sum(jobs)"], &range[..]].concat());
    let tools = printed("promtool", &[&["query", "range", &theirs, "sum(jobs)"], &range[..]].concat());
    assert_eq!((own.0, own.1.trim_end()), (tools.0, tools.1.trim_end()));
    assert_eq!(printed(FEDGATE, &["query", &ours, "sum("]).0, Some(1));
}
