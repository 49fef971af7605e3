//! Which tokens agents may show.
//!
//! Tokens are looked up by their digest. How long that takes depends on the digest alone, from which nobody can guess
//! another token.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use nixfleet_os::bounded_read;
use sha2::{Digest, Sha256};

use crate::identity::Identity;

/// The longest file, in bytes: two digests for each of 400,000 hosts.
const MAX_FILE: u64 = 64 * 1024 * 1024;

/// Most tokens of one host: the one that is used, and the one that takes its place.
const MAX_TOKENS: usize = 2;

/// Stands for any host.
const ANY: &str = "*";

/// The content of a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tokens(HashMap<[u8; 32], Option<String>>);

/// Why there are no tokens.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// The file cannot be read.
    #[error("cannot read the tokens in {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// It is empty, and was not before.
    #[error(
        "{} is empty; somebody may be writing it, so write a new file and rename it; without any token, leave a comment in it",
        path.display()
    )]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A line is wrong.
    #[error("{}, line {line}: {why}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Its number, from 1 on.
        line: usize,
        /// What is wrong, and the fix.
        why: &'static str,
    },
}

impl Tokens {
    /// Reads lines such as `HOST SHA256HEX [SHA256HEX]`, where `*` stands for any host.
    ///
    /// # Errors
    /// The number of the first wrong line, and what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, (usize, &'static str)> {
        let mut tokens = HashMap::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            let Some(host) = words.next() else { continue };
            let wrong = |why| Err((index + 1, why));
            if host != ANY && !nixfleet_protocol::is_hostname(host) {
                return wrong("the first word must be a hostname, or * for any host");
            }
            let digests: Vec<_> = words.collect();
            if digests.is_empty() || digests.len() > MAX_TOKENS {
                return wrong(
                    "after the host, one or two digests are expected: `nixfleet-gateway token HOST` makes one",
                );
            }
            for hex in digests {
                let Some(digest) = digest_of(hex) else {
                    return wrong("a digest must be the SHA-256 of a token, 64 of 0-9 a-f");
                };
                let host = (host != ANY).then(|| host.to_owned());
                if tokens.insert(digest, host).is_some() {
                    return wrong("this digest is in the file twice; each host needs a token of its own");
                }
            }
        }
        Ok(Self(tokens))
    }

    /// Who has this token.
    pub(crate) fn find(&self, token: &[u8]) -> Option<Identity> {
        let digest = digest(token);
        let host = self.0.get(&digest)?;
        Some(Identity::Token { host: host.clone(), digest })
    }

    /// Whether this host may still use the token with this digest.
    pub(crate) fn allow(&self, host: &str, digest: &[u8; 32]) -> bool {
        self.0.get(digest).is_some_and(|own| own.as_deref().is_none_or(|own| own == host))
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether one of them is for any host.
    pub(crate) fn has_any(&self) -> bool {
        self.0.values().any(Option::is_none)
    }
}

/// The SHA-256 of a token.
fn digest(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// The digest in hexadecimal, as in the file.
fn hex(digest: &[u8; 32]) -> String {
    data_encoding::HEXLOWER.encode(digest)
}

fn digest_of(hex: &str) -> Option<[u8; 32]> {
    data_encoding::HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok()?.try_into().ok()
}

/// A new token.
#[derive(Debug)]
pub struct NewToken {
    /// What the agent shows.
    pub secret: String,
    /// The line for the file.
    pub line: String,
}

/// Bytes of a new token. Nobody guesses 256 bits.
const TOKEN_BYTES: usize = 32;

/// Makes a token for a host, where `*` is any host.
///
/// # Errors
/// In words, with the fix.
pub fn new_token(host: &str) -> Result<NewToken, String> {
    if host != ANY && !nixfleet_protocol::is_hostname(host) {
        return Err(format!(
            "{host:?} cannot be a hostname: it must be 1 to 63 of A-Z a-z 0-9 -, or * for any host"
        ));
    }
    let mut bytes = [0; TOKEN_BYTES];
    #[allow(clippy::disallowed_methods, reason = "the kernel's own device, of which 32 bytes are read")]
    let source = File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut bytes));
    source.map_err(|err| format!("cannot read /dev/urandom: {err}"))?;
    let secret = data_encoding::BASE64URL_NOPAD.encode(&bytes);
    let line = format!("{host} {}", hex(&digest(secret.as_bytes())));
    Ok(NewToken { secret, line })
}

/// A file, and what was last read from it.
#[derive(Debug)]
pub(crate) struct TokensFile {
    path: PathBuf,
    current: RwLock<Arc<Tokens>>,
}

