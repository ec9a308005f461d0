//! Frames that are cut, damaged, hostile, repeated, lost or too long, and the bytes of those that are right.

use std::sync::Arc;
use std::time::Duration;

use fedgate::model::{
    Buckets, Counts, Exemplar, HISTOGRAM_NAN, HistogramCounts, HistogramSample, Labels, METRIC_NAME, Metadata,
    MetricType, NativeHistogram, ResetHint, Span, Timestamp, stale_nan,
};
use fedgate::snapshot::{
    ApplyError, Beside, EncodedFrame, Encoder, Frame, FrameError, FrameKind, FrameLimits, Malformed, Outcome,
    OwnLabels, Report, Scrape, SlotTable, encode_schema, with_gap,
};

use super::snapshot::{Gateway, STREAM};

/// A histogram of `buckets` buckets that each count `each`.
fn histogram(buckets: u32, each: u64) -> Arc<HistogramSample> {
    let spans = vec![Span { offset: -3, length: buckets }];
    let positive = Buckets { spans, counts: vec![each; buckets as usize] };
    let histogram = NativeHistogram {
        reset_hint: ResetHint::Unknown,
        schema: 3,
        zero_threshold: 1e-9,
        sum: each as f64 * 1.5,
        custom_bounds: Vec::new(),
        counts: HistogramCounts::Integer(Counts { count: each * u64::from(buckets), positive, ..Counts::default() }),
    };
    let exemplar = Exemplar { labels: Labels::from_pairs([("trace_id", "def")]), value: 1.5, timestamp: None };
    Arc::new(HistogramSample { histogram, exemplars: vec![exemplar] })
}

/// A page of `series` gauges, at 15 s a round; every third moves, one has a timestamp of its own, one an exemplar, one is a native
/// histogram and one has a start.
fn scrape(table: &mut SlotTable, series: usize, round: i64) -> Scrape {
    for n in 0..series {
        let labels =
            Labels::from_pairs([(METRIC_NAME, "load"), ("node", &format!("cn{n:03}")), ("text", "a \"b\"\n\\c")]);
        let metadata = Metadata { kind: MetricType::Gauge, help: "Load.".into(), unit: "".into() };
        table.insert(OwnLabels::from(&labels), "load", &metadata).unwrap();
    }
    let mut values = vec![stale_nan(); table.len()];
    let value =
        |n: usize| if n.is_multiple_of(3) { (n as f64 * 100.0 + round as f64) / 100.0 } else { n as f64 * 4096.0 };
    (0..series).for_each(|n| values[n] = value(n));
    values[3] = f64::from_bits(HISTOGRAM_NAN);
    let exemplar = Exemplar { labels: Labels::from_pairs([("trace_id", "abc")]), value: 0.5, timestamp: None };
    Scrape {
        target: Arc::new(Labels::from_pairs([("job", "node"), ("instance", "cn:9100")])),
        started: Timestamp(round * 15_000 - 100),
        duration: Duration::from_micros(1500),
        outcome: Outcome::Up,
        report: Report { samples_scraped: series as u64, samples_post_relabel: series as u64, ..Report::default() },
        schema: table.schema(),
        values,
        beside: Beside {
            timestamps: vec![(1, Timestamp(77))],
            exemplars: vec![(2, exemplar)],
            histograms: vec![(3, histogram(4, 10 + round as u64))],
            starts: vec![(3, Timestamp(5)), (4, Timestamp(5))],
        },
    }
}

struct Collector {
    encoder: Encoder,
    table: SlotTable,
    round: i64,
}

impl Collector {
    fn new(limits: &FrameLimits) -> Collector {
        Collector { encoder: Encoder::new(STREAM, Timestamp(1), limits.clone()), table: SlotTable::new(), round: 0 }
    }

    fn tick(&mut self, series: usize, key: bool) -> Vec<EncodedFrame> {
        self.round += 1;
        let scrape = scrape(&mut self.table, series, self.round);
        let now = Timestamp(self.round * 15_000);
        self.encoder.tick(now, Timestamp(now.0 + 2), &[scrape], key)
    }
}

/// DEFINE, KEY, DELTA, DEFINE (by a patch) and DELTA, END.
fn frames() -> Vec<EncodedFrame> {
    let mut collector = Collector::new(&FrameLimits::default());
    let mut frames = collector.tick(20, true);
    frames.extend(collector.tick(20, false));
    frames.extend(collector.tick(21, false));
    frames.push(collector.encoder.end(Timestamp(60_000), Timestamp(60_000)));
    frames
}

