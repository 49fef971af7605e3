//! Small files of JSON that are replaced as a whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use serde::{Serialize, de::DeserializeOwned};

/// Replaces a file as a whole: temporary file, fsync, rename, fsync of the folder.
///
/// A reader sees the old content or the new, also after a power cut.
///
/// # Errors
/// Of the file system; the old content then still stands.
pub fn store<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let temporary = path.with_extension("tmp");
    let written = write_synced(&temporary, value).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // A half-written temporary file is of no use and may hold the disk's last block.
        drop(fs::remove_file(&temporary));
        return written;
    }
    File::open(folder)?.sync_all()
}

fn write_synced<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    file.sync_all()
}

/// Reads a file written by [`store`]; `None` when it is not there.
///
/// # Errors
/// Of the file system, or `InvalidData` for text that is not such a value.
pub fn load<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(err),
    }
}
