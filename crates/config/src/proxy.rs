//! The way to the dashboard: direct, or through a proxy.
//!
//! The setting `proxy` decides; without it, the variables that curl reads for a URL of this scheme. A WebSocket counts
//! as the web pages of its kind: `wss://` as `https://`, and `ws://` as `http://`.
//!
//! ```text
//! address.rs   the address of a proxy, and the login in it
//! no_proxy.rs  hosts that are reached without a proxy
//! login.rs     the login for a proxy, in a file or in the address
//! ```

use std::fmt;
use std::path::{Path, PathBuf};

use url::{Host as UrlHost, Url};

use crate::check::{Checker, set};
use crate::loopback::{is_loopback, loopback};
use crate::problem::one_line;
use crate::proxy_variables::{EXCEPTIONS, PLAIN, SECURE};
use address::Given;

mod address;
mod login;
mod no_proxy;

pub use address::ProxyScheme;
pub use login::{LoginSource, ProxyLogin, ProxyLoginError};

/// Keys that only this module reads.
pub(super) const KEYS: [&str; 2] = [KEY, LOGIN_KEY];

const KEY: &str = "proxy";
const LOGIN_KEY: &str = "proxy_login_file";

/// Name of the systemd credential with the login.
pub const LOGIN_CREDENTIAL: &str = "proxy-login";

/// The way to the dashboard. `Display` says which one and why, without a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// Without a proxy.
    Direct(Direct),
    /// Through this proxy.
    Proxy(Proxy),
}

/// Why there is no proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Direct {
    /// No proxy is set.
    Unset,
    /// A setting says so.
    Asked {
        /// Where it is.
        said_by: String,
    },
    /// A variable names a proxy, and another one excepts the dashboard.
    Excepted {
        /// The variable that names the proxy.
        said_by: String,
        /// The variable with the exceptions.
        variable: String,
        /// The exception that fits.
        entry: String,
    },
    /// A variable names a proxy, and the dashboard is on this machine.
    Loopback {
        /// The variable that names the proxy.
        said_by: String,
    },
    /// A variable names a proxy that this agent cannot use.
    Unusable {
        /// The variable.
        said_by: String,
    },
}

/// A proxy. `Display` shows its address, without the login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// What it speaks.
    pub scheme: ProxyScheme,
    /// Its name or address, an IPv6 address without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// What named it: a variable, or the key and the file.
    pub said_by: String,
    /// Where its login is.
    pub login: Option<LoginSource>,
}

impl Way {
    /// The proxy, if there is one.
    pub fn proxy(&self) -> Option<&Proxy> {
        match self {
            Self::Direct(_) => None,
            Self::Proxy(proxy) => Some(proxy),
        }
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, host, port, .. } = self;
        let scheme = scheme.as_str();
        match host.contains(':') {
            true => write!(f, "{scheme}://[{host}]:{port}"),
            false => write!(f, "{scheme}://{host}:{port}"),
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proxy(proxy) => write!(f, "{proxy} (from {})", proxy.said_by),
            Self::Direct(Direct::Unset) => f.write_str("no proxy is set"),
            Self::Direct(Direct::Asked { said_by }) => write!(f, "no proxy, as {said_by} says"),
            Self::Direct(Direct::Excepted { said_by, variable, entry }) => {
                write!(f, "no proxy: {variable} excepts {entry} from {said_by}")
            }
            Self::Direct(Direct::Loopback { said_by }) => {
                write!(f, "no proxy: the dashboard is on this machine, so {said_by} does not count")
            }
            Self::Direct(Direct::Unusable { said_by }) => {
                write!(f, "no proxy: {said_by} names none that this agent can use")
            }
        }
    }
}

/// Decides on the way to this URL, which is none if it is missing or wrong.
pub(super) fn way(check: &mut Checker<'_>, url: Option<&Url>) -> Way {
    let login = login_file(check);
    match set(check.layers.settings.proxy.as_ref()) {
        Some("none" | "direct") => Way::Direct(Direct::Asked { said_by: said_by(check) }),
        Some(text) => set_way(check, text, login, url),
        None => url.map_or(Way::Direct(Direct::Unset), |url| way_of_environment(check, login, url)),
    }
}

/// The name of the variable, or the key and the file.
fn said_by(check: &Checker<'_>) -> String {
    let origin = check.layers.origin(KEY);
    let text = origin
        .strip_prefix("environment variable ")
        .map_or_else(|| format!("{KEY} in {origin}"), str::to_owned);
    one_line(&text)
}

