//! Writes the files of the demo.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// Writes a file, and makes its folder.
pub(super) fn write(path: &Path, text: &str) -> Result<(), String> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|err| format!("cannot make {}: {err}", folder.display()))?;
    }
    fs::write(path, text).map_err(|err| format!("cannot write {}: {err}", path.display()))
}

/// Replaces a file as a whole, because somebody may be reading it.
pub(super) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, text)?;
    fs::rename(new, path)
}

/// Makes a link at `path`.
pub(super) fn link(path: &Path, target: impl AsRef<Path>) -> Result<(), String> {
    symlink(target, path).map_err(|err| format!("cannot make the link {}: {err}", path.display()))
}

pub(super) fn set_mode(path: &Path, mode: u32) -> Result<(), String> {
    fs::set_permissions(path, Permissions::from_mode(mode))
        .map_err(|err| format!("cannot change the permissions of {}: {err}", path.display()))
}
