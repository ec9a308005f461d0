//! The state machine of one push URL: what is kept, what is sent, what each verdict leads to, with a spool behind it and without.

use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fedgate::journal::Position;
use fedgate::model::Timestamp;
use fedgate::push::entry::{Entry, Place, Role, Totals};
use fedgate::push::protocol::Verdict;
use fedgate::push::sender::{DropReason, Failure, Fresh, Mark, Sender, SenderLimits, Step};
use fedgate::snapshot::{FrameKind, StreamId};

const FRAME_BYTES: usize = 10;
const STREAM: StreamId = StreamId([7; 16]);

/// A frame whose bytes say its number.
fn frame(kind: FrameKind, seq: u64) -> Entry {
    Entry {
        at: Place::default(),
        next: Place::default(),
        role: Role::Frame,
        kind,
        stream: STREAM,
        seq,
        tick: Timestamp(1000 * seq as i64),
        begins_key: kind == FrameKind::Key,
        before: Totals::default(),
        samples: 100,
        bytes: Bytes::from(vec![seq as u8; FRAME_BYTES]),
    }
}

fn key(seq: u64) -> Entry {
    frame(FrameKind::Key, seq)
}

fn delta(seq: u64) -> Entry {
    frame(FrameKind::Delta, seq)
}

fn definition() -> Entry {
    Entry { samples: 0, ..frame(FrameKind::Define, 0) }
}

/// A definition that only a gateway without state gets.
fn prelude() -> Entry {
    Entry { role: Role::Prelude, bytes: Bytes::from(vec![200; FRAME_BYTES]), ..definition() }
}

fn of_stream(stream: u8, entry: Entry) -> Entry {
    Entry { stream: StreamId([stream; 16]), ..entry }
}

fn limits() -> SenderLimits {
    SenderLimits {
        queue_bytes_max: 1000,
        has_spool: false,
        body_bytes_max: 1 << 20,
        backoff_max: Duration::from_secs(30),
        backlog_bytes_per_second: None,
    }
}

/// A sender and the log that it sends.
struct Fed {
    sender: Sender,
    log: Vec<Entry>,
    totals: Totals,
}

impl Fed {
    fn new(limits: SenderLimits) -> Fed {
        let sender = Sender::new(Mark::default(), Place::default(), Totals::default(), limits);
        Fed { sender, log: Vec::new(), totals: Totals::default() }
    }

    fn with(entries: Vec<Entry>) -> Fed {
        let mut fed = Fed::new(limits());
        fed.append(entries);
        assert_eq!(fed.take_dropped(), []);
        fed
    }

    /// Puts entries into the log, and hands them over as fresh ones.
    fn append(&mut self, entries: Vec<Entry>) {
        let entries = self.record(entries);
        self.sender.push(&entries);
    }

    fn record(&mut self, mut entries: Vec<Entry>) -> Vec<Entry> {
        for entry in &mut entries {
            let position = self.log.len() as u64;
            (entry.at, entry.next) = (Place::of_record(Position(position)), Place::behind(Position(position + 1)));
            entry.before = self.totals;
            self.totals = entry.after();
            self.log.push(entry.clone());
        }
        entries
    }

    /// Reads from the log what the sender wants, `count` entries at once.
    fn read(&mut self, now: Instant, count: usize) -> bool {
        let Some(from) = self.sender.wants_read(now) else { return false };
        let begin = from.position().0 as usize;
        let end = self.log.len().min(begin + count);
        let entries = self.log[begin..end].to_vec();
        self.sender.loaded(now, from, entries, Place::behind(Position(end as u64)));
        true
    }

    fn dropped(&mut self, reason: DropReason) -> (u64, u64) {
        let dropped = self.take_dropped();
        assert!(dropped.iter().all(|(found, _)| *found == reason), "{dropped:?}");
        dropped.iter().fold((0, 0), |all, (_, totals)| (all.0 + totals.frames, all.1 + totals.samples))
    }
}

impl Deref for Fed {
    type Target = Sender;
    fn deref(&self) -> &Sender {
        &self.sender
    }
}

impl DerefMut for Fed {
    fn deref_mut(&mut self) -> &mut Sender {
        &mut self.sender
    }
}

/// The numbers of the frames that are sent now.
fn sent(sender: &mut Sender, now: Instant) -> Vec<u8> {
    match sender.step(now) {
        Step::Send(body) => body.pieces.iter().map(|piece| piece[0]).collect(),
        other => panic!("expected a body, found {other:?}"),
    }
}

fn acked(acked: u64) -> Verdict {
    Verdict::Acked { acked }
}

