//! Envelopes and epochs: read as they were written, and refused when they are cut or changed.

use std::time::Duration;

use fedgate::model::{Labels, Timestamp};
use fedgate::store::{ClusterLimits, ClusterPolicy, LabelConflict, Maintenance};
use fedgate::wal::{Envelope, EnvelopeError, EpochId, decode_epoch, encode_epoch};
use proptest::prelude::*;

fn policy() -> impl Strategy<Value = ClusterPolicy> {
    let conflict = prop_oneof![Just(LabelConflict::Rename), Just(LabelConflict::Reject), Just(LabelConflict::Keep)];
    let labels = prop::collection::btree_map("[a-z]{1,8}", "\\PC{1,8}", 0..4);
    let maintenance = prop::option::of((any::<Option<i64>>(), "\\PC{0,8}"));
    (labels, conflict, maintenance, any::<[u32; 4]>()).prop_map(|(labels, conflict, planned, numbers)| {
        let limits = ClusterLimits {
            series: numbers[0].into(),
            samples_per_second: u64::from(numbers[1]) << 31,
            ahead_max: Duration::from_millis(numbers[2].into()),
            ..ClusterLimits::default()
        };
        ClusterPolicy {
            labels: Labels::from_pairs(labels.iter().map(|(name, value)| (name.as_str(), value.as_str()))),
            identities: labels.keys().cloned().collect(),
            on_label_conflict: conflict,
            limits,
            expect_every: Duration::from_millis(numbers[3].into()),
            maintenance: planned.map(|(until, reason)| Maintenance { until: until.map(Timestamp), reason }),
            ..ClusterPolicy::new("alpha", "test")
        }
    })
}

proptest! {
    #[test]
    fn a_policy_comes_back_and_its_name_is_its_content(one in policy(), other in policy()) {
        let bytes = encode_epoch(&one);
        prop_assert_eq!(&decode_epoch(&bytes).unwrap(), &one);
        prop_assert_eq!(EpochId::of(&bytes) == EpochId::of(&encode_epoch(&other)), one == other);
    }

    #[test]
    fn an_envelope_comes_back_and_a_cut_one_is_none(
        (received, expires, skew) in any::<(i64, i64, Option<i64>)>(),
        epoch: [u8; 8],
        collector in "\\PC{0,40}",
        frame in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let envelope = Envelope {
            received: Timestamp(received),
            epoch: EpochId(epoch),
            certificate_expires: Timestamp(expires),
            clock_skew_ms: skew,
            collector: &collector,
        };
        let head = envelope.encode();
        let whole = [head.clone(), frame.clone()].concat();
        prop_assert_eq!(Envelope::decode(&whole), Ok((envelope, &frame[..])));
        for cut in 0..head.len() {
            prop_assert_eq!(Envelope::decode(&head[..cut]), Err(EnvelopeError::Cut(cut)));
        }
    }

    #[test]
    fn whatever_stands_there_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = Envelope::decode(&bytes);
        let _ = decode_epoch(&bytes);
    }
}

#[test]
fn what_a_newer_version_wrote_is_told_apart() {
    let mut bytes = Envelope {
        received: Timestamp(0),
        epoch: EpochId([0; 8]),
        certificate_expires: Timestamp(0),
        clock_skew_ms: None,
        collector: "a",
    }
    .encode();
    bytes[1] = 2;
    assert_eq!(Envelope::decode(&bytes), Err(EnvelopeError::Flags(2)));
    bytes[0] = 2;
    assert_eq!(Envelope::decode(&bytes), Err(EnvelopeError::Version(2)));
    let newer = br#"{"cluster":"a","labels":{"cluster":"a"},"identities":[],"on_label_conflict":"rename","limits":{"series":1,"samples_per_second":1,"labels_per_series":1,"label_name_bytes":1,"label_value_bytes":1,"streams":1,"ahead_max_ms":1},"expect_every_ms":1,"maintenance":null,"tier":"x"}"#;
    assert_eq!(decode_epoch(newer).unwrap().cluster, "a", "fields of a newer version are passed over");
}
