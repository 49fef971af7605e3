//! Asks for a password: on a terminal without showing it, else from what is piped in.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

/// Longest line that is read, in bytes: more than any password.
const MAX_LINE: usize = 4 * 1024;

/// Why there is no password.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// It cannot be read.
    #[error("cannot read the password: {0}")]
    Read(#[from] io::Error),
    /// Somebody has pressed Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// What was written the second time is something else.
    #[error("these were two different passwords; nothing was made")]
    Different,
}

/// Asks for a new password.
///
/// # Errors
/// [`PromptError`].
pub fn new_password(name: &str) -> Result<String, PromptError> {
    if !io::stdin().is_terminal() {
        return piped();
    }
    let password = typed(&format!("Password of {name}: "))?;
    if password == typed("Again: ")? { Ok(password) } else { Err(PromptError::Different) }
}

/// The first line of standard input.
fn piped() -> Result<String, PromptError> {
    let mut line = String::new();
    io::stdin().lock().take(MAX_LINE as u64).read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// What is typed, up to Enter. The terminal shows nothing of it, and passes on Ctrl-C, so that it can be left as it was.
fn typed(prompt: &str) -> Result<String, PromptError> {
    let mut terminal = io::stderr();
    write!(terminal, "{prompt}")?;
    terminal.flush()?;
    let silent = Silent::new()?;
    let mut typed = Typed::default();
    let mut byte = [0];
    let ended = loop {
        if io::stdin().lock().read(&mut byte)? == 0 {
            break Err(PromptError::Interrupted);
        }
        if let Some(ended) = typed.take(byte[0]) {
            break ended;
        }
    };
    drop(silent);
    writeln!(terminal)?;
    ended
}

/// A terminal that shows nothing, until this is dropped.
struct Silent(Termios);

impl Silent {
    fn new() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        silent.special_codes[SpecialCodeIndex::VMIN] = 1;
        silent.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
        Ok(Self(before))
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        // An error means that the terminal is gone.
        let _gone = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// A line that is being typed.
#[derive(Default)]
struct Typed(Vec<u8>);

impl Typed {
    /// Takes a byte of the terminal. Returns how the line ends, if it does.
    fn take(&mut self, byte: u8) -> Option<Result<String, PromptError>> {
        match byte {
            b'\r' | b'\n' => {
                let odd = || io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8").into();
                return Some(String::from_utf8(std::mem::take(&mut self.0)).map_err(|_| odd()));
            }
            // Ctrl-C and Ctrl-D.
            0x03 | 0x04 => return Some(Err(PromptError::Interrupted)),
            // Ctrl-U.
            0x15 => self.0.clear(),
            // Backspace takes a whole character, of which all bytes but the first begin with 10.
            0x08 | 0x7f => while self.0.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {},
            byte if self.0.len() < MAX_LINE => self.0.push(byte),
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(bytes: &[u8]) -> Option<Result<String, PromptError>> {
        let mut typed = Typed::default();
        bytes.iter().find_map(|byte| typed.take(*byte))
    }

    #[test]
    fn a_line_can_be_corrected_and_given_up() {
        for (bytes, expected) in [
            ("secret\r", "secret"),
            ("secret\n", "secret"),
            ("secre\u{7f}\u{8}\u{7f}cret\n", "secret"),
            ("s\u{e4}\u{1f600}\u{7f}\u{7f}ecret\n", "secret"),
            ("other\u{15}secret\n", "secret"),
            ("\u{7f}\u{7f}secret\n", "secret"),
            ("\n", ""),
        ] {
            assert_eq!(line(bytes.as_bytes()).unwrap().unwrap(), expected, "{bytes:?}");
        }
        for bytes in ["\u{3}", "secret\u{3}", "secret\u{4}"] {
            assert!(matches!(line(bytes.as_bytes()), Some(Err(PromptError::Interrupted))), "{bytes:?}");
        }
        assert!(line(b"secret").is_none(), "it has not ended");
        assert!(matches!(line(b"\xff\n"), Some(Err(PromptError::Read(_)))));
    }
}
