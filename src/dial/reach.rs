//! The TCP connection to a name: the lookup, and the race to its addresses.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::CONNECT_DEADLINE;
use super::addresses::{LookupError, lookup};
use super::race::race;

/// Time limit for the lookup and all addresses together. It leaves 3 s of the attempt for TLS and the dashboard's
/// answer, and there is time to say what each address said.
const LIMIT: Duration = CONNECT_DEADLINE.saturating_sub(Duration::from_secs(3));

/// Why there is no TCP connection.
#[derive(Debug)]
pub(crate) enum Unreached {
    /// There is no thread for the lookup.
    NoThread(io::Error),
    /// The name was not found.
    Lookup(io::Error),
    /// No address answered. The error says what each of them said.
    Tcp(io::Error),
}

impl From<LookupError> for Unreached {
    fn from(err: LookupError) -> Self {
        match err {
            LookupError::NoThread(err) => Self::NoThread(err),
            LookupError::NotFound(err) => Self::Lookup(err),
        }
    }
}

/// Connects to the first address of the name that answers: IPv6 or IPv4 alone may be broken.
pub(super) async fn reach(host: &str, port: u16) -> Result<TcpStream, Unreached> {
    let begun = Instant::now();
    let addresses = lookup(host, port).await?;
    let left = LIMIT.saturating_sub(begun.elapsed());
    let connected = race(&addresses, left, TcpStream::connect).await;
    connected.map_err(|unanswered| Unreached::Tcp(unanswered.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_is_reached_or_the_error_names_its_addresses() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let tcp = reach("localhost", address.port()).await.unwrap();
        assert_eq!(tcp.peer_addr().unwrap(), address);
        drop(listener);
        let refused = reach("127.0.0.1", address.port()).await.unwrap_err();
        let Unreached::Tcp(err) = refused else { panic!("{refused:?}") };
        assert_eq!(err.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(err.to_string(), format!("connection refused by {address}"));
        let unknown = reach("no-such-host.invalid", 443).await.unwrap_err();
        assert!(matches!(unknown, Unreached::Lookup(_)), "{unknown:?}");
    }
}
