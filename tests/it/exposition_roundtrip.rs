//! What is written is read back as the same, by this parser and by another; mutilated pages are refused or read, never
//! a panic.

use std::path::PathBuf;

use fedgate::exposition::{
    Entry, Format, ParseError, Remembered, parser, write_eof, write_help, write_sample, write_type, write_unit,
    write_value,
};
use fedgate::model::{Exemplar, Labels, LabelsBuilder, METRIC_NAME, MetricType, Timestamp, normal_nan};
use proptest::prelude::*;

#[derive(Clone, Debug, PartialEq)]
struct Sample {
    labels: Labels,
    value: u64,
    timestamp: Option<Timestamp>,
    exemplar: Option<(Labels, u64, Option<Timestamp>)>,
}

#[derive(Clone, Debug, PartialEq, Default)]
struct Family {
    name: String,
    kind: MetricType,
    help: String,
    unit: String,
}

/// Names that need quotes and names that do not; never `le` or `quantile`, which are rewritten.
fn names() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z][a-z0-9_]{0,5}", "[A-Za-z.é\"\\\\\n 字]{1,5}", "\\PC{1,4}"]
        .prop_filter("rewritten", |name| name != "le" && name != "quantile" && name != METRIC_NAME)
}

fn values() -> impl Strategy<Value = u64> {
    let bits = any::<u64>().prop_map(f64::from_bits);
    let whole = (-2_000_000i64..2_000_000).prop_map(|whole| whole as f64);
    let decimal =
        (any::<i32>(), -12i32..12).prop_map(|(mantissa, exponent)| f64::from(mantissa) * 10f64.powi(exponent));
    prop_oneof![bits, whole, decimal].prop_map(|value: f64| match value {
        value if value.is_nan() => normal_nan().to_bits(),
        // Both zeros are written as Prometheus does, without a sign.
        0.0 => 0,
        value => value.to_bits(),
    })
}

fn labels() -> impl Strategy<Value = Labels> {
    let pairs = prop::collection::vec((names(), "[a-z]{0,8}|[\\PC\n]{0,6}"), 0..4);
    pairs.prop_map(|pairs| Labels::from_pairs(pairs.iter().map(|(name, value)| (&**name, &**value))))
}

fn timestamps() -> impl Strategy<Value = Option<Timestamp>> {
    prop::option::of((0i64..4_000_000_000_000).prop_map(Timestamp))
}

fn samples() -> impl Strategy<Value = Vec<Sample>> {
    let exemplar = prop::option::of((labels(), values(), timestamps()));
    let sample = (names(), labels(), values(), timestamps(), exemplar);
    let sample = sample.prop_map(|(name, labels, value, timestamp, exemplar)| {
        let mut builder = LabelsBuilder::from_labels(&labels);
        let labels = builder.set(METRIC_NAME, &name).build();
        Sample { labels, value, timestamp, exemplar }
    });
    prop::collection::vec(sample, 0..6)
}

fn families() -> impl Strategy<Value = Family> {
    let help = "[\\PC\n\\\\\"]{0,9}"
        .prop_filter("blanks alone are no text", |help| help.is_empty() || !help.trim_matches([' ', '\t']).is_empty());
    (names(), 0u8..8, help, prop::bool::ANY).prop_map(|(stem, kind, help, has_unit)| {
        let (name, unit) = if has_unit { (format!("{stem}_s"), "s".to_owned()) } else { (stem, String::new()) };
        Family { name, kind: MetricType::from_number(kind).unwrap(), help, unit }
    })
}

fn write_page(format: Format, family: &Family, samples: &[Sample]) -> Vec<u8> {
    let mut page = Vec::new();
    write_type(&mut page, format, &family.name, family.kind);
    write_help(&mut page, format, &family.name, &family.help);
    write_unit(&mut page, format, &family.name, &family.unit);
    for sample in samples {
        let exemplar = sample.exemplar.as_ref().map(|(labels, value, timestamp)| Exemplar {
            labels: labels.clone(),
            value: f64::from_bits(*value),
            timestamp: *timestamp,
        });
        let value = f64::from_bits(sample.value);
        write_sample(&mut page, format, &sample.labels, value, sample.timestamp, exemplar.as_ref());
    }
    write_eof(&mut page, format);
    page
}

