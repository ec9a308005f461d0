//! One endpoint's state: which parts wait, which are under way, what an answer makes of them.
//!
//! No I/O and no clock: frames and answers go in, orders come out, time is an argument. The shell around it posts the orders.
//!
//! | what | how |
//! |---|---|
//! | order | of a cluster's frames the first is sent, all its parts side by side, and the next begins when each of them is settled; clusters do not wait for each other |
//! | shards | requests at once: one more each time that all were busy and one succeeded, half as many (once a second at most) when one must be sent again |
//! | a part that must be sent again | waits by itself, from `min_backoff` doubling to `max_backoff`, each off by a tenth; `Retry-After` makes all wait |
//! | a part whose samples are refused | is divided until each bad row is alone, within [`DIVISIONS_MAX`] requests for what was one part |
//! | an endpoint that is misconfigured | is asked every so often with one part, and everything waits |
//!
//! Invariant: a part is settled when all its rows are delivered or counted as lost, and only then leaves; what is settled is never
//! sent again by this process.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::request::Version;
use super::rows::{Counts, FrameSamples, Options, Part};
use super::verdict::{Answer, Asked, LossReason, Verdict, judge};
use crate::journal::Position;
use crate::model::Timestamp;
use crate::net::Backoff;

/// Requests that one part may become while its bad rows are looked for; then what is refused is lost as it stands.
pub const DIVISIONS_MAX: u32 = 256;
/// Pauses while an endpoint is misconfigured.
const MISCONFIGURED_FIRST: Duration = Duration::from_secs(1);
const MISCONFIGURED_MAX: Duration = Duration::from_secs(60);
/// The longest that `Retry-After` is believed.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
/// Shards are not halved again so soon.
const HALVING_PAUSE: Duration = Duration::from_secs(1);

/// What an endpoint's configuration comes down to here.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Rows of a part.
    pub rows_max: usize,
    /// Requests at once, at least and at most.
    pub shards: (usize, usize),
    /// First and longest pause before a part is sent again.
    pub pauses: (Duration, Duration),
    /// The only version to speak; `None` is negotiated.
    pub version: Option<Version>,
    /// What is sent of a frame.
    pub options: Options,
}

/// A stream of frames whose order counts: a cluster's, or that of what rules recorded.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// A cluster's, by its name.
    Cluster(Arc<str>),
    /// The results of rules; which cluster they carry, if the endpoint's headers ask for it.
    Recorded(Option<Arc<str>>),
}

impl Lane {
    /// Which log its frames come from.
    pub fn source(&self) -> Source {
        match self {
            Lane::Cluster(_) => Source::Frames,
            Lane::Recorded(_) => Source::Recorded,
        }
    }
}

/// A log of the gateway's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// What collectors pushed.
    Frames,
    /// What rules recorded.
    Recorded,
}

/// A frame to be delivered.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Whose order it keeps.
    pub lane: Lane,
    /// Its record.
    pub position: Position,
    /// What it brings.
    pub frame: Arc<FrameSamples>,
    /// An earlier run may have sent it.
    pub is_replayed: bool,
}

/// A request to be posted.
#[derive(Clone, Debug)]
pub struct Order {
    /// By this its answer is known.
    pub ticket: u64,
    /// Whose series these are.
    pub lane: Lane,
    /// The frame, of which [`Order::part`] is to be sent.
    pub frame: Arc<FrameSamples>,
    /// Which rows.
    pub part: Part,
    /// As which message.
    pub version: Version,
    /// What is sent of the part; what is too old by now is not.
    pub options: Options,
    /// How often it was sent before.
    pub tries: u32,
}

impl Order {
    /// What is sent with it.
    pub fn counts(&self) -> Counts {
        self.frame.count(&self.part, &self.options)
    }
}

/// What to do now.
#[derive(Clone, Debug)]
pub enum Next {
    /// Post this.
    Post(Order),
    /// Nothing before this moment, unless an answer or a frame comes.
    Wait(Instant),
    /// Nothing until an answer or a frame comes.
    Idle,
}

