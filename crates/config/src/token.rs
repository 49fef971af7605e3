//! The token: where it is, and how it is written there.
//!
//! A file with the token holds the token and nothing else. The Go agent's module wanted an environment file
//! with `NIXFLEET_TOKEN=..` instead, and hosts that come from there still have one. Such a file is
//! understood, with a warning.

use std::io;
use std::path::{Path, PathBuf};

use nixfleet_os::bounded_read;
use nixfleet_os::text::BYTE_ORDER_MARK;

use crate::Secret;
use crate::environment_file::assignments;
use crate::problem::one_line;
use crate::source::VARIABLE_PREFIX;

/// The variable that holds the token, also inside an environment file.
pub const TOKEN_VARIABLE: &str = "NIXFLEET_TOKEN";

/// Longest token file read, in bytes. Tokens have tens of bytes, the longest JSON web tokens a few thousand.
/// A larger file is not a token file.
const MAX_TOKEN_FILE: u64 = 16 * 1024;

/// What systemd passes in the place of a token whose file is missing: `SetCredential=` of the agent's unit. No token
/// has blanks.
const NOT_PASSED: &[u8] = b"no token was passed";

/// Where the token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// In a file. The file may be replaced while the agent runs.
    File(PathBuf),
    /// In the variable `NIXFLEET_TOKEN`.
    Environment(Secret),
    /// Nowhere: systemd reads the token when it starts the unit, and this file was missing.
    NotPassed {
        /// The file in `LoadCredential=`.
        file: PathBuf,
        /// Whether the agent saw it at its start all the same.
        was_there: bool,
    },
}

/// A token that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    secret: Secret,
    warning: Option<String>,
}

impl Token {
    /// The token itself.
    pub fn expose(&self) -> &str {
        self.secret.expose()
    }

    /// What is unusual about the place of the token, and after a semicolon what to write instead.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }
}

/// The token cannot be used. The error never contains a part of the token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read.
    #[error("cannot read the token file {}", one_line(&path.to_string_lossy()))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// systemd had no token to pass when it started the unit.
    #[error("{}", not_passed(file.as_deref(), *came))]
    NotPassed {
        /// The file in `LoadCredential=`, if the unit was looked at.
        file: Option<PathBuf>,
        /// The file is there now, and was not at the start of the agent.
        came: bool,
    },
    /// File or variable is empty.
    #[error("{origin} holds no token")]
    Empty {
        /// The file or the variable.
        origin: String,
    },
    /// It sets variables of the agent, but not the one that holds the token.
    #[error("{origin} is an environment file without NIXFLEET_TOKEN")]
    NotAmongVariables {
        /// The file or the variable.
        origin: String,
    },
    /// It is a line such as `TOKEN=..`, of an environment file of another program.
    #[error("{origin} holds an assignment, such as TOKEN=.., instead of a token alone")]
    Assignment {
        /// The file or the variable.
        origin: String,
    },
    /// It has blanks, control characters or non-ASCII characters, which an HTTP header cannot hold.
    #[error("{origin} holds something else than a token: character {position} is {what}, which no token has")]
    Malformed {
        /// The file or the variable.
        origin: String,
        /// Position of the first such character, from 1, and where that is counted.
        position: String,
        /// The kind of the character.
        what: &'static str,
    },
}

impl TokenError {
    /// What to do about it.
    pub fn fix(&self) -> &'static str {
        match self {
            // Something else is at this place.
            Self::Unreadable { source, .. } if source.kind() == io::ErrorKind::InvalidInput => {
                "name a file that has the token and nothing else"
            }
            _ => "write the token and nothing else into it",
        }
    }
}

impl TokenSource {
    /// Reads the current token. It is called for every connection attempt, so a rotated token needs no
    /// restart. One line end after the token is removed.
    ///
    /// # Errors
    /// [`TokenError`], which names the file or the variable.
    pub fn read(&self) -> Result<Token, TokenError> {
        match self {
            Self::Environment(secret) => parse(secret.expose().as_bytes(), TOKEN_VARIABLE, || {
                format!(
                    "The variable {TOKEN_VARIABLE} holds {TOKEN_VARIABLE}= once more; set it to the token alone."
                )
            }),
            Self::NotPassed { file, was_there } => {
                let came = !was_there && file.exists();
                Err(TokenError::NotPassed { file: Some(file.clone()), came })
            }
            Self::File(path) => {
                let unreadable = |source| TokenError::Unreadable { path: path.clone(), source };
                let bytes = bounded_read::read(path, MAX_TOKEN_FILE).map_err(unreadable)?;
                let origin = one_line(&path.to_string_lossy());
                parse(&bytes, &origin, || {
                    format!(
                        "The token file {origin} is an environment file, of which only {TOKEN_VARIABLE} is read; write \
                         the token alone into it, without {TOKEN_VARIABLE}= and without quotes."
                    )
                })
            }
        }
    }
}

