//! Pages are read as Prometheus 3.5.3 reads them: its own answers to corner cases, real exporters' pages, and what an
//! error says.

use std::path::PathBuf;

use base64::Engine;
use fedgate::exposition::{
    Entry, Expected, Format, ParseError, Parser, Remembered, SampleLine, format_of_content_type, parse_value, parser,
    write_value,
};
use fedgate::model::{Labels, LabelsBuilder, MetricType, Timestamp};
use serde::Deserialize;

/// One page and what two versions of Prometheus made of it.
#[derive(Deserialize)]
struct Case {
    name: String,
    content_type: String,
    body: Option<String>,
    body_base64: Option<String>,
    /// Given where the scrape is up but the samples' own timestamps hide them from the query that listed the series.
    note: Option<String>,
    #[serde(rename = "prometheus_3.5.3")]
    outcome: Outcome,
}

#[derive(Deserialize)]
struct Outcome {
    scrape: String,
    series: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    labels: std::collections::BTreeMap<String, String>,
    value: String,
}

fn fixture(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every pair of label set and value, in the page's order.
fn read(format: Format, page: &[u8]) -> Result<Vec<(Labels, f64)>, ParseError> {
    let mut parser = parser(format, page);
    let mut builder = LabelsBuilder::default();
    let mut samples = Vec::new();
    while let Some(entry) = parser.next()? {
        if let Entry::Sample(sample) = entry {
            sample.labels(&mut builder)?;
            samples.push((builder.build(), sample.value));
        }
    }
    Ok(samples)
}

fn format_of_file(name: &str) -> Format {
    if name.ends_with(".om") { Format::OpenMetrics } else { Format::Text }
}

#[test]
fn corner_cases_end_as_in_prometheus() {
    let cases: Vec<Case> = serde_json::from_slice(&fixture("exposition-grammar.json")).unwrap();
    assert_eq!(cases.len(), 56);
    for case in cases {
        let body = match (&case.body, &case.body_base64) {
            (Some(text), _) => text.clone().into_bytes(),
            (None, Some(text)) => base64::engine::general_purpose::STANDARD.decode(text).unwrap(),
            (None, None) => panic!("{}: no body", case.name),
        };
        let format = format_of_content_type(Some(&case.content_type), None).map_err(|error| error.to_string());
        let samples = format.and_then(|format| read(format, &body).map_err(|error| error.to_string()));
        assert_eq!(samples.is_ok(), case.outcome.scrape == "up", "{}: {samples:?}", case.name);
        if case.note.is_none()
            && let Ok(samples) = samples
        {
            assert_eq!(first_of_each(samples), expected(&case), "{}", case.name);
        }
    }
}

/// Prometheus keeps the first of several samples of one series; values as bits.
fn first_of_each(samples: Vec<(Labels, f64)>) -> Vec<(Labels, u64)> {
    let mut kept: Vec<(Labels, u64)> = Vec::new();
    for (labels, value) in samples {
        if kept.iter().all(|(other, _)| *other != labels) {
            kept.push((labels, value.to_bits()));
        }
    }
    kept
}

fn expected(case: &Case) -> Vec<(Labels, u64)> {
    let labels = |series: &Series| Labels::from_pairs(series.labels.iter().map(|(name, value)| (&**name, &**value)));
    let value = |series: &Series| series.value.parse::<f64>().unwrap().to_bits();
    case.outcome.series.iter().map(|series| (labels(series), value(series))).collect()
}

/// One probe: a page and the series that Prometheus 3.5.3 stored after scraping it; none where it refused the page.
#[derive(Deserialize)]
struct Probe {
    format: String,
    page: Option<String>,
    page_base64: Option<String>,
    series: Option<Vec<(std::collections::BTreeMap<String, String>, String)>>,
    /// Why this parser is meant to answer otherwise.
    differs: Option<String>,
}

impl Probe {
    fn body(&self) -> Vec<u8> {
        match (&self.page, &self.page_base64) {
            (Some(text), _) => text.clone().into_bytes(),
            (None, encoded) => base64::engine::general_purpose::STANDARD.decode(encoded.as_ref().unwrap()).unwrap(),
        }
    }

    fn stored(&self) -> Option<Vec<(Labels, u64)>> {
        let labels = |map: &std::collections::BTreeMap<String, String>| {
            Labels::from_pairs(map.iter().map(|(name, value)| (&**name, &**value)))
        };
        let series = self.series.as_ref()?.iter();
        let mut series: Vec<_> =
            series.map(|(names, value)| (labels(names), parse_value(value.as_bytes()).unwrap().to_bits())).collect();
        series.sort();
        Some(series)
    }
}

#[test]
fn mutated_pages_end_as_in_prometheus() {
    let probes: Vec<Probe> = serde_json::from_slice(&fixture("exposition-probes.json")).unwrap();
    assert_eq!(probes.len(), 795);
    for probe in probes {
        let format = if probe.format == "text" { Format::Text } else { Format::OpenMetrics };
        let read = read(format, &probe.body()).ok().map(|samples| {
            let mut series = first_of_each(samples);
            series.sort();
            series
        });
        let is_same = read == probe.stored();
        assert_eq!(is_same, probe.differs.is_none(), "{:?}: {read:?}", String::from_utf8_lossy(&probe.body()));
    }
}

/// Pages, how many samples Prometheus 3.5.3 counted when it scraped them, and whether a Go program wrote them.
const PAGES: [(&str, usize, bool); 20] = [
    ("amd-device-metrics-exporter-4gpu.prom", 32, false),
    ("dcgm-exporter-8gpu.prom", 128, false),
    ("edge-cases.prom", 29, false),
    ("jontk-0.1.0-alpha.prom", 1217, true),
    ("node_exporter-1.11.1.prom", 521, true),
    ("pbs_exporter.prom", 55, false),
    ("prometheus-3.5.3-federate-rules.prom", 9, true),
    ("prometheus-3.5.3.prom", 587, true),
    ("prometheus_client-slurmlike.om", 140, false),
    ("prometheus_client-slurmlike.prom", 140, false),
    ("rivosinc-1.7-alpha.prom", 365, true),
    ("sckyzo-1.8-alpha.om", 994, false),
    ("sckyzo-1.8-alpha.prom", 994, true),
    ("slinky-slurm-exporter.prom", 117, false),
    ("slurm-native-jobs-users-accts.prom", 270, false),
    ("slurm-native-jobs.prom", 30, false),
    ("slurm-native-nodes.prom", 308, false),
    ("slurm-native-partitions.prom", 433, false),
    ("slurm-native-scheduler.prom", 58, false),
    ("vpenso-0.20-alpha.prom", 296, true),
];

#[test]
fn real_pages_have_as_many_samples_as_prometheus_counted() {
    for (name, count, _) in PAGES {
        let page = fixture(&format!("expositions/{name}"));
        let samples = read(format_of_file(name), &page).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(samples.len(), count, "{name}");
    }
}

/// The pages' own numbers are the witness of the number writer: what a Go program wrote, it must write too.
#[test]
fn numbers_are_written_as_go_programs_wrote_them() {
    let mut written = Vec::new();
    for (name, ..) in PAGES.iter().filter(|(.., is_go)| *is_go) {
        let page = fixture(&format!("expositions/{name}"));
        for sample in samples(Format::Text, &page) {
            written.clear();
            write_value(&mut written, sample.value);
            assert_eq!(String::from_utf8_lossy(&written), String::from_utf8_lossy(sample.value_text), "{name}");
        }
    }
}

fn samples(format: Format, page: &[u8]) -> Vec<SampleLine<'_>> {
    let mut parser = parser(format, page);
    let mut samples = Vec::new();
    while let Some(entry) = parser.next().unwrap() {
        if let Entry::Sample(sample) = entry {
            samples.push(sample);
        }
    }
    samples
}

