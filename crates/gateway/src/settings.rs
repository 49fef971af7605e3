//! The settings: a file, and variables over it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::Figment;
use figment::error::{Actual, Kind};
use figment::providers::{Format, Toml};
use nixfleet_fleet::{Login, Options, Sizes};
use nixfleet_os::bounded_read;
use nixfleet_os::text::one_line;
use nixfleet_sessions::Times;
use serde::Deserialize;
use serde::de::IgnoredAny;
use tracing::level_filters::LevelFilter;

use crate::gate::Policy;

/// Where the settings are.
const FILE: &str = "/etc/nixfleet/gateway.toml";

/// The longest file, in bytes.
const MAX_FILE: u64 = 256 * 1024;

/// Beginning of the names of variables. `__` goes into a table: `NIXFLEET_GATEWAY_NATS__SERVERS`.
const VARIABLES: &str = "NIXFLEET_GATEWAY_";

/// Settings that are lists.
const LISTS: [&str; 2] = ["listen", "nats.servers"];

/// Longest quotation of a bad setting.
const QUOTED: usize = 300;

/// Limits of a heartbeat interval, in seconds: agents ignore other wishes.
const INTERVALS: std::ops::RangeInclusive<u64> = 1..=3600;

/// Longest window that agents heed, in seconds.
const LONGEST_WINDOW: u64 = 600;

/// Copies that NATS can keep of an entry.
const REPLICAS: std::ops::RangeInclusive<usize> = 1..=5;

/// All of them. docs/gateway.md says what each means.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Addresses for agents.
    pub listen: Vec<SocketAddr>,
    /// Address for health checks and Prometheus.
    pub health_listen: SocketAddr,
    /// Name of this gateway; none means the name of the machine.
    pub name: Option<String>,
    /// File with the digests of tokens.
    pub tokens_file: Option<PathBuf>,
    /// Seconds between heartbeats; none means that agents use their own setting.
    pub heartbeat_interval: Option<u64>,
    /// Seconds over which agents spread their return.
    pub reconnect_window_s: u64,
    /// Seconds between two pings to an agent.
    pub ping_interval_s: u64,
    /// Seconds of silence after which an agent is lost.
    pub silence_limit_s: u64,
    /// Most connections at a time.
    pub max_connections: usize,
    /// Most connections of one address; none where a balancer hides the addresses of agents.
    pub max_connections_of_address: Option<usize>,
    /// What to log.
    pub log_level: String,
    /// How to reach NATS.
    pub nats: Nats,
    /// What the streams are like that this gateway makes if they are missing.
    pub streams: Streams,
    /// TLS for agents; none means that a proxy in front has it.
    pub tls: Option<Tls>,
}

/// How to reach NATS.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Nats {
    /// Addresses of servers.
    pub servers: Vec<String>,
    /// File with credentials.
    pub credentials_file: Option<PathBuf>,
    /// File with the seed of an NKey.
    pub nkey_file: Option<PathBuf>,
    /// Certificates to trust in addition.
    pub ca_file: Option<PathBuf>,
    /// Client certificate.
    pub certificate_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
    /// First part of the subjects of replies, which this login may read; none means `_INBOX`.
    pub inbox_prefix: Option<String>,
}

/// What streams are like.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Streams {
    /// Copies of each entry.
    pub replicas: usize,
    /// Longest life of a line, in days.
    pub log_max_age_days: u64,
    /// Most bytes of lines.
    pub log_max_bytes: u64,
}

/// TLS for agents.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate and those between it and its authority.
    pub certificate_file: PathBuf,
    /// Its key.
    pub key_file: PathBuf,
    /// Authorities of client certificates.
    #[serde(default)]
    pub client_ca_file: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([0, 0, 0, 0], 8080))],
            health_listen: SocketAddr::from(([127, 0, 0, 1], 9090)),
            name: None,
            tokens_file: None,
            heartbeat_interval: None,
            reconnect_window_s: 30,
            ping_interval_s: 20,
            silence_limit_s: 60,
            max_connections: 50_000,
            max_connections_of_address: None,
            log_level: "info".to_owned(),
            nats: Nats::default(),
            streams: Streams::default(),
            tls: None,
        }
    }
}