fn read_page(format: Format, page: &[u8]) -> Result<(Family, Vec<Sample>), ParseError> {
    let (mut read, mut samples, mut builder) = (Family::default(), Vec::new(), LabelsBuilder::default());
    let mut parser = parser(format, page);
    while let Some(entry) = parser.next()? {
        match entry {
            Entry::Type { family, kind } => (read.name, read.kind) = (family.into_owned(), kind),
            Entry::Help { help, .. } => read.help = help.into_owned(),
            Entry::Unit { unit, .. } => read.unit = unit.to_owned(),
            Entry::Sample(line) => {
                line.labels(&mut builder)?;
                let labels = builder.build();
                let exemplar = line.exemplar.and_then(|exemplar| exemplar.read(&mut builder));
                samples.push(Sample {
                    labels,
                    value: line.value.to_bits(),
                    timestamp: line.timestamp,
                    exemplar: exemplar.map(|read| (read.labels, read.value.to_bits(), read.timestamp)),
                });
            }
        }
    }
    Ok((read, samples))
}

fn has_even_mantissa(number: &str) -> bool {
    let mantissa = number.split_once('e').map_or(number, |(mantissa, _)| mantissa);
    mantissa.bytes().last().is_some_and(|digit| (digit - b'0').is_multiple_of(2))
}

#[test]
fn halfway_between_two_shortest_forms_the_even_one_is_written() {
    let mut written = Vec::new();
    write_value(&mut written, f64::from_bits(4_831_322_567_640_272_170));
    assert_eq!(written, b"9.959208408088692e+14", "as Go has it; Rust would end in 3");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn openmetrics_is_read_back_as_written(family in families(), samples in samples()) {
        let page = write_page(Format::OpenMetrics, &family, &samples);
        prop_assert_eq!(read_page(Format::OpenMetrics, &page).unwrap(), (family, samples));
    }

    #[test]
    fn text_is_read_back_as_written(family in families(), samples in samples()) {
        let page = write_page(Format::Text1, &family, &samples);
        let (read_family, read_samples) = read_page(Format::Text1, &page).unwrap();
        let plain: Vec<_> = samples.into_iter().map(|sample| Sample { exemplar: None, ..sample }).collect();
        prop_assert_eq!(read_samples, plain);
        prop_assert_eq!((read_family.name, read_family.help), (family.name, family.help));
    }

    /// The digits of Rust's own `{:e}`, arranged by Go's rule, are the witness of the number writer.
    #[test]
    fn numbers_have_the_form_that_go_gives_them(bits in values()) {
        let value = f64::from_bits(bits);
        prop_assume!(value.is_finite() && value != 0.0);
        let scientific = format!("{value:e}");
        let (mantissa, exponent) = scientific.split_once('e').unwrap();
        let exponent: i32 = exponent.parse().unwrap();
        let expected = match exponent {
            -4..6 => format!("{value}"),
            6.. => format!("{mantissa}e+{exponent:02}"),
            _ => format!("{mantissa}e-{:02}", -exponent),
        };
        let mut written = Vec::new();
        write_value(&mut written, value);
        let written = String::from_utf8(written).unwrap();
        // Halfway between two shortest forms Go takes the even one, Rust the upper one.
        let is_even_form = written.len() == expected.len() && written.parse() == Ok(value) && has_even_mantissa(&written);
        prop_assert!(written == expected || is_even_form, "{} but {}", written, expected);
    }

    #[test]
    fn every_millisecond_survives_openmetrics_seconds(millis in -4_000_000_000_000i64..4_000_000_000_000) {
        let sample = Sample { labels: Labels::from_pairs([(METRIC_NAME, "a")]), value: 0, timestamp: Some(Timestamp(millis)), exemplar: None };
        let page = write_page(Format::OpenMetrics, &Family { name: "a".into(), ..Family::default() }, std::slice::from_ref(&sample));
        prop_assert_eq!(read_page(Format::OpenMetrics, &page).unwrap().1, [sample]);
    }

    /// The other parser reads rightly what has plain names, plain label values and no histograms.
    #[test]
    fn another_parser_reads_the_same(
        lines in prop::collection::vec(("m[a-z_]{0,6}", "[a-z]{1,5}", "[a-zA-Z0-9_./-]{1,8}", values(), 0i64..4_000_000_000_000), 1..8),
    ) {
        let samples: Vec<_> = lines.iter().map(|(name, label, text, value, millis)| Sample {
            labels: Labels::from_pairs([(METRIC_NAME, &**name), (label, text)]),
            value: *value,
            timestamp: Some(Timestamp(*millis)),
            exemplar: None,
        }).collect();
        let page = write_page(Format::Text, &Family { name: "m".into(), kind: MetricType::Gauge, ..Family::default() }, &samples);
        let text = String::from_utf8(page.clone()).unwrap();
        let witness = prometheus_parse::Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).unwrap();
        let read = read_page(Format::Text, &page).unwrap().1;
        prop_assert_eq!(witness.samples.len(), read.len());
        for (theirs, ours) in witness.samples.iter().zip(&read) {
            let pairs = theirs.labels.iter().map(|(name, value)| (&**name, &**value)).chain([(METRIC_NAME, &*theirs.metric)]);
            prop_assert_eq!(&Labels::from_pairs(pairs), &ours.labels);
            prop_assert_eq!(Some(Timestamp(theirs.timestamp.timestamp_millis())), ours.timestamp);
            let (prometheus_parse::Value::Gauge(value) | prometheus_parse::Value::Untyped(value)) = theirs.value else {
                panic!("{theirs:?}");
            };
            prop_assert!(value.to_bits() == ours.value || value.is_nan() && f64::from_bits(ours.value).is_nan());
        }
    }

    #[test]
    fn mutilated_pages_never_panic(seed in mutations(), which in 0..4usize) {
        let (name, format) = [
            ("edge-cases.prom", Format::Text),
            ("prometheus_client-slurmlike.prom", Format::Text1),
            ("prometheus_client-slurmlike.om", Format::OpenMetrics),
            ("prometheus-3.5.3-federate-rules.prom", Format::OpenMetrics),
        ][which];
        let whole = fixture(name);
        let page = mutilate(whole.clone(), &seed);
        let _ = read_page(format, &page);
        prop_assert_eq!(outcome(format, &page, &[]), outcome(format, &page, &keys(format, &whole)), "memory changed the outcome");
    }
}

