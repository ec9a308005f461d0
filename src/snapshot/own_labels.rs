//! The labels of a series beside those of its target, and when a slot can hold them.
//!
//! Invariant: pairs stand ascending by name in one allocation, each string before a byte that no UTF-8 text has, so two label sets are equal
//! where their bytes are, and hashing one is hashing them.

use super::chunk::{CHUNK_TEXT_MAX, SERIES_LABELS_MAX, STRING_BYTES_MAX};
use super::slots::TARGET_SLOTS_MAX;
use crate::model::{Labels, METRIC_NAME};

/// Ends a name or a value in [`OwnLabels`]; no UTF-8 text has this byte.
const END: u8 = 0xff;

/// Why a series cannot have a slot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SlotError {
    /// A name or value is too long.
    #[error("a label of {bytes} bytes, expected at most {STRING_BYTES_MAX}")]
    LabelTooLong {
        /// How long it is.
        bytes: usize,
    },
    /// Too many labels beside the target's.
    #[error("{labels} labels, expected at most {SERIES_LABELS_MAX}")]
    TooManyLabels {
        /// How many there are.
        labels: usize,
    },
    /// All its labels together are too long.
    #[error("labels of {bytes} bytes, expected at most {CHUNK_TEXT_MAX}")]
    SeriesTooLong {
        /// How long they are.
        bytes: usize,
    },
    /// The target has too many series.
    #[error("target has {TARGET_SLOTS_MAX} series already")]
    TargetFull,
}

/// The labels that a series has beside its target's, its metric name among them. Unlike [`Labels`] they can hold an empty
/// value: the series lacks a label that its target gives to the others.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct OwnLabels {
    bytes: Box<[u8]>,
}

impl OwnLabels {
    /// What `series` says otherwise than `target`.
    pub fn between(series: &Labels, target: &Labels) -> OwnLabels {
        let mut bytes = Vec::with_capacity(series.as_bytes().len());
        let (mut series, mut target) = (series.iter().peekable(), target.iter().peekable());
        loop {
            let (own, targets) = (series.peek().copied(), target.peek().copied());
            match (own, targets) {
                (None, None) => break,
                (Some(own), Some(targets)) if own == targets => {}
                (Some(own), Some(targets)) if own.0 <= targets.0 => put_pair(&mut bytes, own),
                (Some(own), None) => put_pair(&mut bytes, own),
                (_, Some(targets)) => put_pair(&mut bytes, (targets.0, "")),
            }
            let (own, targets) = (own.map(|own| own.0), targets.map(|targets| targets.0));
            if own.is_some_and(|own| targets.is_none_or(|targets| own <= targets)) {
                series.next();
            }
            if targets.is_some_and(|targets| own.is_none_or(|own| targets <= own)) {
                target.next();
            }
        }
        OwnLabels { bytes: bytes.into_boxed_slice() }
    }

    /// Pairs ascending by label name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut strings = self
            .bytes
            .split(|byte| *byte == END)
            .map(|bytes| std::str::from_utf8(bytes).expect("own labels are written from strings only"));
        std::iter::from_fn(move || Some((strings.next().filter(|name| !name.is_empty())?, strings.next()?)))
    }

    /// The metric name, empty where there is none.
    pub fn metric_name(&self) -> &str {
        self.iter().find(|(name, _)| *name == METRIC_NAME).map_or("", |(_, value)| value)
    }

    /// Bytes that they take.
    pub(super) fn text_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Whether a slot can hold it under a family of this name.
    pub(super) fn check(&self, family: &str) -> Result<(), SlotError> {
        if family.len() >= STRING_BYTES_MAX {
            return Err(SlotError::LabelTooLong { bytes: family.len() });
        }
        let labels = self.iter().count().saturating_sub(1);
        if labels > SERIES_LABELS_MAX {
            return Err(SlotError::TooManyLabels { labels });
        }
        if let Some((name, value)) = self.iter().find(|(name, value)| name.len().max(value.len()) >= STRING_BYTES_MAX) {
            return Err(SlotError::LabelTooLong { bytes: name.len().max(value.len()) });
        }
        if self.bytes.len() > CHUNK_TEXT_MAX / 2 {
            return Err(SlotError::SeriesTooLong { bytes: self.bytes.len() });
        }
        Ok(())
    }
}

/// All of them are its own, as for a target without labels.
impl From<&Labels> for OwnLabels {
    fn from(labels: &Labels) -> OwnLabels {
        OwnLabels::between(labels, &Labels::empty())
    }
}

impl std::fmt::Debug for OwnLabels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

fn put_pair(bytes: &mut Vec<u8>, (name, value): (&str, &str)) {
    for string in [name, value] {
        bytes.extend_from_slice(string.as_bytes());
        bytes.push(END);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_labels_are_what_a_series_says_otherwise() {
        let target = Labels::from_pairs([("a", "1"), ("job", "j"), ("z", "9")]);
        let series = Labels::from_pairs([(METRIC_NAME, "m"), ("a", "1"), ("b", "2"), ("z", "8")]);
        let own = OwnLabels::between(&series, &target);
        assert_eq!(own.iter().collect::<Vec<_>>(), [(METRIC_NAME, "m"), ("b", "2"), ("job", ""), ("z", "8")]);
        assert_eq!(own.metric_name(), "m");
    }
}
