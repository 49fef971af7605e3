//! Control of a dashboard from the same process: everything that the HTTP API can do, and waiting for states.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

use nixfleet_protocol::{CommandRequest, DashboardMessage, KillCommand, encode};
use nixfleet_sessions::{MAX_SENT_FRAME, Outgoing};

use crate::host::SendError;
use crate::moment::Moment;
use crate::{Faults, HostView, Policy, Recorded, Registrations, Shared, Verdict};

/// Shortest time between two checks of [`Handle::wait_until`]. It is short compared with the times in tests,
/// and long compared with a check of 20,000 messages.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Messages of each host that are shown when a wait fails.
const SHOWN_MESSAGES: usize = 12;

/// Controls a dashboard. Clones are cheap.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("hosts", &self.hosts()).finish()
    }
}

impl Handle {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// All hosts, by name.
    #[must_use]
    pub fn hosts(&self) -> Vec<HostView> {
        self.shared.read(|hub| hub.views())
    }

    /// One host.
    #[must_use]
    pub fn host(&self, id: &str) -> Option<HostView> {
        self.shared.read(|hub| hub.view(id))
    }

    /// The host's recorded messages, oldest first; empty for an unknown host.
    #[must_use]
    pub fn messages(&self, id: &str) -> Vec<Recorded> {
        self.messages_since(id, 0)
    }

    /// The recorded messages with an index of at least `since`.
    #[must_use]
    pub fn messages_since(&self, id: &str, since: u64) -> Vec<Recorded> {
        self.shared.read(|hub| {
            hub.messages(id, since)
                .map(|(entries, _)| entries.map(|entry| entry.recorded()).collect())
                .unwrap_or_default()
        })
    }

    /// The index of the next message of the host. Pass it to [`messages_since`](Self::messages_since) to get
    /// only messages that arrive from now on.
    #[must_use]
    pub fn next_index(&self, id: &str) -> u64 {
        self.shared.read(|hub| hub.messages(id, u64::MAX).map_or(0, |(_, next)| next))
    }

    /// How many connections have registered under this name.
    #[must_use]
    pub fn connections(&self, id: &str) -> u64 {
        self.host(id).map_or(0, |host| host.connections)
    }

    /// Tells the newest commit of the repository, by which the dashboard judges the checkouts of its hosts; none if it is
    /// not known.
    pub fn set_newest_commit(&self, commit: Option<&str>) {
        self.shared.apply(|hub, moment| hub.set_newest(moment, commit));
    }

    /// How many agents registered in each second.
    #[must_use]
    pub fn registrations(&self) -> Registrations {
        self.shared.read(|hub| hub.registrations())
    }

    /// Sends a command without waiting for an answer. To a host whose socket another program has, one without an id gets
    /// one.
    ///
    /// # Errors
    /// [`SendError`] when it cannot be queued.
    pub fn send_command(&self, id: &str, command: &str, command_id: Option<&str>) -> Result<(), SendError> {
        if self.shared.is_fed() {
            let command_id = command_id.map_or_else(|| Uuid::now_v7().to_string(), str::to_owned);
            let request = CommandRequest { command: command.to_owned(), id: Some(command_id) };
            return self.pass_on(id, DashboardMessage::Command(request));
        }
        self.shared.apply(|hub, _| hub.send_command(id, command, command_id))
    }

    /// Sends the newest command again, with the same text and id.
    ///
    /// # Errors
    /// [`SendError`] when it cannot be queued.
    pub fn resend_command(&self, id: &str) -> Result<(), SendError> {
        self.shared.apply(|hub, _| hub.resend_command(id))
    }