impl Default for Streams {
    fn default() -> Self {
        let Sizes { replicas, log_age, log_bytes, .. } = Sizes::default();
        Self { replicas, log_max_age_days: log_age.as_secs() / DAY, log_max_bytes: log_bytes.unsigned_abs() }
    }
}

/// Seconds of a day.
const DAY: u64 = 24 * 60 * 60;

/// Settings that cannot be used, each with what to do.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct SettingsError(pub Vec<String>);

impl Settings {
    /// Reads the file, and the variables over it. A file that is not there is an error only if it was named.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn read(
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, SettingsError> {
        let path = file.unwrap_or(Path::new(FILE));
        let variables = variables.into_iter().filter(|(name, _)| name.starts_with(VARIABLES));
        let toml = match bounded_read::read(path, MAX_FILE) {
            Ok(bytes) => Toml::string(&String::from_utf8_lossy(&bytes)),
            Err(err) if err.kind() == std::io::ErrorKind::NotFound && file.is_none() => Toml::string(""),
            Err(err) => return Err(SettingsError(vec![format!("cannot read {}: {err}", path.display())])),
        };
        let mut problems = Vec::new();
        let mut merge = |figment: Figment, place: &str| {
            match figment.extract::<Self>() {
                Ok(settings) => return Some((figment, settings)),
                Err(errors) => problems.extend(errors.into_iter().map(|err| {
                    let key = err.path.join(".");
                    let at = if key.is_empty() { String::new() } else { format!(", `{key}`") };
                    format!("{place}{at}: {}{}", one_line(&said(&err.kind), QUOTED), hint(&err.kind))
                })),
            }
            None
        };
        let file = merge(Figment::from(toml), &path.display().to_string());
        let read = file.and_then(|(mut figment, mut settings)| {
            for (variable, value) in variables {
                (figment, settings) =
                    merge(figment.merge(Toml::string(&assignment(&variable, &value))), &variable)?;
            }
            Some(settings)
        });
        let Some(settings) = read else { return Err(SettingsError(problems)) };
        let problems = settings.problems();
        if problems.is_empty() { Ok(settings) } else { Err(SettingsError(problems)) }
    }

