//! Remote-write requests as another decoder reads them: prost, by messages written down from the specifications.
//!
//! Whatever is decoded is also held to what the specifications say of every request, so that each test that looks at one does so.

use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    pub(crate) timeseries: Vec<TimeSeries>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) metadata: Vec<MetricMetadata>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    exemplars: Vec<Exemplar>,
    #[prost(message, repeated, tag = "4")]
    histograms: Vec<Histogram>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

/// Of both versions; 1.0 has no start.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Sample {
    #[prost(double, tag = "1")]
    pub(crate) value: f64,
    #[prost(int64, tag = "2")]
    pub(crate) timestamp: i64,
    #[prost(int64, tag = "3")]
    pub(crate) start_timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Exemplar {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(double, tag = "2")]
    value: f64,
    #[prost(int64, tag = "3")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct MetricMetadata {
    #[prost(uint32, tag = "1")]
    pub(crate) kind: u32,
    #[prost(string, tag = "2")]
    pub(crate) metric_family_name: String,
    #[prost(string, tag = "4")]
    pub(crate) help: String,
    #[prost(string, tag = "5")]
    pub(crate) unit: String,
}

#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(string, repeated, tag = "1")]
    reserved1: Vec<String>,
    #[prost(string, repeated, tag = "4")]
    symbols: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    timeseries: Vec<TimeSeriesV2>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeriesV2 {
    #[prost(uint32, repeated, tag = "1")]
    labels_refs: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    histograms: Vec<Histogram>,
    #[prost(message, repeated, tag = "4")]
    exemplars: Vec<ExemplarV2>,
    #[prost(message, optional, tag = "5")]
    metadata: Option<Metadata>,
}

#[derive(Clone, PartialEq, Message)]
struct ExemplarV2 {
    #[prost(uint32, repeated, tag = "1")]
    labels_refs: Vec<u32>,
    #[prost(double, tag = "2")]
    value: f64,
    #[prost(int64, tag = "3")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(uint32, tag = "3")]
    help_ref: u32,
    #[prost(uint32, tag = "4")]
    unit_ref: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct BucketSpan {
    #[prost(sint32, tag = "1")]
    pub(crate) offset: i32,
    #[prost(uint32, tag = "2")]
    pub(crate) length: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Histogram {
    #[prost(uint64, optional, tag = "1")]
    pub(crate) count_int: Option<u64>,
    #[prost(double, optional, tag = "2")]
    pub(crate) count_float: Option<f64>,
    #[prost(double, tag = "3")]
    pub(crate) sum: f64,
    #[prost(sint32, tag = "4")]
    pub(crate) schema: i32,
    #[prost(double, tag = "5")]
    pub(crate) zero_threshold: f64,
    #[prost(uint64, optional, tag = "6")]
    pub(crate) zero_count_int: Option<u64>,
    #[prost(double, optional, tag = "7")]
    pub(crate) zero_count_float: Option<f64>,
    #[prost(message, repeated, tag = "8")]
    pub(crate) negative_spans: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "9")]
    pub(crate) negative_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "10")]
    pub(crate) negative_counts: Vec<f64>,
    #[prost(message, repeated, tag = "11")]
    pub(crate) positive_spans: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "12")]
    pub(crate) positive_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "13")]
    pub(crate) positive_counts: Vec<f64>,
    #[prost(uint32, tag = "14")]
    pub(crate) reset_hint: u32,
    #[prost(int64, tag = "15")]
    pub(crate) timestamp: i64,
    #[prost(double, repeated, tag = "16")]
    pub(crate) custom_values: Vec<f64>,
    #[prost(int64, tag = "17")]
    pub(crate) start_timestamp: i64,
}

/// Names and values of labels.
pub(crate) type Pairs = Vec<(String, String)>;

/// A series of either version.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Series {
    pub(crate) labels: Pairs,
    pub(crate) samples: Vec<Sample>,
    pub(crate) histograms: Vec<Histogram>,
    /// Labels, value, timestamp.
    pub(crate) exemplars: Vec<(Pairs, f64, i64)>,
    /// Type, help, unit; 2.0 alone.
    pub(crate) metadata: Option<(u32, String, String)>,
}

impl Series {
    pub(crate) fn name(&self) -> &str {
        self.label("__name__")
    }

