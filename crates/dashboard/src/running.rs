//! Which command of a host runs since when, and how far it is.

use serde::Serialize;

use nixfleet_protocol::{Part, PartState, Parts, RunningJob, TestsPart};

/// The running command, and what it said about its progress.
#[derive(Debug, Default)]
pub(super) struct Running {
    command: Option<String>,
    since_ms: i64,
    /// Since the command before ended.
    parts: Parts,
}

/// How far a command is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// `pull`, `lock`, `system` or `tests`.
    pub part: &'static str,
    /// What it does, such as `build`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub phase: String,
    /// How far that is, such as `3/41 derivations`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// Completed steps.
    pub current: u32,
    /// Steps.
    pub total: u32,
}

impl Running {
    /// The agent has connected, and says what runs, or what has ended without a status.
    pub(super) fn registered(&mut self, job: Option<&RunningJob>, now_ms: i64) {
        let Some(job) = job else { return };
        // Its clock may be ahead of this one.
        let started = job.started_at.parse::<jiff::Timestamp>().map_or(now_ms, |at| at.as_millisecond());
        let started = started.min(now_ms);
        // An agent that is replaced by the command that it runs connects in the middle of it, and goes on. It began
        // before anybody here heard of it; another one of that name begins later.
        if self.command.as_ref() == Some(&job.command) && started <= self.since_ms {
            self.since_ms = started;
        } else {
            self.begin(&job.command, started);
        }
    }

    /// A heartbeat names the command that runs.
    pub(super) fn beat(&mut self, pending: Option<&str>, now_ms: i64) {
        match pending {
            Some(command) if self.command.as_deref() != Some(command) => self.begin(command, now_ms),
            Some(_) => {}
            None => *self = Self::default(),
        }
    }

    fn begin(&mut self, command: &str, since_ms: i64) {
        // Progress that came before the first heartbeat of a command is its own.
        if self.command.is_some() {
            self.parts = Parts::default();
        }
        (self.command, self.since_ms) = (Some(command.to_owned()), since_ms);
    }

    /// A command has ended. Another one of the same name may begin before the next heartbeat.
    pub(super) fn ended(&mut self, command: &str) {
        if self.command.as_deref().is_none_or(|running| running == command) {
            *self = Self::default();
        }
    }

    /// Parts of the running command have changed.
    pub(super) fn progress(&mut self, parts: &Parts) {
        self.parts.merge(parts);
    }

    /// Since when this command runs, in Unix milliseconds, if it is the one.
    pub(super) fn since_ms(&self, pending: Option<&str>) -> Option<i64> {
        (pending.is_some() && self.command.as_deref() == pending).then_some(self.since_ms)
    }

    /// How far this command is, if it is the one and has said so: the part that is in progress, or else the last one
    /// that was.
    pub(super) fn how_far(&self, pending: Option<&str>) -> Option<Progress> {
        self.since_ms(pending)?;
        let Parts { pull, lock, system, tests } = &self.parts;
        let parts = [("system", system), ("lock", lock), ("pull", pull)];
        let mut all: Vec<(PartState, Progress)> =
            tests.iter().map(|tests| (tests.status, of_tests(tests))).collect();
        all.extend(parts.into_iter().filter_map(|(name, part)| Some(of_part(name, part.as_ref()?))));
        let rank = |state| match state {
            PartState::InProgress => 0,
            PartState::Complete | PartState::Error => 1,
            PartState::Pending => 2,
        };
        // Of equals, the first one: the later in a command.
        all.into_iter().min_by_key(|(state, _)| rank(*state)).map(|(_, progress)| progress)
    }
}

fn of_part(part: &'static str, from: &Part) -> (PartState, Progress) {
    let Part { current, total, status, phase, detail } = from.clone();
    (status, Progress { part, phase, detail, current, total })
}

fn of_tests(tests: &TestsPart) -> Progress {
    let (current, total) = (tests.current, tests.total);
    Progress { part: "tests", phase: String::new(), detail: String::new(), current, total }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(current: u32, status: PartState) -> Option<Part> {
        Some(Part { current, total: 3, status, phase: "build".to_owned(), detail: String::new() })
    }

    #[test]
    fn only_the_progress_of_the_running_command_is_shown() {
        let mut running = Running::default();
        let system = |status| Parts { system: part(1, status), ..Parts::default() };
        running.progress(&system(PartState::InProgress));
        assert_eq!(running.how_far(Some("switch")), None, "no heartbeat has named it");
        running.beat(Some("switch"), 5_000);
        assert_eq!(running.since_ms(Some("switch")), Some(5_000));
        let shown = running.how_far(Some("switch")).expect("its own, which came before the heartbeat");
        assert_eq!((shown.part, shown.phase.as_str(), shown.current, shown.total), ("system", "build", 1, 3));
        running.beat(Some("switch"), 6_000);
        assert_eq!(running.since_ms(Some("switch")), Some(5_000), "the same command goes on");
        assert_eq!(running.how_far(Some("pull")), None);
        running.beat(Some("pull"), 7_000);
        assert_eq!((running.how_far(Some("pull")), running.since_ms(Some("pull"))), (None, Some(7_000)));
        let both = Parts { pull: part(2, PartState::InProgress), ..system(PartState::Pending) };
        running.progress(&both);
        assert_eq!(running.how_far(Some("pull")).map(|shown| (shown.part, shown.current)), Some(("pull", 2)));
        running.ended("stop");
        assert!(running.how_far(Some("pull")).is_some(), "the answer to another request");
        running.ended("pull");
        running.beat(Some("pull"), 9_000);
        assert_eq!((running.how_far(Some("pull")), running.since_ms(Some("pull"))), (None, Some(9_000)));
        running.beat(None, 10_000);
        assert_eq!(running.since_ms(None), None);
    }

    #[test]
    fn a_command_that_runs_when_its_agent_connects_began_before() {
        let mut running = Running::default();
        let job = |started_at: &str| RunningJob {
            id: "j".to_owned(),
            command: "switch".to_owned(),
            started_at: started_at.to_owned(),
        };
        for (started, since) in
            [("1970-01-01T00:00:04Z", 4_000), ("1970-01-01T00:00:40Z", 9_000), ("?", 9_000)]
        {
            running.registered(Some(&job(started)), 9_000);
            running.beat(Some("switch"), 9_500);
            assert_eq!(running.since_ms(Some("switch")), Some(since), "{started}");
        }
    }

    #[test]
    fn a_command_that_replaces_its_agent_keeps_its_progress_and_the_next_one_has_none() {
        let job = |started_at: &str| RunningJob {
            id: "j".to_owned(),
            command: "switch".to_owned(),
            started_at: started_at.to_owned(),
        };
        let mut running = Running::default();
        running.beat(Some("switch"), 5_000);
        running.progress(&Parts { system: part(2, PartState::InProgress), ..Parts::default() });
        running.registered(Some(&job("1970-01-01T00:00:04Z")), 9_000);
        let far = |running: &Running| running.how_far(Some("switch")).map(|far| far.current);
        assert_eq!((far(&running), running.since_ms(Some("switch"))), (Some(2), Some(4_000)));
        running.registered(Some(&job("1970-01-01T00:00:08Z")), 9_000);
        assert_eq!((far(&running), running.since_ms(Some("switch"))), (None, Some(8_000)), "another one");
    }
}