fn gateway() -> Gateway {
    Gateway::new(&FrameLimits::default())
}

fn values(gateway: &Gateway) -> Vec<u64> {
    gateway.state.targets().flat_map(|target| target.column.iter().map(f64::to_bits).collect::<Vec<_>>()).collect()
}

/// All that stands beside the columns.
fn besides(gateway: &Gateway) -> Vec<Arc<Beside>> {
    gateway.state.targets().map(|target| target.beside.clone()).collect()
}

fn hex(bytes: &[u8]) -> String {
    let line = |line: &[u8]| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n";
    bytes.chunks(32).map(line).collect()
}

/// The format must not drift unseen: a change of these bytes is a new version, or a new release of the compressor (then the frames
/// of before must still decode, which the second half shows).
#[test]
fn the_bytes_of_each_kind_are_as_they_were() {
    let frames = frames();
    let kinds: Vec<FrameKind> = frames.iter().map(|frame| frame.kind).collect();
    use FrameKind::*;
    assert_eq!(kinds, [Define, Key, Delta, Define, Delta, End]);
    let golden = include_str!("../fixtures/frames.hex");
    let written: Vec<String> = frames.iter().map(|frame| format!("{:?}\n{}", frame.kind, hex(&frame.bytes))).collect();
    assert_eq!(written.join("\n"), golden);

    let mut gateway = gateway();
    for block in golden.split("\n\n") {
        let digits: String = block.lines().skip(1).collect();
        let bytes: Vec<u8> =
            (0..digits.len() / 2).map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap()).collect();
        gateway.take(&bytes).unwrap();
    }
    let expected = scrape(&mut SlotTable::new(), 21, 3).values;
    assert_eq!(values(&gateway), expected.iter().map(|value| value.to_bits()).collect::<Vec<_>>());
    let target = gateway.state.targets().next().unwrap();
    assert_eq!(target.started, Timestamp(44_900));
    assert_eq!(*target.beside, scrape(&mut SlotTable::new(), 21, 3).beside);
}

#[test]
fn a_frame_cut_anywhere_is_refused() {
    let limits = FrameLimits::default();
    for frame in frames() {
        for length in 0..frame.bytes.len() {
            let error = Frame::parse(&frame.bytes[..length], &limits).unwrap_err();
            assert!(matches!(error, FrameError::Truncated { .. }), "{error}");
        }
    }
}

#[test]
fn any_flipped_bit_is_noticed() {
    let limits = FrameLimits::default();
    for frame in frames() {
        for at in 0..frame.bytes.len() * 8 {
            let mut bytes = frame.bytes.to_vec();
            bytes[at / 8] ^= 1 << (at % 8);
            assert!(Frame::parse(&bytes, &limits).is_err(), "bit {at} of {:?}", frame.kind);
        }
    }
}

