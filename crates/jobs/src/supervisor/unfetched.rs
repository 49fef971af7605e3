//! What a checkout needs beyond git's own objects, and does not get because a setting is off: submodules, and files in
//! Git LFS.

use std::fs;
use std::path::{Path, PathBuf};

use nixfleet_os::{bounded_read, short};

use crate::settings::Repo;

/// Files that are looked at. A configuration has some thousands; beyond this number nothing is claimed.
const MAX_FILES: usize = 20_000;

/// Longest pointer of Git LFS in bytes, by its specification.
const MAX_POINTER: u64 = 1024;

/// Longest path that is shown, in characters.
const MAX_SHOWN: usize = 200;

/// The first line of a pointer.
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/v1\n";

/// Remarks about what is missing in the checkout; empty if nothing is, or if the settings ask for it.
pub(super) fn remarks(repo: &Repo, dir: &Path) -> Vec<String> {
    let mut remarks = Vec::new();
    if !repo.submodules && fs::symlink_metadata(dir.join(".gitmodules")).is_ok_and(|file| file.is_file()) {
        remarks.push(
            "warning: the repository has submodules (.gitmodules), which are not fetched; set repo.submodules if \
             the configuration needs them"
                .to_owned(),
        );
    }
    if !repo.lfs
        && let Some(path) = pointer(dir)
    {
        let shown = path.strip_prefix(dir).unwrap_or(&path).display().to_string();
        remarks.push(format!(
            "warning: {} is a pointer of Git LFS, and its content is not fetched; set repo.lfs if the configuration \
             needs it",
            nixfleet_os::text::one_line(&shown, MAX_SHOWN)
        ));
    }
    remarks
}

/// The first pointer in a checkout, in the order of the names.
fn pointer(dir: &Path) -> Option<PathBuf> {
    let mut folders = vec![dir.to_owned()];
    let mut left = MAX_FILES;
    while let Some(folder) = folders.pop() {
        let mut items: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().take(left).collect();
        left -= items.len();
        short::sort_by(&mut items, |one, other| one.file_name().cmp(&other.file_name()));
        let mut below = Vec::new();
        for item in items {
            // The metadata are those of a link itself, not of its target.
            let Ok(meta) = item.metadata() else { continue };
            if meta.is_dir() && item.file_name() != ".git" {
                below.push(item.path());
            } else if meta.is_file()
                && (POINTER.len() as u64..=MAX_POINTER).contains(&meta.len())
                && bounded_read::read(&item.path(), MAX_POINTER).is_ok_and(|text| text.starts_with(POINTER))
            {
                return Some(item.path());
            }
        }
        folders.extend(below.into_iter().rev());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFF: Repo =
        Repo { url: None, dir: None, branch: String::new(), ssh_key: None, submodules: false, lfs: false };

    #[test]
    fn submodules_and_pointers_are_told_where_their_setting_is_off() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let texts = |repo: &Repo| remarks(repo, dir);
        fs::create_dir_all(dir.join("a/b")).unwrap();
        fs::create_dir_all(dir.join(".git/lfs")).unwrap();
        let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";
        fs::write(dir.join(".git/lfs/x"), pointer).unwrap();
        fs::write(dir.join("a/long"), pointer.repeat(20)).unwrap();
        fs::write(dir.join("a/text"), "see version https://git-lfs.github.com/spec/v1\n").unwrap();
        std::os::unix::fs::symlink(dir.join(".git/lfs/x"), dir.join("a/link")).unwrap();
        assert_eq!(texts(&OFF), Vec::<String>::new());
        fs::write(dir.join("a/b/wall.png"), pointer).unwrap();
        fs::write(dir.join(".gitmodules"), "").unwrap();
        let [submodules, lfs] = &texts(&OFF)[..] else { panic!("{:?}", texts(&OFF)) };
        assert!(submodules.contains(".gitmodules") && submodules.contains("repo.submodules"), "{submodules}");
        assert!(lfs.contains("a/b/wall.png is a pointer") && lfs.contains("repo.lfs"), "{lfs}");
        assert_eq!(texts(&Repo { lfs: true, submodules: true, ..OFF }), Vec::<String>::new());
    }
}
