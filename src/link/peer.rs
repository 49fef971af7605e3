//! The dashboard's description of itself: its status, the heartbeat interval that it wants, and the time
//! over which agents should spread their reconnects. The first registration of a new connection resets
//! all of it; a dashboard that still wants something else says so again.

use std::time::Duration;

use jiff::Timestamp;
use nixfleet_os::text::one_line;
use tokio::time::Instant;

use nixfleet_protocol::{Registered, ServerState, ServerStatus};

/// Seconds between heartbeats that a dashboard may ask for: the bounds of the agent's own setting.
const INTERVAL: std::ops::RangeInclusive<u64> = 1..=3600;

/// The longest time over which a dashboard may spread reconnects. A host that stays away for longer looks
/// offline to its users.
const MAX_WINDOW: Duration = Duration::from_secs(600);

/// The time over which reconnects to a degraded dashboard are spread if it names none: as long as the
/// longest back-off.
const DEGRADED_WINDOW: Duration = Duration::from_secs(60);

/// Factor by which maintenance lengthens the interval. Dashboards show a host as offline after three
/// intervals without a heartbeat, so twice the interval still keeps it online.
const MAINTENANCE_STRETCH: u32 = 2;

/// The longest maintenance that is believed without a new message about it.
const MAX_MAINTENANCE: Duration = Duration::from_secs(24 * 3600);

/// Longest reason of a state in characters: two sentences. It is repeated in each rejection.
const REASON: usize = 200;

/// Longest text of the time until which a state lasts, in characters. RFC 3339 needs 35 at most.
const UNTIL: usize = 40;

/// A time that the dashboard asks for and does not get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// The field of `registered`.
    pub field: &'static str,
    /// What it says.
    pub seconds: u64,
    /// What is wrong with it and what the agent does instead, for people.
    pub then: &'static str,
}

/// The dashboard's description of itself.
#[derive(Debug, Default)]
pub struct PeerState {
    interval: Option<Duration>,
    window: Option<Duration>,
    /// The newest status that the dashboard sent, and when.
    status: Option<(ServerStatus, Timestamp)>,
    /// When the maintenance ends, if the dashboard said so.
    until: Option<Instant>,
    rtt: Option<Duration>,
}

impl PeerState {
    /// Forgets everything, for a new connection.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// The dashboard accepted a registration, the first or a later one of this connection. What it asks
    /// for replaces what it asked for before. Returns what it asks for and does not get.
    pub fn registered(&mut self, registered: &Registered) -> impl Iterator<Item = Refused> + use<> {
        let wish = registered.heartbeat_interval;
        self.interval = wish.filter(|seconds| INTERVAL.contains(seconds)).map(Duration::from_secs);
        let interval = wish.filter(|_| self.interval.is_none()).map(|seconds| Refused {
            field: "heartbeat_interval",
            seconds,
            then: "not between 1 and 3600 s, so the interval that is set on the host holds",
        });
        let wish = registered.reconnect_window_s;
        self.window = wish.map(|seconds| Duration::from_secs(seconds).min(MAX_WINDOW));
        let window = wish.filter(|seconds| Duration::from_secs(*seconds) > MAX_WINDOW).map(|seconds| {
            Refused { field: "reconnect_window_s", seconds, then: "more than 600 s, so it counts as 600 s" }
        });
        interval.into_iter().chain(window)
    }

    /// The dashboard sent its status. `server_time` is its clock, if it sent it: the end of a maintenance
    /// is compared with that clock, not with that of this host, `own_time`. Returns whether it is another status than
    /// before.
    pub fn set_status(
        &mut self,
        status: ServerStatus,
        server_time: Option<&str>,
        own_time: Timestamp,
        now: Instant,
    ) -> bool {
        let status = ServerStatus {
            reason: one_line(&status.reason, REASON),
            until: one_line(&status.until, UNTIL),
            ..status
        };
        let clock = server_time.and_then(|time| time.parse().ok()).unwrap_or(own_time);
        self.until = status.until.parse::<Timestamp>().ok().map(|until| {
            let left = Duration::try_from(until.duration_since(clock)).unwrap_or_default();
            now + left.min(MAX_MAINTENANCE)
        });
        let changed = *self.status_or_healthy() != status;
        self.status = Some((status, own_time));
        changed
    }

