//! Why a series of an accepted frame is not seen by readers.
//!
//! Invariant: every sample that admission keeps out is counted under one [`DropReason`], each time it is delivered, so
//! that the rate of the counter is the rate of the loss. The frame is acknowledged all the same: no limit may block a
//! stream.

/// What kept a series out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum DropReason {
    /// A label differs from the inventory's and the policy is to reject.
    LabelConflict = 0,
    /// The name is one that only the gateway may use.
    GatewayName = 1,
    /// More labels than `labels_per_series`.
    LabelCount = 2,
    /// A label name over `label_name_bytes`.
    LabelName = 3,
    /// A label value or metric name over `label_value_bytes`.
    LabelValue = 4,
    /// After renaming, another series of the target has the same labels.
    Duplicate = 5,
    /// The cluster is full.
    SeriesLimit = 6,
    /// The sample lies farther ahead of the gateway's clock than `ahead_max`.
    Ahead = 7,
}

impl DropReason {
    /// Every reason, in the order of its number.
    pub const ALL: [DropReason; 8] = [
        DropReason::LabelConflict,
        DropReason::GatewayName,
        DropReason::LabelCount,
        DropReason::LabelName,
        DropReason::LabelValue,
        DropReason::Duplicate,
        DropReason::SeriesLimit,
        DropReason::Ahead,
    ];

    /// The value of the counter's label `reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            DropReason::LabelConflict => "label_conflict",
            DropReason::GatewayName => "gateway_name",
            DropReason::LabelCount => "labels_per_series",
            DropReason::LabelName => "label_name_bytes",
            DropReason::LabelValue => "label_value_bytes",
            DropReason::Duplicate => "duplicate",
            DropReason::SeriesLimit => "series_limit",
            DropReason::Ahead => "ahead_of_clock",
        }
    }
}

/// How many, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DropCounts([u32; DropReason::ALL.len()]);

impl DropCounts {
    /// Counts `samples` more.
    pub fn add(&mut self, reason: DropReason, samples: usize) {
        let count = &mut self.0[reason as usize];
        *count = count.saturating_add(u32::try_from(samples).unwrap_or(u32::MAX));
    }

    /// Counts all of `other` too.
    pub fn add_all(&mut self, other: &DropCounts) {
        for (reason, samples) in other.iter() {
            self.add(reason, samples as usize);
        }
    }

    /// The reasons that occurred.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        let counts = DropReason::ALL.into_iter().zip(self.0);
        counts.filter(|(_, count)| *count > 0).map(|(reason, count)| (reason, u64::from(count)))
    }

    /// Samples dropped for `reason`.
    pub fn get(&self, reason: DropReason) -> u64 {
        u64::from(self.0[reason as usize])
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|count| u64::from(*count)).sum()
    }
}
