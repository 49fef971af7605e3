//! TLS for agents, and the names in their certificates.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::settings::Tls;

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
    #[error("{} has no certificate; it must be PEM, with BEGIN CERTIFICATE", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A certificate and key cannot be used.
    #[error("cannot use the certificate in {}: {why}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The cause.
        why: String,
    },
}

/// How TLS is spoken with agents. They need not show a certificate if they may show a token instead.
///
/// # Errors
/// [`TlsError`].
pub(crate) fn server(tls: &Tls, tokens: bool) -> Result<Arc<ServerConfig>, TlsError> {
    let path = &tls.certificate_file;
    let unusable = |path: &Path, why: &dyn std::fmt::Display| TlsError::Unusable {
        path: path.to_owned(),
        why: why.to_string(),
    };
    let certificates = certificates(path)?;
    let key = PrivateKeyDer::from_pem_file(&tls.key_file).map_err(|source| TlsError::File {
        what: "the key",
        path: tls.key_file.clone(),
        source,
    })?;
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|err| unusable(path, &err))?;
    let builder = match &tls.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            for certificate in self::certificates(ca)? {
                roots.add(certificate).map_err(|err| unusable(ca, &err))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = if tokens { verifier.allow_unauthenticated() } else { verifier };
            builder.with_client_cert_verifier(verifier.build().map_err(|err| unusable(ca, &err))?)
        }
    };
    builder.with_single_cert(certificates, key).map(Arc::new).map_err(|err| unusable(path, &err))
}

/// The hosts that a certificate is for: its DNS names (RFC 5280, section 4.2.1.6), up to the first dot.
pub(crate) fn hosts(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(certificate) = webpki::EndEntityCert::try_from(certificate) else { return Vec::new() };
    let host = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
    certificate.valid_dns_names().map(host).filter(|name| nixfleet_protocol::is_hostname(name)).collect()
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::File { what: "certificates", path: path.to_owned(), source };
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(failed)?.collect();
    let certificates = read.map_err(failed)?;
    if certificates.is_empty() {
        return Err(TlsError::Empty { path: path.to_owned() });
    }
    Ok(certificates)
}
