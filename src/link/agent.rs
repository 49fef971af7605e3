//! The state that the agent keeps from one connection to the next, and the decisions that need more
//! than one part of it.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::time::Instant;

use nixfleet_config::{Host, Proof};
use nixfleet_jobs::history::deploys;
use nixfleet_jobs::record::Record;
use nixfleet_jobs::spec::Outcome;
use nixfleet_jobs::{JobId, Urgency};
use nixfleet_os::Clock;
use nixfleet_os::text::one_line;
use nixfleet_protocol::{
    AgentMessage, CAPABILITY_ACK, CAPABILITY_OUTPUT_BATCH, LastGoodSettings, OddField, Register, RunningJob,
};

use super::absence::Absence;
use super::alarm::Alarm;
use super::backoff::Reconnect;
use super::clock_changes::ClockChanges;
use super::contact::Contact;
use super::peer::{PeerState, Refused};
use super::postponed::Postponed;
use super::rotation::Rotation;
use crate::facts::{Facts, update};
use crate::heartbeat::Snapshots;
use crate::jobs::admission;
use crate::jobs::executor::ExecutorEvent;
use crate::jobs::first_clone::{Checkout, FirstClone};
use crate::jobs::table::{JobTable, MAX_JOBS};
use crate::observe::limiter::{Limiter, Topic};
use crate::observe::outage::Outage;
use crate::observe::stats::Stats;
use crate::observe::status::Ask;
use crate::observe::status::recent::Recent;
use crate::observe::systemd::{self, Watchdog};
use crate::queries::Queries;
use crate::wire;

mod answer;

/// How long a command may take to end after a request, in addition to the grace period: 5 s in which a supervisor
/// waits for processes that it has killed, and as long again for the signal and for a busy machine. After that the
/// request is answered: the command goes on.
pub const STOP_MARGIN: Duration = Duration::from_secs(10);

/// Stack of the thread that notes which settings lead to the dashboard, in bytes. It writes one small file.
const NOTE_STACK: usize = 128 * 1024;

/// A request to end a command that was not carried out.
#[derive(Debug)]
pub struct NotStopped {
    /// The job of that command.
    pub id: JobId,
    /// The command that asked for it, such as `stop`.
    pub asked: String,
    /// The answer to it.
    pub why: String,
}

/// The state that the agent keeps from one connection to the next.
#[derive(Debug)]
pub struct Agent {
    /// The machine and its commands.
    pub host: Host,
    /// Time between heartbeats, as configured on this host.
    pub interval: Duration,
    /// The clock of the machine.
    pub clock: Clock,
    /// Tells when the machine slept, or its wall clock was set.
    pub clock_changes: ClockChanges,
    /// Wakes a session when it has something to do.
    pub alarm: Alarm,
    /// The accepted jobs.
    pub jobs: JobTable,
    /// The outcomes of the orders that `jobs` gave to its executor.
    pub executor_events: mpsc::Receiver<ExecutorEvent>,
    /// The data that heartbeats report.
    pub snapshots: Snapshots,
    /// Requests for the agent's status, from clients on this machine.
    pub asks: mpsc::Receiver<Ask>,
    /// The agent's counters.
    pub stats: Stats,
    /// The state of the connection and the last results, for the status.
    pub history: Recent,
    /// The service manager's watchdog.
    pub watchdog: Watchdog,
    /// The dashboard's description of itself.
    pub peer: PeerState,
    /// The dashboard's questions that are not answered yet.
    pub queries: Queries,
    /// How often the dashboard may cause a log line.
    pub limiter: Limiter,
    /// What the log says while there is no connection.
    pub outage: Outage,
    /// Says that the agent is connected, while a system is on trial.
    pub contact: Contact,
    /// Requests that came while a connection was closed to make another one.
    pub postponed: Postponed,
    /// Notices that what proves who this host is was replaced.
    pub rotation: Rotation,
    /// Optional fields of the dashboard's messages that could not be read or have a value that is not used, and were
    /// logged.
    odd: BTreeSet<(&'static str, &'static str)>,
    /// Why there was no connection, until the dashboard was told.
    pub absence: Absence,
    /// What heartbeats say about settings that are not those of the file.
    pub last_good: Option<Box<LastGoodSettings>>,
    /// Written when the dashboard takes the first registration: these settings lead to a dashboard.
    pub proof: Option<Proof>,
    first_clone: FirstClone,
    pub(super) reconnect: Reconnect,
    /// How long to wait before the first attempt to connect.
    pub(super) first_delay: Option<Duration>,
}

impl Agent {
    /// An agent that has not connected yet.
    pub fn new(
        host: Host,
        interval: Duration,
        jobs: JobTable,
        executor_events: mpsc::Receiver<ExecutorEvent>,
        snapshots: Snapshots,
        asks: mpsc::Receiver<Ask>,
    ) -> Self {
        Self {
            first_clone: FirstClone::new(host.repo.url.is_some(), Instant::now()),
            queries: Queries::default(),
            host,
            interval,
            clock: Clock::real(),
            clock_changes: ClockChanges::default(),
            alarm: Alarm::default(),
            jobs,
            executor_events,
            snapshots,
            asks,
            stats: Stats::default(),
            history: Recent::default(),
            watchdog: Watchdog::from_environment(),
            peer: PeerState::default(),
            limiter: Limiter::default(),
            outage: Outage::default(),
            contact: Contact::default(),
            postponed: Postponed::default(),
            rotation: Rotation::default(),
            odd: BTreeSet::new(),
            absence: Absence::default(),
            last_good: None,
            proof: None,
            reconnect: Reconnect::default(),
            first_delay: None,
        }
    }

