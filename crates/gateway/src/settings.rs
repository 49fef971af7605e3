//! The settings: a file, and variables over it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nixfleet_fleet::settings::{Layers, Nats};
use nixfleet_fleet::{Options, Sizes};
use nixfleet_sessions::{Pings, Times};
use serde::Deserialize;
use tracing::level_filters::LevelFilter;

use crate::gate::Policy;

/// Where they come from.
const LAYERS: Layers<'_> = Layers {
    default_file: "/etc/nixfleet/gateway.toml",
    variables: "NIXFLEET_GATEWAY_",
    lists: &["listen", "nats.servers"],
};

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
    /// Seconds without a frame of an agent, or without one to it, after which it is pinged.
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
    /// Lists of client certificates that they have revoked.
    #[serde(default)]
    pub client_crl_file: Option<PathBuf>,
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
        let settings: Self = LAYERS.read(file, variables, &[]).map_err(SettingsError)?;
        let problems = settings.problems();
        if problems.is_empty() { Ok(settings) } else { Err(SettingsError(problems)) }
    }

    /// What cannot be as it is, each with the fix.
    fn problems(&self) -> Vec<String> {
        let mut problems = self.nats.problems();
        let mut check = |good: bool, fix: &str| {
            if !good {
                problems.push(fix.to_owned());
            }
        };
        check(
            !self.listen.is_empty(),
            "`listen` is empty: name an address for agents, like \"0.0.0.0:8080\"",
        );
        let client_ca = self.tls.as_ref().and_then(|tls| tls.client_ca_file.as_ref());
        check(
            self.tokens_file.is_some() || client_ca.is_some(),
            "agents could not be told from others: set `tokens_file`, `tls.client_ca_file` or both",
        );
        let client_crl = self.tls.as_ref().and_then(|tls| tls.client_crl_file.as_ref());
        check(
            client_crl.is_none() || client_ca.is_some(),
            "`tls.client_crl_file` is of no use without `tls.client_ca_file`: set that as well, or leave it out",
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
        self.nats.options(name)
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
                pings: Pings::Quiet,
                silence_limit: Duration::from_secs(self.silence_limit_s),
            },
        }
    }
}

#[cfg(test)]
mod page;
#[cfg(test)]
mod tests;
