//! One relabelling rule as written: Prometheus's `relabel_config`.
//!
//! Plain text here; the `relabel` module compiles it. The rules about which keys an action takes are Prometheus's
//! (`relabel.Config.Validate`) and are checked when the file is loaded.

use serde::Deserialize;

/// A step of `relabel_configs` or `metric_relabel_configs`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RelabelConfig {
    /// Labels whose values are joined to the text that `regex` is matched with.
    pub source_labels: Vec<String>,
    /// What stands between the joined values. Default `;`.
    pub separator: String,
    /// Pattern for the whole text. Default `(.*)`.
    pub regex: String,
    /// For `hashmod`: the hash is taken modulo this; at least 1.
    pub modulus: u64,
    /// Label that `replace`, `hashmod`, `lowercase`, `uppercase`, `keepequal` and `dropequal` speak of.
    pub target_label: String,
    /// New value (or name, for `labelmap`), with `$1` or `${name}` for the pattern's groups. Default `$1`.
    pub replacement: String,
    /// What to do. Default `replace`.
    pub action: RelabelAction,
}

impl Default for RelabelConfig {
    fn default() -> Self {
        RelabelConfig {
            source_labels: Vec::new(),
            separator: ";".to_owned(),
            regex: "(.*)".to_owned(),
            modulus: 0,
            target_label: String::new(),
            replacement: "$1".to_owned(),
            action: RelabelAction::Replace,
        }
    }
}

/// What a relabelling step does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RelabelAction {
    /// Sets `target_label` to `replacement` if the pattern matches.
    #[default]
    Replace,
    /// Drops what the pattern does not match.
    Keep,
    /// Drops what the pattern matches.
    Drop,
    /// Drops unless the joined sources equal the target label's value.
    KeepEqual,
    /// Drops if the joined sources equal the target label's value.
    DropEqual,
    /// Sets `target_label` to MD5 of the joined sources modulo `modulus`.
    HashMod,
    /// Copies every label whose name matches to the name that `replacement` gives.
    LabelMap,
    /// Removes every label whose name matches.
    LabelDrop,
    /// Removes every label whose name does not match.
    LabelKeep,
    /// Sets `target_label` to the joined sources in lower case.
    Lowercase,
    /// Sets `target_label` to the joined sources in upper case.
    Uppercase,
}

impl RelabelAction {
    /// Every action with the word that a user writes.
    pub const WORDS: [(&'static str, RelabelAction); 11] = [
        ("replace", RelabelAction::Replace),
        ("keep", RelabelAction::Keep),
        ("drop", RelabelAction::Drop),
        ("keepequal", RelabelAction::KeepEqual),
        ("dropequal", RelabelAction::DropEqual),
        ("hashmod", RelabelAction::HashMod),
        ("labelmap", RelabelAction::LabelMap),
        ("labeldrop", RelabelAction::LabelDrop),
        ("labelkeep", RelabelAction::LabelKeep),
        ("lowercase", RelabelAction::Lowercase),
        ("uppercase", RelabelAction::Uppercase),
    ];

    /// The word that a user writes.
    pub fn as_str(self) -> &'static str {
        Self::WORDS.iter().find(|(_, own)| *own == self).expect("every action has its word").0
    }
}

/// Reads the word in any case, as Prometheus does.
impl<'de> Deserialize<'de> for RelabelAction {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        let known = Self::WORDS.iter().find(|(own, _)| own.eq_ignore_ascii_case(&word));
        known.map(|(_, action)| *action).ok_or_else(|| {
            const NAMES: &[&str] = &[
                "replace",
                "keep",
                "drop",
                "keepequal",
                "dropequal",
                "hashmod",
                "labelmap",
                "labeldrop",
                "labelkeep",
                "lowercase",
                "uppercase",
            ];
            serde::de::Error::unknown_variant(&word, NAMES)
        })
    }
}
