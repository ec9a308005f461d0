//! `POST /api/v1/write` of the real program over mutual TLS: each kind of request is answered by the rules of remote write 1.0 and 2.0,
//! and what is refused is counted by reason.

use std::path::Path;

use fedgate::exposition::protobuf_write::{put_count, put_double, put_message, put_text};
use fedgate::model::{Buckets, Counts, HistogramCounts, NativeHistogram, ResetHint, Span, Timestamp};
use fedgate::remote_write::message;
use fedgate::runtime::clock;

use super::received::{one, series};
use crate::site::{Process, Site, wait_for};

const V1: &str = "application/x-protobuf";
const V2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

/// A gateway and the certificates of `alpha`, which it knows, and `gamma`, which it does not.
pub(super) struct Scene {
    site: Site,
    client: reqwest::Client,
    _gateway: Process,
}

/// What a sender is told.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Samples, histograms and exemplars written, if it says so.
    pub(super) written: Option<[u64; 3]>,
    retry_after: Option<u64>,
    pub(super) text: String,
}

impl Scene {
    /// `extra` goes on where the entry of alpha, the last of the inventory, ends.
    pub(super) fn new(extra: &str) -> Scene {
        let site = Site::new();
        ["alpha", "gamma"].iter().for_each(|cluster| site.issue(cluster));
        let gateway = site.start_gateway(&site.gateway_config(&["beta", "alpha"], extra));
        Scene { client: client(&site, Some("alpha")), site, _gateway: gateway }
    }

    async fn try_post(&self, client: &reqwest::Client, headers: &[(&str, &str)], body: Vec<u8>) -> Option<Answer> {
        let url = format!("https://127.0.0.1:{}/api/v1/write", self.site.push_port);
        let request = headers.iter().fold(client.post(url), |request, (name, value)| request.header(*name, *value));
        let answer = request.body(body).send().await.ok()?;
        let number = |name: &str| answer.headers().get(name)?.to_str().ok()?.parse().ok();
        let counts = ["samples", "histograms", "exemplars"]
            .map(|what| number(&format!("x-prometheus-remote-write-{what}-written")));
        let written = counts.iter().all(Option::is_some).then(|| counts.map(Option::unwrap_or_default));
        assert!(written.is_some() || counts == [None; 3], "all three or none: {counts:?}");
        let (status, retry_after) = (answer.status().as_u16(), number("retry-after"));
        Some(Answer { status, written, retry_after, text: answer.text().await.expect("a body") })
    }

    /// Posts with alpha's certificate; headers with an empty value are left out.
    pub(super) async fn post(&self, content_type: &str, encoding: &str, body: Vec<u8>) -> Answer {
        let headers = [("content-type", content_type), ("content-encoding", encoding)];
        let headers: Vec<_> = headers.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        self.try_post(&self.client, &headers, body).await.expect("an answer")
    }

    async fn post_packed(&self, content_type: &str, message: &[u8]) -> Answer {
        self.post(content_type, "snappy", packed(message)).await
    }

    fn refused(&self, reason: &str) -> f64 {
        let labels = ["cluster=\"alpha\"", &format!("reason=\"{reason}\"")];
        self.site.own("fedgate_push_refused_total", &labels)
    }

    fn dropped(&self, reason: &str) -> f64 {
        let labels = ["cluster=\"alpha\"", &format!("reason=\"{reason}\"")];
        self.site.own("fedgate_push_dropped_samples_total", &labels)
    }

    /// What stands on `/federate` under alpha by this name: value and time.
    fn shown(&self, name: &str) -> Option<String> {
        let page = self.site.federate(name);
        let line = page.lines().find(|line| line.starts_with(&format!("{name}{{")))?;
        assert!(line.contains("cluster=\"alpha\",environment=\"test\"}"), "{line}");
        line.split_once("} ").map(|(_, shown)| shown.to_owned())
    }
}

fn client(site: &Site, cluster: Option<&str>) -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let read = |name: String| std::fs::read(Path::new(&site.ca()).join(name)).expect("a file of the CA");
    let ca = reqwest::Certificate::from_pem(&read("ca.pem".to_owned())).expect("a certificate");
    let mut builder = reqwest::Client::builder().no_proxy().tls_certs_only([ca]);
    if let Some(cluster) = cluster {
        let own = [read(format!("collector-{cluster}.pem")), read(format!("collector-{cluster}.key"))].concat();
        builder = builder.identity(reqwest::Identity::from_pem(&own).expect("certificate and key"));
    }
    builder.build().expect("a client")
}

