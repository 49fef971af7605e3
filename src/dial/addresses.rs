//! The addresses of a name, in the order in which they are tried (RFC 8305, 4).
//!
//! The resolver sorts them by the rules of RFC 6724 and puts first what should work best. This module only makes the
//! families alternate, so that one family that leads nowhere costs one delay and not one for each of its addresses.
//!
//! RFC 8305, 3 would begin with the answer for IPv6 while that for IPv4 is on its way. getaddrinfo(3) asks for both
//! and returns when both are there or given up, so there is nothing to begin with earlier. In return, the host's own
//! rules apply: /etc/hosts, nsswitch.conf(5), mDNS, a VPN. No address is remembered from one connection to the next: a
//! connection lasts for days, so a delay at its beginning is no reason to keep state that may be out of date.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::blocking;

/// Most addresses of a name that are tried. Large providers have eight of each family. Each one that does not answer
/// keeps a socket open until the attempt is over, and takes its share of the time that all have together.
pub(crate) const MOST: usize = 32;

/// Time limit for a lookup. With one name server that does not answer, glibc gives up after 10 s: 5 s, twice. Its
/// message is better than that of this limit, which is for several such servers: with three of them glibc takes 30 s.
const LIMIT: Duration = Duration::from_secs(11);

/// A lookup that takes longer has waited for a name server in vain: resolvers wait for 5 s, and systemd-resolved's for
/// a little more. Servers that answer at all do so earlier.
pub(crate) const UNANSWERED: Duration = Duration::from_secs(3);

/// Why there are no addresses.
#[derive(Debug)]
pub(crate) enum LookupError {
    /// There is no thread for the lookup.
    NoThread(io::Error),
    /// The name was not found. The error says whether a name server was waited for in vain.
    NotFound(io::Error),
}

/// The addresses of a name, at least one. getaddrinfo(3) blocks, so it has a thread of its own, which goes on when the
/// lookup is given up after [`LIMIT`]. An address needs no lookup.
pub(crate) async fn lookup(host: &str, port: u16) -> Result<Vec<SocketAddr>, LookupError> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let name = host.to_owned();
    let begun = Instant::now();
    let asked = blocking::run("lookup", move || (name.as_str(), port).to_socket_addrs());
    let Ok(answer) = timeout(LIMIT, asked).await else {
        let text = format!("no answer of a name server within {} s", LIMIT.as_secs());
        return Err(LookupError::NotFound(io::Error::new(io::ErrorKind::TimedOut, text)));
    };
    let found = answer.map_err(LookupError::NoThread)?;
    let found = found.map_err(|err| LookupError::NotFound(not_found(err, begun.elapsed())))?;
    let addresses = alternating(found);
    if addresses.is_empty() {
        let nothing = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        return Err(LookupError::NotFound(nothing));
    }
    Ok(addresses)
}

/// getaddrinfo(3) says `Temporary failure in name resolution` of a server that is dead, of one that refuses, and of one
/// that cannot help now. How long it took tells the first from the others.
fn not_found(err: io::Error, took: Duration) -> io::Error {
    if took < UNANSWERED {
        return err;
    }
    io::Error::new(
        err.kind(),
        format!("{err}, after {} s without an answer of a name server", took.as_secs()),
    )
}

/// Begins with the first address; then the families alternate as long as there are both. Within a family the order
/// stays. What is there twice is tried once. The number is cut to [`MOST`], of which both families have their part.
fn alternating(found: impl IntoIterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut known = HashSet::new();
    let unique: Vec<SocketAddr> = found.into_iter().filter(|address| known.insert(*address)).collect();
    let first_is_ipv6 = unique.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        unique.into_iter().partition(|address| address.is_ipv6() == first_is_ipv6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut addresses = Vec::new();
    while addresses.len() < MOST {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            break;
        }
        addresses.extend(pair.into_iter().flatten());
    }
    addresses.truncate(MOST);
    addresses
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `6` and `4` with a number, such as `61 62 41`.
    fn addresses(text: &str) -> Vec<SocketAddr> {
        text.split_whitespace()
            .map(|word| {
                let (family, number) = word.split_at(1);
                let ip =
                    if family == "6" { format!("2001:db8::{number}") } else { format!("192.0.2.{number}") };
                SocketAddr::new(ip.parse().unwrap(), 443)
            })
            .collect()
    }

    #[test]
    fn families_alternate_and_the_resolver_says_which_is_first() {
        for (found, tried) in [
            ("", ""),
            ("41", "41"),
            ("61 62 63 41", "61 41 62 63"),
            ("41 42 61", "41 61 42"),
            ("61 62 63 64 65 66 67 68 41 42", "61 41 62 42 63 64 65 66 67 68"),
            ("61 41 62 42", "61 41 62 42"),
            ("41 41 61 41 61", "41 61"),
        ] {
            assert_eq!(alternating(addresses(found)), addresses(tried), "{found}");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_below_the_limit_and_no_family_above_it(
            families in prop::collection::vec(any::<bool>(), 0..80),
        ) {
            let found: Vec<SocketAddr> = (0..).zip(&families).map(|(n, ipv6)| {
                let ip: IpAddr = if *ipv6 { [0, 0, 0, 0, 0, 0, 7, n].into() } else { [10, 0, 0, n.to_be_bytes()[1]].into() };
                SocketAddr::new(ip, 443)
            }).collect();
            let tried = alternating(found.clone());
            prop_assert_eq!(tried.len(), found.len().min(MOST));
            prop_assert_eq!(tried.first(), found.first());
            for ipv6 in [false, true] {
                let of = |list: &[SocketAddr]| -> Vec<SocketAddr> {
                    list.iter().copied().filter(|address| address.is_ipv6() == ipv6).collect()
                };
                let (tried, found) = (of(&tried), of(&found));
                prop_assert!(found.starts_with(&tried));
                prop_assert!(tried.len() >= found.len().min(MOST / 2));
            }
        }
    }

    #[tokio::test]
    async fn names_are_looked_up_and_addresses_are_not() {
        for (host, address) in [("127.0.0.1", "127.0.0.1:7"), ("::1", "[::1]:7")] {
            assert_eq!(lookup(host, 7).await.unwrap(), [address.parse().unwrap()]);
        }
        assert!(lookup("localhost", 7).await.unwrap().iter().all(|address| address.ip().is_loopback()));
        let unknown = lookup("no-such-host.invalid", 7).await;
        assert!(matches!(unknown, Err(LookupError::NotFound(_))), "{unknown:?}");
    }

    #[test]
    fn a_name_server_that_does_not_answer_is_told_from_one_that_does_not_know() {
        let failed = || io::Error::other("Temporary failure in name resolution");
        assert_eq!(not_found(failed(), Duration::from_millis(2999)).to_string(), failed().to_string());
        assert_eq!(
            not_found(failed(), Duration::from_millis(10_007)).to_string(),
            "Temporary failure in name resolution, after 10 s without an answer of a name server"
        );
    }
}