/// What an answer settled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// What the endpoint has now.
    pub delivered: Counts,
    /// What it will not have, and why.
    pub lost: Option<(LossReason, Counts)>,
    /// What was too old when its turn came.
    pub aged: Counts,
    /// What will be sent again.
    pub again: Counts,
    /// The endpoint is misconfigured.
    pub is_misconfigured: bool,
    /// From now on 1.0 is sent.
    pub has_fallen_back: bool,
}

/// One endpoint.
#[derive(Debug)]
pub struct Queue {
    settings: Settings,
    lanes: BTreeMap<Lane, VecDeque<Pending>>,
    /// Lanes with frames, in the order in which they are served.
    turn: VecDeque<Lane>,
    running: HashMap<u64, (Lane, Work)>,
    next_ticket: u64,
    shards: usize,
    halved: Option<Instant>,
    version: Version,
    is_confirmed: bool,
    /// Nothing is posted before.
    not_before: Option<Instant>,
    misconfigured: Option<Backoff>,
    /// Rows that are not settled.
    rows: u64,
}

#[derive(Debug)]
struct Pending {
    position: Position,
    frame: Arc<FrameSamples>,
    is_replayed: bool,
    waiting: VecDeque<Work>,
    /// Parts under way.
    open: usize,
    /// Requests that each of the parts that it was cut in may still become, while its bad rows are looked for.
    divisions: Vec<u32>,
}

#[derive(Debug)]
struct Work {
    part: Part,
    tries: u32,
    pause: Option<Backoff>,
    ready: Option<Instant>,
    /// Of which of the frame's parts it is a piece.
    origin: usize,
}

impl Queue {
    /// With nothing to send.
    pub fn new(settings: Settings) -> Queue {
        let (shards, version) = (settings.shards.0, settings.version.unwrap_or(Version::V2));
        Queue {
            settings,
            lanes: BTreeMap::new(),
            turn: VecDeque::new(),
            running: HashMap::new(),
            next_ticket: 0,
            shards,
            halved: None,
            version,
            is_confirmed: false,
            not_before: None,
            misconfigured: None,
            rows: 0,
        }
    }

    /// Takes a frame. One without rows is settled at once.
    pub fn offer(&mut self, offer: Offer) {
        let Offer { lane, position, frame, is_replayed } = offer;
        let parts = frame.cut(frame.start(), frame.end(), &self.settings.options, self.settings.rows_max);
        if parts.is_empty() {
            return;
        }
        self.rows += parts.iter().map(|part| u64::from(part.rows)).sum::<u64>();
        let divisions = vec![DIVISIONS_MAX; parts.len()];
        let work = |(origin, part)| Work { part, tries: 0, pause: None, ready: None, origin };
        let waiting = parts.into_iter().enumerate().map(work).collect();
        let frames = self.lanes.entry(lane.clone()).or_default();
        if frames.is_empty() {
            self.turn.push_back(lane);
        }
        frames.push_back(Pending { position, frame, is_replayed, waiting, open: 0, divisions });
    }

    /// What is to be done at `now`; samples before `oldest` are not sent.
    pub fn next(&mut self, now: Instant, oldest: Option<Timestamp>) -> Next {
        if self.running.len() >= self.limit() {
            return Next::Idle;
        }
        if let Some(moment) = self.not_before.filter(|moment| *moment > now) {
            return Next::Wait(moment);
        }
        let mut soonest: Option<Instant> = None;
        for _ in 0..self.turn.len() {
            let Some(lane) = self.turn.pop_front() else { break };
            let head = self.lanes.get_mut(&lane).and_then(|frames| frames.front_mut());
            self.turn.push_back(lane.clone());
            let Some(head) = head else { continue };
            let is_ready = |work: &Work| work.ready.is_none_or(|ready| ready <= now);
            if let Some(at) = head.waiting.iter().position(is_ready) {
                return Next::Post(self.order(lane, at, oldest));
            }
            soonest = head.waiting.iter().filter_map(|work| work.ready).chain(soonest).min();
        }
        soonest.map_or(Next::Idle, Next::Wait)
    }