pub(super) fn packed(message: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(message).expect("far below 4 GiB")
}

pub(super) fn now() -> i64 {
    clock::now().as_millis()
}

/// A message of 2.0 in the making.
#[derive(Default)]
pub(super) struct Request2 {
    symbols: Vec<String>,
    series: Vec<u8>,
}

impl Request2 {
    /// A series of these labels, and what `write` appends to it.
    pub(super) fn series(mut self, labels: &[(&str, &str)], write: impl FnOnce(&mut Vec<u8>)) -> Request2 {
        let texts = labels.iter().flat_map(|(name, value)| [*name, *value]);
        let refs: Vec<u32> = texts.map(|text| number(&mut self.symbols, text)).collect();
        message::put_series_v2(&mut self.series, |out| {
            message::put_refs(out, 1, refs.into_iter());
            write(out);
        });
        self
    }

    fn sample(self, name: &str, value: f64, at: i64) -> Request2 {
        let labels = [("__name__", name), ("instance", "i"), ("job", "j")];
        self.series(&labels, |out| message::put_sample(out, value, Timestamp(at), None))
    }

    pub(super) fn bytes(self) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_text(&mut bytes, 4, "");
        self.symbols.iter().for_each(|symbol| put_text(&mut bytes, 4, symbol));
        [bytes, self.series].concat()
    }
}

/// Its place among the symbols, behind the empty one.
fn number(symbols: &mut Vec<String>, text: &str) -> u32 {
    let at = symbols.iter().position(|symbol| symbol == text).unwrap_or_else(|| {
        symbols.push(text.to_owned());
        symbols.len() - 1
    });
    at as u32 + 1
}

pub(super) fn histogram(count: u64) -> NativeHistogram {
    NativeHistogram {
        reset_hint: ResetHint::Unknown,
        schema: 3,
        zero_threshold: 0.001,
        sum: 5.5,
        custom_bounds: Vec::new(),
        counts: HistogramCounts::Integer(Counts {
            count,
            zero: 1,
            positive: Buckets { spans: vec![Span { offset: -2, length: 2 }], counts: vec![2, 3] },
            negative: Buckets::default(),
        }),
    }
}

