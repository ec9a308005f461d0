//! The receiver beside the real Prometheus 3.5 as one: the same requests of remote write 2.0, good and bad, get the same status and the
//! same counts of what was written.
//!
//! The cases are those of the receiver tests in Prometheus's compliance suite, and what its specification says beyond them. Where the two
//! differ on purpose, [`KNOWN`] says why.

use fedgate::exposition::protobuf_write::{put_count, put_double, put_message, put_text};
use fedgate::model::{
    Buckets, CUSTOM_BUCKETS_SCHEMA, Counts, HistogramCounts, NativeHistogram, Span, Timestamp, stale_nan,
};
use fedgate::remote_write::message;

use super::http::{Request2, Scene, histogram, now, packed};
use crate::site::Site;
use crate::site::prometheus::{Prometheus, has_peer};

const V2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

/// Cases in which fedgate answers otherwise, and why.
const KNOWN: [(&str, &str); 7] = [
    ("custom bounds that fall", NOT_TO_BE_REPEATED),
    ("a count that is too small", NOT_TO_BE_REPEATED),
    ("a span beyond the buckets", NOT_TO_BE_REPEATED),
    ("several histograms", NOT_TO_BE_REPEATED),
    ("another histogram at its time", NOT_TO_BE_REPEATED),
    ("exemplar labels that are too long", "an exemplar's labels have the limits of its series'"),
    ("symbols that do not begin empty", "the specification demands it, and references would mean something else"),
];

/// Prometheus answers a bad histogram with 500, so that its sender sends it again for ever; the specification asks for 400.
const NOT_TO_BE_REPEATED: &str = "400, and the rest of the request is taken";

