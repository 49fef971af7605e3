//! A small file system for the state folder, which can be full.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Size of the file system: room for the logs of a schedule, and quick to fill.
const SIZE: &str = "8m";

/// Bytes of one write of the filler.
const PIECE: usize = 4096;

/// A mounted file system.
#[derive(Debug)]
pub(crate) struct Disk {
    folder: PathBuf,
    mounted: bool,
}

impl Disk {
    /// None if mounting is not permitted.
    pub(crate) fn mount(folder: &Path) -> Option<Self> {
        fs::create_dir_all(folder).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={SIZE}"), "tmpfs"]).arg(folder);
        let mounted = mount.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
        mounted.then(|| Self { folder: folder.to_owned(), mounted })
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }

    /// Takes all that is free, to the last byte.
    pub(crate) fn fill(&self) {
        let mut file = File::create(self.filler()).unwrap();
        while file.write_all(&[0; PIECE]).is_ok() {}
    }

    pub(crate) fn free(&self) {
        drop(fs::remove_file(self.filler()));
    }

    /// Copies what is on it into the folder below it, for people, and unmounts it.
    pub(crate) fn leave(&mut self, keep: bool) {
        if !std::mem::take(&mut self.mounted) {
            return;
        }
        let copy = self.folder.with_extension("copy");
        if keep {
            drop(Command::new("cp").arg("-a").arg(&self.folder).arg(&copy).status());
        }
        drop(Command::new("umount").arg("-l").arg(&self.folder).status());
        if keep && fs::remove_dir(&self.folder).is_ok() {
            drop(fs::rename(&copy, &self.folder));
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.leave(false);
    }
}
