//! Two lanes of one collector: the newest state ahead, the backlog behind it. Readers never see a series step back in time, and
//! what is kept of the past is whole again when the backlog has come.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use fedgate::model::{METRIC_NAME, MatchOp, Matcher, Timestamp};
use fedgate::promql::{Budget, SelectionCache, Source, StoreSource};
use fedgate::snapshot::{Ahead, ApplyError, EncodedFrame, FrameKind, Outcome, StreamId};
use fedgate::store::{Keep, Refusal};
use proptest::prelude::*;

use crate::store_pushes::{Collector, Gateway, Pushed, START, policy};

/// Between two ticks, in seconds.
const TICK: u64 = 15;
const ONE: [(&str, &str); 1] = [("instance", "one")];
const TWO: [(&str, &str); 1] = [("instance", "two")];

fn matchers() -> Vec<Matcher> {
    vec![Matcher::new(METRIC_NAME, MatchOp::Equal, "m").unwrap()]
}

/// A gateway that keeps `m` for an hour, and one that pushes to it.
struct Scene {
    gateway: Gateway,
    collector: Collector,
    ahead: Ahead,
    ids: u8,
    aheads: u8,
    tick: u64,
    ticks: i64,
    /// What an ordered lane has still to send, a tick an entry.
    backlog: Vec<Vec<EncodedFrame>>,
    /// What it has sent since its last KEY.
    sent: Vec<Vec<EncodedFrame>>,
    /// The newest time at which readers saw each series.
    seen: HashMap<String, i64>,
}

impl Scene {
    fn new() -> Scene {
        let gateway = Gateway::new([policy("alpha")]);
        let keep = Keep { matchers: matchers(), duration: Duration::from_secs(3600), is_of_recorded: false };
        gateway.store.keep(vec![keep]);
        Scene {
            gateway,
            collector: Collector::new(1, START),
            ahead: Ahead::new(StreamId([101; 16])),
            ids: 1,
            aheads: 101,
            tick: TICK,
            ticks: 0,
            backlog: Vec::new(),
            sent: Vec::new(),
            seen: HashMap::new(),
        }
    }

    /// The process ends and another one begins.
    fn restart(&mut self) {
        self.ids += 1;
        self.collector = Collector::new(self.ids, self.gateway.now());
        self.aheads += 1;
        self.ahead = Ahead::new(StreamId([self.aheads; 16]));
    }

    /// These targets are scraped, time passes, and the tick's frames wait.
    fn tick(&mut self, targets: &[&[(&str, &str)]]) {
        self.ticks += 1;
        for target in targets {
            let at = self.gateway.now() + 1000 * self.tick as i64 - 500;
            self.collector.scrape(target, at, &format!("m {}\n", self.ticks));
        }
        self.gateway.pass(self.tick);
        let frames = self.collector.tick_with(self.gateway.now(), self.ticks % 4 == 0);
        self.backlog.push(frames);
    }

    fn push(&self, frames: &[EncodedFrame]) -> Pushed {
        self.gateway.push("alpha", "alpha.example", frames)
    }

    /// The newest state overtakes, in a stream of its own anew where the gateway forgot what the one before had defined.
    fn overtake(&mut self) {
        let frames = self.collector.newest(&mut self.ahead, self.gateway.now());
        if let Err(refusal) = self.push(&frames) {
            assert!(
                matches!(refusal, Refusal::State(ApplyError::UnknownSchemas(_) | ApplyError::NeedKey)),
                "{refusal}"
            );
            self.aheads += 1;
            self.ahead = Ahead::new(StreamId([self.aheads; 16]));
            let frames = self.collector.newest(&mut self.ahead, self.gateway.now());
            self.push(&frames).expect("a stream that stands on nothing");
        }
    }

    /// The next ticks of the backlog arrive; a gateway that forgot the stream has all since the KEY again.
    fn deliver(&mut self, ticks: usize) {
        for frames in self.backlog.drain(..ticks.min(self.backlog.len())).collect::<Vec<_>>() {
            if frames.iter().any(|frame| frame.kind == FrameKind::Key) {
                self.sent.clear();
            }
            let outcome = self.push(&frames);
            self.sent.push(frames);
            if let Err(Refusal::State(ApplyError::NeedKey)) = outcome {
                self.sent.iter().for_each(|frames| drop(self.push(frames).expect("from the KEY on")));
            } else {
                outcome.expect("frames in order");
            }
        }
    }

    /// Value and age in ticks of what readers see of `m`, by instance; checks that nothing stepped back.
    async fn shown(&mut self) -> BTreeMap<String, (i64, i64)> {
        let mut shown = BTreeMap::new();
        for line in self.gateway.lines(&["m"]).await {
            let words: Vec<&str> = line.split(' ').collect();
            let (value, at): (i64, i64) = (words[1].parse().unwrap(), words[2].parse().unwrap());
            let before = self.seen.insert(words[0].to_owned(), at);
            assert!(before.is_none_or(|before| before <= at), "{line} steps back behind {before:?}");
            let instance = if words[0].contains("one") { "one" } else { "two" };
            shown.insert(instance.to_owned(), (value, at));
        }
        shown
    }

