//! The parts that a sample goes through, each prepared so that one round is one scrape of the same 5,000 series.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fedgate::config::ScrapeConfig;
use fedgate::exposition::{Encoding, Escaping, Format};
use fedgate::http::render::{Lines, PageBody, Style, UntypedPage, respond};
use fedgate::http::selectors::parse_selector;
use fedgate::model::{Labels, Timestamp};
use fedgate::runtime::CpuPool;
use fedgate::scrape::{PageCache, Rules, SeriesBudget, Timing};
use fedgate::snapshot::{
    EncodedFrame, Encoder, Frame, FrameKind, FrameLimits, Outcome, Report, SchemaCache, Scrape, StreamId, StreamState,
};
use fedgate::store::{Arrival, ClusterPolicy, Inventory, Keep, SiteView, Store, select};
use http_body_util::BodyExt as _;

use super::site::Page;

/// Series of the cluster.
pub(crate) const SERIES: usize = 5_000;
/// Rounds that are prepared; the longest run has fewer.
const ROUNDS_MAX: usize = 20;

/// Does the round of this number.
type Round = Box<dyn FnMut(usize)>;

/// One part.
pub(crate) struct Part {
    pub(crate) name: &'static str,
    /// Samples of one round.
    pub(crate) samples: usize,
    /// Does everything before the first round.
    pub(crate) prepare: fn() -> Round,
}

/// All of them, in the order in which a sample meets them.
pub(crate) const PARTS: &[Part] = &[
    Part { name: "first-page", samples: SERIES, prepare: first_page },
    Part { name: "scrape", samples: SERIES, prepare: scrape },
    Part { name: "encode", samples: SERIES, prepare: encode },
    Part { name: "decode", samples: SERIES, prepare: decode },
    Part { name: "apply", samples: SERIES, prepare: apply },
    Part { name: "apply-kept", samples: SERIES, prepare: apply_kept },
    Part { name: "read-kept", samples: SERIES * ROUNDS_MAX, prepare: read_kept },
    Part { name: "federate", samples: SERIES, prepare: || federate(Encoding::Identity) },
    Part { name: "federate-gzip", samples: SERIES, prepare: || federate(Encoding::Gzip) },
];

fn texts() -> Vec<String> {
    let mut page = Page::new(1, 39, SERIES);
    let next = |_| {
        page.advance();
        page.text()
    };
    (0..ROUNDS_MAX).map(next).collect()
}

/// One target's memory of its pages.
struct Target {
    cache: PageCache,
    rules: Rules,
    now: Timestamp,
}

impl Target {
    fn new() -> Target {
        let labels = Arc::new(Labels::from_pairs([("job", "site"), ("instance", "cluster:9100")]));
        let config = ScrapeConfig { honor_labels: true, ..ScrapeConfig::default() };
        Target {
            cache: PageCache::new(labels.clone(), labels, Arc::new(SeriesBudget::new(usize::MAX))),
            rules: Rules::new(&config).expect("no pattern"),
            now: Timestamp(1_790_000_000_000),
        }
    }

    fn read(&mut self, page: &str) -> Scrape {
        self.now = self.now + Duration::from_secs(15);
        let (_, result) = self.cache.read(page.as_bytes(), Format::Text, self.now, &self.rules);
        result.expect("a good page");
        let timing = Timing { started: self.now, duration: Duration::from_millis(9) };
        self.cache.scrape(timing, Outcome::Up, Report::default())
    }
}

fn first_page() -> Round {
    let text = texts().swap_remove(0);
    Box::new(move |_| assert_eq!(Target::new().read(&text).values.len(), SERIES))
}

fn scrape() -> Round {
    let (texts, mut target) = (texts(), Target::new());
    target.read(&texts[ROUNDS_MAX - 1]);
    Box::new(move |round| assert_eq!(target.read(&texts[round]).values.len(), SERIES))
}

/// The target has no label that a series has too: such series are written label by label, which is not the usual way.
fn scrapes() -> Vec<Scrape> {
    let mut page = Page::new(1, 39, SERIES);
    let target = Arc::new(Labels::from_pairs([("job", "site"), ("exporter", "cluster:9100")]));
    let next = |_| {
        page.advance();
        Scrape { target: target.clone(), ..page.scrape() }
    };
    (0..ROUNDS_MAX).map(next).collect()
}

fn encoder() -> Encoder {
    Encoder::new(StreamId([1; 16]), Timestamp(0), FrameLimits::default())
}

fn tick(encoder: &mut Encoder, scrape: &Scrape) -> Vec<EncodedFrame> {
    encoder.tick(scrape.started, scrape.started, std::slice::from_ref(scrape), false)
}

fn encode() -> Round {
    let (scrapes, mut encoder) = (scrapes(), encoder());
    tick(&mut encoder, &scrapes[0]);
    Box::new(move |round| assert!(!tick(&mut encoder, &scrapes[round + 1]).is_empty()))
}

