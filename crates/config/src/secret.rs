//! The token: where it is, and a type that does not show it.

use std::{fmt, io, path::PathBuf};

use nixfleet_os::bounded_read;

/// Longest token file read, in bytes. Tokens have tens of bytes, the longest JSON web tokens a few
/// thousand; a larger file is the wrong file.
const MAX_TOKEN_FILE: u64 = 16 * 1024;

/// Text that must not reach a log, an error or the wire by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes the text as it is.
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
    /// In a file, which may be replaced while the agent runs.
    File(PathBuf),
    /// It was in `NIXFLEET_TOKEN`.
    Environment(Secret),
}

/// Why there is no token. The text of a token is never part of it.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read.
    #[error("cannot read the token file {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nothing in it.
    #[error("{origin} holds no token")]
    Empty {
        /// The file or the variable.
        origin: String,
    },
    /// Spaces, control characters or letters beyond ASCII, which a header cannot carry.
    #[error("{origin} holds something else than a token: character {position} cannot be in a token")]
    Malformed {
        /// The file or the variable.
        origin: String,
        /// From 1.
        position: usize,
    },
}

impl TokenSource {
    /// The token as it is now. Called for every attempt to connect, so that a rotated token needs no
    /// restart. One line end after the token is left out.
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
    // RFC 9110, 11.2 and 5.5: what a bearer token and a header value may hold, without the space.
    match text.chars().position(|character| !character.is_ascii_graphic()) {
        Some(index) => Err(TokenError::Malformed { origin: origin.to_owned(), position: index + 1 }),
        None => Ok(Secret::new(text)),
    }
}
