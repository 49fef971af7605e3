//! How long to wait before the next attempt to connect, and what makes the delays start over.
//!
//! ```text
//! backoff.rs  what happened, and the delay that follows from it
//! spread.rs   the window over which the dashboard wants its agents to return
//! ```

use std::time::Duration;

use tokio::time::Instant;

use crate::dial::Cause;
use spread::Spread;

mod spread;
#[cfg(test)]
mod tests;

/// The longest back-off. Only a random delay below it is used.
pub const CAP: Duration = Duration::from_secs(60);

/// The longest back-off after a local failure on a host that does not announce changes of its network to
/// the agent. Such attempts send nothing to the dashboard, so many hosts together make no storm. A host
/// whose network comes up late is then online after 5 s on average.
const UNANNOUNCED_CAP: Duration = Duration::from_secs(10);

/// For so long after its first failure an agent that was never registered counts as starting. A host that has just
/// booted has its network and its name servers within that time, or something is wrong with it.
const STARTING: Duration = Duration::from_secs(60);

/// The longest back-off after a local failure while the agent starts. The kernel announces addresses and routes, and
/// not that a name server answers. At least half of it is used: forty attempts in that minute are enough, and each
/// of them may leave a thread behind that waits for a name server.
const STARTING_CAP: Duration = Duration::from_secs(2);

/// The shortest time between two fresh starts of the delays. A link that goes up and down all the time
/// causes three or four attempts in it. When a host gets its network from DHCP, the link comes some seconds
/// before the address: the second fresh start is for the address.
const FRESH_START_INTERVAL: Duration = Duration::from_secs(5);

/// The first back-off.
const FIRST: Duration = Duration::from_secs(1);

/// The first back-off after a refusal. A retry within a second cannot help: somebody has to change
/// the token first.
const FIRST_AFTER_REFUSAL: Duration = Duration::from_secs(4);

/// The delays between attempts: exponential back-off of 1, 2, 4, .. 60 s with full jitter, so that the
/// agents of a fleet do not all reconnect in the same second when their dashboard restarts.
#[derive(Debug, Clone, Default)]
struct Backoff {
    /// How often the delay was doubled: once for each attempt, less what connections that lasted took back.
    doublings: u32,
}

impl Backoff {
    /// The delay before the next attempt, drawn below `cap` at most; `draw` is a random number in `0.0..1.0`.
    fn next(&mut self, cause: Cause, cap: Duration, draw: f64) -> Duration {
        match cause {
            Cause::Local | Cause::Broken => self.envelope(FIRST, cap).mul_f64(draw),
            // A refusal must be retried slowly.
            Cause::Refused => upper_half(self.envelope(FIRST_AFTER_REFUSAL, cap), draw),
        }
    }

    /// The bound of the next delay.
    fn envelope(&mut self, first: Duration, cap: Duration) -> Duration {
        let envelope = first.saturating_mul(1 << self.doublings).min(cap);
        self.doublings = (self.doublings + 1).min(DOUBLINGS);
        envelope
    }

    fn reset(&mut self) {
        self.doublings = 0;
    }

    /// A connection lasted this long.
    fn lasted(&mut self, time: Duration) {
        let steps = u32::try_from(time.as_secs() / STEP.as_secs()).unwrap_or(u32::MAX);
        self.doublings = self.doublings.saturating_sub(steps);
    }

    /// Continues with the longest back-off.
    fn exhaust(&mut self) {
        self.doublings = DOUBLINGS;
    }
}

/// At least half of a bound.
fn upper_half(envelope: Duration, draw: f64) -> Duration {
    envelope.mul_f64(0.5 + draw / 2.0)
}

/// How long a connection must last after the registration to take back one doubling of the delays. So after half a
/// minute they start over, and a poor link that breaks every few seconds keeps short delays. A dashboard that registers
/// agents and then breaks gets fewer and fewer attempts; if `registered` alone started the delays over, it would get
/// one a second from each agent, for ever.
const STEP: Duration = Duration::from_secs(5);

/// Doublings from the first delay to the longest one.
const DOUBLINGS: u32 = 6;

/// A connection that the dashboard closes this soon after the registration counts as an eviction.
const SHORT_LIVED: Duration = Duration::from_secs(5);

/// This many evictions in a row are no coincidence. Most likely two agents use the same hostname and
/// evict each other in turn.
const SHORT_LIVED_LIMIT: u32 = 3;

/// What a delay depends on beside what happened.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// The time.
    pub now: Instant,
    /// The time over which the dashboard wants its agents to spread their return; zero if there is none.
    pub window: Duration,
    /// A random number in `0.0..1.0`.
    pub draw: f64,
}

/// When to connect again, judged by how the previous connections ended.
#[derive(Debug, Clone, Default)]
pub struct Reconnect {
    backoff: Backoff,
    /// The moments that this host has in the dashboard's window.
    spread: Spread,
    /// Evictions in a row.
    short_lived: u32,
    /// The last attempt failed within this host.
    local: bool,
    /// The last attempt failed because of the time.
    about_time: bool,
    /// When a change of this host last started the delays over.
    fresh_start: Option<Instant>,
    /// When the first attempt failed.
    first_failure: Option<Instant>,
    /// There was a registration.
    registered: bool,
    /// The last delay was that of an agent that starts on a host without a network.
    starting: bool,
}

