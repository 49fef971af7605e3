//! What the agent's loop remembers only for reports.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use nixfleet_jobs::JobId;
use nixfleet_jobs::spec::JobResult;
use nixfleet_os::text::one_line;

use super::report::{Connection, Finished, State};

/// Finished commands that are remembered: they fit on one screen.
pub const RESULTS: usize = 5;

/// Longest message of a finished command, in characters. It has one sentence.
const MAX_MESSAGE: usize = 400;

/// State of the connection, the last finished commands and the time of the last heartbeat.
#[derive(Debug)]
pub struct Recent {
    started_at: String,
    connection: Connection,
    results: VecDeque<Finished>,
    last_beat: Option<SystemTime>,
}

impl Default for Recent {
    fn default() -> Self {
        let now = nixfleet_os::timestamp();
        Self {
            connection: Connection { since: now.clone(), ..Connection::default() },
            started_at: now,
            results: VecDeque::new(),
            last_beat: None,
        }
    }
}

impl Recent {
    /// A heartbeat was made.
    pub fn beat(&mut self, now: SystemTime) {
        self.last_beat = Some(now);
    }

    /// An attempt to connect begins.
    pub fn connecting(&mut self) {
        self.enter(State::Connecting);
    }

    /// The dashboard accepted the registration.
    pub fn connected(&mut self) {
        self.enter(State::Connected);
    }

    /// The attempt failed or the connection ended because of `why`; the next attempt comes after `delay`.
    pub fn waiting(&mut self, why: &str, delay: Duration) {
        let was_connected = self.connection.state == State::Connected;
        self.enter(State::Waiting);
        if was_connected {
            self.connection.lost_at = Some(self.connection.since.clone());
        }
        self.connection.last_error = Some(why.trim_end_matches('.').to_owned());
        self.connection.last_error_at = Some(self.connection.since.clone());
        self.retry_in(delay);
    }

    /// The agent itself ended the connection, to make another one after `delay`.
    pub fn renewing(&mut self, delay: Duration) {
        let was_connected = self.connection.state == State::Connected;
        self.enter(State::Waiting);
        if was_connected {
            self.connection.lost_at = Some(self.connection.since.clone());
        }
        self.retry_in(delay);
    }

    /// Whether the last attempt or connection ended because of `why` as well.
    pub fn is_last_error(&self, why: &str) -> bool {
        self.connection.last_error.as_deref() == Some(why.trim_end_matches('.'))
    }

    /// The next attempt comes after `delay`.
    pub fn retry_in(&mut self, delay: Duration) {
        self.connection.retry_at = Timestamp::now().checked_add(delay).ok().map(|at| format!("{at:.3}"));
    }

    fn enter(&mut self, state: State) {
        self.connection.state = state;
        self.connection.since = nixfleet_os::timestamp();
        self.connection.retry_at = None;
    }

    /// A command ended.
    pub fn ended(&mut self, id: &JobId, command: &str, result: &JobResult) {
        if self.results.len() >= RESULTS {
            self.results.pop_front();
        }
        self.results.push_back(Finished {
            command: command.to_owned(),
            job_id: id.to_string(),
            outcome: result.outcome.as_str().to_owned(),
            exit_code: result.exit_code,
            ended_at: result.ended_at.clone(),
            duration_ms: result.duration_ms,
            message: one_line(&result.message, MAX_MESSAGE),
        });
    }

    /// When the agent started.
    pub fn started_at(&self) -> &str {
        &self.started_at
    }

    /// The state of the connection.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The last finished commands, newest last.
    pub fn results(&self) -> Vec<Finished> {
        self.results.iter().cloned().collect()
    }

    /// Time of the last heartbeat.
    pub fn last_beat_at(&self) -> Option<String> {
        Timestamp::try_from(self.last_beat?).ok().map(|at| format!("{at:.3}"))
    }
}

#[cfg(test)]
mod tests {
    use nixfleet_jobs::spec::Outcome;

    use super::*;

    #[test]
    fn the_last_error_stays_after_a_connection_and_the_next_attempt_goes() {
        let mut recent = Recent::default();
        assert_eq!(recent.connection().state, State::Connecting);
        recent.waiting("cannot reach it.", Duration::from_secs(60));
        let waiting = recent.connection().clone();
        assert_eq!((waiting.state, waiting.last_error.as_deref()), (State::Waiting, Some("cannot reach it")));
        let at: Timestamp = waiting.retry_at.unwrap().parse().unwrap();
        let left = at.duration_since(Timestamp::now()).as_secs();
        assert!((55..=60).contains(&left), "{left}");
        recent.connecting();
        recent.connected();
        let connected = recent.connection();
        assert_eq!((connected.state, connected.retry_at.as_deref()), (State::Connected, None));
        assert_eq!(connected.last_error.as_deref(), Some("cannot reach it"));
        assert_eq!(connected.last_error_at, waiting.last_error_at);
        assert_eq!(connected.lost_at, None);
        recent.waiting("closed", Duration::ZERO);
        let lost = recent.connection().lost_at.clone();
        assert_eq!(lost.as_ref(), Some(&recent.connection().since));
        recent.connecting();
        recent.waiting("cannot reach it", Duration::ZERO);
        assert_eq!(recent.connection().lost_at, lost, "failed attempts do not change it");
    }

    #[test]
    fn five_results_are_remembered() {
        let mut recent = Recent::default();
        for n in 0..7 {
            let result = JobResult::without_supervisor(Outcome::Ok, String::new(), 0);
            recent.ended(&JobId::generate(), &n.to_string(), &result);
        }
        let names: Vec<String> = recent.results().into_iter().map(|result| result.command).collect();
        assert_eq!(names, ["2", "3", "4", "5", "6"]);
    }

    #[test]
    fn the_last_beat_has_a_time() {
        let mut recent = Recent::default();
        assert_eq!(recent.last_beat_at(), None);
        recent.beat(SystemTime::UNIX_EPOCH + Duration::from_millis(1500));
        assert_eq!(recent.last_beat_at().as_deref(), Some("1970-01-01T00:00:01.500Z"));
    }
}
