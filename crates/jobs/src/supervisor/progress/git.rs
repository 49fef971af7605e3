//! What git says while it runs: how far a transfer is, that a name cannot be resolved, that its objects are damaged.
//!
//! git rewrites a line of its progress with `\r`, because it is asked for progress although nobody looks at a
//! terminal. Such lines become the detail of the part, and are not in the log: without that question git would not
//! have written them.

#[cfg(test)]
mod tests;

/// Longest title of a line of progress, in bytes. git's longest one has 25.
const MAX_TITLE: usize = 40;

/// Longest quotation of git's words, in characters: a path of an object, and the sentence around it.
const QUOTED: usize = 200;

/// Titles of progress that may be without a percentage, because the total is not known.
const COUNTS: &[&str] = &["Enumerating objects", "Counting objects", "Receiving objects"];

/// What git says of objects that a power failure emptied or tore. Each of these texts names an object, a pack or an
/// index of objects.
const DAMAGE: &[&str] = &[
    "object file ",
    "loose object ",
    "object corrupt or missing",
    "bad object ",
    "bad tree object",
    "unable to read tree",
    "unable to read sha1 file",
    "unable to mmap ",
    "invalid sha1 pointer",
    "Could not parse object",
    "Failed to traverse parents",
    "far too short to be a packfile",
    "packfile ",
    "is not a GIT packfile",
    "pack has bad object",
    "index file ",
    "missing blob ",
    "missing tree ",
    "missing commit ",
    "inflate: data stream error",
];

/// Texts of programs below git that cannot resolve a name, and what stands behind the name.
const UNRESOLVED: &[(&str, &[char])] = &[
    // curl.
    ("Could not resolve host: ", &[]),
    ("Could not resolve proxy: ", &[]),
    // ssh.
    ("Could not resolve hostname ", &[':']),
    // git itself, for git://.
    ("unable to look up ", &[' ']),
];

/// The words of one program of git.
#[derive(Debug, Default)]
pub(super) struct GitWords {
    /// How far it is, such as `receiving objects 45%, 1.20 MiB at 2.00 MiB/s`; may be empty.
    pub(super) detail: String,
    /// A name that could not be resolved.
    pub(super) unresolved: Option<String>,
    /// Its first words about damage.
    pub(super) damage: Option<String>,
}

impl GitWords {
    /// Reads a line, or the state of one that is rewritten. Returns whether it is progress.
    pub(super) fn read(&mut self, line: &str) -> bool {
        if let Some(detail) = progress(line) {
            self.detail = detail;
            return true;
        }
        // The server counts what it sends, and its sum would not be here without the question for progress.
        if line
            .strip_prefix("remote: Total ")
            .is_some_and(|sum| sum.starts_with(|digit: char| digit.is_ascii_digit()))
        {
            return true;
        }
        // The words of a server are about its own objects.
        let text = line.trim();
        if text.starts_with("remote:") {
            return false;
        }
        if self.unresolved.is_none() {
            self.unresolved = unresolved(text);
        }
        if self.damage.is_none() && is_damage(text) {
            self.damage = Some(text.chars().take(QUOTED).collect());
        }
        false
    }
}

/// Whether git says that objects are damaged. A disk that cannot be read is not: it may be read later.
fn is_damage(text: &str) -> bool {
    let says = text.starts_with("error: ") || text.starts_with("fatal: ") || text.starts_with("missing ");
    says && DAMAGE.iter().any(|part| text.contains(part))
        && !["Input/output error", "Permission denied", "Too many open files", "Cannot allocate memory"]
            .iter()
            .any(|passing| text.contains(passing))
}

/// The name that a line says cannot be resolved.
fn unresolved(text: &str) -> Option<String> {
    UNRESOLVED.iter().find_map(|(before, ends)| {
        let (_, rest) = text.split_once(before)?;
        let name = rest.split(|letter: char| letter.is_whitespace() || ends.contains(&letter)).next()?;
        (!name.is_empty()).then(|| name.chars().take(QUOTED).collect())
    })
}

/// The detail of a line such as `Receiving objects:  45% (450/1000), 1.20 MiB | 2.00 MiB/s`. None of another line.
fn progress(line: &str) -> Option<String> {
    let (of_server, text) = match line.strip_prefix("remote: ") {
        Some(text) => ("server: ", text),
        None => ("", line),
    };
    // In front of the end, git overwrites a longer line by spaces, or by an escape sequence.
    let text = text.split('\u{1b}').next()?.trim_end();
    let (title, rest) = text.split_once(": ")?;
    let is_title = title.len() <= MAX_TITLE && title.starts_with(|letter: char| letter.is_ascii_uppercase());
    if !is_title || !title.chars().all(|letter| letter.is_ascii_alphabetic() || letter == ' ') {
        return None;
    }
    let rest = rest.trim_start();
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = rest.split_at_checked(digits)?;
    let (count, transferred) = if let Some(rest) = rest.strip_prefix("% (") {
        let (parts, rest) = rest.split_once(')')?;
        let (done, all) = parts.split_once('/')?;
        let is_count = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let percent: u32 = number.parse().ok().filter(|percent| *percent <= 100)?;
        (is_count(done) && is_count(all)).then(|| (format!("{percent}%"), rest))?
    } else {
        // Without a number it is a sentence.
        COUNTS.contains(&title).then_some(())?;
        (number.parse::<u64>().ok()?.to_string(), rest)
    };
    let transferred = transferred.strip_suffix(", done.").unwrap_or(transferred);
    let is_amount = |letter: char| letter.is_ascii_alphanumeric() || ", ./|".contains(letter);
    let is_rest = transferred.starts_with(", ") && transferred.chars().all(is_amount);
    if !transferred.is_empty() && !is_rest {
        return None;
    }
    let transferred = transferred.replace(" | ", " at ");
    let transferred: String = transferred.chars().take(QUOTED).collect();
    Some(format!("{of_server}{} {count}{transferred}", title.to_ascii_lowercase()))
}
