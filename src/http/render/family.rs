//! Which families the selected metric names form on a typed page.
//!
//! Invariant: every metric name is in exactly one family, no family's name or reserved suffixes meet another's, and a
//! metric keeps its name in every format. Clusters may contradict each other on a type; then nobody is believed and the
//! names are families of their own, of unknown type. Whoever gives no type has no say.
//!
//! A counter is named `x_total` in the text format and `x` in OpenMetrics, its samples `x_total` in both; one whose samples
//! lack the suffix is a counter in the text format and unknown in OpenMetrics, which knows no such counter. Protobuf has the
//! text format's names; a gauge histogram's parts are named like a histogram's there.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::exposition::{Format, belongs_to_family};
use crate::model::MetricType;

/// A family's name without its type's own suffix, and the type.
type Kin = (String, MetricType);

/// What was said of one metric name.
#[derive(Clone, Debug, Default)]
pub(super) struct Declared {
    kin: BTreeSet<Kin>,
    help: String,
    units: BTreeSet<String>,
}

impl Declared {
    /// Somebody says that `metric` is part of this family.
    pub(super) fn add(&mut self, metric: &str, family: crate::snapshot::Family<'_>) {
        if self.help.is_empty() {
            family.help.clone_into(&mut self.help);
        }
        self.units.insert(family.unit.to_owned());
        let is_part = belongs_to_family(metric, family.name, family.kind);
        if family.kind != MetricType::Unknown && is_part {
            self.kin.insert((base_of(family.name, family.kind).to_owned(), family.kind));
        }
    }
}

fn base_of(family: &str, kind: MetricType) -> &str {
    let suffix = match kind {
        MetricType::Counter => "_total",
        MetricType::Info => "_info",
        _ => return family,
    };
    family.strip_suffix(suffix).filter(|base| !base.is_empty()).unwrap_or(family)
}

/// A family as it stands on a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Family {
    pub(super) name: String,
    pub(super) kind: MetricType,
    pub(super) help: String,
    pub(super) unit: String,
    /// Numbers of its metric names, as they were given.
    pub(super) members: Vec<usize>,
}

/// Forms the families of a page in `format`; metric names in byte order. The families come by name.
pub(super) fn form_families(metrics: &[(&str, Declared)], format: Format) -> Vec<Family> {
    let mut families = group(metrics, format);
    if format == Format::OpenMetrics {
        adopt_created(&mut families, metrics);
    }
    while split_clashing(&mut families, metrics, format) {}
    families.sort_by(|a, b| a.name.cmp(&b.name));
    families
}

fn group(metrics: &[(&str, Declared)], format: Format) -> Vec<Family> {
    let disputed: BTreeSet<&Kin> =
        metrics.iter().filter(|(_, declared)| declared.kin.len() > 1).flat_map(|(_, declared)| &declared.kin).collect();
    let mut families: BTreeMap<Kin, Family> = BTreeMap::new();
    for (number, (metric, declared)) in metrics.iter().enumerate() {
        let kin = declared.kin.first().filter(|kin| declared.kin.len() == 1 && !disputed.contains(kin));
        let (name, kind) = kin.map_or((*metric, MetricType::Unknown), |kin| name_in(kin, metric, format));
        let family = families.entry((name.to_owned(), kind)).or_insert_with(|| alone(name, kind));
        family.describe(declared);
        family.members.push(number);
    }
    families.into_values().collect()
}

/// The family's name and type in a format, seen from one of its metrics.
fn name_in<'a>((base, kind): &'a Kin, metric: &'a str, format: Format) -> (&'a str, MetricType) {
    let is_openmetrics = format == Format::OpenMetrics;
    match kind {
        MetricType::Histogram | MetricType::Summary => (base, *kind),
        MetricType::GaugeHistogram if is_openmetrics => (base, *kind),
        MetricType::GaugeHistogram
            if format == Format::Protobuf && !metric.ends_with("_gcount") && !metric.ends_with("_gsum") =>
        {
            (base, *kind)
        }
        MetricType::Counter | MetricType::Info if is_openmetrics && metric != base => (base, *kind),
        MetricType::Counter if is_openmetrics => (metric, MetricType::Unknown),
        MetricType::GaugeHistogram => (metric, MetricType::Unknown),
        _ => (metric, *kind),
    }
}

