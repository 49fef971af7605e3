//! The supervisor of one job: a process that outlives the agent.
//!
//! It is the parent of the command, owns its pipes, and writes all there is to know to the job's
//! folder. Nobody needs to listen. It takes the command's name and the job's id from its caller
//! and everything else from the machine's configuration.
//!
//! Signals: `SIGTERM` asks the command to stop and kills it after the grace period, unless it is
//! activating a system; [`Urgency::Kill`](crate::Urgency) kills it at once, whatever it does.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use super::atomic_file::store;
use super::checkout::Checkout;
use super::git::SHORT_LENGTH;
use super::git::head_commit;
use super::history::{History, Reached, deploys};
use super::journal::Writer;
use super::spec::{JobResult, Outcome, Spec, State, Step};
use super::{Instance, JobDir, JobsDir};
use crate::Settings;
use child::{Child, End};
use plan::{Plan, PlanError};
use progress::Progress;
use stop::{Reason, Stop};

mod child;
mod failure_reason;
mod folder;
mod owner;
pub mod plan;
mod preflight;
mod prepare;
mod process_tree;
mod progress;
mod scripts;
mod stop;

/// Exit code of a program that cannot be started, as shells have it.
const CANNOT_START: i32 = 127;

/// Exit code of a command that ran too long, as `timeout(1)` has it.
const TIMED_OUT: i32 = 124;

/// Why there is no job: nothing was run, and nothing is on disk.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// Another job runs on this machine.
    #[error("another job is running on this machine (lock {} is held)", .0.display())]
    Busy(PathBuf),
    /// The job's folder cannot be made.
    #[error("cannot {what} {}", path.display())]
    Folder {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The process cannot be set up.
    #[error("cannot set up the supervisor process")]
    Process(#[source] io::Error),
}

/// Runs a job to its end. `ready` is called once the job exists on disk and its first program runs,
/// or it is known that none will.
///
/// # Errors
/// [`SupervisorError`] when there is no job. A command that fails is not an error.
pub fn run(settings: &Settings, instance: &Instance, ready: impl FnOnce()) -> Result<(), SupervisorError> {
    // Away from the caller's terminal and process group: a Ctrl-C there is not meant for the job.
    // Fails only for a group leader, which systemd's services are, and they are on their own already.
    rustix::process::setsid().ok();
    #[cfg(target_os = "linux")]
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|err| SupervisorError::Process(err.into()))?;
    let stop = Stop::listen(settings.stop_grace).map_err(SupervisorError::Process)?;
    let jobs = JobsDir::new(&settings.dir);
    let _lock = folder::lock(&jobs)?;
    let dir = jobs.job(&instance.id);
    let log = folder::create(&dir, settings)?;
    let mut job =
        Job { settings, instance, dir, log, stop, begun: Instant::now(), ready: Some(ready), steps: 0 };
    let started_at = nixfleet_os::timestamp();
    let result = job.execute(&jobs, started_at);
    job.finish(&result);
    job.announce();
    folder::prune(&jobs, settings.keep, &instance.id);
    Ok(())
}

struct Job<'a, R> {
    settings: &'a Settings,
    instance: &'a Instance,
    dir: JobDir,
    log: Writer,
    stop: Stop,
    begun: Instant,
    ready: Option<R>,
    /// Programs that the command has, once that is known.
    steps: usize,
}

/// What the steps came to.
struct Done {
    outcome: Outcome,
    exit_code: i32,
    signal: Option<i32>,
    message: String,
    step: usize,
}

