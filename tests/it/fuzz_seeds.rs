//! The seeds of the fuzzing corpus are what is made here of the fixtures; `FEDGATE_WRITE_SEEDS=1 cargo test --test it fuzz_seeds`
//! writes them anew.
//!
//! Seeds are small and many-sided, because a fuzzer mutates them and does not read them. Those of frames follow the frame
//! format and are written anew whenever it changes.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use fedgate::config::ScrapeConfig;
use fedgate::exposition::protobuf_write::{put_count, put_double, put_message, put_text};
use fedgate::exposition::{Format, SCRAPE_ACCEPT};
use fedgate::journal::{Journal, Options, Role};
use fedgate::model::{
    Buckets, Counts, Exemplar, HistogramCounts, Labels, MetricType, NativeHistogram, ResetHint, Span, Timestamp,
    stale_nan,
};
use fedgate::remote_write::message;
use fedgate::scrape::{PageCache, Rules, SeriesBudget, Timing};
use fedgate::snapshot::{EncodedFrame, Encoder, Frame, FrameKind, FrameLimits, Outcome, Report, StreamId};

use super::journal::faulty::FaultyFiles;
use super::protobuf_page::*;

const START_MS: i64 = 1_795_000_000_000;
const TICK_MS: i64 = 5_000;
/// Longest beginning of a real page that becomes a seed.
const PAGE_BYTES_MAX: usize = 1_500;
/// Every so many of the recorded probes become seeds.
const PROBE_STEP: usize = 9;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn corpus(target: &str) -> PathBuf {
    root().join("tests/fuzz/corpus").join(target)
}

fn is_writing() -> bool {
    std::env::var_os("FEDGATE_WRITE_SEEDS").is_some()
}

fn seed_name(nth: usize) -> String {
    format!("seed-{nth:02}")
}

/// The kept seeds of `target`, by name; findings, which have other names, are not among them.
fn kept(target: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(corpus(target)).unwrap().map(|entry| entry.unwrap().path());
    let mut kept: Vec<PathBuf> = entries.filter(|path| is_seed(path)).collect();
    kept.sort();
    kept
}

/// Holds the kept seeds of `target` against these, or replaces them.
fn keep(target: &str, seeds: &[Vec<u8>]) {
    if is_writing() {
        return write(target, seeds);
    }
    assert_eq!(kept(target).len(), seeds.len(), "seeds of {target}");
    for (nth, seed) in seeds.iter().enumerate() {
        let kept = fs::read(corpus(target).join(seed_name(nth))).unwrap();
        assert!(kept == *seed, "{target}: seed {nth} is not what is made today");
    }
}

/// The same where a making gives other bytes (new keys, another processor's compressor): only how many there are is held.
fn keep_remade(target: &str, seeds: &[Vec<u8>]) {
    if is_writing() {
        return write(target, seeds);
    }
    assert_eq!(kept(target).len(), seeds.len(), "seeds of {target}");
}

fn write(target: &str, seeds: &[Vec<u8>]) {
    fs::create_dir_all(corpus(target)).unwrap();
    kept(target).iter().for_each(|path| fs::remove_file(path).unwrap());
    for (nth, seed) in seeds.iter().enumerate() {
        fs::write(corpus(target).join(seed_name(nth)), seed).unwrap();
    }
}

fn is_seed(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("seed-"))
}

fn fixture(name: &str) -> Vec<u8> {
    fs::read(root().join("tests/fixtures").join(name)).unwrap()
}

/// The beginning of a real page, in whole lines.
fn beginning(name: &str) -> Vec<u8> {
    let page = fixture(&format!("expositions/{name}"));
    let cut = page[..page.len().min(PAGE_BYTES_MAX)].iter().rposition(|byte| *byte == b'\n').unwrap();
    page[..=cut].to_vec()
}

/// Some of the recorded probes of a format.
fn probes(format: &str) -> Vec<Vec<u8>> {
    let probes: Vec<BTreeMap<String, serde_json::Value>> =
        serde_json::from_slice(&fixture("exposition-probes.json")).unwrap();
    let body = |probe: &BTreeMap<String, serde_json::Value>| match probe.get("page").and_then(|page| page.as_str()) {
        Some(page) => page.as_bytes().to_vec(),
        None => base64::engine::general_purpose::STANDARD.decode(probe["page_base64"].as_str().unwrap()).unwrap(),
    };
    probes.iter().filter(|probe| probe["format"] == format).step_by(PROBE_STEP).map(body).collect()
}

