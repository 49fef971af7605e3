//! How often a peer may make the agent write a log line. The first lines of a topic are written; the others are
//! counted, and at the end of the minute one line tells their number.

use std::time::Duration;

use tokio::time::Instant;

/// Lines of one topic in one window: enough to see what is wrong, and to see two causes beside each other.
const LINES: u32 = 5;

/// Length of a window. With all topics together, a peer can cause about 80 lines a minute.
const WINDOW: Duration = Duration::from_secs(60);

/// What lines are about. Each topic has a limit of its own, so that one cannot hide another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// Messages that cannot be read.
    Malformed,
    /// Messages of a type that the agent does not know.
    UnknownType,
    /// Binary frames.
    Binary,
    /// Requests at a time when none is expected.
    Unexpected,
    /// Requests that are rejected, because another command runs or the dashboard is in maintenance.
    Rejected,
    /// Commands that this agent does not have.
    UnknownCommand,
    /// Requests that are refused for what they say.
    Refused,
    /// Requests that were made before.
    Repeated,
    /// Requests to end the running command.
    End,
    /// A `registered` that nobody asked for.
    Registered,
    /// Changes of the dashboard's state.
    State,
    /// Changes of the heartbeat interval.
    Interval,
    /// Heartbeats that were not acknowledged.
    MissingAcks,
}

const TOPICS: [(Topic, &str); 13] = [
    (Topic::Malformed, "malformed messages"),
    (Topic::UnknownType, "messages of unknown types"),
    (Topic::Binary, "binary frames"),
    (Topic::Unexpected, "requests outside a registration"),
    (Topic::Rejected, "rejected commands"),
    (Topic::UnknownCommand, "unknown commands"),
    (Topic::Refused, "refused requests"),
    (Topic::Repeated, "repeated requests"),
    (Topic::End, "requests to end the command"),
    (Topic::Registered, "registrations that nobody asked for"),
    (Topic::State, "the state of the dashboard"),
    (Topic::Interval, "the heartbeat interval"),
    (Topic::MissingAcks, "heartbeats without acknowledgement"),
];

#[derive(Debug, Clone, Copy)]
struct Window {
    until: Instant,
    lines: u32,
    left_out: u64,
}

/// The limits of all topics.
#[derive(Debug, Default)]
pub struct Limiter([Option<Window>; TOPICS.len()]);

impl Limiter {
    /// Whether a line about this topic may be written now. If not, it is counted.
    pub fn allows(&mut self, topic: Topic, now: Instant) -> bool {
        self.flush(now);
        let window =
            self.0[topic as usize].get_or_insert(Window { until: now + WINDOW, lines: 0, left_out: 0 });
        let allowed = window.lines < LINES;
        if allowed {
            window.lines += 1;
        } else {
            window.left_out += 1;
        }
        allowed
    }

    /// When the number of left out lines is due.
    pub fn due(&self) -> Option<Instant> {
        self.0.iter().flatten().filter(|window| window.left_out > 0).map(|window| window.until).min()
    }

    /// Ends the windows whose time is over, and logs how many lines they left out.
    pub fn flush(&mut self, now: Instant) {
        for (window, (topic, about)) in self.0.iter_mut().zip(TOPICS) {
            let Some(over) = window.take_if(|window| now >= window.until) else { continue };
            let left_out = over.left_out;
            match topic {
                _ if left_out == 0 => {}
                Topic::UnknownType => {
                    tracing::debug!(left_out, "More lines about {about} were left out in the last minute.");
                }
                _ => tracing::warn!(left_out, "More lines about {about} were left out in the last minute."),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing::dispatcher;

    use super::*;
    use crate::jobs::captured_log::CapturedLog;

    #[test]
    fn every_topic_is_at_its_place() {
        for (n, (topic, _)) in TOPICS.iter().enumerate() {
            assert_eq!(*topic as usize, n, "{topic:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_lines_are_written_the_others_counted_and_told_in_one() {
        let log = CapturedLog::default();
        let _capturing = dispatcher::set_default(&log.dispatch());
        let mut limiter = Limiter::default();
        let start = Instant::now();
        let allowed =
            |limiter: &mut Limiter, at| (0..100).filter(|_| limiter.allows(Topic::Malformed, at)).count();
        assert_eq!(limiter.due(), None);
        assert_eq!(allowed(&mut limiter, start), LINES as usize);
        assert!(limiter.allows(Topic::UnknownCommand, start), "a topic of its own");
        assert_eq!(limiter.due(), Some(start + WINDOW));
        limiter.flush(start + WINDOW - Duration::from_millis(1));
        limiter.flush(start + WINDOW);
        assert_eq!(
            log.line("left out"),
            "WARN More lines about malformed messages were left out in the last minute. left_out=95"
        );
        assert_eq!(limiter.due(), None);
        assert_eq!(allowed(&mut limiter, start + WINDOW), LINES as usize, "a new minute");
    }
}
