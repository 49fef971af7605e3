//! Hosts that are this machine.

use url::{Host as UrlHost, Url};

/// Whether the address is one of this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    url.host().is_some_and(|host| loopback(&host))
}

/// Whether the host is this machine.
pub(crate) fn loopback(host: &UrlHost<impl AsRef<str>>) -> bool {
    match host {
        UrlHost::Domain(name) => name.as_ref() == "localhost",
        UrlHost::Ipv4(address) => address.is_loopback(),
        UrlHost::Ipv6(address) => address.is_loopback(),
    }
}
