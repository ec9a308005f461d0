//! The CA's files: whole or not there, keys for their owner only, one process at a time.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::CaError;

/// Mode of private keys.
pub(super) const KEY_MODE: u32 = 0o600;
/// Mode of everything else.
pub(super) const PUBLIC_MODE: u32 = 0o644;
const DIR_MODE: u32 = 0o700;
const LOCK: &str = ".lock";

/// Held while a directory is read and changed; released when dropped, and by the system when the process dies.
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    pub(super) fn take(dir: &Path) -> Result<Lock, CaError> {
        let path = dir.join(LOCK);
        let file = at(&path, OpenOptions::new().create(true).truncate(false).write(true).mode(KEY_MODE).open(&path))?;
        at(&path, file.lock())?;
        Ok(Lock { _file: file })
    }
}

pub(super) fn make_dir(dir: &Path) -> Result<(), CaError> {
    at(dir, fs::DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir))
}

pub(super) fn read(path: &Path) -> Result<String, CaError> {
    at(path, fs::read_to_string(path))
}

/// Writes a file that must not exist yet.
pub(super) fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), CaError> {
    if path.exists() {
        return Err(fault(path, io::ErrorKind::AlreadyExists.into()));
    }
    replace(path, text, mode)
}

/// Puts a whole file in place of the old one: beside it, synced, renamed, the directory synced.
pub(super) fn replace(path: &Path, text: &str, mode: u32) -> Result<(), CaError> {
    let mut name = path.file_name().expect("a file of the CA has a name").to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    let dir = path.parent().expect("a file of the CA lies in its directory");
    let written = (|| {
        // A rest of a run that was killed would keep its own mode.
        let _ = fs::remove_file(&beside);
        let mut file = OpenOptions::new().create_new(true).write(true).mode(mode).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(dir)?.sync_all()
    })();
    at(path, written)
}

/// The first pair of names of which neither is taken: `stem.pem` and `stem.key`, then `stem-2.…`.
pub(super) fn free_pair(dir: &Path, stem: &str) -> (PathBuf, PathBuf) {
    let pair = |stem: String| (dir.join(format!("{stem}.pem")), dir.join(format!("{stem}.key")));
    let stems = (1..).map(|number: u64| if number == 1 { stem.to_owned() } else { format!("{stem}-{number}") });
    let mut pairs = stems.map(pair);
    pairs.find(|(certificate, key)| !certificate.exists() && !key.exists()).expect("numbers do not end")
}

fn at<T>(path: &Path, outcome: io::Result<T>) -> Result<T, CaError> {
    outcome.map_err(|source| fault(path, source))
}

fn fault(path: &Path, source: io::Error) -> CaError {
    CaError::File { path: path.to_owned(), source }
}