impl<R: FnOnce()> Job<'_, R> {
    fn announce(&mut self) {
        if let Some(ready) = self.ready.take() {
            ready();
        }
    }

    fn execute(&mut self, jobs: &JobsDir, started_at: String) -> JobResult {
        let system = &self.settings.current_system;
        let system_before = fs::read_link(system).ok();
        let repo = self.settings.repo.dir.clone();
        let before = repo.as_deref().and_then(head_commit);
        let done = match self.plan(&started_at) {
            Ok(plan) => {
                let mut progress = Progress::begin(&self.instance.command, &plan.steps, &mut self.log);
                let done = self.run_steps(&plan, &mut progress);
                progress.end(done.outcome == Outcome::Ok, &mut self.log);
                done
            }
            Err(message) => {
                self.log.remark(&message);
                Progress::begin(&self.instance.command, &[], &mut self.log).end(false, &mut self.log);
                Done { outcome: Outcome::NotStarted, exit_code: 1, signal: None, message, step: 0 }
            }
        };
        let system_after = fs::read_link(system).ok();
        let checkout = repo.as_deref().map(Checkout::look);
        if let Some(checkout) = &checkout
            && let Err(err) = store(&jobs.checkout(), checkout)
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
            ended_at: nixfleet_os::timestamp(),
            duration_ms: u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            last_seq: 0,
            dropped: 0,
            step: done.step,
            commit,
            system_before,
            system_after,
        };
        self.judge(&mut result, before.as_deref());
        self.remember(jobs, &result, lock_hash);
        result
    }

    /// Adds this job to what is told when its folder is long gone.
    fn remember(&mut self, jobs: &JobsDir, result: &JobResult, lock_hash: Option<String>) {
        let Instance { command, id } = self.instance;
        let reached = Reached::by(command, result.step, self.steps, result.outcome);
        if reached == Reached::default() {
            return;
        }
        let mut history = History::load(jobs);
        history.note(reached, id, command, result, lock_hash);
        if let Err(err) = history.store(jobs) {
            self.log.remark(&format!("cannot record how the job ended: {err}"));
        }
    }

    /// Surveys the machine and writes down what will be done.
    fn plan(&mut self, started_at: &str) -> Result<Plan, String> {
        let begun = SystemTime::now() - self.begun.elapsed();
        let survey = preflight::survey(self.settings, &self.instance.command, begun);
        let plan = plan::plan(self.settings, &self.instance.command, &survey)
            .map_err(|err: PlanError| format!("{}: {err}", self.instance.command));
        let planned = plan.as_ref().ok();
        let spec = Spec {
            id: self.instance.id.clone(),
            command: self.instance.command.clone(),
            // None without a plan: whoever reads the log still wants to know what was asked for.
            steps: planned.map(|plan| plan.steps.clone()).unwrap_or_default(),
            timeout_s: planned.and_then(|plan| plan.timeout).map(|timeout| timeout.as_secs()),
            boot_id: nixfleet_os::boot_id(&self.settings.proc),
            started_at: started_at.to_owned(),
        };
        let path = self.dir.spec();
        let stored = store(&path, &spec).map_err(|err| format!("cannot write {}: {err}", path.display()));
        let plan = plan?;
        stored?;
        prepare::prepare(&plan, self.settings, &self.instance.id, &mut self.log)?;
        Ok(plan)
    }

    fn run_steps(&mut self, plan: &Plan, progress: &mut Progress) -> Done {
        let command = &self.instance.command;
        let mut done =
            Done { outcome: Outcome::Ok, exit_code: 0, signal: None, message: String::new(), step: 0 };
        self.stop.begin(plan.timeout, plan.unstoppable);
        self.steps = plan.steps.len();
        let total = plan.steps.iter().filter(|step| step.test).count();
        let mut tests = scripts::Tests { passed: 0, total: u32::try_from(total).unwrap_or(u32::MAX) };
        for (index, step) in plan.steps.iter().enumerate() {
            done.step = index;
            if step.test {
                self.log.progress(&tests.before(index));
            }
            progress.step(index, step, &mut self.log);
            let end = self.run_step(index, step, progress);
            if step.test {
                let passed = end.code == Ok(0);
                progress.tested(index, passed, &mut self.log);
                tests.passed += u32::from(passed);
                self.log.progress(&tests.after(index));
            }
            if end.code == Ok(0) && end.stopped.is_none() {
                if self.stop.is_over() && index + 1 < plan.steps.len() {
                    let end = End { code: Ok(0), stopped: Some(Reason::Shutdown), why: String::new() };
                    return Done { step: index, ..end.into_done(command, step, self.settings.stop_grace) };
                }
                continue;
            }
            let ended = end.stopped.is_some() || !step.test;
            // Of several scripts that fail the first is reported, but a stop is a stop.
            if ended || done.outcome == Outcome::Ok {
                done = Done { step: index, ..end.into_done(command, step, self.settings.stop_grace) };
            }
            if ended {
                break;
            }
        }
        if command == "test" && matches!(done.outcome, Outcome::Ok | Outcome::Failed) {
            done.message = tests.message();
        }
        done
    }

    fn run_step(&mut self, index: usize, step: &Step, progress: &mut Progress) -> End {
        let child = match Child::spawn(step) {
            Ok(child) => child,
            Err(err) => {
                self.announce();
                let text = format!(
                    "cannot start `{}`: {err}; is it installed and on the PATH of the agent's jobs?",
                    step.argv[0]
                );
                self.log.remark(&text);
                return End { code: Ok(CANNOT_START), stopped: None, why: text };
            }
        };
        let state = State {
            supervisor_pid: std::process::id(),
            child_pid: Some(child.pid()),
            step: index,
            step_name: step.name.clone(),
        };
        let path = self.dir.state();
        if let Err(err) = store(&path, &state) {
            self.log.remark(&format!("cannot write {}: {err}", path.display()));
        }
        self.announce();
        child.run(step.activation, &mut self.stop, &mut self.log, progress)
    }

    /// Fills in what depends on more than the exit code: message and finer outcome.
    fn judge(&self, result: &mut JobResult, before: Option<&str>) {
        let command = &self.instance.command;
        let system_changed = result.system_before != result.system_after;
        let activated = result.exit_code == 4 || (result.exit_code == 2 && system_changed);
        if deploys(command) && result.outcome == Outcome::Failed && activated {
            result.outcome = Outcome::ActivatedWithFailures;
            result.message = format!(
                "{}: the new system is active, but some units failed (exit code {}); see `systemctl --failed`",
                capitalized(command),
                result.exit_code
            );
        }
        let home_manager = self.settings.host_type == "macos" && self.settings.rebuild.program.is_none();
        if command == "rollback" && result.outcome == Outcome::Failed && home_manager {
            // Before, it fails with advice on how to use it.
            result.message += "; home-manager can roll back from release 25.11 on";
        }
        if result.outcome == Outcome::Ok && result.message.is_empty() {
            let short = result.commit.as_deref().map(|commit| &commit[..commit.len().min(SHORT_LENGTH)]);
            result.message = match (command.as_str(), short) {
                ("clone", Some(short)) if before.is_none() => format!("Clone: Cloned {short}"),
                ("pull" | "clone", Some(short)) if before == result.commit.as_deref() => {
                    format!("{}: Already at {short}", capitalized(command))
                }
                ("pull", Some(short)) => format!("Pull: Updated to {short}"),
                ("switch" | "pull-switch", Some(short)) => {
                    format!("{}: Deployed {short}", capitalized(command))
                }
                _ => format!("{}: ok", capitalized(command)),
            };
        }
    }

    /// Writes the result, the last act.
    fn finish(&mut self, result: &JobResult) {
        self.log.flush();
        let result =
            JobResult { last_seq: self.log.last_seq(), dropped: self.log.dropped(), ..result.clone() };
        let path = self.dir.result();
        let stored = store(&path, &result);
        // Gone in any case, and before the second try: it holds the room for that one.
        drop(fs::remove_file(folder::reserve(&self.dir)));
        if stored.is_err()
            && let Err(err) = store(&path, &result)
        {
            drop(writeln!(io::stderr(), "cannot write {}: {err}", path.display()));
        }
    }
}

