//! Parts of sentences.

use std::path::Path;

/// Most names in a sentence. The result of the job has all of them.
const MAX_SHOWN: usize = 6;

/// Most units in a command to type.
const MAX_TYPED: usize = 3;

/// Longest quotation of a check, in characters.
const MAX_QUOTED: usize = 300;

/// Length of the hash in the name of a store path.
const HASH: usize = 32;

/// Length of the part of it that is shown: enough to tell two systems of one host apart.
const SHOWN_HASH: usize = 8;

/// `a, b and c`, or `a, b and 7 more`.
pub(super) fn names<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let all: Vec<&str> = names.into_iter().collect();
    let (shown, rest) = all.split_at(all.len().min(MAX_SHOWN));
    match (shown, rest.len()) {
        ([], _) => String::new(),
        ([one], 0) => (*one).to_owned(),
        ([first @ .., last], 0) => format!("{} and {last}", first.join(", ")),
        (shown, more) => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The command that shows why units failed.
pub(super) fn systemctl_status(units: &[String]) -> String {
    match units {
        [] => "see `systemctl --failed`".to_owned(),
        units if units.len() > MAX_TYPED => "see `systemctl --failed`".to_owned(),
        units => format!("see `systemctl status {}`", units.join(" ")),
    }
}

/// The name of a system for people: its store path without the folder, and with a part of its hash.
pub(super) fn system(path: &Path) -> String {
    let name = path.file_name().map_or_else(|| path.to_string_lossy(), |name| name.to_string_lossy());
    match name.split_at_checked(HASH) {
        Some((hash, rest)) if rest.starts_with('-') && hash.chars().all(|c| c.is_ascii_alphanumeric()) => {
            format!("{} ({})", rest.trim_start_matches('-'), hash.get(..SHOWN_HASH).unwrap_or(hash))
        }
        _ => name.into_owned(),
    }
}

/// What a check wrote, as one bounded text.
pub(super) fn quoted(lines: &[String]) -> String {
    nixfleet_os::text::one_line(&lines.join("; "), MAX_QUOTED)
}

/// Joins parts that are not empty.
pub(super) fn joined<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("; ")
}
