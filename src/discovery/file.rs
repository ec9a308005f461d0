//! `file_sd_configs`: target groups in files that someone else writes.
//!
//! Changes are found by looking at the files' times and sizes every few seconds, which works on every file system (NFS,
//! Kubernetes' symbolic links) where notification does not; `refresh_interval` bounds how long a change that kept both
//! can stay unseen. A file that cannot be read or parsed keeps its former groups; one that is gone loses them, as in
//! Prometheus.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::group::{GroupsError, TargetGroup, parse_json, parse_yaml};
use crate::config::{FileSdConfig, StaticConfig};

/// How often the files' times and sizes are looked at.
pub(super) const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 32 << 20;
/// The label with the file's path.
const FILEPATH: &str = "__meta_filepath";

/// Why a file gave no groups.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    /// The file system says no.
    #[error("{path}: {error}", path = .path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// More than any list of targets needs.
    #[error("{path}: {bytes} bytes, expected at most {FILE_BYTES_MAX}", path = .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// It holds no target groups.
    #[error("{path}: {error}", path = .path.display())]
    Groups {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: GroupsError,
    },
}

/// One entry of `file_sd_configs` and what its files held when they could last be read.
#[derive(Debug)]
pub(super) struct FileSource {
    config: FileSdConfig,
    files: BTreeMap<PathBuf, FileState>,
}

#[derive(Debug, Default)]
struct FileState {
    /// Time and size of the version that was read last, a faulty one included. None where it could not be read at all: what
    /// mends that (its permissions, say) shows in neither.
    stamp: Option<(SystemTime, u64)>,
    groups: Vec<TargetGroup>,
}

impl FileSource {
    /// A source that has read nothing yet.
    pub(super) fn new(config: FileSdConfig) -> FileSource {
        FileSource { config, files: BTreeMap::new() }
    }

    /// When even unchanged files are read again.
    pub(super) fn refresh_interval(&self) -> Duration {
        self.config.refresh_interval
    }

    /// All groups, files in the order of their names.
    pub(super) fn groups(&self) -> Vec<TargetGroup> {
        self.files.values().flat_map(|file| file.groups.iter().cloned()).collect()
    }

    /// Reads what changed (all files where `forced`); true if the groups are other ones now. What went wrong is added
    /// to `faults`.
    pub(super) async fn refresh(&mut self, forced: bool, faults: &mut Vec<FileError>) -> bool {
        let (mut changed, mut present) = (false, Vec::new());
        for pattern in self.config.files.clone() {
            match matching_files(&pattern).await {
                Ok(paths) => present.extend(paths),
                Err(error) => {
                    // What the directory holds is unknown: nothing of it is taken for gone.
                    let directory = pattern.parent().map(Path::to_owned).unwrap_or_default();
                    present.extend(self.files.keys().filter(|path| path.starts_with(&directory)).cloned());
                    faults.push(FileError::Read { path: directory, error });
                }
            }
        }
        for path in &present {
            let state = self.files.entry(path.clone()).or_default();
            match state.refresh(path, forced).await {
                Ok(is_other) => changed |= is_other,
                Err(error) => faults.push(error),
            }
        }
        let before = self.files.len();
        self.files.retain(|path, _| present.contains(path));
        changed | (self.files.len() != before)
    }
}

impl FileState {
    async fn refresh(&mut self, path: &Path, forced: bool) -> Result<bool, FileError> {
        let read_error = |error| FileError::Read { path: path.to_owned(), error };
        let about = tokio::fs::metadata(path).await.map_err(read_error)?;
        let stamp = Some((about.modified().map_err(read_error)?, about.len()));
        if stamp == self.stamp && !forced {
            return Ok(false);
        }
        self.stamp = stamp;
        if about.len() > FILE_BYTES_MAX {
            return Err(FileError::TooLarge { path: path.to_owned(), bytes: about.len() });
        }
        let content = tokio::fs::read(path).await.inspect_err(|_| self.stamp = None).map_err(read_error)?;
        let listed = parse(path, &content).map_err(|error| FileError::Groups { path: path.to_owned(), error })?;
        let name = path.to_string_lossy();
        let group = |(index, group)| TargetGroup::new(&name, index, group, Some((FILEPATH, &name)));
        let groups: Vec<TargetGroup> = listed.iter().enumerate().map(group).collect();
        let is_other = groups != self.groups;
        self.groups = groups;
        Ok(is_other)
    }
}

/// By the file's ending, in any case: `.json`, else YAML (the configuration's check allows no other).
fn parse(path: &Path, content: &[u8]) -> Result<Vec<StaticConfig>, GroupsError> {
    if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json")) {
        return parse_json(content);
    }
    let text = std::str::from_utf8(content).map_err(|error| GroupsError::Syntax(error.to_string()))?;
    parse_yaml(text)
}

/// The files that `pattern` names, sorted: itself, or what its last part's `*` matches. A name without `*` may be of no
/// file: then there is nothing, as with a `*` that matches none.
async fn matching_files(pattern: &Path) -> io::Result<Vec<PathBuf>> {
    let name = pattern.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let Some((head, tail)) = name.split_once('*') else {
        let exists = tokio::fs::try_exists(pattern).await?;
        return Ok(if exists { vec![pattern.to_owned()] } else { Vec::new() });
    };
    let directory = pattern.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut entries = tokio::fs::read_dir(directory).await?;
    let mut paths = Vec::new();
    while let Some(entry) = entries.next_entry().await? {
        let own = entry.file_name();
        let own = own.to_string_lossy();
        if own.len() >= head.len() + tail.len() && own.starts_with(head) && own.ends_with(tail) {
            paths.push(pattern.with_file_name(entry.file_name()));
        }
    }
    paths.sort();
    Ok(paths)
}