/// Reads a page with the lines of `before` as memory, in order, as a collector does.
fn read_remembering<'a>(mut parser: Parser<'a>, before: &[SampleLine<'_>]) -> (Vec<SampleLine<'a>>, usize) {
    let (mut after, mut remembered, mut line) = (Vec::new(), 0, 0);
    loop {
        let entry = match before.get(line) {
            Some(old) => {
                let memory = Remembered { key: old.key, value_text: old.value_text, value: old.value };
                parser.next_remembering(memory).unwrap()
            }
            None => parser.next().unwrap(),
        };
        match entry {
            None => return (after, remembered),
            Some(Entry::Sample(mut sample)) => {
                remembered += usize::from(sample.is_remembered);
                line += 1;
                sample.is_remembered = false;
                after.push(sample);
            }
            Some(_) => {}
        }
    }
}

#[test]
fn memory_changes_nothing_but_the_speed() {
    for (name, ..) in PAGES {
        let page = fixture(&format!("expositions/{name}"));
        let format = format_of_file(name);
        let plain = samples(format, &page);
        let (again, remembered) = read_remembering(parser(format, &page), &plain);
        assert_eq!(format!("{again:?}"), format!("{plain:?}"), "{name}");
        // Only lines in an unusual form, such as a tab before the value, are not recognised.
        assert!(remembered + 2 >= plain.len(), "{name}: {remembered} of {}", plain.len());
    }
}

