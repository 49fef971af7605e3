//! One program of a job: starting it, reading its pipes, and waiting for its end.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nixfleet_os::Processes;
use nixfleet_os::processes::{Output, Programs};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitOptions, wait};

use pipe::{Pipe, Stream, never_waiting};

use super::AGENT_VARIABLES;
use super::environment::withhold;
use super::failure_reason::FailureReason;
use super::progress::Progress;
use super::stop::{Reason, Stop};
use crate::JobId;
use crate::activation::UNIT;
use crate::journal::{Source, Writer};
use crate::remains::JOB_VARIABLE;
use crate::spec::{Step, User};

mod pipe;

/// Variables that would make git use another repository than the one it is called for: the list of
/// `git rev-parse --local-env-vars`, and two that change where git searches.
const GIT_VARIABLES: &[&str] = &[
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_CONFIG",
    "GIT_CONFIG_PARAMETERS",
    "GIT_CONFIG_COUNT",
    "GIT_OBJECT_DIRECTORY",
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_GRAFT_FILE",
    "GIT_INDEX_FILE",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_REPLACE_REF_BASE",
    "GIT_PREFIX",
    "GIT_SHALLOW_FILE",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_CEILING_DIRECTORIES",
];

/// Variables that point to files of this process's user. Programs that run as another user do not get them.
const OWN_VARIABLES: &[&str] = &[
    "HOME",
    "USER",
    "LOGNAME",
    "MAIL",
    "SHELL",
    "SSH_AUTH_SOCK",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
    "XDG_STATE_HOME",
];

/// Bytes that are read from a pipe at once: the default capacity of a pipe.
const READ: usize = 64 * 1024;

/// How long to read after the program has ended. A process that it left behind may hold the pipe open for
/// ever.
const EOF_TIMEOUT: Duration = Duration::from_millis(500);

/// How a program ended.
pub(super) struct End {
    /// Its exit code, or the signal that ended it.
    pub(super) code: Result<i32, i32>,
    /// Why the supervisor stopped it; `None` if it ended by itself.
    pub(super) stopped: Option<Reason>,
    /// Why the rest of the command is not to run, because of a stop after its end.
    pub(super) stopped_after: Option<Reason>,
    /// The output line that best explains a failure; may be empty.
    pub(super) why: String,
}

/// Starts a program as another user. This needs root.
///
/// On Linux each thread has its own user and groups, and a program inherits those of the thread that starts
/// it. So a new thread takes the ids of the user and starts the program. [`CommandExt`] cannot set the
/// groups.
#[cfg(target_os = "linux")]
fn spawn_as(mut command: Command, user: &User) -> io::Result<std::process::Child> {
    use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
    use rustix::{fs::Gid, fs::Uid};

    let become_user = || {
        let groups: Vec<Gid> = user.groups.iter().copied().map(Gid::from_raw).collect();
        let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
        set_thread_groups(&groups)?;
        set_thread_res_gid(gid, gid, gid)?;
        // This call comes last, because after it the thread may change neither its groups nor its user again.
        set_thread_res_uid(uid, uid, uid)
    };
    std::thread::scope(|scope| {
        let spawned = scope.spawn(move || {
            become_user()?;
            command.spawn()
        });
        spawned.join().unwrap_or_else(|_| Err(io::Error::other("the thread that was to start it panicked")))
    })
}

/// Starts a program as another user, without the supplementary groups of that user.
#[cfg(not(target_os = "linux"))]
fn spawn_as(mut command: Command, user: &User) -> io::Result<std::process::Child> {
    command.uid(user.uid).gid(user.gid).spawn()
}

/// What can be waited for until a process has ended. SIGCHLD says that, too, but whoever started this supervisor may
/// have blocked that signal. None if there is no descriptor left.
#[cfg(target_os = "linux")]
fn end_of(pid: Pid) -> Option<OwnedFd> {
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()
}

