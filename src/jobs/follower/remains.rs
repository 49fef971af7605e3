//! What a dead supervisor left running.

use std::cell::OnceCell;

use nixfleet_jobs::activation::Activations;
use nixfleet_jobs::remains::{self, LeftUnit};
use nixfleet_jobs::{JobDir, JobId};

/// What was done with the processes that a dead supervisor left. The follower that finds the supervisor dead ends them
/// once, however often its connection is lost meanwhile.
#[derive(Debug, Default)]
pub(super) struct Left {
    done: OnceCell<Option<String>>,
    /// Where an activation is seen that the service manager runs for the job.
    activations: Option<Activations>,
}

impl Left {
    pub(super) fn new(activations: Option<Activations>) -> Self {
        Self { done: OnceCell::new(), activations }
    }

    /// Ends the processes, and waits until they are gone: the host is not free before. `go_on` is asked while that
    /// takes long. Under systemd the agent finds none: they belong to root, and the unit's cgroup ends them. What the
    /// service manager activates for the job is awaited in any case; `awaits` gets its process meanwhile.
    pub(super) fn end(
        &self,
        dir: &JobDir,
        boot_id: Option<&str>,
        go_on: impl Fn() -> bool,
        awaits: impl FnOnce(Option<u32>),
    ) {
        self.done.get_or_init(|| {
            // The folder has the name of the job.
            let id: JobId = dir.path().file_name()?.to_str()?.parse().ok()?;
            if dir.machine().threads.are_simulated() {
                return None;
            }
            let begun = || tracing::warn!("The command goes on without its supervisor, ending it.");
            let text = remains::end(&[id], &go_on, begun).describe();
            let unit = self.await_unit(dir, boot_id, go_on, awaits).describe();
            let texts: Vec<String> = text.into_iter().chain(unit).collect();
            texts.iter().for_each(|text| tracing::warn!("Of the command: {text}."));
            (!texts.is_empty()).then(|| texts.join("; "))
        });
    }

    fn await_unit(
        &self,
        dir: &JobDir,
        boot_id: Option<&str>,
        go_on: impl Fn() -> bool,
        awaits: impl FnOnce(Option<u32>),
    ) -> LeftUnit {
        let Some(activations) = &self.activations else { return LeftUnit::None };
        remains::await_unit(std::slice::from_ref(dir), activations, boot_id, true, go_on, |activations| {
            let unit = activations.describe_unit();
            tracing::warn!(
                "The supervisor of the command died, and its activation goes on in {unit}: waiting for its end."
            );
            awaits(activations.unit().first().copied().filter(|pid| *pid > 0));
        })
    }

    /// The message for a job without a result, with what was done.
    pub(super) fn explain(&self, message: &str) -> String {
        match self.done.get() {
            Some(Some(text)) => format!("{message}; {text}"),
            _ => message.to_owned(),
        }
    }
}