fn not_passed(file: Option<&Path>, came: bool) -> String {
    let Some(file) = file else {
        return "systemd passed no token, because the file in LoadCredential= of the agent's unit is missing; systemctl \
                cat nixfleet-agent shows its path"
            .to_owned();
    };
    let file = one_line(&file.to_string_lossy());
    match came {
        true => format!("the token file {file} was missing when systemd started the agent, and is there now"),
        false => format!(
            "the token file {file} was missing when systemd started the agent; write the token into it, and run \
             systemctl restart nixfleet-agent if it is not used within a minute"
        ),
    }
}

/// Finds the token in the bytes of a file or variable. Text is an environment file if it sets a variable of
/// the agent; a token may itself contain `=`.
fn parse(bytes: &[u8], origin: &str, warning: impl FnOnce() -> String) -> Result<Token, TokenError> {
    if bytes == NOT_PASSED {
        return Err(TokenError::NotPassed { file: None, came: false });
    }
    let set: Vec<_> = assignments(bytes).into_iter().filter(|set| is_ours(&set.name)).collect();
    if set.is_empty() {
        let bare = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let bare = bare.strip_suffix(b"\r").unwrap_or(bare);
        let is_quoted = matches!(bare, [first @ (b'"' | b'\''), .., last] if first == last);
        let warning = is_quoted.then(|| {
            format!("The token in {origin} is in quotes, which are sent with it; remove them from there.")
        });
        return Ok(Token { secret: checked(bare, origin, "")?, warning });
    }
    // As for systemd, the last assignment counts.
    match set.iter().rfind(|set| set.name == TOKEN_VARIABLE.as_bytes()) {
        Some(token) => Ok(Token {
            secret: checked(&token.value, origin, " of the value of NIXFLEET_TOKEN")?,
            warning: Some(warning()),
        }),
        None => Err(TokenError::NotAmongVariables { origin: origin.to_owned() }),
    }
}

/// Whether this is the name of a variable of the agent.
fn is_ours(name: &[u8]) -> bool {
    let rest = name.strip_prefix(VARIABLE_PREFIX.as_bytes()).unwrap_or_default();
    !rest.is_empty() && rest.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

/// Whether the text is a line such as `TOKEN=..` or `export FLEET_TOKEN=..`. A token may end with `=` and may
/// contain it, so only a name that says that it is a token counts.
fn is_assignment(text: &[u8]) -> bool {
    let Some(at) = text.iter().position(|byte| *byte == b'=') else { return false };
    let name = text[..at].trim_ascii();
    let name = name.strip_prefix(b"export ").unwrap_or(name);
    let is_name = name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let value = text[at + 1..].trim_ascii();
    is_name && name.to_ascii_lowercase().ends_with(b"token") && value.iter().any(|byte| *byte != b'=')
}

/// Checks for the characters of a bearer token and of a header value (RFC 9110, sections 11.2 and 5.5),
/// without the space.
fn checked(token: &[u8], origin: &str, whose: &str) -> Result<Secret, TokenError> {
    if token.trim_ascii().is_empty() {
        return Err(TokenError::Empty { origin: origin.to_owned() });
    }
    if is_assignment(token) {
        return Err(TokenError::Assignment { origin: origin.to_owned() });
    }
    match token.iter().position(|byte| !byte.is_ascii_graphic()) {
        Some(0) if token.starts_with(BYTE_ORDER_MARK) => Err(TokenError::Malformed {
            origin: origin.to_owned(),
            position: format!("1{whose}"),
            what: "the byte order mark of an editor",
        }),
        Some(index) => Err(TokenError::Malformed {
            origin: origin.to_owned(),
            position: format!("{}{whose}", index + 1),
            what: match token[index] {
                b' ' | b'\t' => "a blank",
                b'\n' | b'\r' => "a line end",
                byte if byte.is_ascii() => "a control character",
                _ => "not ASCII",
            },
        }),
        // All bytes are ASCII, so nothing is replaced.
        None => Ok(Secret::new(String::from_utf8_lossy(token))),
    }
}