/// The definitions and KEY of a stream, then a DELTA a round.
fn frames() -> (Vec<EncodedFrame>, Vec<EncodedFrame>) {
    let mut encoder = encoder();
    let mut ticks = scrapes().into_iter().map(|scrape| tick(&mut encoder, &scrape)).collect::<Vec<_>>().into_iter();
    let first = ticks.next().expect("there are ticks");
    (first, ticks.flatten().collect())
}

fn decode() -> Round {
    let (first, rest) = frames();
    let (limits, cache) = (FrameLimits::default(), SchemaCache::new());
    let mut state = StreamState::new(StreamId([1; 16]));
    let mut take = move |encoded: &EncodedFrame| {
        let (frame, _) = Frame::parse(&encoded.bytes, &limits).expect("our own frame");
        match encoded.kind {
            FrameKind::Define => state.define(&frame, &limits, &cache).expect("definitions"),
            _ => drop(state.apply(&frame, &limits).expect("frames in order")),
        }
    };
    first.iter().for_each(&mut take);
    Box::new(move |round| take(&rest[round]))
}

/// Who pushes.
const COLLECTOR: &str = "collector";

/// A store with one cluster, and how it takes a frame.
fn store() -> (Arc<Store>, impl FnMut(&EncodedFrame)) {
    let store = Arc::new(Store::new(FrameLimits::default()));
    let identities = vec![COLLECTOR.to_owned()];
    let policy = ClusterPolicy { identities, ..ClusterPolicy::new("alpha", "production") };
    store.set_inventory(Inventory::new([policy]).expect("one name"));
    let taker = store.clone();
    let take = move |encoded: &EncodedFrame| {
        let (frame, _) = Frame::parse(&encoded.bytes, &FrameLimits::default()).expect("our own frame");
        let wall = frame.header().tick;
        let arrival = Arrival {
            collector: COLLECTOR.into(),
            certificate_expires: wall,
            clock_skew_ms: None,
            wall,
            monotonic: Instant::now(),
        };
        taker.apply("alpha", &frame, &arrival).expect("frames in order");
    };
    (store, take)
}

fn apply() -> Round {
    let ((first, rest), (_, mut take)) = (frames(), store());
    first.iter().for_each(&mut take);
    Box::new(move |round| take(&rest[round]))
}

/// Of every series the last five minutes, which is all.
fn keep_all(store: &Store) {
    let matchers = parse_selector(r#"{__name__=~".+"}"#).expect("a selector");
    store.keep(vec![Keep { matchers, duration: Duration::from_secs(300), is_of_recorded: false }]);
}

fn apply_kept() -> Round {
    let ((first, rest), (store, mut take)) = (frames(), store());
    keep_all(&store);
    first.iter().for_each(&mut take);
    Box::new(move |round| take(&rest[round]))
}

fn read_kept() -> Round {
    let ((first, rest), (store, mut take)) = (frames(), store());
    keep_all(&store);
    first.iter().chain(&rest).for_each(&mut take);
    let (start, end) = (scrapes()[0].started, scrapes()[ROUNDS_MAX - 1].started);
    let view = store.view(end, Instant::now(), None);
    let columns: Vec<u32> = (0..SERIES as u32).collect();
    Box::new(move |_| {
        let (strip, mut samples) = (&view.targets[0].target.history[0], 0);
        strip.reader(Timestamp(start.0 - 1), end).read(&columns, |some, read| samples += some.len() * read.times.len());
        assert_eq!(samples, SERIES * ROUNDS_MAX);
    })
}

fn federate(encoding: Encoding) -> Round {
    let ((first, rest), (store, mut take)) = (frames(), store());
    first.iter().chain(&rest[..1]).for_each(&mut take);
    let wall = scrapes()[1].started;
    let view = Arc::new(store.view(wall, Instant::now(), None));
    let pool = CpuPool::new(1).expect("a thread");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    Box::new(move |_| {
        let view = view.clone();
        runtime.block_on(async {
            let response = respond(&pool, "text/plain".to_owned(), encoding, move || page(view)).await;
            let body = response.expect("a page").into_body().collect().await.expect("a whole page").to_bytes();
            assert!(body.len() > SERIES);
        });
    })
}

fn page(view: Arc<SiteView>) -> PageBody {
    let selection = select(&view, &[parse_selector(r#"{__name__=~".+"}"#).expect("a selector")]);
    let style = Style {
        format: Format::Text,
        escaping: Escaping::AllowUtf8,
        has_stamps: true,
        external_labels: Labels::empty(),
        shown_empty: &["instance"],
    };
    UntypedPage::new(Lines::new(view, style), selection, Duration::from_secs(300), None).into_body()
}
