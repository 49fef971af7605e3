//! Follows the folder of a job: its output as it grows, its process, and its end.
//!
//! Each follower has a thread of its own, so that a disk that hangs delays output but no heartbeat. What it
//! reads goes into a short channel. When the channel is full it waits; the output stays in the log.

use std::io;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tracing::Span;

use nixfleet_jobs::journal::{Entry, Reader, supervisor_lives};
use nixfleet_jobs::spec::{JobResult, Outcome, Spec, State};
use nixfleet_jobs::{JobDir, JobId, JobsDir, atomic_file};
use nixfleet_os::Machine;

use change::Changes;

mod change;
mod fate;

pub(crate) use fate::{explained, fate};

#[cfg(test)]
mod tests;

/// Bytes of log in one batch. A batch fits into one message even with the longest entry behind it.
pub(crate) const BATCH: usize = 32 * 1024;

/// Batches that may wait for the session: enough to keep it busy, with little memory.
const CHANNEL: usize = 4;

/// How soon to offer a batch again when the channel is full.
const RETRY: Duration = Duration::from_millis(5);

/// How often to check without a change in the folder whether the supervisor is alive and the receiver
/// still exists.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// How long a launched job may take until its folder exists. An agent that has replaced the one that launched the
/// job waits here for the whole start: 25 s for the permission, which is the time limit of the bus, 30 s for a
/// supervisor to be ready, and a little more.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Stack of the thread, in bytes. Its buffers are on the heap.
const STACK: usize = 128 * 1024;

/// The state of a job's command.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Live {
    /// The process id of the command, while it runs.
    pub pid: Option<u32>,
    /// The job has a result.
    pub ended: bool,
}

/// What a job wrote, or how it ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Followed {
    /// Log entries, in order.
    Entries(Vec<Entry>),
    /// The result, after the last entry. Nothing follows it.
    Ended(Box<JobResult>),
}

impl Followed {
    /// The same without line numbers, so that positions stand in for them. It is for a job of which an older agent
    /// has delivered a part by position: numbers must not go back, or a dashboard would take lines for repeats.
    pub fn numbered_by_position(mut self) -> Self {
        match &mut self {
            Self::Entries(entries) => entries.iter_mut().for_each(|entry| entry.line_number = None),
            Self::Ended(result) => (result.lines, result.dropped_lines) = (None, None),
        }
        self
    }
}

/// The reading end of a follower. Dropping it ends the thread within half a second.
#[derive(Debug)]
pub struct Follower {
    /// The state of the command.
    pub live: watch::Receiver<Live>,
    /// Output and end of the job.
    pub items: mpsc::Receiver<Followed>,
}

/// Follows a job from behind log entry `after`. `known` is its state until the folder has been read for the
/// first time. `boot_id` is that of the running system. The thread enters the current span.
///
/// # Errors
/// When no thread can be started.
pub fn follow(
    jobs: &JobsDir,
    id: &JobId,
    after: u64,
    known: Live,
    boot_id: Option<String>,
) -> io::Result<Follower> {
    let (live, live_receiver) = watch::channel(known);
    let (items, items_receiver) = mpsc::channel(CHANNEL);
    let dir = jobs.job(id);
    let thread = Thread {
        reader: Reader::new(dir.clone(), after),
        begun: dir.clock().instant(),
        dir,
        live,
        items,
        boot_id,
        unexplained_since: None,
    };
    let span = Span::current();
    let run = move || span.in_scope(|| thread.run());
    jobs.machine().threads.spawn("follower", STACK, run)?;
    Ok(Follower { live: live_receiver, items: items_receiver })
}

/// Sends from a thread, and waits for room. The receiver may be gone.
pub(super) fn send<T>(machine: &Machine, sender: &mpsc::Sender<T>, item: T) {
    if !machine.threads.are_simulated() {
        return drop(sender.blocking_send(item));
    }
    let mut item = item;
    while let Err(mpsc::error::TrySendError::Full(back)) = sender.try_send(item) {
        machine.clock.sleep(RETRY);
        item = back;
    }
}

struct Thread {
    dir: JobDir,
    reader: Reader,
    live: watch::Sender<Live>,
    items: mpsc::Sender<Followed>,
    /// The boot id of the running system.
    boot_id: Option<String>,
    begun: Instant,
    /// When a result was first read that nothing explains.
    unexplained_since: Option<Instant>,
}

/// What [`Thread::look`] found.
struct Seen {
    /// The supervisor is dead.
    gone: bool,
    result: Option<JobResult>,
}

