//! What the journal asks of a file system: a seam, so that tests can put one there that fails, forgets and runs full.
//!
//! Invariant: only these promises are relied on. After [`OpenFile::sync`] the file's bytes and its length survive a power cut; after
//! [`Files::sync_dir`] the names in the directory do. Without them, anything written may be there in part, in any order, or not.

use std::any::Any;
use std::io;
use std::path::Path;

/// A file system.
pub trait Files: Send + Sync {
    /// Makes the directory and those above it, durably. One that is there is no fault.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// The names in the directory, in no order. `NotFound` if it is not there.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Takes the lock that `path` stands for until the value is dropped; `WouldBlock` if another process has it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>>;
    /// Opens a file for reading and writing. `NotFound` if it is not there.
    fn open(&self, path: &Path) -> io::Result<Box<dyn OpenFile>>;
    /// Makes an empty file, or empties the one that is there.
    fn create(&self, path: &Path) -> io::Result<Box<dyn OpenFile>>;
    /// Gives a file another name, replacing what had it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Takes a name away. Readers that have the file open go on.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes what happened to names in the directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// The room of the file system that holds the directory.
    fn space(&self, dir: &Path) -> io::Result<Space>;
}

/// One open file.
pub trait OpenFile: Send + Sync {
    /// Its length in bytes.
    fn length(&self) -> io::Result<u64>;
    /// Reads at an offset; fewer bytes than asked for, 0 at the end.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes at an offset, growing the file; perhaps not all.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// Cuts the file.
    fn cut(&self, length: u64) -> io::Result<()>;
    /// Makes bytes and length durable (fdatasync).
    fn sync(&self) -> io::Result<()>;
}

/// The room of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes in all.
    pub total: u64,
    /// Bytes that this process may still take.
    pub free: u64,
}

/// Reads until `bytes` are full or the file ends; how many were read.
pub(super) fn read_full(file: &dyn OpenFile, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < bytes.len() {
        match file.read_at(&mut bytes[read..], offset + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

/// Writes all of `bytes`.
pub(super) fn write_full(file: &dyn OpenFile, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Puts a file in place so that under its name there is the old content or the new, never a part: a new file, synced, renamed over
/// the old one, the directory synced. What was begun and failed is removed.
pub(super) fn replace(files: &dyn Files, path: &Path, content: &[u8]) -> io::Result<Box<dyn OpenFile>> {
    let unfinished = path.with_added_extension(UNFINISHED);
    let placed = place(files, &unfinished, path, content);
    if placed.is_err() {
        // A leftover is removed at the next opening, too.
        let _ = files.remove(&unfinished);
    }
    placed
}

fn place(files: &dyn Files, unfinished: &Path, path: &Path, content: &[u8]) -> io::Result<Box<dyn OpenFile>> {
    let file = files.create(unfinished)?;
    write_full(&*file, content, 0)?;
    file.sync()?;
    files.rename(unfinished, path)?;
    files.sync_dir(path.parent().unwrap_or(Path::new(".")))?;
    Ok(file)
}

/// The last part of the name of a file that is not yet whole.
pub(super) const UNFINISHED: &str = "new";
