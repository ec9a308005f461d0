//! What a page says of its families (TYPE, HELP, UNIT), and which family a series belongs to.
//!
//! Text format and OpenMetrics disagree on a counter's family: `# TYPE foo_total counter` here, `# TYPE foo counter` with
//! samples `foo_total` there. [`family_name`] is the one place that settles it: the family is `foo`, the metric keeps
//! its name, so that a target that changes its format keeps its families, and either form can be written from it.

use std::collections::HashMap;

use super::metadata_lines::MetadataLines;
use crate::exposition::protobuf::FamilyHead;
use crate::exposition::{Format, Parser, belongs_to_family};
use crate::model::{Metadata, MetricType};

/// Families that are remembered; a target beyond it loses the metadata of earlier ones.
const FAMILIES_MAX: usize = 1 << 16;

/// The name under which a family is kept: that of a counter without `_total`.
fn family_name(name: &str, kind: MetricType) -> &str {
    match kind {
        MetricType::Counter => name.strip_suffix("_total").filter(|base| !base.is_empty()).unwrap_or(name),
        _ => name,
    }
}

#[derive(Debug)]
struct PageFamily {
    name: Box<str>,
    metadata: Metadata,
    changed: bool,
}

/// The families of a target's pages.
#[derive(Debug, Default)]
pub(super) struct Families {
    families: Vec<PageFamily>,
    by_name: HashMap<Box<str>, usize>,
    /// The family of the metadata line read last.
    current: Option<usize>,
    any_changed: bool,
    lines: MetadataLines,
}

impl Families {
    /// Begins a page.
    pub(super) fn begin(&mut self, format: Format) {
        self.current = None;
        if self.families.len() > FAMILIES_MAX {
            *self = Families::default();
        }
        self.lines.begin(format);
    }

    /// Passes over the line at which `parser` stands if it says what is known; false if it has to be read.
    #[inline]
    pub(super) fn pass_over(&mut self, parser: &mut Parser<'_>) -> bool {
        let family = self.lines.pass_over(parser);
        self.current = family.or(self.current);
        family.is_some()
    }

    /// Notes that the metadata line from `from` on, which `parser` has just read, was given to a `set_` function.
    pub(super) fn note_line(&mut self, from: usize, parser: &Parser<'_>) {
        if let Some(family) = self.current {
            self.lines.note(from, parser, family);
        }
    }

    /// Ends a page that failed.
    pub(super) fn abandon(&mut self) {
        self.lines.abandon();
    }

    /// All that a page says of a family, in one piece; a unit that it does not say stays.
    pub(super) fn set(&mut self, head: &FamilyHead<'_>) {
        self.set_help(head.name, head.help);
        if !head.unit.is_empty() {
            self.set_unit(head.name, head.unit);
        }
        self.set_kind(head.name, head.kind);
    }

    /// A TYPE line.
    pub(super) fn set_kind(&mut self, name: &str, kind: MetricType) {
        self.change(name, |metadata| metadata.kind != kind, |metadata| metadata.kind = kind);
    }

    /// A HELP line.
    pub(super) fn set_help(&mut self, name: &str, help: &str) {
        self.change(name, |metadata| *metadata.help != *help, |metadata| metadata.help = help.into());
    }

    /// A UNIT line.
    pub(super) fn set_unit(&mut self, name: &str, unit: &str) {
        self.change(name, |metadata| *metadata.unit != *unit, |metadata| metadata.unit = unit.into());
    }

    fn change(&mut self, name: &str, is_other: impl Fn(&Metadata) -> bool, set: impl FnOnce(&mut Metadata)) {
        let at = self.enter(name);
        let family = &mut self.families[at];
        if is_other(&family.metadata) {
            set(&mut family.metadata);
            family.changed = true;
            self.any_changed = true;
        }
    }

    fn enter(&mut self, name: &str) -> usize {
        // Families stand in the order in which they were first seen, which is nearly always that of the page.
        let is_named = |at: &usize| self.families.get(*at).is_some_and(|family| *family.name == *name);
        let likely = self.current.map_or([0, 0], |at| [at, at + 1]);
        let known = likely.into_iter().find(is_named).or_else(|| self.by_name.get(name).copied());
        let at = known.unwrap_or_else(|| {
            self.families.push(PageFamily { name: name.into(), metadata: Metadata::default(), changed: false });
            self.by_name.insert(name.into(), self.families.len() - 1);
            self.families.len() - 1
        });
        self.current = Some(at);
        at
    }

