//! Files that a configuration names: are they there, can they be read, can others read them too?

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::config::report::At;

/// Others may read.
const MODE_OTHERS_READ: u32 = 0o004;

/// A file that must be there and readable.
pub(super) fn check_readable(file: &Path, at: &At<'_>) {
    if let Err(error) = open(file) {
        at.fault(format!("cannot read {}: {error}", file.display()));
    }
}

/// A file that must be there and readable, but not by others.
pub(super) fn check_private(file: &Path, at: &At<'_>) {
    match open(file) {
        Ok(metadata) if metadata.permissions().mode() & MODE_OTHERS_READ != 0 => {
            at.warn(format!("{} can be read by every user of this machine; chmod 600 mends it", file.display()));
        }
        Ok(_) => {}
        Err(error) => at.fault(format!("cannot read {}: {error}", file.display())),
    }
}

/// Like [`check_readable`] for a file whose key is required.
pub(super) fn check_required(file: Option<&Path>, at: &At<'_>) {
    match named(file) {
        Some(file) => check_readable(file, at),
        None => at.fault("a file is required here"),
    }
}

/// Like [`check_private`] for a file whose key is required.
pub(super) fn check_required_private(file: Option<&Path>, at: &At<'_>) {
    match named(file) {
        Some(file) => check_private(file, at),
        None => at.fault("a file is required here"),
    }
}

/// A directory that is there, or can be made where it is to be.
pub(super) fn check_directory(dir: &Path, at: &At<'_>) {
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match (fs::metadata(dir), fs::metadata(parent)) {
        (Ok(found), _) if found.is_dir() => {}
        (Ok(_), _) => at.fault(format!("{} is no directory", dir.display())),
        (Err(error), _) if error.kind() != io::ErrorKind::NotFound => {
            at.fault(format!("cannot use {}: {error}", dir.display()));
        }
        (Err(_), Ok(found)) if found.is_dir() => {}
        (Err(_), _) => at.fault(format!("{} is to be made in a directory that is not there", dir.display())),
    }
}

/// Warns of a configuration file with secrets in it that others may read.
pub(in crate::config) fn check_file_mode(file: &Path, source: &str, at: &At<'_>) {
    let holds_secret = source.lines().map(str::trim_start).any(|line| {
        let key = line.trim_start_matches("- ");
        ["password:", "credentials:", "secrets:"].iter().any(|secret| key.starts_with(secret))
    });
    let open_to_others = fs::metadata(file).is_ok_and(|found| found.permissions().mode() & MODE_OTHERS_READ != 0);
    if holds_secret && open_to_others {
        at.warn("this file holds a secret and can be read by every user of this machine; chmod 600 mends it");
    }
}

/// A key that was not written is no path, or an empty one.
fn named(file: Option<&Path>) -> Option<&Path> {
    file.filter(|file| !file.as_os_str().is_empty())
}

fn open(file: &Path) -> io::Result<Metadata> {
    let metadata = File::open(file)?.metadata()?;
    match metadata.is_dir() {
        true => Err(io::Error::other("it is a directory")),
        false => Ok(metadata),
    }
}
