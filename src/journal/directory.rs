//! What a log's directory may hold.
//!
//! Invariant: every file in it is one that a log makes, of this role and of a version that this program knows, or the log is not
//! opened and nothing is touched. A wrong directory in a configuration must not cost anybody's files.

use std::io;
use std::path::{Path, PathBuf};

use crate::model::Timestamp;

use super::files::{Files, OpenFile, UNFINISHED, read_full};
use super::format::{NoHeader, Position, Role, SEGMENT_HEADER_BYTES, SegmentHeader, VERSION};
use super::segments::SegmentFile;

/// The file that is locked while the log is open.
pub(super) const LOCK: &str = "LOCK";
/// What mkfs leaves at the top of a file system.
const LOST_AND_FOUND: &str = "lost+found";
/// Begins the names that NFS gives to removed files that somebody has open.
const NFS_REMOVED: &str = ".nfs";
/// No log grows so far; beyond it sums of positions could overflow.
pub(super) const POSITION_MAX: u64 = 1 << 62;
/// Characters of a cursor's name.
const CURSOR_NAME_CHARS_MAX: usize = 64;

/// Why a log was not opened. Nothing in its directory was changed, but where an input or output failed half-way.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process writes it.
    #[error("{} is in use by another process; stop it, or give each its own directory", dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// A file that no log makes.
    #[error("{} holds {name}, which fedgate did not write; give the journal a directory of its own", dir.display())]
    Foreign {
        /// The directory.
        dir: PathBuf,
        /// The file's name.
        name: String,
    },
    /// A newer program wrote it.
    #[error("{} is of format version {found}, this fedgate knows up to {VERSION}; run the newer one, or choose an empty directory", path.display())]
    Newer {
        /// The segment.
        path: PathBuf,
        /// Its version.
        found: u16,
    },
    /// It belongs to something else.
    #[error("{} belongs to {found}, expected {expected}; check the configured directory", path.display())]
    OtherRole {
        /// The segment.
        path: PathBuf,
        /// Whose it is.
        found: Role,
        /// Whose it should be.
        expected: Role,
    },
    /// A segment under another's name.
    #[error("{} begins at position {found} by its own header; give it back its name, or take it away", path.display())]
    Misnamed {
        /// The segment.
        path: PathBuf,
        /// The position in its header.
        found: Position,
    },
    /// The disk, or a permission.
    #[error("cannot open the journal at {}: {source}", path.display())]
    Io {
        /// What was opened, read or written.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
}

/// Puts a path beside what the system says.
pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io { path, source }
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) segments: Vec<SegmentFile>,
    /// Names of files that were never finished.
    pub(super) unfinished: Vec<String>,
    /// Names of cursors, without the ending.
    pub(super) cursors: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Name<'a> {
    Segment(Position),
    Cursor(&'a str),
    Unfinished,
    Passed,
    Foreign,
}

/// The name of the segment that begins at a position.
pub(super) fn segment_name(first: Position) -> String {
    format!("{:020}.seg", first.0)
}

/// The name of a cursor's file.
pub(super) fn cursor_name(name: &str) -> String {
    format!("{name}.cursor")
}

/// Whether a cursor may have this name.
pub(super) fn is_cursor_name(name: &str) -> bool {
    let good = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_' || c == b'-';
    (1..=CURSOR_NAME_CHARS_MAX).contains(&name.len()) && name.bytes().all(good)
}

fn classify(name: &str) -> Name<'_> {
    if name == LOCK || name == LOST_AND_FOUND || name.starts_with(NFS_REMOVED) {
        return Name::Passed;
    }
    match name.rsplit_once('.') {
        Some((rest, "seg")) if rest.len() == 20 && rest.bytes().all(|c| c.is_ascii_digit()) => {
            let position = rest.parse().ok().filter(|position| *position <= POSITION_MAX);
            position.map_or(Name::Foreign, |position| Name::Segment(Position(position)))
        }
        Some((rest, "cursor")) if is_cursor_name(rest) => Name::Cursor(rest),
        Some((rest, UNFINISHED)) if matches!(classify(rest), Name::Segment(_) | Name::Cursor(_)) => Name::Unfinished,
        _ => Name::Foreign,
    }
}

/// Looks through the directory, changing nothing. One that is not there is empty.
pub(super) fn inspect(files: &dyn Files, dir: &Path, role: Role) -> Result<Contents, OpenError> {
    let mut contents = Contents::default();
    let names = match files.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        listed => listed.map_err(at(dir))?,
    };
    for name in names {
        match classify(&name) {
            Name::Segment(first) => contents.segments.push(inspect_segment(files, dir, first, role)?),
            Name::Cursor(cursor) => contents.cursors.push(cursor.to_owned()),
            Name::Unfinished => contents.unfinished.push(name),
            Name::Passed => {}
            Name::Foreign => return Err(OpenError::Foreign { dir: dir.to_owned(), name }),
        }
    }
    Ok(contents)
}

fn inspect_segment(files: &dyn Files, dir: &Path, first: Position, role: Role) -> Result<SegmentFile, OpenError> {
    let path = dir.join(segment_name(first));
    let file = files.open(&path).map_err(at(&path))?;
    match read_header(&*file).map_err(at(&path))? {
        Ok(header) if header.first != first => Err(OpenError::Misnamed { path, found: header.first }),
        Ok(header) if header.role != role => Err(OpenError::OtherRole { path, found: header.role, expected: role }),
        Ok(SegmentHeader { begun, continues, salt, .. }) => {
            Ok(SegmentFile { first, begun, continues, damaged: false, salt: Some(salt) })
        }
        Err(NoHeader::Newer(found)) => Err(OpenError::Newer { path, found }),
        Err(NoHeader::Damaged) => {
            Ok(SegmentFile { first, begun: Timestamp(0), continues: false, damaged: true, salt: None })
        }
    }
}

fn read_header(file: &dyn OpenFile) -> io::Result<Result<SegmentHeader, NoHeader>> {
    let mut bytes = [0; SEGMENT_HEADER_BYTES as usize];
    let read = read_full(file, &mut bytes, 0)?;
    Ok(SegmentHeader::decode(&bytes[..read]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_a_log_makes_and_others() {
        assert_eq!(classify(&segment_name(Position(67_108_801))), Name::Segment(Position(67_108_801)));
        assert_eq!(classify("remote-1.cursor"), Name::Cursor("remote-1"));
        assert_eq!(classify("remote-1.cursor.new"), Name::Unfinished);
        assert_eq!(classify("00000000000000000000.seg.new"), Name::Unfinished);
        for name in ["LOCK", "lost+found", ".nfs000000000012ab"] {
            assert_eq!(classify(name), Name::Passed);
        }
        let foreign =
            ["0.seg", "99999999999999999999.seg", "00000000000000000000.seg.new.new", ".cursor", "A.cursor", "wal"];
        for name in foreign {
            assert_eq!(classify(name), Name::Foreign, "{name}");
        }
    }
}
