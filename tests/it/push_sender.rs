//! The collector's queue and state machine: what is kept, what is sent, what each verdict leads to.

use std::time::{Duration, Instant};

use bytes::Bytes;
use fedgate::push::protocol::Verdict;
use fedgate::push::queue::{Dropped, Queue};
use fedgate::push::sender::{Failure, Fresh, Sender, SenderLimits, Step};
use fedgate::snapshot::{EncodedFrame, FrameKind, FrameLimits, StreamId};

const FRAME_BYTES: usize = 10;

/// A frame whose bytes say its number.
fn frame(kind: FrameKind, seq: u64) -> EncodedFrame {
    let bytes = Bytes::from(vec![seq as u8; FRAME_BYTES]);
    EncodedFrame { kind, seq, bytes, samples: 100, schemas: Vec::new(), more: false }
}

fn key(seq: u64) -> EncodedFrame {
    frame(FrameKind::Key, seq)
}

fn delta(seq: u64) -> EncodedFrame {
    frame(FrameKind::Delta, seq)
}

fn definition() -> EncodedFrame {
    frame(FrameKind::Define, 0)
}

fn limits() -> SenderLimits {
    SenderLimits {
        queue_bytes_max: 1000,
        body_bytes_max: 1 << 20,
        backoff_max: Duration::from_secs(30),
        frame: FrameLimits::default(),
    }
}

