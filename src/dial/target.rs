//! Where the WebSocket is.

use url::Url;

/// The address of a WebSocket: host, port, path, and whether TLS protects it.
#[derive(Debug, Clone)]
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

    /// Host and port, as messages name them.
    pub fn place(&self) -> String {
        format!("{}:{}", self.host(), self.port())
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
