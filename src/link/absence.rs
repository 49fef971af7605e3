//! Why there was no connection, and how often it was tried: what the next heartbeat tells the dashboard.

use nixfleet_protocol::LastError;

/// What the dashboard was not told yet.
#[derive(Debug, Default)]
pub struct Absence {
    last: Option<LastError>,
    /// The first heartbeat that says so. It may be replaced by a newer one before it is written.
    told_in: Option<u64>,
}

impl Absence {
    /// An attempt to connect failed.
    pub fn failed(&mut self, text: &str, cause: &str, at: String) {
        let attempts = self.last.as_ref().map_or(0, |last| last.attempts).saturating_add(1);
        self.note(text, cause, at, attempts);
    }

    /// A connection ended. One on which the dashboard did not accept the registration was only an attempt.
    pub fn ended(&mut self, text: &str, cause: &str, at: String, registered: bool) {
        if registered {
            self.note(text, cause, at, 0);
        } else {
            self.failed(text, cause, at);
        }
    }

    fn note(&mut self, text: &str, cause: &str, at: String, attempts: u64) {
        let text = text.trim_end_matches('.').to_owned();
        self.last = Some(LastError { text, cause: cause.to_owned(), at, attempts });
        self.told_in = None;
    }

    /// What the heartbeat with this number has to say.
    pub fn tell(&mut self, seq: u64) -> Option<Box<LastError>> {
        let last = self.last.clone()?;
        self.told_in.get_or_insert(seq);
        Some(Box::new(last))
    }

    /// The heartbeat with this number was written.
    pub fn told(&mut self, seq: u64) {
        if self.told_in.is_some_and(|first| first <= seq) {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(absence: &mut Absence, seq: u64) -> Option<(String, String, u64)> {
        absence.tell(seq).map(|last| (last.text, last.cause, last.attempts))
    }

    fn some(text: &str, cause: &str, attempts: u64) -> Option<(String, String, u64)> {
        Some((text.to_owned(), cause.to_owned(), attempts))
    }

    #[test]
    fn the_last_reason_is_told_once_with_the_number_of_failed_attempts() {
        let mut absence = Absence::default();
        let now = || "2026-01-01T00:00:00Z".to_owned();
        assert_eq!(said(&mut absence, 1), None, "nothing is known of the time before the start");
        absence.failed("refused.", "unreachable", now());
        absence.failed("no answer", "slow", now());
        assert_eq!(said(&mut absence, 2), some("no answer", "slow", 2));
        assert_eq!(
            said(&mut absence, 3),
            some("no answer", "slow", 2),
            "the second may go in place of the first"
        );
        absence.told(1);
        assert_eq!(said(&mut absence, 4), some("no answer", "slow", 2), "an older heartbeat did not say it");
        absence.told(3);
        assert_eq!(said(&mut absence, 5), None);

        absence.ended("closed.", "closed", now(), true);
        assert_eq!(said(&mut absence, 6), some("closed", "closed", 0));
        absence.failed("refused", "unreachable", now());
        absence.ended("no answer to the registration", "not_registered", now(), false);
        assert_eq!(said(&mut absence, 7), some("no answer to the registration", "not_registered", 2));
        absence.told(6);
        assert!(said(&mut absence, 8).is_some(), "a heartbeat of the connection before told an older reason");
    }
}
