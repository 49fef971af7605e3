//! The names under which the dashboard answers.
//!
//! A page of another site can make a browser send requests here, under a name of that site which it lets point to
//! this machine (DNS rebinding). For the browser they are requests to that site, which may then read the answers,
//! the CSRF token among them. Such a request carries the other site's name in `Host`. So the dashboard answers
//! only under names that cannot be another site's: those of loopback, the address that the connection was made
//! to, and those that the operator allows.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Names besides those of loopback and the addresses of this machine, in lower case.
#[derive(Debug, Clone, Default)]
pub(super) struct Names(BTreeSet<String>);

/// A text that is neither the name of a host nor its address.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is neither the name of a host nor an IP address; leave out scheme, port and path")]
pub struct BadName(String);

/// The host of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Name(String),
    Address(IpAddr),
}

impl Names {
    /// Allows one more name or address.
    pub(super) fn allow(&mut self, name: &str) -> Result<(), BadName> {
        let bad = || BadName(name.to_owned());
        let allowed = match host(name).ok_or_else(bad)? {
            Asked::Name(name) => name,
            Asked::Address(address) => address.to_string(),
        };
        self.0.insert(allowed);
        Ok(())
    }

    /// Whether the dashboard answers a request to this host that came to the address `local`.
    pub(super) fn answers(&self, asked: &Asked, local: Option<SocketAddr>) -> bool {
        match asked {
            Asked::Name(name) => name == "localhost" || self.0.contains(name),
            Asked::Address(address) => {
                address.is_loopback()
                    || local.is_some_and(|local| local.ip().to_canonical() == *address)
                    || self.0.contains(&address.to_string())
            }
        }
    }
}

/// The host in text such as `name`, `name.`, `192.0.2.1` or `[2001:db8::1]`, also without brackets.
pub(super) fn host(text: &str) -> Option<Asked> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    if let Some(bare) = bare {
        return bare.parse::<Ipv6Addr>().ok().map(|address| Asked::Address(address.to_canonical()));
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(Asked::Address(address.to_canonical()));
    }
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (!name.is_empty() && name.bytes().all(is_name)).then_some(Asked::Name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_name_cannot_be_allowed() {
        for name in ["", "http://a", "a/b", "a:8000", "a b", "*", "[::1", "ä"] {
            let error = Names::default().allow(name).expect_err(name).to_string();
            assert!(error.contains("leave out scheme, port and path"), "{error}");
        }
    }
}
