//! The jobs of an agent at its start: what an earlier agent left on disk, as a table with its executor.

use std::io;
use std::path::Path;
use std::sync::Arc;

use nixfleet_jobs::JobsDir;
use nixfleet_jobs::record::Records;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::answered::{self, Answered};
use super::executor::{Backlog, ExecutorEvent, HostExecutor};
use super::launcher::Launcher;
use super::table::JobTable;

/// Name of the folder with the records of accepted jobs, in the agent's own folder.
pub const RECORDS: &str = "delivery";

/// Reads what an earlier agent left in the agent's `own` folder, and makes the table of its jobs and the receiver of
/// the executor's events. `boot_id` tells whether a reboot that was announced has happened. What cannot be read now is
/// tried again; meanwhile requests are rejected that may be a repeat.
///
/// # Errors
/// When no thread can be started.
pub fn open(
    launcher: Arc<dyn Launcher>,
    folder: JobsDir,
    own: &Path,
    boot_id: Option<String>,
) -> io::Result<(JobTable, mpsc::Receiver<ExecutorEvent>)> {
    let records = Records::on(folder.machine().clone(), own.join(RECORDS));
    let mut opened = records.open(&folder, boot_id.as_deref());
    let answered = Answered::load(folder.disk(), &own.join(answered::FILE));
    if let Ok(answered) = &answered {
        answered.restore(&mut opened, &records, &folder);
    }
    let backlog = Backlog { unread: opened.unread, answers: answered.is_err() };
    let (executor, events) = HostExecutor::open(launcher, folder, records, boot_id)?;
    let unread = (!backlog.is_empty()).then_some(backlog.answers);
    executor.retry(backlog);
    let mut jobs = JobTable::resume(opened.resumed, Box::new(executor));
    if let Some(answers) = unread {
        jobs.wait_for_unread(Instant::now(), answers);
    }
    let mut jobs = jobs.after(answered.unwrap_or_default(), opened.newest);
    opened.happened.into_iter().for_each(|record| jobs.carried_out(record));
    Ok((jobs, events))
}
