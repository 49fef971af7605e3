//! The state of all hosts, and every rule of the dashboard as functions of state, message and time.
//!
//! Nothing here waits or does I/O. Messages for browsers are collected, and sent by the caller.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::broadcast;
use tokio::time::Instant;

use nixfleet_protocol::{Register, is_hostname};
use nixfleet_sessions::Link;

use crate::feed::Outage;
use crate::history::{Plot, points_for};
use crate::host::Host;
use crate::log::Log;
use crate::moment::{Moment, rfc3339};
use crate::newest::Newest;
use crate::rate::{Rate, Registrations};
use crate::record::{Entry, Kept, MAX_BYTES, room_for};
use crate::strict::{Judge, Strict};
use crate::view::HostView;

pub(super) use audience::{Live, News, away};

mod audience;
mod inbound;
mod judging;
mod sending;

/// The result of a registration.
#[derive(Debug)]
pub(super) enum Registration {
    /// Answer with `registered`, and close the older connection with the same hostname.
    Accepted { replaced: Option<Arc<Link>> },
    /// Close with 1008 and this reason.
    Refused(&'static str),
}

/// All hosts.
#[derive(Debug, Default)]
pub(super) struct Hub {
    /// Each in a box: a map with room for more hosts has room for their names only.
    hosts: BTreeMap<String, Box<Host>>,
    /// Checks messages in the strict mode.
    judge: Option<Judge>,
    sessions: u64,
    rate: Rate,
    /// The newest commit of the repository.
    newest: Newest,
    /// When the dashboard started, in Unix milliseconds.
    started_ms: i64,
    /// Messages for those who watch a host.
    news: Vec<News>,
    /// Who watches which host.
    watched: BTreeMap<String, broadcast::Sender<Live>>,
    /// False while no browser is connected.
    has_browsers: bool,
    /// The hosts that have changed since browsers had the last list.
    changed: Vec<String>,
    /// There is one more since the last look.
    has_changed: bool,
    /// The earliest deadline of a host, or an earlier time: a heartbeat moves the deadline and not this.
    next_expiry: Option<Instant>,
    deadline_moved: bool,
    /// Why not all is heard of the hosts of a [`crate::Feed`].
    pub(super) outage: Option<Outage>,
}

impl Hub {
    pub(super) fn new(strict: Option<Strict>) -> Self {
        let started_ms = Moment::now().unix_ms;
        Self { judge: strict.map(Judge::new), started_ms, ..Self::default() }
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
        let room = room_for(MAX_BYTES, self.hosts.len() + 1);
        let host = self.hosts.entry(id.clone()).or_default();
        let again = host.link.as_ref().is_some_and(|current| current.session == link.session);
        let replaced = if again { None } else { host.link.replace(Arc::clone(link)) };
        host.connections += u64::from(!again);
        if !again {
            self.rate.count(moment.now);
        }
        let text: Arc<str> = text.into();
        host.record.push(host.connections, moment.unix_ms, Kept::Text(Arc::clone(&text)));
        host.registered(moment, again, facts.running_job.as_ref());
        host.set_facts(text, facts.heartbeat_interval);
        host.request_interval(requested_interval);
        // The interval may be shorter than before.
        self.deadline_moved |= is_earlier(host.deadline(), &mut self.next_expiry);
        host.record.trim(room);
        self.publish_host(&id);
        Registration::Accepted { replaced }
    }

    /// Handles `register` of a connection that another program has. It says itself when the host is offline.
    pub(super) fn fed_register(&mut self, moment: Moment, link: &Arc<Link>, text: &str, facts: Register) {
        let id = facts.hostname.clone();
        if let Registration::Accepted { .. } = self.register(moment, link, text, facts, None)
            && let Some(host) = self.hosts.get_mut(&id)
        {
            // All dashboards of the fleet show the same number, whenever they started.
            (host.connections, host.is_fed) = (link.session, true);
            host.seen(moment);
        }
    }

    /// The newest heartbeat of a host does not count any more.
    pub(super) fn set_offline(&mut self, id: &str) {
        if let Some(host) = self.hosts.get_mut(id).filter(|host| host.online) {
            host.online = false;
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

    /// All hosts. The ends of their commands are left out: fifty of thousands of hosts are tens of megabytes.
    pub(super) fn views(&self) -> Vec<HostView> {
        self.hosts.iter().map(|(id, host)| self.view_of(id, host)).collect()
    }

    pub(super) fn view(&self, id: &str) -> Option<HostView> {
        let host = self.hosts.get(id)?;
        let ends = host.log.iter().flat_map(|log| log.ends().cloned()).collect();
        Some(HostView { ends, ..self.view_of(id, host) })
    }

    /// Without the ends of its commands.
    fn view_of(&self, id: &str, host: &Host) -> HostView {
        let (violations, newest_violation) =
            self.judge.as_ref().map(|judge| judge.of_host(id)).unwrap_or_default();
        let mut view = HostView { violations, newest_violation, ..host.view(id) };
        let checkout = view.system.as_ref().and_then(|system| system.repo_commit.as_deref());
        if let (Some(status), Some(git)) = (&mut view.update_status, self.newest.judge(checkout)) {
            status.git = git;
        }
        view
    }

    /// The newest commit of the repository, from now on.
    pub(super) fn set_newest(&mut self, moment: Moment, commit: Option<&str>) {
        if self.newest.set(commit, rfc3339(moment.unix_ms)) {
            let ids: Vec<String> = self.hosts.keys().cloned().collect();
            ids.iter().for_each(|id| self.publish_host(id));
        }
    }

    /// How many agents registered in each second.
    pub(super) fn registrations(&self) -> Registrations {
        self.rate.view()
    }

    /// Whether a host is online. None if it is not known.
    pub(super) fn is_online(&self, id: &str) -> Option<bool> {
        self.hosts.get(id).map(|host| host.online)
    }

    /// The log of a host. None if the host is not known.
    pub(super) fn log<R>(&self, id: &str, look: impl FnOnce(&Log) -> R) -> Option<R> {
        let host = self.hosts.get(id)?;
        let empty = Log::default();
        Some(look(host.log.as_deref().unwrap_or(&empty)))
    }

    /// The last hour of a host, for plots.
    pub(super) fn plot(&self, id: &str, moment: Moment) -> Option<Plot> {
        let host = self.hosts.get(id)?;
        let points = points_for(self.hosts.len());
        Some(host.history.as_ref().map(|history| history.plot(moment, points)).unwrap_or_default())
    }

    /// Recorded messages from `since` on, and the index of the next one.
    pub(super) fn messages(&self, id: &str, since: u64) -> Option<(impl Iterator<Item = Entry<'_>>, u64)> {
        let host = self.hosts.get(id)?;
        Some((host.record.since(since), host.record.next()))
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
