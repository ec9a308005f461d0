//! A disk of a few megabytes, in memory, that can be filled to its last byte. Only who may mount has one.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// So much that a run's journal has room.
const SIZE: &str = "size=32m";
const BLOCK_BYTES: usize = 4096;

/// Mounted as long as it lives.
pub(super) struct SmallDisk(PathBuf);

impl SmallDisk {
    pub(super) fn mount(path: &Path) -> SmallDisk {
        std::fs::create_dir_all(path).expect("a folder can be made");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", SIZE, "tmpfs"]).arg(path).status();
        assert!(mounted.is_ok_and(|status| status.success()), "a full disk needs the right to mount");
        SmallDisk(path.to_owned())
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    pub(super) fn fill(&self) {
        let mut file = File::create(self.filler()).expect("an empty file takes no room");
        while file.write_all(&[7; BLOCK_BYTES]).is_ok() {}
    }

    pub(super) fn free(&self) {
        std::fs::remove_file(self.filler()).expect("it was filled");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
