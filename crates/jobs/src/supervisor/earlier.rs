//! What earlier commands left on this host when their supervisors were killed: processes, and an activation in the
//! service manager. One command runs at a time.

use super::Job;
use crate::remains::{self, LeftUnit, await_unit};
use crate::spec::capitalized;
use crate::{JobDir, JobId, JobsDir};

impl<R: FnOnce()> Job<'_, R> {
    /// Ends what they left.
    ///
    /// # Errors
    /// A message for people: a process is still there, so this command must not begin.
    pub(super) fn end_remains(&mut self, jobs: &JobsDir) -> Result<(), String> {
        let name = capitalized(&self.instance.command);
        if jobs.machine().threads.are_simulated() {
            return Ok(());
        }
        let boot_id = nixfleet_os::boot_id_on(jobs.disk(), &self.settings.proc);
        let earlier = remains::jobs(jobs, &self.instance.id, boot_id.as_deref());
        let (stop, log, ready) = (&self.stop, &mut self.log, &mut self.ready);
        let found = remains::end(
            &earlier,
            || !stop.is_requested(),
            || {
                log.remark(
                    "an earlier command goes on without its supervisor, which was killed; it is ended first",
                );
                // It may take longer than a start may.
                if let Some(ready) = ready.take() {
                    ready();
                }
            },
        );
        if let Some(text) = found.describe() {
            self.log.remark(&format!("the earlier command: {text}"));
        }
        match found.left {
            0 => self.await_earlier_activation(&earlier, jobs, boot_id.as_deref()),
            _ if self.stop.is_requested() => Err(format!("{name}: stopped before it began")),
            left => Err(format!(
                "{name}: {left} of the processes of an earlier command, whose supervisor was killed, cannot be \
                 ended; end them on this host, and send the command again"
            )),
        }
    }

    /// Waits for the activation that an earlier command left in the service manager when its supervisor was killed.
    ///
    /// # Errors
    /// A message for people: it goes on, so this command must not begin.
    fn await_earlier_activation(
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
