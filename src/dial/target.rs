//! Where the WebSocket is.

use url::Url;

use nixfleet_os::address::public;
use nixfleet_os::text::one_line;

/// Longest address in a message, in characters.
pub(super) const SHOWN: usize = 200;

/// The address of a WebSocket: host, port, path, and whether TLS protects it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    url: Url,
}

impl Target {
    /// The target of a URL, which has a host and the scheme `ws` or `wss`: the settings were checked.
    pub fn new(url: Url) -> Self {
        Self { url }
    }

    /// Name or address of the host. An IPv6 address has no brackets.
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default().trim_matches(['[', ']'])
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.url.port_or_known_default().unwrap_or(443)
    }

    /// The value of `Host`: with the port only if it is not the default of the scheme, and with the brackets of an IPv6
    /// address.
    pub(super) fn authority(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        match self.url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }

    /// Path and query, as the first line of a request names them.
    pub(super) fn request_target(&self) -> String {
        match self.url.query() {
            Some(query) => format!("{}?{query}", self.url.path()),
            None => self.url.path().to_owned(),
        }
    }

    /// Host and port, as messages name them.
    pub fn place(&self) -> String {
        place(self.host(), self.port())
    }

    /// The address for people, without its query.
    pub fn shown(&self) -> String {
        one_line(&public(self.url.as_str()), SHOWN)
    }

    /// Whether TLS protects it.
    pub fn is_secure(&self) -> bool {
        self.url.scheme() == "wss"
    }

    /// The whole address. It may hold a secret in its query.
    pub fn url(&self) -> &Url {
        &self.url
    }
}

/// A host and its port, as messages name them. An address of IPv6 is in brackets.
pub fn place(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_the_parts_of_the_address() {
        for (url, authority, request_target) in [
            ("wss://dash.example/ws", "dash.example", "/ws"),
            ("wss://dash.example:443/ws", "dash.example", "/ws"),
            ("ws://dash.example:443", "dash.example:443", "/"),
            ("ws://me:secret@Dash.Example:80/a%20b?x=%26&y#part", "dash.example", "/a%20b?x=%26&y"),
            ("ws://[2001:db8::1]:8000/ws", "[2001:db8::1]:8000", "/ws"),
            ("ws://10.0.0.1/ws/", "10.0.0.1", "/ws/"),
        ] {
            let target = Target::new(url.parse().unwrap());
            assert_eq!(
                (target.authority().as_str(), target.request_target().as_str()),
                (authority, request_target)
            );
        }
    }

    #[test]
    fn messages_name_host_and_port_so_that_they_can_be_told_apart() {
        for (url, place) in [
            ("wss://dash.example/ws", "dash.example:443"),
            ("ws://10.0.0.1:8000/ws", "10.0.0.1:8000"),
            ("ws://[2001:db8::1]:8000/ws", "[2001:db8::1]:8000"),
        ] {
            assert_eq!(Target::new(url.parse().unwrap()).place(), place);
        }
    }
}