impl End {
    fn into_done(self, command: &str, step: &Step, grace: Duration) -> Done {
        let name = capitalized(command);
        let (exit_code, signal) = match self.code {
            Ok(code) => (code, None),
            Err(signal) => (128 + signal, Some(signal)),
        };
        let (outcome, exit_code, message) = match self.stopped {
            Some(Reason::Request) => (
                Outcome::Stopped,
                // A command that ends by itself when asked to still was stopped (T03).
                if exit_code == 0 { 143 } else { exit_code },
                format!("{name}: stopped"),
            ),
            Some(Reason::Shutdown) => (
                Outcome::InterruptedByReboot,
                if exit_code == 0 { 143 } else { exit_code },
                format!("{name}: stopped because the machine went down"),
            ),
            Some(Reason::Timeout) => (
                Outcome::TimedOut,
                TIMED_OUT,
                format!("{name}: stopped because it ran longer than its timeout (grace {grace:?})"),
            ),
            None => {
                let how = match signal {
                    Some(signal) => format!("was killed by signal {signal}"),
                    None => format!("failed with exit code {exit_code}"),
                };
                let detail = if self.why.is_empty() { self.why } else { format!(": {}", self.why) };
                (Outcome::Failed, exit_code, format!("{name}: {} {how}{detail}", step.name))
            }
        };
        Done { outcome, exit_code, signal, message, step: 0 }
    }
}

fn capitalized(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