fn fixture(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/expositions").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Places (as a fraction of the page) and what to do there: a byte to put, or 256 to delete one, or 257 to cut the page.
fn mutations() -> impl Strategy<Value = Vec<(f64, u16)>> {
    let byte = prop_oneof![4 => prop::sample::select(b"{}\"\\=, \t\n\r#\0eE+-.1aN:_\xff".to_vec()).prop_map(u16::from), 1 => 0u16..258];
    prop::collection::vec((0.0..1.0f64, byte), 1..12)
}

fn mutilate(mut page: Vec<u8>, mutations: &[(f64, u16)]) -> Vec<u8> {
    for (place, what) in mutations {
        let at = (page.len() as f64 * place) as usize;
        match (what, at < page.len()) {
            (257, _) => page.truncate(at),
            (256, true) => drop(page.remove(at)),
            (byte, true) => page[at] = *byte as u8,
            (..) => {}
        }
    }
    page
}

/// Key, value text and value of each sample of a whole page.
fn keys(format: Format, page: &[u8]) -> Vec<(Vec<u8>, Vec<u8>, f64)> {
    let mut parser = parser(format, page);
    let mut keys = Vec::new();
    while let Ok(Some(entry)) = parser.next() {
        if let Entry::Sample(sample) = entry {
            keys.push((sample.key.to_vec(), sample.value_text.to_vec(), sample.value));
        }
    }
    keys
}

/// Everything that reading the page yields, as text, with each line remembered from `memory`.
fn outcome(format: Format, page: &[u8], memory: &[(Vec<u8>, Vec<u8>, f64)]) -> Vec<String> {
    let mut parser = parser(format, page);
    let (mut outcome, mut line) = (Vec::new(), 0);
    loop {
        let entry = match memory.get(line) {
            Some((key, value_text, value)) => parser.next_remembering(Remembered { key, value_text, value: *value }),
            None => parser.next(),
        };
        match entry {
            Ok(None) => return outcome,
            Ok(Some(Entry::Sample(sample))) => {
                outcome.push(format!(
                    "{:?} {:?} {:?} {:?}",
                    sample.key,
                    sample.value.to_bits(),
                    sample.timestamp,
                    sample.exemplar
                ));
                line += 1;
            }
            Ok(Some(entry)) => outcome.push(format!("{entry:?}")),
            Err(error) => {
                outcome.push(error.to_string());
                return outcome;
            }
        }
    }
}