    /// The family and metadata of the series named `exposed` on the page and `kept` after relabelling. A renamed series is
    /// its own family of unknown type: what the page says is said of another name.
    pub(super) fn of_series<'a>(&'a self, exposed: &str, kept: &'a str) -> (&'a str, Metadata) {
        if exposed != kept {
            return (kept, Metadata::default());
        }
        let is_own =
            |at: &usize| belongs_to_family(exposed, &self.families[*at].name, self.families[*at].metadata.kind);
        let found = self.current.filter(is_own).or_else(|| self.by_name.get(exposed).copied().filter(is_own));
        match found {
            Some(at) => (self.name_of(at), self.families[at].metadata.clone()),
            None => (kept, Metadata::default()),
        }
    }

    /// The kept name of a family; a counter `foo_total` beside another family `foo` keeps its whole name.
    fn name_of(&self, at: usize) -> &str {
        let PageFamily { name, metadata, .. } = &self.families[at];
        let short = family_name(name, metadata.kind);
        if short.len() < name.len() && self.by_name.contains_key(short) { name } else { short }
    }

    /// Ends a page that was good: the families whose metadata changed since the last one, by their kept names.
    pub(super) fn settle(&mut self, page: &[u8]) -> Vec<(String, Metadata)> {
        self.lines.settle(page, self.any_changed);
        if !std::mem::take(&mut self.any_changed) {
            return Vec::new();
        }
        let changed: Vec<usize> = (0..self.families.len()).filter(|at| self.families[*at].changed).collect();
        let mut changes = Vec::with_capacity(changed.len());
        for at in changed {
            self.families[at].changed = false;
            changes.push((self.name_of(at).to_owned(), self.families[at].metadata.clone()));
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(families: &Families, exposed: &str, kept: &str) -> (String, MetricType) {
        let (name, metadata) = families.of_series(exposed, kept);
        (name.to_owned(), metadata.kind)
    }

    #[test]
    fn both_formats_name_a_counters_family_alike() {
        for family in ["foo_total", "foo"] {
            let mut families = Families::default();
            families.set_kind(family, MetricType::Counter);
            assert_eq!(kind_of(&families, "foo_total", "foo_total"), ("foo".to_owned(), MetricType::Counter));
        }
    }

    #[test]
    fn a_counter_beside_a_family_of_its_short_name_keeps_its_own() {
        let mut families = Families::default();
        families.set_kind("foo", MetricType::Gauge);
        families.set_kind("foo_total", MetricType::Counter);
        assert_eq!(kind_of(&families, "foo_total", "foo_total"), ("foo_total".to_owned(), MetricType::Counter));
        assert_eq!(kind_of(&families, "foo", "foo"), ("foo".to_owned(), MetricType::Gauge));
    }

    #[test]
    fn series_renamed_or_out_of_place_are_unknown() {
        let mut families = Families::default();
        families.set_kind("h", MetricType::Histogram);
        assert_eq!(kind_of(&families, "h_bucket", "h_bucket"), ("h".to_owned(), MetricType::Histogram));
        assert_eq!(kind_of(&families, "h_bucket", "other"), ("other".to_owned(), MetricType::Unknown));
        assert_eq!(kind_of(&families, "h_created", "h_created"), ("h_created".to_owned(), MetricType::Unknown));
    }

    #[test]
    fn changes_are_told_once() {
        let mut families = Families::default();
        families.set_help("a_total", "what");
        families.set_kind("a_total", MetricType::Counter);
        let metadata = Metadata { kind: MetricType::Counter, help: "what".into(), unit: "".into() };
        assert_eq!(families.settle(b""), [("a".to_owned(), metadata)]);
        families.begin(Format::Text);
        families.set_help("a_total", "what");
        families.set_kind("a_total", MetricType::Counter);
        assert_eq!(families.settle(b""), []);
    }
}
