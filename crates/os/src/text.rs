//! Text from elsewhere: from a dashboard, a program, a file. Before it goes into the log, to the service manager, to
//! a terminal or into a report, it passes through one of these functions, so that it can neither forge a line nor
//! control a terminal, and has a bounded length.

/// Ends a text that was cut.
const MARK: char = '…';

/// Ends all colours of a terminal.
const RESET: &str = "\x1b[0m";

/// One line of at most `limit` characters, without anything that controls a terminal. Line ends and other white
/// space become one blank.
pub fn one_line(text: &str, limit: usize) -> String {
    // A character has four bytes at most. What is far behind the limit needs no cleaning. Escape sequences and
    // white space in front of it count, which nobody misses.
    let mut end = text.len().min(limit.saturating_mul(8).saturating_add(64));
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut line = String::new();
    let (mut left, mut blank) = (limit, false);
    let blanks: String = text[..end].chars().map(|c| if c.is_whitespace() { ' ' } else { c }).collect();
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
    if end < text.len() { cut(line, limit) } else { line }
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
    while let Some(letter) = rest.chars().next() {
        let behind = &rest[letter.len_utf8()..];
        rest = match (letter, behind.chars().next()) {
            ('\x1b', Some('[')) => control_sequence(&behind[1..], colours, &mut out, &mut painted),
            ('\x1b', Some(']' | 'P' | 'X' | '^' | '_')) => behind_string(&behind[1..]),
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
    let parameters = text.len() - text.trim_start_matches(|c| ('0'..='?').contains(&c)).len();
    let behind = text[parameters..].trim_start_matches(|c| (' '..='/').contains(&c));
    let is_short = text.len() - behind.len() == parameters;
    let Some(last) = behind.chars().next().filter(|c| ('@'..='~').contains(c)) else { return behind };
    let given = &text[..parameters];
    let plain = given.bytes().all(|b| b.is_ascii_digit() || b == b';' || b == b':');
    if colours && last == 'm' && is_short && plain && parameters <= MAX_PARAMETERS {
        out.push_str("\x1b[");
        out.push_str(given);
        out.push('m');
        *painted = true;
    }
    &behind[1..]
}

/// Skips a control string up to its end, BEL or ST; the whole text if there is no end.
fn behind_string(text: &str) -> &str {
    match text.find(['\x07', '\x1b', '\u{9c}']) {
        Some(at) if text[at..].starts_with("\x1b\\") => &text[at + 2..],
        // Another escape ends the string and begins a new sequence.
        Some(at) if text[at..].starts_with('\x1b') => &text[at..],
        Some(at) => text[at..].trim_start_matches(['\x07', '\u{9c}']),
        None => "",
    }
}

/// Skips the rest of an escape sequence: its intermediates and its final character.
fn behind_escape(text: &str) -> &str {
    let behind = text.trim_start_matches(|c| (' '..='/').contains(&c));
    match behind.chars().next() {
        Some('0'..='~') => &behind[1..],
        _ => behind,
    }
}

#[cfg(test)]
mod tests;
