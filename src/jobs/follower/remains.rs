//! What a dead supervisor left running.

use std::cell::OnceCell;

use nixfleet_jobs::{JobDir, JobId, remains};

/// What was done with the processes that a dead supervisor left. The follower that finds the supervisor dead ends them
/// once, however often its connection is lost meanwhile.
#[derive(Debug, Default)]
pub(super) struct Left(OnceCell<Option<String>>);

impl Left {
    /// Ends the processes, and waits until they are gone: the host is not free before. `go_on` is asked while that
    /// takes long. Under systemd the agent finds none: they belong to root, and the unit's cgroup ends them.
    pub(super) fn end(&self, dir: &JobDir, go_on: impl Fn() -> bool) {
        self.0.get_or_init(|| {
            // The folder has the name of the job.
            let id: JobId = dir.path().file_name()?.to_str()?.parse().ok()?;
            if dir.machine().threads.are_simulated() {
                return None;
            }
            let begun = || tracing::warn!("The command goes on without its supervisor, ending it.");
            let text = remains::end(&[id], go_on, begun).describe()?;
            tracing::warn!("Of the command: {text}.");
            Some(text)
        });
    }

    /// The message for a job without a result, with what was done.
    pub(super) fn explain(&self, message: &str) -> String {
        match self.0.get() {
            Some(Some(text)) => format!("{message}; {text}"),
            _ => message.to_owned(),
        }
    }
}
