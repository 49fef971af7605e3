//! The state of all hosts, and every rule of the dashboard as functions of state, message and time.
//!
//! Nothing here waits or does I/O. Messages for browsers are collected, and sent by the caller.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;

use nixfleet_protocol::{
    AgentMessage, CommandRejected, CommandRequest, DashboardMessage, HeartbeatAck, Parts, Register, encode,
};

use crate::asks::{Asks, Evidence, Verdict};
use crate::host::{Host, SendError, is_hostname, lines_of};
use crate::link::{Link, Outgoing};
use crate::moment::Moment;
use crate::policy::Policy;
use crate::rate::{Rate, Registrations};
use crate::record::{Entry, Kept, room_for};
use crate::strict::{Judge, Strict};
use crate::view::{BrowserMessage, HostView, LastStatus, rfc3339};

mod judging;

/// The result of a registration.
#[derive(Debug)]
pub(super) enum Registration {
    /// Answer with `registered`, and close the older connection with the same hostname.
    Accepted { replaced: Option<Arc<Link>> },
    /// Close with 1008 and this reason.
    Refused(&'static str),
}

/// All hosts and sent commands.
#[derive(Debug, Default)]
pub(super) struct Hub {
    /// Each in a box: a map with room for more hosts has room for their names only.
    hosts: BTreeMap<String, Box<Host>>,
    asks: Asks,
    /// Checks messages in the strict mode.
    judge: Option<Judge>,
    sessions: u64,
    rate: Rate,
    updates: Vec<BrowserMessage>,
    /// False while no browser is connected. Then no messages are collected.
    has_browsers: bool,
    /// The earliest deadline of a host, or an earlier time: a heartbeat moves the deadline and not this.
    next_expiry: Option<Instant>,
    deadline_moved: bool,
}

impl Hub {
    pub(super) fn new(strict: Option<Strict>) -> Self {
        Self { judge: strict.map(Judge::new), ..Self::default() }
    }

    pub(super) fn set_has_browsers(&mut self, has_browsers: bool) {
        self.has_browsers = has_browsers;
    }

    /// Takes the messages for browsers since the last call.
    pub(super) fn take_updates(&mut self) -> Vec<BrowserMessage> {
        std::mem::take(&mut self.updates)
    }

    /// Whether the deadline of a host may be earlier than all deadlines before.
    pub(super) fn take_deadline_moved(&mut self) -> bool {
        std::mem::take(&mut self.deadline_moved)
    }

    /// A number for a new socket.
    pub(super) fn next_session(&mut self) -> u64 {
        self.sessions += 1;
        self.sessions
    }

    /// Handles `register`, the first or a later one on the same socket.
    pub(super) fn register(
        &mut self,
        moment: Moment,
        link: &Arc<Link>,
        text: &str,
        facts: Register,
        requested_interval: Option<u64>,
    ) -> Registration {
        let id = facts.hostname;
        if !is_hostname(&id) {
            return Registration::Refused("the hostname must be 1 to 63 of A-Z a-z 0-9 -");
        }
        // With room for this one, which may be new.
        let room = room_for(self.hosts.len() + 1);
        let host = self.hosts.entry(id.clone()).or_default();
        let again = host.link.as_ref().is_some_and(|current| current.session == link.session);
        let replaced = if again { None } else { host.link.replace(Arc::clone(link)) };
        host.connections += u64::from(!again);
        if !again {
            self.rate.count(moment.now);
        }
        let text: Arc<str> = text.into();
        host.record.push(host.connections, moment.unix_ms, Kept::Text(Arc::clone(&text)));
        host.set_facts(text, facts.heartbeat_interval);
        host.request_interval(requested_interval);
        // The interval may be shorter than before.
        self.deadline_moved |= is_earlier(host.deadline(), &mut self.next_expiry);
        host.record.trim(room);
        self.publish_host(&id);
        Registration::Accepted { replaced }
    }