fn lost_state() -> Verdict {
    Verdict::Missing { key: true, schemas: Vec::new() }
}

#[test]
fn the_log_can_be_rebuilt_from_the_key_before_what_is_not_acknowledged() {
    let now = Instant::now();
    let mut fed = Fed::with(vec![definition(), key(1), delta(2), delta(3), definition(), key(4), delta(5)]);
    let rewind = |fed: &Fed| fed.mark().rewind.map(|place| place.position().0);
    sent(&mut fed, now);
    fed.answered(now, acked(2));
    assert_eq!(rewind(&fed), Some(0), "frame 3 builds on the KEY 1");
    sent(&mut fed, now);
    fed.answered(now, acked(3));
    assert_eq!(rewind(&fed), Some(4), "the KEY 4 with its definition is next");
    sent(&mut fed, now);
    fed.answered(now, acked(5));
    assert_eq!(rewind(&fed), Some(4), "what is acknowledged may be asked for again");
    assert!(fed.is_drained() && fed.waiting() == Totals::default());
}

#[test]
fn parts_of_a_key_stay_together() {
    let now = Instant::now();
    let second_part = Entry { begins_key: false, ..key(4) };
    let mut fed = Fed::with(vec![key(1), delta(2), key(3), second_part, delta(5)]);
    sent(&mut fed, now);
    fed.answered(now, acked(3));
    assert_eq!(fed.mark().rewind, Some(Place::of_record(Position(2))), "the KEY begins with its first part");
}

#[test]
fn full_memory_drops_up_to_the_next_key_and_counts() {
    let mut fed = Fed::new(SenderLimits { queue_bytes_max: 6 * FRAME_BYTES, ..limits() });
    let now = Instant::now();
    fed.append(vec![key(1)]);
    sent(&mut fed, now);
    fed.answered(now, acked(1));
    fed.append(vec![delta(2), delta(3), key(4), delta(5), delta(6), delta(7)]);
    assert_eq!(fed.dropped(DropReason::Queue), (2, 200), "the acknowledged KEY is no loss");
    assert_eq!(sent(&mut fed, now), [4, 5, 6, 7]);
}

#[test]
fn without_a_later_key_everything_goes_and_a_fresh_one_is_wanted() {
    let mut fed = Fed::new(SenderLimits { queue_bytes_max: 3 * FRAME_BYTES, ..limits() });
    fed.append(vec![key(1), delta(2), delta(3)]);
    fed.append(vec![delta(4)]);
    assert_eq!(fed.dropped(DropReason::Queue), (4, 400));
    assert_eq!(fed.step(Instant::now()), Step::Make(Fresh::Key));
    assert_eq!(fed.step(Instant::now()), Step::Idle, "it is asked for once");
    fed.append(vec![key(5)]);
    assert_eq!(sent(&mut fed, Instant::now()), [5]);
    assert_eq!(fed.take_dropped(), []);
}

#[test]
fn a_key_larger_than_the_bound_is_kept() {
    let mut fed = Fed::new(SenderLimits { queue_bytes_max: FRAME_BYTES / 2, ..limits() });
    fed.append(vec![definition(), key(1)]);
    assert_eq!(fed.take_dropped(), []);
    assert_eq!(sent(&mut fed, Instant::now()), [0, 1]);
}

#[test]
fn frames_go_in_order_one_request_at_a_time() {
    let (mut fed, now) = (Fed::with(vec![definition(), key(1), delta(2)]), Instant::now());
    assert_eq!(sent(&mut fed, now), [0, 1, 2]);
    fed.append(vec![delta(3)]);
    assert_eq!(fed.step(now), Step::Idle, "one request is in flight");
    assert!(fed.answered(now, acked(2)).progress);
    assert_eq!(sent(&mut fed, now), [3]);
    assert!(!fed.is_drained());
    fed.answered(now, acked(3));
    assert!(fed.is_drained());
    assert_eq!(fed.step(now), Step::Idle);
}

#[test]
fn no_answer_means_the_same_bytes_again_after_a_growing_pause() {
    let (mut fed, mut now) = (Fed::with(vec![key(1), delta(2)]), Instant::now());
    let mut pauses = Vec::new();
    for _ in 0..12 {
        assert_eq!(sent(&mut fed, now), [1, 2]);
        fed.failed(now, Failure::Unanswered);
        let Step::Wait(until) = fed.step(now) else { panic!("a pause is due") };
        pauses.push(until.duration_since(now));
        now = until;
    }
    assert!(pauses[0] >= Duration::from_millis(45) && pauses[0] <= Duration::from_millis(55), "{pauses:?}");
    assert!(pauses[3] > pauses[1] && pauses[11] <= Duration::from_secs(33), "{pauses:?}");
}

