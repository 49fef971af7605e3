//! The client certificate: by which a dashboard that asks for one knows this host (mutual TLS).
//!
//! Certificate and key are files in PEM, which may be replaced while the agent runs. Both may be the same file.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use nixfleet_os::certificate::{Certificate, Validity};
use nixfleet_os::text::BYTE_ORDER_MARK;
use nixfleet_os::{bounded_read, sha256};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::pem_content::{Content, damage};
use crate::problem::one_line;

/// Longest file read, in bytes: a chain of some certificates of a few KiB each, or a key.
const MAX_FILE: u64 = 256 * 1024;

/// What systemd passes in the place of a file that is missing: `SetCredential=` of the agent's unit. It is not PEM.
const NOT_PASSED: &[u8] = b"no client certificate was passed";

/// Remaining validity below which a certificate should have been renewed already: long enough for somebody to notice
/// the warning and to act.
pub const EXPIRES_SOON: SignedDuration = SignedDuration::from_hours(14 * 24);

/// Where the client certificate and its key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificateFiles {
    /// The file with the certificate, and those between it and its authority.
    pub cert: PathBuf,
    /// The file with its key.
    pub key: PathBuf,
}

/// A client certificate that was read, with its key.
#[derive(Debug, Clone)]
pub struct ClientCertificate {
    certified: Arc<CertifiedKey>,
    path: PathBuf,
    validity: Option<Validity>,
    digest: String,
    open_key: Option<PathBuf>,
}

/// What is unusual about a client certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// What it is.
    pub kind: RemarkKind,
    /// One sentence, and after a semicolon what to do.
    pub text: String,
}

/// What is unusual about the time of a client certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemarkKind {
    /// It has not begun.
    NotYetValid,
    /// It is over.
    Expired,
    /// It is over soon.
    EndsSoon,
}

impl RemarkKind {
    /// Whether a dashboard that looks at the time refuses the certificate.
    pub fn is_error(self) -> bool {
        self != Self::EndsSoon
    }
}

/// The client certificate cannot be used. The error never contains a part of the key.
#[derive(Debug, thiserror::Error)]
pub enum ClientCertificateError {
    /// A file cannot be read.
    #[error("cannot read {} ({setting}): {why}; name a file that the agent can read", shown(path))]
    Unreadable {
        /// The setting that names the file.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        why: io::Error,
    },
    /// systemd had no file to pass when it started the unit.
    #[error(
        "systemd passed no {setting} to the agent, because the file in LoadCredential= of its unit was missing; write \
         the file and run systemctl restart nixfleet-agent"
    )]
    NotPassed {
        /// The setting that is meant.
        setting: &'static str,
    },
    /// The first file has no certificate in PEM.
    #[error(
        "{} (client_cert) holds {}, and no certificate in PEM; {}",
        shown(path),
        content.name(),
        content.to_certificate()
    )]
    NoCertificate {
        /// The file.
        path: PathBuf,
        /// What it holds instead.
        content: Content,
    },
    /// The second file has no key in PEM.
    #[error(
        "{} (client_key) holds {}, and no private key in PEM; {}",
        shown(path),
        content.name(),
        content.to_key()
    )]
    NoKey {
        /// The file.
        path: PathBuf,
        /// What it holds instead.
        content: Content,
    },
    /// The key needs a password, and nobody is there to type it.
    #[error(
        "the key in {0} (client_key) is encrypted, and nobody types a password for the agent; decrypt it with openssl \
         pkey -in {0} -out NEW, and let root alone read NEW",
        shown(path)
    )]
    Encrypted {
        /// The file.
        path: PathBuf,
    },
    /// A part of a file looks like PEM and is none.
    #[error("{} ({setting}) is cut off or damaged ({why}); write it anew", shown(path))]
    Malformed {
        /// The setting that names the file.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: &'static str,
    },
    /// The certificate in the first file cannot be understood.
    #[error("{} (client_cert) holds a certificate that cannot be used ({why}); write it anew", shown(path))]
    UnusableCertificate {
        /// The file.
        path: PathBuf,
        /// The cause.
        why: rustls::Error,
    },
    /// No key of this kind can be used.
    #[error(
        "{} (client_key) holds a key of a kind that cannot be used; make an ECDSA key (P-256 or P-384), an Ed25519 key \
         or an RSA key of 2048 to 8192 bits",
        shown(path)
    )]
    UnusableKey {
        /// The file.
        path: PathBuf,
    },
    /// The two do not belong together.
    #[error(
        "the key in {} is not that of the certificate in {}; name the two files that were made together in client_key \
         and client_cert, with the certificate of this host first",
        shown(key),
        shown(cert)
    )]
    Mismatch {
        /// The file with the certificate.
        cert: PathBuf,
        /// The file with the key.
        key: PathBuf,
    },
}

impl ClientCertificateError {
    /// The setting whose value has to change, or whose file.
    pub fn setting(&self) -> &'static str {
        match self {
            Self::Unreadable { setting, .. }
            | Self::NotPassed { setting }
            | Self::Malformed { setting, .. } => setting,
            Self::NoCertificate { .. } | Self::UnusableCertificate { .. } => CERT,
            Self::NoKey { .. }
            | Self::Encrypted { .. }
            | Self::UnusableKey { .. }
            | Self::Mismatch { .. } => KEY,
        }
    }
}

/// Names of the two settings.
pub(crate) const CERT: &str = "client_cert";
pub(crate) const KEY: &str = "client_key";

fn shown(path: &Path) -> String {
    one_line(&path.to_string_lossy())
}