#[test]
fn memory_of_a_shorter_key_does_not_match() {
    let memory = Remembered { key: b"a", value_text: b"1", value: 7.0 };
    for (page, key) in
        [("ab 1\n", "ab"), ("a{x=\"y\"} 1\n", "a{x=\"y\"}"), ("a {x=\"y\"} 1\n", "a {x=\"y\"}"), ("a\t1\n", "a")]
    {
        let Some(Entry::Sample(sample)) = parser(Format::Text, page.as_bytes()).next_remembering(memory).unwrap()
        else {
            panic!("{page}: no sample");
        };
        assert_eq!((sample.key, sample.value, sample.is_remembered), (key.as_bytes(), 1.0, false), "{page}");
    }
    let Some(Entry::Sample(sample)) = parser(Format::Text, b"a 1\n").next_remembering(memory).unwrap() else {
        panic!("no sample");
    };
    assert_eq!(
        (sample.value, sample.is_remembered),
        (7.0, true),
        "the text is the same, so the value is the remembered"
    );
}

fn refusal(format: Format, page: &str) -> (usize, usize, Expected) {
    let error = read(format, page.as_bytes()).expect_err(page);
    (error.line, error.column, error.expected)
}

#[test]
fn errors_point_at_the_fault() {
    use Expected::*;
    for (page, place) in [
        ("a 1\n%%%\n", (2, 1, LineStart)),
        ("a 1\nb{x=\"1\",,} 2\n", (2, 9, LabelName)),
        ("a{x:y=\"1\"} 1\n", (1, 4, Equals)),
        ("a{x=1} 1\n", (1, 5, LabelValue)),
        ("a{x=\"1} 1\n", (1, 5, ClosingQuote)),
        ("a{x=\"1\"} \n", (1, 10, Value)),
        ("a 1e999\n", (1, 3, Number)),
        ("a 1 -5\n", (1, 5, TimestampOrLineEnd)),
        ("a 1 99999999999999999999\n", (1, 5, Millis)),
        ("a 1 5 x\n", (1, 7, LineEnd)),
        ("# TYPE a sausage\n", (1, 10, MetricType)),
        ("# HELP 1a text\n", (1, 8, FamilyName)),
        ("{x=\"1\"} 1\n", (1, 7, MetricName)),
        ("{\"\"} 1\n", (1, 2, MetricName)),
        ("{\"a\",\"b\"} 1\n", (1, 6, OneMetricName)),
        ("{\"a\",\"\"=\"b\"} 1\n", (1, 6, LabelName)),
        ("b 1\na{x=\"1\",x=\"1\"} 1\n", (2, 1, OtherLabelName)),
        ("a{__name__=\"b\"} 1\n", (1, 1, OtherLabelName)),
        ("\0", (1, 1, LineStart)),
    ] {
        assert_eq!(refusal(Format::Text, page), place, "{page:?}");
    }
    for (page, place) in [
        ("a 1\n", (2, 1, Eof)),
        ("a 1", (1, 4, Eof)),
        ("a 1\n# EOF\nb 1\n", (2, 6, NothingAfterEof)),
        ("# comment\n# EOF\n", (1, 1, LineStart)),
        ("# HELP a\n# EOF\n", (1, 9, MetadataText)),
        ("# UNIT a_b c\n# EOF\n", (1, 12, UnitSuffix)),
        ("a{x=\"1\" y=\"2\"} 1\n# EOF\n", (1, 8, CommaOrBrace)),
        ("a{x=\"1\n\"} 1\n# EOF\n", (1, 5, ClosingQuote)),
        ("a 1 inf\n# EOF\n", (1, 5, Seconds)),
        ("a 1 # {x} 1\n# EOF\n", (1, 9, Equals)),
        ("a 1 # {\"x\"} 1\n# EOF\n", (1, 8, OneMetricName)),
    ] {
        assert_eq!(refusal(Format::OpenMetrics, page), place, "{page:?}");
    }
}

