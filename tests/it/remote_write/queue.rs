//! The state of an endpoint, driven by hand and by chance: order, retries, fall-back, division, and that nothing is lost but what is
//! counted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use fedgate::journal::Position;
use fedgate::model::Timestamp;
use fedgate::remote_write::send::{
    Answer, BodyEncoder, Counts, Followed, FrameSamples, Labelling, Lane, LossReason, Next, Offer, Options, Order,
    Queue, Settings, Settled, Source, Version,
};
use proptest::prelude::*;

use super::witness::{Series, read_v1, read_v2};
use crate::store_pushes::{Collector, Gateway, START, policy};

const SETTINGS: Settings = Settings {
    rows_max: 10,
    shards: (1, 4),
    pauses: (Duration::from_millis(30), Duration::from_secs(5)),
    version: None,
    options: Options { exemplars: false, histograms: true, oldest: None },
};

/// Frames of one cluster, whose rows are `m{n=…}` and the scrape's own.
fn frames(pages: &[Vec<String>]) -> Vec<Arc<FrameSamples>> {
    let (gateway, mut collector) = (Gateway::new([policy("alpha")]), Collector::new(1, START));
    let (mut followed, labelling) = (Followed::default(), Labelling::default());
    let mut frame = |(at, page): (usize, &Vec<String>)| {
        let page: String = page.iter().map(|name| format!("{name} {at}\n")).collect();
        collector.scrape(&[("job", "a")], START - 600_000 + at as i64 * 1000, &page);
        gateway.take("alpha", &mut collector);
        Arc::new(followed.follow(&gateway.store.cluster("alpha").expect("a cluster"), &labelling))
    };
    pages.iter().enumerate().map(&mut frame).collect()
}

fn page(rows: usize) -> Vec<String> {
    (0..rows).map(|number| format!("m{{n=\"{number}\"}}")).collect()
}

fn lane(name: &str) -> Lane {
    Lane::Cluster(name.into())
}

fn offer(queue: &mut Queue, name: &str, position: u64, frame: &Arc<FrameSamples>) {
    queue.offer(Offer { lane: lane(name), position: Position(position), frame: frame.clone(), is_replayed: false });
}

fn post(queue: &mut Queue, now: Instant) -> Order {
    match queue.next(now, None) {
        Next::Post(order) => order,
        other => panic!("expected an order, found {other:?}"),
    }
}

fn is_idle(queue: &mut Queue, now: Instant) -> bool {
    matches!(queue.next(now, None), Next::Idle)
}

fn status(code: u16, text: &str) -> Answer {
    let status = StatusCode::from_u16(code).expect("a status");
    Answer::new(status, &HeaderMap::new(), text.to_owned(), Timestamp(START))
}

