//! Splits the bytes of a pipe into lines of limited length.

use std::borrow::Cow;
use std::mem;

/// Longest piece of a line in one log entry, in bytes of input.
pub const MAX_LINE_BYTES: usize = 32 * 1024;

/// Splits one stream into lines.
///
/// Invalid UTF-8 is replaced. A line longer than [`MAX_LINE_BYTES`] is given out in pieces. Of a line that is
/// rewritten with `\r`, only the last state is given out, as a terminal would show it in the end.
#[derive(Debug, Default)]
pub struct Lines {
    /// Bytes of the line that has no end yet.
    open: Vec<u8>,
    /// Pieces of the open line have been given out already.
    continued: bool,
    /// The last byte was `\r`: the next byte decides whether it is a line end or a rewrite.
    returned: bool,
}

/// One line or a piece of one.
#[derive(Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Text without its line end.
    pub text: Cow<'a, str>,
    /// The line goes on in the next piece.
    pub cont: bool,
}

impl Lines {
    /// Takes bytes as they were read and gives out each line that they complete.
    pub fn push(&mut self, mut bytes: &[u8], emit: &mut impl FnMut(Piece<'_>)) {
        while let Some(&first) = bytes.first() {
            if mem::take(&mut self.returned) && first != b'\n' && first != b'\r' {
                // `\r` without `\n`: a terminal would overwrite the line.
                self.open.clear();
            }
            let stop = bytes.iter().position(|&b| b == b'\n' || b == b'\r').unwrap_or(bytes.len());
            self.extend(&bytes[..stop], emit);
            match bytes.get(stop) {
                Some(b'\n') => self.end_line(emit),
                Some(_) => self.returned = true,
                None => return,
            }
            bytes = &bytes[stop + 1..];
        }
    }

    /// The state of a line that its program is about to rewrite, as a terminal would show it now.
    pub fn rewritten(&self) -> Option<Cow<'_, str>> {
        (self.returned && !self.continued).then(|| lossy(&self.open))
    }

    /// At the end of the stream: gives out a last line without a line end.
    pub fn finish(&mut self, emit: &mut impl FnMut(Piece<'_>)) {
        if !self.open.is_empty() || self.continued {
            self.end_line(emit);
        }
        self.returned = false;
    }

    fn extend(&mut self, mut text: &[u8], emit: &mut impl FnMut(Piece<'_>)) {
        while self.open.len() + text.len() > MAX_LINE_BYTES {
            // The open line may already be full, because the last cut was before an incomplete character.
            let room = MAX_LINE_BYTES.saturating_sub(self.open.len());
            self.open.extend_from_slice(&text[..room]);
            text = &text[room..];
            let cut = character_boundary(&self.open);
            emit(Piece { text: lossy(&self.open[..cut]), cont: true });
            self.open.drain(..cut);
            self.continued = true;
        }
        self.open.extend_from_slice(text);
    }

    fn end_line(&mut self, emit: &mut impl FnMut(Piece<'_>)) {
        emit(Piece { text: lossy(&self.open), cont: false });
        self.open.clear();
        self.continued = false;
    }
}

/// Replaces invalid UTF-8. The text can become three times as long: three bytes for each invalid byte.
fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// Where to cut so that no character is split: before an incomplete character at the end.
fn character_boundary(bytes: &[u8]) -> usize {
    let tail = bytes.len().saturating_sub(3);
    for (at, &byte) in bytes.iter().enumerate().skip(tail).rev() {
        let length = match byte {
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            0x80..=0xBF => continue,
            _ => 1,
        };
        return if at + length > bytes.len() { at } else { bytes.len() };
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(chunks: &[&[u8]]) -> Vec<(String, bool)> {
        let mut lines = Lines::default();
        let mut out = Vec::new();
        let mut emit = |piece: Piece<'_>| out.push((piece.text.into_owned(), piece.cont));
        for chunk in chunks {
            lines.push(chunk, &mut emit);
        }
        lines.finish(&mut emit);
        out
    }

    #[track_caller]
    fn check(chunks: &[&[u8]], expected: &[&str]) {
        let got = split(chunks);
        assert!(got.iter().all(|(_, cont)| !cont), "{got:?}");
        assert_eq!(got.into_iter().map(|(text, _)| text).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn lines_end_at_newlines_wherever_the_reads_were_cut() {
        check(&[b"a\nb\n"], &["a", "b"]);
        check(&[b"a", b"\nb", b"\n\n"], &["a", "b", ""]);
        check(&[b"no end"], &["no end"]);
        check(&[b""], &[]);
    }

    #[test]
    fn progress_is_collapsed_to_what_a_terminal_shows_last() {
        check(&[b"1%\r50%\r100%\n"], &["100%"]);
        check(&[b"1%\r", b"50%", b"\r\n"], &["50%"]);
        check(&[b"dos\r\nline\r\n"], &["dos", "line"]);
        check(&[b"half\r"], &["half"]);
        check(&[b"twice\r\r\n"], &["twice"]);
    }

    #[test]
    fn a_line_that_is_rewritten_can_be_seen_on_its_way() {
        let mut lines = Lines::default();
        let mut seen = |bytes: &[u8]| {
            lines.push(bytes, &mut |_| {});
            lines.rewritten().map(Cow::into_owned)
        };
        assert_eq!(seen(b"1%"), None, "it may grow");
        assert_eq!(seen(b"\r").as_deref(), Some("1%"));
        assert_eq!(seen(b"2%\r50%\r").as_deref(), Some("50%"));
        assert_eq!(seen(b"100%, done.\n"), None);
        assert_eq!(seen(&[b'x'; MAX_LINE_BYTES + 1]), None);
        assert_eq!(seen(b"\r"), None, "no more than a part of it is there");
    }

    #[test]
    fn bytes_that_are_not_utf8_are_replaced() {
        check(&[b"a\xFF\xFEb\n"], &["a\u{FFFD}\u{FFFD}b"]);
    }

    #[test]
    fn a_character_is_never_cut_in_two() {
        let line = "é".repeat(MAX_LINE_BYTES);
        let got = split(&[b"x", line.as_bytes(), b"\n"]);
        assert!(got.iter().all(|(text, _)| !text.contains('\u{FFFD}') && text.len() <= MAX_LINE_BYTES));
        assert_eq!(got.into_iter().map(|(text, _)| text).collect::<String>(), format!("x{line}"));
    }

    proptest! {
        #[test]
        fn every_byte_arrives_once_and_in_order(
            lines in prop::collection::vec("[^\r\n]{0,200}", 0..40),
            cuts in prop::collection::vec(1usize..64, 1..40),
        ) {
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let mut rest = text.as_bytes();
            let mut chunks = Vec::new();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break }
                let (chunk, tail) = rest.split_at((*cut).min(rest.len()));
                chunks.push(chunk);
                rest = tail;
            }
            let got: Vec<String> = split(&chunks).into_iter().map(|(text, _)| text).collect();
            prop_assert_eq!(got, lines);
        }
    }

    proptest! {
        // The inputs are long; a few dozen are enough.
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn no_input_panics_or_makes_a_piece_too_long(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..70_000), 0..4)
        ) {
            let views: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
            for (text, _) in split(&views) {
                prop_assert!(text.len() <= 3 * MAX_LINE_BYTES);
            }
        }
    }
}