    pub(crate) fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(own, _)| own == name).map_or("", |(_, value)| value)
    }

    /// `name{label="value",…}` without the metric name's own label.
    pub(crate) fn text(&self) -> String {
        let labels = self.labels.iter().filter(|(name, _)| name != "__name__");
        let labels: Vec<String> = labels.map(|(name, value)| format!("{name}={value:?}")).collect();
        format!("{}{{{}}}", self.name(), labels.join(","))
    }

    /// Bits and time of the one sample.
    pub(crate) fn sample(&self) -> (u64, i64) {
        assert_eq!(self.samples.len(), 1, "{}", self.text());
        (self.samples[0].value.to_bits(), self.samples[0].timestamp)
    }
}

/// Takes a snappy block apart.
pub(crate) fn unpacked(body: &[u8]) -> Vec<u8> {
    snap::raw::Decoder::new().decompress_vec(body).expect("a snappy block")
}

/// The series of a 1.0 request.
pub(crate) fn read_v1(body: &[u8]) -> Vec<Series> {
    let request = WriteRequest::decode(&*unpacked(body)).expect("a WriteRequest");
    let pairs = |labels: Vec<Label>| labels.into_iter().map(|label| (label.name, label.value)).collect::<Vec<_>>();
    let series = request.timeseries.into_iter().map(|series| Series {
        labels: pairs(series.labels),
        samples: series.samples,
        histograms: series.histograms,
        exemplars: series.exemplars.into_iter().map(|one| (pairs(one.labels), one.value, one.timestamp)).collect(),
        metadata: None,
    });
    let series: Vec<Series> = series.collect();
    let has_no_start = |series: &Series| series.samples.iter().all(|sample| sample.start_timestamp == 0);
    assert!(series.iter().all(has_no_start), "1.0 has no start timestamps");
    checked(series)
}

/// The series of a 2.0 request.
pub(crate) fn read_v2(body: &[u8]) -> Vec<Series> {
    let request = Request::decode(&*unpacked(body)).expect("a Request");
    assert!(request.reserved1.is_empty(), "fields 1 to 3 are reserved");
    assert_eq!(request.symbols.first().map(String::as_str), Some(""), "symbol 0 is the empty string");
    let mut sorted = request.symbols.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!(sorted.len(), request.symbols.len(), "a symbol stands twice");
    let text = |at: u32| request.symbols[at as usize].clone();
    let pairs = |refs: &[u32]| {
        assert!(refs.len().is_multiple_of(2), "label refs come in pairs");
        refs.chunks(2).map(|pair| (text(pair[0]), text(pair[1]))).collect::<Vec<_>>()
    };
    let series = request.timeseries.iter().map(|series| Series {
        labels: pairs(&series.labels_refs),
        samples: series.samples.clone(),
        histograms: series.histograms.clone(),
        exemplars: series.exemplars.iter().map(|one| (pairs(&one.labels_refs), one.value, one.timestamp)).collect(),
        metadata: series.metadata.as_ref().map(|one| (one.kind, text(one.help_ref), text(one.unit_ref))),
    });
    let series: Vec<Series> = series.collect();
    assert!(series.iter().all(|series| series.metadata.is_some()), "metadata should be sent");
    checked(series)
}

/// The metadata of a 1.0 request.
pub(crate) fn read_metadata(body: &[u8]) -> Vec<MetricMetadata> {
    WriteRequest::decode(&*unpacked(body)).expect("a WriteRequest").metadata
}

fn checked(series: Vec<Series>) -> Vec<Series> {
    for one in &series {
        let names: Vec<&str> = one.labels.iter().map(|(name, _)| name.as_str()).collect();
        assert!(names.windows(2).all(|two| two[0] < two[1]), "labels ascend, none twice: {names:?}");
        assert!(one.labels.iter().all(|(name, value)| !name.is_empty() && !value.is_empty()), "{:?}", one.labels);
        assert!(one.samples.is_empty() != one.histograms.is_empty(), "samples or histograms: {}", one.text());
        assert!(one.samples.len() + one.histograms.len() == 1, "one timestamp a series: {}", one.text());
    }
    let mut texts: Vec<String> = series.iter().map(Series::text).collect();
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), series.len(), "a series stands twice");
    series
}