fn put_exemplar_v2(out: &mut Vec<u8>, at: i64) {
    put_message(out, 4, 1, |out| {
        put_double(out, 2, 0.5);
        put_count(out, 3, at as u64);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn the_content_type_says_which_message_it_is() {
    let (scene, at) = (Scene::new(""), now());
    let of_v1 = [
        V1,
        "application/x-protobuf;proto=prometheus.WriteRequest",
        "Application/X-Protobuf; proto=\"prometheus.WriteRequest\"",
    ];
    for (step, content_type) in (1..).zip(of_v1) {
        let answer = scene.post_packed(content_type, &one("a", step as f64, at + step)).await;
        assert_eq!((answer.status, answer.written, &*answer.text), (204, Some([1, 0, 0]), ""), "{content_type}");
        assert_eq!(scene.shown("a"), Some(format!("{step} {}", at + step)));
    }
    let of_v2 = Request2::default().sample("b", 7.0, at).sample("c", 8.0, at).bytes();
    let answer = scene.post_packed(V2, &of_v2).await;
    assert_eq!((answer.status, answer.written, &*answer.text), (204, Some([2, 0, 0]), ""));
    assert_eq!((scene.shown("b"), scene.shown("c")), (Some(format!("7 {at}")), Some(format!("8 {at}"))));

    let unknown = ["", "text/plain", "application/json", "application/x-protobuf;proto=io.prometheus.write.v3.Request"];
    for content_type in unknown {
        let answer = scene.post_packed(content_type, &one("d", 1.0, at)).await;
        assert_eq!((answer.status, answer.written), (415, None), "{content_type:?}: {answer:?}");
    }
    assert_eq!(scene.shown("d"), None);
    assert_eq!(scene.refused("content_type"), unknown.len() as f64);
    assert_eq!(scene.site.own("fedgate_push_received_samples_total", &["cluster=\"alpha\""]), 5.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_snappy_is_unpacked() {
    let (scene, at) = (Scene::new(""), now());
    let answer = scene.post(V1, "", packed(&one("a", 1.0, at))).await;
    assert_eq!((answer.status, answer.written), (204, Some([1, 0, 0])), "without the header it is snappy");
    let message = one("b", 1.0, at);
    let zstd = zstd::bulk::compress(&message, 1).expect("memory");
    for (encoding, body) in [("zstd", zstd), ("gzip", message.clone()), ("identity", message.clone())] {
        let answer = scene.post(V1, encoding, body).await;
        assert_eq!((answer.status, answer.written), (415, None), "{encoding}: {answer:?}");
        assert!(answer.text.contains("not snappy"), "{answer:?}");
    }
    assert_eq!((scene.refused("content_encoding"), scene.shown("b")), (3.0, None));
    assert_eq!(scene.shown("a"), Some(format!("1 {at}")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_refused_whole() {
    let (scene, at) = (Scene::new(""), now());
    let good = [one("a", 1.0, at), one("b", 1.0, at)].concat();
    let cut = |message: &[u8]| message[..message.len() - 1].to_vec();
    let of_v2 = Request2::default().sample("c", 1.0, at).bytes();
    let broken = [
        (V1, vec![0x10, 0xff, 0xff, 0xff, 0xff], "body is no snappy block"),
        (V1, good.clone(), "body is no snappy block"),
        (V1, Vec::new(), "body is no snappy block"),
        (V1, packed(&cut(&good)), "malformed request: length beyond the end"),
        (V2, packed(&cut(&of_v2)), "malformed request: length beyond the end"),
        (V1, packed(&[0x0a, 0x01, 0x07]), "malformed request: "),
    ];
    let count = broken.len() as f64;
    for (content_type, body, reason) in broken {
        let answer = scene.post(content_type, "snappy", body).await;
        assert_eq!((answer.status, answer.written), (400, Some([0; 3])), "{reason}: {answer:?}");
        assert!(answer.text.starts_with(reason), "{reason} is not what it says: {answer:?}");
    }
    assert_eq!(scene.refused("request_unreadable"), count);
    assert_eq!(["a", "b", "c"].map(|name| scene.shown(name)), [None, None, None], "nothing of them was taken");
    assert_eq!(scene.post_packed(V1, &good).await.status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_long_is_refused_packed_and_unpacked() {
    let scene = Scene::new("  limits: {body_bytes_max: 64KB, frame_raw_bytes_max: 1MB}\n");
    let answer = scene.post(V1, "snappy", vec![0xff; (64 << 10) + 1]).await;
    assert_eq!((answer.status, answer.written), (413, None), "{answer:?}");
    assert_eq!(scene.refused("body_too_large"), 1.0);
    let zeros = packed(&vec![0; (1 << 20) + 1]);
    assert!(zeros.len() < 64 << 10);
    let answer = scene.post(V1, "snappy", zeros).await;
    assert_eq!((answer.status, answer.written), (413, Some([0; 3])), "{answer:?}");
    assert!(answer.text.contains("request of 1048577 bytes uncompressed, expected at most 1048576"), "{answer:?}");
    assert_eq!(scene.refused("request_unreadable"), 1.0);
}

/// Alpha's entry: as many series as the test below makes before the one that is beyond.
const STRICT: &str = "      on_label_conflict: reject\n      limits: {series: 7, labels_per_series: 8}\n";

#[tokio::test(flavor = "multi_thread")]
async fn every_reason_is_told_and_counted_and_the_rest_is_taken() {
    let (scene, at) = (Scene::new(STRICT), now());
    assert_eq!(scene.post_packed(V1, &[one("a", 1.0, at), one("b", 1.0, at)].concat()).await.status, 204);

    let mut of_v1 = [one("a", 2.0, at), one("b", 1.0, at - 1), one("a", 3.0, at + 1)].concat();
    let many: Vec<String> = (0..6).map(|number| format!("l{number}")).collect();
    let many: Vec<_> = many.iter().map(|name| (&**name, "x")).chain([("__name__", "m")]).collect();
    let refused: [&[(&str, &str)]; 4] = [
        &[("job", "j")],
        &[("__name__", "x"), ("l", "1"), ("l", "2")],
        &many,
        &[("__name__", "x"), ("environment", "other")],
    ];
    refused.iter().for_each(|labels| series(&mut of_v1, labels, &[(1.0, at)]));
    let answer = scene.post_packed(V1, &of_v1).await;
    assert_eq!((answer.status, answer.written), (400, Some([1, 0, 0])), "{answer:?}");
    let lines = [
        "duplicate sample for timestamp: 1, the first a{instance=\"i\", job=\"j\"}",
        "out of order sample: 1, the first b{instance=\"i\", job=\"j\"}",
        "series without metric name: 1, the first {job=\"j\"}",
        "invalid labels: 1, the first x{",
        "labels over the cluster's limits: 1, the first m{l0=\"x\"",
        "label conflicts with the inventory's: 1, the first x{environment=\"other\"}",
    ];
    assert_lines(&answer.text, &lines);
    assert_eq!(scene.shown("a"), Some(format!("3 {}", at + 1)), "what was good of it was taken");

    let named = |name: &'static str| [("__name__", name), ("instance", "i"), ("job", "j")];
    let of_v2 = Request2::default()
        .sample("fedgate_cluster_up", 1.0, at)
        .sample("ahead", 1.0, at + 1_200_000)
        .series(&named("bad"), |out| message::put_histogram(out, 3, &histogram(5), Timestamp(at), None))
        .series(&named("good"), |out| message::put_histogram(out, 3, &histogram(6), Timestamp(at), None))
        .series(&named("lone"), |out| put_exemplar_v2(out, at))
        .series(&named("d"), |out| {
            message::put_sample(out, 4.0, Timestamp(at), None);
            put_exemplar_v2(out, at);
        })
        .sample("beyond", 1.0, at);
    let answer = scene.post_packed(V2, &of_v2.bytes()).await;
    assert_eq!((answer.status, answer.written), (400, Some([1, 1, 1])), "{answer:?}");
    let lines = [
        "metric name is the gateway's own: 1, the first fedgate_cluster_up{",
        "out of bounds: sample too far in the future: 1, the first ahead{",
        "invalid native histogram: 1, the first bad{",
        "over the cluster's limit of series: 1, the first beyond{",
        "exemplar of a series without sample: 1, the first lone{",
    ];
    assert_lines(&answer.text, &lines);
    assert_eq!((scene.shown("d"), scene.shown("beyond")), (Some(format!("4 {at}")), None));

    let reasons = [
        "duplicate",
        "out_of_order",
        "no_metric_name",
        "labels_invalid",
        "label_limit",
        "label_conflict",
        "gateway_name",
        "ahead_of_clock",
        "histogram_invalid",
        "series_limit",
        "exemplar_without_series",
    ];
    reasons.iter().for_each(|reason| assert_eq!(scene.dropped(reason), 1.0, "{reason}"));
    assert_eq!(scene.site.own("fedgate_push_dropped_samples_total", &[]), reasons.len() as f64);
}

fn assert_lines(text: &str, expected: &[&str]) {
    let lines: Vec<&str> = text.lines().collect();
    let is_so = lines.len() == expected.len() && expected.iter().all(|word| text.contains(word));
    assert!(is_so, "expected {expected:#?}, found {lines:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_over_its_rate_is_told_when_to_come_again() {
    let (scene, at) = (Scene::new("      limits: {samples_per_second: 1}\n"), now());
    let many: Vec<u8> = (0..200).flat_map(|number| one(&format!("a{number}"), 1.0, at)).collect();
    assert_eq!(scene.post_packed(V1, &many).await.status, 204, "no request is too large to ever pass");
    let answer = scene.post_packed(V1, &one("a", 2.0, at + 1)).await;
    assert_eq!((answer.status, answer.written), (429, None), "{answer:?}");
    assert!(answer.retry_after.is_some_and(|seconds| seconds >= 1), "{answer:?}");
    assert_eq!(scene.refused("rate"), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_in_the_inventory_may_not_write() {
    let (scene, at) = (Scene::new(""), now());
    let headers = [("content-type", V1), ("content-encoding", "snappy")];
    let body = packed(&one("a", 1.0, at));
    let answer = scene.try_post(&client(&scene.site, Some("gamma")), &headers, body.clone()).await.expect("an answer");
    assert_eq!(answer.status, 403, "{answer:?}");
    assert!(answer.text.contains("spiffe://fedgate/collector/gamma"), "{answer:?}");
    let unknown = scene.site.own("fedgate_push_refused_total", &["reason=\"unknown_identity\""]);
    assert_eq!(unknown, 1.0);
    let nobody = scene.try_post(&client(&scene.site, None), &headers, body).await;
    assert!(nobody.is_none(), "without a certificate there is no answer: {nobody:?}");
    wait_for("the refusal to be counted", || {
        let refused = scene.site.own("fedgate_gateway_connections_refused_total", &["reason=\"certificate_missing\""]);
        (refused == 1.0).then_some(())
    });
    assert_eq!(scene.shown("a"), None);
}
