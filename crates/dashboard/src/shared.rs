//! What all parts of the dashboard share, and the two tasks that nobody asks for: hosts become offline, and browsers
//! get lists of changed hosts.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use tokio::sync::{Notify, broadcast, mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::digest;
use crate::faults::Faults;
use crate::feed::{Asked, Outage};
use crate::hub::{Hub, Live, away};
use crate::moment::Moment;
use crate::policy::Policy;
use crate::strict::Strict;

/// Lists of changed hosts that are kept for a browser that reads slowly: eight seconds of them. A browser that is
/// further behind gets the list of all hosts instead.
const BROWSER_BACKLOG: usize = 16;

/// Shortest time between two lists of changed hosts. Two in a second look immediate for a fleet, and are two messages
/// in a second however many hosts there are. The host that a browser watches has no such limit.
pub(super) const UPDATE_INTERVAL: Duration = Duration::from_millis(500);

/// The state that all parts of the dashboard share.
pub(super) struct Shared {
    /// Held for the length of one decision, never across an await.
    pub(super) hub: Mutex<Hub>,
    /// Lists of changed hosts for every browser, as text.
    pub(super) browsers: broadcast::Sender<Utf8Bytes>,
    /// A list of changed hosts is due.
    pub(super) hosts_changed: Notify,
    /// Counts decisions, so that tests can wait for a state.
    pub(super) changes: watch::Sender<u64>,
    /// The offline deadline of a host may now be earlier than the time until which the sweep sleeps.
    pub(super) deadline_moved: Notify,
    pub(super) faults: watch::Sender<Faults>,
    pub(super) policy: watch::Sender<Policy>,
    /// SHA-256 of the agents' token.
    pub(super) token: watch::Sender<[u8; 32]>,
    pub(super) csrf_digest: [u8; 32],
    pub(super) csrf_token: String,
    /// Whether the strict mode is on, so that the hub has a judge.
    pub(super) strict: bool,
    /// Time limits of the sockets.
    pub(super) times: Strict,
    /// Where requests go if another program has the sockets of the agents.
    pub(super) requests: Option<mpsc::Sender<Asked>>,
}

impl Shared {
    pub(super) fn new(token: &str, csrf_token: String, strict: Option<Strict>) -> Self {
        Self {
            strict: strict.is_some(),
            times: strict.clone().unwrap_or_default(),
            hub: Mutex::new(Hub::new(strict)),
            browsers: broadcast::channel(BROWSER_BACKLOG).0,
            hosts_changed: Notify::new(),
            changes: watch::Sender::new(0),
            deadline_moved: Notify::new(),
            faults: watch::Sender::new(Faults::default()),
            policy: watch::Sender::new(Policy::default()),
            token: watch::Sender::new(digest(token.as_bytes())),
            csrf_digest: digest(csrf_token.as_bytes()),
            csrf_token,
            requests: None,
        }
    }

    /// Of a dashboard with a [`Feed`](crate::Feed). No token lets an agent in.
    pub(super) fn fed(csrf_token: String, requests: mpsc::Sender<Asked>) -> Self {
        Self { requests: Some(requests), ..Self::new("", csrf_token, None) }
    }

    /// Notes why not all is heard of the hosts, and tells all browsers.
    pub(super) fn set_away(&self, outage: Option<Outage>) {
        let mut hub = self.lock();
        if hub.outage != outage {
            hub.outage = outage;
            // An error means that no browser is connected.
            drop(self.browsers.send(away(outage).into()));
        }
    }

    /// Changes the hub, and notifies browsers, the sweep and waiting tests.
    ///
    /// Messages to browsers are sent under the lock, so that no change is missing between what a browser gets first
    /// and the messages after it.
    pub(super) fn apply<R>(&self, decide: impl FnOnce(&mut Hub, Moment) -> R) -> R {
        let mut hub = self.lock();
        hub.set_has_browsers(self.browsers.receiver_count() > 0);
        let result = decide(&mut hub, Moment::now());
        for news in hub.take_news() {
            hub.tell(&news);
        }
        if hub.take_has_changed() {
            self.hosts_changed.notify_one();
        }
        if hub.take_deadline_moved() {
            self.deadline_moved.notify_one();
        }
        drop(hub);
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
        result
    }

    /// Sends the list of changed hosts to all browsers.
    pub(super) fn send_updates(&self) {
        let mut hub = self.lock();
        if let Some(changes) = hub.changes(Moment::now()) {
            // An error means that the last browser has just disconnected.
            drop(self.browsers.send(changes.into()));
        }
    }

    /// The list of all hosts, and a receiver for all changes of it.
    pub(super) fn subscribe(&self) -> (Utf8Bytes, broadcast::Receiver<Utf8Bytes>) {
        let mut hub = self.lock();
        (hub.overview(Moment::now()).into(), self.browsers.subscribe())
    }

    /// What a browser gets first of a host that it watches, and a receiver for all messages about it.
    pub(super) fn watch(
        &self,
        id: &str,
        after: Option<u64>,
    ) -> (Vec<Utf8Bytes>, u64, broadcast::Receiver<Live>) {
        let mut hub = self.lock();
        let (first, next) = hub.first_sight(id, after);
        (first.into_iter().map(Utf8Bytes::from).collect(), next, hub.watch(id))
    }

    /// Reads the hub.
    pub(super) fn read<R>(&self, read: impl FnOnce(&Hub) -> R) -> R {
        read(&self.lock())
    }

    /// A panic under the lock is a bug in the handling of one host. The other hosts are still usable.
    pub(super) fn lock(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether another program has the sockets of the agents.
    pub(super) fn is_fed(&self) -> bool {
        self.requests.is_some()
    }

    /// Whether the strict mode is on.
    pub(super) fn is_strict(&self) -> bool {
        self.strict
    }

    /// Whether `registered` has nothing but the host's name.
    pub(super) fn is_legacy(&self) -> bool {
        self.strict || self.faults.borrow().no_capabilities
    }

    pub(super) fn token_matches(&self, presented: &[u8]) -> bool {
        digest(presented) == *self.token.borrow()
    }

    pub(super) fn csrf_matches(&self, presented: &[u8]) -> bool {
        digest(presented) == self.csrf_digest
    }
}

/// Sets hosts offline on time. Sleeps until the earliest deadline. A host that comes online or changes its
/// interval wakes the sweep, because its deadline may be earlier.
pub(super) async fn sweep(shared: &Shared) {
    loop {
        let next = shared.apply(|hub, moment| {
            hub.expire(moment.now);
            hub.next_deadline()
        });
        tokio::select! {
            () = shared.deadline_moved.notified() => {}
            () = sleep_until_some(next) => {}
        }
    }
}

/// Sends lists of changed hosts to all browsers.
pub(super) async fn send_updates(shared: &Shared) {
    loop {
        shared.hosts_changed.notified().await;
        shared.send_updates();
        sleep(UPDATE_INTERVAL).await;
    }
}

async fn sleep_until_some(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