    /// Logs the status.
    pub fn log_status(&self) {
        let ServerStatus { state, reason, until } = self.status_or_healthy();
        match state {
            ServerState::Healthy | ServerState::Unknown => tracing::info!("The dashboard is healthy."),
            ServerState::Degraded => tracing::warn!(reason, until, "The dashboard is degraded."),
            ServerState::Maintenance => {
                tracing::warn!(reason, until, "The dashboard is in maintenance: no command is accepted.");
            }
        }
    }

    /// The newest status that the dashboard sent. Until it sends one, it is assumed to be healthy.
    fn status_or_healthy(&self) -> &ServerStatus {
        const HEALTHY: &ServerStatus =
            &ServerStatus { state: ServerState::Healthy, reason: String::new(), until: String::new() };
        self.status.as_ref().map_or(HEALTHY, |(status, _)| status)
    }

    fn state(&self) -> ServerState {
        self.status_or_healthy().state
    }

    /// Whether the dashboard is in maintenance now.
    fn in_maintenance(&self, now: Instant) -> bool {
        self.state() == ServerState::Maintenance && self.until.is_none_or(|until| now < until)
    }

    /// The newest status that the dashboard sent, and when it came. None before the first one of a connection,
    /// and always if the dashboard sends none. It outlives the connection, up to the next one.
    pub fn status(&self) -> Option<&(ServerStatus, Timestamp)> {
        self.status.as_ref()
    }

    /// Why no command may start now, as the reason of a rejection; none if commands may start.
    pub fn refusal(&self, now: Instant) -> Option<String> {
        if !self.in_maintenance(now) {
            return None;
        }
        let ServerStatus { reason, until, .. } = self.status_or_healthy();
        let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        let until = if until.is_empty() { String::new() } else { format!(" until {until}") };
        Some(format!("the dashboard is in maintenance{until}{reason}"))
    }

    /// Time between heartbeats; `own` is the interval that is configured on this host.
    pub fn interval(&self, own: Duration, now: Instant) -> Duration {
        let wanted = self.interval.unwrap_or(own);
        if self.in_maintenance(now) { wanted * MAINTENANCE_STRETCH } else { wanted }
    }

    /// This host slept for so long. Its maintenance went on.
    pub fn slept(&mut self, time: Duration, now: Instant) {
        self.until = self.until.map(|until| until.checked_sub(time).unwrap_or(now));
    }

