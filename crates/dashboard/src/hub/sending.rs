//! What is sent to agents.

use nixfleet_protocol::{CommandRequest, DashboardMessage, HeartbeatAck, encode};
use nixfleet_sessions::{Link, Outgoing, Verdict};
use tokio::sync::oneshot;

use super::{Hub, judging};
use crate::host::SendError;
use crate::policy::Policy;

impl Hub {
    /// Sends the policy to every connected agent. Returns to how many it could not be sent.
    pub(crate) fn announce(&mut self, policy: &Policy, legacy: bool) -> usize {
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
    pub(crate) fn acknowledge(&mut self, id: &str, seq: u64, policy: &Policy) {
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
    pub(crate) fn send_command(
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
    pub(crate) fn ask(
        &mut self,
        id: &str,
        command: &str,
        command_id: &str,
    ) -> Result<oneshot::Receiver<Verdict>, SendError> {
        self.send_command(id, command, Some(command_id))?;
        let host = self.hosts.get_mut(id).ok_or(SendError::UnknownHost)?;
        Ok(host.verdicts.asked(command, command_id))
    }

    /// Sends the newest command again, unchanged.
    pub(crate) fn resend_command(&mut self, id: &str) -> Result<(), SendError> {
        let host = self.hosts.get(id).ok_or(SendError::UnknownHost)?;
        let text = host.last_command.clone().ok_or(SendError::NothingToResend)?;
        self.send(id, Outgoing::text(text))
    }

    /// Puts something into the queue of a host's socket.
    pub(crate) fn send(&mut self, id: &str, outgoing: Outgoing) -> Result<(), SendError> {
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
    pub(crate) fn link(&self, id: &str) -> Result<&Link, SendError> {
        self.hosts.get(id).ok_or(SendError::UnknownHost)?.link.as_deref().ok_or(SendError::NotConnected)
    }
}
