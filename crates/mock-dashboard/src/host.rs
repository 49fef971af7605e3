//! The state of one host.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use nixfleet_protocol::{AgentMessage, Heartbeat, Parts, Prewarm, Register, TestProgress};

use super::jobs::Jobs;
use super::link::Link;
use super::moment::Moment;
use super::record::{Kept, Record, read};
use super::view::{HostStatus, HostView, LastStatus, Line, Lines, Shown, rfc3339};

/// Intervals without a heartbeat after which a host is offline.
const STALE_AFTER: u32 = 3;

/// Seconds between heartbeats of an agent that registers no interval.
const DEFAULT_INTERVAL: u64 = 30;

/// The longest interval used, in seconds. The limit of the agent is an hour; a day prevents overflow.
const MAX_INTERVAL: u64 = 24 * 60 * 60;

/// Most lines of a host in a snapshot for a browser.
const SNAPSHOT_LINES: usize = 500;

/// Most bytes of these lines, because a snapshot has the lines of every host.
const SNAPSHOT_BYTES: usize = 128 * 1024;

/// The longest hostname (RFC 1123), which is also the host's id in URLs.
const MAX_HOSTNAME: usize = 63;

/// Why something could not be sent to an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// No agent ever registered under this name.
    #[error("unknown host")]
    UnknownHost,
    /// The host has no open socket.
    #[error("host is not connected")]
    NotConnected,
    /// The agent does not read, and its queue is full. The loss is counted.
    #[error("the queue to the host is full")]
    QueueFull,
    /// The frame is longer than 16 MiB.
    #[error("the frame is longer than 16 MiB")]
    TooLong,
    /// No command has been sent to this host yet.
    #[error("no command was sent to this host yet")]
    NothingToResend,
}

/// One host.
#[derive(Debug, Default)]
pub(super) struct Host {
    /// The newest `register`, as text: it is looked at far less often than it comes.
    facts: Option<Arc<str>>,
    /// Its interval.
    interval: u64,
    /// Seconds between heartbeats that the dashboard requested.
    requested_interval: Option<u64>,
    /// The newest heartbeat, as text.
    beat: Option<Arc<str>>,
    /// The newest of both is a `register`. Then the fields count that a heartbeat has too.
    facts_are_newer: bool,
    heartbeat_at: Option<Instant>,
    heartbeat_at_ms: i64,
    pub(super) online: bool,
    pub(super) link: Option<Arc<Link>>,
    pub(super) connections: u64,
    pub(super) record: Record,
    pub(super) jobs: Jobs,
    /// The running command according to the newest message.
    pub(super) busy_with: Option<String>,
    pub(super) last_status: Option<Box<LastStatus>>,
    pub(super) test_progress: Option<Box<TestProgress>>,
    /// Newest progress of the parts of commands.
    pub(super) operation: Option<Box<Parts>>,
    /// The newest pre-warm signal.
    pub(super) prewarm: Option<Box<Prewarm>>,
    pub(super) ignored_frames: u64,
    pub(super) dropped_outgoing: u64,
    /// The newest command sent, as text, for the fault that sends it again.
    pub(super) last_command: Option<String>,
}

impl Host {
    /// Stores a `register`.
    pub(super) fn set_facts(&mut self, text: Arc<str>, interval: u64) {
        (self.facts, self.interval, self.facts_are_newer) = (Some(text), interval, true);
    }

    /// Stores a heartbeat.
    pub(super) fn beat(&mut self, moment: Moment, text: Arc<str>, pending: Option<&str>) {
        self.busy_with = pending.map(str::to_owned);
        (self.beat, self.facts_are_newer) = (Some(text), false);
        self.heartbeat_at = Some(moment.now);
        self.heartbeat_at_ms = moment.unix_ms;
        self.online = true;
    }

    pub(super) fn request_interval(&mut self, seconds: Option<u64>) {
        self.requested_interval = seconds;
    }