fn with_headers(code: u16, headers: &[(&'static str, String)], text: &str) -> Answer {
    let header = |(name, value): &(&'static str, String)| {
        (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a header's value"))
    };
    let status = StatusCode::from_u16(code).expect("a status");
    Answer::new(status, &headers.iter().map(header).collect(), text.to_owned(), Timestamp(START))
}

fn written(code: u16, samples: u64, text: &str) -> Answer {
    with_headers(code, &[("x-prometheus-remote-write-samples-written", samples.to_string())], text)
}

fn take(queue: &mut Queue, order: &Order, now: Instant) -> Settled {
    queue.answered(order, Some(&written(204, order.counts().samples, "")), now)
}

#[test]
fn parts_go_side_by_side_and_the_next_frame_when_all_are_settled() {
    let (now, all) = (Instant::now(), frames(&[page(25), page(25)]));
    let mut queue = Queue::new(Settings { shards: (4, 4), ..SETTINGS });
    offer(&mut queue, "alpha", 100, &all[0]);
    offer(&mut queue, "alpha", 200, &all[1]);
    let first = post(&mut queue, now);
    assert!(is_idle(&mut queue, now), "one request finds out what the endpoint speaks");
    take(&mut queue, &first, now);
    let (second, third) = (post(&mut queue, now), post(&mut queue, now));
    assert!(is_idle(&mut queue, now), "the second frame waits for the first");
    assert_eq!(queue.oldest(Source::Frames), Some(Position(100)));
    take(&mut queue, &third, now);
    assert!(is_idle(&mut queue, now));
    take(&mut queue, &second, now);
    assert_eq!(queue.oldest(Source::Frames), Some(Position(200)));
    assert_eq!(post(&mut queue, now).frame.scrapes[0].view.started, all[1].scrapes[0].view.started);
}

#[test]
fn clusters_do_not_wait_for_each_other() {
    let (now, all) = (Instant::now(), frames(&[page(3), page(3)]));
    let mut queue = Queue::new(Settings { shards: (4, 4), version: Some(Version::V1), ..SETTINGS });
    offer(&mut queue, "alpha", 1, &all[0]);
    offer(&mut queue, "alpha", 2, &all[1]);
    offer(&mut queue, "beta", 3, &all[0]);
    let (one, two) = (post(&mut queue, now), post(&mut queue, now));
    assert_eq!((one.lane, two.lane.clone()), (lane("alpha"), lane("beta")));
    assert!(is_idle(&mut queue, now));
    queue.answered(&two, Some(&status(204, "")), now);
    assert_eq!((queue.oldest(Source::Frames), queue.rows()), (Some(Position(1)), 16));
}

#[test]
fn what_can_pass_is_sent_again_for_ever_with_pauses_that_grow() {
    let (start, all) = (Instant::now(), frames(&[page(3)]));
    let mut queue = Queue::new(SETTINGS);
    offer(&mut queue, "alpha", 1, &all[0]);
    let (mut now, mut pauses) = (start, Vec::new());
    let answers = [Some(500), Some(503), Some(429), None, Some(502), Some(504), Some(408)];
    for round in 0..40 {
        let order = post(&mut queue, now);
        assert_eq!(order.tries, round);
        let answer = answers[round as usize % answers.len()].map(|code| status(code, "later"));
        let settled = queue.answered(&order, answer.as_ref(), now);
        assert_eq!((settled.again.samples, settled.lost), (8, None));
        let Next::Wait(moment) = queue.next(now, None) else { panic!("expected a pause") };
        pauses.push((moment - now).as_secs_f64());
        now = moment;
    }
    for (at, pause) in pauses.iter().enumerate() {
        let base = (0.030 * 2f64.powi(at as i32)).min(5.0);
        assert!((0.899 * base..=1.101 * base).contains(pause), "pause {at}: {pause} for {base}");
    }
    assert!(pauses.windows(2).all(|two| two[1] / two[0] >= 0.8));
    let order = post(&mut queue, now);
    assert_eq!(take(&mut queue, &order, now).delivered.samples, 8);
    assert_eq!((queue.rows(), queue.oldest(Source::Frames)), (0, None));
}

#[test]
fn retry_after_is_kept_in_both_forms_and_a_bad_one_is_none() {
    let (now, all) = (Instant::now(), frames(&[page(3)]));
    for (value, seconds) in [("7", 7.0), ("Fri, 15 Jan 2027 08:00:09 GMT", 9.0), ("-5", 0.03), ("soon", 0.03)] {
        for code in [429, 503] {
            let mut queue = Queue::new(SETTINGS);
            offer(&mut queue, "alpha", 1, &all[0]);
            let order = post(&mut queue, now);
            queue.answered(&order, Some(&with_headers(code, &[("retry-after", value.to_owned())], "")), now);
            let Next::Wait(moment) = queue.next(now, None) else { panic!("expected a pause") };
            let pause = (moment - now).as_secs_f64();
            assert!((0.89 * seconds..=1.11 * seconds).contains(&pause), "{value}: {pause}");
        }
    }
}

#[test]
fn an_endpoint_of_1_0_is_found_out_and_remembered() {
    for answer in [status(415, "unsupported"), status(204, ""), status(200, ""), status(400, "bad request")] {
        let (now, all) = (Instant::now(), frames(&[page(3), page(3)]));
        let mut queue = Queue::new(SETTINGS);
        offer(&mut queue, "alpha", 1, &all[0]);
        offer(&mut queue, "alpha", 2, &all[1]);
        let order = post(&mut queue, now);
        assert_eq!(order.version, Version::V2);
        let settled = queue.answered(&order, Some(&answer), now);
        assert!(settled.has_fallen_back && settled.delivered == Counts::default(), "{answer:?}");
        let again = post(&mut queue, now);
        assert_eq!((again.version, again.part), (Version::V1, order.part));
        assert_eq!(queue.answered(&again, Some(&status(204, "")), now).delivered.samples, 8);
        assert_eq!(post(&mut queue, now).version, Version::V1);
    }
}

#[test]
fn a_version_that_is_set_is_kept_to() {
    let (now, all) = (Instant::now(), frames(&[page(3)]));
    let mut queue = Queue::new(Settings { version: Some(Version::V2), ..SETTINGS });
    offer(&mut queue, "alpha", 1, &all[0]);
    let order = post(&mut queue, now);
    let settled = queue.answered(&order, Some(&status(204, "")), now);
    assert!(settled.is_misconfigured && settled.delivered == Counts::default(), "it wrote nothing, or cannot say so");
}

#[test]
fn a_wrong_password_loses_nothing() {
    for code in [401, 403, 404, 405, 407, 302] {
        let (start, all) = (Instant::now(), frames(&[page(25)]));
        let mut queue = Queue::new(Settings { shards: (4, 4), version: Some(Version::V1), ..SETTINGS });
        offer(&mut queue, "alpha", 1, &all[0]);
        let mut now = start;
        for _ in 0..20 {
            let order = post(&mut queue, now);
            let settled = queue.answered(&order, Some(&status(code, "no")), now);
            assert!(settled.is_misconfigured && settled.lost.is_none() && queue.is_misconfigured());
            let Next::Wait(moment) = queue.next(now, None) else { panic!("expected a pause") };
            assert!(moment - now >= Duration::from_millis(900) && moment - now <= Duration::from_secs(67));
            now = moment;
        }
        let order = post(&mut queue, now);
        assert!(is_idle(&mut queue, now), "one request asks whether it is over");
        queue.answered(&order, Some(&status(204, "")), now);
        assert!(!queue.is_misconfigured() && matches!(queue.next(now, None), Next::Post(_)));
    }
}

#[test]
fn another_4xx_drops_the_part_and_goes_on() {
    let (now, all) = (Instant::now(), frames(&[page(3), page(3)]));
    let mut queue = Queue::new(Settings { version: Some(Version::V1), ..SETTINGS });
    offer(&mut queue, "alpha", 1, &all[0]);
    offer(&mut queue, "alpha", 2, &all[1]);
    let order = post(&mut queue, now);
    let settled = queue.answered(&order, Some(&status(451, "no")), now);
    assert_eq!(settled.lost, Some((LossReason::Rejected, Counts { samples: 8, ..Counts::default() })));
    assert_eq!(queue.oldest(Source::Frames), Some(Position(2)));
}

#[test]
fn what_an_earlier_run_may_have_sent_counts_as_delivered_when_it_is_refused() {
    let (now, all) = (Instant::now(), frames(&[page(3)]));
    for code in [400, 409] {
        let mut queue = Queue::new(Settings { version: Some(Version::V1), ..SETTINGS });
        let (lane, position, frame) = (lane("alpha"), Position(1), all[0].clone());
        queue.offer(Offer { lane, position, frame, is_replayed: true });
        let order = post(&mut queue, now);
        let settled = queue.answered(&order, Some(&status(code, "out of order sample")), now);
        assert_eq!((settled.delivered.samples, settled.lost), (8, None));
    }
}

#[test]
fn samples_that_waited_too_long_are_dropped_when_their_turn_comes() {
    let (now, all) = (Instant::now(), frames(&[page(3)]));
    let mut queue = Queue::new(Settings { version: Some(Version::V1), ..SETTINGS });
    offer(&mut queue, "alpha", 1, &all[0]);
    let Next::Post(order) = queue.next(now, Some(Timestamp(START))) else { panic!("expected an order") };
    assert_eq!(order.counts(), Counts::default());
    let settled = queue.skipped(&order);
    assert_eq!((settled.aged.samples, queue.rows(), queue.oldest(Source::Frames)), (8, 0, None));
}

/// A receiver that refuses series named `bad`, and remembers the rest.
#[derive(Default)]
struct Receiver {
    /// By lane and series.
    stored: BTreeMap<(Lane, String), Vec<i64>>,
    requests: usize,
}

impl Receiver {
    fn read(order: &Order) -> Vec<Series> {
        let body = BodyEncoder::default().body(order.version, &order.frame, &order.part, &order.options);
        match order.version {
            Version::V1 => read_v1(&body),
            Version::V2 => read_v2(&body),
        }
    }

    fn store(&mut self, lane: &Lane, series: &Series) {
        let (name, at) = (series.text(), series.sample().1);
        let known = self.stored.entry((lane.clone(), name)).or_default();
        let last = known.last().copied().unwrap_or(i64::MIN);
        assert!(at >= last, "{} at {at} after {last}", series.text());
        if at > last {
            known.push(at);
        }
    }

    /// As Prometheus does: of 1.0 all or nothing, of 2.0 what is good.
    fn take(&mut self, order: &Order) -> Answer {
        self.requests += 1;
        let series = Receiver::read(order);
        let (bad, good): (Vec<&Series>, Vec<&Series>) = series.iter().partition(|one| one.name() == "bad");
        if order.version == Version::V1 && !bad.is_empty() {
            return status(400, "label value too long");
        }
        good.iter().for_each(|one| self.store(&order.lane, one));
        match order.version {
            Version::V1 => status(204, ""),
            Version::V2 if bad.is_empty() => written(204, good.len() as u64, ""),
            Version::V2 => written(400, good.len() as u64, "label value too long"),
        }
    }
}

/// Sends everything; `mood` says what becomes of each request: 0 is taken, anything else a failure.
fn drain(queue: &mut Queue, receiver: &mut Receiver, moods: &[u8]) -> (Counts, BTreeMap<LossReason, u64>) {
    let (mut now, mut moods) = (Instant::now(), moods.iter().copied());
    let (mut delivered, mut lost, mut under_way) = (Counts::default(), BTreeMap::new(), Vec::<Order>::new());
    loop {
        let next = queue.next(now, None);
        if let Next::Post(order) = next {
            under_way.push(order);
            continue;
        }
        if under_way.is_empty() {
            match next {
                Next::Wait(moment) => now = moment,
                _ => return (delivered, lost),
            }
            continue;
        }
        let mood = moods.next().unwrap_or_default();
        let order = under_way.remove(usize::from(mood) % under_way.len());
        let answer = match mood % 6 {
            1 => Some(status(503, "busy")),
            2 => Some(status(429, "slower")),
            3 => None,
            // It was taken, and the answer lost.
            4 => Some(receiver.take(&order)).filter(|_| false),
            _ => Some(receiver.take(&order)),
        };
        let settled = queue.answered(&order, answer.as_ref(), now);
        delivered.samples += settled.delivered.samples;
        if let Some((reason, counts)) = settled.lost {
            *lost.entry(reason).or_default() += counts.samples;
        }
    }
}

#[test]
fn one_bad_series_loses_itself_alone() {
    for (version, requests_max) in [(Version::V1, 2 * 12), (Version::V2, 1)] {
        let mut rows = page(1990);
        rows.insert(777, "bad{why=\"long\"}".to_owned());
        let all = frames(&[rows]);
        let mut queue = Queue::new(Settings { rows_max: 2000, version: Some(version), ..SETTINGS });
        offer(&mut queue, "alpha", 1, &all[0]);
        let mut receiver = Receiver::default();
        let (delivered, lost) = drain(&mut queue, &mut receiver, &[]);
        assert_eq!((delivered.samples, lost), (1995, BTreeMap::from([(LossReason::Rejected, 1)])), "{version:?}");
        assert_eq!(receiver.stored.len(), 1995);
        assert!(receiver.requests <= requests_max, "{} requests", receiver.requests);
    }
}

#[test]
fn a_part_of_bad_series_alone_costs_a_bounded_number_of_requests() {
    let bad: Vec<String> = (0..1000).map(|number| format!("bad{{n=\"{number}\"}}")).collect();
    let all = frames(&[bad]);
    let mut queue = Queue::new(Settings { rows_max: 2000, version: Some(Version::V1), ..SETTINGS });
    offer(&mut queue, "alpha", 1, &all[0]);
    let mut receiver = Receiver::default();
    let (delivered, lost) = drain(&mut queue, &mut receiver, &[]);
    assert_eq!(delivered.samples + lost[&LossReason::Rejected], 1005);
    assert!(receiver.requests <= 257, "{} requests", receiver.requests);
}

#[test]
fn a_part_that_is_too_large_is_halved() {
    let (now, all) = (Instant::now(), frames(&[page(5)]));
    let mut queue = Queue::new(Settings { version: Some(Version::V1), ..SETTINGS });
    offer(&mut queue, "alpha", 1, &all[0]);
    let order = post(&mut queue, now);
    assert_eq!(order.part.rows, 10);
    assert_eq!(queue.answered(&order, Some(&status(413, "too big")), now).again.samples, 10);
    assert_eq!(post(&mut queue, now).part.rows, 5);
}

#[test]
fn shards_grow_while_they_are_busy_and_shrink_under_overload() {
    let (now, all) = (Instant::now(), frames(&[page(195)]));
    let mut queue = Queue::new(Settings { version: Some(Version::V1), ..SETTINGS });
    offer(&mut queue, "alpha", 1, &all[0]);
    let fill = |queue: &mut Queue, under_way: &mut Vec<Order>| {
        while let Next::Post(order) = queue.next(now, None) {
            under_way.push(order);
        }
        under_way.len()
    };
    let mut under_way = Vec::new();
    for shards in [1, 2, 3, 4, 4] {
        assert_eq!((fill(&mut queue, &mut under_way), queue.shards()), (shards, shards));
        let order = under_way.remove(0);
        queue.answered(&order, Some(&status(204, "")), now);
    }
    for order in under_way.drain(..) {
        queue.answered(&order, Some(&status(429, "")), now);
    }
    assert_eq!(queue.shards(), 2, "three refusals at once halve once");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever the answers are and in whichever order they come: every good row of every frame is stored, in order, and the bad ones are
    /// counted.
    #[test]
    fn nothing_is_lost_but_what_is_counted(
        pages in prop::collection::vec((1usize..30, prop::collection::btree_set(0usize..30, 0..3)), 1..6),
        moods in prop::collection::vec(any::<u8>(), 0..200),
        rows_max in 1usize..20,
        version in prop::sample::select(vec![Some(Version::V1), Some(Version::V2), None]),
    ) {
        let bad = |at: &usize, bad: &BTreeSet<usize>| {
            if bad.contains(at) { format!("bad{{n=\"{at}\"}}") } else { format!("m{{n=\"{at}\"}}") }
        };
        let rows: Vec<Vec<String>> =
            pages.iter().map(|(rows, set)| (0..*rows).map(|at| bad(&at, set)).collect()).collect();
        let all = frames(&rows);
        let mut queue = Queue::new(Settings { rows_max, version, ..SETTINGS });
        for (at, frame) in all.iter().enumerate() {
            offer(&mut queue, "alpha", at as u64, frame);
            offer(&mut queue, "beta", 1000 + at as u64, frame);
        }
        let total = queue.rows();
        let mut receiver = Receiver::default();
        let (delivered, lost) = drain(&mut queue, &mut receiver, &moods);
        prop_assert_eq!(queue.rows(), 0);
        prop_assert_eq!((queue.oldest(Source::Frames), queue.running()), (None, 0));
        prop_assert_eq!(delivered.samples + lost.values().sum::<u64>(), total);
        let mut expected: BTreeMap<(Lane, String), Vec<i64>> = BTreeMap::new();
        let mut bad_rows = 0;
        for frame in &all {
            let whole = SETTINGS.options;
            for part in frame.cut(frame.start(), frame.end(), &whole, usize::MAX) {
                let body = BodyEncoder::default().body(Version::V1, frame, &part, &whole);
                for series in read_v1(&body) {
                    match series.name() {
                        "bad" => bad_rows += 2,
                        _ => ["alpha", "beta"].iter().for_each(|name| {
                            expected.entry((lane(name), series.text())).or_default().push(series.sample().1);
                        }),
                    }
                }
            }
        }
        prop_assert_eq!(lost.values().sum::<u64>(), bad_rows);
        prop_assert_eq!(receiver.stored, expected);
    }
}
