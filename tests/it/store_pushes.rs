//! Pushes as collectors make them, and a gateway's store that takes them, with the time that the test chooses.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use fedgate::exposition::{Entry, Format, belongs_to_family, parser};
use fedgate::http::readers::{ReaderOptions, Readers};
use fedgate::http::{federate, metrics};
use fedgate::model::{Exemplar, Labels, LabelsBuilder, METRIC_NAME, Metadata, MetricType, Timestamp, stale_nan};
use fedgate::runtime::CpuPool;
use fedgate::snapshot::{
    Ahead, Beside, EncodedFrame, Encoder, Frame, FrameLimits, Outcome, OwnLabels, Report, Scrape, SlotTable, StreamId,
};
use fedgate::store::{Accepted, Arrival, ClusterPolicy, Inventory, Refusal, Store};
use http_body_util::BodyExt;
use tower::ServiceExt;

/// The wall clock at the start of a test, in milliseconds.
pub(crate) const START: i64 = 1_800_000_000_000;

/// In a page: the series lacks this label of its target.
pub(crate) const LACKING: &str = "(lacking)";

/// One run of a collector.
pub(crate) struct Collector {
    encoder: Encoder,
    tables: HashMap<Labels, (SlotTable, Vec<u32>)>,
    scrapes: Vec<Scrape>,
    begun: bool,
}

impl Collector {
    pub(crate) fn new(run: u8, started: i64) -> Collector {
        let encoder = Encoder::new(StreamId([run; 16]), Timestamp(started), FrameLimits::default());
        Collector { encoder, tables: HashMap::new(), scrapes: Vec::new(), begun: false }
    }

    /// A scrape of a target that finds this text page.
    pub(crate) fn scrape(&mut self, target: &[(&str, &str)], started: i64, page: &str) -> &mut Scrape {
        let (format, outcome) = (Format::Text, Outcome::Up);
        self.finished(Labels::from_pairs(target.iter().copied()), started, format, page, outcome)
    }

    /// A scrape that failed, or the news that the target is gone.
    pub(crate) fn without_page(&mut self, target: &[(&str, &str)], started: i64, outcome: Outcome) -> &mut Scrape {
        self.finished(Labels::from_pairs(target.iter().copied()), started, Format::Text, "", outcome)
    }

    pub(crate) fn finished(
        &mut self,
        target: Labels,
        at: i64,
        format: Format,
        page: &str,
        outcome: Outcome,
    ) -> &mut Scrape {
        let (table, vanished) = self.tables.entry(target.clone()).or_default();
        vanished.drain(..).for_each(|slot| table.remove(slot));
        let read = read_page(table, &target, format, page);
        let mut values = vec![stale_nan(); table.len()];
        for (slot, sample) in &read {
            values[*slot as usize] = sample.value;
        }
        vanished
            .extend((0..table.len() as u32).filter(|slot| table.labels(*slot).is_some() && !read.contains_key(slot)));
        let samples = read.len() as u64;
        self.scrapes.push(Scrape {
            target: Arc::new(target),
            started: Timestamp(at),
            duration: Duration::from_millis(250),
            outcome,
            report: Report { samples_scraped: samples, samples_post_relabel: samples, ..Report::default() },
            schema: table.schema(),
            values,
            beside: Beside {
                timestamps: read.iter().filter_map(|(slot, sample)| Some((*slot, sample.timestamp?))).collect(),
                exemplars: read.iter().filter_map(|(slot, sample)| Some((*slot, sample.exemplar.clone()?))).collect(),
                ..Beside::default()
            },
        });
        self.scrapes.last_mut().expect("just pushed")
    }

    /// The frames of all scrapes since the last tick.
    pub(crate) fn tick(&mut self, tick: i64) -> Vec<EncodedFrame> {
        self.tick_with(tick, false)
    }

    /// All that is known now, ahead of what was not sent yet.
    pub(crate) fn newest(&self, ahead: &mut Ahead, tick: i64) -> Vec<EncodedFrame> {
        self.encoder.newest(ahead, Timestamp(tick), Timestamp(tick))
    }

    pub(crate) fn tick_with(&mut self, tick: i64, key: bool) -> Vec<EncodedFrame> {
        let scrapes = std::mem::take(&mut self.scrapes);
        let key = key || !std::mem::replace(&mut self.begun, true);
        self.encoder.tick(Timestamp(tick), Timestamp(tick), &scrapes, key)
    }
}

struct PageSample {
    value: f64,
    timestamp: Option<Timestamp>,
    exemplar: Option<Exemplar>,
}

fn read_page(table: &mut SlotTable, target: &Labels, format: Format, page: &str) -> BTreeMap<u32, PageSample> {
    let (mut entries, mut labels, mut read) =
        (parser(format, page.as_bytes()), LabelsBuilder::default(), BTreeMap::new());
    let mut families: BTreeMap<String, Metadata> = BTreeMap::new();
    while let Some(entry) = entries.next().expect("a page without faults") {
        match entry {
            Entry::Type { family, kind } => families.entry(family.into_owned()).or_default().kind = kind,
            Entry::Help { family, help } => families.entry(family.into_owned()).or_default().help = (*help).into(),
            Entry::Unit { family, unit } => families.entry(family.into_owned()).or_default().unit = unit.into(),
            Entry::Sample(sample) => {
                sample.labels(&mut labels).expect("each label once");
                let mut all = LabelsBuilder::from_labels(target);
                for (name, value) in labels.iter() {
                    all.set(name, if value == LACKING { "" } else { value });
                }
                let name = labels.get(METRIC_NAME).to_owned();
                let known = families.iter().find(|(family, metadata)| belongs_to_family(&name, family, metadata.kind));
                let (family, metadata) =
                    known.map_or((name.clone(), Metadata::default()), |(f, m)| (f.clone(), m.clone()));
                let own = OwnLabels::between(&all.build(), target);
                let slot = table.insert(own, &family, &metadata).expect("room for the series");
                let exemplar = sample.exemplar.and_then(|raw| raw.read(&mut LabelsBuilder::default()));
                read.insert(slot, PageSample { value: sample.value, timestamp: sample.timestamp, exemplar });
            }
        }
    }
    read
}

