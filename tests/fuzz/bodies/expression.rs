//! A PromQL expression: read, printed, evaluated over a few series.
//!
//! Promises: a refusal points into the source and has words; what is printed, on one line or on many, is read back and printed
//! the same; an evaluation ends within its budget of samples and its number of looks at the time, and gives the same answer twice.

use std::cell::Cell as Counter;

use fedgate::model::{Labels, Timestamp};
use fedgate::promql::parse::SOURCE_BYTES_MAX;
use fedgate::promql::{Cell, Engine, ParseOptions, SeriesSource, Steps, parse, pretty};

const SAMPLES_MAX: u64 = 20_000;
/// How often an evaluation may ask whether its time is over.
const LOOKS_MAX: u32 = 2_000;
const MINUTE_MS: i64 = 60_000;
/// Of what is evaluated: a chain of a thousand operators is read, but takes its time.
const EVALUATED_BYTES_MAX: usize = 2_048;

/// Reads the input with all functions allowed.
pub(crate) fn run(input: &[u8]) {
    let Ok(source) = std::str::from_utf8(input) else { return };
    let options = ParseOptions { experimental: true };
    let expr = match parse(source, &options) {
        Ok(expr) => expr,
        Err(fault) => {
            assert!(fault.span.start <= fault.span.end && fault.span.end as usize <= source.len(), "{fault:?}");
            assert!(!fault.in_source(source).to_string().is_empty());
            return;
        }
    };
    let printed = expr.to_string();
    for form in [printed.clone(), pretty(&expr)] {
        if form.len() <= SOURCE_BYTES_MAX {
            let again = parse(&form, &options).unwrap_or_else(|fault| panic!("{form}: {fault}"));
            assert_eq!(again.to_string(), printed);
        }
    }
    if source.len() <= EVALUATED_BYTES_MAX {
        for steps in
            [Steps::instant(Timestamp(10 * MINUTE_MS)), Steps { start: Timestamp(0), step: MINUTE_MS, count: 5 }]
        {
            let evaluated = || {
                let looks = Counter::new(0);
                let is_over = || looks.replace(looks.get() + 1) > LOOKS_MAX;
                let engine = Engine { samples_max: SAMPLES_MAX, ..Engine::default() };
                engine.evaluate(&series(), &expr, steps, &is_over).map(|outcome| format!("{:?}", outcome.series()))
            };
            assert_eq!(format!("{:?}", evaluated()), format!("{:?}", evaluated()), "{printed}");
        }
    }
}

/// Counters, a gauge that ends, classic buckets and an infinity.
fn series() -> SeriesSource {
    let mut source = SeriesSource::default();
    let all: [(&[(&str, &str)], f64); 6] = [
        (&[("__name__", "a"), ("b", "c")], 1.0),
        (&[("__name__", "a"), ("b", "d")], -2.5),
        (&[("__name__", "up"), ("instance", "x")], 0.0),
        (&[("__name__", "h_bucket"), ("le", "1")], 3.0),
        (&[("__name__", "h_bucket"), ("le", "+Inf")], 4.0),
        (&[("__name__", "inf")], f64::INFINITY),
    ];
    for (labels, step) in all {
        let labels = Labels::from_pairs(labels.iter().copied());
        for round in 0..10 {
            let sample = (round != 7 || step != -2.5).then_some(Cell::Float(round as f64 * step));
            source.append(&labels, Timestamp(round * MINUTE_MS), sample);
        }
    }
    source
}
