//! Quotations of what a program wrote, as one line of bounded length.

use nixfleet_os::text::{one_line, shorten};

/// Longest quotation of one line, in characters.
pub(super) const QUOTED: usize = 300;

/// Longest reason of several lines, in characters: a refusal with its list, in which each line is a sentence.
pub(super) const REASON: usize = 600;

/// Characters of the end of a line that is cut in the middle: how a command ended.
const END: usize = 60;

/// Bytes of a line that are kept for a quotation: its characters may have four bytes each.
const KEPT: usize = 4 * QUOTED;

/// Keeps the beginning of a line, which is quoted only if it turns out to be a reason. Most lines do not.
pub(super) fn keep(slot: &mut String, line: &str) {
    let mut end = KEPT.min(line.len());
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    slot.clear();
    slot.push_str(line.get(..end).unwrap_or_default());
}

/// The line as a quotation.
pub(super) fn quoted(line: &str) -> String {
    one_line(line, QUOTED)
}

/// A line that names a long command and ends with what happened to it.
pub(super) fn quoted_with_end(line: &str) -> String {
    let line = one_line(line, line.len());
    let count = line.chars().count();
    if count <= QUOTED {
        return line;
    }
    let head: String = line.chars().take(QUOTED - END - 3).collect();
    let end: String = line.chars().skip(count - END).collect();
    format!("{head} … {end}")
}

/// Appends a line that goes on with the text.
pub(super) fn append(text: &mut String, line: &str) {
    add(text, " ", line);
}

/// Appends a sentence.
pub(super) fn join(text: &mut String, sentence: &str) {
    let complete = text.is_empty() || text.ends_with(['.', ':', ';', '!', '?']);
    add(text, if complete { " " } else { "; " }, sentence);
}

fn add(text: &mut String, between: &str, line: &str) {
    if line.is_empty() {
        return;
    }
    if !text.is_empty() {
        text.push_str(between);
    }
    text.push_str(&quoted(line));
    shorten(text, REASON);
}
