//! What browsers get: all hosts in one line each, and everything about the one host that they watch.

use axum::extract::ws::Utf8Bytes;
use serde::Serialize;
use tokio::sync::broadcast;

use nixfleet_protocol::encode;

use super::Hub;
use crate::feed::Outage;
use crate::host::Host;
use crate::log::{Log, Page, Query};
use crate::moment::{Moment, rfc3339};
use crate::summary::Summary;
use crate::view::BrowserMessage;

/// Messages of a watched host that are kept for a browser that reads slowly. One that is further behind gets the newest
/// part of the log instead. A command with a lot of output needs half a second for so many.
const BACKLOG: usize = 512;

/// Longest of them in bytes: four times a usual batch of output. So they have 64 MiB at most, whatever an agent sends. A
/// longer one is not kept: everybody who watches gets the newest part of the log instead of it.
const LONGEST: usize = 128 * 1024;

/// Most entries of a log that a browser gets at once. It asks for older ones when its reader does.
const FIRST_ENTRIES: usize = 500;

/// Most bytes of them.
const FIRST_BYTES: usize = 128 * 1024;

/// A message to everybody who watches a host.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    /// The number of the next entry of its log, behind this message.
    pub(crate) next: u64,
    /// None if it is too long to wait for a slow browser.
    pub(crate) text: Option<Utf8Bytes>,
}

/// A message to everybody who watches a host.
#[derive(Debug, PartialEq)]
pub(crate) struct News {
    pub(crate) host: String,
    pub(crate) next: u64,
    pub(crate) message: BrowserMessage,
}

/// A list of hosts.
#[derive(Debug, Serialize)]
#[serde(tag = "type", content = "payload", rename_all = "snake_case")]
enum Overview<'a> {
    /// All hosts.
    Hosts {
        now: String,
        /// When the dashboard started: the numbers of all logs begin anew then.
        started: String,
        /// Why not all is heard of the hosts.
        #[serde(skip_serializing_if = "Option::is_none")]
        away: Option<Away>,
        hosts: Vec<Summary<'a>>,
    },
    /// Why not all is heard of the hosts; null if it is heard again.
    Away(Option<Away>),
    /// Those that have changed.
    Updates { now: String, hosts: Vec<Summary<'a>> },
}

/// An [`Outage`], as browsers get it.
#[derive(Debug, Serialize)]
struct Away {
    since: String,
    what: &'static str,
    hint: &'static str,
}

impl From<Outage> for Away {
    fn from(Outage { since_ms, what, hint }: Outage) -> Self {
        Self { since: rfc3339(since_ms), what, hint }
    }
}

/// The newest part of the log of a host.
#[derive(Debug, Serialize)]
#[serde(tag = "type", content = "payload", rename_all = "snake_case")]
enum First<'a> {
    Backlog {
        host_id: &'a str,
        #[serde(flatten)]
        page: Page<'a>,
    },
}

/// The message that says why not all is heard of the hosts.
pub(crate) fn away(outage: Option<Outage>) -> String {
    encode(&Overview::Away(outage.map(Into::into)))
}

impl Hub {
    /// How many browsers are connected. While there are none, nothing is put together for them.
    pub(crate) fn set_has_browsers(&mut self, has_browsers: bool) {
        self.has_browsers = has_browsers;
        if !has_browsers {
            for id in std::mem::take(&mut self.changed) {
                if let Some(host) = self.hosts.get_mut(&id) {
                    host.has_changed = false;
                }
            }
        }
    }

    /// Takes the messages for those who watch a host.
    pub(crate) fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// Whether a host has changed since the last call, and an update is due.
    pub(crate) fn take_has_changed(&mut self) -> bool {
        std::mem::take(&mut self.has_changed)
    }

    /// Sends a message to everybody who watches a host.
    pub(crate) fn tell(&self, News { host, next, message }: &News) {
        if let Some(watchers) = self.watched.get(host) {
            let text = encode(message);
            let text = (text.len() <= LONGEST).then(|| text.into());
            // An error means that the last of them has just left.
            drop(watchers.send(Live { next: *next, text }));
        }
    }

