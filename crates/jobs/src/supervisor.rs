//! The supervisor of one job: a process that outlives the agent.
//!
//! It is the parent of the command, owns its pipes, and writes everything about the job to the job's folder.
//! It needs no reader. The caller passes the command's name and the job's id; everything else comes from the
//! machine's configuration.
//!
//! Signals: that of [`Urgency::Stop`](crate::Urgency::Stop) stops the command and kills it after the grace
//! period, unless it is activating a system. `SIGTERM` does the same if the machine is not going down. If it
//! is, or if that is unknown, the command is stopped after the activation, and no further program is started.
//! The signal of [`Urgency::Kill`](crate::Urgency::Kill) kills it at once, even during an activation.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Instant;

use nixfleet_os::Machine;

use crate::atomic_file::store_on;
use crate::checkout::Checkout;
use crate::git::head_commit;
use crate::history::{History, Reached};
use crate::journal::Writer;
use crate::next_boot::NextBoot;
use crate::spec::{JobResult, Outcome, Spec, State};
use crate::{Instance, JobDir, JobsDir, Settings};

mod busy;
mod child;
mod done;
mod earlier;
mod environment;
mod failure_reason;
mod folder;
mod owner;
pub mod plan;
mod preflight;
mod prepare;
mod process_tree;
mod progress;
mod repair;
mod resolving;
mod scripts;
mod signals;
mod space;
mod steps;
mod stop;
mod switch_lines;
mod switch_unit;
mod trial;
mod unfetched;
mod verdict;

#[cfg(feature = "test-util")]
pub use progress::fuzzing;
#[cfg(feature = "test-util")]
pub use switch_lines::fuzzing as switch_fuzzing;

#[cfg(test)]
pub(crate) use plan::test_settings;

use done::Done;
use plan::{Plan, PlanError};
use progress::Progress;
use stop::Stop;
use verdict::Watch;

