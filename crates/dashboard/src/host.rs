//! The state of one host.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use nixfleet_protocol::{AgentMessage, Heartbeat, Parts, Prewarm, Register, RunningJob, TestProgress};
use nixfleet_sessions::{Link, Verdicts};

use super::figures::Figures;
use super::history::History;
use super::log::Log;
use super::moment::{Moment, rfc3339};
use super::newest::Newest;
use super::record::{Record, read};
use super::running::Running;
use super::summary::{BeatGlance, FactsGlance, Known, Summary};
use super::view::{HostStatus, HostView, LastStatus};

/// Intervals without a heartbeat after which a host is offline.
const STALE_AFTER: u32 = 3;

/// Seconds between heartbeats of an agent that registers no interval.
const DEFAULT_INTERVAL: u64 = 30;

/// The longest interval used, in seconds. The limit of the agent is an hour; a day prevents overflow.
const MAX_INTERVAL: u64 = 24 * 60 * 60;

/// [`Prewarm::phase`] while the stress lasts.
const PREWARM_BEGIN: &str = "start";

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
    /// Another program has its connection, and says when it is offline.
    pub(super) is_fed: bool,
    pub(super) link: Option<Arc<Link>>,
    pub(super) connections: u64,
    pub(super) record: Record,
    /// What it was asked, and what it has said about that.
    pub(super) verdicts: Verdicts,
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
    first_seen_ms: i64,
    /// Since when the newest connection is there.
    connected_at_ms: i64,
    /// What its commands said. Hosts without commands have no memory for it.
    pub(super) log: Option<Box<Log>>,
    /// The command that runs, while there is one.
    pub(super) running: Option<Box<Running>>,
    /// The last hour, from the first heartbeat on.
    pub(super) history: Option<Box<History>>,
    /// What lists of hosts show of the newest heartbeat, if it was read already.
    beat_glance: Option<Box<BeatGlance>>,
    /// What they show of the newest `register`.
    facts_glance: Option<Box<FactsGlance>>,
    /// Waits in the list of changes for browsers.
    pub(super) has_changed: bool,
}

impl Host {
    /// Notes when an agent registers, on a new connection or `again`, and what it says that runs.
    pub(super) fn registered(&mut self, moment: Moment, again: bool, job: Option<&RunningJob>) {
        if self.connections == 1 && !again {
            self.first_seen_ms = moment.unix_ms;
        }
        if !again {
            self.connected_at_ms = moment.unix_ms;
        }
        if job.is_some() {
            self.running.get_or_insert_default().registered(job, moment.unix_ms);
        }
    }

    /// Notes the first connection that is heard of, which need not be the first one.
    pub(super) fn seen(&mut self, moment: Moment) {
        if self.first_seen_ms == 0 {
            self.first_seen_ms = moment.unix_ms;
        }
    }

    /// Stores a `register`.
    pub(super) fn set_facts(&mut self, text: Arc<str>, interval: u64) {
        (self.facts, self.interval, self.facts_are_newer) = (Some(text), interval, true);
        self.facts_glance = None;
    }

    /// Stores a heartbeat. `points` is how many the history of each host may have.
    pub(super) fn beat(&mut self, moment: Moment, text: Arc<str>, beat: &Heartbeat, points: usize) {
        let pending = beat.pending_command.as_deref();
        self.verdicts.heartbeat(pending);
        (self.beat, self.beat_glance, self.facts_are_newer) = (Some(text), None, false);
        match pending {
            Some(_) => self.running.get_or_insert_default().beat(pending, moment.unix_ms),
            None => self.running = None,
        }
        let (connection, interval) = (self.connections, self.interval());
        let history = self.history.get_or_insert_with(|| Box::new(History::new(moment.now)));
        history.beat(moment.now, connection, interval, &Figures::of(beat), points);
        self.heartbeat_at = Some(moment.now);
        self.heartbeat_at_ms = moment.unix_ms;
        self.online = true;
    }

    /// Whether there are readings of any heartbeat.
    pub(super) fn has_beat(&self) -> bool {
        self.beat.is_some()
    }

    /// The newest `register` is newer than the newest heartbeat.
    pub(super) fn facts_count(&mut self) {
        self.facts_are_newer = true;
    }

    pub(super) fn request_interval(&mut self, seconds: Option<u64>) {
        self.requested_interval = seconds;
    }

