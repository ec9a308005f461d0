//! The receiver as its senders meet it: requests in, verdicts and the store's view out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fedgate::model::{Exemplar, Labels, MetricType, Timestamp, stale_nan};
use fedgate::push::protocol::Verdict;
use fedgate::push::receive::{BodyLimits, Pusher, Receiver};
use fedgate::remote_write::message;
use fedgate::remote_write::receive::{Answer, Refused, RequestFault, Version, WriteReceiver, Written};
use fedgate::remote_write::send::{Followed, Labelling};
use fedgate::runtime::CpuPool;
use fedgate::snapshot::FrameLimits;
use fedgate::store::{ClusterLimits, ClusterPolicy, Inventory, Store, scrape_values};
use fedgate::telemetry::{GatewayMetrics, Registry};
use proptest::prelude::*;

use super::http::histogram;
use super::requests;

const T: i64 = 1_700_000_000_000;

struct World {
    store: Arc<Store>,
    written: WriteReceiver,
    pusher: Pusher,
    start: Instant,
}

impl World {
    fn new(change: impl FnOnce(&mut ClusterPolicy)) -> World {
        let store = Arc::new(Store::new(FrameLimits::default()));
        let limits = BodyLimits { bytes_max: 16 << 20, frames_max: 4096 };
        let metrics = GatewayMetrics::new(&mut Registry::new());
        let receiver = Receiver::new(store.clone(), CpuPool::new(1).unwrap(), metrics, limits);
        let mut policy = ClusterPolicy {
            identities: vec!["c".to_owned()],
            limits: ClusterLimits { samples_per_second: u64::MAX, ..ClusterLimits::default() },
            ..ClusterPolicy::new("alpha", "test")
        };
        change(&mut policy);
        receiver.set_inventory(Inventory::new([policy]).unwrap());
        let membership = store.inventory().identify(["c"]).unwrap();
        let pusher = Pusher { membership, certificate_expires: Timestamp(i64::MAX), clock_skew_ms: None };
        World { store, written: WriteReceiver::new(Arc::new(receiver), 1 << 20), pusher, start: Instant::now() }
    }

    fn send_at(&self, body: &[u8], version: Version, wall: i64) -> Answer {
        let body = snap::raw::Encoder::new().compress_vec(body).unwrap();
        let now = self.start + Duration::from_millis((wall - T).max(0) as u64);
        let (outcome, answer) = self.written.apply(&self.pusher, &body, version, Timestamp(wall), now);
        assert!(matches!(outcome.verdict, Verdict::Acked { .. }), "{outcome:?}");
        answer
    }

    fn send(&self, body: &[u8]) -> Answer {
        self.send_at(body, Version::V1, T + 1000)
    }

    /// What readers see: labels, value bits, time.
    fn shown(&self) -> Vec<(String, u64, i64)> {
        let view = self.store.cluster("alpha").unwrap();
        let mut shown = Vec::new();
        for target in view.streams.iter().flat_map(|stream| stream.targets.iter()) {
            for (number, indexed) in target.layout.chunks().iter().enumerate() {
                for slot in indexed.slots() {
                    let at = number * fedgate::snapshot::CHUNK_SLOTS + usize::from(*slot);
                    let value = target.column.get(at);
                    if !matches!(value.to_bits(), 0x7ff0_0000_0000_0002 | 0x7ff0_0000_0000_0003) {
                        let labels = indexed.chunk().labels(usize::from(*slot), &target.labels).unwrap();
                        shown.push((labels.to_string(), value.to_bits(), target.timestamp_of(at as u32).0));
                    }
                }
            }
        }
        shown.sort();
        shown
    }
}

pub(super) fn series(out: &mut Vec<u8>, labels: &[(&str, &str)], samples: &[(f64, i64)]) {
    message::put_series_v1(out, |out| {
        labels.iter().for_each(|(name, value)| message::put_label(out, name, value));
        samples.iter().for_each(|(value, at)| message::put_sample(out, *value, Timestamp(*at), None));
    });
}

pub(super) fn one(name: &str, value: f64, at: i64) -> Vec<u8> {
    let mut out = Vec::new();
    series(&mut out, &[("__name__", name), ("instance", "i"), ("job", "j")], &[(value, at)]);
    out
}

fn shown(name: &str, value: f64, at: i64) -> (String, u64, i64) {
    (format!("{name}{{instance=\"i\", job=\"j\"}}"), value.to_bits(), at)
}

fn taken(samples: u64) -> Answer {
    Answer::Taken(Written { samples, ..Written::default() })
}