/// Other systems have SIGCHLD only.
#[cfg(not(target_os = "linux"))]
fn end_of(_pid: Pid) -> Option<OwnedFd> {
    None
}

/// A running program.
pub(super) struct Child {
    pid: Pid,
    /// Can be read when the program has ended; none after that was noticed.
    end: Option<OwnedFd>,
    processes: Processes,
    out: Pipe,
    err: Pipe,
    /// Exit code or signal, and when the end was noticed.
    ended: Option<(Result<i32, i32>, Instant)>,
    /// A stop had begun when it ended. A later one does not change how it ended: the first end counts.
    stopped: bool,
}

impl Child {
    /// Starts the program of a step of a job in a process group of its own.
    ///
    /// # Errors
    /// An error of the operating system.
    pub(super) fn spawn(step: &Step, job: &JobId, processes: &Processes) -> io::Result<Self> {
        if let Some(programs) = processes.simulation() {
            return Self::simulated(step, processes, programs);
        }
        let [program, args @ ..] = &step.argv[..] else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the step names no program"));
        };
        let mut command = Command::new(program);
        let others = if step.user.is_some() { OWN_VARIABLES } else { &[] };
        for name in GIT_VARIABLES.iter().chain(others) {
            command.env_remove(name);
        }
        withhold(&mut command, std::env::vars_os().map(|(name, _)| name));
        command.args(args).envs(&step.env).envs(&step.secrets.0).process_group(0);
        command.env(JOB_VARIABLE, job.as_str());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for name in AGENT_VARIABLES {
            command.env_remove(name);
        }
        if let Some(cwd) = &step.cwd {
            command.current_dir(cwd);
        }
        let mut child = match &step.user {
            Some(user) => spawn_as(command, user)?,
            None => command.spawn()?,
        };
        let pid = Pid::from_child(&child);
        Ok(Self {
            pid,
            end: end_of(pid),
            processes: Processes::default(),
            out: Pipe::new(
                child.stdout.take().map(never_waiting).transpose()?.map(Stream::Out),
                Source::Stdout,
            ),
            err: Pipe::new(
                child.stderr.take().map(never_waiting).transpose()?.map(Stream::Err),
                Source::Stderr,
            ),
            ended: None,
            stopped: false,
        })
    }

    fn simulated(step: &Step, processes: &Processes, programs: &Arc<dyn Programs>) -> io::Result<Self> {
        let pid = programs.spawn(&step.argv)?;
        let stream = |output| Some(Stream::Simulated(Arc::clone(programs), output));
        Ok(Self {
            pid: Pid::from_raw(pid.cast_signed()).ok_or(io::ErrorKind::InvalidInput)?,
            end: None,
            processes: processes.clone(),
            out: Pipe::new(stream(Output::Out), Source::Stdout),
            err: Pipe::new(stream(Output::Err), Source::Stderr),
            ended: None,
            stopped: false,
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Writes the output of the program to the log until it has ended.
    pub(super) fn run(
        mut self,
        activation: bool,
        stop: &mut Stop,
        log: &mut Writer,
        progress: &mut Progress,
    ) -> End {
        stop.watch(self.pid);
        let mut buffer = vec![0; READ];
        loop {
            let (out, err, end) = self.wait(stop, progress);
            log.tick();
            if out {
                self.out.take(&mut buffer, log, progress);
            }
            if err {
                self.err.take(&mut buffer, log, progress);
            }
            log.flush();
            progress.tick(log, || stop.unit().is_active(false));
            if stop.child_ended() || end {
                self.reap(stop);
            }
            stop.step(activation, self.ended.is_some(), log);
            if self.ended.is_none() && stop.timed_out() {
                log.remark(&format!(
                    "process {} could not be killed and goes on; the job ends without it",
                    self.pid()
                ));
                self.ended(Err(Signal::KILL.as_raw()), stop);
            }
            if let Some((code, at)) = self.ended
                && (self.read_all() || stop.now().saturating_duration_since(at) >= EOF_TIMEOUT)
                && stop.settled()
                && self.unit_has_ended(stop, log)
            {
                // The time may be over without a look at the pipes: this process was suspended, or the machine was
                // busy while the processes were listed.
                self.out.finish(&mut buffer, log, progress);
                self.err.finish(&mut buffer, log, progress);
                log.flush();
                if let Some(lines) = stop.unit().lost_output(log) {
                    self.err.add(lines.as_bytes(), log, progress);
                    log.flush();
                }
                let mut why = FailureReason::best(self.err.reason, self.out.reason);
                if stop.unit().was_awaited() {
                    let blank = if why.is_empty() { "" } else { "; " };
                    why += &format!("{blank}the activation went on without it, in {UNIT}");
                }
                let reason = stop.reason();
                // A kill of what went on when the program had ended is the end of the command.
                let stopped = self.stopped || stop.unit().was_killed();
                let (mut stopped, stopped_after) = if stopped { (reason, None) } else { (None, reason) };
                // At a shutdown the service manager ends the activation that it runs, and the program fails by that.
                if stop.unit().may_be_cut(code == Ok(0)) {
                    stopped = stopped.or_else(|| stop.is_final());
                }
                return End { code, stopped, stopped_after, why };
            }
        }
    }

    fn unit_has_ended(&self, stop: &mut Stop, log: &mut Writer) -> bool {
        let now = stop.now();
        stop.unit().has_ended(self.read_all(), now, log)
    }

    fn read_all(&self) -> bool {
        self.out.read.is_none() && self.err.read.is_none()
    }

    /// Waits for an event; returns whether standard output and standard error can be read, and whether the program has
    /// ended.
    fn wait(&self, stop: &Stop, progress: &Progress) -> (bool, bool, bool) {
        let mut fds = Vec::with_capacity(8);
        fds.extend(stop.fds().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        let out =
            self.out.fd().map(|fd| (fds.len(), fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN))).0);
        let err =
            self.err.fd().map(|fd| (fds.len(), fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN))).0);
        let end = self
            .end
            .as_ref()
            .map(|end| (fds.len(), fds.push(PollFd::from_borrowed_fd(end.as_fd(), PollFlags::IN))).0);
        // A time in the past needs no wake-up: nothing but the end of a stop is awaited then.
        let eof = self.ended.map(|(_, at)| at + EOF_TIMEOUT).filter(|at| *at > stop.now());
        let wake = [eof, stop.wake_at(), progress.wake_at()].into_iter().flatten().min();
        let timeout = wake.map(|at| at.saturating_duration_since(stop.now()));
        if let Some(programs) = self.processes.simulation() {
            let (out, err) = programs.wait(timeout);
            return (out && self.out.read.is_some(), err && self.err.read.is_some(), false);
        }
        let timeout = timeout.and_then(|left| Timespec::try_from(left).ok());
        // An error is an interruption by a signal. Signals are handled after every wake-up.
        poll(&mut fds, timeout.as_ref()).ok();
        let ready = |at: Option<usize>| at.is_some_and(|at| !fds[at].revents().is_empty());
        (ready(out), ready(err), ready(end))
    }

    /// Reaps every process that has ended: the program, and orphans that the subreaper inherited.
    fn reap(&mut self, stop: &mut Stop) {
        if let Some(programs) = self.processes.simulation().cloned() {
            while let Some((pid, code)) = programs.reap() {
                if pid == self.pid() {
                    self.ended(code, stop);
                }
            }
            return;
        }
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            stop.reaped(pid);
            if pid == self.pid {
                let code = match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => Ok(code),
                    (None, Some(signal)) => Err(signal),
                    (None, None) => continue,
                };
                self.ended(code, stop);
            }
        }
    }

    fn ended(&mut self, code: Result<i32, i32>, stop: &Stop) {
        self.ended = Some((code, stop.now()));
        self.end = None;
        self.stopped = stop.has_begun();
    }
}

#[cfg(test)]
mod tests;