#[test]
fn pages() {
    let real = ["edge-cases.prom", "node_exporter-1.11.1.prom", "prometheus-3.5.3.prom", "vpenso-0.20-alpha.prom"];
    let mut text: Vec<Vec<u8>> = real.iter().map(|name| beginning(name)).collect();
    text.extend(probes("text"));
    let mut openmetrics: Vec<Vec<u8>> = ["sckyzo-1.8-alpha.om", "prometheus_client-slurmlike.om"]
        .iter()
        .map(|name| [&beginning(name)[..], b"# EOF\n"].concat())
        .collect();
    openmetrics.extend(probes("openmetrics"));
    let successive: Vec<Vec<u8>> = text
        .iter()
        .zip(&openmetrics)
        .map(|(text, openmetrics)| {
            let page = |format: &[u8], page: &[u8]| [format, page, b"\xfe\xff"].concat();
            let pages =
                [page(b"t", text), page(b"t", text), page(b"o", openmetrics), page(b"o", text), page(b"t", text)];
            pages.concat()
        })
        .collect();
    let protobuf = protobuf_pages();
    let of_protobuf = |own: &Vec<u8>| {
        let page = |format: &[u8], page: &[u8]| [format, page, b"\xfe\xff"].concat();
        [page(b"p", own), page(b"p", own), page(b"o", &openmetrics[0]), page(b"p", own)].concat()
    };
    let successive: Vec<Vec<u8>> =
        successive.into_iter().chain([protobuf_pages().iter().map(of_protobuf).collect::<Vec<_>>()].concat()).collect();
    keep("protobuf_page", &protobuf);
    keep("text_page", &text);
    keep("openmetrics_page", &openmetrics);
    keep("page_cache", &successive);
}

/// Families of every type, by themselves and together.
fn protobuf_pages() -> Vec<Vec<u8>> {
    let exemplar = Message::new().label("trace_id", "x").float(2, 0.5).time(3, 1_795_000_000, 7);
    let counter = Message::new().float(1, 7.0).message(2, &exemplar).time(3, 1_794_000_000, 0);
    let counter = Message::new().label("l", "v\"\n").label("é.ü", "").message(3, &counter);
    let quantile = Message::new().float(1, 0.5).float(2, f64::NAN);
    let summary = Message::new().number(1, 3).float(2, 1.5).message(3, &quantile);
    let classic = Message::new().number(1, 5).float(2, 2.5).buckets(&[(1.0, 2), (f64::INFINITY, 5)]);
    let floats = Message::new().float(4, 3.5).float(2, 9.0).signed(5, 2).float(6, 0.25).float(8, 0.5);
    let floats = floats.spans(12, &[(-3, 2)]).float_list(14, &[1.0, 2.0]).spans(9, &[(0, 1)]).float_list(11, &[0.0]);
    let families = [
        family("c_total", COUNTER, &[counter]),
        family("g", GAUGE, &[gauge(-0.25), gauge(f64::INFINITY).label("x", "1").signed(6, 0)]),
        family("s", SUMMARY, &[Message::new().message(4, &summary)]),
        family(
            "u",
            UNTYPED,
            &[Message::new().message(5, &Message::new().float(1, 1e300)).number(6, 1_795_000_000_000)],
        ),
        family("h", HISTOGRAM, &[histogram(&classic), histogram(&native()).label("n", "1")]),
        family("gh", GAUGE_HISTOGRAM, &[histogram(&floats)]),
    ];
    let mut pages: Vec<Vec<u8>> = families.iter().map(|family| page(std::slice::from_ref(family))).collect();
    pages.push(page(&families));
    pages
}

