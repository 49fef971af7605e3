//! The times at which a session has something to do.

use std::time::Duration;

use nixfleet_os::planted;
use tokio::time::Instant;

use super::look::Look;
use super::schedule::Schedule;
use super::{Phase, SAVE_INTERVAL, SILENCE, Session};
use crate::link::ended::Ended;
use crate::observe::limiter::Topic;

impl Session<'_> {
    /// The earliest time at which [`Self::timer`] has something to do.
    pub(super) fn wake_at(&self) -> Instant {
        let phase = match &self.phase {
            Phase::Registering { until } | Phase::Leaving { until, .. } => *until,
            Phase::Live(schedule) => schedule.next(),
        };
        let output = if self.delivery.open(Instant::now()) { None } else { self.delivery.opens_at() };
        let save = self.agent.jobs.has_unsaved_positions().then(|| self.saved_at + SAVE_INTERVAL);
        let optional = [
            self.held_until,
            self.agent.jobs.unanswered_at().filter(|_| self.is_live()),
            self.register_again,
            self.look.as_ref().and_then(Look::until),
            self.pending_exit.as_ref().map(|(_, until)| *until),
            self.agent.clone_due().filter(|_| self.may_start()),
            output,
            save,
            self.agent.watchdog.next(),
            self.acks.gives_up_at(),
            self.doubted_until(),
            self.agent.peer.changes_at(Instant::now()),
            self.agent.limiter.due(),
        ];
        let always = [self.next_ping, self.last_frame_at + SILENCE];
        optional.into_iter().flatten().chain(always).fold(phase, Instant::min)
    }

    /// Does everything that is due.
    pub(super) fn timer(&mut self, now: Instant) -> Option<Ended> {
        self.agent.watchdog.feed(now);
        self.agent.limiter.flush(now);
        if now >= self.last_frame_at + SILENCE {
            return Some(self.ended_as(Ended::Silent));
        }
        if let Some(lost) = self.lost_in_sleep(now) {
            return Some(lost);
        }
        if self.acks.gives_up_at().is_some_and(|at| now >= at) {
            return Some(self.ended_as(Ended::Unacknowledged));
        }
        match &mut self.phase {
            Phase::Registering { until } if now >= *until => return Some(Ended::NotRegistered),
            Phase::Leaving { until, .. } if now >= *until => return Some(self.ended_as(Ended::Shutdown)),
            Phase::Live(schedule) => {
                if let Some(late) = schedule.take_due(now)
                    && !(planted!("skip-a-heartbeat") && self.agent.stats.beats % 8 == 7)
                {
                    self.agent.stats.late(late);
                    self.heartbeat(now);
                }
            }
            Phase::Registering { .. } | Phase::Leaving { .. } => {}
        }
        self.apply_interval(now);
        if now >= self.next_ping {
            self.ping(None, now);
        }
        if now >= self.saved_at + SAVE_INTERVAL {
            self.save_positions(now);
        }
        if self.held_until.is_some_and(|at| now >= at) {
            self.release_held(true);
            self.pid_overdue = true;
        }
        if self.is_live() {
            self.answer_stops(now);
        }
        if self.look.as_ref().and_then(Look::until).is_some_and(|at| now >= at) {
            self.look_overdue(now);
        }
        if self.register_again.is_some_and(|at| now >= at) {
            self.register_again();
        }
        if self.pending_exit.as_ref().is_some_and(|(_, until)| now >= *until) {
            self.run_pending_exit(now);
        }
        if self.may_start() {
            self.agent.clone_if_missing(now);
        }
        None
    }

    /// Changes the heartbeat interval if the dashboard now wants another one.
    pub(super) fn apply_interval(&mut self, now: Instant) {
        let wanted = self.agent.peer.interval(self.agent.interval, now);
        if let Phase::Live(schedule) = &mut self.phase
            && schedule.interval() != wanted
        {
            // Counted from the last heartbeat, so that no pause is longer than the longer one of the two
            // intervals.
            *schedule = Schedule::after_heartbeat(self.last_heartbeat_at, wanted);
            // The last heartbeat may be longer ago than the new interval. One is due since now, so it is not late.
            let is_due = schedule.take_due(now).is_some();
            if self.may_log(Topic::Interval) {
                tracing::info!(interval = wanted.as_secs(), "Heartbeats have another interval now.");
            }
            if is_due {
                self.agent.stats.late(Duration::ZERO);
                self.heartbeat(now);
            }
        }
    }

    /// A system is on trial: it needs a connection of its own, and signs of life on it.
    pub(super) fn trial(&mut self, now: Instant) -> Option<Ended> {
        if self.agent.contact.needs_another() {
            return Some(self.ended_as(Ended::Renewed));
        }
        if self.agent.contact.is_open() && self.is_live() {
            self.ping(None, now);
        }
        None
    }
}
