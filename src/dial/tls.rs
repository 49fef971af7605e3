//! TLS to the dashboard: which certificates are trusted.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use nixfleet_config::Connection;

use super::Stream;
use super::client_auth::ClientAuth;
use super::failure::ConnectError;

/// Reads the trusted certificates. Blocks.
pub(super) fn config(
    connection: &Connection,
    client_auth: Arc<ClientAuth>,
) -> Result<Arc<ClientConfig>, ConnectError> {
    let mut roots = RootCertStore::empty();
    // Certificates of the system that cannot be read are skipped.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = &connection.ca_file {
        for certificate in nixfleet_config::certificates(path)? {
            let unusable = |err| ConnectError::CaCertificate(path.clone(), err);
            roots.add(certificate).map_err(unusable)?;
        }
    }
    if roots.is_empty() {
        return Err(ConnectError::NoRoots);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ConnectError::TlsSetup)?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_client_cert_resolver(client_auth)))
}

/// Speaks TLS with this host. Returns its certificate in DER as well.
pub(super) async fn wrap(
    stream: Stream,
    host: &str,
    config: Arc<ClientConfig>,
) -> Result<(Stream, Option<Vec<u8>>), ConnectError> {
    let name =
        ServerName::try_from(host.to_owned()).map_err(|_| ConnectError::ServerName(host.to_owned()))?;
    let stream = TlsConnector::from(config).connect(name, stream).await.map_err(ConnectError::Tls)?;
    let certificates = stream.get_ref().1.peer_certificates();
    let certificate = certificates.and_then(|chain| Some(chain.first()?.to_vec()));
    Ok((Box::new(stream), certificate))
}
