//! Which family a series belongs to: needed to give a series the type, help and unit that the page said of its family.

use crate::model::MetricType;

/// Whether the series named `name` is part of `family`, a family of type `kind`.
///
/// The suffixes are each type's own (`_bucket`, `_sum`, `_count` of a histogram, …). A counter or info family may carry
/// its suffix in its own name, as the text format has it, or not, as OpenMetrics has it. `_created` belongs to none:
/// here it is an ordinary series, as in Prometheus.
pub fn belongs_to_family(name: &str, family: &str, kind: MetricType) -> bool {
    let suffixes: &[&str] = match kind {
        MetricType::Counter => &["_total"],
        MetricType::Histogram => &["_bucket", "_sum", "_count"],
        MetricType::GaugeHistogram => &["_bucket", "_gsum", "_gcount"],
        MetricType::Summary => &["_sum", "_count"],
        MetricType::Info => &["_info"],
        MetricType::Unknown | MetricType::Gauge | MetricType::StateSet => &[],
    };
    let is_named_with_suffix = matches!(kind, MetricType::Counter | MetricType::Info)
        && suffixes.iter().any(|suffix| family.ends_with(suffix));
    match name.strip_prefix(family) {
        Some("") => true,
        Some(rest) => !is_named_with_suffix && suffixes.contains(&rest),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_has_its_suffixes() {
        for (name, family, kind, belongs) in [
            ("a", "a", MetricType::Gauge, true),
            ("a_total", "a", MetricType::Gauge, false),
            ("a_total", "a", MetricType::Counter, true),
            ("a_total", "a_total", MetricType::Counter, true),
            ("a_total_total", "a_total", MetricType::Counter, false),
            ("a", "a_total", MetricType::Counter, false),
            ("a_created", "a", MetricType::Counter, false),
            ("a_bucket", "a", MetricType::Histogram, true),
            ("a_gsum", "a", MetricType::Histogram, false),
            ("a_gsum", "a", MetricType::GaugeHistogram, true),
            ("a_count", "a", MetricType::Summary, true),
            ("a_bucket", "a", MetricType::Summary, false),
            ("a_info", "a", MetricType::Info, true),
            ("a_info", "a_info", MetricType::Info, true),
            ("ab", "a", MetricType::Histogram, false),
        ] {
            assert_eq!(belongs_to_family(name, family, kind), belongs, "{name} of {family} ({kind})");
        }
    }
}
