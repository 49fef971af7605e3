//! Other activations on this host: the one that keeps a switch from its begin, and the one that an earlier command
//! left in the service manager.

use super::Job;
use super::done::Done;
use super::plan::Plan;
use crate::activation::Activations;
use crate::history::is_rebuild;
use crate::remains::{LeftUnit, await_unit};
use crate::spec::{Outcome, Step, capitalized};
use crate::{JobDir, JobId, JobsDir};

impl<R: FnOnce()> Job<'_, R> {
    /// Where activations are seen, for a step that replaces the running system.
    pub(super) fn activations(&self, step: &Step) -> Option<Activations> {
        is_rebuild(&self.instance.command, &step.name).then(|| self.all_activations())
    }

    fn all_activations(&self) -> Activations {
        Activations::new(self.settings, self.log.processes())
    }

    /// The end of the command, if a step that replaces the running system must not begin: somebody else is doing so.
    pub(super) fn busy(&mut self, plan: &Plan, index: usize, step: &Step) -> Option<Done> {
        let who = self.activations(step)?.who()?;
        let name = capitalized(&self.instance.command);
        let done = if plan.steps.len() > 1 {
            "the checkout was pulled, and the running system was not changed"
        } else {
            "nothing was changed"
        };
        let message = format!(
            "{name}: the system is being activated by somebody else: {who}; {done}; send the command again when that \
             has ended"
        );
        self.log.remark(&message);
        Some(Done { outcome: Outcome::Busy, exit_code: 1, message, step: index, ..Done::default() })
    }

    /// Waits for the activation that an earlier command left in the service manager when its supervisor was killed.
    ///
    /// # Errors
    /// A message for people: it goes on, so this command must not begin.
    pub(super) fn await_earlier_activation(
        &mut self,
        earlier: &[JobId],
        jobs: &JobsDir,
        boot_id: Option<&str>,
    ) -> Result<(), String> {
        let dirs: Vec<JobDir> = earlier.iter().map(|id| jobs.job(id)).collect();
        let activations = self.all_activations();
        let (stop, log, ready) = (&self.stop, &mut self.log, &mut self.ready);
        let left = await_unit(
            &dirs,
            &activations,
            boot_id,
            false,
            || !stop.is_requested(),
            |activations| {
                log.remark(&format!(
                "the supervisor of an earlier command was killed, and its activation goes on in {}; its end is awaited",
                activations.describe_unit()
            ));
                // It may take longer than a start may.
                if let Some(ready) = ready.take() {
                    ready();
                }
            },
        );
        if let Some(text) = left.describe() {
            self.log.remark(&format!("the earlier command: {text}"));
        }
        let name = capitalized(&self.instance.command);
        match left {
            LeftUnit::None | LeftUnit::Ended(_) => Ok(()),
            LeftUnit::GoesOn(_) if self.stop.is_requested() => {
                Err(format!("{name}: stopped before it began"))
            }
            LeftUnit::GoesOn(unit) => Err(format!(
                "{name}: the activation of an earlier command, whose supervisor was killed, goes on in {unit}; send the \
                 command again when that has ended"
            )),
        }
    }
}