    /// Everything that happens to this host from now on. It need not exist yet.
    pub(crate) fn watch(&mut self, id: &str) -> broadcast::Receiver<Live> {
        self.watched.retain(|_, watchers| watchers.receiver_count() > 0);
        self.watched.entry(id.to_owned()).or_insert_with(|| broadcast::channel(BACKLOG).0).subscribe()
    }

    /// What a browser gets first of a host that it watches: the host, and the newest entries of its log behind the one
    /// that it has. Also returns the number of the next entry.
    pub(crate) fn first_sight(&self, id: &str, after: Option<u64>) -> (Vec<String>, u64) {
        let empty = Log::default();
        let log = self.hosts.get(id).and_then(|host| host.log.as_deref()).unwrap_or(&empty);
        // A number that is not reached yet is from before the dashboard started.
        let after = after.filter(|after| *after < log.next());
        let query = Query { after, limit: FIRST_ENTRIES, bytes: FIRST_BYTES, ..Query::default() };
        let page = log.page(&query);
        let host = self.view(id).map(|view| encode(&BrowserMessage::Host(Box::new(view))));
        let backlog = encode(&First::Backlog { host_id: id, page });
        (host.into_iter().chain([backlog]).collect(), log.next())
    }

    /// The list of all hosts.
    pub(crate) fn overview(&mut self, moment: Moment) -> String {
        self.hosts.values_mut().for_each(|host| host.prepare_summary());
        let hosts = self.hosts.iter().map(|(id, host)| self.summary(id, host)).collect();
        let (now, started) = (rfc3339(moment.unix_ms), rfc3339(self.started_ms));
        let away = self.outage.map(Into::into);
        encode(&Overview::Hosts { now, started, away, hosts })
    }

    /// The list of the hosts that have changed since the last one. None if there are none.
    pub(crate) fn changes(&mut self, moment: Moment) -> Option<String> {
        let mut changed = std::mem::take(&mut self.changed);
        changed.sort_unstable();
        for id in &changed {
            if let Some(host) = self.hosts.get_mut(id) {
                host.has_changed = false;
                host.prepare_summary();
            }
        }
        let known = changed.iter().filter_map(|id| self.hosts.get_key_value(id));
        let hosts: Vec<_> = known.map(|(id, host)| self.summary(id, host)).collect();
        let now = rfc3339(moment.unix_ms);
        (!hosts.is_empty()).then(|| encode(&Overview::Updates { now, hosts }))
    }

    fn summary<'a>(&'a self, id: &'a str, host: &'a Host) -> Summary<'a> {
        let violations = self.judge.as_ref().map_or(0, |judge| judge.of_host(id).0);
        host.summary(id, violations, &self.newest)
    }

    /// Whether anybody watches this host.
    pub(super) fn is_watched(&self, id: &str) -> bool {
        self.watched.get(id).is_some_and(|watchers| watchers.receiver_count() > 0)
    }

    /// Something that a list of hosts shows has changed.
    pub(super) fn mark_changed(&mut self, id: &str) {
        if let Some(host) = self.hosts.get_mut(id).filter(|host| self.has_browsers && !host.has_changed) {
            host.has_changed = true;
            self.changed.push(id.to_owned());
            self.has_changed = true;
        }
    }

    /// A host has changed.
    pub(super) fn publish_host(&mut self, id: &str) {
        self.mark_changed(id);
        if self.is_watched(id)
            && let Some(view) = self.view(id)
        {
            self.publish(id, BrowserMessage::Host(Box::new(view)));
        }
    }

    /// Something for those who watch a host.
    pub(super) fn publish(&mut self, id: &str, message: BrowserMessage) {
        let log = self.hosts.get(id).and_then(|host| host.log.as_deref());
        let next = log.map_or(0, Log::next);
        self.news.push(News { host: id.to_owned(), next, message });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_kept_for_names_that_nobody_watches_any_more() {
        let mut hub = Hub::default();
        for number in 0..3 {
            drop(hub.watch(&format!("h{number}")));
        }
        let _watcher = hub.watch("last");
        assert_eq!(hub.watched.keys().collect::<Vec<_>>(), ["last"]);
    }
}
