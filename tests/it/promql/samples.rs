//! Generated series for generated questions: everything that PromQL has a rule for.
//!
//! Twenty minutes at a scrape every 15 s, not quite evenly and with gaps. Counters begin anew, gauges are NaN, infinite and negative
//! zeros, some series end by a marker and come back; buckets of histograms, classic, exponential and custom, count in step
//! and out of it. Labels are so that the same operation matches one to one, many to one, not at all or ambiguously.

use fedgate::model::{CUSTOM_BUCKETS_SCHEMA, Labels, ResetHint};
use fedgate::promql::histogram::FloatHistogram;

use super::series::{Sample, Series};
use crate::dice::Dice;

/// Time of the first samples; a date on which months and leap years can be told apart.
pub(crate) const START_MS: i64 = 1_709_163_000_000;
/// From the first samples to the last.
pub(crate) const LENGTH_MS: i64 = 1_200_000;
/// Between two samples of a series.
pub(crate) const INTERVAL_MS: i64 = 15_000;

/// Series being made.
struct Maker {
    dice: Dice,
    all: Vec<Series>,
}

/// All series of a seed.
pub(crate) fn series_of(seed: u64) -> Vec<Series> {
    let mut maker = Maker { dice: Dice(seed), all: Vec::new() };
    maker.counters();
    maker.gauges();
    maker.classic_histograms();
    maker.native_histograms();
    maker.about_others();
    let mut all = maker.all;
    // Both programs then visit series in one order, and sums of floats are taken in it.
    all.sort_by(|one, other| one.labels.iter().cmp(other.labels.iter()));
    all
}

impl Maker {
    /// Times of one series: jitter, lost scrapes, in one of eight a hole of some minutes.
    fn times(&mut self) -> Vec<i64> {
        let is_holed = self.dice.percent(12);
        let hole = self.dice.below(60) as i64;
        let mut times = Vec::new();
        for number in 0..LENGTH_MS / INTERVAL_MS {
            let is_lost = self.dice.percent(4) || is_holed && (hole..hole + 24).contains(&number);
            let jitter = if self.dice.percent(30) { self.dice.below(2_000) as i64 } else { 0 };
            if !is_lost {
                times.push(START_MS + number * INTERVAL_MS + jitter);
            }
        }
        times
    }

    fn add(&mut self, labels: &[(&str, &str)], mut value: impl FnMut(&mut Dice, usize) -> Sample) {
        let times = self.times();
        let samples = times.into_iter().enumerate().map(|(number, at)| (at, value(&mut self.dice, number)));
        let samples = samples.collect();
        self.all.push(Series { labels: Labels::from_pairs(labels.iter().copied()), samples });
    }

    fn floats(&mut self, labels: &[(&str, &str)], mut value: impl FnMut(&mut Dice, usize) -> f64) {
        self.add(labels, |dice, number| Sample::Float(value(dice, number)));
    }

    fn counters(&mut self) {
        for (job, instance) in places() {
            for code in ["200", "500"] {
                let mut count = 0.0;
                let labels = [("__name__", "requests_total"), ("job", job), ("instance", instance), ("code", code)];
                self.add(&labels, |dice, _| {
                    if dice.percent(2) {
                        return Sample::Stale;
                    }
                    count = if dice.percent(4) { dice.below(3) as f64 } else { count + dice.below(20) as f64 };
                    Sample::Float(count)
                });
            }
        }
        for job in ["a", "b"] {
            let mut count = 0.0;
            self.floats(&[("__name__", "seconds_total"), ("job", job)], |dice, _| {
                count += dice.below(1000) as f64 / 700.0;
                count
            });
        }
    }

    fn gauges(&mut self) {
        for (job, instance) in places() {
            let labels = [("__name__", "temperature"), ("job", job), ("instance", instance)];
            self.add(&labels, |dice, _| match dice.below(40) {
                0 => Sample::Float(f64::NAN),
                1 => Sample::Float(f64::INFINITY),
                2 => Sample::Float(f64::NEG_INFINITY),
                3 => Sample::Float(-0.0),
                4 => Sample::Float(0.0),
                5 => Sample::Stale,
                _ => Sample::Float(dice.below(80_000) as f64 / 1000.0 - 20.0),
            });
            let labels = [("__name__", "ratio"), ("job", job), ("instance", instance)];
            self.floats(&labels, |dice, _| dice.below(2_001) as f64 / 1000.0 - 1.0);
        }
        for zone in ["x", "y", "z"] {
            self.floats(&[("__name__", "level"), ("zone", zone)], |dice, _| 1.0 + dice.below(9_000) as f64 / 7.0);
            self.floats(&[("__name__", "steady"), ("zone", zone)], |dice, _| dice.below(3) as f64);
        }
        let sizes = [1e308, -1.5e308, 5e-324, 1e-9, 1e15, 123_456_789.125];
        for (number, size) in sizes.into_iter().enumerate() {
            let labels = [("__name__", "extreme"), ("number", &*number.to_string())];
            self.floats(&labels, |dice, _| size * (1.0 + dice.below(3) as f64 / 8.0));
        }
    }

