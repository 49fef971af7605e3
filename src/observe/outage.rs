//! What the log says of an outage. The agent tries to connect about 120 times an hour, and each attempt has a line in
//! the first minutes only. Later a line is written when something new is wrong, and one every ten minutes sums up. All
//! others have the level `debug`.

use std::time::Duration;

use tokio::time::Instant;

/// Lines in the first window of an outage, or changes of the network: the delays grow from 1 to 32 s meanwhile, which
/// shows that the agent goes on trying.
const LINES: u32 = 6;

/// Lines about other failures than before, in one window. Two failures that take turns are told once each.
const NEW: u32 = 4;

/// Time between two lines that sum up. An outage of an hour has about a dozen lines, and 40 at most.
const WINDOW: Duration = Duration::from_secs(600);

/// A connection that lasted this long ends an outage: as long as the longest delay between two attempts. Otherwise a
/// dashboard that accepts agents and breaks off at once would begin a new outage each time.
const STEADY: Duration = Duration::from_secs(60);

/// Failures that are known as told. There are about twenty kinds.
const KNOWN: usize = 32;

/// What kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// An attempt failed.
    NotConnected,
    /// A connection ended.
    Lost,
}

/// How to tell a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// By itself.
    Alone,
    /// Together with those that were not told.
    Sum,
    /// At the level `debug`.
    Not,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    until: Instant,
    lines: u32,
    new: u32,
    changes: u32,
}

/// What was told of the outage that goes on.
#[derive(Debug, Default)]
pub struct Outage {
    /// When the first failure came.
    since: Option<Instant>,
    window: Option<Window>,
    /// Failures that were told, without their digits, oldest first.
    known: Vec<(Kind, String)>,
    /// Connections that ended.
    losses: u64,
    /// Since when there is no connection, and the attempts that failed since then.
    down: Option<(Instant, u64)>,
    /// The last line said that there is a connection.
    said_up: bool,
}

impl Outage {
    /// An attempt failed with this text, which is a sentence without a full stop.
    pub fn failed(&mut self, text: &str, retry_in: Duration, now: Instant) {
        let (since, attempts) = self.down.unwrap_or((now, 0));
        self.down = Some((since, attempts + 1));
        match self.told(Kind::NotConnected, text, now) {
            Told::Alone => tracing::warn!(?retry_in, "Not connected: {text}."),
            Told::Sum => {
                let minutes = minutes(since, now);
                tracing::warn!(?retry_in, attempts = attempts + 1, minutes, "Still not connected: {text}.");
            }
            Told::Not => tracing::debug!(?retry_in, "Not connected: {text}."),
        }
    }

    /// A connection ended for this reason, which is a sentence. `lasted`: time since its registration, if there was one.
    /// Returns whether it was told.
    pub fn lost(&mut self, text: &str, lasted: Option<Duration>, retry_in: Duration, now: Instant) -> bool {
        if lasted.is_some_and(|time| time >= STEADY) {
            *self = Self::default();
        }
        self.losses += 1;
        self.down.get_or_insert((now, 0));
        let told = self.told(Kind::Lost, text, now);
        match told {
            Told::Alone => tracing::warn!(?retry_in, "Connection lost: {text}"),
            Told::Sum => {
                let (times, minutes) = (self.losses, minutes(self.since.unwrap_or(now), now));
                tracing::warn!(?retry_in, times, minutes, "Connection lost again and again: {text}");
            }
            Told::Not => tracing::debug!(?retry_in, "Connection lost: {text}"),
        }
        told != Told::Not
    }

    /// The dashboard, by this name of the host, accepted the registration.
    pub fn over(&mut self, host_id: &str, now: Instant) {
        let (since, failed) = self.down.take().unwrap_or((now, 0));
        // What it took is told if attempts had failed.
        let minutes = (failed > 0).then(|| minutes(since, now));
        let failed = (failed > 0).then_some(failed);
        if std::mem::replace(&mut self.said_up, true) {
            tracing::debug!(host_id, failed, minutes, "Registered with the dashboard.");
        } else {
            tracing::info!(host_id, failed, minutes, "Registered with the dashboard.");
        }
    }

    /// The network of this host has changed.
    pub fn network_changed(&mut self, retry_in: Duration, now: Instant) {
        let window = self.window.get_or_insert_with(|| Window::begin(now));
        window.changes += 1;
        if window.changes <= LINES {
            tracing::info!(?retry_in, "The network of this host has changed.");
        } else {
            tracing::debug!(?retry_in, "The network of this host has changed.");
        }
    }

    fn told(&mut self, kind: Kind, text: &str, now: Instant) -> Told {
        self.since.get_or_insert(now);
        let shape = (kind, without_digits(text));
        let is_new = !self.known.contains(&shape);
        let is_first = self.known.is_empty();
        let window = self.window.get_or_insert_with(|| Window::begin(now));
        let told = if now >= window.until {
            // No line of a later window is for a failure that is known, but the first one.
            *window = Window { lines: LINES, ..Window::begin(now) };
            if is_first { Told::Alone } else { Told::Sum }
        } else if window.lines < LINES {
            window.lines += 1;
            Told::Alone
        } else if is_new && window.new < NEW {
            window.new += 1;
            Told::Alone
        } else {
            Told::Not
        };
        if told != Told::Not {
            self.said_up = false;
            if is_new {
                self.known.push(shape);
                if self.known.len() > KNOWN {
                    self.known.remove(0);
                }
            }
        }
        told
    }
}

impl Window {
    fn begin(now: Instant) -> Self {
        Self { until: now + WINDOW, lines: 0, new: 0, changes: 0 }
    }
}

fn minutes(since: Instant, now: Instant) -> u64 {
    now.duration_since(since).as_secs() / 60
}

/// Ports, addresses and times make no other failure.
fn without_digits(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_ascii_digit()).collect()
}

#[cfg(test)]
mod tests;
