//! Which files `rule_files` names.
//!
//! As in Prometheus a pattern's wildcards stand in its last part, so that what a directory holds is all that has to be read.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Why a pattern gave no files.
#[derive(Debug, thiserror::Error)]
pub enum PatternError {
    /// A wildcard before the last part of the path.
    #[error("invalid rule file path {0:?}, expected wildcards in its last part only")]
    Wildcard(PathBuf),
    /// Its directory cannot be read.
    #[error("{directory}: {error}", directory = .directory.display())]
    Read {
        /// The directory.
        directory: PathBuf,
        /// What the file system says.
        error: io::Error,
    },
}

/// The files that a pattern names, by name: itself where it has no wildcard, whether it is there or not; else what matches `*` (any
/// characters) and `?` (one) in its last part.
pub fn matching_files(pattern: &Path) -> Result<Vec<PathBuf>, PatternError> {
    let has_wildcard = |text: &str| text.contains(['*', '?']);
    let directory = pattern.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if has_wildcard(&directory.to_string_lossy()) {
        return Err(PatternError::Wildcard(pattern.to_owned()));
    }
    let name = pattern.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if !has_wildcard(&name) {
        return Ok(vec![pattern.to_owned()]);
    }
    let failed = |error| PatternError::Read { directory: directory.to_owned(), error };
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let own = entry.map_err(failed)?.file_name();
        if matches(&name, &own.to_string_lossy()) {
            files.push(pattern.with_file_name(own));
        }
    }
    files.sort();
    Ok(files)
}

/// Goes back to the last `*` where what follows it does not fit.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut seen, mut star) = (0, 0, None);
    while seen < name.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(c) if *c == '?' || *c == name[seen] => (at, seen) = (at + 1, seen + 1),
            _ => match star {
                None => return false,
                Some((star_at, taken)) => {
                    star = Some((star_at, taken + 1));
                    (at, seen) = (star_at + 1, taken + 1);
                }
            },
        }
    }
    pattern[at..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_names() {
        for (pattern, name) in [("*.yml", "a.yml"), ("a*b*c", "a-b-b-c"), ("?.yml", "x.yml"), ("*", "x"), ("a*", "a")] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("*.yml", "a.yaml"), ("?.yml", "xy.yml"), ("a*b", "a-c"), ("", "x")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }
}
