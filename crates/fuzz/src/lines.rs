//! Bytes into lines.

use nixfleet_jobs::lines::{Lines, MAX_LINE_BYTES, Piece};

/// Longest input after its repetition, in bytes: two full pieces and a part.
const MAX_BYTES: usize = 2 * MAX_LINE_BYTES + 1024;

/// Two bytes that say how often the rest is repeated and how long the chunks are, and the rest. However the bytes are
/// cut into chunks, the lines are the same, none is longer than its bound, and they are those of a reader that has all
/// of it at once.
pub fn lines(data: &[u8]) {
    let [times, size, text @ ..] = data else { return };
    // To reach the longest line. Each repetition has another offset to the limit.
    let times = usize::from(*times) * usize::from(*times);
    let bytes: Vec<u8> = text.iter().copied().cycle().take(MAX_BYTES.min(text.len() * (times + 1))).collect();
    let whole = split([bytes.as_slice()]);
    let size = 1 + usize::from(*size) * 16;
    assert_eq!(split(bytes.chunks(size)), whole, "in chunks of {size}");
    let mut half = bytes.chunks(bytes.len().div_ceil(2).max(1));
    assert_eq!(split([half.next().unwrap_or_default(), half.next().unwrap_or_default()]), whole);
    let newlines = bytes.iter().filter(|byte| **byte == b'\n').count();
    let ended = whole.iter().filter(|(_, cont)| !cont).count();
    assert!((newlines..=newlines + 1).contains(&ended), "{ended} lines with {newlines} line ends");
    assert_eq!(joined(&whole), at_once(&bytes));
    for (text, cont) in &whole {
        // Each byte that is no UTF-8 is one character, of three bytes.
        assert!(
            text.chars().count() <= MAX_LINE_BYTES
                && text.len() <= 3 * MAX_LINE_BYTES
                && !text.contains(['\n', '\r'])
        );
        assert!(!cont || text.len() > MAX_LINE_BYTES - 4, "a short piece is continued: {text:?}");
    }
}

/// The lines, each with all of its pieces. Of invalid UTF-8 only the rest counts, because a piece may end inside.
fn joined(pieces: &[(String, bool)]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut open = String::new();
    for (text, cont) in pieces {
        open += text;
        if !cont {
            lines.push(std::mem::take(&mut open).replace('\u{fffd}', ""));
        }
    }
    assert!(open.is_empty(), "the last piece is continued");
    lines
}

/// The lines of all bytes: up to each line feed, of that what is behind the last return, unless that is at its end.
/// What a longer line has shown before a return stays.
fn at_once(bytes: &[u8]) -> Vec<String> {
    let mut lines: Vec<String> = bytes.split(|byte| *byte == b'\n').map(line).collect();
    // Behind the last line end there is a line only if it has text, or had some that was shown.
    let rest = bytes.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    if rest.iter().all(|byte| *byte == b'\r') {
        lines.pop();
    }
    lines
}

fn line(bytes: &[u8]) -> String {
    let end = bytes.iter().rposition(|byte| *byte != b'\r').map_or(0, |at| at + 1);
    let parts: Vec<&[u8]> = bytes.get(..end).unwrap_or_default().split(|byte| *byte == b'\r').collect();
    let shown = parts.iter().enumerate().map(|(index, part)| {
        let is_last = index + 1 == parts.len();
        // Pieces of a rewritten part that was too long went out before the return.
        let pieces = part.len().saturating_sub(1) / MAX_LINE_BYTES;
        if is_last { *part } else { part.get(..pieces * MAX_LINE_BYTES).unwrap_or_default() }
    });
    shown.map(|part| String::from_utf8_lossy(part).replace('\u{fffd}', "")).collect()
}

fn split<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<(String, bool)> {
    let mut lines = Lines::default();
    let mut found = Vec::new();
    let mut take = |piece: Piece<'_>| found.push((piece.text.into_owned(), piece.cont));
    chunks.into_iter().for_each(|chunk| lines.push(chunk, &mut take));
    lines.finish(&mut take);
    found
}