fn alone(name: &str, kind: MetricType) -> Family {
    Family { name: name.to_owned(), kind, help: String::new(), unit: String::new(), members: Vec::new() }
}

impl Family {
    fn describe(&mut self, declared: &Declared) {
        if self.help.is_empty() {
            self.help.clone_from(&declared.help);
        }
        let unit = declared.units.first().filter(|unit| declared.units.len() == 1 && !unit.is_empty());
        let stem = self.name.strip_suffix("_total").filter(|_| self.kind == MetricType::Counter).unwrap_or(&self.name);
        if let Some(unit) = unit.filter(|unit| stem.ends_with(&format!("_{unit}"))) {
            self.unit.clone_from(unit);
        }
    }

    /// Every name that a reader of the format takes for this family's.
    fn reserved(&self, format: Format) -> impl Iterator<Item = String> + '_ {
        let is_openmetrics = format == Format::OpenMetrics;
        let suffixes: &[&str] = match self.kind {
            MetricType::Counter if is_openmetrics => &["", "_total", "_created"],
            MetricType::Histogram if is_openmetrics => &["", "_bucket", "_count", "_sum", "_created"],
            MetricType::Summary if is_openmetrics => &["", "_count", "_sum", "_created"],
            MetricType::GaugeHistogram if is_openmetrics => &["", "_bucket", "_gcount", "_gsum"],
            MetricType::Info if is_openmetrics => &["", "_info"],
            MetricType::Histogram | MetricType::GaugeHistogram => &["", "_bucket", "_count", "_sum"],
            MetricType::Summary => &["", "_count", "_sum"],
            _ => &[""],
        };
        suffixes.iter().map(|suffix| format!("{}{suffix}", self.name))
    }
}

/// In OpenMetrics `x_created` is part of counter, histogram or summary `x`, where there is one.
fn adopt_created(families: &mut Vec<Family>, metrics: &[(&str, Declared)]) {
    let mut parents: HashMap<String, usize> = HashMap::new();
    for (at, family) in families.iter().enumerate() {
        if matches!(family.kind, MetricType::Counter | MetricType::Histogram | MetricType::Summary) {
            parents.insert(format!("{}_created", family.name), at);
        }
    }
    let adopted: Vec<(usize, usize)> = families
        .iter()
        .enumerate()
        .filter(|(_, family)| family.kind != MetricType::Counter && family.members.len() == 1)
        .filter(|(_, family)| metrics[family.members[0]].0 == family.name)
        .filter_map(|(at, family)| Some((at, *parents.get(&family.name)?)))
        .collect();
    for (child, parent) in &adopted {
        let members = std::mem::take(&mut families[*child].members);
        families[*parent].members.extend(members);
    }
    families.retain(|family| !family.members.is_empty());
}

