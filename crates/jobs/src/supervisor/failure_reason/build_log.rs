//! The line of a build's log that is most likely the reason why the build failed.

use super::ROOTS;
use super::quote::{append, keep};
use super::words::Words;

/// Words that are more likely a reason than the last line. The last lines of a log are what make and its like say.
static TELLING: Words = Words::new(&[
    "error:",
    "Error:",
    "error[",
    "ERROR",
    "FAILED",
    "CMake Error",
    "fatal:",
    "FATAL",
    "fatal error",
    "[emerg]",
    "command not found",
    "No such file",
    "cannot find ",
    "undefined reference",
    "ermission denied",
    "curl: (",
]);

/// How likely a line is the reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Likely {
    #[default]
    No,
    /// It has one of the [`TELLING`] words.
    Yes,
    /// It names what the operating system refused.
    Most,
}

/// What is remembered of a log: one line, and those that go on with it.
#[derive(Debug, Default)]
pub(super) struct BuildLog {
    likely: Likely,
    text: String,
    /// The line was the newest one, and ended with a colon. Indented lines go on with it.
    open: bool,
}

impl BuildLog {
    /// Takes a line.
    pub(super) fn take(&mut self, line: &str) {
        if self.open && line.starts_with([' ', '\t']) {
            return append(&mut self.text, line);
        }
        self.open = false;
        let likely = if ROOTS.any(line) {
            Likely::Most
        } else if TELLING.any(line) {
            Likely::Yes
        } else {
            Likely::No
        };
        // Of equals the first one counts, because others follow from it; without such a word the last one.
        if likely > self.likely || likely == Likely::No && self.likely == Likely::No {
            self.likely = likely;
            keep(&mut self.text, line);
            self.open = likely > Likely::No && self.text.ends_with(':');
        }
    }

    /// The line; empty if there was none.
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}