    /// What cannot be as it is, each with the fix.
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut check = |good: bool, fix: &str| {
            if !good {
                problems.push(fix.to_owned());
            }
        };
        check(
            !self.listen.is_empty(),
            "`listen` is empty: name an address for agents, like \"0.0.0.0:8080\"",
        );
        check(
            !self.nats.servers.is_empty(),
            "`nats.servers` is missing: name the NATS servers, like [\"nats://10.0.0.1:4222\"]",
        );
        check(
            self.nats.servers.iter().all(|address| !address.trim().is_empty()),
            "`nats.servers` has an empty address: write it like \"nats://10.0.0.1:4222\"",
        );
        check(
            self.nats.credentials_file.is_none() || self.nats.nkey_file.is_none(),
            "`nats.credentials_file` and `nats.nkey_file` are both set: leave one of them out",
        );
        check(
            self.nats.certificate_file.is_some() == self.nats.key_file.is_some(),
            "`nats.certificate_file` and `nats.key_file` belong together: set both or none",
        );
        let client_ca = self.tls.as_ref().and_then(|tls| tls.client_ca_file.as_ref());
        check(
            self.tokens_file.is_some() || client_ca.is_some(),
            "agents could not be told from others: set `tokens_file`, `tls.client_ca_file` or both",
        );
        check(
            self.heartbeat_interval.is_none_or(|seconds| INTERVALS.contains(&seconds)),
            "`heartbeat_interval` must be 1 to 3600 seconds, as agents ignore others",
        );
        check(
            (1..=LONGEST_WINDOW).contains(&self.reconnect_window_s),
            "`reconnect_window_s` must be 1 to 600 seconds",
        );
        check(
            (1..self.silence_limit_s).contains(&self.ping_interval_s),
            "`ping_interval_s` must be at least 1 and less than `silence_limit_s`: a silent agent is asked first",
        );
        check(self.max_connections > 0, "`max_connections` must be at least 1");
        check(
            self.max_connections_of_address != Some(0),
            "`max_connections_of_address` must be at least 1; leave it out for no limit",
        );
        check(REPLICAS.contains(&self.streams.replicas), "`streams.replicas` must be 1 to 5");
        check(self.streams.log_max_age_days > 0, "`streams.log_max_age_days` must be at least 1");
        // Another word would be read as the name of a module, and everything else would not be logged.
        let is_level = |part: &str| part.contains('=') || part.trim().parse::<LevelFilter>().is_ok();
        check(
            self.log_level.split(',').all(is_level),
            "`log_level` must be off, error, warn, info, debug or trace, or several of TARGET=LEVEL with commas",
        );
        let name = self.name.as_deref().unwrap_or("a");
        check(
            nixfleet_protocol::is_hostname(name),
            "`name` must be 1 to 63 of A-Z a-z 0-9 -: it is a part of NATS subjects",
        );
        problems
    }

    /// How to connect to NATS, under this name.
    #[must_use]
    pub fn options(&self, name: &str) -> Options {
        let nats = &self.nats;
        let login = match (&nats.credentials_file, &nats.nkey_file) {
            (Some(file), _) => Login::Credentials(file.clone()),
            (None, Some(file)) => Login::Nkey(file.clone()),
            (None, None) => Login::None,
        };
        Options {
            servers: nats.servers.clone(),
            login,
            ca_file: nats.ca_file.clone(),
            client_certificate: nats.certificate_file.clone().zip(nats.key_file.clone()),
            name: name.to_owned(),
            inbox_prefix: nats.inbox_prefix.clone(),
        }
    }

    /// What streams are like that are missing.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        Sizes {
            replicas: self.streams.replicas,
            log_age: Duration::from_secs(self.streams.log_max_age_days.saturating_mul(DAY)),
            log_bytes: i64::try_from(self.streams.log_max_bytes).unwrap_or(i64::MAX),
            ..Sizes::default()
        }
    }

    /// What agents are told.
    #[must_use]
    pub fn policy(&self) -> Policy {
        Policy {
            heartbeat_interval: self.heartbeat_interval,
            reconnect_window_s: self.reconnect_window_s,
            times: Times {
                ping_interval: Duration::from_secs(self.ping_interval_s),
                silence_limit: Duration::from_secs(self.silence_limit_s),
            },
        }
    }
}

/// The setting that may have been meant.
fn hint(error: &Kind) -> String {
    let Kind::UnknownField(name, known) = error else { return String::new() };
    let distances = known.iter().map(|other| (strsim::osa_distance(name, other), *other));
    match distances.min() {
        // At most a third of its letters differ.
        Some((distance, near)) if distance <= 1.max(near.len() / 3) => format!("; did you mean `{near}`?"),
        _ => String::new(),
    }
}

/// An error without the values that it is about: an address of NATS may have a password.
fn said(kind: &Kind) -> String {
    match kind {
        Kind::InvalidType(Actual::Str(_), expected) | Kind::InvalidValue(Actual::Str(_), expected) => {
            format!("a text, where {expected} is expected")
        }
        // Between the place and the reason, the parser quotes the line.
        Kind::Message(text) => {
            let mut lines = text.lines();
            let first = lines.next().unwrap_or_default();
            lines.next_back().map_or_else(|| first.to_owned(), |last| format!("{first}: {last}"))
        }
        other => other.to_string(),
    }
}

/// A variable as a line of the file: `NIXFLEET_GATEWAY_NATS__NKEY_FILE` is `nats.nkey_file`. Its value is written as in
/// the file, where text needs no quotes, and a list may be words.
fn assignment(variable: &str, value: &str) -> String {
    let key = variable.strip_prefix(VARIABLES).unwrap_or(variable).to_ascii_lowercase().replace("__", ".");
    let plain = format!("{key} = {value}");
    if Figment::from(Toml::string(&plain)).extract::<IgnoredAny>().is_ok() {
        return plain;
    }
    if LISTS.contains(&key.as_str()) {
        let words: Vec<&str> = value.split_whitespace().collect();
        return format!("{key} = {}", serde_json::Value::from(words));
    }
    // Text of JSON is text of TOML as well.
    format!("{key} = {}", serde_json::Value::from(value))
}

#[cfg(test)]
mod page;
#[cfg(test)]
mod tests;