    /// Handles any other message of a registered socket. Messages of a replaced socket are ignored.
    pub(super) fn receive(
        &mut self,
        moment: Moment,
        id: &str,
        session: u64,
        text: &str,
        message: AgentMessage,
    ) {
        let has_browsers = self.has_browsers;
        let room = room_for(self.hosts.len());
        let Some(host) = self.hosts.get_mut(id) else { return };
        if host.link.as_ref().is_none_or(|link| link.session != session) {
            return;
        }
        let publish_host = match &message {
            AgentMessage::Register(_) => false,
            AgentMessage::Prewarm(prewarm) => {
                host.prewarm = Some(Box::new(prewarm.clone()));
                true
            }
            AgentMessage::Heartbeat(beat) => {
                self.asks.heartbeat(id, beat.pending_command.as_deref());
                let text: Arc<str> = text.into();
                host.record.push(host.connections, moment.unix_ms, Kept::Text(Arc::clone(&text)));
                host.beat(moment, text, beat.pending_command.as_deref());
                self.deadline_moved |= is_earlier(host.deadline(), &mut self.next_expiry);
                true
            }
            AgentMessage::Output(output) => {
                let (command, job) = (output.command.as_str(), output.job_id.as_deref());
                self.asks.job(id, command, job, &host.jobs, Evidence::Output);
                if host.jobs.is_new_line(job, output.seq) {
                    host.busy_with = Some(command.to_owned());
                    self.updates
                        .extend(lines_of(id, &message).filter(|_| has_browsers).map(BrowserMessage::Output));
                }
                false
            }
            AgentMessage::OutputBatch(batch) => {
                let (command, job) = (batch.command.as_str(), Some(batch.job_id.as_str()));
                self.asks.job(id, command, job, &host.jobs, Evidence::Output);
                let new: Vec<bool> =
                    batch.lines.iter().map(|line| host.jobs.is_new_line(job, Some(line.seq))).collect();
                if new.contains(&true) {
                    host.busy_with = Some(command.to_owned());
                    if let Some(mut lines) = lines_of(id, &message).filter(|_| has_browsers) {
                        let mut new = new.into_iter();
                        lines.lines.retain(|_| new.next() == Some(true));
                        self.updates.push(BrowserMessage::Output(lines));
                    }
                }
                false
            }
            AgentMessage::Status(status) => {
                let job = status.job_id.as_deref();
                self.asks.job(id, &status.command, job, &host.jobs, Evidence::Status);
                let new = host.jobs.is_new_end(job);
                if new {
                    if host.busy_with.as_ref() == Some(&status.command) {
                        host.busy_with = None;
                    }
                    let last = LastStatus { received_at: rfc3339(moment.unix_ms), status: status.clone() };
                    host.last_status = Some(Box::new(last.clone()));
                    if has_browsers {
                        self.updates.push(BrowserMessage::Status { host_id: id.to_owned(), status: last });
                    }
                }
                new
            }
            AgentMessage::CommandRejected(rejection) => {
                self.asks.rejected(id, rejection);
                host.busy_with.clone_from(&rejection.current_command);
                if has_browsers {
                    let rejection: CommandRejected = rejection.clone();
                    self.updates.push(BrowserMessage::CommandRejected { host_id: id.to_owned(), rejection });
                }
                false
            }
            AgentMessage::TestProgress(progress) => {
                host.test_progress = Some(Box::new(progress.clone()));
                if has_browsers {
                    let progress = progress.clone();
                    self.updates.push(BrowserMessage::TestProgress { host_id: id.to_owned(), progress });
                }
                false
            }
            AgentMessage::OperationProgress(operation) => {
                let parts = host.operation.get_or_insert_default();
                parts.merge(&operation.progress);
                if has_browsers {
                    let progress = Parts::clone(parts);
                    self.updates.push(BrowserMessage::OperationProgress { host_id: id.to_owned(), progress });
                }
                false
            }
        };
        if !matches!(message, AgentMessage::Heartbeat(_)) {
            let kept = Kept::Message(Box::new(message), text.len());
            host.record.push(host.connections, moment.unix_ms, kept);
        }
        host.record.trim(room);
        if publish_host {
            self.publish_host(id);
        }
    }

    /// Counts a frame that was no known message.
    pub(super) fn ignored_frame(&mut self, id: &str) {
        if let Some(host) = self.hosts.get_mut(id) {
            host.ignored_frames += 1;
        }
    }

    /// Handles the end of a socket. The host stays online until its deadline.
    pub(super) fn disconnect(&mut self, id: &str, session: u64) {
        if let Some(judge) = &mut self.judge {
            judge.disconnected(id, session);
        }
        let Some(host) = self.hosts.get_mut(id) else { return };
        if host.link.as_ref().is_some_and(|link| link.session == session) {
            host.link = None;
            self.publish_host(id);
        }
    }

    /// Sets hosts offline whose deadline has passed.
    pub(super) fn expire(&mut self, now: Instant) {
        let late = |host: &Host| host.deadline().is_some_and(|deadline| now > deadline);
        let expired: Vec<String> =
            self.hosts.iter().filter(|(_, host)| late(host)).map(|(id, _)| id.clone()).collect();
        for id in expired {
            if let Some(host) = self.hosts.get_mut(&id) {
                host.online = false;
            }
            self.publish_host(&id);
        }
    }

    /// When [`expire`](Self::expire) has to be called next, unless heartbeats arrive.
    pub(super) fn next_deadline(&mut self) -> Option<Instant> {
        self.next_expiry = self.hosts.values().filter_map(|host| host.deadline()).min();
        // A host is offline after more than three intervals, and timers count in milliseconds.
        Some(self.next_expiry? + std::time::Duration::from_millis(1))
    }

    /// Sends the policy to every connected agent. Returns to how many it could not be sent.
    pub(super) fn announce(&mut self, policy: &Policy, legacy: bool) -> usize {
        self.deadline_moved = true;
        let mut failed = 0;
        for (id, host) in &mut self.hosts {
            host.request_interval(policy.heartbeat_interval.filter(|_| !legacy));
            let Some(link) = &host.link else { continue };
            let text = encode(&DashboardMessage::Registered(policy.registered(id, legacy)));
            if link.send(Outgoing::text(text)).is_err() {
                host.dropped_outgoing += 1;
                failed += 1;
            }
        }
        failed
    }

