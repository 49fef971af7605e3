//! What the dashboard has said about itself: how it is, how often it wants beats, and how to come
//! back. All of it ends with the next registration on a new
//! connection: a dashboard that still means it says so again.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use nixfleet_protocol::{Registered, ServerState, ServerStatus};

/// Seconds between heartbeats that a dashboard may ask for: the bounds of the agent's own setting.
const INTERVAL: std::ops::RangeInclusive<u64> = 1..=3600;

/// Longest spread of reconnects that a dashboard may ask for: a host that stays away for longer is
/// a host that went dark.
const MAX_WINDOW: Duration = Duration::from_secs(600);

/// Spread of reconnects to a dashboard that is degraded and names none: the longest delay there is
/// otherwise (T01).
const DEGRADED_WINDOW: Duration = Duration::from_secs(60);

/// Maintenance stretches the interval by this: beats at twice the interval still keep a host online,
/// which it is for three (T02, stale threshold).
const MAINTENANCE_STRETCH: u32 = 2;

/// Longest maintenance believed without being told again.
const MAX_MAINTENANCE: Duration = Duration::from_secs(24 * 3600);

/// The dashboard, as it describes itself.
#[derive(Debug, Default)]
pub struct PeerState {
    interval: Option<Duration>,
    window: Option<Duration>,
    status: ServerStatus,
    /// When a maintenance is over, as far as it was told.
    until: Option<Instant>,
    rtt: Option<Duration>,
}

impl PeerState {
    /// A registration was accepted, the first or a later one: its wishes take the place of those before.
    pub fn registered(&mut self, registered: &Registered) {
        self.interval = None;
        if let Some(seconds) = registered.heartbeat_interval {
            if INTERVAL.contains(&seconds) {
                self.interval = Some(Duration::from_secs(seconds));
            } else {
                tracing::warn!(
                    seconds,
                    "Ignored the interval that the dashboard wants: not between 1 and 3600 s."
                );
            }
        }
        self.window =
            registered.reconnect_window_s.map(|seconds| Duration::from_secs(seconds).min(MAX_WINDOW));
    }

    /// It says how it is. `server_time` is its clock, if it told it: times of another clock are
    /// compared with that one.
    pub fn set_status(&mut self, status: &ServerStatus, server_time: Option<&str>, now: Instant) {
        let own_clock = Timestamp::now();
        let clock = server_time.and_then(|time| time.parse().ok()).unwrap_or(own_clock);
        self.until = status.until.parse::<Timestamp>().ok().map(|until| {
            let left = Duration::try_from(until.duration_since(clock)).unwrap_or_default();
            now + left.min(MAX_MAINTENANCE)
        });
        if self.status != *status {
            let (reason, until) = (&status.reason, &status.until);
            match status.state {
                ServerState::Healthy | ServerState::Unknown => tracing::info!("The dashboard is healthy."),
                ServerState::Degraded => tracing::warn!(reason, until, "The dashboard is degraded."),
                ServerState::Maintenance => {
                    tracing::warn!(reason, until, "The dashboard is in maintenance: no command is accepted.");
                }
            }
            self.status = status.clone();
        }
    }

    /// Whether it is in maintenance now.
    fn in_maintenance(&self, now: Instant) -> bool {
        self.status.state == ServerState::Maintenance && self.until.is_none_or(|until| now < until)
    }

    /// What it said of itself.
    pub fn status(&self) -> &ServerStatus {
        &self.status
    }

    /// Why no command may be run now, for the dashboard.
    pub fn refusal(&self, now: Instant) -> Option<String> {
        if !self.in_maintenance(now) {
            return None;
        }
        let ServerStatus { reason, until, .. } = &self.status;
        let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        let until = if until.is_empty() { String::new() } else { format!(" until {until}") };
        Some(format!("the dashboard is in maintenance{until}{reason}"))
    }

    /// Time between heartbeats, where the host itself wants `own`.
    pub fn interval(&self, own: Duration, now: Instant) -> Duration {
        let wanted = self.interval.unwrap_or(own);
        if self.in_maintenance(now) { wanted * MAINTENANCE_STRETCH } else { wanted }
    }

    /// When what it said ceases to hold, without any further word.
    pub fn changes_at(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| self.status.state == ServerState::Maintenance && *until > now)
    }

    /// The time over which agents should spread their return.
    pub fn reconnect_window(&self) -> Duration {
        let degraded = self.status.state == ServerState::Degraded;
        self.window.unwrap_or(if degraded { DEGRADED_WINDOW } else { Duration::ZERO })
    }

    /// A beat took so long to be acknowledged.
    pub fn acknowledged(&mut self, rtt: Duration) {
        self.rtt = Some(rtt);
    }

    /// How long the newest acknowledged beat took.
    pub fn rtt(&self) -> Option<Duration> {
        self.rtt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Duration = Duration::from_secs(30);

    fn maintenance(until: &str) -> ServerStatus {
        ServerStatus {
            state: ServerState::Maintenance,
            reason: "upgrade".to_owned(),
            until: until.to_owned(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn maintenance_ends_at_its_time_by_the_clock_of_the_dashboard() {
        let now = Instant::now();
        let mut server = PeerState::default();
        assert_eq!(server.refusal(now), None);
        server.set_status(&maintenance("2001-01-01T00:10:00Z"), Some("2001-01-01T00:00:00Z"), now);
        let refusal = server.refusal(now).unwrap();
        assert_eq!(refusal, "the dashboard is in maintenance until 2001-01-01T00:10:00Z: upgrade");
        assert_eq!(server.interval(OWN, now), 2 * OWN);
        let end = now + Duration::from_secs(600);
        assert_eq!(server.changes_at(now), Some(end));
        assert_eq!(
            (server.refusal(end), server.interval(OWN, end), server.changes_at(end)),
            (None, OWN, None)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn maintenance_without_an_end_lasts_until_it_is_called_off() {
        let now = Instant::now();
        let mut server = PeerState::default();
        for until in ["", "soon"] {
            server.set_status(&maintenance(until), None, now);
            assert!(server.refusal(now + 10 * MAX_MAINTENANCE).is_some());
        }
        server.set_status(&ServerStatus::default(), None, now);
        assert_eq!(server.refusal(now), None);
        server.set_status(&maintenance("9999-01-01T00:00:00Z"), None, now);
        assert_eq!(server.refusal(now + MAX_MAINTENANCE), None, "nobody means a thousand years");
        server.set_status(&maintenance("2001-01-01T00:00:00Z"), None, now);
        assert_eq!(server.refusal(now), None, "over already");
    }

    #[test]
    fn wishes_hold_within_bounds_and_until_the_next_registration() {
        let mut server = PeerState::default();
        let now = Instant::now();
        for (wish, interval) in
            [(Some(5), 5), (Some(3600), 3600), (Some(0), 30), (Some(3601), 30), (None, 30)]
        {
            server.registered(&Registered { heartbeat_interval: wish, ..Registered::default() });
            assert_eq!(server.interval(OWN, now), Duration::from_secs(interval), "{wish:?}");
        }
        for (wish, window) in [(Some(120), 120), (Some(u64::MAX), 600), (None, 0)] {
            server.registered(&Registered { reconnect_window_s: wish, ..Registered::default() });
            assert_eq!(server.reconnect_window(), Duration::from_secs(window), "{wish:?}");
        }
        let degraded = ServerStatus { state: ServerState::Degraded, ..ServerStatus::default() };
        server.set_status(&degraded, None, now);
        assert_eq!(server.reconnect_window(), DEGRADED_WINDOW);
    }
}
