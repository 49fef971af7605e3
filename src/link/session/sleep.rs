//! Whether the connection lives after the host has slept.
//!
//! ```text
//! slept --silent for SILENCE, sleep included--> Ended::Slept
//!   '-----ping--> answer: heartbeat
//!          '----- AWAKE_TIMEOUT: Ended::LostInSleep
//! ```
//!
//! Tables of routers and proxies forget a connection that nothing passes through, and tell nobody.

use std::time::Duration;

use tokio::time::Instant;

use super::delivery::Receipt;
use super::{Phase, SILENCE, Session};
use crate::link::clock_changes::ClockChange;
use crate::link::ended::Ended;

/// How long the answer to the first ping after a sleep may take: as long as that to a registration. A laptop has its
/// Wi-Fi again after some seconds, and what the kernel sends meanwhile it sends again after 0.2, 0.4 .. 6.4 s.
pub const AWAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The host has slept, and nothing shows yet that the connection has survived it.
#[derive(Debug)]
pub(super) struct Doubt {
    /// For how long, in one or several sleeps.
    slept: Duration,
    /// How many there were.
    sleeps: u32,
    /// When the connection counts as lost.
    until: Instant,
}

impl Session<'_> {
    pub(super) fn clock_changed(&mut self, change: ClockChange, now: Instant) -> Option<Ended> {
        match change {
            ClockChange::Slept(time) => self.slept(time, now),
            ClockChange::Stepped => {
                tracing::debug!("The clock of this host was set.");
                None
            }
        }
    }

    fn slept(&mut self, time: Duration, now: Instant) -> Option<Ended> {
        self.agent.slept(time, now);
        let (earlier, sleeps) =
            self.doubt.as_ref().map_or((Duration::ZERO, 0), |doubt| (doubt.slept, doubt.sleeps));
        let slept = earlier + time;
        if now.duration_since(self.last_frame_at) + slept >= SILENCE {
            return Some(self.ended_as(Ended::Slept(slept)));
        }
        if matches!(self.phase, Phase::Leaving { .. }) {
            return None;
        }
        tracing::info!(?time, "This host slept. Asking whether the connection has survived it.");
        let sleeps = sleeps + 1;
        self.doubt = Some(Doubt { slept, sleeps, until: now + AWAKE_TIMEOUT });
        self.ping(Some(Receipt::Awake(sleeps)), now);
        // A heartbeat follows on the answer, and what was measured before the sleep is old.
        (self.agent.snapshots.expect)(now.into_std());
        // A maintenance may be over.
        self.apply_interval(now);
        None
    }

    /// The dashboard has read what was sent after that sleep.
    pub(super) fn awake(&mut self, sleeps: u32, now: Instant) {
        // Of several sleeps, only an answer to what came after the last one says something.
        if self.doubt.take_if(|doubt| doubt.sleeps == sleeps).is_some() && self.is_live() {
            // The next one may be an hour away, and the dashboard has heard nothing for as long as the host slept.
            self.heartbeat(now);
        }
    }

    /// When the connection counts as lost.
    pub(super) fn doubted_until(&self) -> Option<Instant> {
        self.doubt.as_ref().map(|doubt| doubt.until)
    }

    /// Ends the connection if the answer is overdue.
    pub(super) fn lost_in_sleep(&self, now: Instant) -> Option<Ended> {
        let doubt = self.doubt.as_ref().filter(|doubt| now >= doubt.until)?;
        Some(self.ended_as(Ended::LostInSleep(doubt.slept)))
    }
}