    async fn values(&mut self) -> Vec<(String, i64)> {
        self.shown().await.into_iter().map(|(instance, (value, _))| (instance, value)).collect()
    }

    /// The values that a range query finds of an instance.
    fn past(&self, instance: &str) -> Vec<i64> {
        let (wall, monotonic) = self.gateway.moment();
        let (view, cache) = (self.gateway.store.view(wall, monotonic, None), SelectionCache::new());
        let source = StoreSource::new(&view, &cache);
        let mut found = Vec::new();
        let mut each = |batch: fedgate::promql::Batch<'_>| {
            assert!(batch.times.is_sorted());
            let values = |values: &[f64]| values.iter().map(|value| *value as i64).collect::<Vec<_>>();
            found.extend(batch.series().map(|(row, samples)| (row, values(samples.values))));
        };
        let budget = Budget::new(1_000_000, &|| false);
        let rows = source
            .range(&matchers(), Timestamp(0), wall, &budget, fedgate::promql::RangeReading::All, &mut each)
            .unwrap();
        let of_instance = |(row, _): &(usize, Vec<i64>)| rows.labels(*row).to_string().contains(instance);
        found.into_iter().filter(of_instance).flat_map(|(_, values)| values).collect()
    }

    fn streams(&self) -> usize {
        self.gateway.store.cluster("alpha").unwrap().streams.len()
    }
}

fn both(one: i64, two: i64) -> Vec<(String, i64)> {
    vec![("one".to_owned(), one), ("two".to_owned(), two)]
}

#[tokio::test]
async fn the_newest_state_is_shown_at_once_and_the_backlog_fills_the_past_behind_it() {
    let mut scene = Scene::new();
    scene.tick(&[&ONE, &TWO]);
    scene.deliver(1);
    for _ in 2..=6 {
        scene.tick(&[&ONE, &TWO]);
    }
    scene.overtake();
    assert_eq!(scene.values().await, both(6, 6));
    assert_eq!(scene.past("one"), [1, 6]);
    scene.deliver(3);
    assert_eq!(scene.values().await, both(6, 6), "what is behind changes nothing that is newer");
    assert_eq!(scene.past("one"), [1, 2, 3, 4, 6], "but the past is there as far as it has come");
    scene.tick(&[&ONE]);
    scene.overtake();
    assert_eq!((scene.values().await, scene.streams()), (both(7, 6), 2));
    scene.deliver(3);
    assert_eq!((scene.values().await, scene.streams()), (both(7, 6), 1), "reached: the volatile stream is gone");
    assert_eq!((scene.past("one"), scene.past("two")), ((1..=7).collect(), (1..=6).collect()));
    scene.overtake();
    assert_eq!(scene.streams(), 1, "a volatile frame that is ahead of nothing is taken and does nothing");
}

#[tokio::test]
async fn what_ended_in_the_newest_state_does_not_come_back_with_the_backlog() {
    let mut scene = Scene::new();
    scene.tick(&[&ONE]);
    scene.deliver(1);
    scene.tick(&[&ONE, &TWO]);
    scene.tick(&[&ONE, &TWO]);
    scene.overtake();
    assert_eq!(scene.values().await, both(3, 3));
    scene.collector.without_page(&TWO, scene.gateway.now() + 500, Outcome::Gone);
    scene.tick(&[&ONE]);
    scene.overtake();
    assert_eq!(scene.values().await, [("one".to_owned(), 4)]);
    scene.deliver(2);
    assert_eq!(scene.values().await, [("one".to_owned(), 4)], "two is gone by now");
    scene.deliver(1);
    assert_eq!((scene.values().await, scene.streams()), (vec![("one".to_owned(), 4)], 1));
}

#[tokio::test]
async fn a_volatile_stream_that_falls_silent_leaves_nothing_older_to_be_shown() {
    let mut scene = Scene::new();
    scene.tick(&[&ONE]);
    scene.deliver(1);
    (0..3).for_each(|_| scene.tick(&[&ONE]));
    scene.overtake();
    assert_eq!(scene.values().await, [("one".to_owned(), 4)]);
    for _ in 0..8 {
        scene.tick(&[&ONE]);
        scene.deliver(0);
    }
    assert_eq!(scene.values().await, [], "ended by silence");
    scene.deliver(2);
    assert_eq!(scene.values().await, [], "readers have seen newer ones");
    scene.deliver(1);
    assert_eq!(scene.values().await, [("one".to_owned(), 4)], "what they have seen last may come again");
    scene.deliver(100);
    assert_eq!(scene.values().await, [("one".to_owned(), 12)]);
}

