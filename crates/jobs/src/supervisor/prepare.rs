//! Preparing files and folders before the first program of a plan runs.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nixfleet_os::disk::PRIVATE;

use super::plan::Plan;
use crate::journal::Writer;
use crate::{JobId, Settings};

/// Prepares the folders for the programs of the plan. Every change to existing files is written to the log.
///
/// # Errors
/// A message for people. Earlier changes are kept, because the next job needs them too.
pub(super) fn prepare(plan: &Plan, settings: &Settings, id: &JobId, log: &mut Writer) -> Result<(), String> {
    for text in &plan.remarks {
        log.remark(text);
    }
    if let Some(dir) = &plan.set_aside {
        set_aside(dir, &format!("{} is no repository", dir.display()), id, log)?;
    }
    for file in &plan.leftovers {
        let text = match fs::remove_file(file) {
            Ok(()) => format!("removed {}, which a git that was cut short left behind", file.display()),
            // git will report the consequence.
            Err(err) => format!("cannot remove {}: {err}", file.display()),
        };
        log.remark(&text);
    }
    if settings.repo.ssh_key.is_some() {
        // Without this folder ssh cannot save host keys, and would accept any key each time.
        let made = DirBuilder::new().recursive(true).mode(0o755).create(&settings.state_dir);
        made.map_err(|err| format!("cannot make the folder {}: {err}", settings.state_dir.display()))?;
    }
    let Some(dir) = &plan.private_dir else { return Ok(()) };
    let made = DirBuilder::new().recursive(true).mode(PRIVATE).create(dir);
    made.and_then(|()| fs::set_permissions(dir, fs::Permissions::from_mode(PRIVATE)))
        .map_err(|err| format!("cannot make the private folder {}: {err}", dir.display()))
}

/// Renames a folder instead of removing it, so that nothing in it is lost. `what` is what git says of it.
///
/// # Errors
/// A message for people. The folder is where it was.
pub(super) fn set_aside(dir: &Path, what: &str, id: &JobId, log: &mut Writer) -> Result<(), String> {
    let mut aside = dir.as_os_str().to_owned();
    aside.push(format!(".corrupt-{id}"));
    let aside = PathBuf::from(aside);
    let moved = match fs::symlink_metadata(&aside) {
        Ok(_) => Err(io::Error::from(io::ErrorKind::AlreadyExists)),
        Err(_) => fs::rename(dir, &aside),
    };
    moved.map_err(|err| {
        format!(
            "git says that {what}, and it cannot be moved to {}: {err}; move it away by hand",
            aside.display()
        )
    })?;
    log.remark(&format!(
        "git says that {what}: it now is {}, which may be removed; cloning anew",
        aside.display()
    ));
    Ok(())
}
