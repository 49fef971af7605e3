//! Words for a name that is not found and for a host that is not reached.

use std::io;

use nixfleet_os::text::one_line;

/// Longest words of the system in characters.
const SYSTEM: usize = 300;

/// Why a name was not found. getaddrinfo(3) has a number for each reason, and the standard library hands on only its
/// text, which is the C library's and always English: the agent sets no locale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NotFound {
    /// A name server said that there is no such name.
    NoName,
    /// The name is there and has no address.
    NoAddress,
    /// No name server answered.
    NoAnswer,
    /// Anything else.
    Other,
}

impl NotFound {
    fn of(err: &io::Error) -> Self {
        /// Parts of the texts of glibc, musl and macOS.
        const TEXTS: [(&str, NotFound); 9] = [
            ("Name or service not known", NotFound::NoName),
            ("Name does not resolve", NotFound::NoName),
            ("nodename nor servname", NotFound::NoName),
            ("No address associated", NotFound::NoAddress),
            ("Name has no usable address", NotFound::NoAddress),
            ("the name has no address", NotFound::NoAddress),
            ("Temporary failure in name resolution", NotFound::NoAnswer),
            ("Try again", NotFound::NoAnswer),
            ("no answer of a name server", NotFound::NoAnswer),
        ];
        let text = err.to_string();
        TEXTS.iter().find(|(part, _)| text.contains(part)).map_or(Self::Other, |(_, reason)| *reason)
    }
}

/// Words for a name that was not found. `place` is the name and a port.
pub(super) fn lookup(place: &str, err: &io::Error) -> String {
    let name = place.rsplit_once(':').map_or(place, |(name, _)| name);
    match NotFound::of(err) {
        NotFound::NoName => format!(
            "the name {name} does not exist; check the name in NIXFLEET_URL, and whether it is known to the name \
             server of this network: resolvectl query {name}"
        ),
        NotFound::NoAddress => format!(
            "the name {name} has no address; check the name in NIXFLEET_URL, and its entries A and AAAA: resolvectl \
             query {name}"
        ),
        NotFound::NoAnswer => format!(
            "no name server answered the question for {name}{}; check the network of this host and its name servers: \
             resolvectl status, /etc/resolv.conf",
            waited(&err.to_string())
        ),
        NotFound::Other => format!(
            "cannot look up the name {name} ({}); check the resolver of this host: /etc/nsswitch.conf, \
             /etc/resolv.conf",
            one_line(&err.to_string(), SYSTEM)
        ),
    }
}

/// How long a name server was waited for in vain, as the lookup says behind the words of the C library.
fn waited(text: &str) -> String {
    let time = text.split_once(", after ").and_then(|(_, rest)| rest.split_once(" without"));
    time.map(|(time, _)| format!(" within {time}")).unwrap_or_default()
}

/// Words for a host that was not reached. The error names the addresses that were tried.
pub(super) fn tcp(place: &str, err: &io::Error) -> String {
    let fix = match err.kind() {
        io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NetworkDown
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::AddrNotAvailable => {
            "this host has no way there: check its network, ip route, and the way in between"
        }
        io::ErrorKind::ConnectionRefused => {
            "nothing listens there: start the dashboard, or check host and port in NIXFLEET_URL"
        }
        io::ErrorKind::TimedOut => {
            "packets are dropped on the way: check that the machine runs, the address, and firewalls in between"
        }
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => {
            "something ended the connection at once: look at firewalls and load balancers in between"
        }
        io::ErrorKind::PermissionDenied => {
            "this host forbids it: look at its firewall, and at IPAddressDeny and RestrictAddressFamilies of the unit"
        }
        _ => "check the network of this host and the address in NIXFLEET_URL",
    };
    format!("cannot reach {place}: {}; {fix}", one_line(&err.to_string(), SYSTEM))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reasons_of_a_lookup_are_told_apart() {
        for (text, words) in [
            (
                "failed to lookup address information: Name or service not known",
                "dash.example does not exist; ",
            ),
            ("failed to lookup address information: Name does not resolve", "does not exist; "),
            ("failed to lookup address information: No address associated with hostname", "has no address; "),
            ("the name has no address", "has no address; "),
            (
                "failed to lookup address information: Temporary failure in name resolution",
                "no name server answered the question for dash.example; ",
            ),
            ("failed to lookup address information: Try again", "no name server answered"),
            (
                "Temporary failure in name resolution, after 10 s without an answer of a name server",
                "the question for dash.example within 10 s; ",
            ),
            ("no answer of a name server within 11 s", "no name server answered"),
            ("failed to lookup address information: Memory\u{1b}[2J allocation failure", "(failed to lookup"),
        ] {
            let said = lookup("dash.example:443", &io::Error::other(text));
            assert!(said.contains(words) && !said.contains('\u{1b}'), "`{words}` is not in {said}");
            assert_eq!(said.split("; ").count(), 2, "{said}");
        }
    }

    #[test]
    fn the_reasons_of_tcp_are_told_apart() {
        // Numbers of Linux, so that the test also covers how they become kinds.
        #[cfg(target_os = "linux")]
        for (number, words) in [
            (101, "Network is unreachable (os error 101); this host has no way there"),
            (113, "no way there"),
            (100, "no way there"),
            (111, "nothing listens there"),
            (110, "packets are dropped"),
            (104, "something ended the connection"),
            (1, "this host forbids it"),
            (13, "this host forbids it"),
            (24, "check the network"),
        ] {
            let said = tcp("dash.example:443", &io::Error::from_raw_os_error(number));
            assert!(said.starts_with("cannot reach dash.example:443: ") && said.contains(words), "{said}");
            assert_eq!(said.split("; ").count(), 2, "{said}");
        }
    }
}
