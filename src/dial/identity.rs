//! What proved to the dashboard who this is, to compare it with what would prove it now. It holds no secret.

use std::fmt;
use std::path::PathBuf;

use nixfleet_config::ClientCertificate;
use nixfleet_os::certificate::Validity;
use nixfleet_os::sha256;

/// Everything that proves who this is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    parts: Vec<(&'static str, Digest)>,
    /// The file with the client certificate and its time, if there is one.
    pub certificate: Option<(PathBuf, Validity)>,
}

/// SHA-256 of a secret. `Debug` does not show it: a short secret could be guessed from it.
#[derive(Clone, PartialEq, Eq)]
struct Digest(String);

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(..)")
    }
}

impl Identity {
    /// One of a single secret.
    #[cfg(test)]
    pub(crate) fn of(name: &'static str, secret: &str) -> Self {
        let mut identity = Self::default();
        identity.add(name, secret.as_bytes());
        identity
    }

    /// Adds a secret, by its name for people.
    pub(super) fn add(&mut self, name: &'static str, secret: &[u8]) {
        self.parts.push((name, Digest(sha256::hash_bytes(secret))));
    }

    /// Adds the client certificate and its key.
    pub(super) fn add_certificate(&mut self, certificate: &ClientCertificate) {
        self.add("client certificate", certificate.digest().as_bytes());
        self.certificate = certificate.validity().map(|validity| (certificate.path().to_owned(), validity));
    }

    /// The names of what is different in `newer`.
    pub fn changes(&self, newer: &Self) -> Vec<&'static str> {
        let is_new = |part: &&(&'static str, Digest)| !self.parts.contains(part);
        let gone = self.parts.iter().filter(|(name, _)| newer.parts.iter().all(|(kept, _)| kept != name));
        newer.parts.iter().filter(is_new).chain(gone).map(|(name, _)| *name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(parts: &[(&'static str, &str)]) -> Identity {
        let mut identity = Identity::default();
        for (name, secret) in parts {
            identity.add(name, secret.as_bytes());
        }
        identity
    }

    #[test]
    fn what_was_replaced_is_named_and_never_shown() {
        let old = of(&[("token", "s3cret"), ("proxy login", "a:b")]);
        for (newer, wanted) in [
            (vec![("token", "s3cret"), ("proxy login", "a:b")], vec![]),
            (vec![("token", "other"), ("proxy login", "a:b")], vec!["token"]),
            (vec![("token", "other"), ("proxy login", "b")], vec!["token", "proxy login"]),
            (vec![("token", "s3cret")], vec!["proxy login"]),
            (vec![("token", "s3cret"), ("proxy login", "a:b"), ("x", "")], vec!["x"]),
        ] {
            assert_eq!(old.changes(&of(&newer)), wanted, "{newer:?}");
        }
        let shown = format!("{old:?}");
        assert!(!shown.contains("s3cret") && !shown.contains(&sha256::hash_bytes(b"s3cret")), "{shown}");
    }
}
