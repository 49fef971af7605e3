//! How the agent itself is doing: the answer to `nixfleet-agent status`, and to Prometheus.
//!
//! ```text
//! nixfleet-agent status --Unix socket--> serve --Ask--> the agent's loop --Report--> serve --JSON--> page
//! Prometheus ------------------HTTP----> http  ---'
//! ```
//!
//! The loop owns everything that is asked for, so it answers between two events, in one piece and without
//! a lock; a beat that is due comes first. What takes a file to find out is added by the one who asked.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::stats::Stats;
use nixfleet_protocol::{ServerState, ServerStatus};

pub mod client;
pub mod history;
mod own;
pub mod page;
pub mod serve;

pub use own::Own;

/// Ended commands that are remembered: an evening's work, on one screen.
pub const RESULTS: usize = 5;

/// Questions that may wait for the agent's loop: one for each connection that is served.
pub const ASKS: usize = 2 * serve::CONNECTIONS;

/// Somebody wants to know.
#[derive(Debug)]
pub struct Ask(pub oneshot::Sender<Report>);

/// Where questions go.
pub type Asker = mpsc::Sender<Ask>;

/// The agent's state. New fields have defaults: the program that asks may be newer than the agent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// The agent's own version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Its name for the dashboard.
    pub hostname: String,
    /// The dashboard, without anything that may be a secret.
    pub dashboard: String,
    /// RFC 3339, as all times here.
    pub started_at: String,
    /// Where Prometheus finds the agent, if anywhere.
    pub metrics_at: Option<String>,
    /// The connection to the dashboard.
    pub connection: Connection,
    /// What the dashboard said of itself.
    pub server: Server,
    /// Seconds between heartbeats, as they are now.
    pub interval_s: u64,
    /// When the last heartbeat was made.
    pub last_beat_at: Option<String>,
    /// How long the newest acknowledged one took, in milliseconds.
    pub ack_rtt_ms: Option<f64>,
    /// The command that runs.
    pub running: Option<Running>,
    /// The last commands that ended, the newest last.
    pub results: Vec<Finished>,
    /// What waits to be written.
    pub queue: Queue,
    /// What was counted.
    #[serde(rename = "metrics")]
    pub stats: Stats,
    /// What the agent's own process takes.
    pub own: Own,
    /// What each look at the host cost, by its name.
    pub collectors: BTreeMap<String, Collector>,
    /// How often a GPU's driver was too late.
    pub gpu_timeouts: u64,
    /// Pre-warm signals that the hook was too slow for.
    pub prewarm_dropped: u64,
}

/// How the connection is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// On its way, up to the dashboard's answer to the registration.
    #[default]
    Connecting,
    /// Registered.
    Connected,
    /// The next attempt is to come.
    Waiting,
}

impl State {
    /// For people, and for Prometheus.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Waiting => "waiting",
        }
    }
}

/// The connection to the dashboard.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Connection {
    /// How it is.
    pub state: State,
    /// Since when.
    pub since: String,
    /// Why the last attempt or the last connection failed.
    pub last_error: Option<String>,
    /// When that was.
    pub last_error_at: Option<String>,
    /// When the next attempt is.
    pub retry_at: Option<String>,
}

/// What the dashboard said of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Server {
    /// `healthy`, `degraded` or `maintenance`.
    pub state: String,
    /// Why; may be empty.
    pub reason: String,
    /// Until when; may be empty.
    pub until: String,
}

impl From<&ServerStatus> for Server {
    fn from(status: &ServerStatus) -> Self {
        let state = match status.state {
            ServerState::Healthy | ServerState::Unknown => "healthy",
            ServerState::Degraded => "degraded",
            ServerState::Maintenance => "maintenance",
        };
        Self { state: state.to_owned(), reason: status.reason.clone(), until: status.until.clone() }
    }
}

/// A command that runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Running {
    /// Its name.
    pub command: String,
    /// The job.
    pub job_id: String,
    /// The dashboard's id of it.
    pub command_id: Option<String>,
    /// Its process, once there is one.
    pub pid: Option<u32>,
    /// When it was accepted.
    pub since: String,
}

/// A command that ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Finished {
    /// Its name.
    pub command: String,
    /// The job.
    pub job_id: String,
    /// How it ended, such as `ok` or `timed_out`.
    pub outcome: String,
    /// Its exit code.
    pub exit_code: i32,
    /// When.
    pub ended_at: String,
    /// How long it ran, in milliseconds.
    pub duration_ms: u64,
}

/// What waits to be written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Queue {
    /// Control messages and heartbeats.
    pub control: usize,
    /// Messages of output.
    pub output: usize,
}

/// What a kind of look at the host cost.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Collector {
    /// Looks that came to an end.
    pub runs: u64,
    /// Those that failed.
    pub errors: u64,
    /// Looks that took longer than they may.
    pub timeouts: u64,
    /// How long the last one took, in seconds.
    pub last_s: f64,
    /// How long all of them took, in seconds.
    pub total_s: f64,
}
