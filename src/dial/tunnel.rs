//! The way to the target: direct, or through a proxy.
//!
//! ```text
//! http.rs    CONNECT to an HTTP proxy
//! socks.rs   SOCKS5
//! ```
//!
//! A `ws://` target goes through CONNECT as well: a proxy that forwards requests would have to understand the upgrade.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::timeout;

use nixfleet_config::{Connection, Proxy, ProxyLogin, ProxyScheme, Way};

use super::addresses::{LookupError, lookup};
use super::failure::ConnectError;
use super::hard_close::HardClose;
use super::proxy_failure::{ANSWER_S, ProxyFailure};
use super::reach::{Unreached, reach};
use super::target::Target;
use super::{Stream, blocking, tls};

pub(super) mod http;
pub(super) mod socks;

/// Most addresses of a dashboard that a SOCKS proxy is asked for, one after the other. They must fit into the time
/// limit of an attempt.
const ADDRESSES: usize = 4;

/// Opens a connection on which the target listens.
pub(super) async fn open(
    target: &Target,
    connection: &Connection,
    login: Option<&ProxyLogin>,
) -> Result<(Stream, HardClose), ConnectError> {
    match &connection.way {
        Way::Direct(_) => direct(target).await,
        Way::Proxy(proxy) => through(proxy, target, connection, login).await,
    }
}

async fn direct(target: &Target) -> Result<(Stream, HardClose), ConnectError> {
    let unreachable = |err| ConnectError::Unreachable(target.place(), err);
    let tcp = reach(target.host(), target.port()).await.map_err(|err| match err {
        Unreached::NoThread(err) => ConnectError::NoThread(err),
        Unreached::Lookup(err) => ConnectError::Lookup(target.place(), err),
        Unreached::Tcp(err) => unreachable(err),
    })?;
    let hard_close = HardClose::of(&tcp).map_err(unreachable)?;
    Ok((Box::new(tcp), hard_close))
}

async fn through(
    proxy: &Proxy,
    target: &Target,
    connection: &Connection,
    login: Option<&ProxyLogin>,
) -> Result<(Stream, HardClose), ConnectError> {
    let failed = |failure: ProxyFailure| ConnectError::from(failure.of(proxy, target));
    let mut addresses = match proxy.scheme {
        ProxyScheme::Socks5 => looked_up(target).await?.map_err(failed)?,
        _ => Vec::new(),
    }
    .into_iter();
    loop {
        // Without an address, the proxy looks up the name.
        let address = addresses.next();
        let (mut stream, hard_close) = to_proxy(proxy, target, connection).await?;
        let exchange = async {
            match proxy.scheme {
                ProxyScheme::Http | ProxyScheme::Https => {
                    http::connect(&mut stream, target, proxy, login).await
                }
                ProxyScheme::Socks5 | ProxyScheme::Socks5h => {
                    socks::connect(&mut stream, target, address, proxy, login).await
                }
            }
        };
        let done = timeout(Duration::from_secs(ANSWER_S), exchange).await;
        match done.unwrap_or(Err(ProxyFailure::Silent)) {
            Ok(()) => return Ok((stream, hard_close)),
            Err(ProxyFailure::NoWayOut(_)) if addresses.len() > 0 => {}
            Err(failure) => return Err(failed(failure)),
        }
    }
}

/// The addresses of the target, at least one.
async fn looked_up(target: &Target) -> Result<Result<Vec<SocketAddr>, ProxyFailure>, ConnectError> {
    match lookup(target.host(), target.port()).await {
        Ok(mut found) => {
            found.truncate(ADDRESSES);
            Ok(Ok(found))
        }
        Err(LookupError::NoThread(err)) => Err(ConnectError::NoThread(err)),
        Err(LookupError::NotFound(err)) => Ok(Err(ProxyFailure::TargetLookup(err.to_string()))),
    }
}

/// Connects to the proxy itself, with TLS if it wants that.
async fn to_proxy(
    proxy: &Proxy,
    target: &Target,
    connection: &Connection,
) -> Result<(Stream, HardClose), ConnectError> {
    let failed = |failure: ProxyFailure| ConnectError::from(failure.of(proxy, target));
    let tcp = reach(&proxy.host, proxy.port).await.map_err(|err| match err {
        Unreached::NoThread(err) => ConnectError::NoThread(err),
        Unreached::Lookup(err) => failed(ProxyFailure::Lookup(err)),
        Unreached::Tcp(err) => failed(ProxyFailure::Unreachable(err)),
    })?;
    let hard_close = HardClose::of(&tcp).map_err(|err| failed(ProxyFailure::Unreachable(err)))?;
    let stream: Stream = Box::new(tcp);
    if proxy.scheme != ProxyScheme::Https {
        return Ok((stream, hard_close));
    }
    let source = connection.clone();
    let config = blocking::run("certificates", move || tls::config(&source, None)).await;
    let config = config.map_err(ConnectError::NoThread)??;
    match tls::wrap(stream, &proxy.host, config).await {
        Ok((stream, _)) => Ok((stream, hard_close)),
        Err(ConnectError::Tls(err)) => Err(failed(ProxyFailure::Tls(err.to_string()))),
        Err(other) => Err(other),
    }
}