/// Splits families whose names meet into names of unknown type; true where there were any.
fn split_clashing(families: &mut Vec<Family>, metrics: &[(&str, Declared)], format: Format) -> bool {
    let mut holders: HashMap<String, Vec<usize>> = HashMap::new();
    for (at, family) in families.iter().enumerate() {
        family.reserved(format).for_each(|name| holders.entry(name).or_default().push(at));
    }
    let is_splittable = |family: &Family| family.members.iter().any(|member| metrics[*member].0 != family.name);
    let clashing: BTreeSet<usize> = holders
        .into_values()
        .filter(|held| held.len() > 1)
        .flatten()
        .filter(|at| is_splittable(&families[*at]) || families[*at].reserved(format).count() > 1)
        .collect();
    for at in clashing.iter().rev() {
        for member in families.remove(*at).members {
            let (metric, declared) = &metrics[member];
            let mut family = alone(metric, MetricType::Unknown);
            family.describe(declared);
            family.members.push(member);
            families.push(family);
        }
    }
    !clashing.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use MetricType::*;

    fn declared(metric: &str, said: &[(&str, MetricType)]) -> Declared {
        let mut declared = Declared::default();
        for (name, kind) in said {
            declared.add(metric, crate::snapshot::Family { name, kind: *kind, help: "", unit: "" });
        }
        declared
    }

    fn families(metrics: &[(&str, &[(&str, MetricType)])], format: Format) -> Vec<(String, MetricType, usize)> {
        let metrics: Vec<_> = metrics.iter().map(|(metric, said)| (*metric, declared(metric, said))).collect();
        form_families(&metrics, format).into_iter().map(|one| (one.name, one.kind, one.members.len())).collect()
    }

    fn named(expected: &[(&str, MetricType, usize)]) -> Vec<(String, MetricType, usize)> {
        expected.iter().map(|(name, kind, members)| ((*name).to_owned(), *kind, *members)).collect()
    }

    #[test]
    fn a_counter_is_named_as_its_format_wants_it() {
        let metrics: [(&str, &[_]); 2] =
            [("a_total", &[("a", Counter), ("a_total", Counter)]), ("b", &[("b", Counter)])];
        assert_eq!(families(&metrics, Format::Text), named(&[("a_total", Counter, 1), ("b", Counter, 1)]));
        assert_eq!(families(&metrics, Format::OpenMetrics), named(&[("a", Counter, 1), ("b", Unknown, 1)]));
    }

    #[test]
    fn parts_of_a_histogram_stand_together_until_somebody_contradicts() {
        let h: &[_] = &[("h", Histogram)];
        let whole: [(&str, &[_]); 3] = [("h_bucket", h), ("h_count", h), ("h_sum", h)];
        assert_eq!(families(&whole, Format::Text), named(&[("h", Histogram, 3)]));
        let disputed: [(&str, &[_]); 3] =
            [("h_bucket", h), ("h_count", &[("h", Histogram), ("h_count", Gauge)]), ("h_sum", h)];
        let alone = named(&[("h_bucket", Unknown, 1), ("h_count", Unknown, 1), ("h_sum", Unknown, 1)]);
        assert_eq!(families(&disputed, Format::Text), alone);
        assert_eq!(families(&disputed, Format::OpenMetrics), alone);
        let silent: [(&str, &[_]); 1] = [("g", &[("g", Gauge), ("g", Unknown)])];
        assert_eq!(families(&silent, Format::Text), named(&[("g", Gauge, 1)]), "no type is no contradiction");
    }

    #[test]
    fn families_of_one_base_name_do_not_meet() {
        let metrics: [(&str, &[_]); 2] = [("a", &[("a", Gauge)]), ("a_total", &[("a_total", Counter)])];
        assert_eq!(families(&metrics, Format::Text), named(&[("a", Gauge, 1), ("a_total", Counter, 1)]));
        assert_eq!(families(&metrics, Format::OpenMetrics), named(&[("a", Gauge, 1), ("a_total", Unknown, 1)]));
        let metrics: [(&str, &[_]); 3] =
            [("h", &[("h", Gauge)]), ("h_count", &[("h", Histogram)]), ("h_sum", &[("h", Histogram)])];
        assert_eq!(
            families(&metrics, Format::Text),
            named(&[("h", Gauge, 1), ("h_count", Unknown, 1), ("h_sum", Unknown, 1)])
        );
    }

    #[test]
    fn created_belongs_to_its_family_in_openmetrics_only() {
        let metrics: [(&str, &[_]); 2] = [("a_created", &[]), ("a_total", &[("a", Counter)])];
        assert_eq!(families(&metrics, Format::OpenMetrics), named(&[("a", Counter, 2)]));
        assert_eq!(families(&metrics, Format::Text), named(&[("a_created", Unknown, 1), ("a_total", Counter, 1)]));
    }
}