/// Writes length and checksum anew, as a hostile sender would.
fn seal(bytes: &mut [u8]) {
    let length = (bytes.len() - 8) as u32;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[8..]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// A frame of the same header around another payload.
fn with_payload(frame: &EncodedFrame, raw: &[u8]) -> Vec<u8> {
    let payload_at = frame.bytes.windows(4).position(|four| four == [0x28, 0xb5, 0x2f, 0xfd]).unwrap();
    let mut bytes = frame.bytes[..payload_at].to_vec();
    bytes[12..16].copy_from_slice(&(raw.len() as u32).to_le_bytes());
    bytes.extend(zstd::bulk::compress(raw, 1).unwrap());
    seal(&mut bytes);
    bytes
}

fn payload(frame: &EncodedFrame) -> Vec<u8> {
    let payload_at = frame.bytes.windows(4).position(|four| four == [0x28, 0xb5, 0x2f, 0xfd]).unwrap();
    zstd::stream::decode_all(&frame.bytes[payload_at..]).unwrap()
}

/// Whatever a payload says behind a right checksum, it is refused or applied, and a refusal changes nothing.
#[test]
fn a_mutated_payload_changes_all_or_nothing() {
    let frames = frames();
    for at in 0..frames.len() - 1 {
        let raw = payload(&frames[at]);
        for byte in 0..raw.len() {
            let mut mutated = raw.clone();
            mutated[byte] ^= [0x01, 0x80, 0xff][byte % 3];
            let mut gateway = gateway();
            frames[..at].iter().for_each(|frame| _ = gateway.take(&frame.bytes).unwrap());
            let before = (values(&gateway), besides(&gateway), gateway.state.last_seq());
            if gateway.take(&with_payload(&frames[at], &mutated)).is_err() {
                assert_eq!((values(&gateway), besides(&gateway), gateway.state.last_seq()), before);
                gateway.take(&frames[at].bytes).expect("the right frame still applies");
            }
        }
    }
}

#[test]
fn a_cut_payload_behind_a_right_checksum_is_corrupt() {
    let frames = frames();
    let raw = payload(&frames[1]);
    // Behind the first section it is whole again: a KEY without targets.
    let stream = 2 + usize::from(raw[1]);
    for length in (0..raw.len()).filter(|length| *length != stream) {
        let mut gateway = gateway();
        gateway.take(&frames[0].bytes).unwrap();
        let error = gateway.take(&with_payload(&frames[1], &raw[..length])).unwrap_err();
        assert!(matches!(error, ApplyError::Corrupt { seq: 1, .. }), "{length}: {error}");
    }
}

#[test]
fn hostile_lengths_are_refused_before_anything_is_allocated() {
    let limits = FrameLimits::default();
    let key = &frames()[1];
    let mut bomb = key.bytes.to_vec();
    bomb[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    seal(&mut bomb);
    let found = u32::MAX as usize;
    assert_eq!(Frame::parse(&bomb, &limits).unwrap_err(), FrameError::RawTooLong { found, max: limits.raw_bytes_max });
    let mut long = key.bytes.to_vec();
    long[..4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(Frame::parse(&long, &limits), Err(FrameError::TooLong { .. })));

    // A payload that unpacks to more than its header says: 60 MB of zeros in some kilobytes.
    let mut small = with_payload(key, &vec![0; 60_000_000]);
    small[12..16].copy_from_slice(&100u32.to_le_bytes());
    seal(&mut small);
    let reason = FrameError::RawLength { announced: 100, found: Some(60_000_000) };
    assert_eq!(gateway().take(&small), Err(ApplyError::Packing { seq: 1, reason }));
    // And one whose zstd header lies as well is stopped by the size of the buffer.
    let lying = [&b"\x28\xb5\x2f\xfd\x20\x64"[..], &zstd::bulk::compress(&[0; 60_000], 1).unwrap()[7..]].concat();
    let payload_at = key.bytes.windows(4).position(|four| four == [0x28, 0xb5, 0x2f, 0xfd]).unwrap();
    let mut lie = [&key.bytes[..payload_at], &lying].concat();
    lie[12..16].copy_from_slice(&100u32.to_le_bytes());
    seal(&mut lie);
    assert!(matches!(gateway().take(&lie), Err(ApplyError::Packing { reason: FrameError::Compression(_), .. })));
}

#[test]
fn unknown_versions_kinds_flags_and_sections_are_refused() {
    let limits = FrameLimits::default();
    let frames = frames();
    let parse = |at: usize, value: u8| {
        let mut bytes = frames[1].bytes.to_vec();
        bytes[at] = value;
        seal(&mut bytes);
        Frame::parse(&bytes, &limits).map(|_| ()).unwrap_err()
    };
    assert_eq!(parse(8, 2), FrameError::Version(2));
    assert_eq!(parse(9, 5), FrameError::Kind(5));
    assert_eq!(parse(10, 0x10), FrameError::Flags(0x10));
    let mut raw = payload(&frames[1]);
    raw.extend([32, 1, 0]);
    let mut gateway = gateway();
    gateway.take(&frames[0].bytes).unwrap();
    let reason = Malformed::Unknown { what: "section", found: 32 };
    assert_eq!(gateway.take(&with_payload(&frames[1], &raw)), Err(ApplyError::Corrupt { seq: 1, reason }));
}

#[test]
fn a_stream_cannot_have_more_slots_targets_or_labels_than_its_limits() {
    let frames = frames();
    let refused = |limits: FrameLimits| {
        let mut gateway = Gateway::new(&limits);
        let answers: Vec<_> = frames[..2].iter().map(|frame| gateway.take(&frame.bytes)).collect();
        answers.into_iter().find_map(Result::err)
    };
    let limit = |what, found, max| Some((what, found, max));
    let broken = |error: Option<ApplyError>| match error {
        Some(ApplyError::Corrupt { reason: Malformed::OutOfBounds { what, found, max }, .. }) => {
            Some((what, found, max))
        }
        _ => None,
    };
    let default = FrameLimits::default;
    assert_eq!(broken(refused(FrameLimits { slots_max: 0, ..default() })), limit("chunks of a schema", 1, 0));
    assert_eq!(broken(refused(FrameLimits { slots_max: 255, ..default() })), limit("slots of a stream", 256, 255));
    assert_eq!(broken(refused(FrameLimits { targets_max: 0, ..default() })), limit("targets", 1, 0));
    assert_eq!(
        broken(refused(FrameLimits { frame_slots_max: 255, ..default() })),
        limit("slots that a frame covers", 256, 255)
    );
    let bytes = frames[0].schemas[0].chunks()[0].heap_bytes();
    let short = FrameLimits { schema_bytes_max: bytes - 1, ..default() };
    let (found, max) = (bytes as u64, bytes as u64 - 1);
    assert_eq!(broken(refused(short)), limit("bytes of a stream's schemas", found, max));
    assert_eq!(refused(FrameLimits { schema_bytes_max: bytes, ..default() }), None);
    let histograms = broken(refused(FrameLimits { histogram_bytes_max: 100, ..default() }));
    assert!(matches!(histograms, Some(("bytes of a stream's histograms", _, 100))), "{histograms:?}");
    let labels = FrameLimits { target_label_bytes_max: 5, ..default() };
    assert!(matches!(broken(refused(labels)), Some(("bytes of a target's labels", _, 5))));
}

#[test]
fn sequence_numbers_decide_what_is_applied() {
    let mut collector = Collector::new(&FrameLimits::default());
    let mut gateway = gateway();
    let first = collector.tick(5, false);
    assert_eq!(first[1].kind, FrameKind::Key, "a stream begins with a KEY whoever asks");
    let lost = collector.tick(5, false);
    let later = collector.tick(5, false);
    assert_eq!(gateway.take(&later[0].bytes), Err(ApplyError::NeedKey));
    let schema = first[0].schemas[0].hash();
    assert_eq!(gateway.take(&first[1].bytes), Err(ApplyError::UnknownSchemas(vec![schema])));
    for frame in &first {
        gateway.take(&frame.bytes).unwrap();
    }
    assert_eq!(gateway.take(&later[0].bytes), Err(ApplyError::Gap { found: 3, expected: 2 }));
    assert_eq!(gateway.take(&first[1].bytes), Err(ApplyError::Duplicate));
    let mut other = Collector::new(&FrameLimits::default());
    let conflicting = other.tick(6, true);
    gateway.take(&conflicting[0].bytes).unwrap();
    assert_eq!(gateway.take(&conflicting[1].bytes), Err(ApplyError::Conflict { seq: 1 }));
    gateway.take(&lost[0].bytes).unwrap();
    assert!(gateway.take(&later[0].bytes).unwrap().unwrap().publish);
    assert_eq!(gateway.state.last_seq(), 3);
}

#[test]
fn a_sequence_number_without_a_next_one_is_refused() {
    let frames = frames();
    for seq in [&[0][..], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]] {
        let mut gateway = gateway();
        gateway.take(&frames[0].bytes).unwrap();
        let mut key = [&frames[1].bytes[..32], seq, &frames[1].bytes[33..]].concat();
        seal(&mut key);
        let error = gateway.take(&key).unwrap_err();
        let reason = "sequence number";
        assert!(
            matches!(&error, ApplyError::Corrupt { reason: Malformed::OutOfBounds { what, .. }, .. } if *what == reason),
            "{error}"
        );
    }
}

#[test]
fn a_target_has_no_metric_name() {
    let frames = frames();
    let mut raw = payload(&frames[1]);
    let job = raw.windows(4).position(|four| four == b"\x03job").expect("the target's job");
    raw.splice(job..job + 4, *b"\x08__name__");
    // Sections: the stream's start, then the targets, now longer by five bytes.
    let targets = 2 + usize::from(raw[1]);
    assert_eq!(raw[targets], 2);
    raw[targets + 1] += 5;
    let mut gateway = gateway();
    gateway.take(&frames[0].bytes).unwrap();
    let reason = Malformed::OutOfPlace("label of a target");
    assert_eq!(gateway.take(&with_payload(&frames[1], &raw)), Err(ApplyError::Corrupt { seq: 1, reason }));
}

#[test]
fn a_key_may_jump_over_lost_frames_only_if_it_says_so() {
    let mut collector = Collector::new(&FrameLimits::default());
    let mut gateway = gateway();
    collector.tick(5, false).iter().for_each(|frame| _ = gateway.take(&frame.bytes).unwrap());
    collector.tick(5, false);
    let key = collector.tick(5, true).remove(0);
    assert_eq!(gateway.take(&key.bytes), Err(ApplyError::Gap { found: 3, expected: 2 }));
    let (frame, _) = Frame::parse(&key.bytes, &gateway.limits).unwrap();
    let said = with_gap(&frame);
    assert!(gateway.take(&said).unwrap().unwrap().key);
    collector.tick(5, false);
    collector.encoder.mark_gap();
    let key = collector.tick(5, false).remove(0);
    assert_eq!((key.kind, gateway.take(&key.bytes).is_ok(), gateway.state.last_seq()), (FrameKind::Key, true, 5));
}

/// 6,000 slots in frames of at most 32 KiB: parts of a definition, of a KEY, of one target.
#[test]
fn what_is_too_long_for_a_frame_travels_in_parts() {
    let limits = FrameLimits { frame_bytes_max: 32 << 10, target_label_bytes_max: 4 << 10, ..FrameLimits::default() };
    let (mut collector, mut gateway) = (Collector::new(&limits), Gateway::new(&limits));
    for key in [true, false, true] {
        let frames = collector.tick(6000, key);
        let (definitions, state): (Vec<_>, Vec<_>) = frames.iter().partition(|frame| frame.kind.is_definition());
        assert!(frames.iter().all(|frame| frame.bytes.len() <= limits.frame_bytes_max));
        assert!(!key || state.len() > 1, "a KEY in parts");
        assert!(definitions.is_empty() || definitions.len() > 1, "a definition in parts");
        let mut samples = 0;
        for frame in &frames {
            let Some(applied) = gateway.take(&frame.bytes).unwrap() else { continue };
            assert_eq!(applied.publish, frame.seq == state.last().unwrap().seq);
            samples += applied.samples;
        }
        // One sample's own timestamp is the one of the scrape before: no new sample, except where a KEY tells it anew.
        assert_eq!(samples, if key { 6000 } else { 5999 });
        let expected = scrape(&mut collector.table, 6000, collector.round).values;
        assert_eq!(values(&gateway), expected.iter().map(|value| value.to_bits()).collect::<Vec<_>>());
    }
    // A gateway that comes in the middle of a KEY waits for the next one.
    let parts = collector.tick(6000, true);
    let mut late = Gateway::new(&limits);
    let schema = &parts[0].schemas[0];
    encode_schema(STREAM, schema, &limits).iter().for_each(|frame| _ = late.take(&frame.bytes).unwrap());
    assert_eq!(late.take(&parts[1].bytes), Err(ApplyError::NeedKey));
    late.take(&parts[0].bytes).unwrap();
    // A DELTA cannot stand where a part is expected.
    let foreign = collector.tick(6000, false).remove(0);
    assert!(late.take(&foreign.bytes).is_err());
}

#[test]
fn a_target_beyond_the_limits_is_left_out_and_counted() {
    let limits = FrameLimits { targets_max: 0, ..FrameLimits::default() };
    let mut collector = Collector::new(&limits);
    let frames = collector.tick(5, true);
    assert_eq!((frames.len(), collector.encoder.left_out().scrapes), (1, 1));
}

/// `count` native histograms of so many buckets, in one target.
fn histograms(table: &mut SlotTable, count: usize, buckets: u32, each: u64) -> Scrape {
    let mut scrape = scrape(table, count, 1);
    scrape.values.fill(f64::from_bits(HISTOGRAM_NAN));
    scrape.beside = Beside {
        histograms: (0..count as u32).map(|slot| (slot, histogram(buckets, each + u64::from(slot)))).collect(),
        ..Beside::default()
    };
    scrape
}

#[test]
fn histograms_too_long_for_a_frame_travel_in_parts() {
    let limits = FrameLimits { frame_bytes_max: 256 << 10, raw_bytes_max: 256 << 10, ..FrameLimits::default() };
    let (mut collector, mut gateway) = (Collector::new(&limits), Gateway::new(&limits));
    for round in 1..4 {
        let scrape = histograms(&mut collector.table, 1000, 60, round * 1_000_000);
        let now = Timestamp(round as i64 * 15_000);
        let frames = collector.encoder.tick(now, now, std::slice::from_ref(&scrape), round == 3);
        assert!(frames.iter().all(|frame| frame.bytes.len() <= limits.frame_bytes_max));
        let parts = frames.iter().filter(|frame| !frame.kind.is_definition()).count();
        assert!(round == 2 || parts > 1, "in {parts} parts");
        frames.iter().for_each(|frame| _ = gateway.take(&frame.bytes).unwrap());
        assert_eq!(*besides(&gateway)[0], scrape.beside);
    }
    assert_eq!(collector.encoder.left_out().histograms, 0);
}

#[test]
fn histograms_beyond_the_limits_are_left_out_with_their_samples_and_counted() {
    let bad = {
        let mut bad = HistogramSample::clone(&histogram(4, 1));
        bad.histogram.schema = 9;
        Arc::new(bad)
    };
    let many = FrameLimits { frame_bytes_max: 64 << 10, ..FrameLimits::default() };
    let small = FrameLimits { histogram_bytes_max: 1000, ..FrameLimits::default() };
    let default = FrameLimits::default();
    for (limits, buckets, left_out) in [(&many, 10_000, 3), (&small, 300, 5), (&default, 300, 1)] {
        let (mut collector, mut gateway) = (Collector::new(limits), Gateway::new(limits));
        let mut scrape = histograms(&mut collector.table, 5, buckets, 1);
        scrape.beside.histograms[2].1 = bad.clone();
        let frames = collector.encoder.tick(Timestamp(1), Timestamp(1), &[scrape], true);
        frames.iter().for_each(|frame| _ = gateway.take(&frame.bytes).unwrap());
        assert_eq!(collector.encoder.left_out().histograms, left_out);
        let samples = values(&gateway).iter().filter(|bits| **bits == HISTOGRAM_NAN).count() as u64;
        assert_eq!((samples, besides(&gateway)[0].histograms.len() as u64), (5 - left_out, 5 - left_out));
    }
}

/// A mark without its histogram, and a histogram without its mark, are refused by whoever reads them.
#[test]
fn histograms_and_their_marks_come_together_or_not_at_all() {
    let frames = frames();
    let raw = payload(&frames[1]);
    // The codes of all twenty slots: the mark is 0xf5. Any other code leaves a histogram without it.
    let at = raw.iter().position(|byte| *byte == 0xf5).expect("the mark's code");
    let mut unmarked = raw.clone();
    unmarked[at] = 0xf2;
    let mut marked = raw.clone();
    marked[at - 1] = 0xf5;
    for wrong in [unmarked, marked] {
        let mut gateway = gateway();
        gateway.take(&frames[0].bytes).unwrap();
        let error = gateway.take(&with_payload(&frames[1], &wrong)).unwrap_err();
        assert!(matches!(error, ApplyError::Corrupt { .. }), "{error}");
    }
}

#[test]
fn both_ends_compare_their_columns_now_and_then() {
    let mut collector = Collector::new(&FrameLimits::default());
    let mut gateway = gateway();
    let mut frames = Vec::new();
    for _ in 0..16 {
        frames.extend(collector.tick(5, false));
    }
    let last = frames.pop().unwrap();
    frames.iter().for_each(|frame| _ = gateway.take(&frame.bytes).unwrap());
    // The check is the last of the small sections: number 10, length 8.
    let raw = payload(&last);
    let at = raw.windows(2).position(|two| two == [10, 8]).expect("frame 16 has a check") + 2;
    let mut drifted = raw.clone();
    drifted[at] ^= 1;
    let reason = Malformed::Drift { target: 0 };
    assert_eq!(gateway.take(&with_payload(&last, &drifted)), Err(ApplyError::Corrupt { seq: 16, reason }));
    gateway.take(&last.bytes).unwrap();
}