/// Environment variables of the agent's own process: its token, its service manager and how it was started.
/// Supervisors and commands do not get them.
pub const AGENT_VARIABLES: &[&str] =
    &["NIXFLEET_TOKEN", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", RESTARTS];

/// The variable by which an agent without a service manager tells the one that replaces it how often the dashboard has
/// restarted them lately.
pub const RESTARTS: &str = "_NIXFLEET_RESTARTS";

/// Why a supervisor failed. Except for [`SupervisorError::Result`], no job was created: nothing was run, and
/// nothing is on disk.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// Another job is running on this machine.
    #[error("another job is running on this machine (lock {} is held)", .0.display())]
    Busy(PathBuf),
    /// The job's folder cannot be created.
    #[error("cannot {what} {}", path.display())]
    Folder {
        /// The operation that failed.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The job has ended, but its result is not on disk.
    #[error("cannot write {}, so the job will be reported as lost", path.display())]
    Result {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The supervisor process cannot be set up.
    #[error("cannot set up the supervisor process")]
    Process(#[source] io::Error),
}

/// Runs a job to its end. `ready` is called once: when the job exists on disk and its first program runs, when it
/// waits for what an earlier command left behind, or when it is certain that no program will run.
///
/// # Errors
/// [`SupervisorError`] if no job was created, or if its result could not be written. A command that fails is
/// not an error.
pub fn run(settings: &Settings, instance: &Instance, ready: impl FnOnce()) -> Result<(), SupervisorError> {
    run_on(Machine::default(), settings, instance, ready)
}

/// [`run`] on that machine.
///
/// # Errors
/// As for [`run`].
pub fn run_on(
    machine: Machine,
    settings: &Settings,
    instance: &Instance,
    ready: impl FnOnce(),
) -> Result<(), SupervisorError> {
    if machine.processes.simulation().is_none() {
        become_supervisor()?;
    }
    let jobs = JobsDir::on(machine, &settings.dir);
    let clock = jobs.clock();
    let stop = Stop::listen(settings.stop_grace, jobs.machine().clone()).map_err(SupervisorError::Process)?;
    let _lock = folder::lock(&jobs)?;
    let dir = jobs.job(&instance.id);
    let log = folder::create(&dir, settings)?;
    let mut job =
        Job { settings, instance, dir, log, stop, begun: clock.instant(), ready: Some(ready), steps: 0 };
    settings.remarks.iter().for_each(|remark| job.log.remark(remark));
    let started_at = clock.timestamp();
    let result = job.execute(&jobs, started_at);
    let finished = folder::finish(&job.dir, &mut job.log, &result);
    job.announce();
    folder::prune(&jobs, &settings.state_dir, settings.keep, &instance.id);
    finished
}

/// Makes this process the parent of all processes below it, and independent of its caller.
fn become_supervisor() -> Result<(), SupervisorError> {
    // Leaves the terminal and the process group of the caller: a Ctrl-C there is not meant for the job. The
    // call fails only for a group leader. The services of systemd are group leaders, and need no new session.
    rustix::process::setsid().ok();
    #[cfg(target_os = "linux")]
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|err| SupervisorError::Process(err.into()))?;
    Ok(())
}

/// The end of a command of which no program is run.
fn not_started(message: String) -> Done {
    Done { outcome: Outcome::NotStarted, exit_code: 1, message, ..Done::default() }
}

struct Job<'a, R> {
    settings: &'a Settings,
    instance: &'a Instance,
    dir: JobDir,
    log: Writer,
    stop: Stop,
    begun: Instant,
    ready: Option<R>,
    /// Number of steps of the command; 0 until there is a plan.
    steps: usize,
}

impl<R: FnOnce()> Job<'_, R> {
    fn announce(&mut self) {
        if let Some(ready) = self.ready.take() {
            ready();
        }
    }

    fn execute(&mut self, jobs: &JobsDir, started_at: String) -> JobResult {
        let system = &self.settings.system.running;
        let system_before = fs::read_link(system).ok();
        let repo = self.settings.repo.dir.clone();
        let before = repo.as_deref().and_then(head_commit);
        // A stop needs the process id of this supervisor from now on.
        self.store_state(None, 0, "");
        let (settings, command) = (self.settings, &self.instance.command);
        let mut watch = Watch::default();
        let done = match self.plan(jobs, &started_at) {
            Ok(plan) => {
                let mut progress = Progress::begin(command, &plan.steps, &mut self.log);
                watch.begin(settings, command, plan.steps.len(), &self.log);
                let done = self.run_plan(jobs, &started_at, &plan, &mut progress);
                // A damaged clone leads to another plan.
                watch.steps = self.steps;
                if watch.end(settings, command, &done, progress.said(), &self.stop, &self.log) {
                    // No program runs during the wait.
                    self.store_state(None, done.step, "units");
                    watch.look_again(settings, &mut self.stop, &mut self.log);
                }
                progress.end(done.outcome == Outcome::Ok, &mut self.log);
                done
            }
            Err(refused) => {
                self.log.remark(&refused.message);
                Progress::begin(command, &[], &mut self.log).end(false, &mut self.log);
                refused
            }
        };
        let system_after = fs::read_link(system).ok();
        let checkout = repo.as_deref().map(Checkout::read);
        if let Some(checkout) = &checkout
            && let Err(err) = store_on(jobs.disk(), &jobs.checkout(), checkout)
        {
            self.log.remark(&format!("cannot record the state of the checkout: {err}"));
        }
        let (commit, lock_hash) = checkout.map_or((None, None), |seen| (seen.commit, seen.lock_hash));
        let mut result = JobResult {
            outcome: done.outcome,
            exit_code: done.exit_code,
            signal: done.signal,
            message: done.message,
            started_at,
            ended_at: jobs.clock().timestamp(),
            duration_ms: u64::try_from(jobs.clock().elapsed(self.begun).as_millis()).unwrap_or(u64::MAX),
            last_seq: 0,
            dropped: 0,
            lines: None,
            dropped_lines: None,
            unwritten_lines: None,
            unwritten: None,
            step: done.step,
            commit,
            system_before,
            system_after,
            system: None,
            unexplained: done.unexplained,
        };
        verdict::judge(settings, command, &mut result, watch, before.as_deref());
        NextBoot::note(jobs, self.settings, |text| self.log.remark(text));
        self.remember(jobs, &result, lock_hash);
        result
    }

    /// Adds this job to the history, which outlives the job's folder.
    fn remember(&mut self, jobs: &JobsDir, result: &JobResult, lock_hash: Option<String>) {
        let Instance { command, id } = self.instance;
        let reached = Reached::by(command, result.step, self.steps, result.outcome);
        if reached == Reached::default() {
            return;
        }
        let loaded = History::load_to_add(jobs, |text| self.log.remark(text));
        let mut history = match loaded {
            Ok(history) => history,
            Err(why) => return self.log.remark(&format!("cannot record how the job ended: {why}")),
        };
        history.note(reached, id, command, result, lock_hash);
        if let Err(err) = history.store(jobs) {
            self.log.remark(&format!("cannot record how the job ended: {err}"));
        }
    }

    /// Inspects the machine, makes the plan and writes the spec.
    ///
    /// # Errors
    /// The end of a command that must not run.
    fn plan(&mut self, jobs: &JobsDir, started_at: &str) -> Result<Plan, Done> {
        let cleared = self.end_remains(jobs);
        let clock = self.dir.clock();
        let begun = clock.system_time() - clock.elapsed(self.begun);
        let preflight = preflight::inspect(self.settings, &self.instance.command, begun);
        let plan = cleared.and_then(|()| {
            plan::plan(self.settings, &self.instance.command, &preflight)
                .map_err(|err: PlanError| format!("{}: {err}", self.instance.command))
                .map(|plan| trial::in_folder_of(&self.dir, plan))
        });
        let planned = plan.as_ref().ok();
        let spec = Spec {
            id: self.instance.id.clone(),
            command: self.instance.command.clone(),
            // Without a plan there are no steps, but a reader of the log still needs the command.
            steps: planned.map(|plan| plan.steps.clone()).unwrap_or_default(),
            timeout_s: planned.and_then(|plan| plan.timeout).map(|timeout| timeout.as_secs()),
            boot_id: nixfleet_os::boot_id_on(self.dir.disk(), &self.settings.proc),
            started_at: started_at.to_owned(),
        };
        let path = self.dir.spec();
        let stored = store_on(self.dir.disk(), &path, &spec)
            .map_err(|err| format!("cannot write {}: {err}", path.display()));
        let plan = plan.map_err(not_started)?;
        stored.map_err(not_started)?;
        space::check(self.settings, &self.instance.command, jobs, |text| self.log.remark(text))?;
        prepare::prepare(&plan, self.settings, &self.instance.id, &mut self.log).map_err(not_started)?;
        trial::prepare(&plan, &self.dir).map_err(not_started)?;
        Ok(plan)
    }

    fn store_state(&mut self, child_pid: Option<u32>, step: usize, step_name: &str) {
        let supervisor_pid = self.log.processes().own_pid();
        let step_name = step_name.to_owned();
        let state = State { supervisor_pid, child_pid, step, step_name, phase: None, phase_since: None };
        let path = self.dir.state();
        if let Err(err) = folder::store_state(&self.dir, &state) {
            self.log.remark(&format!("cannot write {}: {err}", path.display()));
        }
    }
}
