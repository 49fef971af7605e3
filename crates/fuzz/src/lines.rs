//! Bytes into lines.

use nixfleet_jobs::lines::{Lines, MAX_LINE_BYTES, Piece};

/// Longest input after its repetition, in bytes: two full pieces and a part.
const MAX_BYTES: usize = 2 * MAX_LINE_BYTES + 1024;

/// Two bytes that say how often the rest is repeated and how long the chunks are, and the rest. However the bytes are
/// cut into chunks, the lines are the same, and none is longer than its bound.
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
    for (text, cont) in &whole {
        assert!(text.len() <= 3 * MAX_LINE_BYTES && !text.contains(['\n', '\r']));
        assert!(!cont || text.len() > MAX_LINE_BYTES - 4, "a short piece is continued: {text:?}");
    }
}

fn split<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<(String, bool)> {
    let mut lines = Lines::default();
    let mut found = Vec::new();
    let mut take = |piece: Piece<'_>| found.push((piece.text.into_owned(), piece.cont));
    chunks.into_iter().for_each(|chunk| lines.push(chunk, &mut take));
    lines.finish(&mut take);
    found
}