impl TokensFile {
    /// Reads the file.
    ///
    /// # Errors
    /// [`TokensError`].
    pub(crate) fn open(path: PathBuf) -> Result<Self, TokensError> {
        let file = Self { path, current: RwLock::default() };
        file.reload()?;
        Ok(file)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file again. If that fails, the tokens stay as they were. Returns whether they have changed.
    ///
    /// # Errors
    /// [`TokensError`].
    pub(crate) fn reload(&self) -> Result<bool, TokensError> {
        let path = || self.path.clone();
        let bytes = bounded_read::read(&self.path, MAX_FILE)
            .map_err(|source| TokensError::File { path: path(), source })?;
        if bytes.is_empty() && self.current().len() > 0 {
            return Err(TokensError::Empty { path: path() });
        }
        let text = String::from_utf8_lossy(&bytes);
        let new =
            Tokens::parse(&text).map_err(|(line, why)| TokensError::Line { path: path(), line, why })?;
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let changed = **current != new;
        *current = Arc::new(new);
        Ok(changed)
    }

    /// The newest tokens.
    pub(crate) fn current(&self) -> Arc<Tokens> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hex_of(token: &str) -> String {
        hex(&digest(token.as_bytes()))
    }

    #[test]
    fn a_token_is_of_its_host_while_it_is_in_the_file() {
        let text =
            format!("# fleet\nweb {} {} # soon\n\n* {}\n", hex_of("old"), hex_of("new"), hex_of("any"));
        let tokens = Tokens::parse(&text).expect("it is right");
        assert_eq!((tokens.len(), tokens.has_any()), (3, true));
        for token in ["old", "new"] {
            let identity = tokens.find(token.as_bytes()).expect(token);
            assert!(identity.may_be("web") && !identity.may_be("db"));
            let Identity::Token { digest, .. } = identity else { panic!("it is a token") };
            assert!(tokens.allow("web", &digest));
        }
        assert!(tokens.find(b"any").expect("any").may_be("db"));
        assert!(tokens.find(b"other").is_none());
        assert!(tokens.find(hex_of("old").as_bytes()).is_none(), "a digest is no token");
        let later = Tokens::parse(&format!("web {}", hex_of("new"))).expect("it is right");
        assert!(!later.allow("web", &digest(b"old")));
        assert!(later.allow("web", &digest(b"new")));
        assert!(!later.allow("db", &digest(b"new")));
    }

    #[test]
    fn a_wrong_line_is_named_with_the_fix() {
        let good = hex_of("a");
        let cases = [
            ("web".to_owned(), 1, "one or two digests"),
            (format!("\n\nw.b {good}"), 3, "hostname"),
            (format!("web {good} {good} {good}"), 1, "one or two"),
            ("web abc".to_owned(), 1, "64 of"),
            (format!("web {good}\ndb {good}"), 2, "twice"),
        ];
        for (text, line, part) in cases {
            let (at, why) = Tokens::parse(&text).expect_err(&text);
            assert!(at == line && why.contains(part), "{text}: {at} {why}");
        }
    }

    #[test]
    fn a_new_token_fits_its_line() {
        let new = new_token("web").expect("a token");
        let tokens = Tokens::parse(&new.line).expect("it is right");
        assert!(tokens.find(new.secret.as_bytes()).expect("it is there").may_be("web"));
        assert_ne!(new_token("*").expect("a token").secret, new.secret);
        assert!(new_token("a b").expect_err("no name").contains("A-Z"));
    }

    #[test]
    fn a_file_that_has_become_wrong_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tokens");
        std::fs::write(&path, format!("web {}", hex_of("a"))).expect("written");
        let file = TokensFile::open(path.clone()).expect("it is right");
        std::fs::write(&path, "web").expect("written");
        let why = file.reload().expect_err("it is wrong").to_string();
        assert!(why.contains("tokens, line 1: after the host"), "{why}");
        assert!(file.current().find(b"a").is_some());
        std::fs::write(&path, format!("web {}", hex_of("b"))).expect("written");
        assert!(file.reload().expect("it is right"));
        assert!(!file.reload().expect("it is right"), "nothing has changed");
        assert!(file.current().find(b"a").is_none());
        std::fs::write(&path, "").expect("written");
        let why = file.reload().expect_err("somebody may be writing it").to_string();
        assert!(why.contains("tokens is empty") && file.current().len() == 1, "{why}");
        std::fs::write(&path, "# nobody").expect("written");
        assert!(file.reload().expect("it is right"));
        assert_eq!(file.current().len(), 0);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            drop(Tokens::parse(&text));
        }
    }
}
