//! A file system in memory that does to its user whatever a real one may.
//!
//! What was not synced may be there after a crash in whole, in part (by sector, in any order) or not at all; names likewise, up to the
//! last sync of the directory, in the order in which they changed. A sync that fails leaves on disk what it likes, and the next one
//! succeeds without bringing the rest: what reads hand out then was never on disk. Writes can be short, fail, or find no room.
//!
//! Chance comes from a seed, so that what was found can be found again.

use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use fedgate::journal::{Files, OpenFile, Space};

/// Bytes that a disk writes at once or not at all.
const SECTOR: usize = 512;

/// What goes wrong from now on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// So many of the next writes fail, after a part.
    pub(crate) writes: u32,
    /// So many of the next syncs of files fail.
    pub(crate) syncs: u32,
    /// So many of the next syncs of directories fail.
    pub(crate) dir_syncs: u32,
    /// So many of the next reads fail.
    pub(crate) reads: u32,
    /// All files together may have so many bytes.
    pub(crate) room: Option<usize>,
    /// Writes take at most so many bytes at once.
    pub(crate) short: Option<usize>,
}

/// What a crash leaves of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crash {
    /// All: the process was killed, the machine went on.
    Killed,
    /// Nothing.
    Forgets,
    /// Whatever chance leaves.
    Mixes,
}

/// Clones are of the same file system.
#[derive(Clone, Default)]
pub(crate) struct FaultyFiles(Arc<Mutex<State>>);

#[derive(Clone, Default)]
struct State {
    inodes: Vec<Inode>,
    /// What each path is now.
    names: BTreeMap<PathBuf, usize>,
    /// What it is on disk, and how the names changed since.
    durable_names: BTreeMap<PathBuf, usize>,
    changes: Vec<Change>,
    locked: Vec<PathBuf>,
    faults: Faults,
    chance: u64,
    /// How often something was synced.
    syncs: u64,
}

#[derive(Clone)]
enum Change {
    Set(PathBuf, usize),
    Remove(PathBuf),
}

#[derive(Clone, Default)]
struct Inode {
    /// What reads see.
    bytes: Vec<u8>,
    /// What is on disk, and what is not yet.
    durable: Vec<u8>,
    pending: Vec<Pending>,
}

#[derive(Clone)]
enum Pending {
    Write(usize, Vec<u8>),
    Cut(usize),
}

impl FaultyFiles {
    /// An empty file system whose chance follows the seed.
    pub(crate) fn new(seed: u64) -> FaultyFiles {
        let files = FaultyFiles::default();
        files.lock_state().chance = seed.wrapping_mul(2).wrapping_add(1);
        files
    }

    fn lock_state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(crate) fn set(&self, faults: Faults) {
        self.lock_state().faults = faults;
    }

    /// Bytes of all files.
    pub(crate) fn used(&self) -> usize {
        self.lock_state().used()
    }

    /// How often a file or a directory was synced.
    pub(crate) fn syncs(&self) -> u64 {
        self.lock_state().syncs
    }

    /// The file system as the next run finds it, without faults. Handles of before see the old one.
    pub(crate) fn after(&self, crash: Crash) -> FaultyFiles {
        let mut state = self.lock_state();
        let chance = state.next_chance();
        let after = match crash {
            Crash::Killed => State { chance, faults: Faults::default(), locked: Vec::new(), ..state.clone() },
            Crash::Forgets => state.clone().rebooted(),
            Crash::Mixes => state.clone().mixed().rebooted(),
        };
        FaultyFiles(Arc::new(Mutex::new(State { chance, ..after })))
    }

    /// Puts a whole file there, durably.
    pub(crate) fn place(&self, path: &Path, bytes: Vec<u8>) {
        let mut state = self.lock_state();
        let inode = state.inodes.len();
        state.inodes.push(Inode { durable: bytes.clone(), bytes, pending: Vec::new() });
        state.names.insert(path.to_owned(), inode);
        state.durable_names.insert(path.to_owned(), inode);
    }

    /// What a file holds, as reads see it.
    pub(crate) fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.lock_state();
        state.names.get(path).map(|inode| state.inodes[*inode].bytes.clone())
    }

    /// The names there are, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        let state = self.lock_state();
        state.names.keys().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
    }
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Change::Set(path, inode) => drop(names.insert(path.clone(), *inode)),
            Change::Remove(path) => drop(names.remove(path)),
        }
    }
}