#[test]
fn an_error_names_what_was_found_and_stays() {
    let mut parser = parser(Format::Text, b"a 1\nb x\nc 3\n");
    assert!(matches!(parser.next(), Ok(Some(Entry::Sample(_)))));
    let error = parser.next().unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 2, column 3: found \"x\", expected a decimal number within 64-bit range, inf or nan"
    );
    assert_eq!(parser.next().unwrap_err(), error, "a refused page stays refused");
}

#[test]
fn bounds_of_histograms_and_summaries_have_one_spelling() {
    let le = |page: &str, name: &str| {
        let (labels, _) = read(Format::Text, page.as_bytes()).unwrap().pop().unwrap();
        labels.get(name).map(str::to_owned)
    };
    for (raw, read) in
        [("1", "1.0"), ("1e+01", "10.0"), ("+Inf", "+Inf"), ("0.25", "0.25"), ("1e6", "1e+06"), ("x", "x")]
    {
        let page = format!("# TYPE h histogram\nh_bucket{{le=\"{raw}\"}} 1\n");
        assert_eq!(le(&page, "le").as_deref(), Some(read));
    }
    assert_eq!(le("# TYPE s summary\ns{quantile=\"1\"} 1\n", "quantile").as_deref(), Some("1.0"));
    assert_eq!(le("# TYPE s summary\ns{le=\"1\"} 1\n", "le").as_deref(), Some("1"));
    assert_eq!(
        le("# TYPE h histogram\nh_bucket 1\nx{le=\"1\"} 1\n", "le").as_deref(),
        Some("1.0"),
        "the last TYPE counts"
    );
}

#[test]
fn metadata_is_read_with_its_escapes() {
    let entries = |format, page: &'static str| {
        let mut parser = parser(format, page.as_bytes());
        let mut entries = Vec::new();
        while let Some(entry) = parser.next().unwrap() {
            entries.push(entry);
        }
        entries
    };
    assert_eq!(
        entries(Format::Text, "# HELP a b \\\\ c\\n\\\"\n#\tTYPE  a\tgauge\n# HELP \"x.y\" z\n#HELP no\n# HELPER no\n"),
        [
            Entry::Help { family: "a".into(), help: "b \\ c\n\\\"".into() },
            Entry::Type { family: "a".into(), kind: MetricType::Gauge },
            Entry::Help { family: "x.y".into(), help: "z".into() },
        ]
    );
    assert_eq!(
        entries(Format::OpenMetrics, "# HELP a_s \\\"q\\\"\n# TYPE a_s stateset\n# UNIT a_s s\n# EOF\n"),
        [
            Entry::Help { family: "a_s".into(), help: "\"q\"".into() },
            Entry::Type { family: "a_s".into(), kind: MetricType::StateSet },
            Entry::Unit { family: "a_s".into(), unit: "s" },
        ]
    );
}

#[test]
fn openmetrics_times_are_cut_to_milliseconds() {
    let page = "a 1 1.9999 # {t=\"\\\"x\"} 2.5 1700000000.5\n# EOF\n";
    let sample = samples(Format::OpenMetrics, page.as_bytes()).remove(0);
    assert_eq!(sample.timestamp, Some(Timestamp(1999)));
    let exemplar = sample.exemplar.unwrap().read(&mut LabelsBuilder::default()).unwrap();
    assert_eq!(exemplar.labels, Labels::from_pairs([("t", "\"x")]));
    assert_eq!((exemplar.value, exemplar.timestamp), (2.5, Some(Timestamp(1_700_000_000_500))));
}

#[test]
fn a_label_value_may_span_lines_in_the_text_format() {
    let page = "a{x=\"1\n2\"} 3\nb y\n";
    let error = read(Format::Text, page.as_bytes()).unwrap_err();
    assert_eq!((error.line, error.column), (3, 3));
    assert_eq!(parse_value(b"3"), Some(3.0));
}