    /// The payload of `register`: the identity and the facts of this host.
    pub fn registration(&self) -> Register {
        let facts = self.snapshots.facts();
        let host = &self.host;
        Register {
            hostname: host.hostname.clone(),
            host_type: host.host_type.to_owned(),
            agent_version: host.reported_version.clone(),
            os_version: facts.os_version.clone(),
            nixpkgs_version: facts.nixpkgs_version.clone(),
            generation: facts.generation.clone(),
            heartbeat_interval: self.interval.as_secs(),
            theme_color: host.theme_color.clone(),
            location: host.location.clone(),
            device_type: host.device_type.clone(),
            repo_url: host.repo.public_url().unwrap_or_default(),
            repo_dir: host.repo.dir.as_ref().map(|dir| dir.display().to_string()).unwrap_or_default(),
            source_commit: facts.source_commit.clone(),
            store_path: facts.store_path.clone(),
            binary_hash: facts.binary_hash.clone(),
            capabilities: vec![
                CAPABILITY_ACK.into(),
                "command_id".into(),
                "resume".into(),
                CAPABILITY_OUTPUT_BATCH.into(),
                "prewarm".into(),
                "vitals".into(),
            ],
            boot_id: facts.boot_id.clone(),
            // A dashboard that is new to this host learns whose output and status follow.
            running_job: self.jobs.current_record().or(self.jobs.unreported_record()).map(|record| {
                RunningJob {
                    id: record.id.to_string(),
                    command: record.command.clone(),
                    started_at: record.accepted_at.clone(),
                }
            }),
            commands: admission::offered(host),
        }
    }

    /// Builds the next heartbeat, with these facts; returns its sequence number and its text. `succeeded` is the
    /// command whose status of success goes before it.
    pub fn heartbeat(&mut self, facts: &Facts, succeeded: Option<&str>, now: SystemTime) -> (u64, String) {
        self.stats.beats += 1;
        self.history.beat(now);
        let seq = self.stats.beats;
        let interval = self.peer.interval(self.interval, Instant::now());
        let mut heartbeat =
            self.snapshots.heartbeat(facts, self.jobs.current(), seq, self.peer.rtt(), interval, now);
        heartbeat.last_good_settings.clone_from(&self.last_good);
        heartbeat.last_error = self.absence.tell(seq);
        heartbeat.command_activity =
            self.jobs.activity().map(|activity| Box::new(wire::progress::activity(activity, now)));
        self.contact.go_on();
        if let Some(status) = &mut heartbeat.update_status {
            self.mark_trial(status);
        }
        if succeeded == Some("rollback")
            && let Some(update_status) = &mut heartbeat.update_status
        {
            update::mark_rolled_back(update_status);
        }
        (seq, AgentMessage::Heartbeat(Box::new(heartbeat)).encode())
    }

    /// Whether a log line that the dashboard causes may be written now; it is counted otherwise.
    pub fn may_log(&mut self, topic: Topic, now: Instant) -> bool {
        let allowed = self.limiter.allows(topic, now);
        self.stats.log_lines_left_out += u64::from(!allowed);
        allowed
    }

    /// An optional field could not be read. Said once for each field: a dashboard that sends it wrong always does.
    pub fn note_odd(&mut self, odd: &OddField) {
        /// Characters of the value.
        const SHOWN: usize = 60;
        if self.odd.insert((odd.message, odd.field)) {
            let (field, value) = (format!("{}.{}", odd.message, odd.field), one_line(&odd.value, SHOWN));
            tracing::warn!(
                field,
                value,
                "Ignored a field of the dashboard that cannot be read: {}.",
                odd.then
            );
        }
    }

    /// The dashboard asks for a time that it does not get. Said once for each field, as above.
    pub fn note_refused(&mut self, Refused { field, seconds, then }: Refused) {
        if self.odd.insert(("a time out of bounds", field)) {
            tracing::warn!(field, seconds, "The dashboard asks for a time that is {then}.");
        }
    }

    /// The dashboard accepted the registration.
    pub fn connected(&mut self) {
        self.stats.registrations += 1;
        self.history.connected();
        self.contact.registered();
        self.follow_trial();
        systemd::status("Connected to the dashboard.");
        if let Some(proof) = self.proof.take() {
            note(proof);
        }
    }

    /// Starts a command. `announced`: the dashboard has already been sent a status of success for it.
    pub fn start(&mut self, command: String, command_id: Option<String>, announced: bool) {
        let record = Record { announced, ..Record::accept_at(&self.clock, command, command_id) };
        self.stats.jobs_started += 1;
        self.jobs.accept(record);
        self.follow_trial();
    }

