//! The programs of a command, one after the other.

use super::child::{Child, End};
use super::done::Done;
use super::plan::Plan;
use super::progress::Progress;
use super::{Job, scripts};
use crate::spec::{Outcome, Step};

/// Exit code for a program that cannot be started, as in shells.
const CANNOT_START: i32 = 127;

impl<R: FnOnce()> Job<'_, R> {
    /// Runs them until one fails.
    pub(super) fn run_steps(&mut self, plan: &Plan, progress: &mut Progress) -> Done {
        let command = &self.instance.command;
        let mut done = Done::default();
        self.stop.begin(plan.timeout, plan.unstoppable);
        self.steps = plan.steps.len();
        let total = plan.steps.iter().filter(|step| step.test).count();
        let mut tests = scripts::Tests { passed: 0, total: u32::try_from(total).unwrap_or(u32::MAX) };
        for (index, step) in plan.steps.iter().enumerate() {
            done.step = index;
            if let Some(busy) = self.busy(plan, index, step) {
                return busy;
            }
            if step.test {
                self.log.progress(&tests.before(index));
            }
            progress.step(index, step, &mut self.log);
            let end = self.run_step_patiently(index, step, progress);
            let end = match &plan.untried {
                Some(untried) if index + 1 == plan.steps.len() => {
                    if end.code == Ok(0)
                        && let Some(busy) = self.busy(plan, index, untried)
                    {
                        return busy;
                    }
                    match self.try_system(index, untried, end, progress) {
                        Ok(end) => end,
                        Err(decided) => return Done { step: index, ..decided },
                    }
                }
                _ => end,
            };
            if step.test {
                let passed = end.code == Ok(0);
                progress.tested(index, passed, &mut self.log);
                tests.passed += u32::from(passed);
                self.log.progress(&tests.after(index));
            }
            // A stop after the end of a program does not change how that one ended, and lets no other one begin.
            let others = index + 1 < plan.steps.len() && (end.code == Ok(0) || step.test);
            let cut = end.stopped_after.or_else(|| self.stop.is_final()).filter(|_| others);
            if cut.is_some() && end.stopped.is_none() {
                let end = End { stopped: cut, ..end };
                return Done { step: index, ..end.into_done(command, step, self.settings.stop_grace) };
            }
            if end.code == Ok(0) && end.stopped.is_none() {
                continue;
            }
            let ended = end.stopped.is_some() || !step.test;
            // Of several scripts that fail, the first is reported. A stop is always reported.
            if ended || done.outcome == Outcome::Ok {
                done = Done { step: index, ..end.into_done(command, step, self.settings.stop_grace) };
            }
            if ended {
                break;
            }
        }
        if command == "test" && matches!(done.outcome, Outcome::Ok | Outcome::Failed) {
            done.message = tests.message();
        }
        done
    }

    /// Runs one of them.
    pub(super) fn run_step(&mut self, index: usize, step: &Step, progress: &mut Progress) -> End {
        let child = match Child::spawn(step, &self.instance.id, self.log.processes()) {
            Ok(child) => child,
            Err(err) => {
                self.announce();
                let text = format!(
                    "cannot start `{}`: {err}; is it installed and on the PATH of the agent's jobs?",
                    step.argv[0]
                );
                self.log.remark(&text);
                return End { code: Ok(CANNOT_START), stopped: None, stopped_after: None, why: text };
            }
        };
        progress.started(child.pid(), index, step, &mut self.log);
        self.announce();
        self.stop.begin_step(self.activations(step));
        child.run(step.activation, &mut self.stop, &mut self.log, progress)
    }
}