#[test]
fn who_may_not_push_keeps_everything_and_reads_its_certificates_again() {
    for verdict in [Verdict::Unauthenticated { reason: String::new() }, Verdict::Forbidden { reason: String::new() }] {
        let (mut fed, now) = (Fed::with(vec![key(1)]), Instant::now());
        sent(&mut fed, now);
        assert!(fed.answered(now, verdict).reload_certificates);
        let Step::Wait(until) = fed.step(now) else { panic!("a pause is due") };
        assert_eq!(sent(&mut fed, until), [1]);
    }
    let (mut fed, now) = (Fed::with(vec![key(1)]), Instant::now());
    sent(&mut fed, now);
    assert!(fed.failed(now, Failure::Tls).reload_certificates);
}

#[test]
fn retry_after_wins_over_the_backoff() {
    let wish = Duration::from_secs(42);
    for verdict in [Verdict::SlowDown { retry_after: wish }, Verdict::Busy { retry_after: wish }] {
        let (mut fed, now) = (Fed::with(vec![key(1)]), Instant::now());
        sent(&mut fed, now);
        fed.answered(now, verdict);
        assert_eq!(fed.step(now), Step::Wait(now + wish));
    }
}

#[test]
fn a_gap_goes_back_to_what_is_expected_or_on_to_a_key() {
    let (mut fed, now) = (Fed::with(vec![key(1), delta(2), definition(), delta(3), delta(4)]), Instant::now());
    sent(&mut fed, now);
    fed.answered(now, Verdict::Gap { expected: 3 });
    assert_eq!(sent(&mut fed, now), [0, 3, 4], "with the definitions of the frame");
    fed.answered(now, Verdict::Gap { expected: 99 });
    assert_eq!(fed.step(now), Step::Make(Fresh::Key));
    fed.append(vec![key(5)]);
    assert_eq!(sent(&mut fed, now), [5]);
    assert_eq!(fed.dropped(DropReason::Refused), (4, 400), "no answer said that anything was kept");
}

#[test]
fn a_gateway_that_lost_its_state_gets_the_last_key_with_its_prelude_and_what_followed() {
    let (mut fed, now) = (Fed::with(vec![prelude(), definition(), key(1), delta(2)]), Instant::now());
    assert_eq!(sent(&mut fed, now), [0, 1, 2], "nobody else needs the prelude");
    fed.answered(now, acked(2));
    fed.append(vec![delta(3)]);
    assert_eq!(sent(&mut fed, now), [3]);
    fed.answered(now, lost_state());
    assert_eq!(sent(&mut fed, now), [200, 0, 1, 2, 3], "the same bytes from the KEY on");
    assert!(fed.answered(now, acked(3)).progress);
    assert!(fed.is_drained());
    fed.append(vec![prelude(), key(4)]);
    assert_eq!(sent(&mut fed, now), [4]);
}

#[test]
fn a_damaged_frame_is_sent_once_more_and_then_passed_over() {
    let (mut fed, now) = (Fed::with(vec![key(1), delta(2)]), Instant::now());
    let damaged = Verdict::Damaged { seq: 2, reason: "checksum".to_owned() };
    assert_eq!(sent(&mut fed, now), [1, 2]);
    fed.answered(now, damaged.clone());
    assert_eq!(sent(&mut fed, now), [1, 2]);
    fed.answered(now, damaged.clone());
    assert_eq!(fed.step(now), Step::Make(Fresh::Key));
    fed.append(vec![key(3)]);
    assert_eq!(sent(&mut fed, now), [3]);
    assert_eq!(fed.dropped(DropReason::Refused), (2, 200), "what is passed over is counted");

    let mut fed = Fed::with(vec![key(1), delta(2), delta(3), key(4), delta(5)]);
    for _ in 0..2 {
        assert_eq!(sent(&mut fed, now), [1, 2, 3, 4, 5]);
        fed.answered(now, damaged.clone());
    }
    assert_eq!(sent(&mut fed, now), [4, 5], "a KEY that is there already is enough");
}