    /// When the maintenance ends without a further message, if one is going on.
    pub fn changes_at(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| self.state() == ServerState::Maintenance && *until > now)
    }

    /// The time over which agents should spread their reconnects.
    pub fn reconnect_window(&self) -> Duration {
        let degraded = self.state() == ServerState::Degraded;
        self.window.unwrap_or(if degraded { DEGRADED_WINDOW } else { Duration::ZERO })
    }

    /// A heartbeat was acknowledged after this time.
    pub fn acknowledged(&mut self, rtt: Duration) {
        self.rtt = Some(rtt);
    }

    /// The round trip of the newest acknowledged heartbeat.
    pub fn rtt(&self) -> Option<Duration> {
        self.rtt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Duration = Duration::from_secs(30);

    /// The clock of this host. It is wrong.
    const OWN_TIME: Timestamp = Timestamp::constant(1_800_000_000, 0);

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
        let mut peer = PeerState::default();
        assert_eq!(peer.refusal(now), None);
        peer.set_status(maintenance("2001-01-01T00:10:00Z"), Some("2001-01-01T00:00:00Z"), OWN_TIME, now);
        let refusal = peer.refusal(now).unwrap();
        assert_eq!(refusal, "the dashboard is in maintenance until 2001-01-01T00:10:00Z: upgrade");
        assert_eq!(peer.interval(OWN, now), 2 * OWN);
        let end = now + Duration::from_secs(600);
        assert_eq!(peer.changes_at(now), Some(end));
        assert_eq!((peer.refusal(end), peer.interval(OWN, end), peer.changes_at(end)), (None, OWN, None));
    }

    #[tokio::test(start_paused = true)]
    async fn maintenance_goes_on_while_this_host_sleeps() {
        let (now, seconds) = (Instant::now(), Duration::from_secs);
        let mut peer = PeerState::default();
        let start = Some("2001-01-01T00:00:00Z");
        peer.set_status(maintenance("2001-01-01T00:10:00Z"), start, OWN_TIME, now);
        peer.slept(seconds(400), now);
        assert_eq!(peer.changes_at(now), Some(now + seconds(200)));
        peer.slept(seconds(400), now);
        assert_eq!((peer.refusal(now), peer.interval(OWN, now)), (None, OWN), "over");
        peer.set_status(maintenance(""), start, OWN_TIME, now);
        peer.slept(seconds(400), now);
        assert!(peer.refusal(now).is_some(), "it has no end");
    }

    #[tokio::test(start_paused = true)]
    async fn maintenance_without_an_end_lasts_until_it_is_called_off() {
        let now = Instant::now();
        let mut peer = PeerState::default();
        for until in ["", "soon"] {
            peer.set_status(maintenance(until), None, OWN_TIME, now);
            assert!(peer.refusal(now + 10 * MAX_MAINTENANCE).is_some());
        }
        peer.set_status(ServerStatus::default(), None, OWN_TIME, now);
        assert_eq!(peer.refusal(now), None);
        peer.set_status(maintenance("9999-01-01T00:00:00Z"), None, OWN_TIME, now);
        assert_eq!(peer.refusal(now + MAX_MAINTENANCE), None, "nobody means a thousand years");
        peer.set_status(maintenance("2001-01-01T00:00:00Z"), None, OWN_TIME, now);
        assert_eq!(peer.refusal(now), None, "over already");
    }

    #[tokio::test(start_paused = true)]
    async fn a_reason_is_one_short_line_however_long_the_dashboard_says_it() {
        let now = Instant::now();
        let mut peer = PeerState::default();
        let endless = "upgrade\nERROR forged ".repeat(20_000);
        let status = ServerStatus { reason: endless.clone(), ..maintenance(&endless) };
        assert!(peer.set_status(status.clone(), None, OWN_TIME, now));
        let refusal = peer.refusal(now).unwrap();
        assert!(refusal.chars().count() < 300 && !refusal.contains('\n'), "{refusal}");
        let shown = &peer.status().unwrap().0;
        assert_eq!((shown.reason.chars().count(), shown.until.chars().count()), (REASON, UNTIL));
        assert!(!peer.set_status(status, None, OWN_TIME, now), "the same again");
    }

    #[test]
    fn nothing_is_known_of_a_dashboard_before_it_says_something_and_after_a_reset() {
        let mut peer = PeerState::default();
        assert_eq!(peer.status(), None);
        assert_eq!(peer.registered(&Registered::default()).count(), 0);
        assert_eq!(peer.status(), None, "a registration says nothing about the state");
        peer.set_status(ServerStatus::default(), Some("2001-01-01T00:00:00Z"), OWN_TIME, Instant::now());
        let (status, at) = peer.status().unwrap();
        assert_eq!(status.state, ServerState::Healthy);
        assert_eq!(*at, OWN_TIME, "by the clock of this host");
        peer.reset();
        assert_eq!(peer.status(), None);
    }

    #[test]
    fn wishes_hold_within_bounds_and_until_the_next_registration() {
        let mut peer = PeerState::default();
        let now = Instant::now();
        for (wish, interval) in
            [(Some(5), 5), (Some(3600), 3600), (Some(0), 30), (Some(3601), 30), (None, 30)]
        {
            let registered = Registered { heartbeat_interval: wish, ..Registered::default() };
            let refused: Vec<_> = peer.registered(&registered).map(|it| (it.field, it.seconds)).collect();
            assert_eq!(peer.interval(OWN, now), Duration::from_secs(interval), "{wish:?}");
            let is_refused = wish.filter(|seconds| *seconds != interval);
            let expected = is_refused.map(|seconds| ("heartbeat_interval", seconds));
            assert_eq!(refused, expected.into_iter().collect::<Vec<_>>());
        }
        for (wish, window) in [
            (Some(120), 120),
            (Some(600), 600),
            (Some(601), 600),
            (Some(u64::MAX), 600),
            (Some(0), 0),
            (None, 0),
        ] {
            let registered = Registered { reconnect_window_s: wish, ..Registered::default() };
            let refused: Vec<_> = peer.registered(&registered).map(|it| (it.field, it.seconds)).collect();
            assert_eq!(peer.reconnect_window(), Duration::from_secs(window), "{wish:?}");
            let is_refused = wish.filter(|seconds| *seconds != window);
            let expected = is_refused.map(|seconds| ("reconnect_window_s", seconds));
            assert_eq!(refused, expected.into_iter().collect::<Vec<_>>());
        }
        let degraded = ServerStatus { state: ServerState::Degraded, ..ServerStatus::default() };
        peer.set_status(degraded, None, OWN_TIME, now);
        assert_eq!(peer.reconnect_window(), DEGRADED_WINDOW);
    }
}
