//! Time a sample of encoding and decoding a frame of 5,000 series, and of building and reading a schema.

mod site;

use divan::Bencher;
use divan::counter::ItemsCount;
use fedgate::model::Timestamp;
use fedgate::snapshot::{
    EncodedFrame, Encoder, Frame, FrameLimits, SchemaCache, Scrape, StreamId, StreamState, encode_schema,
};
use site::Page;

const STREAM: StreamId = StreamId([7; 16]);
const SERIES: usize = 5000;
const NODES: usize = 39;
/// Scrapes in one iteration.
const SCRAPES: usize = 20;

fn main() {
    let schema = Page::new(1, NODES, SERIES).scrape().schema;
    let heap: usize = schema.chunks().iter().map(|chunk| chunk.heap_bytes()).sum();
    println!("schema: {:.1} B/series", heap as f64 / schema.live() as f64);
    divan::main();
}

/// Successive scrapes of one page, `replaced` of its series new each time.
fn scrapes(replaced: f64) -> Vec<Scrape> {
    let mut page = Page::new(1, NODES, SERIES);
    let next = |_| {
        page.advance();
        page.replace(replaced);
        page.scrape()
    };
    (0..SCRAPES + 10).map(next).collect()
}

fn encoder() -> Encoder {
    Encoder::new(STREAM, Timestamp(0), FrameLimits::default())
}

fn encode(encoder: &mut Encoder, scrapes: &[Scrape], key: bool) -> Vec<EncodedFrame> {
    let tick = |scrape: &Scrape| encoder.tick(scrape.started, scrape.started, std::slice::from_ref(scrape), key);
    scrapes.iter().flat_map(tick).collect()
}

fn decode(state: &mut StreamState, frames: &[EncodedFrame], limits: &FrameLimits, cache: &SchemaCache) {
    for encoded in frames {
        let (frame, _) = Frame::parse(&encoded.bytes, limits).unwrap();
        if encoded.kind.is_definition() {
            state.define(&frame, limits, cache).unwrap();
        } else {
            state.apply(&frame, limits).unwrap();
        }
    }
}

/// Shares of the series replaced in each scrape: none, and 1 % a minute.
const REPLACED: [f64; 2] = [0.0, 0.0025];

#[divan::bench(args = REPLACED)]
fn encode_delta(bencher: Bencher, replaced: f64) {
    let scrapes = scrapes(replaced);
    bencher
        .counter(ItemsCount::new(SCRAPES * SERIES))
        .with_inputs(|| {
            let mut encoder = encoder();
            encode(&mut encoder, &scrapes[..10], false);
            encoder
        })
        .bench_local_values(|mut encoder| encode(&mut encoder, &scrapes[10..], false));
}

#[divan::bench(args = REPLACED)]
fn decode_delta(bencher: Bencher, replaced: f64) {
    let (scrapes, limits) = (scrapes(replaced), FrameLimits::default());
    let mut encoder = encoder();
    let (first, rest) = (encode(&mut encoder, &scrapes[..10], false), encode(&mut encoder, &scrapes[10..], false));
    bencher
        .counter(ItemsCount::new(SCRAPES * SERIES))
        .with_inputs(|| {
            let (mut state, cache) = (StreamState::new(STREAM), SchemaCache::new());
            decode(&mut state, &first, &limits, &cache);
            (state, cache)
        })
        .bench_local_values(|(mut state, cache)| {
            decode(&mut state, &rest, &limits, &cache);
            (state, cache)
        });
}

#[divan::bench]
fn encode_key(bencher: Bencher) {
    let scrapes = scrapes(0.0);
    let mut encoder = encoder();
    encode(&mut encoder, &scrapes, false);
    bencher.counter(ItemsCount::new(SERIES)).bench_local(|| encode(&mut encoder, &scrapes[..1], true));
}

#[divan::bench]
fn build_schema(bencher: Bencher) {
    bencher
        .counter(ItemsCount::new(SERIES))
        .with_inputs(|| Page::new(1, NODES, SERIES))
        .bench_local_values(|mut page| page.scrape().schema);
}

#[divan::bench]
fn read_schema(bencher: Bencher) {
    let limits = FrameLimits::default();
    let frames = encode_schema(STREAM, &Page::new(1, NODES, SERIES).scrape().schema, &limits);
    bencher.counter(ItemsCount::new(SERIES)).bench_local(|| {
        let (mut state, cache) = (StreamState::new(STREAM), SchemaCache::new());
        decode(&mut state, &frames, &limits, &cache);
        (state, cache)
    });
}