#[test]
fn bodies_shrink_to_what_the_gateway_takes() {
    let big = |kind, seq| Entry { bytes: Bytes::from(vec![seq as u8; 100 << 10]), ..frame(kind, seq) };
    let frames = (2..6).map(|seq| big(FrameKind::Delta, seq));
    let mut fed = Fed::new(SenderLimits { queue_bytes_max: 1 << 20, ..limits() });
    fed.append(std::iter::once(big(FrameKind::Key, 1)).chain(frames).collect());
    let now = Instant::now();
    assert_eq!(sent(&mut fed, now), [1, 2, 3, 4, 5]);
    fed.answered(now, Verdict::TooLarge { limit_bytes: 220 << 10 });
    assert_eq!(sent(&mut fed, now), [1, 2]);
    fed.answered(now, acked(2));
    assert_eq!(sent(&mut fed, now), [3, 4]);
}

#[test]
fn refusals_without_progress_end_in_a_key_and_then_in_a_new_stream() {
    let (mut fed, mut now) = (Fed::with(vec![key(1)]), Instant::now());
    let mut made = Vec::new();
    for seq in 2..20 {
        loop {
            match fed.step(now) {
                Step::Wait(until) => now = until,
                Step::Make(fresh) => {
                    made.push(fresh);
                    let stream = if fresh == Fresh::Stream { seq as u8 } else { 7 };
                    fed.append(vec![of_stream(stream, key(seq))]);
                }
                Step::Send(_) => break,
                Step::Idle => panic!("something waits to be acknowledged"),
            }
        }
        if made.contains(&Fresh::Stream) {
            break;
        }
        fed.answered(now, lost_state());
    }
    assert_eq!(made.first(), Some(&Fresh::Key));
    assert_eq!(made.last(), Some(&Fresh::Stream));
}

#[test]
fn an_overflow_while_a_request_is_in_flight_loses_no_order() {
    let mut fed = Fed::new(SenderLimits { queue_bytes_max: 4 * FRAME_BYTES, ..limits() });
    let now = Instant::now();
    fed.append(vec![key(1), delta(2)]);
    assert_eq!(sent(&mut fed, now), [1, 2]);
    fed.append(vec![key(3), delta(4), delta(5)]);
    assert_eq!(fed.dropped(DropReason::Queue).0, 2, "what is in flight is not acknowledged yet");
    fed.answered(now, acked(2));
    assert_eq!(sent(&mut fed, now), [3, 4, 5]);
}

#[test]
fn who_ends_does_not_wait_for_the_next_try() {
    let (mut fed, now) = (Fed::with(vec![key(1)]), Instant::now());
    sent(&mut fed, now);
    fed.failed(now, Failure::Unanswered);
    assert!(matches!(fed.step(now), Step::Wait(_)));
    fed.hurry();
    assert_eq!(sent(&mut fed, now), [1]);
}

#[test]
fn a_body_holds_frames_of_one_stream() {
    let other = |entry| of_stream(8, entry);
    let (mut fed, now) = (Fed::with(vec![key(1), delta(2), other(definition()), other(key(1))]), Instant::now());
    assert_eq!(sent(&mut fed, now), [1, 2]);
    fed.answered(now, acked(2));
    assert_eq!(sent(&mut fed, now), [0, 1], "the next one follows when the first is through");
}

/// With a spool, and memory for three frames.
fn spooled() -> Fed {
    Fed::new(SenderLimits { has_spool: true, queue_bytes_max: 3 * FRAME_BYTES, ..limits() })
}

