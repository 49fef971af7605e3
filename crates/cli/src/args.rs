//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::SignedDuration;

use crate::plan::Size;
use crate::terminal::Color;

/// The hosts of a fleet, and commands for them, through NATS.
///
/// It reads and asks what the gateways (nixfleet-gateway) keep in NATS.
#[derive(Debug, Parser)]
#[command(name = "nixfleet", version, after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Colours
    #[arg(long, value_name = "WHEN", default_value = "auto", global = true)]
    pub(crate) color: Color,

    #[command(flatten)]
    pub(crate) connection: Connection,
}

const AFTER_HELP: &str = "\
Settings: ~/.config/nixfleet/cli.toml, over /etc/nixfleet/cli.toml:
  [nats]
  servers = [\"nats://10.0.0.1:4222\"]
  nkey_file = \"operator.nk\"
  inbox_prefix = \"_INBOX_operator\"
Variables such as NIXFLEET_NATS_SERVERS and NIXFLEET_NATS_NKEY_FILE take precedence over them.

Exit codes, of several hosts the highest one of 0, 1 and 3:
  0    all went well
  1    a command failed on a host
  2    NATS cannot be reached, or no gateway has been there yet
  3    a host is unknown or offline, rejected the command or refused the stop, or has not ended it in time
  64   wrong usage or settings, or the answer to a question was no
  74   the output cannot be written
  130  Ctrl-C: commands that were sent run on

Examples:
  nixfleet hosts --offline
  nixfleet run switch 'web-*' --canary 1 --then 10% --then all --stop-on-failure
  nixfleet logs web-1 -f";

/// How to reach NATS.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connection {
    /// Address of a NATS server, such as nats://10.0.0.1:4222; may be given several times
    #[arg(long, short, value_name = "URL", global = true)]
    pub(crate) server: Vec<String>,

    /// File with credentials: a JWT and the seed of an NKey
    #[arg(long, value_name = "FILE", global = true, conflicts_with = "nkey")]
    pub(crate) credentials: Option<PathBuf>,

    /// File with the seed of an NKey
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) nkey: Option<PathBuf>,

    /// Certificates to trust in addition
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) ca: Option<PathBuf>,

    /// Client certificate, with --key
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) certificate: Option<PathBuf>,

    /// Key of the client certificate
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) key: Option<PathBuf>,

    /// Prefix below which this login reads replies, such as _INBOX_operator
    #[arg(long, value_name = "PREFIX", global = true)]
    pub(crate) inbox_prefix: Option<String>,

    /// Settings, instead of the two files
    #[arg(long, short, value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List hosts
    Hosts(Hosts),
    /// Run a command on hosts, and wait for its end
    Run(Run),
    /// Show what happens: hosts that come and go, commands that begin and end
    Watch(Watch),
    /// Show the output of commands of a host
    Logs(Logs),
    /// Stop the running command of hosts
    Stop(Stop),
}

/// Which hosts.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Which {
    /// Names of hosts, or patterns with * and ?
    #[arg(value_name = "HOST")]
    pub(crate) hosts: Vec<String>,

    /// All hosts
    #[arg(long, conflicts_with_all = ["hosts", "from"])]
    pub(crate) all: bool,

    /// File with a name in each line; - is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Option<PathBuf>,

    /// Only hosts that are online; the others are not counted
    #[arg(long)]
    pub(crate) online: bool,

    /// No question before hosts are asked that are not named one by one
    #[arg(long, short)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Hosts {
    /// Names of hosts, or patterns with * and ?; none means all
    #[arg(value_name = "HOST")]
    pub(crate) hosts: Vec<String>,

    /// Only hosts that are offline
    #[arg(long, conflicts_with = "online")]
    pub(crate) offline: bool,

    /// Only hosts that are online
    #[arg(long)]
    pub(crate) online: bool,

    /// Only hosts on which a command runs
    #[arg(long)]
    pub(crate) running: bool,

    /// Only hosts that are not at this commit, or of which none is known
    #[arg(long, value_name = "COMMIT")]
    pub(crate) not_at: Option<String>,

    /// The order
    #[arg(long, value_name = "COLUMN", default_value = "host")]
    pub(crate) sort: Sort,

    /// All columns, however wide the terminal is
    #[arg(long, short)]
    pub(crate) wide: bool,

    /// One JSON document
    #[arg(long, conflicts_with = "wide")]
    pub(crate) json: bool,
}