impl State {
    /// A step of splitmix64.
    fn next_chance(&mut self) -> u64 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.chance ^ (self.chance >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next_chance() % bound as u64) as usize
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.names);
        self.changes.push(change);
    }

    /// Only what is on disk.
    fn rebooted(self) -> State {
        let inodes = self.inodes.into_iter().map(|inode| Inode { bytes: inode.durable.clone(), ..inode });
        let inodes = inodes.map(|inode| Inode { pending: Vec::new(), ..inode }).collect();
        State { inodes, names: self.durable_names.clone(), durable_names: self.durable_names, ..State::default() }
    }

    /// Some of what is pending comes to disk before the machine stops. Removed names may still be there, each by itself; new ones
    /// are there in the order in which they came.
    fn mixed(mut self) -> State {
        for inode in 0..self.inodes.len() {
            self.mix(inode);
        }
        let changes = std::mem::take(&mut self.changes);
        let kept = self.below(changes.len() + 1);
        for change in &changes[..kept] {
            if matches!(change, Change::Set(..)) || self.below(2) == 0 {
                change.apply(&mut self.durable_names);
            }
        }
        self
    }

    /// Brings some sectors of what is pending to disk, forgets the others, and leaves some length.
    fn mix(&mut self, inode: usize) {
        let pending = std::mem::take(&mut self.inodes[inode].pending);
        let mut left = std::mem::take(&mut self.inodes[inode].durable);
        let grown = self.inodes[inode].bytes.len();
        for step in pending {
            match step {
                Pending::Write(offset, bytes) => self.mix_write(&mut left, offset, &bytes),
                Pending::Cut(length) if self.below(2) == 0 => left.truncate(length),
                Pending::Cut(_) => {}
            }
        }
        if left.len() < grown && self.below(3) == 0 {
            left.resize(grown, 0);
        }
        self.inodes[inode].durable = left;
    }

    fn mix_write(&mut self, left: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
        let mut from = 0;
        while from < bytes.len() {
            let until = bytes.len().min(((offset + from) / SECTOR + 1) * SECTOR - offset);
            if self.below(2) == 0 {
                put(left, offset + from, &bytes[from..until]);
            }
            from = until;
        }
    }

    fn used(&self) -> usize {
        self.names.values().map(|inode| self.inodes[*inode].bytes.len()).sum()
    }
}

/// Writes into a vector as into a file.
fn put(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    file.resize(file.len().max(end), 0);
    file[offset..end].copy_from_slice(bytes);
}

fn io_error() -> io::Error {
    io::Error::from_raw_os_error(5)
}

/// Counts a planned fault down; whether it strikes now.
fn strikes(left: &mut u32) -> bool {
    let now = *left > 0;
    *left = left.saturating_sub(1);
    now
}

impl Files for FaultyFiles {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.lock_state();
        let inside = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        let mut state = self.lock_state();
        if state.locked.iter().any(|locked| locked == path) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        state.locked.push(path.to_owned());
        Ok(Box::new(Locked(self.clone(), path.to_owned())))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn OpenFile>> {
        let inode = *self.lock_state().names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(Handle { files: self.clone(), inode }))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn OpenFile>> {
        let mut state = self.lock_state();
        let inode = state.inodes.len();
        state.inodes.push(Inode::default());
        state.change(Change::Set(path.to_owned(), inode));
        Ok(Box::new(Handle { files: self.clone(), inode }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock_state();
        let inode = *state.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        // One step of the journal: both or neither.
        let mut names = state.names.clone();
        names.remove(from);
        names.insert(to.to_owned(), inode);
        state.names = names;
        state.changes.extend([Change::Set(to.to_owned(), inode), Change::Remove(from.to_owned())]);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock_state();
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change(Change::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        let mut state = self.lock_state();
        state.syncs += 1;
        if strikes(&mut state.faults.dir_syncs) {
            return Err(io_error());
        }
        state.changes.clear();
        state.durable_names = state.names.clone();
        Ok(())
    }

    fn space(&self, _: &Path) -> io::Result<Space> {
        let state = self.lock_state();
        let total = state.faults.room.unwrap_or(1 << 40);
        Ok(Space { total: total as u64, free: total.saturating_sub(state.used()) as u64 })
    }
}

struct Locked(FaultyFiles, PathBuf);

impl Drop for Locked {
    fn drop(&mut self) {
        self.0.lock_state().locked.retain(|locked| *locked != self.1);
    }
}

struct Handle {
    files: FaultyFiles,
    inode: usize,
}

impl OpenFile for Handle {
    fn length(&self) -> io::Result<u64> {
        Ok(self.files.lock_state().inodes[self.inode].bytes.len() as u64)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.files.lock_state();
        if strikes(&mut state.faults.reads) {
            return Err(io_error());
        }
        let file = &state.inodes[self.inode].bytes;
        let from = file.len().min(offset as usize);
        let read = bytes.len().min(file.len() - from);
        bytes[..read].copy_from_slice(&file[from..from + read]);
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut state = self.files.lock_state();
        let failed = strikes(&mut state.faults.writes);
        let part = if failed { state.below(bytes.len() + 1) } else { bytes.len() };
        let (room, used) = (state.faults.room.unwrap_or(usize::MAX), state.used());
        let length = state.inodes[self.inode].bytes.len();
        // Over what is there already a write needs no room.
        let fits = room.saturating_sub(used).saturating_add(length.saturating_sub(offset as usize));
        let taken = part.min(fits).min(state.faults.short.unwrap_or(usize::MAX));
        let inode = &mut state.inodes[self.inode];
        put(&mut inode.bytes, offset as usize, &bytes[..taken]);
        inode.pending.push(Pending::Write(offset as usize, bytes[..taken].to_vec()));
        match taken {
            _ if failed => Err(io_error()),
            0 if !bytes.is_empty() => Err(io::ErrorKind::StorageFull.into()),
            taken => Ok(taken),
        }
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        let mut state = self.files.lock_state();
        let inode = &mut state.inodes[self.inode];
        inode.bytes.truncate(length as usize);
        inode.pending.push(Pending::Cut(length as usize));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.files.lock_state();
        state.syncs += 1;
        if strikes(&mut state.faults.syncs) {
            state.mix(self.inode);
            return Err(io_error());
        }
        let inode = &mut state.inodes[self.inode];
        // Not a copy of what reads see: of what an earlier sync lost nothing comes back.
        for step in std::mem::take(&mut inode.pending) {
            match step {
                Pending::Write(offset, bytes) => put(&mut inode.durable, offset, &bytes),
                Pending::Cut(length) => inode.durable.truncate(length),
            }
        }
        Ok(())
    }
}