fn sender(frames: Vec<EncodedFrame>) -> Sender {
    let mut sender = Sender::new(StreamId([7; 16]), limits());
    assert_eq!(sender.frames(frames), Dropped::default());
    sender
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

#[test]
fn the_queue_begins_with_the_key_from_which_the_rest_can_be_rebuilt() {
    let mut queue = Queue::new(1000);
    queue.push(vec![definition(), key(1), delta(2), delta(3), definition(), key(4), delta(5)]);
    queue.acknowledge_before(queue.number_after(2).unwrap());
    assert_eq!((queue.first(), queue.rewind()), (0, Some(0)), "frame 3 builds on the KEY 1");
    queue.acknowledge_before(queue.number_after(3).unwrap());
    assert_eq!((queue.first(), queue.rewind()), (4, Some(4)), "the KEY 4 with its definition is next");
    queue.acknowledge_before(queue.number_after(5).unwrap());
    assert_eq!((queue.first(), queue.holds().0), (4, 0), "what is acknowledged may be asked for again");
}

#[test]
fn parts_of_a_key_stay_together() {
    let mut queue = Queue::new(1000);
    let first_part = EncodedFrame { more: true, ..key(3) };
    queue.push(vec![key(1), delta(2), first_part, key(4), delta(5)]);
    queue.acknowledge_before(queue.number_after(3).unwrap());
    assert_eq!(queue.rewind(), Some(2), "the KEY begins with its first part");
    assert_eq!(queue.first(), 2);
}

#[test]
fn a_full_queue_drops_up_to_the_next_key_and_counts() {
    let mut queue = Queue::new(6 * FRAME_BYTES);
    queue.push(vec![key(1), delta(2), delta(3), key(4), delta(5)]);
    queue.acknowledge_before(1);
    let pushed = queue.push(vec![delta(6), delta(7)]);
    assert_eq!(pushed.dropped, Dropped { frames: 2, samples: 200 }, "the acknowledged KEY is no loss");
    assert!(!pushed.wants_key);
    assert_eq!(queue.rewind(), Some(3));
}

#[test]
fn without_a_later_key_everything_goes_and_a_fresh_one_is_wanted() {
    let mut queue = Queue::new(3 * FRAME_BYTES);
    queue.push(vec![key(1), delta(2), delta(3)]);
    let pushed = queue.push(vec![delta(4)]);
    assert_eq!(pushed.dropped, Dropped { frames: 4, samples: 400 });
    assert!(pushed.wants_key && queue.rewind().is_none());
}

#[test]
fn a_key_larger_than_the_bound_is_kept() {
    let mut queue = Queue::new(FRAME_BYTES / 2);
    let pushed = queue.push(vec![definition(), key(1)]);
    assert_eq!(pushed.dropped, Dropped::default());
    assert_eq!(queue.rewind(), Some(0));
}

#[test]
fn frames_go_in_order_one_request_at_a_time() {
    let (mut sender, now) = (sender(vec![definition(), key(1), delta(2)]), Instant::now());
    assert_eq!(sent(&mut sender, now), [0, 1, 2]);
    sender.frames(vec![delta(3)]);
    assert_eq!(sender.step(now), Step::Idle, "one request is in flight");
    assert!(sender.answered(now, acked(2)).progress);
    assert_eq!(sent(&mut sender, now), [3]);
    assert!(!sender.is_drained());
    sender.answered(now, acked(3));
    assert!(sender.is_drained());
    assert_eq!(sender.step(now), Step::Idle);
}

#[test]
fn no_answer_means_the_same_bytes_again_after_a_growing_pause() {
    let (mut sender, mut now) = (sender(vec![key(1), delta(2)]), Instant::now());
    let mut pauses = Vec::new();
    for _ in 0..12 {
        assert_eq!(sent(&mut sender, now), [1, 2]);
        sender.failed(now, Failure::Unanswered);
        let Step::Wait(until) = sender.step(now) else { panic!("a pause is due") };
        pauses.push(until.duration_since(now));
        now = until;
    }
    assert!(pauses[0] >= Duration::from_millis(45) && pauses[0] <= Duration::from_millis(55), "{pauses:?}");
    assert!(pauses[3] > pauses[1] && pauses[11] <= Duration::from_secs(33), "{pauses:?}");
}

#[test]
fn who_may_not_push_keeps_the_queue_and_reads_its_certificates_again() {
    for verdict in [Verdict::Unauthenticated { reason: String::new() }, Verdict::Forbidden { reason: String::new() }] {
        let (mut sender, now) = (sender(vec![key(1)]), Instant::now());
        sent(&mut sender, now);
        assert!(sender.answered(now, verdict).reload_certificates);
        let Step::Wait(until) = sender.step(now) else { panic!("a pause is due") };
        assert_eq!(sent(&mut sender, until), [1]);
    }
    let (mut sender, now) = (sender(vec![key(1)]), Instant::now());
    sent(&mut sender, now);
    assert!(sender.failed(now, Failure::Tls).reload_certificates);
}

#[test]
fn retry_after_wins_over_the_backoff() {
    let wish = Duration::from_secs(42);
    for verdict in [Verdict::SlowDown { retry_after: wish }, Verdict::Busy { retry_after: wish }] {
        let (mut sender, now) = (sender(vec![key(1)]), Instant::now());
        sent(&mut sender, now);
        sender.answered(now, verdict);
        assert_eq!(sender.step(now), Step::Wait(now + wish));
    }
}

#[test]
fn a_gap_rewinds_to_what_is_expected_or_asks_for_a_key() {
    let (mut sender, now) = (sender(vec![key(1), delta(2), definition(), delta(3), delta(4)]), Instant::now());
    sent(&mut sender, now);
    sender.answered(now, Verdict::Gap { expected: 3 });
    assert_eq!(sent(&mut sender, now), [0, 3, 4], "with the definitions of the frame");
    sender.answered(now, Verdict::Gap { expected: 99 });
    assert_eq!(sender.step(now), Step::Make(Fresh::Key));
    sender.replace(StreamId([7; 16]), vec![key(5)]);
    assert_eq!(sent(&mut sender, now), [5]);
}

#[test]
fn a_gateway_that_lost_its_state_gets_the_last_key_and_what_followed() {
    let (mut sender, now) = (sender(vec![key(1), delta(2)]), Instant::now());
    sent(&mut sender, now);
    sender.answered(now, acked(2));
    sender.frames(vec![delta(3)]);
    assert_eq!(sent(&mut sender, now), [3]);
    sender.answered(now, Verdict::Missing { key: true, schemas: Vec::new() });
    assert_eq!(sent(&mut sender, now), [1, 2, 3], "the same bytes from the KEY on");
    assert!(sender.answered(now, acked(3)).progress);
    assert!(sender.is_drained());
}

#[test]
fn a_schema_that_nobody_has_any_more_asks_for_a_key() {
    let (mut sender, now) = (sender(vec![key(1)]), Instant::now());
    sent(&mut sender, now);
    sender.answered(now, Verdict::Missing { key: false, schemas: vec!["00".repeat(16)] });
    assert_eq!(sender.step(now), Step::Make(Fresh::Key));
}

#[test]
fn a_damaged_frame_is_sent_once_more_and_then_replaced() {
    let (mut sender, now) = (sender(vec![key(1), delta(2)]), Instant::now());
    let damaged = Verdict::Damaged { seq: 2, reason: "checksum".to_owned() };
    assert_eq!(sent(&mut sender, now), [1, 2]);
    sender.answered(now, damaged.clone());
    assert_eq!(sent(&mut sender, now), [1, 2]);
    sender.answered(now, damaged);
    assert_eq!(sender.step(now), Step::Make(Fresh::Key));
    let dropped = sender.replace(StreamId([7; 16]), vec![key(3)]);
    assert_eq!(dropped.frames, 2, "replaced frames are counted");
    assert_eq!(sent(&mut sender, now), [3]);
}

#[test]
fn bodies_shrink_to_what_the_gateway_takes() {
    let big = |kind, seq| EncodedFrame { bytes: Bytes::from(vec![seq as u8; 100 << 10]), ..frame(kind, seq) };
    let frames = (2..6).map(|seq| big(FrameKind::Delta, seq));
    let mut sender = Sender::new(StreamId([7; 16]), SenderLimits { queue_bytes_max: 1 << 20, ..limits() });
    sender.frames(std::iter::once(big(FrameKind::Key, 1)).chain(frames).collect());
    let now = Instant::now();
    assert_eq!(sent(&mut sender, now), [1, 2, 3, 4, 5]);
    sender.answered(now, Verdict::TooLarge { limit_bytes: 220 << 10 });
    assert_eq!(sent(&mut sender, now), [1, 2]);
    sender.answered(now, acked(2));
    assert_eq!(sent(&mut sender, now), [3, 4]);
}

#[test]
fn refusals_without_progress_end_in_a_key_and_then_in_a_new_stream() {
    let (mut sender, mut now) = (sender(vec![key(1)]), Instant::now());
    let mut made = Vec::new();
    for seq in 2..20 {
        loop {
            match sender.step(now) {
                Step::Wait(until) => now = until,
                Step::Make(fresh) => {
                    made.push(fresh);
                    sender.replace(StreamId([seq as u8; 16]), vec![key(seq)]);
                }
                Step::Send(_) => break,
                Step::Idle => panic!("something waits to be acknowledged"),
            }
        }
        if made.contains(&Fresh::Stream) {
            break;
        }
        sender.answered(now, Verdict::Missing { key: true, schemas: Vec::new() });
    }
    assert_eq!(made.first(), Some(&Fresh::Key));
    assert_eq!(made.last(), Some(&Fresh::Stream));
}

#[test]
fn an_overflow_while_a_request_is_in_flight_loses_no_order() {
    let mut sender = Sender::new(StreamId([7; 16]), SenderLimits { queue_bytes_max: 4 * FRAME_BYTES, ..limits() });
    let now = Instant::now();
    sender.frames(vec![key(1), delta(2)]);
    assert_eq!(sent(&mut sender, now), [1, 2]);
    let dropped = sender.frames(vec![key(3), delta(4), delta(5)]);
    assert_eq!(dropped.frames, 2, "what is in flight is not acknowledged yet");
    sender.answered(now, acked(2));
    assert_eq!(sent(&mut sender, now), [3, 4, 5]);
}

#[test]
fn who_ends_does_not_wait_for_the_next_try() {
    let (mut sender, now) = (sender(vec![key(1)]), Instant::now());
    sent(&mut sender, now);
    sender.failed(now, Failure::Unanswered);
    assert!(matches!(sender.step(now), Step::Wait(_)));
    sender.hurry();
    assert_eq!(sent(&mut sender, now), [1]);
}