/// What hosts are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sort {
    /// By name
    Host,
    /// Offline ones first
    State,
    /// The newest change first
    Since,
    /// By commit
    Commit,
    /// By version of the agent
    Agent,
    /// By gateway
    Gateway,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The command, such as switch, pull or check-version
    pub(crate) command: String,

    #[command(flatten)]
    pub(crate) which: Which,

    /// Show the lines of the command as they come
    #[arg(long, short, conflicts_with = "no_wait")]
    pub(crate) follow: bool,

    /// Do not wait for the ends
    #[arg(long)]
    pub(crate) no_wait: bool,

    /// How long a host may take, such as 30m
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = time)]
    pub(crate) timeout: Duration,

    /// A JSON object in each line
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) waves: Waves,
}

/// In which portions.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Waves")]
pub(crate) struct Waves {
    /// Hosts of the first wave: a number, or a part such as 5%
    #[arg(long, value_name = "SIZE", conflicts_with = "no_wait")]
    pub(crate) canary: Option<Size>,

    /// Hosts of the next wave: a number, 10% or all; may be given several times, and the last one is repeated
    #[arg(long, value_name = "SIZE", conflicts_with = "no_wait")]
    pub(crate) then: Vec<Size>,

    /// Start no further wave after one in which a host did not end well
    #[arg(long, conflicts_with = "no_wait")]
    pub(crate) stop_on_failure: bool,

    /// Time between two waves, such as 30s
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = time, conflicts_with = "no_wait")]
    pub(crate) pause: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// Names of hosts, or patterns with * and ?; none means all
    #[arg(value_name = "HOST")]
    pub(crate) hosts: Vec<String>,

    /// A JSON object in each line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Name of the host
    pub(crate) host: String,

    /// This job, or the only one whose id begins or ends so; without it, the newest one
    #[arg(long, value_name = "ID")]
    pub(crate) job: Option<String>,

    /// All jobs of this time, such as 1h
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "job")]
    pub(crate) since: Option<Duration>,

    /// The time in front of each line
    #[arg(long, short)]
    pub(crate) times: bool,

    /// Go on: up to the end of the job, or with --since for ever
    #[arg(long, short)]
    pub(crate) follow: bool,

    /// A JSON object in each line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Stop {
    #[command(flatten)]
    pub(crate) which: Which,

    /// End it at once, also in the middle of an activation
    #[arg(long)]
    pub(crate) kill: bool,

    /// How long to wait for the end
    #[arg(long, value_name = "TIME", default_value = "40s", value_parser = time)]
    pub(crate) timeout: Duration,

    /// A JSON object in each line
    #[arg(long)]
    pub(crate) json: bool,
}

/// Longest time that an option takes: times beyond it overflow in sums with the clock.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A time such as `90s`, `30m`, `1h 30m` or `2d`.
fn time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time; write it like 30s, 10m, 1h or 2d");
    // Days are not a unit of fixed length for the library, which knows clocks that are changed. Here they are.
    let (days, rest) = match text.trim().split_once('d') {
        Some((days, rest)) => (days.trim().parse::<u64>().map_err(|_| wrong())?, rest.trim()),
        None => (0, text.trim()),
    };
    let rest = match rest {
        "" if days > 0 => SignedDuration::ZERO,
        rest => rest.parse::<SignedDuration>().map_err(|_| wrong())?,
    };
    let rest = Duration::try_from(rest).map_err(|_| wrong())?;
    let whole = Duration::from_secs(days.saturating_mul(24 * 60 * 60)).saturating_add(rest);
    if whole > LONGEST { Err(format!("`{text}` is longer than a year")) } else { Ok(whole) }
}

#[cfg(test)]
mod dist;
#[cfg(test)]
mod tests;
