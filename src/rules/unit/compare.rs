//! What was expected beside what came, written so that a person sees the difference.

use crate::model::Labels;
use crate::promql::Cell;

use super::notation::show_histogram;

/// What an expression gave, or was to give.
#[derive(Clone, Debug)]
pub(super) struct ResultSample {
    pub(super) labels: Labels,
    pub(super) value: f64,
    /// In the notation; empty of a number.
    pub(super) histogram: String,
}

/// An alert that fires, or was to fire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FiringAlert {
    pub(super) labels: Labels,
    pub(super) annotations: Labels,
}

impl ResultSample {
    pub(super) fn new(labels: Labels, cell: &Cell) -> ResultSample {
        match cell {
            Cell::Float(value) => ResultSample { labels, value: *value, histogram: String::new() },
            Cell::Histogram(histogram) => ResultSample { labels, value: 0.0, histogram: show_histogram(histogram) },
        }
    }

    /// NaN equals nothing, as in promtool.
    fn is_same(&self, other: &ResultSample, is_fuzzy: bool) -> bool {
        let (a, b) = (self.value, other.value);
        let are_close = a == b || is_fuzzy && (a.next_up() == b || a.next_down() == b);
        self.labels == other.labels && self.histogram == other.histogram && are_close
    }

    fn shown(&self) -> String {
        match self.histogram.as_str() {
            "" => format!("{} {}", self.labels, crate::rules::template::go_float(self.value)),
            histogram => format!("{} {histogram}", self.labels),
        }
    }
}

impl FiringAlert {
    fn shown(&self) -> String {
        if self.annotations.is_empty() {
            self.labels.to_string()
        } else {
            format!("{} {}", self.labels, self.annotations)
        }
    }
}

/// The difference of two results, both in any order; `None` if there is none.
pub(super) fn results_differ(
    mut expected: Vec<ResultSample>,
    mut got: Vec<ResultSample>,
    is_fuzzy: bool,
) -> Option<String> {
    expected.sort_by(|one, other| one.labels.compare_pairs(&other.labels));
    got.sort_by(|one, other| one.labels.compare_pairs(&other.labels));
    differ(&expected, &got, |one, other| one.is_same(other, is_fuzzy), ResultSample::shown)
}

/// The difference of two sets of alerts; `None` if there is none.
pub(super) fn alerts_differ(mut expected: Vec<FiringAlert>, mut got: Vec<FiringAlert>) -> Option<String> {
    let order = |one: &FiringAlert, other: &FiringAlert| {
        let labels = one.labels.compare_pairs(&other.labels);
        labels.then_with(|| one.annotations.compare_pairs(&other.annotations))
    };
    expected.sort_by(order);
    got.sort_by(order);
    differ(&expected, &got, PartialEq::eq, FiringAlert::shown)
}

/// Lines that only one side has, `-` for what was expected and `+` for what came, between those that both have.
fn differ<T>(
    expected: &[T],
    got: &[T],
    is_same: impl Fn(&T, &T) -> bool,
    shown: impl Fn(&T) -> String,
) -> Option<String> {
    if expected.len() == got.len() && expected.iter().zip(got).all(|(one, other)| is_same(one, other)) {
        return None;
    }
    let mut is_matched = vec![false; got.len()];
    let mut lines = Vec::new();
    for one in expected {
        match (0..got.len()).find(|at| !is_matched[*at] && is_same(one, &got[*at])) {
            Some(at) => {
                is_matched[at] = true;
                lines.push(format!("        {}", shown(one)));
            }
            None => lines.push(format!("      - {}", shown(one))),
        }
    }
    let extra = got.iter().zip(&is_matched).filter(|(_, is_matched)| !**is_matched);
    lines.extend(extra.map(|(one, _)| format!("      + {}", shown(one))));
    Some(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(name: &str, value: f64) -> ResultSample {
        ResultSample::new(Labels::from_pairs([("a", name)]), &Cell::Float(value))
    }

    #[test]
    fn what_differs_is_marked() {
        let (expected, got) = (vec![sample("1", 1.0), sample("2", 2.0)], vec![sample("2", 2.5), sample("1", 1.0)]);
        assert_eq!(
            results_differ(expected.clone(), got, false).unwrap(),
            "        {a=\"1\"} 1\n      - {a=\"2\"} 2\n      + {a=\"2\"} 2.5"
        );
        assert_eq!(results_differ(expected.clone(), expected, false), None);
    }

    #[test]
    fn neighbours_are_equal_where_they_may_be_and_nan_is_not() {
        let (one, next) = (vec![sample("1", 0.1)], vec![sample("1", 0.1_f64.next_up())]);
        assert!(results_differ(one.clone(), next.clone(), false).is_some());
        assert!(results_differ(one, next, true).is_none());
        assert!(results_differ(vec![sample("1", f64::NAN)], vec![sample("1", f64::NAN)], true).is_some());
    }
}
