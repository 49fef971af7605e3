//! Lines that say that a file system has no room.

use nixfleet_os::text::one_line;

/// Longest line that is kept, in characters.
const MAX_LINE: usize = 300;

/// Texts of the errors ENOSPC and EDQUOT, and of SQLite, in which nix keeps its database.
const TEXTS: &[&str] = &["No space left on device", "database or disk is full", "Disk quota exceeded"];

/// The kernel has the same error for other limits than the room of a file system: watches of files, namespaces of a
/// user, semaphores and shared memory. A warning did not end the program.
const OTHERS: &[&str] = &[
    "cloning builder process",
    "inotify",
    "add a watch",
    "add watch",
    "unshare",
    "user namespace",
    "semget",
    "shmget",
    "(ignored)",
    "warning:",
];

/// A file system without room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::supervisor) struct NoRoom {
    /// The line that says so.
    pub(in crate::supervisor) line: String,
    /// The file or folder that could not be written; None if the line does not name it.
    pub(in crate::supervisor) path: Option<String>,
}

/// What the line says about a file system of this host without room. Lines of a build do not come here: a build may run
/// on another machine, and sees other paths.
pub(in crate::supervisor) fn no_room(text: &str) -> Option<NoRoom> {
    let says = TEXTS.iter().any(|part| text.contains(part));
    let other = || OTHERS.iter().any(|part| text.contains(part)) || text.contains("://");
    (says && !other()).then(|| NoRoom { line: one_line(text, MAX_LINE), path: path(text) })
}

/// The last absolute path of a line: what is copied comes before the place that it is copied to.
fn path(text: &str) -> Option<String> {
    let is_mark = |letter: char| letter.is_whitespace() || "'\"`‘’“”,;()<>".contains(letter);
    let mut words = text.split(is_mark).map(|word| word.trim_end_matches([':', '.']));
    words.rfind(|word| word.len() > 1 && word.starts_with('/')).map(|path| one_line(path, MAX_LINE))
}

/// Whether the line is one of a build: behind the name of the derivation, or in the end of its log.
pub(super) fn is_of_a_build(text: &str) -> bool {
    let name = |text: &str| {
        !text.is_empty()
            && text.chars().all(|letter| letter.is_ascii_alphanumeric() || "+-._?=".contains(letter))
    };
    text.starts_with("> ") || text.split_once("> ").is_some_and(|(before, _)| name(before))
}
