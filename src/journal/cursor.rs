//! How far a consumer came, in a small file of its own beside the segments.
//!
//! Invariant: under a cursor's name there is what was saved before or what was saved now, never a part. A missing cursor (a new
//! consumer) and a damaged one (a disk that lost it) are told apart: the one begins where its owner wants, the other has to begin
//! at the oldest record.
//!
//! | offset | bytes | what |
//! |---:|---:|---|
//! | 0 | 8 | `fedgcurs` |
//! | 8 | 2 | version; 1 |
//! | 10 | 2 | length of the note |
//! | 12 | 8 | position |
//! | 20 | | note |
//! | | 4 | CRC32C of all before |

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::directory::{POSITION_MAX, cursor_name, is_cursor_name};
use super::files::{Files, read_full, replace};
use super::format::Position;

/// The longest note.
pub const NOTE_BYTES_MAX: usize = 4096;

const MAGIC: [u8; 8] = *b"fedgcurs";
const VERSION: u16 = 1;
const FIXED_BYTES: usize = 20;
const CRC_BYTES: usize = 4;

/// How far a consumer came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// What lies before it is done with. It must have been synced.
    pub position: Position,
    /// What the owner wants to remember with it.
    pub note: Vec<u8>,
}

/// What there is under a cursor's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Saved {
    /// Nothing.
    Missing,
    /// A file that is no whole cursor.
    Damaged,
    /// The cursor.
    At(Cursor),
}

/// Why a cursor was not loaded, saved or removed; the one that was there still is.
#[derive(Debug, thiserror::Error)]
pub enum CursorError {
    /// It cannot be a file's name.
    #[error("cursor name {0:?}, expected 1 to 64 of a-z, 0-9, _ and -")]
    Name(String),
    /// It is longer than [`NOTE_BYTES_MAX`].
    #[error("cursor note of {0} bytes, expected at most {NOTE_BYTES_MAX}")]
    Note(usize),
    /// A newer program wrote it.
    #[error("{} is of cursor version {found}, this fedgate knows {VERSION}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u16,
    },
    /// The disk, or a permission.
    #[error("cursor {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
}

/// The cursors of one log.
#[derive(Clone)]
pub struct Cursors {
    files: Arc<dyn Files>,
    dir: PathBuf,
}

impl Cursors {
    /// Those in the directory of a log, which must have been opened.
    pub fn new(files: Arc<dyn Files>, dir: &Path) -> Cursors {
        Cursors { files, dir: dir.to_owned() }
    }

    /// Reads one.
    pub fn load(&self, name: &str) -> Result<Saved, CursorError> {
        let path = self.path(name)?;
        let io = |source| CursorError::Io { path: path.clone(), source };
        let file = match self.files.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Saved::Missing),
            opened => opened.map_err(io)?,
        };
        let mut bytes = vec![0; FIXED_BYTES + NOTE_BYTES_MAX + CRC_BYTES + 1];
        let read = read_full(&*file, &mut bytes, 0).map_err(io)?;
        match decode(&bytes[..read]) {
            Some((version, _)) if version > VERSION => Err(CursorError::Newer { path, found: version }),
            Some((_, cursor)) => Ok(Saved::At(cursor)),
            None => Ok(Saved::Damaged),
        }
    }

    /// Saves one, durably. Slow (two syncs), so not for every record: who starts from an old one does some work again.
    pub fn save(&self, name: &str, cursor: &Cursor) -> Result<(), CursorError> {
        if cursor.note.len() > NOTE_BYTES_MAX {
            return Err(CursorError::Note(cursor.note.len()));
        }
        let path = self.path(name)?;
        replace(&*self.files, &path, &encode(cursor)).map(|_| ()).map_err(|source| CursorError::Io { path, source })
    }

    /// Removes one; one that is not there is no fault.
    pub fn remove(&self, name: &str) -> Result<(), CursorError> {
        let path = self.path(name)?;
        let removed = match self.files.remove(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.and_then(|()| self.files.sync_dir(&self.dir)),
        };
        removed.map_err(|source| CursorError::Io { path, source })
    }

    /// The names of all, in order.
    pub fn names(&self) -> Result<Vec<String>, CursorError> {
        let listed = self.files.list(&self.dir);
        let listed = listed.map_err(|source| CursorError::Io { path: self.dir.clone(), source })?;
        let names = listed.iter().filter_map(|name| name.strip_suffix(".cursor"));
        let mut names: Vec<String> = names.filter(|name| is_cursor_name(name)).map(str::to_owned).collect();
        names.sort_unstable();
        Ok(names)
    }

    fn path(&self, name: &str) -> Result<PathBuf, CursorError> {
        if !is_cursor_name(name) {
            return Err(CursorError::Name(name.to_owned()));
        }
        Ok(self.dir.join(cursor_name(name)))
    }
}

fn encode(cursor: &Cursor) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&(cursor.note.len() as u16).to_le_bytes());
    bytes.extend_from_slice(&cursor.position.0.to_le_bytes());
    bytes.extend_from_slice(&cursor.note);
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    bytes
}

/// Version and cursor; of a newer version the cursor means nothing. None if the bytes are not whole.
fn decode(bytes: &[u8]) -> Option<(u16, Cursor)> {
    let (rest, crc) = bytes.split_last_chunk::<CRC_BYTES>()?;
    if u32::from_le_bytes(*crc) != crc32c::crc32c(rest) {
        return None;
    }
    let (magic, rest) = rest.split_first_chunk::<8>()?;
    let (version, rest) = rest.split_first_chunk::<2>()?;
    let version = u16::from_le_bytes(*version);
    if *magic != MAGIC || version > VERSION {
        return (*magic == MAGIC).then(|| (version, Cursor::default()));
    }
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let (position, note) = rest.split_first_chunk::<8>()?;
    let position = u64::from_le_bytes(*position);
    let whole = note.len() == usize::from(u16::from_le_bytes(*length)) && position <= POSITION_MAX;
    whole.then(|| (version, Cursor { position: Position(position), note: note.to_vec() }))
}
