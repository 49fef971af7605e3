//! Why there is no connection through a proxy, in words.

use std::fmt;
use std::io;

use nixfleet_config::{Proxy, ProxyLoginError};

use super::quote::quote;
use super::target::Target;

/// Longest text of a proxy that is shown, in characters.
const QUOTE: usize = 80;

/// How long a proxy may take for its answer, in seconds. It answers when it has reached the dashboard. Shorter than the
/// time limit for a whole attempt, so that the message names the proxy.
pub(super) const ANSWER_S: u64 = 10;

/// A proxy is why there is no connection. It never contains a login.
#[derive(Debug)]
pub struct ProxyError {
    /// Address of the proxy, and what named it.
    proxy: String,
    said_by: String,
    /// Host and port of the dashboard.
    target: String,
    failure: ProxyFailure,
}

/// What went wrong.
#[derive(Debug)]
pub(super) enum ProxyFailure {
    /// The login cannot be read. The error says by itself what to do.
    Login(ProxyLoginError),
    /// The name of the proxy was not found.
    Lookup(io::Error),
    /// There is no TCP connection to the proxy.
    Unreachable(io::Error),
    /// TLS to the proxy failed.
    Tls(String),
    /// There was no answer in time.
    Silent,
    /// The connection ended before the answer.
    Closed,
    /// The connection broke before the answer.
    Broken(io::Error),
    /// 407, or SOCKS without an acceptable method, and no login is set.
    LoginMissing,
    /// The proxy does not accept the login from this file or variable.
    LoginRefused(String),
    /// The proxy wants a login by these ways, of which this agent knows none.
    LoginKind(String),
    /// The login is too long for SOCKS.
    LoginTooLong,
    /// 403, or the same of SOCKS.
    Forbidden,
    /// The proxy does not reach the dashboard, for this reason.
    NoWayOut(String),
    /// Another answer to CONNECT.
    Status(String),
    /// The answer is TLS.
    SpeaksTls,
    /// The answer is no HTTP.
    NoHttp,
    /// The head of the answer has no end.
    Endless,
    /// The answer is HTTP, and SOCKS was wanted.
    SpeaksHttp,
    /// The answer is no SOCKS5.
    NoSocks,
    /// The dashboard's name cannot be looked up here, which `socks5` asks for.
    TargetLookup(String),
    /// A name that SOCKS has no room for.
    NameTooLong,
}

impl ProxyFailure {
    /// The failure of this proxy on the way to this target.
    pub(super) fn of(self, proxy: &Proxy, target: &Target) -> ProxyError {
        ProxyError {
            proxy: proxy.to_string(),
            said_by: proxy.said_by.clone(),
            target: target.place(),
            failure: self,
        }
    }

    /// A text of the proxy, for a message.
    pub(super) fn quote(text: &str) -> String {
        quote(text, QUOTE)
    }
}

impl ProxyError {
    /// Whether the proxy refused this agent, which will not change soon.
    pub(super) fn refuses(&self) -> bool {
        matches!(
            self.failure,
            ProxyFailure::Login(_)
                | ProxyFailure::LoginMissing
                | ProxyFailure::LoginRefused(_)
                | ProxyFailure::LoginKind(_)
                | ProxyFailure::LoginTooLong
                | ProxyFailure::Forbidden
        )
    }

    /// Whether nothing was sent, because a name was not found.
    pub(super) fn is_lookup(&self) -> bool {
        matches!(self.failure, ProxyFailure::Lookup(_) | ProxyFailure::TargetLookup(_))
    }

    /// The error of TCP, if that is what failed.
    pub(super) fn tcp(&self) -> Option<&io::Error> {
        match &self.failure {
            ProxyFailure::Unreachable(err) => Some(err),
            _ => None,
        }
    }