#[tokio::test]
async fn an_earlier_run_drains_behind_the_newest_state_of_the_next() {
    let mut scene = Scene::new();
    scene.tick(&[&ONE, &TWO]);
    scene.deliver(1);
    (0..3).for_each(|_| scene.tick(&[&ONE, &TWO]));
    scene.restart();
    scene.tick(&[&ONE]);
    scene.overtake();
    assert_eq!(scene.values().await, both(5, 1), "two was not scraped again yet");
    scene.deliver(2);
    assert_eq!(scene.values().await, both(5, 3));
    scene.tick(&[&ONE, &TWO]);
    scene.overtake();
    scene.deliver(2);
    assert_eq!(scene.values().await, both(6, 6));
    scene.deliver(1);
    assert_eq!((scene.values().await, scene.past("one")), (both(6, 6), (1..=6).collect()));
    assert_eq!(scene.past("two"), [1, 2, 3, 4, 6]);
}

#[tokio::test]
async fn a_stream_is_volatile_or_not_and_volatile_ones_are_few() {
    let mut scene = Scene::new();
    scene.tick(&[&ONE]);
    scene.tick(&[&ONE]);
    for id in 101..=109 {
        scene.ahead = Ahead::new(StreamId([id; 16]));
        scene.overtake();
        scene.tick(&[&ONE]);
    }
    assert_eq!(scene.streams(), 4, "older ones make room");
    let mut other = Ahead::new(StreamId([1; 16]));
    scene.deliver(1);
    let mixed = scene.collector.newest(&mut other, scene.gateway.now());
    assert!(matches!(scene.push(&mixed), Err(Refusal::State(_))));
}

#[tokio::test]
async fn a_volatile_state_of_the_future_is_not_shown() {
    let mut scene = Scene::new();
    scene.tick(&[&ONE]);
    scene.deliver(1);
    let frames = scene.collector.newest(&mut scene.ahead, scene.gateway.now() + 86_400_000);
    assert!(scene.push(&frames).unwrap().last().unwrap().is_duplicate, "taken without effect");
    scene.tick(&[&ONE]);
    scene.deliver(1);
    assert_eq!(scene.values().await, [("one".to_owned(), 2)], "or what is really newer would be behind it");
}

#[derive(Clone, Debug)]
enum Event {
    Tick {
        one: bool,
        two: bool,
    },
    Overtake,
    /// A volatile snapshot is lost, or so late that others were there before it.
    Delay,
    Deliver(usize),
    Restart,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (any::<bool>(), any::<bool>()).prop_map(|(one, two)| Event::Tick { one, two }),
        4 => Just(Event::Overtake),
        1 => Just(Event::Delay),
        5 => (1..4_usize).prop_map(Event::Deliver),
        1 => Just(Event::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn no_series_steps_back_and_nothing_is_missing_at_the_end(events in prop::collection::vec(event(), 1..50)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            // So short that nobody falls silent.
            let mut scene = Scene { tick: 1, ..Scene::new() };
            let (mut delayed, mut scraped) = (Vec::new(), [Vec::new(), Vec::new()]);
            scene.tick(&[&ONE, &TWO]);
            scraped.iter_mut().for_each(|values| values.push(1));
            for event in &events {
                match event {
                    Event::Tick { one, two } => {
                        let mut targets: Vec<&[(&str, &str)]> = Vec::new();
                        targets.extend(one.then_some(&ONE[..]));
                        targets.extend(two.then_some(&TWO[..]));
                        scene.tick(&targets);
                        [one, two].iter().zip(&mut scraped).filter(|(is, _)| ***is).for_each(|(_, v)| v.push(scene.ticks));
                    }
                    Event::Overtake => scene.overtake(),
                    Event::Delay => {
                        let late = std::mem::replace(&mut delayed, scene.collector.newest(&mut scene.ahead, scene.gateway.now()));
                        // Behind what it missed it is refused at most.
                        let _ = scene.push(&late);
                    }
                    Event::Deliver(ticks) => scene.deliver(*ticks),
                    // More runs than volatile streams are kept would end what the first of them shows.
                    Event::Restart if scene.ids > 2 => {}
                    // A target that a new run has not scraped yet when it overtakes, and that readers never saw, begins its history with
                    // that run; so both are scraped at once here.
                    Event::Restart => {
                        scene.restart();
                        scene.tick(&[&ONE, &TWO]);
                        scraped.iter_mut().for_each(|values| values.push(scene.ticks));
                    }
                }
                scene.shown().await;
            }
            scene.tick(&[&ONE, &TWO]);
            scraped.iter_mut().for_each(|values| values.push(scene.ticks));
            scene.deliver(usize::MAX);
            assert_eq!(scene.values().await, both(scene.ticks, scene.ticks));
            assert_eq!([scene.past("one"), scene.past("two")], scraped);
        });
    }
}
