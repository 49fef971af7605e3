//! Proxies that are believed, and who is behind them.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::http::HeaderMap;
use ipnet::IpNet;

/// Where proxies say for whom they ask.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// Bits of an IPv6 address that belong to the network of one customer. Whoever has it has all addresses in it.
const OWN_BITS: u32 = 64;

/// Bits of an IPv6 address that belong to one site. Whoever rents a server or a line may get as much, which is 65,536
/// networks.
const SITE_BITS: u32 = 48;

/// The addresses of proxies.
#[derive(Debug, Clone, Default)]
pub(crate) struct Networks(Vec<IpNet>);

impl Networks {
    pub(crate) fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Whether this is one of them.
    pub(crate) fn have(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Where a request comes from: the peer, or if that is a proxy, whom it names last, and so on. What a stranger has
    /// written into the header before is not looked at, and need not be text: most proxies add to it.
    pub(crate) fn origin(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let all = headers.get_all(FORWARDED_FOR).iter();
        let named: Vec<&[u8]> = all.flat_map(|value| value.as_bytes().split(|&b| b == b',')).collect();
        let mut origin = peer.to_canonical();
        for text in named.into_iter().rev() {
            if !self.have(origin) {
                break;
            }
            let Some(address) = address(text) else { break };
            origin = address.to_canonical();
        }
        origin
    }
}

/// An address, which some proxies write with the port.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text).ok()?.trim();
    text.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

/// All addresses of somebody who has this one, as one.
pub(crate) fn crowd(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(six) => first_bits(six, OWN_BITS),
    }
}

/// All addresses of the site of this one, as one. None if its addresses are counted one by one.
pub(crate) fn site(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(six) => Some(first_bits(six, SITE_BITS)),
    }
}

/// The address with zeros behind so many bits, of which there are some.
fn first_bits(address: Ipv6Addr, bits: u32) -> IpAddr {
    let rest = Ipv6Addr::BITS - bits;
    IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> rest << rest))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_proxies_are_believed_and_only_what_they_say_themselves() {
        let networks = Networks::new(vec!["10.0.0.0/8".parse().unwrap(), "127.0.0.1/32".parse().unwrap()]);
        for (peer, header, origin) in [
            ("192.0.2.1", "198.51.100.7", "192.0.2.1"),
            ("127.0.0.1", "198.51.100.7", "198.51.100.7"),
            ("::ffff:127.0.0.1", "198.51.100.7", "198.51.100.7"),
            ("127.0.0.1", "203.0.113.9, 198.51.100.7", "198.51.100.7"),
            ("127.0.0.1", "198.51.100.7, 10.1.2.3", "198.51.100.7"),
            ("127.0.0.1", "198.51.100.7:4711", "198.51.100.7"),
            ("127.0.0.1", "[2001:db8::1]:4711", "2001:db8::1"),
            ("127.0.0.1", "198.51.100.7, unknown", "127.0.0.1"),
            ("127.0.0.1", "", "127.0.0.1"),
            ("127.0.0.1", "\u{ff}, 198.51.100.7", "198.51.100.7"),
            ("127.0.0.1", "198.51.100.7, \u{ff}", "127.0.0.1"),
        ] {
            let mut headers = HeaderMap::new();
            // Each letter is one byte, so that some are no text.
            let bytes: Vec<u8> = header.chars().map(|letter| u8::try_from(letter).unwrap()).collect();
            headers.insert(FORWARDED_FOR, HeaderValue::from_bytes(&bytes).unwrap());
            let expected: IpAddr = origin.parse().unwrap();
            assert_eq!(networks.origin(peer.parse().unwrap(), &headers), expected, "{peer} {header}");
        }
        assert!(!Networks::default().have("127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn all_addresses_of_one_customer_are_one() {
        let crowd = |text: &str| crowd(text.parse().unwrap());
        assert_eq!(crowd("2001:db8::1"), crowd("2001:db8::ffff:2"));
        assert_ne!(crowd("2001:db8::1"), crowd("2001:db8:0:1::1"));
        assert_ne!(crowd("192.0.2.1"), crowd("192.0.2.2"));
        let site = |text: &str| site(text.parse().unwrap());
        assert_eq!(site("2001:db8::1"), site("2001:db8:0:ffff::1"));
        assert_ne!(site("2001:db8::1"), site("2001:db8:1::1"));
        assert_eq!(site("192.0.2.1"), None);
    }
}
