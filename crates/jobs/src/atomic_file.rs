//! Small JSON files that are replaced as a whole.

use std::io::{self, Write};
use std::path::Path;

use nixfleet_os::Disk;
use nixfleet_os::disk::Open;
use nixfleet_os::planted;

use crate::damage;
use crate::format::{self, Format};

/// Replaces a file as a whole: temporary file, fsync, rename, fsync of the folder. The file gets the
/// `version` of its [`Format`].
///
/// A reader sees the old content or the new content, also after a power cut.
///
/// # Errors
/// An error of the file system or of the serializer. The old content is then unchanged; or the new content is there, and
/// after a power cut it may be the old one again, because the folder could not be synced.
pub fn store<T: Format>(path: &Path, value: &T) -> io::Result<()> {
    store_on(&Disk::real(), path, value)
}

/// [`store`] on that disk.
///
/// # Errors
/// As for [`store`].
pub fn store_on<T: Format>(disk: &Disk, path: &Path, value: &T) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let temporary = path.with_extension("tmp");
    let written = write_synced(disk, &temporary, value).and_then(|()| disk.rename(&temporary, path));
    if written.is_err() {
        // A half-written temporary file is useless and may occupy the last block of the disk.
        drop(disk.remove(&temporary));
        return written;
    }
    if planted!("no-sync-of-the-folder") { Ok(()) } else { disk.sync_folder(folder) }
}

fn write_synced<T: Format>(disk: &Disk, path: &Path, value: &T) -> io::Result<()> {
    let mut file = match disk.open(path, Open::Truncate) {
        Ok(file) => file,
        Err(err) if damage::is_damage(&err) => {
            // Something else has the name of the temporary file. Only this code uses that name.
            disk.remove(path).or_else(|_| disk.remove_folder(path))?;
            disk.open(path, Open::Truncate)?
        }
        Err(err) => return Err(err),
    };
    file.write_all(&format::to_vec(value)?)?;
    if planted!("no-sync") { Ok(()) } else { file.sync_all() }
}

/// Reads a file written by [`store`], of any version; `None` when it does not exist.
///
/// # Errors
/// An error of the file system, or damage (see [`crate::damage`]): text that is not such a value, or no regular file.
pub fn load<T: Format>(path: &Path) -> io::Result<Option<T>> {
    load_on(&Disk::real(), path)
}

/// [`load`] from that disk.
///
/// # Errors
/// As for [`load`].
pub fn load_on<T: Format>(disk: &Disk, path: &Path) -> io::Result<Option<T>> {
    let bytes = match disk.read(path, T::MAX_BYTES) {
        Ok(bytes) => bytes,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(err) => return Err(err),
    };
    // The kind of an error of the parser depends on where the text ends.
    let value = format::parse(path, &bytes);
    value.map(Some).map_err(|err| io::Error::new(io::ErrorKind::InvalidData, err))
}
