//! Output on a terminal: colours, and text from elsewhere without harmful control characters.

use std::env;
use std::io::{self, IsTerminal};

/// `--color`
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Color {
    /// On a terminal, unless `NO_COLOR` is set
    Auto,
    /// Also into files and pipes
    Always,
    /// Nowhere
    Never,
}

/// How text is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    /// With colours.
    pub(super) colours: bool,
    /// Control characters are removed, because a person reads it. Otherwise the text stays as it is.
    pub(super) safe: bool,
}

impl Color {
    /// The style that suits standard output.
    pub(super) fn look(self) -> Look {
        let set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        self.decide(io::stdout().is_terminal(), set("NO_COLOR") || dumb)
    }

    fn decide(self, terminal: bool, plain: bool) -> Look {
        match self {
            Self::Auto => Look { colours: terminal && !plain, safe: terminal },
            // Colours in a pipe are for a person, such as the user of a pager.
            Self::Always => Look { colours: true, safe: true },
            Self::Never => Look { colours: false, safe: terminal },
        }
    }
}

/// A way to paint text, as the parameter of an SGR sequence (ECMA-48, 8.3.117).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paint {
    /// Less important.
    Dim,
    /// Good.
    Green,
    /// Unusual.
    Yellow,
    /// Wrong.
    Red,
    /// Remarks of this program among the output of others.
    Cyan,
}

impl Paint {
    fn code(self) -> &'static str {
        match self {
            Self::Dim => "2",
            Self::Green => "32",
            Self::Yellow => "33",
            Self::Red => "31",
            Self::Cyan => "36",
        }
    }

    /// The text between the codes.
    pub(super) fn on(self, text: &str, colours: bool) -> String {
        if colours { format!("\x1b[{}m{text}{RESET}", self.code()) } else { text.to_owned() }
    }
}

/// Ends all colours.
const RESET: &str = "\x1b[0m";

/// Width of the smallest usual terminal, in characters.
pub(super) const WIDTH: usize = 80;

/// `head`, what there is to say, and what to do about it, which may be empty. For a terminal it is wrapped to the
/// columns right of `indent`, with the fix on lines of its own. Otherwise it is one line, with `separator` before
/// the fix. The texts contain names and messages from elsewhere, so they are made safe, and lose their line ends.
pub(super) fn entry(
    head: &str,
    what: &str,
    fix: &str,
    indent: usize,
    separator: &str,
    terminal: bool,
) -> String {
    let plain = |text: &str| safe(&text.split_whitespace().collect::<Vec<_>>().join(" "), false);
    let (what, fix) = (plain(what), plain(fix));
    if !terminal {
        let fix = if fix.is_empty() { fix } else { format!("{separator}{fix}") };
        return format!("{head} {what}{fix}\n");
    }
    let mut lines = wrap(&what, indent);
    if !fix.is_empty() {
        lines.append(&mut wrap(&format!("-> {fix}"), indent));
    }
    format!("{head} {}\n", lines.join(&format!("\n{:indent$}", "")))
}

/// Wraps text to the width right of `indent` columns. Words that are too long stay whole, so that they can be
/// copied.
fn wrap(text: &str, indent: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= WIDTH - indent => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Longest parameters of an SGR sequence that is passed on, in bytes. A true colour for the text and one for the
/// background need 35.
const MAX_PARAMETERS: usize = 64;

/// A line of untrusted output for a terminal: printable characters, tabs and, with `colours`, SGR sequences.
/// Everything that moves the cursor, sets titles, rings, makes the terminal answer, or changes the direction of
/// text is left out.
pub(super) fn safe(text: &str, colours: bool) -> String {
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
                if letter == '\t' || !(letter.is_control() || changes_direction(letter)) {
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

/// Whether a character can make a terminal show the rest of the line in another order.
fn changes_direction(letter: char) -> bool {
    matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
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