/// Ticks of two targets whose pages change; the second needs a PATCH.
fn frames() -> Vec<EncodedFrame> {
    let rules = Rules::new(&ScrapeConfig::default()).unwrap();
    let mut encoder = Encoder::new(StreamId(*b"0123456789abcdef"), Timestamp(START_MS), FrameLimits::default());
    let mut caches = ["a:1", "b:2"].map(|instance| {
        let target = Arc::new(Labels::from_pairs([("job", "j"), ("instance", instance)]));
        PageCache::new(target.clone(), target, Arc::new(SeriesBudget::new(10_000)))
    });
    let mut frames = Vec::new();
    for tick in 0..5i64 {
        let now = Timestamp(START_MS + tick * TICK_MS);
        let scrapes: Vec<_> = caches
            .iter_mut()
            .enumerate()
            .map(|(nth, cache)| {
                let page = text_of(tick, nth as i64);
                let outcome = if tick == 3 && nth == 1 { Outcome::Failed } else { Outcome::Up };
                match outcome {
                    Outcome::Up => assert_eq!(cache.read(page.as_bytes(), Format::OpenMetrics, now, &rules).1, Ok(())),
                    _ => cache.fail(now, &rules),
                }
                cache.scrape(Timing { started: now, duration: Duration::from_millis(7) }, outcome, Report::default())
            })
            .collect();
        frames.extend(encoder.tick(now, now, &scrapes, tick == 2));
    }
    let end = Timestamp(START_MS + 5 * TICK_MS);
    frames.push(encoder.end(end, end));
    frames
}

fn text_of(tick: i64, target: i64) -> String {
    let gone = if tick > 2 { "" } else { "gone{why=\"churn\"} 1\n" };
    let new = if tick > 0 && target == 1 { "new{id=\"7\"} 3\n" } else { "" };
    let at = START_MS / 1000 + tick;
    format!(
        "# TYPE c counter\nc_total {tick} # {{trace_id=\"x{tick}\"}} 0.5\n# TYPE h histogram\n\
         h_bucket{{le=\"1.0\"}} {tick}\nh_bucket{{le=\"+Inf\"}} 5\nh_sum 1.5e{tick}\nh_count 5\n\
         # HELP g text \\\"with\\\" escapes\ng{{job=\"own\",x=\"é\"}} NaN\ng{{x=\"2\"}} {}\ng{{x=\"3\"}} -0.25 {at}\n{gone}{new}# EOF\n",
        tick * 1000 + target
    )
}

/// A frame as the bodies' records have it (`tests/fuzz/bodies/unpacked.rs`).
fn record(frame: &EncodedFrame, ends_body: bool) -> Vec<u8> {
    let (parsed, _) = Frame::parse(&frame.bytes, &FrameLimits::default()).unwrap();
    let header = parsed.header();
    let varint = |at: usize| at + frame.bytes[at..].iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
    let packed = &frame.bytes[varint(varint(varint(32)))..];
    let payload = if packed.is_empty() { Vec::new() } else { zstd::stream::decode_all(packed).unwrap() };
    let kind = header.kind as u8 | if ends_body { 0x80 } else { 0 };
    let tick = if header.kind.is_definition() { 0 } else { (header.tick.0 - START_MS) / TICK_MS };
    let mut record = vec![kind, frame.bytes[10], header.seq as u8, tick as u8];
    record.extend((payload.len() as u16).to_le_bytes());
    record.extend(payload);
    record
}

#[test]
fn frame_streams() {
    let frames = frames();
    let of = |range: &[EncodedFrame], each: bool| {
        range.iter().map(|frame| record(frame, each && !frame.kind.is_definition())).collect::<Vec<_>>().concat()
    };
    let key = frames.iter().position(|frame| frame.kind == FrameKind::Key).unwrap();
    let mut seeds = vec![of(&frames, false), of(&frames, true), of(&frames[..=key], false)];
    seeds.extend((key + 1..frames.len()).map(|end| of(&frames[..end], true)));
    // As bytes that are no record: whole frames, one behind the other.
    let whole: Vec<u8> = frames[..=key].iter().flat_map(|frame| frame.bytes.to_vec()).collect();
    seeds.push([&[0, 0, 0, 0][..], &(whole.len() as u16).to_le_bytes(), &whole].concat());
    keep("frame_stream", &seeds);
    keep("push_body", &seeds);
}

