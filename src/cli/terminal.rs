//! Output on a terminal: colours, and text from elsewhere without harmful control characters.

use std::env;
use std::io::{self, IsTerminal};

use rustix::termios::tcgetwinsize;

use nixfleet_os::text::one_line;
pub(super) use nixfleet_os::text::printable as safe;

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

/// Longest text of an entry in characters: two screens of the smallest usual terminal.
const LONGEST: usize = 2 * WIDTH * 25;

/// Narrowest and widest lines that are made, in columns. Longer lines are hard to read.
const WIDTHS: std::ops::RangeInclusive<usize> = 40..=120;

/// Columns for a line on standard output; none if it is no terminal.
pub(super) fn width() -> Option<usize> {
    if !io::stdout().is_terminal() {
        return None;
    }
    // A terminal that does not know its size says 0.
    let columns = tcgetwinsize(io::stdout()).map_or(0, |size| usize::from(size.ws_col));
    let columns = if columns == 0 { WIDTH } else { columns };
    Some(columns.clamp(*WIDTHS.start(), *WIDTHS.end()))
}

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
    let (what, fix) = (one_line(what, LONGEST), one_line(fix, LONGEST));
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

#[cfg(test)]
mod tests;