impl ClientCertificateFiles {
    /// Reads both files. It is called for every connection attempt, so a renewed certificate needs no restart.
    ///
    /// # Errors
    /// [`ClientCertificateError`], which names the file.
    pub fn read(&self) -> Result<ClientCertificate, ClientCertificateError> {
        let (cert, key) = (read(CERT, &self.cert)?, read(KEY, &self.key)?);
        let chain = chain(&self.cert, &cert)?;
        let private = private_key(&self.key, &key)?;
        let mut bytes = private.secret_der().to_vec();
        chain.iter().for_each(|part| bytes.extend_from_slice(part));
        let digest = sha256::hash_bytes(&bytes);
        let signing = rustls::crypto::ring::sign::any_supported_type(&private)
            .map_err(|_| ClientCertificateError::UnusableKey { path: self.key.clone() })?;
        let validity = chain.first().and_then(|first| Certificate::read(first)).map(|read| read.validity);
        let certified = CertifiedKey::new(chain, signing);
        match certified.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(rustls::Error::InconsistentKeys(_)) => {
                return Err(ClientCertificateError::Mismatch {
                    cert: self.cert.clone(),
                    key: self.key.clone(),
                });
            }
            Err(why) => {
                return Err(ClientCertificateError::UnusableCertificate { path: self.cert.clone(), why });
            }
        }
        Ok(ClientCertificate {
            certified: Arc::new(certified),
            path: self.cert.clone(),
            validity,
            digest,
            open_key: is_open(&self.key).then(|| self.key.clone()),
        })
    }
}

/// Whether users that are neither the owner nor in the group may read the file.
fn is_open(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o004 != 0)
}

fn read(setting: &'static str, path: &Path) -> Result<Vec<u8>, ClientCertificateError> {
    let unreadable = |why| ClientCertificateError::Unreadable { setting, path: path.to_owned(), why };
    let bytes = bounded_read::read(path, MAX_FILE).map_err(unreadable)?;
    if bytes == NOT_PASSED {
        return Err(ClientCertificateError::NotPassed { setting });
    }
    // With the mark, the first line would not count.
    Ok(bytes.strip_prefix(BYTE_ORDER_MARK).map(<[u8]>::to_vec).unwrap_or(bytes))
}

fn chain(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, ClientCertificateError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let malformed =
        |why| ClientCertificateError::Malformed { setting: CERT, path: path.to_owned(), why: damage(&why) };
    let found = found.map_err(malformed)?;
    if !found.is_empty() {
        return Ok(found);
    }
    Err(ClientCertificateError::NoCertificate { path: path.to_owned(), content: Content::of(text) })
}

fn private_key(path: &Path, text: &[u8]) -> Result<PrivateKeyDer<'static>, ClientCertificateError> {
    // The second one is the form of old versions of OpenSSL.
    if has(text, "-----BEGIN ENCRYPTED PRIVATE KEY-----") || has(text, "Proc-Type: 4,ENCRYPTED") {
        return Err(ClientCertificateError::Encrypted { path: path.to_owned() });
    }
    match PrivateKeyDer::from_pem_slice(text) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => {
            Err(ClientCertificateError::NoKey { path: path.to_owned(), content: Content::of(text) })
        }
        Err(why) => {
            Err(ClientCertificateError::Malformed { setting: KEY, path: path.to_owned(), why: damage(&why) })
        }
    }
}

fn has(text: &[u8], label: &str) -> bool {
    text.windows(label.len()).any(|part| part == label.as_bytes())
}

impl ClientCertificate {
    /// What TLS presents.
    pub fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }

    /// The file with the certificate.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// When it is valid; none if that cannot be read.
    pub fn validity(&self) -> Option<Validity> {
        self.validity
    }

    /// SHA-256 of the chain and its key, to notice that they were replaced.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// A key that everybody may read, as a sentence; none if it is private.
    pub fn warning(&self) -> Option<String> {
        let path = self.open_key.as_deref().map(shown)?;
        Some(format!(
            "Everybody on this host can read the key {path} (client_key); chmod 0400, with the owner who starts the \
             agent, and get a new certificate with a new key."
        ))
    }

    /// What is unusual about its time; none if it is good for a while.
    pub fn remark(&self, now: Timestamp) -> Option<Remark> {
        Remark::of(&self.path, self.validity?, now)
    }
}

impl Remark {
    /// What is unusual about the time of the certificate in this file; none if it is good for a while.
    pub fn of(path: &Path, validity: Validity, now: Timestamp) -> Option<Self> {
        let Validity { not_before, not_after } = validity;
        let path = shown(path);
        let remark = |kind, text| Some(Self { kind, text });
        if now < not_before {
            return remark(
                RemarkKind::NotYetValid,
                format!(
                    "the client certificate {path} is valid from {not_before} on, and the clock here says {now:.0}; check the \
                 clock with timedatectl, or wait"
                ),
            );
        }
        if now >= not_after {
            return remark(
                RemarkKind::Expired,
                format!(
                    "the client certificate {path} has expired at {not_after}; put a new one in its place, and run \
                 systemctl restart nixfleet-agent"
                ),
            );
        }
        let left = not_after.duration_since(now);
        // A certificate of a shorter life is renewed in its last third.
        let third = not_after.duration_since(not_before) / 3;
        (left < EXPIRES_SOON.min(third)).then(|| {
            let left = match left.as_hours() {
                0 => format!("{} minutes", left.as_mins()),
                hours @ 1..48 => format!("{hours} hours"),
                hours => format!("{} days", hours / 24),
            };
            let text = format!(
                "the client certificate {path} expires in {left}, at {not_after}; put a new one in its place, and run \
                 systemctl restart nixfleet-agent"
            );
            Self { kind: RemarkKind::EndsSoon, text }
        })
    }
}

#[cfg(test)]
mod tests;
