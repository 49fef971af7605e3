//! What people and browsers get to see.

use serde::Serialize;

use nixfleet_protocol::{
    CommandRejected, DeviceVitals, Metrics, Parts, Prewarm, Status, Stream, TestProgress, UpdateStatus,
};

/// Whether heartbeats come in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HostStatus {
    /// The newest heartbeat is no older than three intervals.
    Online,
    /// It is older, or none has come yet.
    Offline,
}

/// One host, as `GET /api/hosts` shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HostView {
    /// Name under which the host is filed: its hostname.
    pub id: String,
    /// As registered.
    pub hostname: String,
    /// By heartbeats alone.
    pub status: HostStatus,
    /// Arrival of the newest heartbeat, RFC 3339.
    pub last_seen: Option<String>,
    /// Whether a socket is open right now.
    pub connected: bool,
    /// How many connections have registered under this name so far.
    pub connections: u64,
    /// Commit of the deployed configuration.
    pub generation: String,
    /// Such as `24.11.20241201.abc1234`.
    pub nixpkgs_version: String,
    /// Command named by the newest heartbeat.
    pub pending_command: Option<String>,
    /// Its process id.
    pub command_pid: Option<u32>,
    /// Readings of the newest heartbeat, or null.
    pub metrics: Option<Metrics>,
    /// How the device is, by its newest heartbeat.
    pub vitals: Option<Box<DeviceVitals>>,
    /// Its newest pre-warm signal.
    pub prewarm: Option<Prewarm>,
    /// Milliseconds that the agent waited for an acknowledgement, by its newest heartbeat.
    pub ack_rtt_ms: Option<f64>,
    /// Seconds between heartbeats: what the dashboard asked for, else as registered.
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
    /// How the newest command ended.
    pub last_status: Option<LastStatus>,
    /// Newest progress of the `test` command.
    pub test_progress: Option<TestProgress>,
    /// How far the parts of commands were last seen.
    pub operation: Parts,
    /// How up to date the host is, by its newest heartbeat.
    pub update_status: Option<Box<UpdateStatus>>,
    /// Breaches of what existing dashboards need; always 0 without the strict mode.
    pub violations: u64,
    /// The newest of them, as text.
    pub newest_violation: Option<String>,
    /// Lines of output, each counted once.
    pub lines: u64,
    /// Lines and statuses that came again after a reconnect.
    pub repeats: u64,
    /// Frames that were not a known message.
    pub ignored_frames: u64,
    /// Recorded messages that had to make room for newer ones.
    pub dropped_records: u64,
    /// Messages to the agent that found its queue full.
    pub dropped_outgoing: u64,
}

/// A status with the time of its arrival.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LastStatus {
    /// RFC 3339.
    pub received_at: String,
    /// What the agent said.
    #[serde(flatten)]
    pub status: Status,
}

/// A message to a browser.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", content = "payload", rename_all = "snake_case")]
pub(super) enum News {
    /// Everything, first on every connection and again for a browser that fell behind.
    Hosts {
        hosts: Vec<HostView>,
        /// The newest lines of each host.
        output: Vec<Lines>,
    },
    /// One host has changed.
    HostUpdate(Box<HostView>),
    /// Lines that had not been seen before.
    Output(Lines),
    /// A command was refused.
    CommandRejected {
        host_id: String,
        #[serde(flatten)]
        rejection: CommandRejected,
    },
    /// A command has ended.
    Status {
        host_id: String,
        #[serde(flatten)]
        status: LastStatus,
    },
    /// A part of a command has moved on.
    OperationProgress { host_id: String, progress: Parts },
    /// The `test` command has moved on.
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
    pub(super) lines: Vec<Line>,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Line {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) seq: Option<u64>,
    pub(super) stream: Stream,
    pub(super) line: String,
    /// True for a piece of a line that goes on in the next one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) cont: bool,
}

/// RFC 3339 with milliseconds, in UTC.
pub(super) fn rfc3339(unix_ms: i64) -> String {
    // Out of range only for a clock that is thousands of years off.
    jiff::Timestamp::from_millisecond(unix_ms)
        .unwrap_or_default()
        .strftime("%Y-%m-%dT%H:%M:%S%.3fZ")
        .to_string()
}
