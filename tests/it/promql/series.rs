//! Series as a test gives them: into memory for fedgate's engine, as remote write for a Prometheus.

use std::collections::BTreeMap;
use std::sync::Arc;

use fedgate::model::{HistogramCounts, Labels, NativeHistogram, ResetHint, Timestamp, stale_nan};
use fedgate::promql::histogram::FloatHistogram;
use fedgate::promql::{Cell, SeriesSource};

use crate::protobuf_page::Message;
use crate::site::prometheus::Prometheus;

/// Samples of one request; bodies stay far below what a Prometheus takes.
const REQUEST_SAMPLES: usize = 5_000;

/// One sample.
#[derive(Clone, Debug)]
pub(crate) enum Sample {
    Float(f64),
    Histogram(FloatHistogram),
    /// The series ends here.
    Stale,
}

/// One series; times in milliseconds, ascending.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) labels: Labels,
    pub(crate) samples: Vec<(i64, Sample)>,
}

/// All of them as what the engine reads from.
pub(crate) fn source_of(all: &[Series]) -> SeriesSource {
    let mut source = SeriesSource::default();
    for series in all {
        for (at, sample) in &series.samples {
            let cell = match sample {
                Sample::Float(value) => Some(Cell::Float(*value)),
                Sample::Histogram(histogram) => Some(Cell::Histogram(Arc::new(histogram.clone()))),
                Sample::Stale => None,
            };
            assert!(source.append(&series.labels, Timestamp(*at), cell), "{} twice at {at}", series.labels);
        }
    }
    source
}

/// Sends all of them to a Prometheus that takes remote write.
pub(crate) fn send(prometheus: &Prometheus, all: &[Series]) {
    let (mut request, mut samples) = (Message::new(), 0);
    for series in all {
        let mut runs = runs(series).map(|run| time_series(&series.labels, run)).peekable();
        while let Some(run) = runs.next() {
            request = request.message(1, &run);
            // Of what comes in one request a Prometheus keeps floats before histograms, whatever their times.
            if runs.peek().is_some() {
                post(prometheus, &std::mem::take(&mut request));
            }
        }
        samples += series.samples.len();
        if samples > REQUEST_SAMPLES {
            post(prometheus, &std::mem::take(&mut request));
            samples = 0;
        }
    }
    post(prometheus, &request);
}

/// Samples of one kind in a row.
fn runs(series: &Series) -> impl Iterator<Item = &[(i64, Sample)]> {
    series.samples.chunk_by(|(_, one), (_, other)| is_histogram(one) == is_histogram(other))
}

fn is_histogram(sample: &Sample) -> bool {
    matches!(sample, Sample::Histogram(_))
}

fn time_series(labels: &Labels, samples: &[(i64, Sample)]) -> Message {
    let message = labels.iter().fold(Message::new(), |message, (name, value)| message.label(name, value));
    samples.iter().fold(message, |message, (at, sample)| match sample {
        Sample::Float(value) => message.message(2, &Message::new().float(1, *value).number(2, *at as u64)),
        Sample::Stale => message.message(2, &Message::new().float(1, stale_nan()).number(2, *at as u64)),
        Sample::Histogram(histogram) => message.message(4, &histogram_message(histogram).number(15, *at as u64)),
    })
}

fn histogram_message(histogram: &FloatHistogram) -> Message {
    let native = NativeHistogram::from(histogram);
    let HistogramCounts::Float(counts) = &native.counts else { unreachable!("float buckets become float counts") };
    let hint = match native.reset_hint {
        ResetHint::Unknown => 0,
        ResetHint::Reset => 1,
        ResetHint::NotReset => 2,
        ResetHint::Gauge => 3,
    };
    let message = Message::new().float(2, counts.count).float(3, native.sum).signed(4, native.schema.into());
    let message = message.float(5, native.zero_threshold).float(7, counts.zero);
    let sides = [(8, 10, &counts.negative), (11, 13, &counts.positive)];
    let message = sides.into_iter().fold(message, |message, (spans_at, counts_at, side)| {
        let spans: Vec<_> = side.spans.iter().map(|span| (span.offset.into(), span.length.into())).collect();
        message.spans(spans_at, &spans).float_list(counts_at, &side.counts)
    });
    let message = message.number(14, hint);
    if native.custom_bounds.is_empty() { message } else { message.float_list(16, &native.custom_bounds) }
}

/// Requests in the order of time, as a server that scrapes writes them: one an interval, with what each series has in it.
pub(crate) fn requests_in_time(all: &[Series], interval_ms: i64) -> Vec<Message> {
    let mut intervals: BTreeMap<i64, Message> = BTreeMap::new();
    for series in all {
        for samples in series.samples.chunk_by(|(one, _), (other, _)| one / interval_ms == other / interval_ms) {
            let request = intervals.entry(samples[0].0 / interval_ms).or_default();
            *request = std::mem::take(request).message(1, &time_series(&series.labels, samples));
        }
    }
    intervals.into_values().collect()
}

/// What says that a body is a request of remote write 1.0.
pub(crate) const HEADERS: [(&str, &str); 3] = [
    ("Content-Type", "application/x-protobuf"),
    ("Content-Encoding", "snappy"),
    ("X-Prometheus-Remote-Write-Version", "0.1.0"),
];

/// A request as it goes over the wire.
pub(crate) fn packed(request: &Message) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(&request.0).expect("far below 4 GiB")
}

/// Sends one request.
pub(crate) fn post(prometheus: &Prometheus, request: &Message) {
    let reply = crate::site::http::post(prometheus.port, "/api/v1/write", &HEADERS, &packed(request));
    assert_eq!(reply.status, 204, "{}", String::from_utf8_lossy(&reply.body));
}