    fn order(&mut self, lane: Lane, at: usize, oldest: Option<Timestamp>) -> Order {
        let head = self.lanes.get_mut(&lane).and_then(|frames| frames.front_mut()).expect("looked up by its caller");
        let work = head.waiting.remove(at).expect("looked up by its caller");
        head.open += 1;
        self.next_ticket += 1;
        let order = Order {
            ticket: self.next_ticket,
            lane: lane.clone(),
            frame: head.frame.clone(),
            part: work.part,
            version: self.version,
            options: Options { oldest, ..self.settings.options },
            tries: work.tries,
        };
        self.running.insert(order.ticket, (lane, work));
        order
    }

    /// An order's answer; `None` where there was none.
    pub fn answered(&mut self, order: &Order, answer: Option<&Answer>, now: Instant) -> Settled {
        let Some((lane, work)) = self.running.remove(&order.ticket) else { return Settled::default() };
        let head = self.lanes.get_mut(&lane).and_then(|frames| frames.front_mut()).expect("its part was under way");
        head.open -= 1;
        let counts = order.counts();
        let asked = Asked {
            version: order.version,
            counts,
            is_replayed: head.is_replayed,
            may_fall_back: order.version == Version::V2 && self.settings.version.is_none(),
            is_confirmed: self.is_confirmed,
        };
        let verdict = answer.map_or(Verdict::Again(None), |answer| judge(answer, &asked));
        self.is_confirmed |= order.version == Version::V2 && answer.is_some_and(|answer| answer.written.is_some());
        if verdict != Verdict::Misconfigured {
            self.misconfigured = None;
        }
        let settled = match verdict {
            Verdict::Delivered(lost) => self.delivered(&counts, lost),
            Verdict::Again(after) => self.again((lane.clone(), work), &counts, after, now),
            Verdict::Misconfigured => self.misconfigured((lane.clone(), work), &counts, now),
            Verdict::FallBack => self.fall_back((lane.clone(), work), &counts),
            Verdict::Divide(reason) => self.divide((lane.clone(), work), &counts, reason),
            Verdict::Lost(reason) => Settled { lost: Some((reason, counts)), ..Settled::default() },
        };
        self.leave(&lane, order, settled)
    }

    /// An order of which everything is too old by now: it was not posted.
    pub fn skipped(&mut self, order: &Order) -> Settled {
        let Some((lane, _)) = self.running.remove(&order.ticket) else { return Settled::default() };
        self.lanes.get_mut(&lane).and_then(|frames| frames.front_mut()).expect("its part was under way").open -= 1;
        self.leave(&lane, order, Settled::default())
    }

    fn leave(&mut self, lane: &Lane, order: &Order, settled: Settled) -> Settled {
        let settled = match settled.again == Counts::default() {
            false => settled,
            true => {
                self.rows = self.rows.saturating_sub(u64::from(order.part.rows));
                let all = order.frame.count(&order.part, &self.settings.options);
                Settled { aged: all.less(&order.counts()), ..settled }
            }
        };
        self.finish_frames(lane);
        settled
    }

    /// Whether frames of this lane are queued.
    pub fn has(&self, lane: &Lane) -> bool {
        self.lanes.contains_key(lane)
    }

    /// The record of the oldest frame of a log that is not settled.
    pub fn oldest(&self, source: Source) -> Option<Position> {
        let lanes = self.lanes.iter().filter(|(lane, _)| lane.source() == source);
        lanes.filter_map(|(_, frames)| frames.front()).map(|pending| pending.position).min()
    }

    /// The time of the oldest scrape that is not settled.
    pub fn oldest_sample(&self) -> Option<Timestamp> {
        let heads = self.lanes.values().filter_map(|frames| frames.front());
        let of = |pending: &Pending| {
            let scrapes = pending.frame.scrapes.iter().map(|scrape| scrape.view.started);
            scrapes.chain(pending.frame.ends.iter().map(|end| end.at)).min()
        };
        heads.filter_map(of).min()
    }

    /// Rows that are not settled.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Requests that may be under way at once.
    pub fn shards(&self) -> usize {
        self.shards
    }

    /// Requests under way.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// What is sent of frames.
    pub fn options(&self) -> &Options {
        &self.settings.options
    }

