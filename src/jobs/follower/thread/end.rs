//! The end of a job, from its folder.

use nixfleet_jobs::journal::supervisor_lives;
use nixfleet_jobs::spec::{JobResult, Outcome, Spec};
use nixfleet_jobs::{atomic_file, damage, rollback};

use super::{Seen, Thread};
use crate::jobs::follower::UNTIL_READ;
use crate::jobs::follower::fate::{self, explained, fate};

impl Thread {
    /// The result, if the job had ended when `seen` was taken. The log must have been read since then.
    pub(in crate::jobs::follower) fn conclude(&mut self, seen: Seen) -> Option<JobResult> {
        let mut result = self.result(seen)?;
        // The supervisor does not know what was damaged since.
        result.dropped = result.dropped.max(self.reader.dropped());
        let dropped_lines = self.reader.dropped_lines();
        let damaged = dropped_lines.saturating_sub(result.missing_lines());
        if damaged > 0 {
            let path = self.dir.path().display();
            tracing::warn!(
                "{damaged} lines of the log in {path} are damaged or could not be read; remarks stand in their place."
            );
        }
        result.dropped_lines = result.dropped_lines.map(|dropped| dropped.max(dropped_lines));
        Some(result)
    }

    fn result(&mut self, seen: Seen) -> Option<JobResult> {
        if seen.result.as_ref().map_or(!seen.gone, |result| !result.unexplained) {
            let result = seen.result?;
            self.rest = self.reader.finish(Some(&result));
            return Some(result);
        }
        if let Some(err) = seen.unread {
            let path = self.dir.result();
            if !damage::is_damage(&err) {
                damage::report(&path, &err, UNTIL_READ);
                return None;
            }
            damage::report(&path, &err, "nobody knows how the command ended, it is reported as lost");
            let message = format!(
                "the result is lost, nobody knows how the command ended: {}",
                damage::describe(&path, &err)
            );
            self.rest = self.reader.finish(None);
            return Some(self.without_supervisor(Outcome::Lost, message));
        }
        let clock = self.dir.clock();
        let spec: Option<Spec> = match atomic_file::load_on(self.dir.disk(), &self.dir.spec()) {
            Ok(spec) => spec,
            Err(err) if damage::is_damage(&err) => {
                damage::report(
                    &self.dir.spec(),
                    &err,
                    "nobody knows whether the machine went down during the command",
                );
                None
            }
            Err(err) => {
                damage::report(&self.dir.spec(), &err, UNTIL_READ);
                return None;
            }
        };
        if let Some(result) = seen.result {
            let since = *self.unexplained_since.get_or_insert_with(|| clock.instant());
            let told = explained(result, spec.as_ref(), self.boot_id.as_deref());
            let held = told.outcome == Outcome::Stopped
                && fate::is_held(&told.ended_at, clock.now(), clock.elapsed(since));
            if held {
                return None;
            }
            self.rest = self.reader.finish(Some(&told));
            return Some(told);
        }
        let told = match rollback::told(&self.dir, self.boot_id.as_deref()) {
            Ok(told) => told,
            Err(err) => {
                damage::report(self.dir.path(), &err, UNTIL_READ);
                return None;
            }
        };
        if let Some((outcome, message)) = told {
            self.rest = self.reader.finish(None);
            let exit_code = i32::from(outcome != Outcome::Ok);
            return Some(JobResult { exit_code, ..self.without_supervisor(outcome, message) });
        }
        let (outcome, message) = fate(spec.as_ref(), self.boot_id.as_deref());
        self.rest = self.reader.finish(None);
        let log = supervisor_lives(&self.dir);
        if outcome == Outcome::Lost
            && let Err(err) = log
        {
            let why = damage::describe(&self.dir.log(0), &err);
            return Some(
                self.without_supervisor(outcome, format!("nobody knows how the command ended: {why}")),
            );
        }
        let message = self.left.explain(message);
        let torn =
            if self.reader.is_torn() { "; the end of its log is damaged, lines may be missing" } else { "" };
        Some(self.without_supervisor(outcome, message + torn))
    }

    /// The result of a job that has none: its log ends with what was read last.
    pub(super) fn without_supervisor(&self, outcome: Outcome, message: String) -> JobResult {
        let (reader, now) = (&self.reader, self.dir.clock().timestamp());
        JobResult {
            started_at: now.clone(),
            ended_at: now,
            lines: Some(reader.lines()),
            dropped_lines: Some(reader.dropped_lines()),
            ..JobResult::without_supervisor(outcome, message, reader.after())
        }
    }
}