impl Reconnect {
    /// The delay after a failed attempt to connect. `announced`: the agent will be told of changes of this
    /// host's network. `asked`: the shortest delay that the dashboard asks for.
    pub fn after_failure(
        &mut self,
        cause: Cause,
        announced: bool,
        asked: Option<Duration>,
        terms: Terms,
    ) -> Duration {
        let Terms { now, draw, .. } = terms;
        let begun = *self.first_failure.get_or_insert(now);
        self.local = cause == Cause::Local;
        self.about_time = false;
        self.starting = self.local && !self.registered && now.duration_since(begun) < STARTING;
        let asked = asked.unwrap_or_default();
        let delay = if self.starting {
            upper_half(self.backoff.envelope(FIRST, STARTING_CAP), draw)
        } else {
            let cap = if self.local && !announced { UNANNOUNCED_CAP } else { CAP };
            // All agents may have been asked to come at the same time, which may be a date: they come over as long a
            // time as they waited.
            self.backoff.next(cause, cap, draw).max(asked.min(CAP).mul_f64(draw))
        };
        self.spread.delay(asked + delay, terms)
    }

    /// Whether the last delay was that of an agent that starts on a host without a network: there are many of them.
    pub fn is_starting(&self) -> bool {
        self.starting
    }

    /// The last failure was about the time, so another time may help.
    pub fn note_about_time(&mut self) {
        self.about_time = true;
    }

    /// Whether a step of the wall clock may help.
    pub fn is_about_time(&self) -> bool {
        self.about_time
    }

    /// The host slept for so long.
    pub fn slept(&mut self, time: Duration) {
        // The time between two fresh starts is there for the dashboard, which does not sleep.
        self.fresh_start.take_if(|_| time >= FRESH_START_INTERVAL);
    }

    /// From when on something that helps starts the delays over.
    pub fn fresh_start_at(&self, now: Instant) -> Instant {
        self.fresh_start.map_or(now, |last| now.max(last + FRESH_START_INTERVAL))
    }

    /// From when on a change of this host's network starts the delays over; none if no change may, because
    /// the last failure was not within this host.
    pub fn fresh_start_from(&self, now: Instant) -> Option<Instant> {
        self.local.then(|| self.fresh_start_at(now))
    }

    /// This host changed so that an attempt may succeed: starts the delays over, and returns the first one. It is random
    /// as well, because all hosts behind one switch see its return in the same moment.
    pub fn start_over(&mut self, terms: Terms) -> Duration {
        self.fresh_start = Some(terms.now);
        self.backoff.reset();
        let delay = self.backoff.next(Cause::Local, CAP, terms.draw);
        self.spread.delay(delay, terms)
    }

    /// The delay after a session, judged by how long it held, whatever ended it. `closed`: the dashboard sent a close
    /// frame. `lasted`: time since the registration, if there was one.
    pub fn after_session(&mut self, closed: bool, lasted: Option<Duration>, terms: Terms) -> Duration {
        (self.local, self.starting, self.about_time) = (false, false, false);
        self.registered |= lasted.is_some();
        let evicted = closed && lasted.is_some_and(|time| time < SHORT_LIVED);
        self.short_lived = if evicted { self.short_lived + 1 } else { 0 };
        self.backoff.lasted(lasted.unwrap_or_default());
        self.spread.lasted(lasted.unwrap_or_default());
        let cause = if self.evicted().is_some() {
            self.backoff.exhaust();
            Cause::Refused
        } else {
            Cause::Broken
        };
        let delay = self.backoff.next(cause, CAP, terms.draw);
        self.spread.delay(delay, terms)
    }

    /// The agent is replaced because the dashboard asked for that; its connection lasted so long. Returns what the next
    /// agent has to know: a restart counts as a lost connection, so that a dashboard that asks each new agent for one
    /// gets fewer and fewer of them.
    pub fn restarting(&mut self, lasted: Option<Duration>) -> u32 {
        self.backoff.lasted(lasted.unwrap_or_default());
        // One more than there are: the next agent's first attempt takes one back.
        self.backoff.doublings + 1
    }

    /// Goes on where the agent before a restart was. Returns the delay before the first attempt; none after a single
    /// restart.
    pub fn restarted(&mut self, doublings: u32, draw: f64) -> Option<Duration> {
        self.backoff.doublings = doublings.checked_sub(1)?.min(DOUBLINGS);
        let delay = self.backoff.next(Cause::Broken, CAP, draw);
        (doublings > 1).then_some(delay)
    }

    /// Evictions in a row, once there are too many for a coincidence.
    pub fn evicted(&self) -> Option<u32> {
        Some(self.short_lived).filter(|times| *times >= SHORT_LIVED_LIMIT)
    }
}
