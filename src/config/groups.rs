//! The YAML of file discovery. It stands here because the reading of YAML lives in `config`.

use super::StaticConfig;

/// Reads a list of target groups as a `.yml` file of `file_sd_configs` holds it; an empty file is an empty list.
pub fn parse_static_configs(yaml: &str) -> Result<Vec<StaticConfig>, String> {
    let groups: Option<Vec<Option<StaticConfig>>> = serde_saphyr::from_str(yaml).map_err(|error| error.to_string())?;
    let groups = groups.unwrap_or_default();
    groups.into_iter().map(|group| group.ok_or_else(|| "found null, expected a target group".to_owned())).collect()
}