/// A request by the name of what it tries.
type Case = (&'static str, Vec<u8>);

type Labels<'a> = &'a [(&'a str, &'a str)];

fn floats(series: &[(Labels<'_>, &[(f64, i64)])]) -> Vec<u8> {
    let mut request = Request2::default();
    for (labels, samples) in series {
        request = request.series(labels, |out| {
            samples.iter().for_each(|(value, at)| message::put_sample(out, *value, Timestamp(*at), None));
        });
    }
    request.bytes()
}

/// One series with this name and a further label.
fn one(name: &str, value: f64, at: i64) -> Vec<u8> {
    floats(&[(&[("__name__", name), ("job", "j")], &[(value, at)])])
}

fn sample_cases(at: i64) -> Vec<Case> {
    let good = ("__name__", "good");
    vec![
        ("a sample", one("simple", 1.5, at)),
        ("many labels", floats(&[(&[("__name__", "wide"), ("a", "1"), ("b", "2"), ("c", "3")], &[(1.0, at)])])),
        ("a value with a line feed", floats(&[(&[("__name__", "lines"), ("a", "1\n2\"\\")], &[(1.0, at)])])),
        ("a value of other letters", floats(&[(&[("__name__", "letters"), ("a", "größe 数")], &[(1.0, at)])])),
        ("a name with dots", one("with.dots", 1.0, at)),
        ("a name with spaces", one("with spaces", 1.0, at)),
        ("a label name with dots", floats(&[(&[("__name__", "dotted"), ("a.b", "1")], &[(1.0, at)])])),
        ("no name", floats(&[(&[("a", "1")], &[(1.0, at)])])),
        ("an empty name", one("", 1.0, at)),
        ("no labels", floats(&[(&[], &[(1.0, at)])])),
        ("an empty label value", floats(&[(&[("__name__", "empty_value"), ("a", "")], &[(1.0, at)])])),
        ("an empty label name", floats(&[(&[("__name__", "empty_label"), ("", "1")], &[(1.0, at)])])),
        ("a label twice", floats(&[(&[("__name__", "twice"), ("a", "1"), ("a", "2")], &[(1.0, at)])])),
        ("labels out of order", floats(&[(&[("b", "1"), ("__name__", "unsorted"), ("a", "2")], &[(1.0, at)])])),
        ("NaN", one("nan", f64::NAN, at)),
        ("a stale marker of an unknown series", one("stale", stale_nan(), at)),
        ("infinity", one("infinity", f64::INFINITY, at)),
        ("-0", one("negative_zero", -0.0, at)),
        ("several samples", floats(&[(&[good], &[(1.0, at), (2.0, at + 1), (3.0, at + 2)])])),
        ("the newest again", floats(&[(&[good], &[(3.0, at + 2)])])),
        ("the newest with another value", floats(&[(&[good], &[(4.0, at + 2)])])),
        ("an older one", floats(&[(&[good], &[(0.5, at - 1)])])),
        ("older ones among new ones", floats(&[(&[good], &[(4.0, at + 3), (1.0, at), (5.0, at + 4)])])),
        ("too far in the future", one("future", 1.0, at + 3_600_000)),
        (
            "one without a name among three",
            floats(&[
                (&[good], &[(6.0, at + 5)]),
                (&[("a", "1")], &[(1.0, at)]),
                (&[("__name__", "other")], &[(1.0, at)]),
            ]),
        ),
        ("all without a name", floats(&[(&[("a", "1")], &[(1.0, at)]), (&[("a", "2")], &[(1.0, at)])])),
        (
            "the same series twice",
            floats(&[(&[("__name__", "again")], &[(1.0, at)]), (&[("__name__", "again")], &[(2.0, at + 1)])]),
        ),
        ("no series", Request2::default().bytes()),
        ("an empty message", Vec::new()),
        ("a series without samples", floats(&[(&[("__name__", "bare")], &[])])),
        (
            "a bare series among others",
            floats(&[(&[("__name__", "bare")], &[]), (&[("__name__", "not_bare")], &[(1.0, at)])]),
        ),
        ("a start in the past", started("started", at, at - 60_000)),
        ("a start in the future", started("started_later", at, at + 60_000)),
    ]
}

fn started(name: &str, at: i64, start: i64) -> Vec<u8> {
    Request2::default()
        .series(&[("__name__", name)], |out| message::put_sample(out, 1.0, Timestamp(at), Some(Timestamp(start))))
        .bytes()
}

fn histogram_cases(at: i64) -> Vec<Case> {
    let with = |name: &str, histograms: &[(NativeHistogram, i64)]| {
        Request2::default()
            .series(&[("__name__", name)], |out| {
                histograms.iter().for_each(|(one, at)| message::put_histogram(out, 3, one, Timestamp(*at), None));
            })
            .bytes()
    };
    let floats = |of: &NativeHistogram| NativeHistogram {
        counts: HistogramCounts::Float(Counts {
            count: 6.0,
            zero: 1.0,
            positive: Buckets { spans: vec![Span { offset: 0, length: 2 }], counts: vec![2.0, 3.0] },
            negative: Buckets::default(),
        }),
        ..of.clone()
    };
    let integers = |change: fn(&mut Counts<u64>)| {
        let mut changed = histogram(6);
        if let HistogramCounts::Integer(counts) = &mut changed.counts {
            change(counts);
        }
        changed
    };
    let custom = NativeHistogram {
        schema: CUSTOM_BUCKETS_SCHEMA,
        zero_threshold: 0.0,
        custom_bounds: vec![1.0, 2.0, 5.0],
        ..integers(|counts| {
            counts.zero = 0;
            counts.count = 5;
            counts.positive.spans[0].offset = 0;
        })
    };
    vec![
        ("a histogram", with("h", &[(histogram(6), at)])),
        ("a histogram of floats", with("h_float", &[(floats(&histogram(6)), at)])),
        ("custom buckets", with("h_custom", &[(custom.clone(), at)])),
        (
            "custom bounds that fall",
            with("h_fall", &[(NativeHistogram { custom_bounds: vec![2.0, 1.0, 5.0], ..custom }, at)]),
        ),
        ("a histogram without buckets", with("h_empty", &[(integers(|counts| *counts = Counts::default()), at)])),
        ("a count that is too small", with("h_small", &[(histogram(5), at)])),
        ("a span beyond the buckets", with("h_span", &[(integers(|counts| counts.positive.spans[0].length = 3), at)])),
        ("several histograms", with("h_many", &[(histogram(6), at), (histogram(7), at + 1)])),
        ("a histogram again", with("h", &[(histogram(6), at)])),
        ("another histogram at its time", with("h", &[(histogram(8), at)])),
        ("an older histogram", with("h", &[(histogram(6), at - 1)])),
        ("a float behind a histogram", one("h", 1.0, at + 5)),
        ("a good one and a bad one", [with("h_good", &[(histogram(6), at)]), Vec::new()].concat()),
    ]
}

/// Field 4 of a series.
fn put_exemplar(out: &mut Vec<u8>, refs: &[u32], value: f64, at: i64) {
    put_message(out, 4, 1, |out| {
        message::put_refs(out, 1, refs.iter().copied());
        put_double(out, 2, value);
        put_count(out, 3, at as u64);
    });
}

fn exemplar_cases(at: i64) -> Vec<Case> {
    // Beside the symbols of the series: 5 and on.
    let with = |name: &str, texts: &[&str], write: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        ["", "__name__", name, "job", "j"].iter().chain(texts).for_each(|text| put_text(&mut out, 4, text));
        message::put_series_v2(&mut out, |out| {
            message::put_refs(out, 1, [1, 2, 3, 4].into_iter());
            write(out);
        });
        out
    };
    let sampled = |name: &'static str, texts: &[&str], exemplars: &[(&[u32], f64, i64)]| {
        with(name, texts, &|out| {
            message::put_sample(out, 1.0, Timestamp(at), None);
            exemplars.iter().for_each(|(refs, value, at)| put_exemplar(out, refs, *value, *at));
        })
    };
    let long = "x".repeat(200);
    vec![
        ("an exemplar", sampled("e", &["trace_id", "abc"], &[(&[5, 6], 0.5, at)])),
        (
            "an exemplar with more labels",
            sampled("e_more", &["trace_id", "abc", "span_id", "d"], &[(&[5, 6, 7, 8], 0.5, at)]),
        ),
        ("an exemplar without labels", sampled("e_bare", &[], &[(&[], 0.5, at)])),
        ("two exemplars", sampled("e_two", &["trace_id", "abc", "def"], &[(&[5, 6], 0.5, at - 1), (&[5, 7], 0.7, at)])),
        ("an exemplar again", sampled("e", &["trace_id", "abc"], &[(&[5, 6], 0.5, at)])),
        ("exemplar labels that are too long", sampled("e_long", &["trace_id", &long], &[(&[5, 6], 0.5, at)])),
        ("an exemplar of NaN", sampled("e_nan", &["trace_id", "abc"], &[(&[5, 6], f64::NAN, at)])),
        ("an exemplar alone", with("e_alone", &["trace_id", "abc"], &|out| put_exemplar(out, &[5, 6], 0.5, at))),
        ("an exemplar of a nameless series", {
            let mut out = Vec::new();
            ["", "job", "j", "trace_id", "abc"].iter().for_each(|text| put_text(&mut out, 4, text));
            message::put_series_v2(&mut out, |out| {
                message::put_refs(out, 1, [1, 2].into_iter());
                message::put_sample(out, 1.0, Timestamp(at), None);
                put_exemplar(out, &[3, 4], 0.5, at);
            });
            out
        }),
    ]
}

fn metadata_cases(at: i64) -> Vec<Case> {
    const NAMES: [&str; 9] =
        ["type 0", "type 1", "type 2", "type 3", "type 4", "type 5", "type 6", "type 7", "type 99"];
    let numbers = [0, 1, 2, 3, 4, 5, 6, 7, 99];
    let typed = |kind: u64, name: &str, help: &str| {
        let mut out = Vec::new();
        ["", "__name__", name, help, "seconds"].iter().for_each(|text| put_text(&mut out, 4, text));
        message::put_series_v2(&mut out, |out| {
            message::put_refs(out, 1, [1, 2].into_iter());
            message::put_sample(out, 1.0, Timestamp(at), None);
            put_message(out, 5, 1, |out| {
                put_count(out, 1, kind);
                put_count(out, 3, 3);
                put_count(out, 4, 4);
            });
        });
        out
    };
    let mut cases: Vec<Case> =
        NAMES.into_iter().zip(numbers).map(|(name, kind)| (name, typed(kind, &format!("m_{kind}"), "help"))).collect();
    cases.push(("help with a line feed", typed(1, "m_help", "a\nb \"c\" \\")));
    cases
}

/// Not among them: an odd number of references, at which Prometheus 3.5 panics.
fn broken_cases(at: i64) -> Vec<Case> {
    let good = one("broken", 1.0, at);
    let mut unnamed = Vec::new();
    put_text(&mut unnamed, 4, "first");
    vec![
        ("cut off", good[..good.len() - 3].to_vec()),
        ("no protobuf", b"this is no message".to_vec()),
        ("an unknown field", [&good[..], &[0xfa, 0x07, 0x01, 0x00]].concat()),
        ("symbols that do not begin empty", unnamed),
    ]
}

/// Status, and the samples, histograms and exemplars written.
type Outcome = (u16, Option<[u64; 3]>);

async fn theirs(client: &reqwest::Client, port: u16, headers: [(&str, &str); 2], body: Vec<u8>) -> (Outcome, String) {
    let mut request = client.post(format!("http://127.0.0.1:{port}/api/v1/write"));
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let answer = request.body(body).send().await.expect("an answer");
    let count = |what: &str| {
        let value = answer.headers().get(format!("x-prometheus-remote-write-{what}-written"))?;
        value.to_str().ok()?.parse().ok()
    };
    let counts = ["samples", "histograms", "exemplars"].map(count);
    let written = counts.iter().all(Option::is_some).then(|| counts.map(Option::unwrap_or_default));
    (((answer.status().as_u16()), written), answer.text().await.expect("a body"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_prometheus_answers_every_request_alike() {
    if !has_peer("prometheus", "3.5.") {
        return;
    }
    let (scene, site) = (Scene::new(""), Site::new());
    let arguments = ["--web.enable-remote-write-receiver", "--enable-feature=native-histograms,exemplar-storage"];
    let prometheus = Prometheus::start_with(&site, "receiver", "", &arguments);
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let at = now() - 10_000;
    let cases =
        [sample_cases(at), histogram_cases(at), exemplar_cases(at), metadata_cases(at), broken_cases(at)].concat();
    let (mut differences, mut known) = (Vec::new(), Vec::new());
    for (name, message) in cases {
        let body = packed(&message);
        let ours = scene.post(V2, "snappy", body.clone()).await;
        let headers = [("content-type", V2), ("content-encoding", "snappy")];
        let (theirs, said) = theirs(&client, prometheus.port, headers, body).await;
        // Of what it cannot read Prometheus says nothing of what was written.
        let is_silent = theirs.1.is_none() && ours.written == Some([0; 3]);
        if ours.status == theirs.0 && (ours.written == theirs.1 || is_silent) {
            continue;
        }
        match KNOWN.iter().find(|(own, _)| *own == name) {
            Some((name, _)) => known.push(*name),
            None => differences.push(format!(
                "{name}: {} {:?} {}\n    Prometheus: {} {:?} {}",
                ours.status,
                ours.written,
                ours.text.trim_end(),
                theirs.0,
                theirs.1,
                said.trim_end()
            )),
        }
    }
    assert!(differences.is_empty(), "\n{}", differences.join("\n"));
    assert_eq!(known, KNOWN.map(|(name, _)| name), "what is known to differ still does");
}
