//! What several addresses said when none of them, or not all of them, could be reached.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use super::failure::Cause;

/// Most kinds of failures that are named. More than two are rare: a dead family, and one address that refuses.
const MOST_KINDS: usize = 4;

/// Addresses without a connection, and why. As text: `no answer from [2001:db8::1]:443 and 3 more, connection refused
/// by 192.0.2.7:443`.
#[derive(Debug, Default)]
pub(crate) struct Unanswered(Vec<(SocketAddr, io::Error)>);

impl Unanswered {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn push(&mut self, address: SocketAddr, err: io::Error) {
        self.0.push((address, err));
    }

    #[cfg(test)]
    pub(crate) fn entries(&self) -> &[(SocketAddr, io::Error)] {
        &self.0
    }

    /// What an address says that has not answered in time.
    pub(crate) fn silence() -> io::Error {
        io::ErrorKind::TimedOut.into()
    }

    /// The kind of failure that says most: an answer more than silence, and silence more than a packet that found no
    /// way out of this host. A refusal by IPv4 says more than a missing route for IPv6. So the failure of all addresses
    /// is local only if each one is.
    fn kind(&self) -> io::ErrorKind {
        let most_telling = self.0.iter().max_by_key(|(_, err)| match err.kind() {
            _ if Cause::of_tcp(err) == Cause::Local => 0,
            io::ErrorKind::TimedOut => 1,
            _ => 2,
        });
        most_telling.map_or(io::ErrorKind::NotFound, |(_, err)| err.kind())
    }
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A few kinds and tens of addresses: a list is enough.
        let mut kinds: Vec<(String, SocketAddr, usize)> = Vec::new();
        for (address, err) in &self.0 {
            let words = words(err);
            match kinds.iter_mut().find(|(known, ..)| *known == words) {
                Some((.., more)) => *more += 1,
                None => kinds.push((words, *address, 0)),
            }
        }
        for (at, (words, first, more)) in kinds.iter().take(MOST_KINDS).enumerate() {
            let separator = if at == 0 { "" } else { ", " };
            write!(f, "{separator}{words} {first}")?;
            if *more > 0 {
                write!(f, " and {more} more")?;
            }
        }
        let left: usize = kinds.iter().skip(MOST_KINDS).map(|(.., more)| more + 1).sum();
        if left > 0 { write!(f, ", other errors of {left} more") } else { Ok(()) }
    }
}

/// Stands in front of the address.
fn words(err: &io::Error) -> String {
    match err.kind() {
        io::ErrorKind::TimedOut => "no answer from".to_owned(),
        io::ErrorKind::ConnectionRefused => "connection refused by".to_owned(),
        _ => format!("{err} on the way to"),
    }
}

impl std::error::Error for Unanswered {}

impl From<Unanswered> for io::Error {
    /// One error for all of them, with the kind of the one that says most.
    fn from(unanswered: Unanswered) -> Self {
        Self::new(unanswered.kind(), unanswered)
    }
}

#[cfg(test)]
mod tests {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable, TimedOut};

    use super::*;

    fn unanswered(kinds: &[io::ErrorKind]) -> Unanswered {
        let address = |n: usize| SocketAddr::from(([10, 0, 0, u8::try_from(n).unwrap()], 443));
        Unanswered(kinds.iter().enumerate().map(|(n, kind)| (address(n), (*kind).into())).collect())
    }

    #[test]
    fn an_attempt_fails_within_this_host_only_if_every_address_does() {
        for (kinds, wanted, cause) in [
            (&[NetworkUnreachable][..], NetworkUnreachable, Cause::Local),
            (&[NetworkUnreachable, HostUnreachable], HostUnreachable, Cause::Local),
            (&[NetworkUnreachable, ConnectionRefused], ConnectionRefused, Cause::Broken),
            (&[ConnectionRefused, NetworkUnreachable], ConnectionRefused, Cause::Broken),
            (&[TimedOut, NetworkUnreachable, HostUnreachable], TimedOut, Cause::Broken),
            (&[TimedOut, ConnectionRefused], ConnectionRefused, Cause::Broken),
            (&[ConnectionRefused, TimedOut], ConnectionRefused, Cause::Broken),
        ] {
            let err = io::Error::from(unanswered(kinds));
            assert_eq!((err.kind(), Cause::of_tcp(&err)), (wanted, cause), "{kinds:?}");
        }
    }

    #[test]
    fn addresses_that_say_the_same_are_one_group_and_groups_are_bounded() {
        let same = [TimedOut; 31];
        let several = [
            NetworkUnreachable,
            TimedOut,
            ConnectionReset,
            TimedOut,
            ConnectionRefused,
            io::ErrorKind::PermissionDenied,
            io::ErrorKind::PermissionDenied,
            io::ErrorKind::Other,
        ];
        for (kinds, text) in [
            (&[ConnectionRefused][..], "connection refused by 10.0.0.0:443"),
            (&same, "no answer from 10.0.0.0:443 and 30 more"),
            (
                &[TimedOut, ConnectionRefused, TimedOut],
                "no answer from 10.0.0.0:443 and 1 more, connection refused by 10.0.0.1:443",
            ),
            (
                &several,
                "network unreachable on the way to 10.0.0.0:443, no answer from 10.0.0.1:443 and 1 more, \
                 connection reset on the way to 10.0.0.2:443, connection refused by 10.0.0.4:443, \
                 other errors of 3 more",
            ),
        ] {
            assert_eq!(unanswered(kinds).to_string(), text);
        }
    }
}
