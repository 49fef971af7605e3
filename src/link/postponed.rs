//! Requests that came while the agent closed its connection to make another one. They are carried out, and answered, on
//! that one.

use std::time::Duration;

use tokio::time::Instant;

use nixfleet_protocol::DashboardMessage;

/// Most requests that are kept. A dashboard sends one or two within the second that a close takes.
const MOST: usize = 64;

/// Age at which a request is not carried out any more: the other connection comes within some seconds, or not soon, and
/// nobody expects a `switch` of an hour ago.
const STALE: Duration = Duration::from_secs(10);

/// Those requests, the oldest first.
#[derive(Debug, Default)]
pub struct Postponed(Vec<(Instant, DashboardMessage)>);

impl Postponed {
    /// Keeps a request. Gives it back if there are too many.
    pub fn push(&mut self, request: DashboardMessage, now: Instant) -> Option<DashboardMessage> {
        if self.0.len() >= MOST {
            return Some(request);
        }
        self.0.push((now, request));
        None
    }

    /// All of them, each with whether it is to be carried out.
    pub fn take(&mut self, now: Instant) -> Vec<(DashboardMessage, bool)> {
        let is_fresh = |at| now.saturating_duration_since(at) < STALE;
        std::mem::take(&mut self.0).into_iter().map(|(at, request)| (request, is_fresh(at))).collect()
    }
}

#[cfg(test)]
mod tests {
    use nixfleet_protocol::CommandRequest;

    use super::*;

    fn request(command: &str) -> DashboardMessage {
        DashboardMessage::Command(CommandRequest { command: command.to_owned(), id: None })
    }

    #[test]
    fn requests_are_kept_in_order_in_bounds_and_for_some_seconds() {
        let begun = Instant::now();
        let mut postponed = Postponed::default();
        assert!(postponed.push(request("old"), begun).is_none());
        assert!(postponed.push(request("new"), begun + STALE / 2).is_none());
        let taken = postponed.take(begun + STALE);
        assert_eq!(taken, [(request("old"), false), (request("new"), true)]);
        assert!(postponed.take(begun).is_empty(), "once");
        for _ in 0..MOST {
            assert!(postponed.push(request("x"), begun).is_none());
        }
        assert_eq!(postponed.push(request("one more"), begun), Some(request("one more")));
    }
}