    /// What happened.
    fn what(&self) -> String {
        let Self { proxy, said_by, target, failure } = self;
        let proxy = format!("the proxy {proxy} (from {said_by})");
        match failure {
            ProxyFailure::Login(err) => err.to_string(),
            ProxyFailure::Lookup(err) => format!("the name of {proxy} cannot be looked up: {err}"),
            ProxyFailure::Unreachable(err) => format!("{proxy} cannot be reached: {err}"),
            ProxyFailure::Tls(err) => format!("no TLS with {proxy}: {err}"),
            ProxyFailure::Silent => {
                format!("{proxy} gave no answer within {ANSWER_S} s when asked for {target}")
            }
            ProxyFailure::Closed => format!("{proxy} closed the connection without an answer"),
            ProxyFailure::Broken(err) => format!("the connection to {proxy} broke: {err}"),
            ProxyFailure::LoginMissing => {
                format!("{proxy} asks for a login{}, and none is set", self.code(407))
            }
            ProxyFailure::LoginRefused(place) => format!("{proxy} refused the login from {place}"),
            ProxyFailure::LoginKind(kinds) => {
                format!(
                    "{proxy} asks for a login by {kinds}{}, and this agent knows Basic only",
                    self.code(407)
                )
            }
            ProxyFailure::LoginTooLong => {
                format!("the user or the password for {proxy} is longer than 255 bytes")
            }
            ProxyFailure::Forbidden => format!("{proxy} forbids a connection to {target}{}", self.code(403)),
            ProxyFailure::NoWayOut(why) => format!("{proxy} does not reach {target}: {why}"),
            ProxyFailure::Status(status) => format!("{proxy} answered {status} to CONNECT {target}"),
            ProxyFailure::SpeaksTls => format!("{proxy} speaks TLS on that port"),
            ProxyFailure::NoHttp => format!("what listens at {proxy} does not speak HTTP"),
            ProxyFailure::Endless => format!("the answer of {proxy} has no end"),
            ProxyFailure::SpeaksHttp => format!("{proxy} speaks HTTP, and not SOCKS"),
            ProxyFailure::NoSocks => format!("what listens at {proxy} does not speak SOCKS5"),
            ProxyFailure::TargetLookup(err) => {
                format!("{target} cannot be looked up, which {proxy} does not do: {err}")
            }
            ProxyFailure::NameTooLong => format!("{target} is too long for {proxy}"),
        }
    }

    /// The status of an HTTP proxy, which those of SOCKS do not have.
    fn code(&self, status: u16) -> String {
        if self.proxy.contains("socks5") { String::new() } else { format!(" ({status})") }
    }

    /// What to do.
    fn fix(&self) -> String {
        let by = &self.said_by;
        match &self.failure {
            // Its text has it already.
            ProxyFailure::Login(_) => String::new(),
            ProxyFailure::Lookup(_) => format!("check the name in {by}, and this host's resolver"),
            ProxyFailure::Unreachable(_) => {
                format!("is it running, is the port in {by} right? NIXFLEET_PROXY=none goes without it")
            }
            ProxyFailure::Tls(_) => {
                format!("check its certificate and its name in {by}; without TLS the scheme is http://")
            }
            ProxyFailure::Silent => {
                "does the dashboard run, and does the proxy reach it? Its log should say".to_owned()
            }
            ProxyFailure::Closed | ProxyFailure::Broken(_) | ProxyFailure::Endless => {
                format!("check scheme and port in {by}, and look at the log of the proxy")
            }
            ProxyFailure::LoginMissing => {
                "write USER:PASSWORD into a file, and set NIXFLEET_PROXY_LOGIN_FILE to its path".to_owned()
            }
            ProxyFailure::LoginRefused(place) => format!("correct user and password in {place}"),
            ProxyFailure::LoginKind(_) => {
                "allow Basic (user and password) at the proxy, or let this host through without a login"
                    .to_owned()
            }
            ProxyFailure::LoginTooLong => "SOCKS has no room for more: take a shorter one".to_owned(),
            ProxyFailure::Forbidden => {
                "allow it at the proxy: many of HTTP allow CONNECT to port 443 only".to_owned()
            }
            ProxyFailure::NoWayOut(_) => {
                "is the dashboard running, and can the proxy look up its name?".to_owned()
            }
            ProxyFailure::Status(_) => format!("is {by} the address of a proxy, and does it allow CONNECT?"),
            ProxyFailure::SpeaksTls => format!("write https:// in {by}"),
            ProxyFailure::SpeaksHttp => format!("write http:// in {by}"),
            ProxyFailure::NoHttp | ProxyFailure::NoSocks => format!("check scheme and port in {by}"),
            ProxyFailure::TargetLookup(_) => format!("write socks5h:// in {by}: then the proxy looks it up"),
            ProxyFailure::NameTooLong => "use a shorter name in NIXFLEET_URL".to_owned(),
        }
    }
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fix() {
            fix if fix.is_empty() => f.write_str(&self.what()),
            fix => write!(f, "{}; {fix}", self.what()),
        }
    }
}

impl std::error::Error for ProxyError {}
