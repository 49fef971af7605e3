//! The TCP connection to a name: the lookup, and one address after the other.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::Duration;
use std::vec;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::blocking;
use super::failure::Cause;

/// Time limit for one address of a name. Three fit into the time limit of an attempt to connect.
const ADDRESS_DEADLINE: Duration = Duration::from_secs(4);

/// Why there is no TCP connection.
#[derive(Debug)]
pub(crate) enum Unreached {
    /// There is no thread for the lookup.
    NoThread(io::Error),
    /// The name was not found.
    Lookup(io::Error),
    /// No address answered.
    Tcp(io::Error),
}

/// Connects to the first address of the name that answers: IPv6 or IPv4 alone may be broken.
pub(super) async fn reach(host: &str, port: u16) -> Result<TcpStream, Unreached> {
    one_of(lookup(host, port).await?).await
}

/// The addresses of a name. getaddrinfo(3) blocks; an address needs no lookup. Has no time limit.
pub(crate) async fn lookup(host: &str, port: u16) -> Result<vec::IntoIter<SocketAddr>, Unreached> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)].into_iter());
    }
    let name = host.to_owned();
    let found = blocking::run("lookup", move || (name.as_str(), port).to_socket_addrs()).await;
    found.map_err(Unreached::NoThread)?.map_err(Unreached::Lookup)
}

async fn one_of(addresses: impl Iterator<Item = SocketAddr>) -> Result<TcpStream, Unreached> {
    let mut told = None;
    for address in addresses {
        let err = match timeout(ADDRESS_DEADLINE, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(err)) => err,
            Err(_) => io::Error::new(io::ErrorKind::TimedOut, format!("no answer from {address}")),
        };
        told = Some(more_telling(told, err));
    }
    Err(told.map_or_else(no_address, Unreached::Tcp))
}

fn no_address() -> Unreached {
    Unreached::Lookup(io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
}

/// Of the errors of two addresses, the one to report: the later one, unless it is local and the earlier one
/// is not. A refusal by IPv4 says more than a missing route for IPv6. So the failure of an attempt is local
/// only if the failures of all addresses were.
fn more_telling(earlier: Option<io::Error>, later: io::Error) -> io::Error {
    match earlier {
        Some(earlier) if is_local(&later) && !is_local(&earlier) => earlier,
        _ => later,
    }
}

fn is_local(err: &io::Error) -> bool {
    Cause::of_tcp(err) == Cause::Local
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_fails_within_this_host_only_if_every_address_does() {
        use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable, TimedOut};

        for (kinds, wanted, cause) in [
            (&[NetworkUnreachable][..], NetworkUnreachable, Cause::Local),
            (&[NetworkUnreachable, HostUnreachable], HostUnreachable, Cause::Local),
            (&[NetworkUnreachable, ConnectionRefused], ConnectionRefused, Cause::Broken),
            (&[ConnectionRefused, NetworkUnreachable], ConnectionRefused, Cause::Broken),
            (&[TimedOut, NetworkUnreachable, HostUnreachable], TimedOut, Cause::Broken),
            (&[TimedOut, ConnectionRefused], ConnectionRefused, Cause::Broken),
        ] {
            let told = kinds.iter().fold(None, |told, kind| Some(more_telling(told, (*kind).into())));
            let told = told.unwrap();
            assert_eq!((told.kind(), Cause::of_tcp(&told)), (wanted, cause), "{kinds:?}");
        }
    }

    #[tokio::test]
    async fn names_are_looked_up_and_addresses_are_tried() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let refused = one_of([free].into_iter()).await.unwrap_err();
        let Unreached::Tcp(err) = refused else { panic!("{refused:?}") };
        assert_eq!(err.kind(), io::ErrorKind::ConnectionRefused);
        for (host, first) in [("127.0.0.1", "127.0.0.1:7"), ("::1", "[::1]:7")] {
            assert_eq!(lookup(host, 7).await.unwrap().next(), Some(first.parse().unwrap()));
        }
        assert!(lookup("localhost", 7).await.unwrap().all(|address| address.ip().is_loopback()));
        let unknown = lookup("no-such-host.invalid", 7).await;
        assert!(matches!(unknown, Err(Unreached::Lookup(_))), "{unknown:?}");
        let none = one_of([].into_iter()).await.unwrap_err();
        assert!(matches!(none, Unreached::Lookup(_)), "{none:?}");
    }
}
