//! Limits how often the progress of a rebuild is reported: a new phase at once, details at intervals.

use std::time::{Duration, Instant};

use crate::progress::Part;

/// Shortest time between two details of one phase. People cannot read more than four a second.
pub(super) const GAP: Duration = Duration::from_millis(250);

/// The last report of one part, and the delayed one.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    sent: Option<Part>,
    sent_at: Option<Instant>,
    pending: Option<Part>,
}

impl Throttle {
    /// Takes the newest state; returns what to report now, in order. The last state of a phase is reported
    /// before the next phase.
    pub(super) fn update(&mut self, part: Part, now: Instant) -> [Option<Part>; 2] {
        let Some(newest) = self.pending.as_ref().or(self.sent.as_ref()) else {
            return [None, Some(self.send(part, now))];
        };
        if *newest == part {
            return [None, None];
        }
        if newest.phase != part.phase || newest.status != part.status {
            let before = self.pending.take();
            return [before, Some(self.send(part, now))];
        }
        self.pending = (self.sent.as_ref() != Some(&part)).then_some(part);
        [None, self.due(now)]
    }

    /// Returns the delayed report if it is due.
    pub(super) fn due(&mut self, now: Instant) -> Option<Part> {
        if self.wake_at()? > now {
            return None;
        }
        let part = self.pending.take()?;
        Some(self.send(part, now))
    }

    /// Returns the delayed report, because no more states will follow.
    pub(super) fn rest(&mut self) -> Option<Part> {
        self.pending.take()
    }

    /// When the delayed report is due.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.pending.as_ref().and(self.sent_at).map(|at| at + GAP)
    }

    fn send(&mut self, part: Part, now: Instant) -> Part {
        self.pending = None;
        self.sent_at = Some(now);
        self.sent.insert(part).clone()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::progress::PartState;

    fn part(phase: &str, detail: &str) -> Part {
        Part {
            current: 0,
            total: 3,
            status: PartState::InProgress,
            phase: phase.to_owned(),
            detail: detail.to_owned(),
        }
    }

    #[test]
    fn a_detail_waits_for_its_turn_and_the_newest_one_is_told() {
        let mut throttle = Throttle::default();
        let start = Instant::now();
        assert_eq!(throttle.update(part("build", "0/9"), start), [None, Some(part("build", "0/9"))]);
        assert_eq!(throttle.wake_at(), None);
        assert_eq!(throttle.update(part("build", "1/9"), start), [None, None]);
        assert_eq!(throttle.update(part("build", "2/9"), start + GAP / 2), [None, None]);
        assert_eq!(throttle.wake_at(), Some(start + GAP));
        assert_eq!(throttle.due(start + GAP / 2), None);
        assert_eq!(throttle.due(start + GAP), Some(part("build", "2/9")));
        assert_eq!((throttle.wake_at(), throttle.due(start + GAP * 9)), (None, None));
        assert_eq!(
            throttle.update(part("build", "3/9"), start + GAP * 3),
            [None, Some(part("build", "3/9"))]
        );
    }

    #[test]
    fn a_phase_ends_with_its_last_detail_before_the_next_one_begins() {
        let mut throttle = Throttle::default();
        let now = Instant::now();
        throttle.update(part("build", "0/9"), now);
        throttle.update(part("build", "9/9"), now);
        assert_eq!(
            throttle.update(part("activate", ""), now),
            [Some(part("build", "9/9")), Some(part("activate", ""))]
        );
        assert_eq!(throttle.update(part("activate", ""), now), [None, None], "once is enough");
    }

    proptest! {
        #[test]
        fn there_are_few_messages_and_the_newest_state_is_always_told_in_the_end(
            steps in prop::collection::vec((0u64..200, 0usize..3, 0u32..5), 1..200)
        ) {
            let start = Instant::now();
            let (mut throttle, mut now, mut sent) = (Throttle::default(), start, Vec::new());
            let mut phase = 0;
            let mut changes = 1;
            for (wait, grow, detail) in &steps {
                now += Duration::from_millis(*wait);
                if *grow == 2 && phase < 3 {
                    phase += 1;
                    changes += 2;
                }
                sent.extend(throttle.due(now));
                sent.extend(throttle.update(part(&phase.to_string(), &detail.to_string()), now).into_iter().flatten());
            }
            let most = (now - start).as_millis() / GAP.as_millis() + changes;
            prop_assert!(sent.len() as u128 <= most, "{} of {most}", sent.len());
            sent.extend(throttle.due(now + GAP));
            let last = steps.last().map(|(_, _, detail)| part(&phase.to_string(), &detail.to_string()));
            prop_assert_eq!(sent.last(), last.as_ref());
            prop_assert!(sent.windows(2).all(|pair| pair[0].phase <= pair[1].phase && pair[0] != pair[1]));
        }
    }
}