fn refused(answer: &Answer) -> Vec<(Refused, u64)> {
    match answer {
        Answer::Partly(written) => written.refused.iter().map(|(reason, count, _)| (*reason, *count)).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn parts_of_a_scrape_come_together_and_each_keeps_its_time() {
    let world = World::new(|_| {});
    assert_eq!(world.send(&[one("a", 1.0, T), one("up", 1.0, T)].concat()), taken(2));
    assert_eq!(world.send(&one("b", 2.0, T)), taken(1));
    assert_eq!(world.send(&one("a", 3.0, T + 500)), taken(1));
    assert_eq!(world.shown(), [shown("a", 3.0, T + 500), shown("b", 2.0, T), shown("up", 1.0, T)]);
}

#[test]
fn what_the_sender_scraped_stands_for_the_facts_of_its_targets() {
    let world = World::new(|_| {});
    world.send(&one("up", 0.0, T));
    let view = world.store.cluster("alpha").unwrap();
    let target = &view.streams[0].targets[0];
    let facts = scrape_values(target.outcome, target.duration, &target.report);
    assert!(facts.iter().all(Option::is_none), "{facts:?}");
    assert_eq!(world.shown(), [shown("up", 0.0, T)]);
}

#[test]
fn several_samples_of_a_series_are_taken_in_order() {
    let world = World::new(|_| {});
    let mut body = Vec::new();
    series(&mut body, &[("__name__", "a")], &[(1.0, T), (2.0, T + 1), (3.0, T + 2)]);
    series(&mut body, &[("__name__", "b")], &[(7.0, T)]);
    assert_eq!(world.send(&body), taken(4));
    assert_eq!(world.shown(), [("a{}".to_owned(), 3f64.to_bits(), T + 2), ("b{}".to_owned(), 7f64.to_bits(), T)]);
}

#[test]
fn repeated_late_and_future_samples_are_judged_as_prometheus_does_and_the_rest_is_taken() {
    let world = World::new(|_| {});
    world.send(&one("a", 1.0, T));
    assert_eq!(world.send(&one("a", 1.0, T)), taken(1), "the very same");
    let answer = world.send(&[one("a", 2.0, T), one("b", 1.0, T)].concat());
    assert_eq!(refused(&answer), [(Refused::Duplicate, 1)]);
    assert_eq!(refused(&world.send(&one("a", 1.0, T - 1))), [(Refused::OutOfOrder, 1)]);
    assert_eq!(refused(&world.send(&one("a", 1.0, T + 700_000))), [(Refused::Ahead, 1)]);
    assert_eq!(world.shown(), [shown("a", 1.0, T), shown("b", 1.0, T)]);
}

#[test]
fn markers_end_series_and_silence_ends_those_whose_sender_writes_none() {
    let world = World::new(|_| {});
    world.send(&[one("a", 1.0, T), one("b", 1.0, T), one("c", 1.0, T)].concat());
    world.send(&one("a", stale_nan(), T + 1));
    assert_eq!(world.shown(), [shown("b", 1.0, T), shown("c", 1.0, T)]);
    for minute in 1..=6 {
        world.send_at(&one("c", 1.0, T + minute * 60_000), Version::V1, T + minute * 60_000);
    }
    assert_eq!(world.shown(), [shown("c", 1.0, T + 360_000)], "b had no sample for over five minutes");
}

/// Names, values and times of what goes on to databases since it was asked last; NaN is a stale marker.
fn forwarded(world: &World, followed: &mut Followed) -> Vec<(String, f64, i64)> {
    let view = world.store.cluster("alpha").unwrap();
    let sent = requests::series(&followed.follow(&view, &Labelling::default()));
    let mut sent: Vec<_> =
        sent.iter().map(|one| (one.name().to_owned(), one.samples[0].value, one.samples[0].timestamp)).collect();
    sent.sort_by(|one, other| one.0.cmp(&other.0));
    sent
}

fn assert_forwarded(sent: &[(String, f64, i64)], expected: &[(&str, f64, i64)]) {
    let bits = |(name, value, at): (&str, f64, i64)| (name.to_owned(), value.to_bits(), at);
    let sent: Vec<_> = sent.iter().map(|(name, value, at)| bits((name, *value, *at))).collect();
    assert_eq!(sent, expected.iter().map(|one| bits(*one)).collect::<Vec<_>>());
}

#[test]
fn what_ends_is_marked_behind_the_gateway_at_its_marker_or_after_its_last_sample() {
    let (world, mut followed) = (World::new(|_| {}), Followed::default());
    world.send(&[one("a", 1.0, T), one("b", 1.0, T), one("c", 1.0, T)].concat());
    assert_forwarded(&forwarded(&world, &mut followed), &[("a", 1.0, T), ("b", 1.0, T), ("c", 1.0, T)]);
    world.send(&[one("a", stale_nan(), T + 500), one("b", 2.0, T + 900)].concat());
    assert_forwarded(&forwarded(&world, &mut followed), &[("a", stale_nan(), T + 500), ("b", 2.0, T + 900)]);
    world.store.sweep(world.start + Duration::from_secs(100));
    let silent = forwarded(&world, &mut followed);
    assert_forwarded(&silent, &[("b", stale_nan(), T + 901), ("c", stale_nan(), T + 1)]);
}

#[test]
fn what_had_no_sample_for_the_lookback_is_marked_no_more() {
    let (world, mut followed) = (World::new(|_| {}), Followed::default());
    world.send(&[one("a", 1.0, T), one("b", 1.0, T)].concat());
    forwarded(&world, &mut followed);
    for minute in 1..=6 {
        let at = T + minute * 60_000;
        world.send_at(&one("b", 1.0, at), Version::V1, at);
        assert_forwarded(&forwarded(&world, &mut followed), &[("b", 1.0, at)]);
    }
    assert_eq!(world.shown(), [shown("b", 1.0, T + 360_000)]);
}

#[test]
fn a_gateway_that_starts_again_goes_on_with_the_sender_where_it_was() {
    let (mut world, mut followed) = (World::new(|_| {}), Followed::default());
    world.send(&[one("a", 1.0, T), one("b", 1.0, T)].concat());
    forwarded(&world, &mut followed);
    world.written = WriteReceiver::new(world.written.receiver().clone(), 1 << 20);
    let send = |name: &str, value: f64, at: i64| world.send_at(&one(name, value, at), Version::V1, T + 2000);
    assert_eq!(send("a", 2.0, T + 100), taken(1));
    assert_eq!(world.shown(), [shown("a", 2.0, T + 100), shown("b", 1.0, T)], "the other part stays");
    assert_forwarded(&forwarded(&world, &mut followed), &[("a", 2.0, T + 100)]);
    assert_eq!(refused(&send("a", 3.0, T + 99)), [(Refused::OutOfOrder, 1)], "the newest times are known");
    assert_eq!([send("b", 1.0, T), send("b", 2.0, T + 100)], [taken(1), taken(1)]);
    assert_forwarded(&forwarded(&world, &mut followed), &[("b", 2.0, T + 100)]);
}

#[test]
fn a_sender_that_comes_back_after_its_stream_ended_begins_again() {
    let world = World::new(|_| {});
    world.send(&[one("a", 1.0, T), one("b", 1.0, T)].concat());
    world.store.sweep(world.start + Duration::from_secs(100));
    assert_eq!(world.shown(), []);
    world.send_at(&one("a", 2.0, T + 200_000), Version::V1, T + 200_000);
    assert_eq!(world.shown(), [shown("a", 2.0, T + 200_000)], "b was seen to end and did not come again");
}

#[test]
fn series_that_no_cluster_may_send_are_refused_by_reason() {
    let world = World::new(|policy| policy.limits.series = 2);
    let mut body = one("fedgate_cluster_up", 1.0, T);
    series(&mut body, &[("job", "j")], &[(1.0, T)]);
    series(&mut body, &[("__name__", "a"), ("x", "1"), ("x", "2")], &[(1.0, T)]);
    ["a", "b", "c"].iter().for_each(|name| body.extend(one(name, 1.0, T)));
    let answer = world.send(&body);
    let expected = [(Refused::GatewayName, 1), (Refused::NoName, 1), (Refused::Labels, 1), (Refused::SeriesLimit, 1)];
    assert_eq!(refused(&answer), expected);
    assert_eq!(world.shown(), [shown("a", 1.0, T), shown("b", 1.0, T)]);
}

#[test]
fn one_replica_is_taken_until_it_is_silent() {
    let world = World::new(|policy| policy.ha_replica_label = "__replica__".to_owned());
    let of = |replica: &str, value: f64, at: i64| {
        let mut body = Vec::new();
        series(&mut body, &[("__name__", "a"), ("__replica__", replica)], &[(value, at)]);
        assert_eq!(world.send_at(&body, Version::V1, at), taken(1));
        world.shown()
    };
    let a = |value: f64, at: i64| vec![("a{}".to_owned(), value.to_bits(), at)];
    assert_eq!(of("r0", 1.0, T), a(1.0, T));
    assert_eq!(of("r1", 2.0, T + 10_000), a(1.0, T));
    assert_eq!(of("r1", 3.0, T + 30_001), a(3.0, T + 30_001));
    assert_eq!(of("r0", 4.0, T + 40_000), a(3.0, T + 30_001));
}

#[test]
fn histograms_exemplars_starts_and_metadata_of_2_0() {
    let world = World::new(|_| {});
    let symbols = ["", "__name__", "h", "c_total", "help", "trace_id", "x"];
    let histogram = histogram(6);
    let mut body = Vec::new();
    for symbol in symbols {
        fedgate::exposition::protobuf_write::put_text(&mut body, 4, symbol);
    }
    message::put_series_v2(&mut body, |out| {
        message::put_refs(out, 1, [1, 2].into_iter());
        message::put_histogram(out, 3, &histogram, Timestamp(T), Some(Timestamp(T - 9)));
    });
    message::put_series_v2(&mut body, |out| {
        message::put_refs(out, 1, [1, 3].into_iter());
        message::put_sample(out, 4.0, Timestamp(T), Some(Timestamp(T - 5)));
        fedgate::exposition::protobuf_write::put_message(out, 4, 1, |out| {
            message::put_refs(out, 1, [5, 6].into_iter());
            fedgate::exposition::protobuf_write::put_double(out, 2, 0.5);
            fedgate::exposition::protobuf_write::put_count(out, 3, T as u64);
        });
        fedgate::exposition::protobuf_write::put_message(out, 5, 1, |out| {
            fedgate::exposition::protobuf_write::put_count(out, 1, 1);
            fedgate::exposition::protobuf_write::put_count(out, 3, 4);
        });
    });
    let answer = world.send_at(&body, Version::V2, T);
    let written = Written { samples: 1, histograms: 1, exemplars: 1, refused: Vec::new() };
    assert_eq!(answer, Answer::Taken(written));
    let view = world.store.cluster("alpha").unwrap();
    let target = &view.streams[0].targets[0];
    assert_eq!(target.beside.histogram_of(0).unwrap().histogram, histogram);
    assert_eq!(
        (target.beside.start_of(0), target.beside.start_of(1)),
        (Some(Timestamp(T - 9)), Some(Timestamp(T - 5)))
    );
    let exemplar =
        Exemplar { labels: Labels::from_pairs([("trace_id", "x")]), value: 0.5, timestamp: Some(Timestamp(T)) };
    assert_eq!(target.beside.exemplar_of(1), Some(&exemplar));
    let chunk = target.layout.chunks()[0].chunk().clone();
    let family = chunk.family_of(chunk.name_of(1).unwrap());
    assert_eq!((family.name, family.kind, family.help), ("c_total", MetricType::Counter, "help"));
}

#[test]
fn metadata_of_1_0_finds_series_that_were_there_before_it() {
    let world = World::new(|_| {});
    world.send(&[one("h_bucket", 1.0, T), one("h_sum", 1.0, T), one("other", 1.0, T)].concat());
    let mut body = Vec::new();
    message::put_metadata_v1(&mut body, "h", MetricType::Histogram, "what it is", "");
    assert_eq!(world.send(&body), taken(0));
    let view = world.store.cluster("alpha").unwrap();
    let chunk = view.streams[0].targets[0].layout.chunks()[0].chunk().clone();
    let families: Vec<&str> = (0..3).map(|slot| chunk.family_of(chunk.name_of(slot).unwrap()).name).collect();
    assert_eq!(families, ["h", "h", "other"]);
    assert_eq!(world.shown().len(), 3);
}

#[test]
fn bodies_that_announce_too_much_are_refused_before_they_are_unpacked() {
    let world = World::new(|_| {});
    let apply = |body: &[u8]| world.written.apply(&world.pusher, body, Version::V1, Timestamp(T), world.start).1;
    let bomb = [0xff, 0xff, 0xff, 0xff, 0x0f, 0];
    assert!(matches!(apply(&bomb), Answer::Unreadable(RequestFault::TooLong { .. })));
    let long = snap::raw::Encoder::new().compress_vec(&vec![0; (1 << 20) + 1]).unwrap();
    assert!(matches!(apply(&long), Answer::Unreadable(RequestFault::TooLong { .. })));
    assert_eq!(apply(b""), Answer::Unreadable(RequestFault::Compression));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn damaged_requests_are_refused_or_taken_but_never_harm(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        is_v2 in any::<bool>(),
    ) {
        let world = World::new(|_| {});
        let mut body = [one("a", 1.0, T), one("b", f64::NAN, T), one("c", 3.0, T - 5)].concat();
        flips.iter().for_each(|(at, byte)| *at.get_mut(&mut body) ^= byte);
        body.truncate(cut.index(body.len()) + 1);
        world.send_at(&body, if is_v2 { Version::V2 } else { Version::V1 }, T);
        // The sender goes on as if nothing had been.
        let answer = world.send_at(&one("d", 9.0, T + 1), Version::V1, T + 1);
        prop_assert_eq!(answer, taken(1));
        prop_assert!(world.shown().contains(&shown("d", 9.0, T + 1)));
    }
}
