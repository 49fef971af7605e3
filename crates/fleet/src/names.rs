//! Names of subjects, buckets, streams and headers.
//!
//! A host's name is one token of a subject. The functions are for [names of hosts](is_hostname) only: any other text could
//! lead to the subjects of another host, or of all.

use nixfleet_protocol::is_hostname;

/// The bucket with the newest heartbeat of each host. An entry expires when its host is offline.
pub const BEATS: &str = "fleet_beats";

/// The bucket with the newest `register` of each host.
pub const HOSTS: &str = "fleet_hosts";

/// The bucket that says which gateway has the connection of which host.
pub const OWNERS: &str = "fleet_owners";

/// The bucket with the gateways that are there. An entry expires when its gateway is gone.
pub const GATEWAYS: &str = "fleet_gateways";

/// The stream with what hosts say about their commands.
pub const LOG: &str = "FLEET_LOG";

/// The stream with the newest ends of commands of each host.
pub const STATUS: &str = "FLEET_STATUS";

/// Number of the host's connection that said it: see [`crate::Owner::connection`].
pub const CONNECTION: &str = "Fleet-Connection";

/// When a gateway read it, in Unix milliseconds by the clock of the gateway.
pub const AT: &str = "Fleet-At";

/// All subjects of the stream [`LOG`].
pub const LOG_SUBJECTS: &str = "fleet.up.*.*";

/// All subjects of the stream [`STATUS`].
pub const STATUS_SUBJECTS: &str = "fleet.status.*";

/// Queue group of those that answer commands: only one answers, also while a host moves.
pub const OWNER_GROUP: &str = "owner";

/// Where `host` says `what` about its commands: `output`, `status`, `rejected`, `progress` or `prewarm`.
#[must_use]
pub fn said(host: &str, what: &str) -> String {
    format!("fleet.up.{host}.{what}")
}

/// Where the ends of the commands of `host` are kept longer.
#[must_use]
pub fn status(host: &str) -> String {
    format!("fleet.status.{host}")
}

/// Where `host` takes commands.
#[must_use]
pub fn command(host: &str) -> String {
    format!("fleet.cmd.{host}")
}

/// Where the gateway is told that another connection of a host has taken its place.
#[must_use]
pub fn evict(gateway: &str) -> String {
    format!("fleet.gateway.{gateway}.evict")
}

/// The subject of the newest heartbeat of `host`.
#[must_use]
pub fn beat(host: &str) -> String {
    format!("$KV.{BEATS}.{host}")
}

/// The subject of the newest `register` of `host`.
#[must_use]
pub fn facts(host: &str) -> String {
    format!("$KV.{HOSTS}.{host}")
}

/// The host of a subject such as `fleet.up.HOST.output`, `fleet.status.HOST` or `$KV.fleet_beats.HOST`.
#[must_use]
pub fn host_of(subject: &str) -> Option<&str> {
    let mut tokens = subject.split('.');
    let host = match (tokens.next()?, tokens.next()?) {
        ("fleet", "up" | "status" | "cmd") => tokens.next(),
        ("$KV", _) => tokens.next(),
        _ => None,
    };
    host.filter(|host| is_hostname(host))
}
