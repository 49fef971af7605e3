//! The settings of the program: a file, variables over it, options over those.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use nixfleet_fleet::settings::{Layers, Nats};
use serde::Deserialize;
use serde_json::Value;
use tracing::level_filters::LevelFilter;
use url::{Host, Url};

use crate::networks::Networks;

/// Where they come from.
const LAYERS: Layers<'_> = Layers {
    default_file: "/etc/nixfleet/dashboard.toml",
    variables: "NIXFLEET_DASHBOARD_",
    lists: &["allow_hosts", "trusted_proxies", "nats.servers"],
};

/// All of them. docs/dashboard.md says what each means.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address for browsers.
    pub listen: SocketAddr,
    /// The address that people write into their browsers, if a proxy is in front.
    pub public_url: Option<String>,
    /// Further names under which it answers.
    pub allow_hosts: Vec<String>,
    /// File with the names and passwords of people.
    pub login_file: Option<PathBuf>,
    /// File with the key that signs sessions.
    pub session_key_file: Option<PathBuf>,
    /// Header in which a proxy says who asks.
    pub trusted_header: Option<String>,
    /// Addresses of proxies that are believed.
    pub trusted_proxies: Vec<String>,
    /// Let everybody in who reaches the address.
    pub no_login: bool,
    /// What to log.
    pub log_level: String,
    /// How to reach NATS.
    pub nats: Nats,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            public_url: None,
            allow_hosts: Vec::new(),
            login_file: None,
            session_key_file: None,
            trusted_header: None,
            trusted_proxies: Vec::new(),
            no_login: false,
            log_level: "info".to_owned(),
            nats: Nats::default(),
        }
    }
}

/// Settings that cannot be used, each with what to do.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(pub Vec<String>);

/// The address that people write into their browsers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublicUrl {
    /// The name in it.
    pub(crate) host: String,
    /// Whether it is of HTTPS.
    pub(crate) is_secure: bool,
    has_port: bool,
}

impl PublicUrl {
    fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let is_secure = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        // A cookie of a session is for the whole server, and so are the paths of the page.
        let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        let has_login = !url.username().is_empty() || url.password().is_some();
        let host = match url.host()? {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        (is_bare && !has_login).then_some(Self { host, is_secure, has_port: url.port().is_some() })
    }
}

impl Config {
    /// Reads the file, the variables over it, and the options over those: each the name that people know, a key and its
    /// value. A file that is not there is an error only if it was named.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (String, String)>,
        options: &[(&str, &str, Value)],
    ) -> Result<Self, ConfigError> {
        let config: Self = LAYERS.read(file, variables, options).map_err(ConfigError)?;
        let problems = config.problems();
        if problems.is_empty() { Ok(config) } else { Err(ConfigError(problems)) }
    }

    /// The address of people. None if it is not set, or cannot be read.
    pub(crate) fn public(&self) -> Option<PublicUrl> {
        PublicUrl::parse(self.public_url.as_deref()?)
    }

    /// Names under which the dashboard answers, besides those of this machine.
    pub(crate) fn names(&self) -> Vec<String> {
        self.public().into_iter().map(|url| url.host).chain(self.allow_hosts.iter().cloned()).collect()
    }

    /// Proxies that are believed.
    pub(crate) fn proxies(&self) -> Networks {
        Networks::new(self.trusted_proxies.iter().filter_map(|text| network(text)).collect())
    }

    /// What cannot be as it is, each with the fix.
    fn problems(&self) -> Vec<String> {
        let mut problems = self.nats.problems();
        problems.extend(self.login_problem().map(str::to_owned));
        let mut check = |good: bool, fix: &str| {
            if !good {
                problems.push(fix.to_owned());
            }
        };
        check(
            self.public_url.is_none() || self.public().is_some(),
            "`public_url` must be what people write into their browsers, without a path: \"https://fleet.example.org\"",
        );
        check(
            self.login_file.is_none() || self.listen.ip().is_loopback() || self.public_url.is_some(),
            "`listen` is an address that others reach, and passwords must not cross the network in clear: put a proxy \
             with HTTPS in front, and set `public_url` to its address, like \"https://fleet.example.org\"",
        );
        check(
            self.login_file.is_none() || self.allow_hosts.is_empty() || self.public_url.is_some(),
            "people use a name of `allow_hosts`, and the cookies of their sessions must be for HTTPS only if they use \
             that: set `public_url` to what they write into their browsers, like \"https://fleet.example.org\"",
        );
        check(
            self.allow_hosts
                .iter()
                .all(|name| PublicUrl::parse(&format!("http://{name}")).is_some_and(|url| !url.has_port)),
            "`allow_hosts` must be names or addresses, without scheme, port and path: [\"fleet.example.org\"]",
        );
        check(
            self.trusted_header.as_deref().is_none_or(|name| name.parse::<axum::http::HeaderName>().is_ok()),
            "`trusted_header` must be the name of a header, like \"X-Remote-User\"",
        );
        check(
            self.trusted_proxies.iter().all(|text| network(text).is_some()),
            "`trusted_proxies` must be addresses or networks, like [\"127.0.0.1\", \"10.0.0.0/8\"]",
        );
        // Another word would be read as the name of a module, and everything else would not be logged.
        let is_level = |part: &str| part.contains('=') || part.trim().parse::<LevelFilter>().is_ok();
        check(
            self.log_level.split(',').all(is_level),
            "`log_level` must be off, error, warn, info, debug or trace, or several of TARGET=LEVEL with commas",
        );
        problems
    }

    /// Why it is not clear who may come in.
    fn login_problem(&self) -> Option<&'static str> {
        let has_names = self.public_url.is_some() || !self.allow_hosts.is_empty();
        match (&self.login_file, &self.trusted_header, self.no_login) {
            (None, None, false) => Some(
                "there is no login, so everybody could run commands on all hosts: set `login_file`, for which \
                 `nixfleet-dashboard password NAME` makes lines, or `trusted_header`, if a proxy in front knows people; \
                 or `no_login` (--no-login) to try it on this machine",
            ),
            (None, None, true) if !self.listen.ip().is_loopback() => Some(
                "with `no_login`, everybody who reaches `listen` runs commands on all hosts, so it must be an address \
                 of loopback, like \"127.0.0.1:8080\"",
            ),
            (None, None, true) if has_names => Some(
                "with `no_login`, everybody behind a proxy would run commands on all hosts: leave out `public_url` and \
                 `allow_hosts`, or set `login_file` or `trusted_header` in place of `no_login`",
            ),
            (None, None, true) => None,
            (_, _, true) => Some(
                "`no_login` and a login (`login_file`, `trusted_header`) are both set: leave one of them out",
            ),
            (Some(_), Some(_), false) => Some(
                "`login_file` and `trusted_header` are both set: leave one of them out, as people are known by one of them",
            ),
            (None, Some(_), false) if self.trusted_proxies.is_empty() => Some(
                "`trusted_header` needs `trusted_proxies`, the addresses of the proxies that set it, like [\"127.0.0.1\"]: \
                 anybody else could call themselves anything",
            ),
            (Some(_), None, false) | (None, Some(_), false) => None,
        }
    }
}

/// A network, or one address.
fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

#[cfg(test)]
mod page;
#[cfg(test)]
mod tests;
