//! Control of a dashboard from the same process: what the HTTP API can do, and waiting.

use std::{fmt, sync::Arc, time::Duration};

use axum::extract::ws::Message;
use tokio::time::{Instant, sleep_until, timeout_at};

use nixfleet_protocol::{DashboardMessage, KillCommand, encode};

use super::host::Outgoing;
use super::hub::Moment;
use super::{Faults, HostView, Policy, Recorded, Shared, Verdict};

/// The longest frame that can be sent, in bytes: far above what an agent accepts, so that its limit
/// can be tested, and still a bound.
pub(super) const MAX_SENT_FRAME: usize = 16 * 1024 * 1024;

/// Between two looks of [`Handle::wait_until`] at a state that changes all the time. Short beside
/// anything a test measures, long beside a look at 20,000 messages.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// Messages shown when a wait fails.
const SHOWN_MESSAGES: usize = 12;

/// Why something did not go out to an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// No agent ever registered under this name.
    #[error("unknown host")]
    UnknownHost,
    /// The host has no open socket.
    #[error("host is not connected")]
    NotConnected,
    /// The agent does not read, and its queue is full; the loss is counted.
    #[error("the queue to the host is full")]
    QueueFull,
    /// The frame is longer than 16 MiB.
    #[error("the frame is longer than 16 MiB")]
    TooLong,
    /// No command has been sent to this host yet.
    #[error("no command was sent to this host yet")]
    NothingToResend,
}

/// A dashboard's control; cheap to clone.
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

    /// Those with an index of at least `since`.
    #[must_use]
    pub fn messages_since(&self, id: &str, since: u64) -> Vec<Recorded> {
        self.shared.read(|hub| {
            hub.messages(id, since).map(|(messages, _)| messages.cloned().collect()).unwrap_or_default()
        })
    }

    /// The index that the host's next message will get: pass it to [`messages_since`](Self::messages_since)
    /// to see only what comes from now on.
    #[must_use]
    pub fn next_index(&self, id: &str) -> u64 {
        self.shared.read(|hub| hub.messages(id, u64::MAX).map_or(0, |(_, next)| next))
    }

    /// How many connections have registered under this name.
    #[must_use]
    pub fn connections(&self, id: &str) -> u64 {
        self.host(id).map_or(0, |host| host.connections)
    }

    /// Sends a command and does not wait for anything.
    ///
    /// # Errors
    /// [`SendError`] when it cannot be put on its way.
    pub fn send_command(&self, id: &str, command: &str, command_id: Option<&str>) -> Result<(), SendError> {
        self.shared.apply(|hub, _| hub.send_command(id, command, command_id))
    }

    /// Sends the newest command again, to the letter: the same id too.
    ///
    /// # Errors
    /// [`SendError`] when it cannot be put on its way.
    pub fn resend_command(&self, id: &str) -> Result<(), SendError> {
        self.shared.apply(|hub, _| hub.resend_command(id))
    }

    /// What the dashboard wishes of its agents.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.shared.policy.borrow().clone()
    }

    /// Wishes something else, and says so to every agent that is connected. Returns how many could
    /// not be told.
    pub fn set_policy(&self, policy: Policy) -> usize {
        let legacy = self.shared.is_legacy();
        self.shared.policy.send_replace(policy.clone());
        self.shared.apply(|hub, _| hub.announce(&policy, legacy))
    }

    /// Sends a `kill_command`.
    ///
    /// # Errors
    /// [`SendError`] when it cannot be put on its way.
    pub fn send_kill(&self, id: &str, kill: KillCommand) -> Result<(), SendError> {
        self.send_raw(id, encode(&DashboardMessage::KillCommand(kill)))
    }

    /// Sends a text frame, whatever is in it.
    ///
    /// # Errors
    /// [`SendError`] when it cannot be put on its way.
    pub fn send_raw(&self, id: &str, text: String) -> Result<(), SendError> {
        self.send_many(id, vec![text])
    }

    /// Sends several text frames with one write, so that they arrive together.
    ///
    /// # Errors
    /// [`SendError`] when they cannot be put on their way; then none of them is sent.
    pub fn send_many(&self, id: &str, texts: Vec<String>) -> Result<(), SendError> {
        if texts.iter().any(|text| text.len() > MAX_SENT_FRAME) {
            return Err(SendError::TooLong);
        }
        self.send(id, Outgoing::Frames(texts.into_iter().map(Into::into).collect()))
    }

    /// Sends a binary frame.
    ///
    /// # Errors
    /// [`SendError`] when it cannot be put on its way.
    pub fn send_binary(&self, id: &str, bytes: Vec<u8>) -> Result<(), SendError> {
        if bytes.len() > MAX_SENT_FRAME {
            return Err(SendError::TooLong);
        }
        self.send(id, Outgoing::Frames(vec![Message::Binary(bytes.into())]))
    }

    /// Cuts the host's connection without a close frame, as a lost network would.
    ///
    /// # Errors
    /// [`SendError`] when the host has no connection.
    pub fn drop_connection(&self, id: &str) -> Result<(), SendError> {
        self.shared.read(|hub| hub.link(id).map(|link| link.cut.notify_one()))
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

    /// Replaces the faults; what is not mentioned in `faults` is switched off.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.faults.send_replace(faults);
    }

    /// What the strict mode has found so far; nothing without it. Looking finds what is overdue by now.
    #[must_use]
    pub fn violations(&self) -> Verdict {
        // Not a decision: who waits for a change may look at this while waiting.
        self.shared.lock().findings(Moment::now())
    }

    /// Resolves at the next change of anything.
    pub async fn changed(&self) {
        // An error cannot come: the sender is in `shared`.
        drop(self.shared.changes.subscribe().changed().await);
    }

    /// Waits until `look` finds what it looks for. It is called again after every change, though not
    /// more often than each 2 ms, so it may be costly.
    ///
    /// # Panics
    /// When `limit` has passed; the message holds `what`, all hosts and their newest messages.
    pub async fn wait_until<T>(
        &self,
        what: &str,
        limit: Duration,
        mut look: impl FnMut(&Self) -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + limit;
        let mut changes = self.shared.changes.subscribe();
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            let next_look = Instant::now() + LOOK_INTERVAL;
            if timeout_at(deadline, changes.changed()).await.is_err() {
                panic!("after {limit:?} still no {what}; {}", self.last_state());
            }
            sleep_until(next_look.min(deadline)).await;
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

    fn send(&self, id: &str, outgoing: Outgoing) -> Result<(), SendError> {
        self.shared.apply(|hub, _| hub.send(id, outgoing))
    }
}
