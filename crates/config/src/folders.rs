//! Checks the folders and the key that the settings name, as far as they exist. The settings may be checked on the
//! machine that builds them, so a path that does not exist is no problem.

use std::io;
use std::path::Path;

use crate::Host;
use crate::check::{Checker, set};
use crate::problem::one_line;

/// Checks all folders, and the files with secrets.
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
    // ssh and nix would wait for ever for what is in a FIFO.
    for (key, path, fix) in [
        ("repo.ssh_key", &host.repo.ssh_key, "name the file of a private key"),
        ("rebuild.netrc_file", &host.rebuild.netrc_file, "name a file with logins"),
        ("rebuild.access_tokens_file", &host.rebuild.access_tokens_file, "name a file with settings of nix"),
    ] {
        if let Some(path) = path
            && path.metadata().is_ok_and(|file| !file.is_file())
        {
            let is = if path.is_dir() { "is a folder, not a file" } else { "is not a regular file" };
            check.refuse(key, format!("{} {is}", one_line(&path.to_string_lossy())), fix);
        }
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