    /// When an online host becomes offline without another heartbeat.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let heartbeat_at = self.heartbeat_at.filter(|_| self.online)?;
        Some(heartbeat_at + Duration::from_secs(self.interval()) * STALE_AFTER)
    }

    fn interval(&self) -> u64 {
        match self.requested_interval.unwrap_or(self.interval) {
            0 => DEFAULT_INTERVAL,
            seconds => seconds.min(MAX_INTERVAL),
        }
    }

    pub(super) fn view(&self, id: &str) -> HostView {
        let facts = self.read_facts();
        let beat = self.read_beat();
        let beat = beat.as_ref();
        // The newest message of the two kinds counts.
        let newer = beat.filter(|_| !self.facts_are_newer);
        HostView {
            id: id.to_owned(),
            hostname: facts.hostname,
            status: if self.online { HostStatus::Online } else { HostStatus::Offline },
            last_seen: beat.map(|_| rfc3339(self.heartbeat_at_ms)),
            connected: self.link.is_some(),
            connections: self.connections,
            generation: newer.map_or(&facts.generation, |beat| &beat.generation).clone(),
            nixpkgs_version: newer.map_or(&facts.nixpkgs_version, |beat| &beat.nixpkgs_version).clone(),
            pending_command: beat.and_then(|beat| beat.pending_command.clone()),
            command_pid: beat.and_then(|beat| beat.command_pid),
            command_activity: beat.and_then(|beat| beat.command_activity.clone()),
            metrics: beat.and_then(|beat| beat.metrics),
            vitals: beat.and_then(|beat| beat.vitals.clone()),
            system: beat.and_then(|beat| beat.system.clone()),
            last_good_settings: beat.and_then(|beat| beat.last_good_settings.clone()),
            prewarm: self.prewarm.as_deref().cloned(),
            ack_rtt_ms: beat.and_then(|beat| beat.ack_rtt_ms),
            heartbeat_interval: self.interval(),
            agent_version: facts.agent_version,
            os_version: facts.os_version,
            host_type: facts.host_type,
            location: facts.location,
            device_type: facts.device_type,
            theme_color: facts.theme_color,
            last_status: self.last_status.as_deref().cloned(),
            test_progress: self.test_progress.as_deref().cloned(),
            operation: self.operation.as_deref().cloned().unwrap_or_default(),
            update_status: beat.and_then(|beat| beat.update_status.clone()),
            violations: 0,
            newest_violation: None,
            lines: self.jobs.lines,
            repeats: self.jobs.repeats,
            ignored_frames: self.ignored_frames,
            dropped_records: self.record.dropped(),
            dropped_outgoing: self.dropped_outgoing,
        }
    }

    fn read_facts(&self) -> Register {
        match self.facts.as_deref().map(read) {
            Some(AgentMessage::Register(facts)) => *facts,
            _ => Register::default(),
        }
    }

    fn read_beat(&self) -> Option<Heartbeat> {
        match self.beat.as_deref().map(read) {
            Some(AgentMessage::Heartbeat(beat)) => Some(*beat),
            _ => None,
        }
    }

    /// The newest recorded lines and ends of commands for a snapshot, oldest first. An end takes the room of a
    /// line.
    pub(super) fn newest_output(&self, id: &str) -> Vec<Shown> {
        let mut room = (SNAPSHOT_LINES, SNAPSHOT_BYTES);
        let mut newest_first = Vec::new();
        for entry in self.record.since(0).rev() {
            // Heartbeats and registrations have no lines.
            let Kept::Message(message, _) = entry.kept else { continue };
            if let AgentMessage::Status(status) = &**message {
                room.0 = room.0.saturating_sub(1);
                newest_first.push(Shown::End { host_id: id.to_owned(), status: status.clone() });
            }
            if room.0 == 0 {
                break;
            }
            let Some(mut lines) = lines_of(id, message) else { continue };
            let fits = lines.lines.iter().rev().take_while(|line| {
                room = (room.0.saturating_sub(1), room.1.saturating_sub(line.line.len()));
                room.0 > 0 && room.1 > 0
            });
            let keep = fits.count();
            let full = keep < lines.lines.len();
            lines.lines.drain(..lines.lines.len() - keep);
            newest_first.push(Shown::Lines(lines));
            if full {
                break;
            }
        }
        // The record also has repeats, which are removed here.
        let mut jobs = Jobs::default();
        newest_first.reverse();
        newest_first.retain_mut(|shown| match shown {
            Shown::Lines(lines) => {
                lines.lines.retain(|line| jobs.is_new_line(lines.job_id.as_deref(), line.seq));
                !lines.lines.is_empty()
            }
            Shown::End { status, .. } => jobs.is_new_end(status.job_id.as_deref()),
        });
        newest_first
    }
}

/// The lines in a message, if it has any.
pub(super) fn lines_of(id: &str, message: &AgentMessage) -> Option<Lines> {
    match message {
        AgentMessage::Output(output) => Some(Lines {
            host_id: id.to_owned(),
            command: output.command.clone(),
            job_id: output.job_id.clone(),
            lines: vec![Line {
                seq: output.seq,
                stream: output.stream,
                line: output.line.clone(),
                cont: output.cont,
            }],
        }),
        AgentMessage::OutputBatch(batch) => Some(Lines {
            host_id: id.to_owned(),
            command: batch.command.clone(),
            job_id: Some(batch.job_id.clone()),
            lines: batch
                .lines
                .iter()
                .map(|line| Line {
                    seq: Some(line.seq),
                    stream: line.stream,
                    line: line.line.clone(),
                    cont: line.cont,
                })
                .collect(),
        }),
        _ => None,
    }
}

/// Whether this is a valid hostname.
pub(super) fn is_hostname(name: &str) -> bool {
    (1..=MAX_HOSTNAME).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}