#[test]
fn requests() {
    let texts = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>();
    keep(
        "negotiation",
        &texts(&[
            SCRAPE_ACCEPT,
            "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
            "application/openmetrics-text;version=1.0.0;escaping=values;q=0.5,text/plain;q=1e-1,*/*;q=0",
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7",
            "application/vnd.fedgate.frames; version=1",
            "gzip;q=1.0, zstd;q=NaN, identity;q=-1, *",
            "Wed, 21 Oct 2026 07:28:00 GMT",
            "18446744073709551616",
            "text/plain; version=\"0.0.4\" ;; =",
        ]),
    );
    keep(
        "selectors",
        &texts(&[
            "match[]=%7B__name__%3D~%22.%2B%22%7D&limit=5&timestamps=0",
            "{__name__=~\"job:.*\",x!=\"\\\"\\\\\\n\",y!~\"(a|b)*c{2,3}\"}",
            "up{a=\"b\",}",
            "{\"na.me\",\"la.bel\"=\"é\"}",
            "{}",
            "sum(rate(x[5m])) by (le) offset 5m",
            "a:b{x=~'[[:alpha:]]+$|^\\\\d'}",
            "match[]=up&match[]=%7Bjob%3D%22a+b%22%7D;x=%zz",
            "{a=\"b\" or c=\"d\"} @ end()",
        ]),
    );
    keep(
        "relabel",
        &texts(&[
            "__address__=h:9100\njob=j\n__meta_rack=07\n\nreplace\t__address__,job\t;\t([^:]+):(.*);(.*)\t\tinstance\t${1}-$3$$\nlabelmap\t\t\t__meta_(.+)\t\t\t$1\nlabeldrop\t\t\t__.*",
            "a=B\nc=é\n\nlowercase\ta,c\t-\t\t\tx\nuppercase\tx\t\t\t\ty\nhashmod\ty\t\t\t8\tshard\nkeep\tshard\t\t[0-7]\n",
            "a=1\nb=1\n\nkeepequal\ta\t\t\t\tb\ndropequal\ta\t\t\t\tc\nlabelkeep\t\t\ta|b\nreplace\ta\t;\t(?P<n>.)\t\t$n\t$x${n}",
        ]),
    );
    keep(
        "verdict",
        &[
            (0, "{\"acked\":7}"),
            (3, "{\"expected\":18446744073709551615}"),
            (4, "{\"key\":true,\"schemas\":[\"00ff\"]}"),
        ]
        .into_iter()
        .chain([(5, "{\"limit_bytes\":10}"), (6, "{\"versions\":[1,2]}"), (7, "{\"seq\":1,\"reason\":\"é\\u0000\"}")])
        .chain([(1, " no way "), (2, "{\"reason\":\"x\"}"), (8, ""), (9, "busy"), (10, "")])
        .map(|(status, body)| [&[status], body.as_bytes()].concat())
        .collect::<Vec<_>>(),
    );
    keep(
        "scalars",
        &texts(&[
            "1h30m",
            "1y2w3d4h5m6s7ms",
            "292y",
            "0",
            "64MiB",
            "18446744073709551615B",
            "1.7976931348623157e308",
            "-0",
            "+Inf",
            "5e-324",
            "nan",
            "0:9091",
            "[::1]:443",
            "00112233445566778899aabbccddeeff",
            "7F:00:01",
            "na.me é\u{0}",
            "123456789012345678901234567890.5e-10",
        ]),
    );
}

