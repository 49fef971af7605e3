//! Checks the folders and the key that the settings name, as far as they exist. The settings may be checked on the
//! machine that builds them, so a path that does not exist is no problem.

use std::io;
use std::path::Path;

use crate::Host;
use crate::check::{Checker, set};
use crate::problem::one_line;

/// Checks all folders, and the SSH key.
pub(super) fn folders(check: &mut Checker<'_>, host: &Host) {
    let settings = &check.layers.settings;
    folder(check, "state_dir", &host.state_dir);
    // By default these two are in the state folder.
    if set(settings.jobs.dir.as_ref()).is_some() {
        folder(check, "jobs.dir", &host.jobs.dir);
    }
    if set(settings.repo.dir.as_ref()).is_some()
        && let Some(dir) = &host.repo.dir
    {
        folder(check, "repo.dir", dir);
    }
    // ssh would wait for ever for the key in a FIFO.
    if let Some(key) = &host.repo.ssh_key
        && key.metadata().is_ok_and(|file| !file.is_file())
    {
        let what = format!("{} is not a regular file", one_line(&key.to_string_lossy()));
        check.refuse("repo.ssh_key", what, "name the file of a private key");
    }
}

fn folder(check: &mut Checker<'_>, key: &str, path: &Path) {
    let shown = one_line(&path.to_string_lossy());
    match path.metadata() {
        Ok(found) if !found.is_dir() => {
            check.refuse(
                key,
                format!("{shown} is not a folder"),
                "name a folder, or a place where one can be made",
            );
        }
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            let what = format!("{shown} cannot be a folder, because a part of its path is a file");
            check.refuse(key, what, "name a folder, or a place where one can be made");
        }
        _ => {}
    }
}
