//! TLS for agents.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;

use crate::clients::Clients;
use crate::pem::{TlsError, certificates};
use crate::settings::Tls;

/// How TLS is spoken with agents.
#[derive(Debug, Clone)]
pub(crate) struct Speech {
    /// For handshakes.
    pub(crate) config: Arc<ServerConfig>,
    /// Which certificates of agents are trusted. None if they are not asked for.
    pub(crate) clients: Option<Clients>,
}

/// Reads the files. Agents need not show a certificate if they may show a token instead.
///
/// # Errors
/// [`TlsError`].
pub(crate) fn speech(tls: &Tls, tokens: bool) -> Result<Speech, TlsError> {
    let path = &tls.certificate_file;
    let unusable =
        |why: &dyn std::fmt::Display| TlsError::Unusable { path: path.to_owned(), why: why.to_string() };
    let certificates = certificates(path)?;
    let key = PrivateKeyDer::from_pem_file(&tls.key_file).map_err(|source| TlsError::File {
        what: "the key",
        path: tls.key_file.clone(),
        source,
    })?;
    let crl = tls.client_crl_file.as_deref();
    let clients = tls.client_ca_file.as_deref().map(|ca| Clients::read(ca, crl, tokens)).transpose()?;
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|err| unusable(&err))?;
    let builder = match &clients {
        None => builder.with_no_client_auth(),
        Some(clients) => builder.with_client_cert_verifier(clients.verifier()),
    };
    let config = builder.with_single_cert(certificates, key).map(Arc::new).map_err(|err| unusable(&err))?;
    Ok(Speech { config, clients })
}
