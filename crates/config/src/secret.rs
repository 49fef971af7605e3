//! The token: where it is, and a type that does not show it.

use std::path::PathBuf;
use std::{fmt, io};

use nixfleet_os::bounded_read;

/// Longest token file read, in bytes. Tokens have tens of bytes, the longest JSON web tokens a few thousand.
/// A larger file is not a token file.
const MAX_TOKEN_FILE: u64 = 16 * 1024;

/// Secret text. `Debug` and `Display` do not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Makes a secret of a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Where the token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// In a file. The file may be replaced while the agent runs.
    File(PathBuf),
    /// In the variable `NIXFLEET_TOKEN`.
    Environment(Secret),
}

/// The token cannot be used. The error never contains the token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read.
    #[error("cannot read the token file {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// File or variable is empty.
    #[error("{origin} holds no token")]
    Empty {
        /// The file or the variable.
        origin: String,
    },
    /// It has spaces, control characters or non-ASCII characters, which an HTTP header cannot hold.
    #[error("{origin} holds something else than a token: character {position} cannot be in a token")]
    Malformed {
        /// The file or the variable.
        origin: String,
        /// Position of the first such character, from 1.
        position: usize,
    },
}

impl TokenSource {
    /// Reads the current token. It is called for every connection attempt, so a rotated token needs no
    /// restart. One line end after the token is removed.
    ///
    /// # Errors
    /// [`TokenError`], which names the file or the variable.
    pub fn read(&self) -> Result<Secret, TokenError> {
        match self {
            Self::Environment(secret) => checked(secret.expose(), "NIXFLEET_TOKEN"),
            Self::File(path) => {
                let unreadable = |source| TokenError::Unreadable { path: path.clone(), source };
                let bytes = bounded_read::read(path, MAX_TOKEN_FILE).map_err(unreadable)?;
                let origin = path.display().to_string();
                match std::str::from_utf8(&bytes) {
                    Ok(text) => checked(text, &origin),
                    Err(error) => Err(TokenError::Malformed { origin, position: error.valid_up_to() + 1 }),
                }
            }
        }
    }
}

fn checked(text: &str, origin: &str) -> Result<Secret, TokenError> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err(TokenError::Empty { origin: origin.to_owned() });
    }
    // The characters of a bearer token and of a header value (RFC 9110, sections 11.2 and 5.5), without the
    // space.
    match text.chars().position(|character| !character.is_ascii_graphic()) {
        Some(index) => Err(TokenError::Malformed { origin: origin.to_owned(), position: index + 1 }),
        None => Ok(Secret::new(text)),
    }
}
