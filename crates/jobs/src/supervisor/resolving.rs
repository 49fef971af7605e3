//! Another attempt at a step of git when a name could not be resolved. After a resume, or while the network is being
//! set up, names cannot be resolved for some seconds, and a pull that was asked for then would be lost.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Job;
use super::child::End;
use super::progress::Progress;
use super::stop::Reason;
use crate::spec::Step;

/// How long after the first failure the last attempt may begin: as long as a network usually takes after a resume.
const LIMIT: Duration = Duration::from_secs(60);

/// The first pause. Each one is twice as long as the one before, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(2);

/// The longest pause: the network is used soon after it is there.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Exit code of a step that was stopped while no program ran: that of a program that SIGTERM ended.
pub(super) const TERMINATED: i32 = 128 + 15;

impl<R: FnOnce()> Job<'_, R> {
    /// Runs a step, and runs it again while git cannot resolve a name.
    pub(super) fn run_step_patiently(&mut self, index: usize, step: &Step, progress: &mut Progress) -> End {
        let (mut since, mut pause) = (None::<Instant>, FIRST_PAUSE);
        loop {
            let end = self.run_step(index, step, progress);
            let ended_by_itself = end.stopped.is_none() && end.stopped_after.is_none();
            let failed = ended_by_itself && matches!(end.code, Ok(code) if code != 0);
            let Some(name) = progress.unresolved().filter(|_| failed).map(str::to_owned) else { return end };
            let now = self.stop.now();
            let left = (*since.get_or_insert(now) + LIMIT).saturating_duration_since(now);
            if left.is_zero() {
                self.log.remark(&format!("{name} could not be resolved for {} s", LIMIT.as_secs()));
                return end;
            }
            // The last attempt is at the end of the minute.
            let pause_now = pause.min(left);
            self.log.remark(&format!(
                "{name} cannot be resolved; trying `{}` again in {} s, for another {} s in all",
                step.name,
                pause_now.as_secs_f64().round(),
                left.as_secs_f64().round()
            ));
            progress.waits(index, step, &format!("waiting until {name} can be resolved"), &mut self.log);
            if let Some(reason) = self.wait(now + pause_now, progress) {
                return End { code: Ok(TERMINATED), stopped: Some(reason), ..end };
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Waits without a program. Returns the reason if the command was stopped meanwhile.
    pub(super) fn wait(&mut self, until: Instant, progress: &mut Progress) -> Option<Reason> {
        loop {
            progress.tick(&mut self.log, || false);
            self.stop.step(false, false, &mut self.log);
            if self.stop.has_begun() && self.stop.settled() {
                return self.stop.reason();
            }
            let now = self.stop.now();
            if now >= until && !self.stop.has_begun() {
                return None;
            }
            let wake = [Some(until).filter(|at| *at > now), self.stop.wake_at(), progress.wake_at()];
            let limit = wake.into_iter().flatten().min().map(|at| at.saturating_duration_since(now));
            if let Some(programs) = self.log.processes().simulation() {
                programs.wait(limit);
                continue;
            }
            let fds: Vec<BorrowedFd<'_>> = self.stop.fds().collect();
            let mut fds: Vec<PollFd<'_>> =
                fds.into_iter().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
            let limit = limit.and_then(|left| Timespec::try_from(left).ok());
            // An error is an interruption by a signal. Signals are handled after every wake-up.
            poll(&mut fds, limit.as_ref()).ok();
            // A process that ended meanwhile is reaped with the next program; its signal must not wake this wait again.
            self.stop.child_ended();
        }
    }
}

#[cfg(test)]
mod tests;
