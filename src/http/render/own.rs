//! fedgate's own metrics, read back from their page so that they can stand among all others.
//!
//! The registry writes OpenMetrics; reading that with our own strict parser keeps one way from families to pages, and
//! shows at once if the two ever disagree on the format.

use std::collections::BTreeMap;

use super::family::Declared;
use crate::exposition::{Entry, Format, ParseError, belongs_to_family, parser};
use crate::model::{Labels, LabelsBuilder, METRIC_NAME, MetricType};
use crate::snapshot::Family;
use crate::store::Selector;

/// The page of our own metrics is not what its format says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("fedgate's own metrics: {0}")]
pub struct OwnPageError(#[from] ParseError);

/// Series of one name.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnMetric {
    pub(super) declared: Declared,
    /// Labels without the metric name, and the value.
    pub(super) series: Vec<(Labels, f64)>,
}

/// The page, by metric name.
#[derive(Clone, Debug, Default)]
pub struct OwnPage(pub(super) BTreeMap<String, OwnMetric>);

#[derive(Default)]
struct Head {
    name: String,
    kind: MetricType,
    help: String,
    unit: String,
}

impl OwnPage {
    /// Reads an OpenMetrics page; with `only`, keeps the series that one of the selectors matches.
    pub fn parse(page: &str, only: &[Selector]) -> Result<OwnPage, OwnPageError> {
        let (mut own, mut head, mut labels) = (OwnPage::default(), Head::default(), LabelsBuilder::default());
        let mut entries = parser(Format::OpenMetrics, page.as_bytes());
        while let Some(entry) = entries.next()? {
            match entry {
                Entry::Type { family, kind } => head.of(&family).kind = kind,
                Entry::Help { family, help } => head.of(&family).help = help.into_owned(),
                Entry::Unit { family, unit } => head.of(&family).unit = unit.to_owned(),
                Entry::Sample(sample) => {
                    sample.labels(&mut labels)?;
                    if is_matched(&labels, only) {
                        own.add(&mut labels, sample.value, &head);
                    }
                }
            }
        }
        Ok(own)
    }

    fn add(&mut self, labels: &mut LabelsBuilder, value: f64, head: &Head) {
        let name = labels.get(METRIC_NAME).to_owned();
        labels.remove(METRIC_NAME);
        let metric = self.0.entry(name.clone()).or_default();
        if belongs_to_family(&name, &head.name, head.kind) {
            let family = Family { name: &head.name, kind: head.kind, help: &head.help, unit: &head.unit };
            metric.declared.add(&name, family);
        }
        metric.series.push((labels.build(), value));
    }
}

impl Head {
    /// The lines of a family come in any order; the first one of another family starts anew.
    fn of(&mut self, family: &str) -> &mut Head {
        if self.name != family {
            *self = Head { name: family.to_owned(), ..Head::default() };
        }
        self
    }
}

fn is_matched(labels: &LabelsBuilder, only: &[Selector]) -> bool {
    let matches = |selector: &Selector| selector.iter().all(|matcher| matcher.matches(labels.get(&matcher.name)));
    only.is_empty() || only.iter().any(|selector| !selector.is_empty() && matches(selector))
}