impl Thread {
    fn run(mut self) {
        let Some(mut changes) = self.wait_for_folder() else { return };
        let clock = self.dir.clock().clone();
        let mut waiting: Option<Followed> = None;
        let mut checked: Option<Instant> = None;
        loop {
            // Checked in the first round too: after a reboot, the process id in the state file belongs to
            // another process.
            let probe = checked.is_none_or(|at| clock.elapsed(at) >= CHECK_INTERVAL);
            if probe {
                checked = Some(clock.instant());
            }
            // This comes before the log is read: if the job has ended by now, the log that is read below is
            // complete.
            let seen = self.look(probe);
            while waiting.is_none() {
                match self.reader.read(BATCH) {
                    Ok(entries) if !entries.is_empty() => waiting = self.offer(with_gaps(entries)),
                    // After a read error, try again later.
                    Ok(_) | Err(_) => break,
                }
            }
            if waiting.is_none()
                && let Some(result) = self.conclude(seen)
            {
                self.live.send_replace(Live { pid: None, ended: true });
                let remark = self.reader.gap_at_end(&result).map(|remark| Followed::Entries(vec![remark]));
                for item in remark.into_iter().chain([Followed::Ended(Box::new(result))]) {
                    send(self.dir.machine(), &self.items, item);
                }
                return;
            }
            if waiting.is_some() {
                // The channel is full. Do not wait for changes, which a busy command makes all the time.
                clock.sleep(RETRY);
            } else {
                changes.wait(CHECK_INTERVAL);
            }
            if self.items.is_closed() {
                return;
            }
            if let Some(item) = waiting.take() {
                waiting = self.offer(item);
            }
        }
    }

    fn offer(&self, item: Followed) -> Option<Followed> {
        self.items.try_send(item).err().map(mpsc::error::TrySendError::into_inner)
    }

    /// Waits until the job's folder exists. Returns `None` if the receiver is gone or the job was never
    /// started.
    fn wait_for_folder(&self) -> Option<Changes> {
        loop {
            match Changes::watch(&self.dir) {
                Ok(changes) => return Some(changes),
                Err(_) if self.items.is_closed() => return None,
                Err(_) if self.age() < START_TIMEOUT => self.dir.clock().sleep(RETRY),
                Err(err) => {
                    let message = format!("the job never started: {}: {err}", self.dir.path().display());
                    let result = self.without_supervisor(Outcome::Lost, message);
                    send(self.dir.machine(), &self.items, Followed::Ended(Box::new(result)));
                    return None;
                }
            }
        }
    }

    /// With `probe`, checks whether the supervisor is alive. Reads state and result only after that, because
    /// a dead supervisor writes no further result.
    fn look(&self, probe: bool) -> Seen {
        let gone = probe && self.is_gone();
        let disk = self.dir.disk();
        let result = atomic_file::load_on::<JobResult>(disk, &self.dir.result()).ok().flatten();
        let state = atomic_file::load_on::<State>(disk, &self.dir.state()).ok().flatten();
        let pid = state.and_then(|state| state.child_pid).filter(|_| result.is_none() && !gone);
        let live = Live { pid, ended: result.is_some() };
        self.live.send_if_modified(|old| std::mem::replace(old, live) != live);
        Seen { gone, result }
    }

    fn age(&self) -> Duration {
        self.dir.clock().elapsed(self.begun)
    }

    fn is_gone(&self) -> bool {
        match supervisor_lives(&self.dir) {
            Ok(lives) => !lives,
            // A job that is just being created has no log yet.
            Err(err) if err.kind() == io::ErrorKind::NotFound => self.age() >= START_TIMEOUT,
            // Other errors, such as too many open files, say nothing about the supervisor.
            Err(err) => err.kind() == io::ErrorKind::PermissionDenied,
        }
    }

    /// The result, if the job had ended when `seen` was taken. The log must have been read since then.
    fn conclude(&mut self, seen: Seen) -> Option<JobResult> {
        if seen.result.as_ref().map_or(!seen.gone, |result| !result.unexplained) {
            return seen.result;
        }
        let clock = self.dir.clock();
        let spec: Option<Spec> = atomic_file::load_on(self.dir.disk(), &self.dir.spec()).ok().flatten();
        if let Some(result) = seen.result {
            let since = *self.unexplained_since.get_or_insert_with(|| clock.instant());
            let told = explained(result, spec.as_ref(), self.boot_id.as_deref());
            let held = told.outcome == Outcome::Stopped
                && fate::is_held(&told.ended_at, clock.now(), clock.elapsed(since));
            return (!held).then_some(told);
        }
        let (outcome, message) = fate(spec.as_ref(), self.boot_id.as_deref());
        Some(self.without_supervisor(outcome, message.to_owned()))
    }

    /// The result of a job that has none: its log ends with what was read last.
    fn without_supervisor(&self, outcome: Outcome, message: String) -> JobResult {
        let (reader, now) = (&self.reader, self.dir.clock().timestamp());
        JobResult {
            started_at: now.clone(),
            ended_at: now,
            lines: Some(reader.lines()),
            dropped_lines: Some(reader.dropped_lines()),
            ..JobResult::without_supervisor(outcome, message, reader.after())
        }
    }
}

/// Inserts a remark where lines are missing.
fn with_gaps(entries: Vec<Entry>) -> Followed {
    let mut filled = Vec::with_capacity(entries.len());
    for mut entry in entries {
        filled.extend(entry.gap());
        entry.missing = 0;
        filled.push(entry);
    }
    Followed::Entries(filled)
}