/// What a gateway answers to a push.
pub(crate) type Pushed = Result<Vec<Accepted>, Refusal>;

/// A store and its readers' routes, with a clock that the test moves.
pub(crate) struct Gateway {
    pub(crate) store: Arc<Store>,
    routes: Router,
    clock: Arc<Mutex<(Timestamp, Instant)>>,
}

impl Gateway {
    pub(crate) fn new(policies: impl IntoIterator<Item = ClusterPolicy>) -> Gateway {
        Gateway::with(policies, ReaderOptions::default(), "# EOF\n")
    }

    pub(crate) fn with(
        policies: impl IntoIterator<Item = ClusterPolicy>,
        options: ReaderOptions,
        own: &'static str,
    ) -> Gateway {
        let store = Arc::new(Store::new(FrameLimits::default()));
        store.set_inventory(Inventory::new(policies).expect("an inventory without faults"));
        let clock = Arc::new(Mutex::new((Timestamp(START), Instant::now())));
        let moment = clock.clone();
        let pool = CpuPool::new(1).expect("a thread");
        let readers = Readers::new(store.clone(), pool, options, Box::new(move || own.to_owned()));
        let readers = Arc::new(readers.at(Box::new(move || *moment.lock().unwrap())));
        let routes = federate::routes(readers.clone()).merge(metrics::routes(readers));
        Gateway { store, routes, clock }
    }

    /// Milliseconds of the wall clock.
    pub(crate) fn now(&self) -> i64 {
        self.clock.lock().unwrap().0.as_millis()
    }

    pub(crate) fn pass(&self, seconds: u64) {
        let mut clock = self.clock.lock().unwrap();
        *clock = (clock.0 + Duration::from_secs(seconds), clock.1 + Duration::from_secs(seconds));
    }

    pub(crate) fn moment(&self) -> (Timestamp, Instant) {
        *self.clock.lock().unwrap()
    }

    pub(crate) fn push(&self, cluster: &str, collector: &str, frames: &[EncodedFrame]) -> Pushed {
        self.push_with_skew(cluster, collector, frames, None)
    }

    pub(crate) fn push_with_skew(
        &self,
        cluster: &str,
        collector: &str,
        frames: &[EncodedFrame],
        clock_skew_ms: Option<i64>,
    ) -> Pushed {
        let (wall, monotonic) = self.moment();
        let certificate_expires = Timestamp(START + 86_400_000);
        let arrival = Arrival { collector: collector.into(), certificate_expires, clock_skew_ms, wall, monotonic };
        let mut accepted = Vec::new();
        for frame in frames {
            let (frame, rest) = Frame::parse(&frame.bytes, &FrameLimits::default()).expect("our own frame");
            assert!(rest.is_empty());
            accepted.push(self.store.apply(cluster, &frame, &arrival)?);
        }
        Ok(accepted)
    }

    /// Pushes everything scraped since the last tick, now, and expects it to be taken.
    pub(crate) fn take(&self, cluster: &str, collector: &mut Collector) -> Accepted {
        let frames = collector.tick(self.now());
        let accepted = self.push(cluster, &format!("{cluster}.example"), &frames).expect("frames in order");
        *accepted.last().expect("a tick has a frame")
    }

    pub(crate) async fn request(&self, request: Request<Body>) -> (StatusCode, HeaderMap, Vec<u8>) {
        let response = self.routes.clone().oneshot(request).await.expect("handlers answer");
        let (head, body) = response.into_parts();
        (head.status, head.headers, body.collect().await.expect("a whole body").to_bytes().to_vec())
    }

    pub(crate) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap, String) {
        let mut request = Request::get(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (status, headers, body) = self.request(request.body(Body::empty()).expect("a request")).await;
        (status, headers, String::from_utf8(body).expect("text"))
    }

    /// The page for these selectors, without the TYPE lines.
    pub(crate) async fn lines(&self, selectors: &[&str]) -> Vec<String> {
        let page = self.page(selectors).await;
        page.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    }

    pub(crate) async fn page(&self, selectors: &[&str]) -> String {
        let form: Vec<String> = selectors.iter().map(|selector| format!("match[]={}", escaped(selector))).collect();
        let (status, _, body) = self.get(&format!("/federate?{}", form.join("&")), &[]).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        body
    }
}

/// Percent-encoded for a URL's query.
pub(crate) fn escaped(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// An entry of the inventory whose collector is `<cluster>.example`.
pub(crate) fn policy(cluster: &str) -> ClusterPolicy {
    ClusterPolicy {
        identities: vec![format!("{cluster}.example"), format!("{cluster}-2.example")],
        ..ClusterPolicy::new(cluster, "test")
    }
}

/// A family kind to write into pages.
pub(crate) fn typed(name: &str, kind: MetricType, samples: &str) -> String {
    format!("# HELP {name} Help of {name}.\n# TYPE {name} {kind}\n{samples}")
}
