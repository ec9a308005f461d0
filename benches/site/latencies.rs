//! Request durations as native histograms: one series an endpoint, schema 3, some 40 buckets filled as time goes by, and 20 requests
//! an endpoint from scrape to scrape.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fedgate::model::{
    Buckets, Counts, HISTOGRAM_NAN, HistogramCounts, HistogramSample, Labels, METRIC_NAME, Metadata, MetricType,
    NativeHistogram, ResetHint, Span, Timestamp,
};
use fedgate::snapshot::{Beside, Outcome, OwnLabels, Report, Scrape, SlotTable};

use super::{INTERVAL_MS, Random};

const REQUESTS: usize = 20;
/// Buckets to a factor of two.
const RESOLUTION: f64 = 8.0;

/// One target whose series are all native histograms.
pub(crate) struct Latencies {
    random: Random,
    now: i64,
    table: SlotTable,
    endpoints: Vec<Endpoint>,
}

#[derive(Default)]
struct Endpoint {
    buckets: BTreeMap<i32, u64>,
    sum: f64,
}

impl Latencies {
    pub(crate) fn new(seed: u64, endpoints: usize) -> Latencies {
        let mut table = SlotTable::new();
        let metadata = Metadata { kind: MetricType::Histogram, help: "Request duration.".into(), unit: "".into() };
        for endpoint in 0..endpoints {
            let path = format!("/api/v1/endpoint{endpoint}");
            let labels = Labels::from_pairs([(METRIC_NAME, "http_request_duration_seconds"), ("path", &path)]);
            let own = OwnLabels::from(&labels);
            table.insert(own, "http_request_duration_seconds", &metadata).expect("room for the series");
        }
        let endpoints = (0..endpoints).map(|_| Endpoint::default()).collect();
        Latencies { random: Random(seed), now: 1_700_000_000_000, table, endpoints }
    }

    /// The next interval's requests.
    pub(crate) fn advance(&mut self) {
        self.now += INTERVAL_MS;
        for endpoint in &mut self.endpoints {
            for _ in 0..REQUESTS {
                // Twelve dice make a bell: durations around 50 ms, a factor of two the standard deviation.
                let bell: f64 = (0..12).map(|_| self.random.part()).sum::<f64>() - 6.0;
                let seconds = 0.05 * bell.exp2();
                *endpoint.buckets.entry((seconds.log2() * RESOLUTION).ceil() as i32).or_default() += 1;
                endpoint.sum += seconds;
            }
        }
    }

    pub(crate) fn scrape(&mut self) -> Scrape {
        let samples = self.endpoints.len() as u64;
        let histograms = self.endpoints.iter().enumerate();
        let histograms = histograms.map(|(slot, endpoint)| (slot as u32, Arc::new(endpoint.sample()))).collect();
        Scrape {
            target: Arc::new(Labels::from_pairs([("instance", "api:8080"), ("job", "api")])),
            started: Timestamp(self.now),
            duration: Duration::from_micros(9000),
            outcome: Outcome::Up,
            report: Report { samples_scraped: samples, samples_post_relabel: samples, ..Report::default() },
            schema: self.table.schema(),
            values: vec![f64::from_bits(HISTOGRAM_NAN); self.endpoints.len()],
            beside: Beside { histograms, ..Beside::default() },
        }
    }
}

impl Endpoint {
    fn sample(&self) -> HistogramSample {
        let (mut spans, mut counts): (Vec<Span>, Vec<u64>) = Default::default();
        let mut next = 0;
        for (index, count) in &self.buckets {
            match spans.last_mut() {
                Some(span) if *index == next => span.length += 1,
                _ => spans.push(Span { offset: index - next, length: 1 }),
            }
            counts.push(*count);
            next = index + 1;
        }
        let count = counts.iter().sum();
        let positive = Buckets { spans, counts };
        let histogram = NativeHistogram {
            reset_hint: ResetHint::Unknown,
            schema: 3,
            zero_threshold: 2f64.powi(-128),
            sum: self.sum,
            custom_bounds: Vec::new(),
            counts: HistogramCounts::Integer(Counts { count, positive, ..Counts::default() }),
        };
        HistogramSample { histogram, exemplars: Vec::new() }
    }
}
