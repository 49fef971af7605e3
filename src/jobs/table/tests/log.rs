//! Log lines of the threads of a job.

use tracing::Dispatch;
use tracing::dispatcher::with_default;

use nixfleet_jobs::record::Records;
use nixfleet_jobs::{JobDir, JobsDir};

use super::*;
use crate::jobs::captured_log::CapturedLog;
use crate::jobs::executor::{ExecutorEvent, HostExecutor};
use crate::jobs::launcher::{LaunchError, Launcher};

/// Writes a line into a log for each start and each end.
#[derive(Debug)]
struct LoggingLauncher(Dispatch);

impl Launcher for LoggingLauncher {
    fn start(&self, _: &Instance) -> Result<(), LaunchError> {
        with_default(&self.0, || tracing::warn!("starting"));
        Ok(())
    }

    fn end(&self, _: &Instance, _: &JobDir, _: Urgency) -> Result<(), LaunchError> {
        with_default(&self.0, || tracing::warn!("ending"));
        Err(LaunchError::Refused("no".to_owned()))
    }
}

#[test]
fn lines_of_the_threads_of_a_job_have_its_id_and_its_command() {
    let log = CapturedLog::default();
    let dispatch = log.dispatch();
    let folder = tempfile::tempdir().unwrap();
    let (jobs, records) = (JobsDir::new(folder.path()), Records::new(folder.path().join("delivery")));
    let launcher = Arc::new(LoggingLauncher(dispatch.clone()));
    let (executor, mut events) = HostExecutor::open(launcher, jobs, records, None).unwrap();
    let record = Record::accept("pull".to_owned(), None);
    let id = record.id.clone();
    with_default(&dispatch, || {
        let mut table = JobTable::resume(Vec::new(), Box::new(executor));
        table.accept(record);
        assert_eq!(events.blocking_recv(), Some(ExecutorEvent::Launched(id.clone())));
        table.launched(&id);
        table.end(Urgency::Stop, "kill", later());
        let (asked, why) = ("kill".to_owned(), "no".to_owned());
        let expected = ExecutorEvent::NotEnded { id: id.clone(), asked, why };
        assert_eq!(events.blocking_recv(), Some(expected));
    });
    for text in ["starting", "ending"] {
        assert_eq!(log.line(text), format!("WARN job{{id={id} command=\"pull\"}}: {text}"));
    }
}