#[test]
fn what_memory_cannot_hold_is_read_from_the_spool() {
    let (mut fed, now) = (spooled(), Instant::now());
    fed.append((1..10).map(|seq| if seq == 1 { key(1) } else { delta(seq) }).collect());
    let mut seen = Vec::new();
    while !fed.is_drained() {
        fed.read(now, 2);
        let numbers = sent(&mut fed, now);
        fed.answered(now, acked(u64::from(*numbers.last().unwrap())));
        seen.extend(numbers);
        assert!(fed.window().bytes() <= 5 * FRAME_BYTES, "{} bytes in memory", fed.window().bytes());
    }
    assert_eq!(seen, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(fed.take_dropped(), []);
    fed.append(vec![delta(10)]);
    assert!(!fed.read(now, 2), "what is new is at hand again");
    assert_eq!(sent(&mut fed, now), [10]);
}

#[test]
fn a_key_that_left_memory_is_read_again() {
    let (mut fed, now) = (spooled(), Instant::now());
    fed.append(vec![prelude(), key(1)]);
    for seq in 2..=8 {
        sent(&mut fed, now);
        fed.answered(now, acked(seq - 1));
        fed.append(vec![delta(seq)]);
    }
    assert!(fed.window().first() > Place::of_record(Position(1)));
    assert_eq!(sent(&mut fed, now), [8]);
    fed.answered(now, lost_state());
    let mut seen = Vec::new();
    while !fed.is_drained() {
        fed.read(now, 3);
        let numbers = sent(&mut fed, now);
        fed.answered(now, acked(u64::from(*numbers.last().unwrap())));
        seen.extend(numbers);
    }
    assert_eq!(seen, [200, 1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(fed.take_dropped(), []);
}

#[test]
fn a_later_process_goes_on_at_the_mark() {
    let (mut fed, now) = (spooled(), Instant::now());
    fed.append(vec![prelude(), key(1), delta(2)]);
    sent(&mut fed, now);
    fed.answered(now, acked(2));
    fed.record(vec![delta(3), of_stream(8, key(1))]);
    let end = Place::behind(Position(fed.log.len() as u64));
    let limits = SenderLimits { has_spool: true, ..limits() };
    let mut later = Fed { sender: Sender::new(fed.mark().clone(), end, fed.totals, limits), ..fed };
    assert_eq!(later.waiting(), Totals { frames: 2, samples: 200 });
    later.read(now, 10);
    assert_eq!(sent(&mut later, now), [3], "what was acknowledged is not sent again");
    later.answered(now, lost_state());
    later.read(now, 10);
    assert_eq!(sent(&mut later, now), [200, 1, 2, 3], "unless the gateway needs it");
    later.answered(now, acked(3));
    assert_eq!(sent(&mut later, now), [1], "then the new stream");
    later.answered(now, acked(1));
    assert!(later.is_drained() && later.take_dropped().is_empty());
}

#[test]
fn what_the_spool_dropped_is_counted_and_passed_over_to_the_next_key() {
    let (mut fed, now) = (spooled(), Instant::now());
    fed.append(vec![key(1), delta(2), delta(3), delta(4), prelude(), key(5), delta(6)]);
    let (place, totals) = (fed.log[2].at, fed.log[2].before);
    fed.lost_before(place, totals, DropReason::Bytes);
    let mut steps = Vec::new();
    while fed.read(now, 2) {
        steps.push(fed.step(now));
    }
    let Some(Step::Send(body)) = steps.into_iter().find(|step| matches!(step, Step::Send(_))) else {
        panic!("something is left to be sent")
    };
    assert_eq!(body.pieces[0][0], 5);
    assert_eq!(fed.dropped(DropReason::Bytes), (4, 400), "frames 3 and 4 are of no use without those before");
}

#[test]
fn what_the_disk_lost_is_counted_when_it_is_passed() {
    let (mut fed, now) = (spooled(), Instant::now());
    fed.append(vec![key(1), delta(2), delta(3), delta(4), key(5)]);
    fed.log.drain(3..4);
    sent(&mut fed, now);
    fed.answered(now, acked(3));
    assert_eq!(fed.take_dropped(), []);
    fed.sender.loaded(now, fed.window().read_to(), vec![fed.log[3].clone()], Place::behind(Position(5)));
    assert_eq!(sent(&mut fed, now), [5]);
    fed.answered(now, acked(5));
    assert_eq!(fed.dropped(DropReason::Unreadable), (1, 100));
    assert!(fed.is_drained());
}

#[test]
fn a_backlog_takes_no_more_of_the_line_than_it_may() {
    let limits = SenderLimits { backlog_bytes_per_second: Some(10), body_bytes_max: 1, ..limits() };
    let mut fed = Fed::new(limits);
    let big = |seq| Entry { bytes: Bytes::from(vec![seq as u8; 100 << 10]), ..delta(seq) };
    fed.append(vec![Entry { kind: FrameKind::Key, begins_key: true, ..big(1) }]);
    fed.sender.set_limits(SenderLimits {
        queue_bytes_max: 1 << 20,
        backlog_bytes_per_second: Some(10 << 10),
        ..fed_limits()
    });
    fed.append(vec![big(2), big(3)]);
    let now = Instant::now();
    assert_eq!(sent(&mut fed, now), [1; 1]);
    fed.answered(now, acked(1));
    let Step::Wait(until) = fed.step(now) else { panic!("a pause is due") };
    assert_eq!(until.duration_since(now), Duration::from_secs(10));
    assert_eq!(sent(&mut fed, until), [2]);
    fed.answered(until, acked(2));
    let Step::Wait(until) = fed.step(until) else { panic!("a pause is due") };
    assert_eq!(sent(&mut fed, until), [3]);
    fed.answered(until, acked(3));
    fed.append(vec![delta(4)]);
    assert_eq!(sent(&mut fed, until), [4], "what is no backlog does not wait");
}

fn fed_limits() -> SenderLimits {
    SenderLimits { body_bytes_max: 1, ..limits() }
}
