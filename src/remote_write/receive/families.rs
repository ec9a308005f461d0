//! Which family a series belongs to, and what that says of itself.
//!
//! 1.0 sends a family's metadata apart from its series, 2.0 with each series but without the family's name. In both the name follows from
//! the series' and the type, by the suffixes that the types have.

use std::borrow::Cow;
use std::collections::HashMap;

use super::request::Family;
use super::sender::metadata_of;
use crate::model::{Metadata, MetricType};

/// Families that are remembered; later ones have no metadata.
const FAMILIES_MAX: usize = 1 << 17;

/// What is known of the families of one sender.
#[derive(Default)]
pub(super) struct Families(HashMap<Box<str>, Metadata>);

impl Families {
    /// Remembers what is said of a family; says whether that is new.
    pub(super) fn set(&mut self, family: &Family<'_>) -> bool {
        let metadata = metadata_of(family);
        if self.0.get(family.name) == Some(&metadata) || family.name.is_empty() {
            return false;
        }
        if self.0.len() >= FAMILIES_MAX && !self.0.contains_key(family.name) {
            return false;
        }
        self.0.insert(family.name.into(), metadata);
        true
    }

    /// The family of a series and its metadata; what stands with the series itself comes first.
    pub(super) fn of<'n>(&self, name: &'n str, told: &Family<'_>) -> (Cow<'n, str>, Metadata) {
        if told.kind != MetricType::Unknown || !told.help.is_empty() {
            return (family_of(name, told.kind).into(), metadata_of(told));
        }
        let names = std::iter::once(name).chain(SUFFIXES.iter().filter_map(|(suffix, _)| name.strip_suffix(suffix)));
        let known = names.filter_map(|family| Some((family, self.0.get(family)?)));
        let own = known.into_iter().find(|(family, metadata)| family_of(name, metadata.kind) == *family);
        match own {
            Some((family, metadata)) => (family.into(), metadata.clone()),
            None => (name.into(), Metadata::default()),
        }
    }
}

/// Suffixes of a family's series, with the types that have them.
const SUFFIXES: [(&str, &[MetricType]); 5] = [
    ("_bucket", &[MetricType::Histogram, MetricType::GaugeHistogram]),
    ("_count", &[MetricType::Histogram, MetricType::Summary]),
    ("_sum", &[MetricType::Histogram, MetricType::Summary]),
    ("_gcount", &[MetricType::GaugeHistogram]),
    ("_gsum", &[MetricType::GaugeHistogram]),
];

/// The name of the family that a series of this name and type belongs to.
pub(super) fn family_of(name: &str, kind: MetricType) -> &str {
    let mut suffixes = SUFFIXES.iter().filter(|(_, kinds)| kinds.contains(&kind));
    suffixes.find_map(|(suffix, _)| name.strip_suffix(suffix)).unwrap_or(name)
}
