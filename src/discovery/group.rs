//! A target group: addresses that share labels, as discovery hands them out.
//!
//! Files and HTTP endpoints hold a list of them, `[{"targets": ["host:port"], "labels": {…}}]`, in JSON or YAML. Unknown
//! keys are refused, as in Prometheus: a misspelt `label` must not silently lose what it said.

use crate::config::{StaticConfig, parse_static_configs};
use crate::model::Labels;

/// Addresses with the labels they share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetGroup {
    /// Where it comes from: `path:index` or `url:index`; names the group in faults.
    pub source: String,
    /// `host:port` each.
    pub addresses: Vec<String>,
    /// Of all of them, `__meta_…` labels included.
    pub labels: Labels,
}

/// Why a list of target groups could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupsError {
    /// Neither the JSON nor the YAML that was expected.
    #[error("bad list of target groups: {0}")]
    Syntax(String),
    /// More targets than any job may have.
    #[error("{found} targets, expected at most {max}")]
    TooMany {
        /// What the list holds.
        found: usize,
        /// The bound..
        max: usize,
    },
}

/// Most targets that one source may name.
pub(super) const TARGETS_MAX: usize = 100_000;

impl TargetGroup {
    /// The `index`-th group of the source `origin`, with `meta` as a further label.
    pub(super) fn new(origin: &str, index: usize, listed: &StaticConfig, meta: Option<(&str, &str)>) -> TargetGroup {
        let own = listed.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        TargetGroup {
            source: format!("{origin}:{index}"),
            addresses: listed.targets.clone(),
            labels: Labels::from_pairs(own.chain(meta)),
        }
    }

    /// The groups that a job's own file lists.
    pub fn of_static(job_name: &str, listed: &[StaticConfig]) -> Vec<TargetGroup> {
        let origin = format!("static_configs of {job_name}");
        listed.iter().enumerate().map(|(index, group)| TargetGroup::new(&origin, index, group, None)).collect()
    }
}

/// Reads the JSON form.
pub(super) fn parse_json(text: &[u8]) -> Result<Vec<StaticConfig>, GroupsError> {
    let groups = serde_json::from_slice(text).map_err(|error| GroupsError::Syntax(error.to_string()))?;
    bounded(groups)
}

/// Reads the YAML form.
pub(super) fn parse_yaml(text: &str) -> Result<Vec<StaticConfig>, GroupsError> {
    bounded(parse_static_configs(text).map_err(GroupsError::Syntax)?)
}

fn bounded(groups: Vec<StaticConfig>) -> Result<Vec<StaticConfig>, GroupsError> {
    let found = groups.iter().map(|group| group.targets.len()).sum();
    if found > TARGETS_MAX {
        return Err(GroupsError::TooMany { found, max: TARGETS_MAX });
    }
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_yaml_say_the_same() {
        let json = parse_json(br#"[{"targets": ["a:1", "b:2"], "labels": {"rack": "07"}}, {"targets": []}]"#).unwrap();
        let yaml = parse_yaml("- targets: ['a:1', 'b:2']\n  labels:\n    rack: '07'\n- targets: []\n").unwrap();
        assert_eq!(json, yaml);
        assert_eq!(json[0].labels["rack"], "07");
        assert_eq!(parse_yaml(""), Ok(Vec::new()), "an empty file is an empty list");
    }

    #[test]
    fn what_is_no_list_of_groups_is_refused() {
        for text in ["{}", "[null]", r#"[{"targets": "a:1"}]"#, r#"[{"targets": ["a:1"], "label": {}}]"#, "[", ""] {
            assert!(matches!(parse_json(text.as_bytes()), Err(GroupsError::Syntax(_))), "{text}");
        }
        for text in ["targets: [a]", "- targets: [a]\n  label: {}", "- null", "[\n"] {
            assert!(matches!(parse_yaml(text), Err(GroupsError::Syntax(_))), "{text}");
        }
    }

    #[test]
    fn the_meta_label_joins_the_groups_own() {
        let listed = &parse_json(br#"[{"targets": ["a:1"], "labels": {"x": "1", "gone": ""}}]"#).unwrap()[0];
        let group = TargetGroup::new("f.json", 3, listed, Some(("__meta_filepath", "f.json")));
        assert_eq!(group.source, "f.json:3");
        assert_eq!(group.labels, Labels::from_pairs([("__meta_filepath", "f.json"), ("x", "1")]));
    }
}
