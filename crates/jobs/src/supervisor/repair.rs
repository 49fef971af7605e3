//! Healing a clone of the agent's own whose objects a power failure damaged: git's own check proves it, the clone is
//! moved aside, and the repository is cloned anew. Nothing is removed.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use super::child::End;
use super::done::Done;
use super::plan::{self, Plan};
use super::progress::Progress;
use super::{Job, not_started, prepare, unfetched};
use crate::JobsDir;
use crate::spec::Outcome;

/// The commands whose steps change the checkout.
const PULLS: &[&str] = &["clone", "pull", "pull-switch"];

/// Exit codes of `git fsck` that say what it found: sums of its bits up to 64. With 128 it gave up, and its words tell
/// why; 127 is a git that could not be started.
const FOUND_DAMAGE: RangeInclusive<i32> = 1..=126;

impl<R: FnOnce()> Job<'_, R> {
    /// Runs the steps of a plan. If git says that objects of the clone are damaged, makes a new clone and runs the
    /// command once more.
    pub(super) fn run_plan(
        &mut self,
        jobs: &JobsDir,
        started_at: &str,
        plan: &Plan,
        progress: &mut Progress,
    ) -> Done {
        let mut done = self.run_steps(plan, progress);
        if let Some(dir) = self.clone_to_check(plan, &done, progress) {
            done = self.heal(jobs, started_at, &dir, done, progress);
        }
        if let Some(dir) = &self.settings.repo.dir
            && (PULLS.contains(&self.instance.command.as_str()) || self.instance.command == "switch")
        {
            for text in unfetched::remarks(&self.settings.repo, dir) {
                self.log.remark(&text);
            }
        }
        done
    }

    /// The folder of the agent's own clone, if the step that failed said that its objects are damaged.
    fn clone_to_check(&mut self, plan: &Plan, done: &Done, progress: &Progress) -> Option<PathBuf> {
        let own = self.settings.repo.url.is_some() && PULLS.contains(&self.instance.command.as_str());
        let words = progress.damage().filter(|_| own && done.outcome == Outcome::Failed)?.to_owned();
        // A clone that has just begun has nothing of its own.
        let step = plan.steps.get(done.step).filter(|step| step.name != "clone")?;
        let dir = self.settings.repo.dir.clone()?;
        self.log.remark(&format!(
            "`{}` says: {words}; git checks all objects of {}",
            step.name,
            dir.display()
        ));
        Some(dir)
    }

    /// Lets git check the clone, and replaces it if it is damaged. Otherwise the failure stays what it was.
    fn heal(
        &mut self,
        jobs: &JobsDir,
        started_at: &str,
        dir: &Path,
        done: Done,
        progress: &mut Progress,
    ) -> Done {
        let check = plan::fsck(self.settings, dir);
        let end = self.run_step(done.step, &check, progress);
        if end.stopped.is_some() || end.stopped_after.is_some() {
            let stopped = end.stopped.or(end.stopped_after);
            let end = End { stopped, ..end };
            return Done {
                step: done.step,
                ..end.into_done(&self.instance.command, &check, self.settings.stop_grace)
            };
        }
        let proven =
            matches!(end.code, Ok(code) if FOUND_DAMAGE.contains(&code) || progress.damage().is_some());
        if end.code == Ok(0) || !proven {
            self.log.remark(&format!(
                "git found no damage in {} itself, so it stays; the origin may be damaged",
                dir.display()
            ));
            return done;
        }
        let what = format!("objects of {} are damaged", dir.display());
        let planned = prepare::set_aside(dir, &what, &self.instance.id, &mut self.log)
            .map_err(not_started)
            .and_then(|()| self.plan(jobs, started_at));
        match planned {
            Ok(plan) => {
                progress.replan(&self.instance.command, plan.steps.len());
                self.run_steps(&plan, progress)
            }
            Err(refused) => {
                self.log.remark(&refused.message);
                Done { message: format!("{}; {}", done.message, refused.message), ..done }
            }
        }
    }
}