    /// When an online host becomes offline without another heartbeat.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let heartbeat_at = self.heartbeat_at.filter(|_| self.online && !self.is_fed)?;
        Some(heartbeat_at + Duration::from_secs(self.interval()) * STALE_AFTER)
    }

    fn interval(&self) -> u64 {
        match self.requested_interval.unwrap_or(self.interval) {
            0 => DEFAULT_INTERVAL,
            seconds => seconds.min(MAX_INTERVAL),
        }
    }

    /// Keeps what lists of hosts show of this heartbeat, the newest one.
    pub(super) fn note_summary(&mut self, beat: &Heartbeat) {
        self.beat_glance = Some(Box::new(BeatGlance::of(beat)));
    }

    /// Reads what lists of hosts show, unless it was read before.
    pub(super) fn prepare_summary(&mut self) {
        if self.facts_glance.is_none() {
            self.facts_glance = self.facts.as_deref().and_then(FactsGlance::read).map(Box::new);
        }
        if self.beat_glance.is_none() {
            self.beat_glance = self.beat.as_deref().and_then(BeatGlance::read).map(Box::new);
        }
    }

    /// One line for lists of hosts. [`prepare_summary`](Self::prepare_summary) comes first.
    pub(super) fn summary<'a>(&'a self, id: &'a str, violations: u64, newest: &Newest) -> Summary<'a> {
        static NOTHING: FactsGlance = FactsGlance::NOTHING;
        let facts = self.facts_glance.as_deref().unwrap_or(&NOTHING);
        let beat = self.beat_glance.as_deref();
        let pending = beat.and_then(|beat| beat.pending.as_deref());
        let known = Known {
            id,
            status: self.status(),
            connected: self.link.is_some(),
            last_seen: beat.map(|_| rfc3339(self.heartbeat_at_ms)),
            interval: self.interval(),
            facts_are_newer: self.facts_are_newer,
            started_at: self.started_at(pending),
            progress: self.running.as_ref().and_then(|running| running.how_far(pending)),
            last: self.last_status.as_deref(),
            violations,
            git: beat.and_then(|beat| newest.state(beat.checkout())),
            prewarm: self.prewarm.as_ref().is_some_and(|prewarm| prewarm.phase == PREWARM_BEGIN),
        };
        Summary::new(facts, beat, known)
    }

    fn status(&self) -> HostStatus {
        if self.online { HostStatus::Online } else { HostStatus::Offline }
    }

    /// When this command started, as far as the dashboard knows.
    fn started_at(&self, pending: Option<&str>) -> Option<String> {
        self.running.as_ref()?.since_ms(pending).map(rfc3339)
    }

    /// Everything but violations and the ends of commands, which not each view has.
    pub(super) fn view(&self, id: &str) -> HostView {
        let facts = self.read_facts();
        let beat = self.read_beat();
        let beat = beat.as_ref();
        // The newest message of the two kinds counts.
        let newer = beat.filter(|_| !self.facts_are_newer);
        let pending = beat.and_then(|beat| beat.pending_command.as_deref());
        HostView {
            id: id.to_owned(),
            hostname: facts.hostname,
            status: self.status(),
            first_seen: rfc3339(self.first_seen_ms),
            connected_since: self.link.as_ref().map(|_| rfc3339(self.connected_at_ms)),
            last_seen: beat.map(|_| rfc3339(self.heartbeat_at_ms)),
            connected: self.link.is_some(),
            connections: self.connections,
            generation: newer.map_or(&facts.generation, |beat| &beat.generation).clone(),
            nixpkgs_version: newer.map_or(&facts.nixpkgs_version, |beat| &beat.nixpkgs_version).clone(),
            pending_command: beat.and_then(|beat| beat.pending_command.clone()),
            command_pid: beat.and_then(|beat| beat.command_pid),
            started_at: self.started_at(pending),
            progress: self.running.as_ref().and_then(|running| running.how_far(pending)),
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
            commands: (!facts.commands.is_empty()).then_some(facts.commands),
            last_status: self.last_status.as_deref().cloned(),
            ends: Vec::new(),
            test_progress: self.test_progress.as_deref().cloned(),
            operation: self.operation.as_deref().cloned().unwrap_or_default(),
            update_status: beat.and_then(|beat| beat.update_status.clone()),
            violations: 0,
            newest_violation: None,
            lines: self.verdicts.lines(),
            repeats: self.verdicts.repeats(),
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
}
