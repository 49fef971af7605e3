//! The agent in a process of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use super::{LIMIT, eventually};

/// An agent process. It ends with the test, and so do its jobs.
pub(crate) struct AgentProcess {
    child: Child,
    state: PathBuf,
}

impl AgentProcess {
    pub(crate) fn spawn(mut command: Command, state: PathBuf) -> Self {
        Self { child: command.spawn().unwrap(), state }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Its state folder.
    pub(crate) fn state(&self) -> &Path {
        &self.state
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for the process to end; how it ended.
    pub(crate) async fn end(&mut self) -> std::process::ExitStatus {
        eventually("the agent's end", || self.child.try_wait().unwrap()).await
    }

    /// Waits for the process to end by itself; its exit code.
    pub(crate) async fn exit_code(&mut self) -> i32 {
        let status = eventually("the agent's end", || self.child.try_wait().unwrap()).await;
        status.code().unwrap_or(-1)
    }
}

impl Drop for AgentProcess {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        end_jobs(&self.state.join("jobs"));
    }
}

/// Kills supervisors that are left after a failed test.
fn end_jobs(jobs: &Path) {
    use nixfleet_jobs::{JobsDir, Urgency, signal_supervisor};

    let dir = JobsDir::new(jobs);
    for item in fs::read_dir(jobs).into_iter().flatten().flatten() {
        if let Some(Ok(id)) = item.file_name().to_str().map(str::parse) {
            let begun = Instant::now();
            while signal_supervisor(&dir.job(&id), Urgency::Kill).is_ok() && begun.elapsed() < LIMIT {
                std::thread::yield_now();
            }
        }
    }
}
