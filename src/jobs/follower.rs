//! Follows the folder of a job: its output as it grows, its process, and its end.
//!
//! Each follower has a thread of its own, so that a disk that hangs delays output but no heartbeat. What it
//! reads goes into a short channel. When the channel is full it waits; the output stays in the log.
//!
//! A job keeps its thread over reconnects: it is told to begin again. So a disk that hangs costs one thread for each
//! job, however often the connection is lost.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tracing::Span;

use nixfleet_jobs::journal::{Causes, Entry, Reader, supervisor_lives};
use nixfleet_jobs::spec::{JobResult, Outcome, Spec, State};
use nixfleet_jobs::{JobDir, JobId, JobsDir, atomic_file, damage};
use nixfleet_os::Machine;

use change::Changes;
use items::{CHANNEL, Link, Rewind};
use remains::Left;

mod bell;
mod change;
mod fate;
mod items;
mod remains;

pub(crate) use fate::{explained, fate};
pub use items::Items;

#[cfg(test)]
mod tests;

/// Bytes of log in one batch. A batch fits into one message even with the longest entry behind it.
pub(crate) const BATCH: usize = 32 * 1024;

/// How soon to look again for a folder that does not exist yet, at first. The wait doubles up to [`SLOW_RETRY`].
const RETRY: Duration = Duration::from_millis(5);

/// How soon to try again what has failed for a while.
const SLOW_RETRY: Duration = Duration::from_millis(500);

/// How long a file that cannot be read is tried again before its content counts as lost. Longer than a shortage of
/// descriptors or memory lasts, and longer than a disk takes to be reset by the kernel (30 s).
const UNREADABLE: Duration = Duration::from_secs(60);

/// How often to check without a change in the folder whether the supervisor is alive and the receiver
/// still exists.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// How long a launched job may take until its folder exists. An agent that has replaced the one that launched the
/// job waits here for the whole start: 25 s for the permission, which is the time limit of the bus, 30 s for a
/// supervisor to be ready, and a little more.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// What follows when a file of a job cannot be read for a reason that may pass.
const UNTIL_READ: &str = "the end of the job is reported when it can be read; until then it is tried again";

/// Stack of the thread, in bytes. Its buffers are on the heap, but a damaged line of JSON may nest 127 times, which
/// takes some 200 KiB. Only what is used is memory.
const STACK: usize = 1024 * 1024;

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

/// The reading end of a follower. Dropping it ends the thread.
#[derive(Debug)]
pub struct Follower {
    /// The state of the command.
    pub live: watch::Receiver<Live>,
    /// Output and end of the job.
    pub items: Items,
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
    let mut follower = prepare(jobs, id, after, known, boot_id);
    follower.items.start().map(|()| follower)
}

/// Like [`follow`]. If no thread can be started, the follower tries again while somebody waits for its items: the job
/// runs on, and nobody knows its end yet.
pub(super) fn follow_in_time(
    jobs: &JobsDir,
    id: &JobId,
    after: u64,
    known: Live,
    boot_id: Option<String>,
) -> Follower {
    let mut follower = prepare(jobs, id, after, known, boot_id);
    if let Err(err) = follower.items.start() {
        tracing::warn!("Cannot start a thread to follow the job, trying again every second: {err}");
    }
    follower
}

fn prepare(jobs: &JobsDir, id: &JobId, after: u64, known: Live, boot_id: Option<String>) -> Follower {
    let (live, live_receiver) = watch::channel(known);
    let (items, items_receiver) = mpsc::channel(CHANNEL);
    let dir = jobs.job(id);
    let link = Link::new(&dir.machine().threads);
    let start = Start { dir, after, live, items, link, boot_id, span: Span::current() };
    Follower { live: live_receiver, items: Items::new(items_receiver, start) }
}

/// What a thread begins with.
#[derive(Debug)]
struct Start {
    dir: JobDir,
    after: u64,
    live: watch::Sender<Live>,
    items: mpsc::Sender<Followed>,
    link: Arc<Link>,
    boot_id: Option<String>,
    span: Span,
}

impl Start {
    /// Starts the thread.
    fn thread(&self) -> io::Result<()> {
        let (thread, span) = (Thread::new(self), self.span.clone());
        let run = move || span.in_scope(|| thread.run());
        self.dir.machine().threads.spawn("follower", STACK, run)
    }
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
    link: Arc<Link>,
    /// Notices changes of the folder, once it exists.
    changes: Option<Changes>,
    /// Entries behind all others, for the end.
    rest: Vec<Entry>,
    /// The boot id of the running system.
    boot_id: Option<String>,
    begun: Instant,
    /// When a result was first read that nothing explains.
    unexplained_since: Option<Instant>,
    /// Since when the log cannot be read.
    log: Failing,
    /// What a dead supervisor left running.
    left: Left,
}

/// Something that fails again and again.
#[derive(Debug, Default)]
struct Failing {
    since: Option<Instant>,
    /// It failed for too long. From then on each error counts at once.
    given_up: bool,
}

