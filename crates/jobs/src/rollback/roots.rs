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
/// A message for people.
pub fn pin(trial: &Trial) -> Result<(), String> {
    let Some(folder) = folder(&trial.profile) else {
        return Err(format!("{} is no profile of nix", trial.profile.display()));
    };
    let made = fs::create_dir_all(&folder)
        .and_then(|()| clear(&folder))
        .and_then(|()| symlink(&trial.previous, folder.join("previous")))
        .and_then(|()| symlink(&trial.new, folder.join("new")));
    made.map_err(|err| format!("cannot make roots of nix in {}: {err}", folder.display()))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollback::examples;

    #[test]
    fn both_systems_are_kept_until_the_end_of_the_trial() {
        let state = tempfile::tempdir().unwrap();
        let mut trial = Trial { profile: state.path().join("profiles/system"), ..examples::trial(0) };
        let root = |name: &str| fs::read_link(state.path().join("gcroots/nixfleet-agent").join(name)).ok();
        pin(&trial).unwrap();
        trial.new = "/newer".into();
        pin(&trial).unwrap();
        assert_eq!([root("previous"), root("new")], [Some("/previous".into()), Some("/newer".into())]);
        unpin(&trial);
        assert_eq!([root("previous"), root("new")], [None, None]);
    }

    #[test]
    fn roots_that_cannot_be_made_are_told_with_their_folder() {
        let state = tempfile::tempdir().unwrap();
        fs::write(state.path().join("gcroots"), "").unwrap();
        let trial = Trial { profile: state.path().join("profiles/system"), ..examples::trial(0) };
        let folder = state.path().join("gcroots/nixfleet-agent");
        assert!(pin(&trial).unwrap_err().contains(&folder.display().to_string()));
    }
}
