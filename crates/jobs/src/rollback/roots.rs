//! Roots that keep both systems of a trial from being removed as garbage.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::Trial;

/// The folder of our roots: `/nix/var/nix/gcroots/nixfleet-agent` for the profile `/nix/var/nix/profiles/system`.
fn folder(profile: &Path) -> Option<PathBuf> {
    Some(profile.parent()?.parent()?.join("gcroots/nixfleet-agent"))
}

/// Keeps both systems. What an earlier trial left is removed: one trial runs at a time.
///
/// # Errors
/// An error of the file system.
pub fn pin(trial: &Trial) -> io::Result<()> {
    let folder = folder(&trial.profile).ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(&folder)?;
    clear(&folder)?;
    symlink(&trial.previous, folder.join("previous"))?;
    symlink(&trial.new, folder.join("new"))
}

/// Lets both systems go. What cannot be removed is removed by the next [`pin`].
pub fn unpin(trial: &Trial) {
    if let Some(folder) = folder(&trial.profile) {
        drop(clear(&folder));
    }
}

fn clear(folder: &Path) -> io::Result<()> {
    for name in ["previous", "new"] {
        match fs::remove_file(folder.join(name)) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
            _ => {}
        }
    }
    Ok(())
}