impl Failing {
    /// It failed at `now`. Returns whether to give up on it.
    fn again(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        self.given_up |= now.saturating_duration_since(since) >= UNREADABLE;
        self.given_up
    }
}

/// What [`Thread::look`] found.
struct Seen {
    /// The supervisor is dead.
    gone: bool,
    result: Option<JobResult>,
    /// Why the result could not be read, if there is one.
    unread: Option<io::Error>,
}

impl Thread {
    fn new(start: &Start) -> Self {
        let Start { dir, after, live, items, link, boot_id, .. } = start;
        Self {
            reader: Reader::new(dir.clone(), *after),
            begun: dir.clock().instant(),
            dir: dir.clone(),
            live: live.clone(),
            items: items.clone(),
            link: Arc::clone(link),
            changes: None,
            rest: Vec::new(),
            boot_id: boot_id.clone(),
            unexplained_since: None,
            log: Failing::default(),
            left: Left::default(),
        }
    }

    fn run(mut self) {
        loop {
            self.follow();
            let Some(Rewind { after, items }) = self.link.done() else { return };
            self.items = items;
            self.reader = Reader::new(self.dir.clone(), after);
            self.rest.clear();
            self.log = Failing::default();
        }
    }

    /// Hands over everything up to the end, or until the receiver is gone.
    fn follow(&mut self) {
        if !self.wait_for_folder() {
            return;
        }
        let clock = self.dir.clock().clone();
        let mut waiting: Option<Followed> = None;
        let mut checked: Option<Instant> = None;
        while !self.items.is_closed() {
            // Checked in the first round too: after a reboot, the process id in the state file belongs to
            // another process.
            let probe = checked.is_none_or(|at| clock.elapsed(at) >= CHECK_INTERVAL);
            if probe {
                checked = Some(clock.instant());
            }
            // This comes before the log is read: if the job has ended by now, the log that is read below is
            // complete.
            let seen = self.look(probe);
            let complete = self.read_log(&mut waiting);
            if complete && let Some(result) = self.conclude(seen) {
                return self.tell_end(result);
            }
            if waiting.is_some() {
                // The channel is full. Do not wait for changes, which a busy command makes all the time.
                self.link.wait(CHECK_INTERVAL);
            } else if !complete {
                self.link.wait(SLOW_RETRY);
            } else if let Some(changes) = &mut self.changes {
                changes.wait(&self.link.bell, CHECK_INTERVAL);
            }
            if let Some(item) = waiting.take() {
                waiting = self.offer(item);
            }
        }
    }

    /// Reads until the channel is full or there is no more at present. Returns whether the log was read to its end
    /// without an error: only then a job may count as ended.
    fn read_log(&mut self, waiting: &mut Option<Followed>) -> bool {
        while waiting.is_none() && !self.items.is_closed() {
            match self.reader.read(BATCH) {
                Ok(entries) => {
                    self.log.since = None;
                    if entries.is_empty() {
                        return true;
                    }
                    *waiting = self.offer(with_gaps(entries));
                }
                Err(err) => {
                    let (first, path) = (self.log.since.is_none(), self.dir.path().display());
                    if !self.log.again(self.dir.clock().instant()) {
                        if first {
                            tracing::warn!(
                                "Cannot read the log in {path}, trying again for {UNREADABLE:?}: {err}"
                            );
                        }
                        return false;
                    }
                    tracing::error!(
                        "Gave up on a part of the log in {path}, its lines count as missing: {err}"
                    );
                    self.reader.skip_unreadable(&err);
                }
            }
        }
        false
    }

    fn offer(&self, item: Followed) -> Option<Followed> {
        self.items.try_send(item).err().map(mpsc::error::TrySendError::into_inner)
    }

    /// Sends the end, and what comes before it.
    fn tell_end(&mut self, result: JobResult) {
        self.live.send_replace(Live { pid: None, ended: true });
        let rest = std::mem::take(&mut self.rest);
        let rest = (!rest.is_empty()).then(|| with_gaps(rest));
        for item in rest.into_iter().chain([Followed::Ended(Box::new(result))]) {
            send(self.dir.machine(), &self.items, item);
        }
    }

    /// Waits until the job's folder exists. False if the receiver is gone or the job was never started.
    fn wait_for_folder(&mut self) -> bool {
        let mut retry = RETRY;
        while self.changes.is_none() {
            if self.items.is_closed() {
                return false;
            }
            match Changes::watch(&self.dir) {
                Ok(changes) => self.changes = Some(changes),
                // The folder may exist. Only its absence says something about the job.
                Err(err) if err.kind() != io::ErrorKind::NotFound => {
                    damage::report(self.dir.path(), &err, UNTIL_READ);
                    self.link.wait(SLOW_RETRY);
                }
                Err(_) if self.age() < START_TIMEOUT => {
                    self.link.wait(retry);
                    retry = (retry * 2).min(SLOW_RETRY);
                }
                Err(err) => {
                    let message = format!("the job never started: {}: {err}", self.dir.path().display());
                    let result = self.without_supervisor(Outcome::Lost, message);
                    self.tell_end(result);
                    return false;
                }
            }
        }
        true
    }