    /// The version that is spoken now.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether the endpoint refuses everything.
    pub fn is_misconfigured(&self) -> bool {
        self.misconfigured.is_some()
    }

    fn limit(&self) -> usize {
        // Until it is known what the endpoint speaks, and while it refuses everything, one request finds out.
        let is_unsure = self.settings.version.is_none() && self.version == Version::V2 && !self.is_confirmed;
        if is_unsure || self.misconfigured.is_some() { 1 } else { self.shards }
    }

    fn delivered(&mut self, counts: &Counts, lost: Option<(LossReason, Counts)>) -> Settled {
        // This one has left already.
        if self.running.len() + 1 >= self.shards && self.shards < self.settings.shards.1 {
            self.shards += 1;
        }
        let delivered = counts.less(&lost.map_or_else(Counts::default, |(_, missing)| missing));
        Settled { delivered, lost, ..Settled::default() }
    }

    fn again(&mut self, work: (Lane, Work), counts: &Counts, after: Option<Duration>, now: Instant) -> Settled {
        if self.halved.is_none_or(|halved| now.saturating_duration_since(halved) >= HALVING_PAUSE) {
            self.halved = Some(now);
            self.shards = (self.shards / 2).max(self.settings.shards.0);
        }
        let (lane, mut work) = work;
        let (first, max) = self.settings.pauses;
        let pause = work.pause.get_or_insert_with(|| Backoff::new(first, max)).pause();
        work.ready = Some(now + pause);
        if let Some(after) = after.filter(|after| !after.is_zero()) {
            let moment = now + after.min(RETRY_AFTER_MAX);
            self.not_before = self.not_before.max(Some(moment));
        }
        self.put_back(&lane, work);
        Settled { again: *counts, ..Settled::default() }
    }

    fn misconfigured(&mut self, (lane, work): (Lane, Work), counts: &Counts, now: Instant) -> Settled {
        let pauses = self.misconfigured.get_or_insert_with(|| Backoff::new(MISCONFIGURED_FIRST, MISCONFIGURED_MAX));
        self.not_before = self.not_before.max(Some(now + pauses.pause()));
        self.put_back(&lane, work);
        Settled { again: *counts, is_misconfigured: true, ..Settled::default() }
    }

    fn fall_back(&mut self, (lane, work): (Lane, Work), counts: &Counts) -> Settled {
        let has_fallen_back = self.version == Version::V2;
        self.version = Version::V1;
        self.put_back(&lane, Work { tries: 0, ..work });
        Settled { again: *counts, has_fallen_back, ..Settled::default() }
    }

    fn divide(&mut self, (lane, work): (Lane, Work), counts: &Counts, reason: LossReason) -> Settled {
        let options = self.settings.options;
        let head = self.lanes.get_mut(&lane).and_then(|frames| frames.front_mut()).expect("its part was under way");
        let left = &mut head.divisions[work.origin];
        let halves = head.frame.halves(&work.part, &options).filter(|_| *left >= 2);
        let Some(halves) = halves else {
            return Settled { lost: Some((reason, *counts)), ..Settled::default() };
        };
        *left -= 2;
        let half = |part| Work { part, tries: 0, pause: None, ready: None, origin: work.origin };
        halves.into_iter().rev().for_each(|part| head.waiting.push_front(half(part)));
        Settled { again: *counts, ..Settled::default() }
    }

    /// It goes before what has not been sent yet, so that the oldest is settled first.
    fn put_back(&mut self, lane: &Lane, work: Work) {
        let head = self.lanes.get_mut(lane).and_then(|frames| frames.front_mut()).expect("its part was under way");
        head.waiting.push_front(Work { tries: work.tries + 1, ..work });
    }

    fn finish_frames(&mut self, lane: &Lane) {
        let Some(frames) = self.lanes.get_mut(lane) else { return };
        while frames.front().is_some_and(|head| head.open == 0 && head.waiting.is_empty()) {
            frames.pop_front();
        }
        if frames.is_empty() {
            self.lanes.remove(lane);
            self.turn.retain(|other| other != lane);
        }
    }
}
