//! `no_proxy`: hosts that are reached without a proxy, by the rules of curl.
//!
//! * `*` alone means every host.
//! * Entries are separated by commas or blanks.
//! * A name means itself and every name below it. A dot in front or at the end has no meaning.
//! * An address means itself; with `/BITS` behind it, the network. Names are not looked up for that.
//! * There are no ports in entries.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::Host;

/// The first entry that fits the host.
pub(super) fn matching<'a>(list: &'a str, host: &Host<&str>) -> Option<&'a str> {
    if list.trim() == "*" {
        return Some("*");
    }
    let mut entries = list.split([',', ' ', '\t']).filter(|entry| !entry.is_empty());
    entries.find(|entry| match host {
        Host::Domain(name) => is_below(name, entry),
        Host::Ipv4(address) => is_within(IpAddr::V4(*address), entry),
        Host::Ipv6(address) => is_within(IpAddr::V6(*address), entry),
    })
}

fn is_below(name: &str, entry: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let entry = entry.strip_suffix('.').unwrap_or(entry);
    let entry = entry.strip_prefix('.').unwrap_or(entry).to_ascii_lowercase();
    match name.strip_suffix(&entry) {
        _ if entry.is_empty() => false,
        Some(before) => before.is_empty() || before.ends_with('.'),
        None => false,
    }
}

fn is_within(address: IpAddr, entry: &str) -> bool {
    let (network, bits) = match entry.split_once('/') {
        Some((network, bits)) => match bits.parse::<u32>() {
            Ok(bits) => (network, Some(bits)),
            Err(_) => return false,
        },
        None => (entry, None),
    };
    match (address, network.trim_matches(['[', ']']).parse()) {
        (IpAddr::V4(address), Ok(IpAddr::V4(network))) => {
            let bits = bits.unwrap_or(Ipv4Addr::BITS);
            let differ = address.to_bits() ^ network.to_bits();
            // A shift by all bits leaves nothing that could differ.
            bits <= Ipv4Addr::BITS && differ.checked_shr(Ipv4Addr::BITS - bits).unwrap_or(0) == 0
        }
        (IpAddr::V6(address), Ok(IpAddr::V6(network))) => {
            let bits = bits.unwrap_or(Ipv6Addr::BITS);
            let differ = address.to_bits() ^ network.to_bits();
            bits <= Ipv6Addr::BITS && differ.checked_shr(Ipv6Addr::BITS - bits).unwrap_or(0) == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_excepted_as_curl_does() {
        for (list, host, wanted) in [
            ("*", "dash.example.org", Some("*")),
            (" * ", "192.0.2.1", Some("*")),
            // As a part of a list it is no name.
            ("*,x", "dash.example.org", None),
            ("example.org", "example.org", Some("example.org")),
            ("example.org", "dash.example.org", Some("example.org")),
            (".example.org", "dash.example.org", Some(".example.org")),
            (".example.org", "example.org", Some(".example.org")),
            ("example.org.", "dash.example.org", Some("example.org.")),
            ("example.org", "dash.example.org.", Some("example.org")),
            ("EXAMPLE.org", "dash.example.ORG", Some("EXAMPLE.org")),
            ("example.org", "nonexample.org", None),
            ("ample.org", "example.org", None),
            ("dash.example.org", "example.org", None),
            ("*.example.org", "dash.example.org", None),
            ("example.org:443", "example.org", None),
            ("a, b\texample.org , c", "example.org", Some("example.org")),
            (",, ,", "example.org", None),
            (".", "example.org", None),
            ("", "example.org", None),
            ("192.0.2.1", "192.0.2.1", Some("192.0.2.1")),
            ("192.0.2.1", "192.0.2.10", None),
            ("192.0.2.0/24", "192.0.2.200", Some("192.0.2.0/24")),
            ("192.0.2.77/24", "192.0.2.200", Some("192.0.2.77/24")),
            ("192.0.2.0/25", "192.0.2.200", None),
            ("192.0.2.0/33", "192.0.2.0", None),
            ("192.0.2.0/x", "192.0.2.0", None),
            ("0.0.0.0/0", "192.0.2.0", Some("0.0.0.0/0")),
            ("2.0", "192.0.2.0", None),
            ("10.0.0.0/8", "dash.example.org", None),
            ("2001:db8::/32", "[2001:db8::7]", Some("2001:db8::/32")),
            ("[2001:db8::7]", "[2001:db8::7]", Some("[2001:db8::7]")),
            ("::/0", "[2001:db8::7]", Some("::/0")),
            ("2001:db8::/129", "[2001:db8::7]", None),
            ("2001:db9::/32", "[2001:db8::7]", None),
            ("::/0", "192.0.2.1", None),
        ] {
            let url = url::Url::parse(&format!("wss://{host}/ws")).unwrap();
            assert_eq!(matching(list, &url.host().unwrap()), wanted, "{list:?} {host}");
        }
    }
}