    /// The command that runs may put a system on trial.
    pub fn follow_trial(&self) {
        if let Some(record) = self.jobs.current_record().filter(|record| deploys(&record.command)) {
            self.contact.follow(&record.id);
        }
    }

    /// Why no command may start now, as the reason of a rejection; none if commands may start.
    pub fn refusal(&self, command_id: Option<&str>, now: Instant) -> Option<String> {
        let full = || {
            format!(
                "{MAX_JOBS} results wait for proof that the dashboard has read them (the pong to the ping behind a \
                 status); another command would push one out; send it again later"
            )
        };
        let unread = || {
            "files of an earlier agent could not be read yet, so this may be a command that it has accepted; the agent's \
             log names them; send it again in a minute"
                .to_owned()
        };
        let refusal = self.peer.refusal(now).or_else(|| self.jobs.is_full().then(full));
        refusal.or_else(|| self.jobs.is_unread(command_id, now).then(unread))
    }

    /// Orders the end of the command that runs, because the command `asked` was sent. Returns false if none runs.
    pub fn end_current(&mut self, urgency: Urgency, asked: &str, now: Instant) -> bool {
        let grace = match urgency {
            Urgency::Stop => self.host.jobs.stop_grace,
            Urgency::Kill => Duration::ZERO,
        };
        self.jobs.end(urgency, asked, now + grace + STOP_MARGIN)
    }

    /// Starts the job that reboots the machine. Its status of success must have been sent before.
    pub fn reboot(&mut self, command_id: Option<String>) {
        self.start("reboot".to_owned(), command_id, true);
    }

    /// When to call [`Self::clone_if_missing`] next; none if no clone is wanted or one is running.
    pub fn clone_due(&self) -> Option<Instant> {
        self.first_clone.due()
    }

    /// Starts a clone of the repository if it is due and there is no checkout.
    pub fn clone_if_missing(&mut self, now: Instant) {
        let checkout = Checkout::of(&self.snapshots.facts());
        // A job that has ended may have made the checkout, and the host was not looked at yet.
        let idle = self.jobs.is_idle() && self.refusal(None, now).is_none();
        if self.first_clone.take(checkout, idle, now) {
            self.start("clone".to_owned(), None, false);
        }
    }

    /// A job has ended; called once for each job.
    pub fn job_ended(&mut self, command: &str, outcome: Outcome, now: Instant) {
        self.contact.unfollow();
        // The next one may run already.
        self.follow_trial();
        if matches!(command, "clone" | "pull" | "pull-switch") {
            self.first_clone.ended(outcome, fastrand::f64(), now);
        }
    }

    /// Handles the outcome of an order. If a command could not be stopped, returns the request that nobody has
    /// answered. Without a connection it stays in the table, which tells of it in time on the next one.
    pub fn executor_event(&mut self, event: ExecutorEvent) -> Option<NotStopped> {
        match event {
            ExecutorEvent::Launched(id) => self.jobs.launched(&id),
            ExecutorEvent::Found(record) => self.jobs.found(*record),
            ExecutorEvent::FoundAnswers(older) => self.jobs.found_answers(older),
            ExecutorEvent::FoundAll => self.jobs.found_all(),
            ExecutorEvent::NotLaunched(id, why) => {
                let span = self.jobs.span(&id);
                span.in_scope(|| tracing::error!("The command could not be started: {why}"));
                self.jobs.not_launched(&id, why);
            }
            ExecutorEvent::NotEnded { id, asked, why } => {
                let span = self.jobs.span(&id);
                span.in_scope(|| tracing::error!("The command could not be stopped: {why}"));
                return Some(NotStopped { id, asked, why: format!("The command goes on: {why}") });
            }
            ExecutorEvent::EndedBefore { id, asked } => {
                let span = self.jobs.span(&id);
                span.in_scope(|| tracing::info!("The command had ended before it could be stopped."));
                let why = "nothing is running: the command had just ended by itself".to_owned();
                return Some(NotStopped { id, asked, why });
            }
        }
        None
    }

    /// The host slept for so long. What others do goes on meanwhile, so times that are about them move closer.
    pub fn slept(&mut self, time: Duration, now: Instant) {
        self.peer.slept(time, now);
        self.first_clone.slept(time, now);
        self.reconnect.slept(time);
    }

    /// The connection has ended: whatever was not confirmed is sent again on the next one.
    pub fn disconnected(&mut self) {
        self.contact.lost();
        self.jobs.rewind();
    }
}

/// Notes that the settings lead to a dashboard. In a thread, because the disk may hang; without the note, an older copy
/// is used after a mistake.
fn note(proof: Proof) {
    let store = move || {
        if let Err(why) = proof.store() {
            tracing::warn!("Cannot note that these settings lead to the dashboard: {why}.");
        }
    };
    let thread = std::thread::Builder::new().name("settings".to_owned()).stack_size(NOTE_STACK).spawn(store);
    if let Err(err) = thread {
        tracing::warn!("Cannot note that these settings lead to the dashboard: no thread: {err}.");
    }
}
