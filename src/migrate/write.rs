//! Writes the settings file, which must not exist yet.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Mode of the file: no secret is in it, and the agent's user has to read it.
const MODE: u32 = 0o644;

/// Mode of a file with a password in the repository's address. Its group has to be set by hand.
const SECRET_MODE: u32 = 0o640;

/// Writes a new file as a whole: a reader sees all of it or no file, also after a power cut. Missing folders are
/// made.
///
/// # Errors
/// The file exists, is a link, or cannot be written; with what to do.
pub fn write(path: &Path, text: &str, secret: bool) -> Result<(), String> {
    let shown = path.display();
    match fs::symlink_metadata(path) {
        Ok(file) if file.is_symlink() => {
            return Err(format!(
                "{shown} is a link, so something else writes it; on NixOS put the options of --nixos into the \
                 configuration"
            ));
        }
        Ok(_) => return Err(exists(path)),
        Err(_) => {}
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(|err| match err.kind() {
        io::ErrorKind::PermissionDenied => {
            format!("this user may not make the folder {}: run it as root", folder.display())
        }
        _ => format!("cannot make the folder {}: {err}", folder.display()),
    })?;
    write_new(folder, path, text, if secret { SECRET_MODE } else { MODE }).map_err(|err| match err.kind() {
        io::ErrorKind::AlreadyExists => exists(path),
        io::ErrorKind::PermissionDenied => format!("this user may not write {shown}: run it as root"),
        _ => format!("cannot write {shown}: {err}"),
    })
}

fn exists(path: &Path) -> String {
    format!(
        "{} exists and is left as it is; remove it first, or name another file with --config",
        path.display()
    )
}

fn write_new(folder: &Path, path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let temporary = path.with_extension(format!("migrate-{}", std::process::id()));
    let written = write_synced(&temporary, text, mode)
        // A link fails if the file exists by now, and a rename would replace it.
        .and_then(|()| fs::hard_link(&temporary, path));
    drop(fs::remove_file(&temporary));
    written?;
    #[allow(clippy::disallowed_methods, reason = "a folder, which opens at once")]
    File::open(folder)?.sync_all()
}

fn write_synced(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    // The umask does not decide who can read it.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
