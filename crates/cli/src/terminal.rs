//! Output: lines for people or programs, and a line of progress below them.

use std::env;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use nixfleet_os::text::{one_line, printable};
use rustix::termios::tcgetwinsize;
use serde::Serialize;

use crate::exit::Failure;

/// `--color`
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless `NO_COLOR` is set
    Auto,
    /// Also into files and pipes
    Always,
    /// Nowhere
    Never,
}

impl Color {
    /// Whether standard output has colours.
    pub(crate) fn is_on(self) -> bool {
        let set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        self.decide(io::stdout().is_terminal(), set("NO_COLOR") || dumb)
    }

    fn decide(self, terminal: bool, plain: bool) -> bool {
        match self {
            Self::Auto => terminal && !plain,
            // Colours in a pipe are for a person, such as the user of a pager.
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// A way to paint text, as the parameter of an SGR sequence (ECMA-48, 8.3.117).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    /// As everything else.
    Plain,
    /// Less important.
    Dim,
    /// Good.
    Green,
    /// Unusual.
    Yellow,
    /// Wrong.
    Red,
    /// The name of a host in front of its words.
    Cyan,
}

impl Paint {
    /// The text between the codes.
    pub(crate) fn on(self, text: &str, colours: bool) -> String {
        let code = match self {
            Self::Plain => return text.to_owned(),
            Self::Dim => "2",
            Self::Green => "32",
            Self::Yellow => "33",
            Self::Red => "31",
            Self::Cyan => "36",
        };
        if colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Width of the smallest usual terminal, in columns.
const WIDTH: usize = 80;

/// The width of a terminal that does not say less than this is believed.
const NARROWEST: usize = 20;

/// Columns of the terminal on standard output; none if it is no terminal.
pub(crate) fn width() -> Option<usize> {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    // A terminal that does not know its size says 0.
    let columns = tcgetwinsize(&stdout).map_or(0, |size| usize::from(size.ws_col));
    Some(if columns == 0 { WIDTH } else { columns.max(NARROWEST) })
}

/// Longest text of a host in one line, in characters: more than a message of an agent has.
const LONGEST: usize = 2000;

/// A text of a host, on one line.
pub(crate) fn said(text: &str) -> String {
    one_line(text, LONGEST)
}

/// Output, line by line.
pub(crate) struct Screen {
    out: BufWriter<Stdout>,
    /// Whether to paint.
    pub(crate) colours: bool,
    /// Columns for the progress. None if nobody would see it.
    columns: Option<usize>,
    /// The line of progress at the cursor.
    shown: Option<String>,
}

impl Screen {
    /// Standard output, and progress on standard error if that is a terminal.
    pub(crate) fn new(color: Color) -> Self {
        let stderr = io::stderr();
        let columns = stderr.is_terminal().then(|| {
            let columns = tcgetwinsize(&stderr).map_or(0, |size| usize::from(size.ws_col));
            if columns == 0 { WIDTH } else { columns.max(NARROWEST) }
        });
        Self { out: BufWriter::new(io::stdout()), colours: color.is_on(), columns, shown: None }
    }

    /// One line, which is seen at once.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.clear();
        self.out.write_all(text.as_bytes())?;
        self.out.write_all(b"\n")?;
        Ok(self.out.flush()?)
    }

    /// Many lines, or a part of one.
    pub(crate) fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.clear();
        self.out.write_all(text.as_bytes())?;
        Ok(self.out.flush()?)
    }

    /// One JSON object on a line.
    pub(crate) fn json(&mut self, object: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(object).map_err(io::Error::other)?;
        self.line(&escaped(&text))
    }

    /// A line of a command, without anything that controls a terminal. Colours may stay: a file or pipe gets none.
    pub(crate) fn line_of_command(&self, text: &str, is_error: bool) -> String {
        let text = printable(text, self.colours);
        if is_error { Paint::Dim.on(&text, self.colours) } else { text }
    }

    /// Words for the person at the terminal, who may have sent the output elsewhere.
    pub(crate) fn note(&mut self, text: &str) {
        self.clear();
        // There is no way to report that the terminal is closed.
        drop(writeln!(io::stderr(), "nixfleet: {text}"));
    }

    /// A remark among the output, on standard error without a name in front.
    pub(crate) fn remark(&mut self, text: &str) {
        self.clear();
        drop(writeln!(io::stderr(), "{text}"));
    }

    /// Shows how far it is, in place of what was shown before.
    pub(crate) fn progress(&mut self, text: &str) {
        let Some(columns) = self.columns else { return };
        // A line that fills the last column would begin another one.
        let line = one_line(text, columns - 1);
        if self.shown.as_ref() != Some(&line) {
            drop(write!(io::stderr(), "\r\x1b[K{line}"));
            self.shown = Some(line);
        }
    }

    /// Takes the progress away.
    pub(crate) fn clear(&mut self) {
        if self.shown.take().is_some() {
            drop(write!(io::stderr(), "\r\x1b[K"));
        }
    }
}

/// JSON in which characters that control a terminal are escaped, also those that JSON lets pass.
pub(crate) fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    let mut buffer = [0; 4];
    for letter in json.chars() {
        if letter.is_ascii() && letter != '\x7f'
            || !printable(letter.encode_utf8(&mut buffer), false).is_empty()
        {
            text.push(letter);
        } else {
            let mut units = [0; 2];
            for unit in letter.encode_utf16(&mut units) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_controls_no_terminal() {
        let text = "a\u{9b}31m\u{202e}\u{7f}\u{1b}[2J\u{e4}\u{1f600}\"";
        let json = escaped(&serde_json::to_string(text).unwrap());
        assert!(json.chars().all(|letter| !letter.is_control() && letter != '\u{202e}'), "{json:?}");
        assert!(json.contains('\u{e4}') && json.contains('\u{1f600}'), "{json}");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }

    #[test]
    fn colours_are_for_terminals() {
        for (color, terminal, plain, wanted) in [
            (Color::Auto, true, false, true),
            (Color::Auto, true, true, false),
            (Color::Auto, false, false, false),
            (Color::Always, false, true, true),
            (Color::Never, true, false, false),
        ] {
            assert_eq!(color.decide(terminal, plain), wanted, "{color:?} {terminal} {plain}");
        }
        assert_eq!(Paint::Red.on("x", true), "\x1b[31mx\x1b[0m");
        assert_eq!(Paint::Red.on("x", false), "x");
    }
}
