//! The report: the agent's state as one document. The program that reads it may be older or newer than the
//! agent: unknown fields are ignored, missing ones have defaults.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use nixfleet_config::Remark;
use nixfleet_os::certificate::Validity;
use nixfleet_protocol::{LastGoodSettings, ServerState, ServerStatus};

use super::host::HostReport;
use super::process::ProcessUsage;
use crate::jobs::follower::Activity;
use crate::observe::stats::Stats;

/// The agent's state.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// The agent's own version.
    pub version: String,
    /// Process id of the agent.
    pub pid: u32,
    /// The name under which it is registered with the dashboard.
    pub hostname: String,
    /// URL of the dashboard, without the parts that may hold a secret.
    pub dashboard: String,
    /// The proxy on the way to it, without its login, and what named it; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// Why the settings in use are not those of the file; absent if they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_good_settings: Option<LastGoodSettings>,
    /// When the agent started. All times are RFC 3339.
    pub started_at: String,
    /// Address of the page for Prometheus, if it is served.
    pub metrics_at: Option<String>,
    /// The connection to the dashboard.
    pub connection: Connection,
    /// The dashboard's state, as it last reported it. Absent until it reported one: on an agent that never
    /// connected, and with dashboards that report none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<Server>,
    /// Current interval between heartbeats, in seconds.
    pub interval_s: u64,
    /// Time of the last heartbeat.
    pub last_beat_at: Option<String>,
    /// Round trip of the newest acknowledged heartbeat, in milliseconds.
    pub ack_rtt_ms: Option<f64>,
    /// The running command. Agents of earlier versions also reported one that has ended here.
    pub running: Option<Running>,
    /// A command that has ended, and of which no dashboard was told yet. Absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreported: Option<Running>,
    /// The last finished commands, newest last.
    pub results: Vec<Finished>,
    /// The client certificate, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<CertificateReport>,
    /// The host's software; absent in reports of earlier versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<HostReport>,
    /// Messages that wait to be written.
    pub queue: Queue,
    /// Counters since the start of the agent.
    #[serde(rename = "metrics")]
    pub stats: Stats,
    /// Resources of the agent's own process.
    #[serde(rename = "own")]
    pub process: ProcessUsage,
    /// Cost of each collector, by its name.
    pub collectors: BTreeMap<String, Collector>,
    /// How often a GPU's driver did not answer in time.
    pub gpu_timeouts: u64,
    /// Pre-warm signals that were dropped because the hook was too slow.
    pub prewarm_dropped: u64,
}

/// The client certificate in use.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CertificateReport {
    /// The file.
    pub file: String,
    /// The beginning of its time, RFC 3339.
    pub not_before: String,
    /// The end of it.
    pub not_after: String,
}

impl CertificateReport {
    /// Of the file and its time.
    pub fn new((file, validity): (PathBuf, Validity)) -> Self {
        Self {
            file: file.display().to_string(),
            not_before: validity.not_before.to_string(),
            not_after: validity.not_after.to_string(),
        }
    }

    /// What is unusual about its time.
    pub fn remark(&self, now: Timestamp) -> Option<Remark> {
        let (not_before, not_after) = (self.not_before.parse().ok()?, self.not_after.parse().ok()?);
        Remark::of(Path::new(&self.file), Validity { not_before, not_after }, now)
    }
}

/// State of the connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// An attempt is under way; the dashboard has not answered the registration yet.
    #[default]
    Connecting,
    /// Registered.
    Connected,
    /// Not connected; the next attempt is scheduled.
    Waiting,
}

impl State {
    /// The name of the state, for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Waiting => "waiting",
        }
    }
}

impl Report {
    /// The dashboard has accepted the registration, and the connection is still there.
    pub fn is_connected(&self) -> bool {
        self.connection.state == State::Connected
    }

    /// The command that runs.
    pub fn running(&self) -> Option<&Running> {
        self.running.as_ref().filter(|running| !running.ended)
    }

    /// The command that has ended, and of which no dashboard was told yet.
    pub fn unreported(&self) -> Option<&Running> {
        self.unreported.as_ref().or(self.running.as_ref().filter(|running| running.ended))
    }

    /// The dashboard has not accepted any registration of this agent.
    pub fn never_connected(&self) -> bool {
        self.stats.registrations == 0
    }

