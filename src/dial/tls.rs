//! TLS to the dashboard: which certificates are trusted.

use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use nixfleet_config::Connection;

use super::Stream;
use super::client_auth::ClientAuth;
use super::failure::ConnectError;
use super::handshake::HandshakeFailure;
use super::mistrust::Mistrust;
use first_bytes::FirstBytes;
use verifier::Verifier;

mod first_bytes;
mod verifier;

/// What one connection needs for TLS.
#[derive(Debug)]
pub(super) struct Settings {
    client: Arc<ClientConfig>,
    /// Why the certificate of the server was refused. rustls hands on only what an alert can say.
    verdict: Arc<OnceLock<Mistrust>>,
}

/// Reads the trusted certificates. Blocks. `client_auth` is what the server may ask for; a proxy is told nothing.
pub(super) fn config(
    connection: &Connection,
    client_auth: Option<Arc<ClientAuth>>,
) -> Result<Settings, ConnectError> {
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
    let webpki = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let webpki =
        webpki.build().map_err(|err| ConnectError::TlsSetup(rustls::Error::General(err.to_string())))?;
    let (verifier, verdict) = Verifier::new(webpki);
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ConnectError::TlsSetup)?
        // rustls calls every verifier dangerous that is not its own. This one hands on the verdict of rustls' own.
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let client = match client_auth {
        Some(client_auth) => builder.with_client_cert_resolver(client_auth),
        None => builder.with_no_client_auth(),
    };
    Ok(Settings { client: Arc::new(client), verdict })
}

/// Speaks TLS with this host. Returns its certificate in DER as well.
pub(super) async fn wrap(
    stream: Stream,
    host: &str,
    settings: Settings,
) -> Result<(Stream, Option<Vec<u8>>), ConnectError> {
    let name =
        ServerName::try_from(host.to_owned()).map_err(|_| ConnectError::ServerName(host.to_owned()))?;
    let connector = TlsConnector::from(settings.client);
    let stream = connector.connect(name, FirstBytes::of(stream)).into_fallible().await;
    let stream = stream.map_err(|(err, stream)| {
        let failure = HandshakeFailure::new(&err, host, settings.verdict.get(), stream.seen());
        ConnectError::Tls(failure)
    })?;
    let certificates = stream.get_ref().1.peer_certificates();
    let certificate = certificates.and_then(|chain| Some(chain.first()?.to_vec()));
    Ok((Box::new(stream), certificate))
}
