//! Samples of a script's series, one interval apart.
//!
//! | token | samples |
//! |---|---|
//! | `1`, `NaN`, `-Inf`, `-0` | one |
//! | `_`, `_x3` | none, for one interval or three |
//! | `stale` | the series ends |
//! | `1+2x3`, `5-1x2`, `7x2` | 1 3 5 7; 5 4 3; 7 7 7 |
//! | `{{schema:0 count:3 sum:5 buckets:[1 2]}}` | a native histogram; keys: `schema`, `count`, `sum`, `z_bucket`, `z_bucket_w`, `buckets`, `offset`, `n_buckets`, `n_offset`, `custom_values`, `counter_reset_hint` |
//! | `{{…}}x2`, `{{…}}+{{…}}x2` | the same again, or grown each time |

use fedgate::model::ResetHint;
use fedgate::promql::histogram::FloatHistogram;

use super::series::Sample;

/// All samples of a line; `None` is an interval without one.
pub(crate) fn parse(line: &str) -> Vec<Option<Sample>> {
    let (mut samples, mut rest) = (Vec::new(), line.trim());
    while !rest.is_empty() {
        let end = token_end(rest);
        samples.extend(token(&rest[..end]));
        rest = rest[end..].trim_start();
    }
    samples
}

/// Blanks inside of braces end no token.
fn token_end(text: &str) -> usize {
    let mut depth = 0;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            b' ' if depth == 0 => return at,
            _ => {}
        }
    }
    text.len()
}

fn token(text: &str) -> Vec<Option<Sample>> {
    if text.starts_with("{{") {
        return histograms(text);
    }
    let (what, times) = match text.rsplit_once('x').and_then(|(what, times)| Some((what, times.parse().ok()?))) {
        Some((what, times)) => (what, Some(times)),
        None => (text, None),
    };
    match (what, times) {
        ("_", times) => vec![None; times.unwrap_or(1)],
        ("stale", None) => vec![Some(Sample::Stale)],
        (number, None) => vec![Some(Sample::Float(self::number(number)))],
        (progression, Some(times)) => {
            let (first, step) = first_and_step(progression);
            // Added up one by one, as a program that counts would.
            let values = std::iter::successors(Some(first), |value| Some(value + step));
            values.take(times + 1).map(|value| Some(Sample::Float(value))).collect()
        }
    }
}

fn first_and_step(text: &str) -> (f64, f64) {
    let sign = text.char_indices().skip(1).find(|(at, char)| matches!(char, '+' | '-') && !text[..*at].ends_with('e'));
    match sign {
        Some((at, _)) => (number(&text[..at]), number(text[at..].trim_start_matches('+'))),
        None => (number(text), 0.0),
    }
}

fn number(text: &str) -> f64 {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is no number"))
}

fn histograms(text: &str) -> Vec<Option<Sample>> {
    let (terms, times) = match text.rsplit_once("}}x") {
        Some((terms, times)) => (format!("{terms}}}}}"), times.parse().expect("how often")),
        None => (text.to_owned(), 0),
    };
    let mut parts = terms.split("}}").filter(|part| !part.is_empty()).map(|part| part.trim_start_matches(['+', '{']));
    let first = histogram(parts.next().expect("a histogram"));
    let step = parts.next().map(histogram);
    let grown = |histogram: &FloatHistogram| {
        let mut next = histogram.clone();
        if let Some(step) = &step {
            next.add(step).expect("the same kind of buckets");
        }
        next
    };
    let all = std::iter::successors(Some(first), |histogram| Some(grown(histogram)));
    all.take(times + 1).map(|histogram| Some(Sample::Histogram(histogram))).collect()
}

/// `key:value` pairs; lists stand in brackets.
fn histogram(text: &str) -> FloatHistogram {
    let mut histogram = FloatHistogram {
        reset_hint: ResetHint::Unknown,
        schema: 0,
        zero_threshold: 0.0,
        zero: 0.0,
        count: 0.0,
        sum: 0.0,
        positive: Vec::new(),
        negative: Vec::new(),
        custom_bounds: [].into(),
    };
    let (mut offset, mut negative_offset) = (0, 0);
    for (key, value) in pairs(text) {
        let list = || value.trim_matches(['[', ']']).split_whitespace().map(number);
        match key {
            "schema" => histogram.schema = value.parse().expect("a schema"),
            "count" => histogram.count = number(value),
            "sum" => histogram.sum = number(value),
            "z_bucket" => histogram.zero = number(value),
            "z_bucket_w" => histogram.zero_threshold = number(value),
            "offset" => offset = value.parse().expect("an offset"),
            "n_offset" => negative_offset = value.parse().expect("an offset"),
            "buckets" => histogram.positive = list().enumerate().map(|(at, count)| (at as i32, count)).collect(),
            "n_buckets" => histogram.negative = list().enumerate().map(|(at, count)| (at as i32, count)).collect(),
            "custom_values" => histogram.custom_bounds = list().collect(),
            "counter_reset_hint" => histogram.reset_hint = hint(value),
            other => panic!("no key of a histogram: {other:?}"),
        }
    }
    histogram.positive.iter_mut().for_each(|(index, _)| *index += offset);
    histogram.negative.iter_mut().for_each(|(index, _)| *index += negative_offset);
    histogram
}

fn hint(text: &str) -> ResetHint {
    match text {
        "gauge" => ResetHint::Gauge,
        "reset" => ResetHint::Reset,
        "not_reset" => ResetHint::NotReset,
        _ => ResetHint::Unknown,
    }
}

fn pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = text.trim();
    std::iter::from_fn(move || {
        let (key, behind) = rest.split_once(':')?;
        let end = match behind.strip_prefix('[') {
            Some(list) => list.find(']').expect("the list's end") + 2,
            None => behind.find(' ').unwrap_or(behind.len()),
        };
        rest = behind[end..].trim_start();
        Some((key.trim(), &behind[..end]))
    })
}

#[test]
fn progressions_gaps_and_histograms() {
    let shown = |line: &str| -> Vec<String> {
        let text = |sample: &Option<Sample>| match sample {
            None => "_".to_owned(),
            Some(Sample::Float(value)) => value.to_string(),
            Some(Sample::Stale) => "stale".to_owned(),
            Some(Sample::Histogram(histogram)) => format!("{} {:?}", histogram.count, histogram.positive),
        };
        parse(line).iter().map(text).collect()
    };
    assert_eq!(
        shown("1+2x2 _x2 -0 1e3x1 5-1x1 stale"),
        ["1", "3", "5", "_", "_", "-0", "1000", "1000", "5", "4", "stale"]
    );
    assert_eq!(shown("{{count:3 buckets:[1 2] offset:1}}"), ["3 [(1, 1.0), (2, 2.0)]"]);
    assert_eq!(shown("{{count:1 buckets:[1]}}+{{count:1 buckets:[1]}}x1"), ["1 [(0, 1.0)]", "2 [(0, 2.0)]"]);
}
