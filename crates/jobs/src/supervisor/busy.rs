//! The activation of somebody else, which keeps a switch from its begin.

use super::Job;
use super::done::Done;
use super::plan::Plan;
use crate::activation::Activations;
use crate::history::is_rebuild;
use crate::spec::{Outcome, Step, capitalized};

impl<R: FnOnce()> Job<'_, R> {
    /// Where activations are seen, for a step that replaces the running system.
    pub(super) fn activations(&self, step: &Step) -> Option<Activations> {
        is_rebuild(&self.instance.command, &step.name).then(|| self.all_activations())
    }

    pub(super) fn all_activations(&self) -> Activations {
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
}