    /// Since when there has been no connection: since the last one ended, or else since the agent started.
    /// None while there is one.
    pub fn disconnected_since(&self) -> Option<&str> {
        let Connection { state, since, lost_at, .. } = &self.connection;
        match lost_at {
            _ if *state == State::Connected => None,
            _ if self.never_connected() => Some(&self.started_at),
            Some(at) => Some(at),
            // An agent of an earlier version.
            None => Some(since),
        }
    }
}

/// The connection to the dashboard.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Connection {
    /// Its state.
    pub state: State,
    /// When it entered this state.
    pub since: String,
    /// Why the last attempt or the last connection failed.
    pub last_error: Option<String>,
    /// When that was.
    pub last_error_at: Option<String>,
    /// When the next attempt starts.
    pub retry_at: Option<String>,
    /// When the last connection ended; none as long as there was none, or as the first one lasts.
    pub lost_at: Option<String>,
}

/// The dashboard's state, as it last reported it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Server {
    /// `healthy`, `degraded` or `maintenance`.
    pub state: String,
    /// The reason; may be empty.
    pub reason: String,
    /// When the state is expected to end; may be empty.
    pub until: String,
    /// When the dashboard last said so, by the clock of this host. After a lost connection it may be long ago.
    pub said_at: Option<String>,
}

impl Server {
    /// The state that the dashboard reported at `said_at`.
    pub fn new(status: &ServerStatus, said_at: Timestamp) -> Self {
        let state = match status.state {
            ServerState::Healthy | ServerState::Unknown => "healthy",
            ServerState::Degraded => "degraded",
            ServerState::Maintenance => "maintenance",
        };
        Self {
            state: state.to_owned(),
            reason: status.reason.clone(),
            until: status.until.clone(),
            said_at: Some(format!("{said_at:.3}")),
        }
    }
}

/// A command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Running {
    /// Its name.
    pub command: String,
    /// Id of the job.
    pub job_id: String,
    /// The id that the dashboard gave to the request.
    pub command_id: Option<String>,
    /// Process id of the command, once it has started.
    pub pid: Option<u32>,
    /// It has ended, and no dashboard was told.
    pub ended: bool,
    /// When it was accepted.
    pub since: String,
    /// What it does. Absent before its first step, and when it has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activity: Option<RunningActivity>,
    /// How far it is, such as `3/41 derivations`, as the dashboard was told. Absent when that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What it waits for; only while a new system waits for its confirmation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits: Option<String>,
    /// How far its parts have got. Empty without a connection: nobody reads the command's log then.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub progress: Vec<PartProgress>,
}

/// How far a part of a command has got.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PartProgress {
    /// `pull`, `lock`, `system` or `tests`.
    pub part: String,
    /// Steps that are complete.
    pub done: u32,
    /// Steps.
    pub of: u32,
}

/// What the running command does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunningActivity {
    /// The phase of a rebuild, or else the step.
    pub phase: String,
    /// When that began.
    pub phase_since: Option<String>,
    /// When it last wrote a line or made progress.
    pub last_output_at: Option<String>,
}

impl RunningActivity {
    /// What the folder of the job says.
    pub fn new(activity: &Activity) -> Self {
        let text = |time: SystemTime| Some(format!("{:.3}", Timestamp::try_from(time).ok()?));
        Self {
            phase: activity.phase.clone(),
            phase_since: activity.phase_since.and_then(text),
            last_output_at: activity.last_output.and_then(text),
        }
    }
}

/// A finished command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Finished {
    /// Its name.
    pub command: String,
    /// Id of the job.
    pub job_id: String,
    /// Outcome, such as `ok` or `timed_out`.
    pub outcome: String,
    /// Its exit code.
    pub exit_code: i32,
    /// When it ended.
    pub ended_at: String,
    /// Duration in milliseconds.
    pub duration_ms: u64,
    /// What became of it, in a sentence; may be empty.
    pub message: String,
}

/// Messages that wait to be written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Queue {
    /// Control messages and heartbeats.
    pub control: usize,
    /// Messages with output.
    pub output: usize,
}

/// Cost of one collector.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Collector {
    /// Finished runs.
    pub runs: u64,
    /// Failed runs.
    pub errors: u64,
    /// Runs that exceeded their time limit.
    pub timeouts: u64,
    /// Duration of the last run, in seconds.
    pub last_s: f64,
    /// Duration of all runs together, in seconds.
    pub total_s: f64,
}
