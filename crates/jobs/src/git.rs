//! HEAD of a checkout, read from git's files (gitrepository-layout(5)).
//!
//! The files are read instead of running git, because git takes milliseconds, must be on PATH, and refuses
//! folders of other users.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use nixfleet_os::bounded_read;
use serde::Deserializer;

use crate::format;

/// Longest HEAD, `.git` file or ref read, in bytes. They hold one line with a path or a hash.
const MAX_SMALL: u64 = 8 * 1024;

/// Longest part of packed-refs read, in bytes. The largest repositories have some hundred thousand refs of a
/// hundred bytes each.
const MAX_PACKED: u64 = 64 * 1024 * 1024;

/// Longest line of packed-refs, in bytes. No file system allows the name of a ref to be that long.
const MAX_LINE: u64 = 8 * 1024;

/// Longest chain of refs that name another ref. git itself stops at five.
const MAX_HOPS: usize = 5;

/// Number of digits of a commit that are shown: seven, as git does by default.
pub const SHORT_LENGTH: usize = 7;

/// The first [`SHORT_LENGTH`] digits of a hash; `None` if the text is not a hash.
pub fn short(commit: &str) -> Option<String> {
    let digits = commit.get(..SHORT_LENGTH)?;
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| digits.to_ascii_lowercase())
}

/// For `deserialize_with`: a commit from a file. Anything but up to 64 hex digits counts as absent, so that no reader
/// has to expect other text.
pub(crate) fn commit_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text: Option<String> = format::or_default(deserializer)?;
    let is_hash =
        |text: &String| (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    Ok(text.filter(is_hash))
}

/// The commit that is checked out in `repo`, as 40 (SHA-1) or 64 (SHA-256) hex digits. Linked worktrees,
/// detached HEADs, loose refs and packed refs are supported. `None` for anything else: no repository, no
/// commit yet, unreadable files, or the `reftable` format.
pub fn head_commit(repo: &Path) -> Option<String> {
    let folder = git_folder(repo)?;
    // A linked worktree has a HEAD of its own and shares everything else.
    let common = match small(&folder.join("commondir")) {
        Some(path) => folder.join(path),
        None => folder.clone(),
    };
    let mut content = small(&folder.join("HEAD"))?;
    for _ in 0..MAX_HOPS {
        let Some(name) = content.strip_prefix("ref:").map(str::trim) else { return hash(&content) };
        if !is_ref(name) {
            return None;
        }
        content = match small(&folder.join(name)).or_else(|| small(&common.join(name))) {
            Some(content) => content,
            None => return packed(&common.join("packed-refs"), name),
        };
    }
    None
}

/// Folder of the repository itself: `.git`, or the folder that a file of that name points to.
fn git_folder(repo: &Path) -> Option<PathBuf> {
    let dot_git = repo.join(".git");
    if dot_git.is_dir() {
        return Some(dot_git);
    }
    Some(repo.join(small(&dot_git)?.strip_prefix("gitdir:")?.trim_start()))
}

/// Content of a file of one line, without the line end.
fn small(path: &Path) -> Option<String> {
    let text = String::from_utf8(bounded_read::read(path, MAX_SMALL).ok()?).ok()?;
    Some(text.trim_end().to_owned())
}

/// Whether the name of a ref stays inside the repository.
fn is_ref(name: &str) -> bool {
    name.starts_with("refs/")
        && !name.contains('\0')
        && name.split('/').all(|part| !part.is_empty() && part != "..")
}

fn hash(text: &str) -> Option<String> {
    let is_hash = matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then(|| text.to_ascii_lowercase())
}

/// Looks up a ref in packed-refs. Its lines have a hash, a space and a name; other lines are comments.
fn packed(path: &Path, name: &str) -> Option<String> {
    let mut file = BufReader::new(bounded_read::open(path).ok()?.take(MAX_PACKED));
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = file.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).ok()?;
        if length == 0 || length as u64 == MAX_LINE {
            return None;
        }
        let Some((digits, rest)) = std::str::from_utf8(&line).ok().and_then(|line| line.split_once(' '))
        else {
            continue;
        };
        if rest.trim_end_matches(['\n', '\r']) == name {
            return hash(digits);
        }
    }
}

#[cfg(test)]
mod tests;
