//! The commit that a program was built from. It is a file of the package and not part of the program, or every commit
//! would compile everything again.

use std::path::Path;

use crate::bounded_read;

/// That file, in the folder that has `bin`.
const FILE: &str = "share/nixfleet-agent/source-commit";

/// Longest file read, in bytes.
const MAX_COMMIT: u64 = 1024;

/// What the file has where the package was not built from a commit.
const UNKNOWN: &str = "unknown";

/// The commit that a program was built from; none outside a package, and where its file has no text without blanks.
pub fn build_commit(program: &Path) -> Option<String> {
    let path = program.parent()?.parent()?.join(FILE);
    let text = String::from_utf8(bounded_read::read(&path, MAX_COMMIT).ok()?).ok()?;
    let commit = text.trim();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (!commit.is_empty() && commit.bytes().all(plain)).then(|| commit.to_owned())
}

/// The version of the running program as one line: with the commit it was built from, if that is known.
pub fn long_version(version: &str) -> String {
    let program = std::env::current_exe().ok();
    let commit = program.and_then(|program| build_commit(&program)).filter(|commit| commit != UNKNOWN);
    commit.map_or_else(|| version.to_owned(), |commit| format!("{version} (commit {commit})"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_commit_comes_from_the_package() {
        let folder = tempfile::tempdir().unwrap();
        let share = folder.path().join("share/nixfleet-agent");
        fs::create_dir_all(&share).unwrap();
        let found = || build_commit(&folder.path().join("bin/nixfleet-agent"));
        assert_eq!(found(), None);
        for (text, wanted) in [
            ("1d91f2b4c0ffee\n", Some("1d91f2b4c0ffee")),
            ("1d91f2b-dirty", Some("1d91f2b-dirty")),
            ("\n", None),
            ("two words", None),
        ] {
            fs::write(share.join("source-commit"), text).unwrap();
            assert_eq!(found().as_deref(), wanted, "{text:?}");
        }
    }
}
