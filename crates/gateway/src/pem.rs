//! Certificates in files.

use std::path::{Path, PathBuf};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is not PEM.
    #[error("cannot read {what} in {}: {source}", path.display())]
    File {
        /// What it should have.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: rustls_pki_types::pem::Error,
    },
    /// A file has none of them.
    #[error("{} has no {what}; it must be PEM, with BEGIN {label}", path.display())]
    Empty {
        /// What it should have.
        what: &'static str,
        /// Its label in PEM.
        label: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// What a file has cannot be used.
    #[error("cannot use what is in {}: {why}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The cause.
        why: String,
    },
}

/// The certificates in a file, at least one.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::File { what: "certificates", path: path.to_owned(), source };
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(failed)?.collect();
    let certificates = read.map_err(failed)?;
    if certificates.is_empty() {
        return Err(TlsError::Empty { path: path.to_owned(), what: "certificate", label: "CERTIFICATE" });
    }
    Ok(certificates)
}