#[test]
fn files() {
    let config = |name: &str| fs::read(root().join("config").join(name)).unwrap();
    let bare = b"push: {url: \"https://g:9443\", tick: 5s, tls_config: {ca_file: a, cert_file: b, key_file: c}}\n\
        scrape_configs:\n- job_name: &j x\n  params: {a: [*j]}\n  static_configs: [{targets: [\"h:1\"], labels: {y: z}}]\n";
    let faulty = b"push:\n  listen: :1\n  clusters: [{cluster: a}, {cluster: a, expect_every: 5}]\nhttp: {federate: 7, lisen: x}\n? [a]\n: b\n";
    let uncommented = |name: &str| {
        let text = String::from_utf8(config(name)).unwrap();
        let kept = text.lines().filter(|line| !line.trim_start().starts_with('#') && !line.is_empty());
        kept.map(|line| format!("{line}\n")).collect::<String>().into_bytes()
    };
    keep("config_file", &[uncommented("gateway.yml"), uncommented("collector.yml"), bare.to_vec(), faulty.to_vec()]);
    keep(
        "target_groups",
        &[
            b"[{\"targets\": [\"a:1\", \"[::1]:9100\"], \"labels\": {\"rack\": \"07\", \"__scheme__\": \"https\"}}, {\"targets\": []}]".to_vec(),
            b"- targets: ['a:1', b]\n  labels: {__scrape_interval__: 5s, __scrape_timeout__: 1m, __metrics_path__: /x?y, __param_z: 'q'}\n".to_vec(),
            b"- &a {targets: [h:1], labels: {instance: '', job: x}}\n- *a\n- null\n".to_vec(),
        ],
    );
    let page = beginning("edge-cases.prom");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&page).unwrap();
    let (gzip, zstd) = (gzip.finish().unwrap(), zstd::bulk::compress(&page, 3).unwrap());
    let body = |encoding: u8, power: u8, body: &[u8]| [&[encoding, power], body].concat();
    let twice = [&gzip[..], &gzip].concat();
    let bomb = zstd::bulk::compress(&vec![0; 3_000_000], 3).unwrap();
    keep_remade(
        "scraped_body",
        &[
            body(0, 20, &page[..300]),
            body(2, 20, &gzip),
            body(2, 4, &gzip),
            body(2, 20, &twice),
            body(3, 20, &zstd),
            body(3, 16, &bomb),
            body(4, 9, b"x"),
        ],
    );
}

/// Documents of a certificate authority that exists for this alone.
#[test]
fn certificates() {
    let folder = tempfile::tempdir().unwrap();
    let now = Timestamp(START_MS);
    let ca = fedgate::tls::ca::Authority::init(&folder.path().join("ca"), "fuzz", now).unwrap();
    let issued = ca.issue_collector("alpha", &["h.example".to_owned()], now).unwrap();
    ca.revoke(&issued.record.serial, now).unwrap();
    let read = |path: &Path| fs::read_to_string(path).unwrap();
    let (certificate, key) = (read(&issued.certificate), read(&issued.key.unwrap()));
    let (own, list) = (read(&ca.certificate_path()), read(&ca.revocation_list_path()));
    let der = |pem: &str| {
        let lines: String =
            pem.lines().skip_while(|line| line.starts_with('#')).filter(|line| !line.starts_with("---")).collect();
        let der = base64::engine::general_purpose::STANDARD.decode(lines).unwrap();
        [&(der.len() as u16).to_be_bytes()[..], &der].concat()
    };
    let documents = [&b"d"[..], &der(&certificate), &der(&key), &der(&own), &der(&list)].concat();
    let pem =
        |parts: &[&String]| format!("p{}", parts.iter().map(|part| part.as_str()).collect::<String>()).into_bytes();
    keep_remade("tls_files", &[documents, pem(&[&certificate]), pem(&[&own, &list])]);
}

/// Segments of a journal behind the three bytes that say what is put right and where the second one begins.
#[test]
fn journal_segments() {
    let files = FaultyFiles::new(1);
    let options = Options { salt: 5, segment_bytes: 200, ..Options::new(Role::Frames) };
    let opened = Journal::open(Arc::new(files.clone()), Path::new("/log"), options, Timestamp(START_MS));
    let (mut journal, _) = opened.unwrap();
    for payload in [&b"one"[..], b"", &[7; 100], b"the first of a second segment"] {
        journal.log().append(1, &[payload], Timestamp(START_MS)).unwrap();
    }
    journal.commit(Timestamp(START_MS)).unwrap();
    let segments: Vec<Vec<u8>> = journal
        .log()
        .segments()
        .iter()
        .map(|segment| segment.first.0)
        .map(|first| files.content(&PathBuf::from(format!("/log/{first:020}.seg"))).unwrap())
        .collect();
    let [first, second] = &segments[..] else { panic!("two segments") };
    let mut damaged = first.clone();
    damaged[150] ^= 1;
    let share = (first.len() * 256 / (first.len() + second.len()) + 1) as u8;
    keep(
        "journal_segment",
        &[
            [&[0, 0, 0], &first[..]].concat(),
            [&[7, 0, 0], &first[..first.len() - 30]].concat(),
            [&[0, 0, 0], &damaged[..]].concat(),
            [&[15, share, 128], &first[..], second].concat(),
            [&[15, share, 60], &first[..], second].concat(),
        ],
    );
}

