//! Readiness, status and watchdog for the service manager, by sd_notify(3). Without a service manager all
//! calls do nothing.

use std::time::Duration;

use nixfleet_os::text::one_line;
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

/// Longest status in characters. Several mistakes in the settings fit, with how to fix them.
const STATUS: usize = 1000;

/// One line for `systemctl status`. A line end would begin another assignment, such as `WATCHDOG=trigger`, so the
/// text is made one line.
pub fn status(text: &str) {
    notify(&[NotifyState::Status(&status_line(text))]);
}

fn status_line(text: &str) -> String {
    one_line(text, STATUS)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_one_line_whatever_it_says() {
        let text = "Connection lost: the dashboard closed it (1008: gone\nWATCHDOG=trigger\r\nREADY=1\0X=1).";
        let wanted = "Connection lost: the dashboard closed it (1008: gone WATCHDOG=trigger READY=1X=1).";
        assert_eq!(status_line(text), wanted);
        assert_eq!(status_line(&"x\n".repeat(100_000)).chars().count(), STATUS);
    }
}
