//! What goes to a terminal: colours where they are wanted, and text of others without what could harm it.

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

/// How a text is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    /// With colours.
    pub(super) colours: bool,
    /// For eyes: control characters are taken out. Else the text is left as it is.
    pub(super) safe: bool,
}

impl Color {
    /// What suits standard output.
    pub(super) fn look(self) -> Look {
        let set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        self.decide(io::stdout().is_terminal(), set("NO_COLOR") || dumb)
    }

    fn decide(self, terminal: bool, plain: bool) -> Look {
        match self {
            Self::Auto => Look { colours: terminal && !plain, safe: terminal },
            // Who wants colours in a pipe has eyes at its end.
            Self::Always => Look { colours: true, safe: true },
            Self::Never => Look { colours: false, safe: terminal },
        }
    }
}

/// A way to paint text, as the parameter of an SGR sequence (ECMA-48, 8.3.117).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paint {
    /// What matters less.
    Dim,
    /// What is good.
    Green,
    /// What is odd.
    Yellow,
    /// What is wrong.
    Red,
    /// What this program says itself, among the words of others.
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

/// Longest parameters of an SGR sequence that is passed on, in bytes. A colour of three bytes for text and
/// one for its background have 35.
const MAX_PARAMETERS: usize = 64;

/// A line of somebody's output for a terminal: letters, tabs and, with `colours`, SGR sequences. What moves
/// the cursor, sets titles, rings, answers or turns the direction of the text around is left out.
pub(super) fn safe(text: &str, colours: bool) -> String {
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
                if letter == '\t' || !(letter.is_control() || turns_around(letter)) {
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

/// Characters after which the rest of a line may be shown in another order than it has.
fn turns_around(letter: char) -> bool {
    matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Passes over `CSI parameters intermediates final`, and passes it on if it is for colours.
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

/// Passes over a control string: up to its end, BEL or ST; without an end, all of it.
fn behind_string(text: &str) -> &str {
    match text.find(['\x07', '\x1b', '\u{9c}']) {
        Some(at) if text[at..].starts_with("\x1b\\") => &text[at + 2..],
        // An escape that is no ST ends the string and begins something else.
        Some(at) if text[at..].starts_with('\x1b') => &text[at..],
        Some(at) => text[at..].trim_start_matches(['\x07', '\u{9c}']),
        None => "",
    }
}

/// Passes over the rest of an escape sequence: intermediates and one more.
fn behind_escape(text: &str) -> &str {
    let behind = text.trim_start_matches(|c| (' '..='/').contains(&c));
    match behind.chars().next() {
        Some('0'..='~') => &behind[1..],
        _ => behind,
    }
}

#[cfg(test)]
mod tests;