/// Requests of both versions: parts of scrapes, markers, metadata, exemplars, histograms, two samples of a series, faults.
#[test]
fn remote_write_requests() {
    let record = |flags: u8, message: &[u8]| [&[flags], &(message.len() as u16).to_le_bytes()[..], message].concat();
    let one = |name: &str, samples: &[(f64, i64)]| {
        let mut out = Vec::new();
        message::put_series_v1(&mut out, |out| {
            message::put_labels(out, &Labels::from_pairs([("__name__", name), ("instance", "i"), ("job", "j")]));
            samples.iter().for_each(|(value, at)| message::put_sample(out, *value, Timestamp(START_MS + at), None));
        });
        out
    };
    let mut described = one("c_total", &[(1.0, 0)]);
    message::put_metadata_v1(&mut described, "c_total", MetricType::Counter, "help", "");
    let exemplar = Exemplar { labels: Labels::from_pairs([("t", "x")]), value: 0.5, timestamp: None };
    let mut with_exemplar = Vec::new();
    message::put_series_v1(&mut with_exemplar, |out| {
        message::put_labels(out, &Labels::from_pairs([("__name__", "a")]));
        message::put_sample(out, 2.0, Timestamp(START_MS), None);
        message::put_exemplar_v1(out, &exemplar, Timestamp(START_MS));
    });
    let parts =
        [record(0, &one("a", &[(1.0, 0)])), record(0, &one("b", &[(2.0, 0)])), record(4, &one("a", &[(3.0, 1000)]))];
    let ended = [record(0, &one("a", &[(1.0, 0)])), record(4, &one("a", &[(stale_nan(), 1000)])), record(12, &[])];
    let late = [record(0, &one("a", &[(1.0, 0), (2.0, 500), (1.0, 250)])), record(0, &one("a", &[(7.0, 500)]))];
    let snappy = snap::raw::Encoder::new().compress_vec(&one("a", &[(1.0, 0)])).unwrap();
    keep(
        "remote_write_request",
        &[
            parts.concat(),
            ended.concat(),
            late.concat(),
            record(0, &described),
            record(0, &with_exemplar),
            [record(1, &second_version()), record(9, &second_version())].concat(),
            record(2, &snappy),
        ],
    );
}

/// A float and a histogram with starts, metadata and an exemplar.
fn second_version() -> Vec<u8> {
    let histogram = NativeHistogram {
        reset_hint: ResetHint::NotReset,
        schema: 0,
        zero_threshold: 0.1,
        sum: 5.0,
        custom_bounds: Vec::new(),
        counts: HistogramCounts::Integer(Counts {
            count: 3,
            zero: 1,
            positive: Buckets { spans: vec![Span { offset: 0, length: 1 }], counts: vec![2] },
            negative: Buckets::default(),
        }),
    };
    let at = Timestamp(START_MS);
    let mut out = Vec::new();
    ["", "__name__", "h", "c_total", "help"].iter().for_each(|symbol| put_text(&mut out, 4, symbol));
    message::put_series_v2(&mut out, |out| {
        message::put_refs(out, 1, [1, 2].into_iter());
        message::put_histogram(out, 3, &histogram, at, Some(at - Duration::from_secs(9)));
    });
    message::put_series_v2(&mut out, |out| {
        message::put_refs(out, 1, [1, 3].into_iter());
        message::put_sample(out, 4.0, at, None);
        put_message(out, 4, 1, |out| {
            message::put_refs(out, 1, [3, 4].into_iter());
            put_double(out, 2, 0.5);
        });
        put_message(out, 5, 1, |out| {
            put_count(out, 1, 1);
            put_count(out, 3, 4);
        });
    });
    out
}
