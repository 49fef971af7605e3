//! Text from elsewhere: from a dashboard, a program, a file. Before it goes into the log, to the service manager, to
//! a terminal or into a report, it passes through one of these functions, so that it can neither forge a line nor
//! control a terminal, and has a bounded length.

/// What some editors write at the beginning of a file in UTF-8.
pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Whether a file begins as one in UTF-16 does.
pub fn is_utf_16(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff")
}

/// Ends a text that was cut.
const MARK: char = '…';

/// Ends all colours of a terminal.
const RESET: &str = "\x1b[0m";

/// One line of at most `limit` characters, without anything that controls a terminal. Line ends and other white
/// space become one blank.
pub fn one_line(text: &str, limit: usize) -> String {
    // What is far behind the limit needs no cleaning. Escape sequences and white space in front of it count, which
    // nobody misses.
    let considered = limit.saturating_mul(2).saturating_add(16);
    let cut_off = text.chars().nth(considered).is_some();
    let mut line = String::new();
    let (mut left, mut blank) = (limit, false);
    let blanks: String =
        text.chars().take(considered).map(|c| if c.is_whitespace() { ' ' } else { c }).collect();
    for letter in printable(&blanks, false).chars() {
        if letter == ' ' {
            blank = !line.is_empty();
            continue;
        }
        let wanted = if blank { 2 } else { 1 };
        if left < wanted {
            return cut(line, limit);
        }
        left -= wanted;
        if std::mem::take(&mut blank) {
            line.push(' ');
        }
        line.push(letter);
    }
    if cut_off { cut(line, limit) } else { line }
}

/// A formatted line of the log, of at most `limit` characters. Line ends become blanks; other blanks stay. With
/// `colours`, colours stay.
pub fn log_line(text: &str, limit: usize, colours: bool) -> String {
    let mut line: String =
        text.chars().take(limit).map(|letter| if letter.is_whitespace() { ' ' } else { letter }).collect();
    if text.chars().nth(limit).is_some() {
        line.pop();
        line.push(MARK);
    }
    printable(&line, colours)
}

/// Cuts a text to `limit` characters. One that was cut ends with a mark.
pub fn shorten(text: &mut String, limit: usize) {
    if text.chars().nth(limit).is_some() {
        *text = cut(text.chars().take(limit).collect(), limit);
    }
}

/// Makes room for the mark at the end, and adds it.
fn cut(mut line: String, limit: usize) -> String {
    if line.chars().count() >= limit {
        line.pop();
    }
    line.truncate(line.trim_end().len());
    line.push(MARK);
    line
}

/// Longest parameters of an SGR sequence that is passed on, in bytes. A true colour for the text and one for the
/// background need 35.
const MAX_PARAMETERS: usize = 64;

/// A line of untrusted output for a terminal: printable characters, tabs and, with `colours`, SGR sequences.
/// Everything that begins a line, moves the cursor, sets titles, rings, makes the terminal answer, or changes the
/// direction of text is left out.
pub fn printable(text: &str, colours: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut painted = false;
    while let Some((letter, behind)) = first(rest) {
        rest = match (letter, first(behind)) {
            ('\x1b', Some(('[', sequence))) => control_sequence(sequence, colours, &mut out, &mut painted),
            ('\x1b', Some((']' | 'P' | 'X' | '^' | '_', string))) => behind_string(string),
            ('\x1b', _) => behind_escape(behind),
            // The same as single characters (ECMA-48, C1).
            ('\u{9b}', _) => control_sequence(behind, colours, &mut out, &mut painted),
            ('\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}', _) => behind_string(behind),
            _ => {
                if letter == '\t' || !(letter.is_control() || misleads(letter)) {
                    out.push(letter);
                }
                behind
            }
        };
    }
    if painted {
        out.push_str(RESET);
    }
    out
}

/// The first character of a text, and the text behind it.
fn first(text: &str) -> Option<(char, &str)> {
    let mut letters = text.chars();
    letters.next().map(|letter| (letter, letters.as_str()))
}

/// Whether a character can make a terminal show the rest of the line in another order, or begins a line for some
/// programs.
fn misleads(letter: char) -> bool {
    matches!(
        letter,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

/// Skips `CSI parameters intermediates final`; copies it to `out` if it sets colours.
fn control_sequence<'a>(text: &'a str, colours: bool, out: &mut String, painted: &mut bool) -> &'a str {
    let unparsed = text.trim_start_matches(|c| ('0'..='?').contains(&c));
    let parameters = text.len() - unparsed.len();
    let behind = unparsed.trim_start_matches(|c| (' '..='/').contains(&c));
    let is_short = behind.len() == unparsed.len();
    let Some((last, rest)) = first(behind).filter(|(last, _)| ('@'..='~').contains(last)) else {
        return behind;
    };
    let given = text.strip_suffix(unparsed).unwrap_or_default();
    let plain = given.bytes().all(|b| b.is_ascii_digit() || b == b';' || b == b':');
    if colours && last == 'm' && is_short && plain && parameters <= MAX_PARAMETERS {
        out.push_str("\x1b[");
        out.push_str(given);
        out.push('m');
        *painted = true;
    }
    rest
}

/// Skips a control string up to its end, BEL or ST; the whole text if there is no end.
fn behind_string(text: &str) -> &str {
    let end = text.find(['\x07', '\x1b', '\u{9c}']);
    let rest = end.and_then(|at| text.get(at..)).unwrap_or_default();
    match rest.strip_prefix("\x1b\\") {
        Some(behind) => behind,
        // Another escape ends the string and begins a new sequence.
        None => rest.trim_start_matches(['\x07', '\u{9c}']),
    }
}

/// Skips the rest of an escape sequence: its intermediates and its final character.
fn behind_escape(text: &str) -> &str {
    let behind = text.trim_start_matches(|c| (' '..='/').contains(&c));
    match first(behind) {
        Some(('0'..='~', rest)) => rest,
        _ => behind,
    }
}

#[cfg(test)]
mod tests;
