//! The address of a proxy. The login in it is taken out at once.

use nixfleet_os::address::public;
use percent_encoding::percent_decode_str;
use url::{Host, Url};

use super::login::ProxyLogin;
use crate::layers::quoted;

/// What a proxy speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyScheme {
    /// HTTP, unencrypted up to the proxy.
    Http,
    /// HTTP in TLS.
    Https,
    /// SOCKS5; this host looks up the name of the dashboard.
    Socks5,
    /// SOCKS5; the proxy looks up the name of the dashboard.
    Socks5h,
}

impl ProxyScheme {
    /// The scheme in an address.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Socks5 => "socks5",
            Self::Socks5h => "socks5h",
        }
    }

    /// The port of an address without one, as for curl.
    fn default_port(self) -> u16 {
        if self == Self::Https { 443 } else { 1080 }
    }
}

/// A proxy as it was written.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) scheme: ProxyScheme,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) login: Option<ProxyLogin>,
}

impl Given {
    /// The host as it is in a URL.
    pub(super) fn shown_host(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }
}

/// Parses `[SCHEME://][USER:PASSWORD@]HOST[:PORT]`; the error says what is wrong, without a secret. A path behind it is
/// ignored, as curl does.
pub(super) fn parse(text: &str) -> Result<Given, String> {
    let text = text.trim();
    // What stands before `://` may be a login, a host and a path.
    let is_scheme =
        |head: &str| head.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let with_scheme = text.split_once("://").filter(|(head, _)| is_scheme(head));
    let shown = || {
        // Without a scheme, a name of a user would be shown.
        let address = if with_scheme.is_some() { text.to_owned() } else { format!("http://{text}") };
        let public = public(&address);
        let public = if with_scheme.is_some() { &public } else { public.trim_start_matches("http://") };
        quoted(public)
    };
    let wrong = |why: &str| format!("{} is not the address of a proxy: {why}", shown());
    let (scheme, rest) = with_scheme.unwrap_or(("http", text));
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "http" => ProxyScheme::Http,
        "https" => ProxyScheme::Https,
        "socks5" => ProxyScheme::Socks5,
        "socks5h" => ProxyScheme::Socks5h,
        "socks" | "socks4" | "socks4a" => return Err(wrong("of SOCKS, only version 5 is spoken")),
        _ => return Err(wrong("its scheme is none of http, https, socks5, socks5h")),
    };
    // Under a scheme that the library does not know, it keeps a port that is the default of http or https.
    let url = Url::parse(&format!("socks5h://{rest}")).map_err(|err| wrong(&err.to_string()))?;
    let written = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| wrong("it has no host"))?;
    let host = match Host::parse(written).map_err(|err| wrong(&err.to_string()))? {
        Host::Domain(name) => name,
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_string(),
    };
    let port = url.port().unwrap_or_else(|| scheme.default_port());
    if port == 0 {
        return Err(wrong("its port is 0"));
    }
    let decoded = |text: &str| {
        let decoded = percent_decode_str(text).decode_utf8();
        let decoded = decoded.map_err(|_| wrong("its login is not UTF-8"))?;
        match decoded.contains(char::is_control) {
            true => Err(wrong("its login has a control character")),
            false => Ok(decoded.into_owned()),
        }
    };
    let login = match (url.username(), url.password()) {
        ("", None) => None,
        (user, password) => Some(ProxyLogin::new(&decoded(user)?, &decoded(password.unwrap_or_default())?)),
    };
    Ok(Given { scheme, host, port, login })
}
