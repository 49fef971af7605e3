//! What is read anew for each attempt to connect, so that a new one needs no restart.

use std::sync::Once;

use tokio_tungstenite::tungstenite::http::HeaderValue;

use nixfleet_config::{Connection, ProxyLogin};

use super::failure::ConnectError;
use super::proxy_failure::ProxyFailure;
use super::target::Target;

/// What proves to the dashboard who this is.
#[derive(Debug)]
pub(super) struct Credentials {
    /// The value of `Authorization`; none for an attempt without a token.
    pub(super) bearer: Option<HeaderValue>,
    /// The login for the proxy, if one is set.
    pub(super) proxy: Option<ProxyLogin>,
}

impl Credentials {
    /// Reads the files. Blocks.
    pub(super) fn read(connection: &Connection, with_token: bool) -> Result<Self, ConnectError> {
        let bearer = if with_token { Some(bearer(connection)?) } else { None };
        Ok(Self { bearer, proxy: proxy(connection)? })
    }
}

fn proxy(connection: &Connection) -> Result<Option<ProxyLogin>, ConnectError> {
    let Some(proxy) = connection.way.proxy() else { return Ok(None) };
    let target = || Target::new(connection.url.expose().clone());
    let read = proxy.login.as_ref().map(|login| login.read()).transpose();
    Ok(read.map_err(|err| ProxyFailure::Login(err).of(proxy, &target()))?)
}

fn bearer(connection: &Connection) -> Result<HeaderValue, ConnectError> {
    /// The token is read for every attempt. Once per process is enough for a warning about its file.
    static WARNED: Once = Once::new();
    let token = connection.token.read()?;
    if let Some(warning) = token.warning() {
        WARNED.call_once(|| tracing::warn!("{warning}"));
    }
    let mut bearer =
        HeaderValue::try_from(format!("Bearer {}", token.expose())).map_err(|_| ConnectError::TokenForm)?;
    bearer.set_sensitive(true);
    Ok(bearer)
}
