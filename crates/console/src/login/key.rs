//! The key of all replicas.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use nixfleet_os::bounded_read;
use sha2::Sha256;

/// Bytes of the key: those of the digest, as RFC 2104 recommends.
const KEY_BYTES: usize = 32;

/// Bytes of a block of SHA-256.
const BLOCK_BYTES: usize = 64;

/// The longest file, in bytes.
const MAX_FILE: u64 = 4 * 1024;

/// Access for all, and writing for the group. The group may read: what systemd passes to a unit shows it so.
const FORBIDDEN_MODE: u32 = 0o027;

/// Length of a signature, in bytes.
const TAG_BYTES: usize = 32;

/// What makes sessions of one process be those of another one.
#[derive(Clone)]
pub(crate) struct Key([u8; KEY_BYTES]);

/// What is signed, so that a text of one kind is none of the other.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    /// A session.
    Session,
    /// A line of the login file.
    Line,
    /// The token that the page sends with each command.
    Csrf,
    /// A name that is not in the login file.
    Stranger,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("cannot read it: {0}; `nixfleet-dashboard session-key` makes one")]
    File(#[from] io::Error),
    /// Others may read it.
    #[error("its mode is {0:03o}, so others could read it and log in as anybody: chmod 600, or 640")]
    Mode(u32),
    /// Its content is no key.
    #[error(
        "it has no key, which is one line of 43 letters and digits: `nixfleet-dashboard session-key` makes one"
    )]
    Content,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

impl Key {
    /// A new one.
    ///
    /// # Errors
    /// The kernel has no random bytes.
    pub(crate) fn random() -> io::Result<Self> {
        random().map(Self)
    }

    /// Reads it from a file.
    ///
    /// # Errors
    /// [`KeyError`].
    pub(crate) fn read(path: &Path) -> Result<Self, KeyError> {
        let file = bounded_read::open(path)?;
        let mode = file.metadata()?.mode() & 0o777;
        if mode & FORBIDDEN_MODE != 0 {
            return Err(KeyError::Mode(mode));
        }
        let bytes = bounded_read::read_open(&file, MAX_FILE)?;
        let bytes = BASE64URL_NOPAD.decode(bytes.trim_ascii()).map_err(|_| KeyError::Content)?;
        bytes.try_into().map(Self).map_err(|_| KeyError::Content)
    }

    /// The line of its file.
    pub(crate) fn line(&self) -> String {
        BASE64URL_NOPAD.encode(&self.0)
    }

    /// Signs a text.
    pub(super) fn sign(&self, purpose: Purpose, text: &[u8]) -> [u8; TAG_BYTES] {
        self.mac(purpose, text).finalize().into_bytes().into()
    }

    /// Whether this key has signed the text. How long that takes says nothing about the right signature.
    pub(super) fn has_signed(&self, purpose: Purpose, text: &[u8], tag: &[u8]) -> bool {
        self.mac(purpose, text).verify_slice(tag).is_ok()
    }

    fn mac(&self, purpose: Purpose, text: &[u8]) -> Hmac<Sha256> {
        let label: &[u8] = match purpose {
            Purpose::Session => b"session\0",
            Purpose::Line => b"line\0",
            Purpose::Csrf => b"csrf\0",
            Purpose::Stranger => b"stranger\0",
        };
        // A shorter key than a block has zeros behind it, by RFC 2104.
        let mut block = [0; BLOCK_BYTES];
        block.iter_mut().zip(self.0).for_each(|(to, from)| *to = from);
        let mut mac = Hmac::<Sha256>::new(&block.into());
        mac.update(label);
        mac.update(text);
        mac
    }
}

/// Random bytes of the kernel.
pub(super) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    #[allow(clippy::disallowed_methods, reason = "the kernel's own device, of which a few bytes are read")]
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions, write};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_comes_from_a_file_that_others_cannot_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let key = Key::random().unwrap();
        write(&path, format!("{}\n", key.line())).unwrap();
        for (mode, good) in
            [(0o600, true), (0o400, true), (0o440, true), (0o640, true), (0o644, false), (0o660, false)]
        {
            set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let read = Key::read(&path);
            assert_eq!(read.is_ok(), good, "{mode:o} {read:?}");
            if let Err(err) = read {
                assert!(err.to_string().contains("chmod"), "{err}");
            }
        }
        set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let again = Key::read(&path).unwrap();
        assert_eq!(again.sign(Purpose::Session, b"a"), key.sign(Purpose::Session, b"a"));
        let short = key.line().chars().take(42).collect();
        for content in [String::new(), "key".to_owned(), short] {
            write(&path, &content).unwrap();
            assert!(matches!(Key::read(&path), Err(KeyError::Content)), "{content:?}");
        }
    }

    #[test]
    fn a_signature_is_of_one_text_one_key_and_one_purpose() {
        let (key, other) = (Key::random().unwrap(), Key::random().unwrap());
        let tag = key.sign(Purpose::Session, b"a");
        assert!(key.has_signed(Purpose::Session, b"a", &tag));
        assert!(!key.has_signed(Purpose::Session, b"b", &tag));
        assert!(!key.has_signed(Purpose::Line, b"a", &tag));
        assert!(!key.has_signed(Purpose::Session, b"a", &tag[1..]));
        assert!(!other.has_signed(Purpose::Session, b"a", &tag));
    }
}