    /// Acknowledges a heartbeat.
    pub(super) fn acknowledge(&mut self, id: &str, seq: u64, policy: &Policy) {
        let ack = HeartbeatAck {
            seq,
            server_time: Some(nixfleet_os::timestamp()),
            pending_messages: 0,
            server_status: policy.server_status.clone(),
        };
        let text = encode(&DashboardMessage::HeartbeatAck(ack));
        // If the queue is full, the loss is counted and the agent notices it.
        self.send(id, Outgoing::text(text)).ok();
    }

    /// Sends a command.
    pub(super) fn send_command(
        &mut self,
        id: &str,
        command: &str,
        command_id: Option<&str>,
    ) -> Result<(), SendError> {
        let request = CommandRequest { command: command.to_owned(), id: command_id.map(str::to_owned) };
        let text = encode(&DashboardMessage::Command(request));
        self.send(id, Outgoing::text(text.clone()))?;
        if let Some(host) = self.hosts.get_mut(id) {
            host.last_command = Some(text);
        }
        Ok(())
    }

    /// Sends a command, and returns a receiver for the verdict.
    pub(super) fn ask(
        &mut self,
        id: &str,
        command: &str,
        command_id: &str,
    ) -> Result<oneshot::Receiver<Verdict>, SendError> {
        let busy_with = self.hosts.get(id).and_then(|host| host.busy_with.clone());
        self.send_command(id, command, Some(command_id))?;
        Ok(self.asks.open(id, command, command_id, busy_with.as_deref()))
    }

    /// Sends the newest command again, unchanged.
    pub(super) fn resend_command(&mut self, id: &str) -> Result<(), SendError> {
        let host = self.hosts.get(id).ok_or(SendError::UnknownHost)?;
        let text = host.last_command.clone().ok_or(SendError::NothingToResend)?;
        self.send(id, Outgoing::text(text))
    }

    /// Puts something into the queue of a host's socket.
    pub(super) fn send(&mut self, id: &str, outgoing: Outgoing) -> Result<(), SendError> {
        let host = self.hosts.get_mut(id).ok_or(SendError::UnknownHost)?;
        let link = host.link.as_ref().ok_or(SendError::NotConnected)?;
        let asked = self.judge.as_ref().map(|_| judging::texts(&outgoing));
        link.send(outgoing).map_err(|_| {
            host.dropped_outgoing += 1;
            SendError::QueueFull
        })?;
        if let Some(judge) = &mut self.judge {
            asked.into_iter().flatten().for_each(|text| judge.sent(id, &text));
        }
        Ok(())
    }

    /// The link of a connected host.
    pub(super) fn link(&self, id: &str) -> Result<&Link, SendError> {
        self.hosts.get(id).ok_or(SendError::UnknownHost)?.link.as_deref().ok_or(SendError::NotConnected)
    }

    pub(super) fn views(&self) -> Vec<HostView> {
        self.hosts.iter().map(|(id, host)| self.view_of(id, host)).collect()
    }

    pub(super) fn view(&self, id: &str) -> Option<HostView> {
        self.hosts.get(id).map(|host| self.view_of(id, host))
    }

    fn view_of(&self, id: &str, host: &Host) -> HostView {
        let (violations, newest_violation) =
            self.judge.as_ref().map(|judge| judge.of_host(id)).unwrap_or_default();
        HostView { violations, newest_violation, ..host.view(id) }
    }

    /// How many agents registered in each second.
    pub(super) fn registrations(&self) -> Registrations {
        self.rate.view()
    }

    /// The snapshot for a new browser.
    pub(super) fn snapshot(&self) -> BrowserMessage {
        let output = self.hosts.iter().flat_map(|(id, host)| host.newest_output(id)).collect();
        BrowserMessage::Hosts { hosts: self.views(), output }
    }

    /// Recorded messages from `since` on, and the index of the next one.
    pub(super) fn messages(&self, id: &str, since: u64) -> Option<(impl Iterator<Item = Entry<'_>>, u64)> {
        let host = self.hosts.get(id)?;
        Some((host.record.since(since), host.record.next()))
    }

    fn publish_host(&mut self, id: &str) {
        if let Some(host) = self.hosts.get(id).filter(|_| self.has_browsers) {
            self.updates.push(BrowserMessage::HostUpdate(Box::new(self.view_of(id, host))));
        }
    }
}

/// Whether the deadline of a host is earlier than that of all others. If so, it is the one of all from now on.
fn is_earlier(deadline: Option<Instant>, all: &mut Option<Instant>) -> bool {
    let earlier = deadline.is_some_and(|deadline| all.is_none_or(|all| deadline < all));
    if earlier {
        *all = deadline;
    }
    earlier
}
