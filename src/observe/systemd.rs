//! The service manager: readiness, status and watchdog, by sd_notify. Without one, nothing happens.

use std::path::Path;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::Instant;

use nixfleet_os::subprocess;

/// Longest wait for the service manager's answer. It takes milliseconds, and a command waits for it.
const ANSWER: Duration = Duration::from_secs(2);

/// The agent is up. Said before the first connection: a dashboard that is down must not make the
/// unit fail, nor the switch that starts it.
pub fn ready() {
    notify(&[NotifyState::Ready]);
}

/// It reads its settings anew; [`ready`] says that it has.
pub fn reloading() {
    // systemd orders this notice and its own request by the time.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(err) => tracing::debug!("No time for the service manager: {err}"),
    }
}

/// The agent is on its way out.
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

/// Feeds the watchdog from the agent's own loop, so that a loop that hangs is noticed.
#[derive(Debug)]
pub struct Watchdog {
    interval: Option<Duration>,
    next: Instant,
}

impl Watchdog {
    /// The watchdog that the service manager asked for, if it did.
    pub fn from_environment() -> Self {
        // Half the time, as sd_watchdog_enabled(3) recommends.
        let interval = sd_notify::watchdog_enabled().map(|limit| limit / 2);
        Self { interval, next: Instant::now() }
    }

    /// When it wants to be fed.
    pub fn next(&self) -> Option<Instant> {
        self.interval.map(|_| self.next)
    }

    /// Feeds it, if it is time.
    pub fn feed(&mut self, now: Instant) {
        if let Some(interval) = self.interval.filter(|_| now >= self.next) {
            notify(&[NotifyState::Watchdog]);
            self.next = now + interval;
        }
    }
}

/// Whether the machine is on its way down. The service manager stops a unit with the same signal
/// then as at any other time.
pub fn machine_goes_down() -> bool {
    let ask = || subprocess::outcome(Path::new("systemctl"), &["is-system-running"], &[], ANSWER);
    supervised() && ask().is_ok_and(|(_, said)| said.trim() == "stopping")
}

/// Whether a service manager will start this process again when it ends.
pub fn supervised() -> bool {
    std::env::var_os("INVOCATION_ID").is_some() && std::env::var_os("NOTIFY_SOCKET").is_some()
}
