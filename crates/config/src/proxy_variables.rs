//! The names of the variables that decide on the proxy, as curl knows them.

/// Variables with the proxy for `wss://`, the first one that is set counts.
pub(crate) const SECURE: [&str; 6] =
    ["wss_proxy", "WSS_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];

/// The same for `ws://`. HTTP_PROXY is not among them: a web server sets it for its CGI programs to what a client sent
/// as the header `Proxy`.
pub(crate) const PLAIN: [&str; 5] = ["ws_proxy", "WS_PROXY", "http_proxy", "all_proxy", "ALL_PROXY"];

/// Variables with hosts that are reached directly.
pub(crate) const EXCEPTIONS: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// Whether a variable can decide on the proxy.
pub fn is_proxy_variable(name: &str) -> bool {
    SECURE.contains(&name) || PLAIN.contains(&name) || EXCEPTIONS.contains(&name)
}
