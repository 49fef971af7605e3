//! Readiness, status and watchdog for the service manager, by sd_notify(3). Without a service manager all
//! calls do nothing.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::Instant;

/// The agent is ready. Sent before the first connection: an unreachable dashboard must fail neither the unit
/// nor the switch that starts it.
pub fn ready() {
    notify(&[NotifyState::Ready]);
}

/// The program reads its settings again; [`ready`] ends the reload.
pub fn reloading() {
    // systemd compares the time with that of its own request.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(err) => tracing::debug!("No time for the service manager: {err}"),
    }
}

/// The agent is shutting down.
pub fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// One line for `systemctl status`.
pub fn status(text: &str) {
    notify(&[NotifyState::Status(text)]);
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(err) = sd_notify::notify(states) {
        tracing::debug!("The service manager could not be told: {err}");
    }
}

/// Feeds the watchdog from the agent's loop: if the loop hangs, the service manager restarts the agent.
#[derive(Debug)]
pub struct Watchdog {
    interval: Option<Duration>,
    next: Instant,
}

impl Watchdog {
    /// The watchdog as the service manager requested it; inactive without a request.
    pub fn from_environment() -> Self {
        // Half of the limit, as sd_watchdog_enabled(3) recommends.
        let interval = sd_notify::watchdog_enabled().map(|limit| limit / 2);
        Self { interval, next: Instant::now() }
    }

    /// When the next notification is due; none without a watchdog.
    pub fn next(&self) -> Option<Instant> {
        self.interval.map(|_| self.next)
    }

    /// Notifies the service manager if it is due.
    pub fn feed(&mut self, now: Instant) {
        if let Some(interval) = self.interval.filter(|_| now >= self.next) {
            notify(&[NotifyState::Watchdog]);
            self.next = now + interval;
        }
    }
}
