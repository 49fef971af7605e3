//! What is read anew for each attempt to connect, so that a new one needs no restart.

use std::sync::{Arc, Once};

use tokio_tungstenite::tungstenite::http::HeaderValue;

use nixfleet_config::{ClientCertificate, Connection, ProxyLogin};

use super::client_auth::ClientAuth;
use super::failure::ConnectError;
use super::identity::Identity;
use super::proxy_failure::ProxyFailure;
use super::target::Target;

/// What proves to the dashboard who this is.
#[derive(Debug)]
pub(super) struct Credentials {
    /// The value of `Authorization`; none for an attempt without a token.
    pub(super) bearer: Option<HeaderValue>,
    /// What TLS presents, and whether it was asked for it.
    pub(super) client_auth: Arc<ClientAuth>,
    /// The login for the proxy, if one is set.
    pub(super) proxy: Option<ProxyLogin>,
    /// All of it, to notice that it was replaced.
    pub(super) identity: Identity,
}

impl Credentials {
    /// Reads the files. Blocks.
    pub(super) fn read(connection: &Connection, with_token: bool) -> Result<Self, ConnectError> {
        let mut identity = Identity::default();
        let bearer = if with_token { Some(bearer(connection)?) } else { None };
        if let Some(bearer) = &bearer {
            identity.add("token", bearer.as_bytes());
        }
        // Without TLS neither it nor the trusted certificates are of any use.
        let is_secure = connection.url.expose().scheme() == "wss";
        let certificate = if is_secure { client_certificate(connection)? } else { None };
        if let Some(certificate) = &certificate {
            identity.add_certificate(certificate);
        }
        let proxy = proxy(connection)?;
        if let Some(login) = &proxy {
            identity.add("proxy login", [login.user(), login.password()].join("\0").as_bytes());
        }
        // What TLS reads again: a file that changes in between is read once more at the next request.
        if let Some(path) = connection.ca_file.as_ref().filter(|_| is_secure) {
            let certificates = nixfleet_config::certificates(path)?;
            let bytes: Vec<u8> = certificates.iter().flat_map(|certificate| certificate.to_vec()).collect();
            identity.add("trusted certificates", &bytes);
        }
        let client_auth = Arc::new(ClientAuth::new(certificate.map(|certificate| certificate.certified())));
        Ok(Self { bearer, client_auth, proxy, identity })
    }
}

/// Each file is read for every attempt. Once per process is enough for a warning about it.
fn warn_once(once: &Once, warning: Option<&str>) {
    if let Some(warning) = warning {
        once.call_once(|| tracing::warn!("{warning}"));
    }
}

fn proxy(connection: &Connection) -> Result<Option<ProxyLogin>, ConnectError> {
    let Some(proxy) = connection.way.proxy() else { return Ok(None) };
    let target = || Target::new(connection.url.expose().clone());
    let read = proxy.login.as_ref().map(|login| login.read()).transpose();
    Ok(read.map_err(|err| ProxyFailure::Login(err).of(proxy, &target()))?)
}

fn bearer(connection: &Connection) -> Result<HeaderValue, ConnectError> {
    static WARNED: Once = Once::new();
    let token = connection.token.read()?;
    warn_once(&WARNED, token.warning());
    let mut bearer =
        HeaderValue::try_from(format!("Bearer {}", token.expose())).map_err(|_| ConnectError::TokenForm)?;
    bearer.set_sensitive(true);
    Ok(bearer)
}

fn client_certificate(connection: &Connection) -> Result<Option<ClientCertificate>, ConnectError> {
    static WARNED: Once = Once::new();
    let Some(files) = &connection.client_certificate else { return Ok(None) };
    let certificate = files.read()?;
    warn_once(&WARNED, certificate.warning().as_deref());
    Ok(Some(certificate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_tls_no_certificate_is_read() {
        let read = |url: &str| {
            let variables = [
                ("NIXFLEET_URL", url),
                ("NIXFLEET_TOKEN", "t"),
                ("NIXFLEET_ALLOW_INSECURE", "1"),
                ("NIXFLEET_CLIENT_CERT", "/nonexistent/host.pem"),
                ("NIXFLEET_CLIENT_KEY", "/nonexistent/host.key"),
            ];
            let environment =
                variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            let source = nixfleet_config::Source { file: None, environment };
            let connection = nixfleet_config::Config::load(&source).unwrap().connection;
            Credentials::read(&connection, true).map(drop)
        };
        assert!(read("ws://dash.example/ws").is_ok());
        assert!(matches!(read("wss://dash.example/ws"), Err(ConnectError::ClientCertificate(_))));
    }
}