    fn classic_histograms(&mut self) {
        const BOUNDS: [&str; 6] = ["0.1", "0.5", "1", "2.5", "10", "+Inf"];
        for (job, bounds) in [("a", &BOUNDS[..]), ("b", &BOUNDS[1..]), ("c", &BOUNDS[..5]), ("d", &BOUNDS[5..])] {
            for (rank, bound) in bounds.iter().enumerate() {
                let mut count = 0.0;
                self.floats(&[("__name__", "latency_bucket"), ("job", job), ("le", bound)], |dice, _| {
                    count += dice.below(1 + 3 * (rank + 1)) as f64;
                    // What is scraped while it counts is not always in step.
                    if job == "b" && dice.percent(20) { count * 1.2 } else { count * (rank + 1) as f64 }
                });
            }
            let mut sum = 0.0;
            self.floats(&[("__name__", "latency_sum"), ("job", job)], |dice, _| {
                sum += dice.below(40) as f64 / 8.0;
                sum
            });
        }
        self.floats(&[("__name__", "latency_bucket"), ("job", "e"), ("le", "many")], |_, number| number as f64);
        self.floats(&[("__name__", "latency_bucket"), ("job", "e")], |_, number| number as f64);
    }

    fn native_histograms(&mut self) {
        for (job, schema) in [("a", 0), ("b", 0), ("c", 2)] {
            let mut histogram = exponential(schema, 0.001);
            self.add(&[("__name__", "native"), ("job", job)], |dice, number| {
                if dice.percent(4) {
                    histogram = exponential(schema, 0.001);
                }
                if number == 40 && job == "b" {
                    histogram.reduce_to(-1);
                }
                observe(&mut histogram, dice);
                Sample::Histogram(histogram.clone())
            });
            self.add(&[("__name__", "native_level"), ("job", job)], |dice, _| {
                let mut histogram = exponential(schema, if job == "a" { 0.001 } else { 0.5 });
                histogram.reset_hint = ResetHint::Gauge;
                observe(&mut histogram, dice);
                Sample::Histogram(histogram)
            });
        }
        for (job, bounds) in [("a", &[1.0, 2.0, 5.0][..]), ("b", &[1.0, 2.0, 5.0]), ("c", &[1.0, 3.0])] {
            let mut histogram = custom(bounds);
            self.add(&[("__name__", "custom"), ("job", job)], |dice, _| {
                if dice.percent(4) {
                    histogram = custom(bounds);
                }
                observe(&mut histogram, dice);
                Sample::Histogram(histogram.clone())
            });
        }
        for job in ["a", "b"] {
            let mut histogram = exponential(1, 0.0);
            self.add(&[("__name__", "mixed"), ("job", job)], |dice, number| {
                observe(&mut histogram, dice);
                match number / 12 % 2 == 0 || job == "b" && dice.percent(50) {
                    true => Sample::Histogram(histogram.clone()),
                    false => Sample::Float(dice.below(100) as f64),
                }
            });
        }
    }

    /// Series that others are matched with or described by.
    fn about_others(&mut self) {
        for job in ["a", "b"] {
            self.floats(&[("__name__", "quota"), ("job", job), ("tier", "gold")], |_, _| 100.0);
            for replica in ["0", "1"] {
                let labels = [("__name__", "doubled"), ("job", job), ("replica", replica)];
                self.floats(&labels, |dice, _| dice.below(10) as f64);
            }
        }
        for (job, instance) in places() {
            let version = if job == "a" { "1.2.10" } else { "1.10.2" };
            let labels = [
                ("__name__", "build_info"),
                ("job", job),
                ("instance", instance),
                ("version", version),
                ("os", "linux"),
            ];
            self.floats(&labels, |_, _| 1.0);
            let labels =
                [("__name__", "target_info"), ("job", job), ("instance", instance), ("room", "r-17"), ("os", "")];
            self.floats(&labels, |_, _| 1.0);
        }
        // Leap days, turns of months and years, and times before 1970.
        for (number, moment) in
            [951_782_400.0, 1_709_164_799.0, 1_735_689_599.5, -86_400.0, 1_677_628_800.0].iter().enumerate()
        {
            let labels = [("__name__", "moment"), ("number", &*number.to_string())];
            self.floats(&labels, |dice, _| moment + dice.below(200_000) as f64);
        }
        for (path, name) in [("/a/b-1", "x1"), ("/a/c-20", "x10"), ("/b", "x9"), ("ж/😀", "y")] {
            self.floats(&[("__name__", "served"), ("path", path), ("name", name)], |dice, _| dice.below(7) as f64);
        }
    }
}

fn places() -> impl Iterator<Item = (&'static str, &'static str)> {
    ["a", "b"].into_iter().flat_map(|job| ["0", "1", "2"].map(|instance| (job, instance)))
}

fn exponential(schema: i8, zero_threshold: f64) -> FloatHistogram {
    FloatHistogram {
        reset_hint: ResetHint::Unknown,
        schema,
        zero_threshold,
        zero: 0.0,
        count: 0.0,
        sum: 0.0,
        positive: (-1..6).map(|index| (index, 0.0)).collect(),
        negative: (0..3).map(|index| (index, 0.0)).collect(),
        custom_bounds: [].into(),
    }
}

fn custom(bounds: &[f64]) -> FloatHistogram {
    FloatHistogram {
        schema: CUSTOM_BUCKETS_SCHEMA,
        positive: (0..=bounds.len() as i32).map(|index| (index, 0.0)).collect(),
        negative: Vec::new(),
        custom_bounds: bounds.into(),
        ..exponential(0, 0.0)
    }
}

/// Some more observations in every bucket.
fn observe(histogram: &mut FloatHistogram, dice: &mut Dice) {
    for (index, count) in histogram.positive.iter_mut() {
        let more = 1.0 + dice.below(6) as f64;
        *count += more;
        histogram.count += more;
        histogram.sum += more * f64::from(*index + 2);
    }
    for (_, count) in &mut histogram.negative {
        let more = 1.0 + dice.below(3) as f64;
        *count += more;
        histogram.count += more;
        histogram.sum -= more;
    }
    if histogram.schema != CUSTOM_BUCKETS_SCHEMA {
        histogram.zero += 1.0;
        histogram.count += 1.0;
    }
}
