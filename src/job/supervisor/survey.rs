//! What a plan depends on: the repository as it is now.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::command::{RepoState, Survey};
use crate::config::Host;

/// Looks at the repository.
pub(super) fn survey(host: &Host) -> Survey {
    let Some(dir) = &host.repo.dir else { return Survey::default() };
    let repo = if dir.join(".git").exists() {
        RepoState::Git
    } else if fs::read_dir(dir).is_ok_and(|mut items| items.next().is_some()) {
        RepoState::Foreign
    } else {
        RepoState::Missing
    };
    let mut test_scripts: Vec<PathBuf> = fs::read_dir(dir.join("hosts").join(&host.hostname).join("tests"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|item| item.path())
        .filter(|path| is_test_script(path))
        .collect();
    test_scripts.sort();
    Survey { repo, test_scripts }
}

fn is_test_script(path: &Path) -> bool {
    let named = path.file_name().and_then(|name| name.to_str());
    let executable =
        fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0);
    named.is_some_and(|name| name.starts_with('T') && name.ends_with(".sh")) && executable
}
