//! A page of text or OpenMetrics.
//!
//! Promises: reading ends; what is remembered of another page changes nothing but the speed; an accepted page, written
//! again, is read back as the same families and samples, bit for bit.

use fedgate::exposition::{
    Entry, Format, ParseError, Parser, Remembered, SampleLine, parser, write_eof, write_help, write_sample, write_type,
    write_unit,
};
use fedgate::model::{Exemplar, Labels, LabelsBuilder, Timestamp};

/// Milliseconds up to which OpenMetrics' decimal seconds are exact enough to come back: the year 2096.
const EXACT_MILLIS: i64 = 4_000_000_000_000;

/// Reads `page` as text 0.0.4 (1.0.0 has the same grammar).
pub(crate) fn run_text(page: &[u8]) {
    check(Format::Text, page);
}

/// Reads `page` as OpenMetrics 1.0.
pub(crate) fn run_openmetrics(page: &[u8]) {
    check(Format::OpenMetrics, page);
}

fn check(format: Format, page: &[u8]) {
    let (lines, end) = lines(format, page);
    for shift in [0, 1] {
        assert_eq!(
            shown(&remembering(format, page, &lines, shift)),
            shown(&(lines.clone(), end.clone())),
            "memory told"
        );
    }
    let (read, is_good) = read(format, page);
    if is_good {
        let text = write(format, &read);
        let (again, is_good) = self::read(format, &text);
        assert!(is_good, "{}", String::from_utf8_lossy(&text));
        assert_eq!(writable(format, again), writable(format, read), "{}", String::from_utf8_lossy(&text));
    }
}

/// The samples of a page up to its end or fault.
fn lines(format: Format, page: &[u8]) -> (Vec<SampleLine<'_>>, Option<ParseError>) {
    collect(parser(format, page), |parser, _| parser.next())
}

/// The same, with the lines of `before` as memory: each at its own place, or (`shift`) at another's.
fn remembering<'a>(
    format: Format,
    page: &'a [u8],
    before: &[SampleLine<'_>],
    shift: usize,
) -> (Vec<SampleLine<'a>>, Option<ParseError>) {
    collect(parser(format, page), |parser, nth| match before.get(nth + shift) {
        Some(old) => parser.next_remembering(Remembered { key: old.key, value_text: old.value_text, value: old.value }),
        None => parser.next(),
    })
}

fn collect<'a>(
    mut parser: Parser<'a>,
    mut next: impl FnMut(&mut Parser<'a>, usize) -> Result<Option<Entry<'a>>, ParseError>,
) -> (Vec<SampleLine<'a>>, Option<ParseError>) {
    let mut lines: Vec<SampleLine<'a>> = Vec::new();
    loop {
        match next(&mut parser, lines.len()) {
            Ok(Some(Entry::Sample(mut line))) => {
                line.is_remembered = false;
                lines.push(line);
            }
            Ok(Some(_)) => {}
            Ok(None) => return (lines, None),
            Err(error) => {
                assert_eq!(parser.next().err().as_ref(), Some(&error), "a refused page stays refused");
                return (lines, Some(error));
            }
        }
    }
}

/// Values as bits: a NaN equals nothing.
fn shown((lines, end): &(Vec<SampleLine<'_>>, Option<ParseError>)) -> String {
    let bits: Vec<u64> = lines.iter().map(|line| line.value.to_bits()).collect();
    format!("{lines:?} {bits:?} {end:?}")
}

/// One entry without its place on the page; numbers as bits.
#[derive(Clone, Debug, PartialEq)]
enum Said {
    Type(String, fedgate::model::MetricType),
    Help(String, String),
    Unit(String, String),
    Sample(Labels, u64, Option<Timestamp>, Option<(Labels, u64, Option<Timestamp>)>),
}

/// Everything that a page says, and whether it is accepted.
fn read(format: Format, page: &[u8]) -> (Vec<Said>, bool) {
    let (mut parser, mut said, mut labels) = (parser(format, page), Vec::new(), LabelsBuilder::default());
    loop {
        said.push(match parser.next() {
            Ok(None) => return (said, true),
            Err(_) => return (said, false),
            Ok(Some(Entry::Type { family, kind })) => Said::Type(family.into_owned(), kind),
            Ok(Some(Entry::Help { family, help })) => Said::Help(family.into_owned(), help.into_owned()),
            Ok(Some(Entry::Unit { family, unit })) => Said::Unit(family.into_owned(), unit.to_owned()),
            Ok(Some(Entry::Sample(line))) => {
                if line.labels(&mut labels).is_err() {
                    return (said, false);
                }
                let series = labels.build();
                // `a{__name__=""}` has no name, which is for the scraper to refuse.
                if series.metric_name().is_empty() {
                    return (said, false);
                }
                let exemplar = line.exemplar.and_then(|exemplar| exemplar.read(&mut labels));
                let exemplar = exemplar.map(|own| (own.labels, own.value.to_bits(), own.timestamp));
                Said::Sample(series, line.value.to_bits(), line.timestamp, exemplar)
            }
        });
    }
}

fn write(format: Format, said: &[Said]) -> Vec<u8> {
    let mut page = Vec::new();
    for entry in said {
        match entry {
            Said::Type(family, kind) => write_type(&mut page, format, family, *kind),
            Said::Help(family, help) => write_help(&mut page, format, family, help),
            Said::Unit(family, unit) => write_unit(&mut page, format, family, unit),
            Said::Sample(labels, value, timestamp, exemplar) => {
                let exemplar = exemplar.clone().map(|(labels, value, timestamp)| Exemplar {
                    labels,
                    value: f64::from_bits(value),
                    timestamp,
                });
                write_sample(&mut page, format, labels, f64::from_bits(*value), *timestamp, exemplar.as_ref());
            }
        }
    }
    write_eof(&mut page, format);
    page
}

/// What of a page can be written: a zero has no sign, a HELP text of blanks alone is none in the text format, and
/// OpenMetrics' seconds lose far-away milliseconds.
fn writable(format: Format, said: Vec<Said>) -> Vec<Said> {
    let near = |at: &Timestamp| format == Format::Text || at.as_millis().abs() <= EXACT_MILLIS;
    let one = |entry| match entry {
        Said::Help(family, help) if format == Format::Text && help.trim_matches([' ', '\t']).is_empty() => {
            Said::Help(family, String::new())
        }
        Said::Sample(labels, value, timestamp, exemplar) => {
            let exemplar = exemplar.map(|(labels, value, at)| (labels, unsigned_zero(value), at.filter(near)));
            Said::Sample(labels, unsigned_zero(value), timestamp.filter(near), exemplar)
        }
        other => other,
    };
    said.into_iter().map(one).collect()
}

fn unsigned_zero(bits: u64) -> u64 {
    if f64::from_bits(bits) == 0.0 { 0 } else { bits }
}
