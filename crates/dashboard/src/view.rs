//! The data for the HTTP API and for browsers.

use serde::Serialize;

use nixfleet_protocol::{
    CommandActivity, CommandRejected, DeviceVitals, HostSystem, LastGoodSettings, Metrics, OfferedCommand,
    Parts, Prewarm, Status, Stream, TestProgress, UpdateStatus,
};

use crate::log::Ended;
use crate::running::Progress;

/// Whether heartbeats arrive in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HostStatus {
    /// The newest heartbeat is at most three intervals old.
    Online,
    /// It is older, or there was none.
    Offline,
}

/// One host in the response of `GET /api/hosts`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HostView {
    /// Id of the host: its hostname.
    pub id: String,
    /// As registered.
    pub hostname: String,
    /// Whether heartbeats arrive in time.
    pub status: HostStatus,
    /// Arrival of its first registration since the dashboard started, RFC 3339.
    pub first_seen: String,
    /// Since when the open socket is registered, RFC 3339.
    pub connected_since: Option<String>,
    /// Arrival of the newest heartbeat, RFC 3339.
    pub last_seen: Option<String>,
    /// Whether a socket is open.
    pub connected: bool,
    /// Count of connections that have registered this hostname.
    pub connections: u64,
    /// Commit of the deployed configuration.
    pub generation: String,
    /// Version of nixpkgs, such as `24.11.20241201.abc1234`.
    pub nixpkgs_version: String,
    /// Command named by the newest heartbeat.
    pub pending_command: Option<String>,
    /// Process id of this command.
    pub command_pid: Option<u32>,
    /// When it started, as far as the dashboard knows, RFC 3339.
    pub started_at: Option<String>,
    /// How far it is.
    pub progress: Option<Progress>,
    /// What it does, and since when it has said nothing.
    pub command_activity: Option<Box<CommandActivity>>,
    /// Readings of the newest heartbeat, or null.
    pub metrics: Option<Metrics>,
    /// Vitals in the newest heartbeat.
    pub vitals: Option<Box<DeviceVitals>>,
    /// The systems and the checkout in the newest heartbeat.
    pub system: Option<Box<HostSystem>>,
    /// Why the host runs with older settings than those of its file, in the newest heartbeat.
    pub last_good_settings: Option<Box<LastGoodSettings>>,
    /// The newest pre-warm signal.
    pub prewarm: Option<Prewarm>,
    /// Round trip of the newest acknowledged heartbeat, in milliseconds.
    pub ack_rtt_ms: Option<f64>,
    /// Seconds between heartbeats, as requested by the dashboard or else as registered.
    pub heartbeat_interval: u64,
    /// As registered.
    pub agent_version: String,
    /// As registered.
    pub os_version: String,
    /// `nixos` or `macos`.
    pub host_type: String,
    /// As registered; may be empty.
    pub location: String,
    /// As registered; may be empty.
    pub device_type: String,
    /// As registered; may be empty.
    pub theme_color: String,
    /// The commands that it accepts; null for an agent that does not say so.
    pub commands: Option<Vec<OfferedCommand>>,
    /// How the newest command ended.
    pub last_status: Option<LastStatus>,
    /// How the newest commands ended, oldest first. Empty in lists of all hosts, which would be too long.
    pub ends: Vec<Ended>,
    /// Newest progress of the `test` command.
    pub test_progress: Option<TestProgress>,
    /// Newest progress of the parts of commands.
    pub operation: Parts,
    /// How up to date the host is, from the newest heartbeat.
    pub update_status: Option<Box<UpdateStatus>>,
    /// Count of violations in the strict mode; always 0 without it.
    pub violations: u64,
    /// The newest violation, as text.
    pub newest_violation: Option<String>,
    /// Count of different lines of output.
    pub lines: u64,
    /// Count of lines and statuses that were repeated after a reconnect.
    pub repeats: u64,
    /// Count of frames that were no known message.
    pub ignored_frames: u64,
    /// Count of recorded messages that were dropped for newer ones.
    pub dropped_records: u64,
    /// Count of messages that were not sent because the queue was full.
    pub dropped_outgoing: u64,
}

/// A status with the time of its arrival.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LastStatus {
    /// RFC 3339.
    pub received_at: String,
    /// The status message.
    #[serde(flatten)]
    pub status: Status,
}

/// A message to a browser about the host that it watches.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", content = "payload", rename_all = "snake_case")]
pub(super) enum BrowserMessage {
    /// The host that the browser watches: at once, and at every change.
    Host(Box<HostView>),
    /// Lines that are new.
    Output(Lines),
    /// A command was refused.
    CommandRejected {
        host_id: String,
        /// Its number in the host's log, as in the other messages.
        n: u64,
        at: String,
        #[serde(flatten)]
        rejection: CommandRejected,
    },
    /// A command has ended.
    Status {
        host_id: String,
        n: u64,
        #[serde(flatten)]
        status: LastStatus,
    },
    /// Progress of the parts of a command.
    OperationProgress { host_id: String, progress: Parts },
    /// Progress of the `test` command.
    TestProgress {
        host_id: String,
        #[serde(flatten)]
        progress: TestProgress,
    },
}

/// Lines of one host's command.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Lines {
    pub(super) host_id: String,
    pub(super) command: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) job_id: Option<String>,
    /// The number of the head in front of the first line, if there is a new one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) head: Option<u64>,
    pub(super) lines: Vec<Line>,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Line {
    pub(super) n: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) seq: Option<u64>,
    pub(super) stream: Stream,
    pub(super) line: String,
    /// True if the line continues in the next one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) cont: bool,
    /// When it was written, or else came, RFC 3339.
    pub(super) at: String,
}