    /// What the dashboard requests from its agents.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.shared.policy.borrow().clone()
    }

    /// Changes the policy, and sends it to every connected agent. Returns to how many agents it could not be
    /// sent.
    ///
    /// # Panics
    /// If another program has the agents' sockets, which has rules of its own.
    pub fn set_policy(&self, policy: Policy) -> usize {
        self.assert_has_sockets();
        let legacy = self.shared.is_legacy();
        self.shared.policy.send_replace(policy.clone());
        self.shared.apply(|hub, _| hub.announce(&policy, legacy))
    }

    /// Asks for another token from now on. Connections that were made with the old one go on.
    pub fn set_token(&self, token: &str) {
        self.shared.token.send_replace(crate::digest(token.as_bytes()));
    }

    /// Sends a `kill_command`.
    ///
    /// # Errors
    /// [`SendError`] when it cannot be queued.
    pub fn send_kill(&self, id: &str, kill: KillCommand) -> Result<(), SendError> {
        if self.shared.is_fed() {
            return self.pass_on(id, DashboardMessage::KillCommand(kill));
        }
        self.send_raw(id, encode(&DashboardMessage::KillCommand(kill)))
    }

    /// Sends a text frame with any content.
    ///
    /// # Errors
    /// [`SendError`] when it cannot be queued.
    pub fn send_raw(&self, id: &str, text: String) -> Result<(), SendError> {
        self.send_many(id, vec![text])
    }

    /// Sends several text frames with one write, so that they arrive together.
    ///
    /// # Errors
    /// [`SendError`] when they cannot be queued. Then none of them is sent.
    pub fn send_many(&self, id: &str, texts: Vec<String>) -> Result<(), SendError> {
        if texts.iter().any(|text| text.len() > MAX_SENT_FRAME) {
            return Err(SendError::TooLong);
        }
        self.send(id, Outgoing::Frames(texts.into_iter().map(Into::into).collect()))
    }

    /// Sends a binary frame.
    ///
    /// # Errors
    /// [`SendError`] when it cannot be queued.
    pub fn send_binary(&self, id: &str, bytes: Vec<u8>) -> Result<(), SendError> {
        if bytes.len() > MAX_SENT_FRAME {
            return Err(SendError::TooLong);
        }
        self.send(id, Outgoing::Frame(Message::Binary(bytes.into())))
    }

    /// Drops the connection of the host without a close frame, like a lost network.
    ///
    /// # Errors
    /// [`SendError`] when the host has no connection.
    pub fn drop_connection(&self, id: &str) -> Result<(), SendError> {
        self.assert_has_sockets();
        self.shared.read(|hub| hub.link(id).map(|link| link.cut()))
    }

    /// Closes the host's connection.
    ///
    /// # Errors
    /// [`SendError`] when the host has no connection or does not read.
    pub fn close(&self, id: &str, code: u16, reason: &str) -> Result<(), SendError> {
        self.send(id, Outgoing::Close { code, reason: reason.to_owned() })
    }

    /// The faults that are switched on.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.shared.faults.borrow().clone()
    }

    /// Replaces the faults.
    ///
    /// # Panics
    /// If another program has the agents' sockets, where they would do nothing.
    pub fn set_faults(&self, faults: Faults) {
        self.assert_has_sockets();
        self.shared.faults.send_replace(faults);
    }

    /// The violations that the strict mode has found so far; none without the strict mode. The call also
    /// finds messages that are overdue now.
    #[must_use]
    pub fn violations(&self) -> Verdict {
        // This does not use `apply`, because it must not wake a caller that waits for a change with it.
        self.shared.lock().findings(Moment::now())
    }

    /// Resolves at the next change of any state.
    pub async fn changed(&self) {
        // There can be no error, because the sender is in `shared`.
        drop(self.shared.changes.subscribe().changed().await);
    }

    /// Waits until `find` returns a value. It is called after every change, but at most once in 2 ms.
    ///
    /// # Panics
    /// When `limit` has passed. The message has `what`, all hosts and their newest messages.
    pub async fn wait_until<T>(
        &self,
        what: &str,
        limit: Duration,
        mut find: impl FnMut(&Self) -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + limit;
        let mut changes = self.shared.changes.subscribe();
        loop {
            if let Some(found) = find(self) {
                return found;
            }
            let next_poll = Instant::now() + POLL_INTERVAL;
            if timeout_at(deadline, changes.changed()).await.is_err() {
                panic!("after {limit:?} still no {what}; {}", self.last_state());
            }
            sleep_until(next_poll.min(deadline)).await;
            changes.mark_unchanged();
        }
    }

    fn last_state(&self) -> String {
        let mut state = String::from("the last state:");
        for host in self.hosts() {
            state.push_str(&format!("\n{host:#?}\nits newest messages:"));
            let next = self.next_index(&host.id);
            for recorded in self.messages_since(&host.id, next.saturating_sub(SHOWN_MESSAGES as u64)) {
                state.push_str(&format!("\n  {recorded:?}"));
            }
        }
        state
    }

    /// Nobody waits for the answer.
    fn pass_on(&self, id: &str, message: DashboardMessage) -> Result<(), SendError> {
        self.shared.read(|hub| hub.link(id).map(|_| ()))?;
        self.shared.pass_on(id, message).map(drop).map_err(|_| SendError::QueueFull)
    }

    fn assert_has_sockets(&self) {
        assert!(!self.shared.is_fed(), "this dashboard has no sockets of agents");
    }

    fn send(&self, id: &str, outgoing: Outgoing) -> Result<(), SendError> {
        self.assert_has_sockets();
        self.shared.apply(|hub, _| hub.send(id, outgoing))
    }
}