fn set_way(check: &mut Checker<'_>, text: &str, file: Option<LoginSource>, url: Option<&Url>) -> Way {
    let given = match address::parse(text) {
        Ok(given) => given,
        Err(what) => {
            check.refuse(KEY, what, "write it as http://HOST:PORT, https://.., socks5h://.., or none");
            return Way::Direct(Direct::Unset);
        }
    };
    // What nobody but this machine could read would travel to another one.
    if let Some(url) = url
        && url.scheme() == "ws"
        && is_loopback(url)
        && !UrlHost::parse(&given.shown_host()).is_ok_and(|host| loopback(&host))
        && !check.layers.settings.allow_insecure
    {
        let host = url.host_str().unwrap_or_default();
        let what = format!("would get the token unencrypted, because the dashboard is at ws://{host}");
        check.refuse(KEY, what, "set it to none, or set NIXFLEET_ALLOW_INSECURE=1 on a network you trust");
    }
    let said_by = said_by(check);
    Way::Proxy(proxy(given, said_by, file))
}

/// A login in a file counts more than one in the address: a file can be replaced while the agent runs.
fn proxy(given: Given, said_by: String, file: Option<LoginSource>) -> Proxy {
    let Given { scheme, host, port, login } = given;
    let own = login.map(|login| LoginSource::Address { said_by: said_by.clone(), login });
    Proxy { scheme, host, port, said_by, login: file.or(own) }
}

fn way_of_environment(check: &mut Checker<'_>, file: Option<LoginSource>, url: &Url) -> Way {
    let names: &[&str] = if url.scheme() == "wss" { &SECURE } else { &PLAIN };
    let Some((name, text)) = names.iter().find_map(|name| Some((*name, check.variable(name)?))) else {
        return Way::Direct(Direct::Unset);
    };
    let said_by = name.to_owned();
    // The proxy would look for it on its own machine, and would get the token of a ws:// address.
    if is_loopback(url) {
        return Way::Direct(Direct::Loopback { said_by });
    }
    let exceptions = EXCEPTIONS.iter().find_map(|name| Some((*name, check.variable(name)?)));
    if let Some((variable, list)) = exceptions
        && let Some(entry) = url.host().and_then(|host| no_proxy::matching(list, &host))
    {
        return Way::Direct(Direct::Excepted {
            said_by,
            variable: variable.to_owned(),
            entry: nixfleet_os::text::one_line(entry, LONGEST_ENTRY),
        });
    }
    match address::parse(text) {
        Ok(given) => Way::Proxy(proxy(given, said_by, file)),
        // Variables for other programs must not keep the agent from running.
        Err(what) => {
            let advice = "the dashboard is reached directly; set NIXFLEET_PROXY to a proxy, or to none";
            check.warnings.push(format!("{name}: {}, so {advice}", one_line(&what)));
            Way::Direct(Direct::Unusable { said_by })
        }
    }
}

/// Longest exception that is shown, in characters: the longest name of a host.
const LONGEST_ENTRY: usize = 253;

/// The file with the login, by the setting or as a credential.
fn login_file(check: &mut Checker<'_>) -> Option<LoginSource> {
    if let Some(file) = set(check.layers.settings.proxy_login_file.as_ref()) {
        return Some(LoginSource::File(check.path(LOGIN_KEY, file)));
    }
    let folder = check.variable("CREDENTIALS_DIRECTORY")?;
    let file = Path::new(folder).join(LOGIN_CREDENTIAL);
    file.exists().then_some(LoginSource::File(file))
}

/// Checks the login itself. A file that is missing or that this user may not read is only a warning: somebody else
/// than the agent may check the settings. One that is set is checked without a proxy, too: the agent may get its proxy
/// from variables that are not here.
pub(super) fn check_login(check: &mut Checker<'_>, way: &Way) {
    let given = set(check.layers.settings.proxy_login_file.as_ref());
    let key = if given.is_some() { LOGIN_KEY } else { LOGIN_CREDENTIAL };
    let used = way.proxy().and_then(|proxy| proxy.login.as_ref());
    let unused = || given.map(|file| LoginSource::File(PathBuf::from(file)));
    let Some(source @ LoginSource::File(_)) = used.cloned().or_else(unused) else { return };
    match source.read() {
        Ok(_) => {}
        Err(error) => match error.absence() {
            Some(absence) => check.warnings.push(format!("{key}: {absence}")),
            None => check.refuse(key, error.what(), error.fix()),
        },
    }
}

#[cfg(test)]
mod tests;