    /// With `probe`, checks whether the supervisor is alive. Reads state and result only after that, because
    /// a dead supervisor writes no further result.
    fn look(&self, probe: bool) -> Seen {
        let gone = probe && self.is_gone();
        let disk = self.dir.disk();
        let result = atomic_file::load_on::<JobResult>(disk, &self.dir.result());
        let (result, unread) = match result {
            Ok(result) => (result, None),
            Err(err) => (None, Some(err)),
        };
        let state = atomic_file::load_on::<State>(disk, &self.dir.state()).unwrap_or_else(|err| {
            damage::report(&self.dir.state(), &err, "the process of the command is not known");
            None
        });
        let pid = state.and_then(|state| state.child_pid).filter(|_| result.is_none() && !gone);
        if gone && result.is_none() {
            self.left.end(&self.dir, || !self.items.is_closed());
        }
        let live = Live { pid, ended: result.is_some() || gone };
        self.live.send_if_modified(|old| std::mem::replace(old, live) != live);
        Seen { gone, result, unread }
    }

    fn age(&self) -> Duration {
        self.dir.clock().elapsed(self.begun)
    }

    fn is_gone(&self) -> bool {
        match supervisor_lives(&self.dir) {
            Ok(lives) => !lives,
            // A job that is just being created has no log yet.
            Err(err) if err.kind() == io::ErrorKind::NotFound => self.age() >= START_TIMEOUT,
            // Without a log nobody can tell whether the supervisor lives. It had the time of a start to end.
            Err(err) if damage::is_damage(&err) => {
                damage::report(
                    &self.dir.log(0),
                    &err,
                    "nobody knows whether the command runs; its output is lost",
                );
                self.age() >= START_TIMEOUT
            }
            // Other errors, such as too many open files, say nothing about the supervisor.
            Err(err) => {
                damage::report(&self.dir.log(0), &err, UNTIL_READ);
                false
            }
        }
    }

    /// The result, if the job had ended when `seen` was taken. The log must have been read since then.
    fn conclude(&mut self, seen: Seen) -> Option<JobResult> {
        let mut result = self.result(seen)?;
        // The supervisor does not know what was damaged since.
        result.dropped = result.dropped.max(self.reader.dropped());
        let dropped_lines = self.reader.dropped_lines();
        let damaged = dropped_lines.saturating_sub(result.missing_lines());
        if damaged > 0 {
            let path = self.dir.path().display();
            tracing::warn!(
                "{damaged} lines of the log in {path} are damaged or could not be read; remarks stand in their place."
            );
        }
        result.dropped_lines = result.dropped_lines.map(|dropped| dropped.max(dropped_lines));
        Some(result)
    }

    fn result(&mut self, seen: Seen) -> Option<JobResult> {
        if seen.result.as_ref().map_or(!seen.gone, |result| !result.unexplained) {
            let result = seen.result?;
            self.rest = self.reader.finish(Some(&result));
            return Some(result);
        }
        if let Some(err) = seen.unread {
            let path = self.dir.result();
            if !damage::is_damage(&err) {
                damage::report(&path, &err, UNTIL_READ);
                return None;
            }
            damage::report(&path, &err, "nobody knows how the command ended, it is reported as lost");
            let message = format!(
                "the result is lost, nobody knows how the command ended: {}",
                damage::describe(&path, &err)
            );
            self.rest = self.reader.finish(None);
            return Some(self.without_supervisor(Outcome::Lost, message));
        }
        let clock = self.dir.clock();
        let spec: Option<Spec> = match atomic_file::load_on(self.dir.disk(), &self.dir.spec()) {
            Ok(spec) => spec,
            Err(err) if damage::is_damage(&err) => {
                damage::report(
                    &self.dir.spec(),
                    &err,
                    "nobody knows whether the machine went down during the command",
                );
                None
            }
            Err(err) => {
                damage::report(&self.dir.spec(), &err, UNTIL_READ);
                return None;
            }
        };
        if let Some(result) = seen.result {
            let since = *self.unexplained_since.get_or_insert_with(|| clock.instant());
            let told = explained(result, spec.as_ref(), self.boot_id.as_deref());
            let held = told.outcome == Outcome::Stopped
                && fate::is_held(&told.ended_at, clock.now(), clock.elapsed(since));
            if held {
                return None;
            }
            self.rest = self.reader.finish(Some(&told));
            return Some(told);
        }
        let (outcome, message) = fate(spec.as_ref(), self.boot_id.as_deref());
        self.rest = self.reader.finish(None);
        let message = self.left.explain(message);
        let torn =
            if self.reader.is_torn() { "; the end of its log is damaged, lines may be missing" } else { "" };
        Some(self.without_supervisor(outcome, message + torn))
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
        (entry.missing, entry.causes) = (0, Causes::default());
        filled.push(entry);
    }
    Followed::Entries(filled)
}
