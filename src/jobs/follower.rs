//! Follows a job's folder: its output as it grows, what runs now, and its end.
//!
//! A thread of its own, so that a disk that hangs costs output and never a heartbeat. What it reads
//! goes through a short channel; when nobody takes it, it waits, and the log keeps.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use change::Changes;
use nixfleet_jobs::atomic_file;
use nixfleet_jobs::journal;
use nixfleet_jobs::journal::{Entry, Reader, Source, supervisor_lives};
use nixfleet_jobs::spec::{JobResult, Outcome, Spec, State};
use nixfleet_jobs::{JobDir, JobId, JobsDir};

mod change;

#[cfg(test)]
mod tests;

/// Bytes of log for one batch. With the longest entry behind it, a batch still fits in one message.
pub(crate) const BATCH: usize = 32 * 1024;

/// Batches that may wait for a session: enough to keep it busy, little to hold.
const CHANNEL: usize = 4;

/// How soon to offer a batch again that nobody took.
const RETRY: Duration = Duration::from_millis(5);

/// How often to look without being told: is the supervisor alive, does anybody still listen?
const LOOK: Duration = Duration::from_millis(500);

/// How long a job that was accepted may take to have a folder; see the launcher's own patience.
const START_PATIENCE: Duration = Duration::from_secs(35);

/// Stack of the thread, in bytes: it holds a few buffers, all on the heap.
const STACK: usize = 128 * 1024;

/// What runs now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Live {
    /// The command's process.
    pub pid: Option<u32>,
    /// There is a result.
    pub ended: bool,
}

/// Something new of a job.
#[derive(Debug, PartialEq, Eq)]
pub enum Followed {
    /// Log entries, in order.
    Entries(Vec<Entry>),
    /// The end, after the last entry. Nothing comes after it.
    Ended(Box<JobResult>),
}

/// The reading end of a follower. Dropping it ends the thread within half a second.
#[derive(Debug)]
pub struct Follower {
    /// What runs now.
    pub live: watch::Receiver<Live>,
    /// What the job wrote.
    pub items: mpsc::Receiver<Followed>,
}

/// Follows a job behind entry `after`; `known` is what was known of it until the first look.
///
/// # Errors
/// When no thread can be had.
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
        dir,
        after,
        live,
        items,
        boot_id,
        begun: Instant::now(),
    };
    thread::Builder::new().name("follower".to_owned()).stack_size(STACK).spawn(move || thread.run())?;
    Ok(Follower { live: live_receiver, items: items_receiver })
}

/// What became of a job without a result whose supervisor is dead, in the boot `boot_id`.
pub(crate) fn fate(spec: Option<&Spec>, boot_id: Option<&str>) -> (Outcome, &'static str) {
    let then = spec.and_then(|spec| spec.boot_id.as_deref());
    if then.is_some() && boot_id.is_some() && then != boot_id {
        (Outcome::InterruptedByReboot, "the machine went down while the command ran")
    } else {
        (Outcome::Lost, "the job's supervisor died without a result; the command may have been cut short")
    }
}

struct Thread {
    dir: JobDir,
    reader: Reader,
    /// The newest entry that was read.
    after: u64,
    live: watch::Sender<Live>,
    items: mpsc::Sender<Followed>,
    /// This boot.
    boot_id: Option<String>,
    begun: Instant,
}

/// What a look at the job found.
struct Seen {
    /// The supervisor is dead.
    gone: bool,
    result: Option<JobResult>,
}

impl Thread {
    fn run(mut self) {
        let Some(mut changes) = self.wait_for_folder() else { return };
        let mut waiting: Option<Followed> = None;
        let mut checked: Option<Instant> = None;
        loop {
            // At the first look as well: the process in an old boot's state is somebody else by now.
            let probe = checked.is_none_or(|at| at.elapsed() >= LOOK);
            if probe {
                checked = Some(Instant::now());
            }
            // Looked at first: entries that are read afterwards are all there are.
            let seen = self.look(probe);
            while waiting.is_none() {
                match self.reader.read(BATCH) {
                    Ok(entries) if !entries.is_empty() => waiting = self.offer(self.with_gaps(entries)),
                    // An unreadable disk: try again later.
                    Ok(_) | Err(_) => break,
                }
                self.after = self.reader.after();
            }
            self.after = self.reader.after();
            if waiting.is_none()
                && let Some(result) = self.conclude(seen)
            {
                self.live.send_replace(Live { pid: None, ended: true });
                // Whoever listens takes it, sooner or later; if nobody does, there is no need.
                drop(self.items.blocking_send(Followed::Ended(Box::new(result))));
                return;
            }
            if waiting.is_some() {
                // Not woken by a command that writes on: nobody takes what there is.
                thread::sleep(RETRY);
            } else {
                changes.wait(LOOK);
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

    /// Waits for the job to exist. None: nobody listens any more, or it never came to be.
    fn wait_for_folder(&self) -> Option<Changes> {
        loop {
            match Changes::watch(self.dir.path()) {
                Ok(changes) => return Some(changes),
                Err(_) if self.items.is_closed() => return None,
                Err(_) if self.begun.elapsed() < START_PATIENCE => thread::sleep(RETRY),
                Err(err) => {
                    let message = format!("the job never started: {}: {err}", self.dir.path().display());
                    let result = JobResult::without_supervisor(Outcome::Lost, message, self.after);
                    drop(self.items.blocking_send(Followed::Ended(Box::new(result))));
                    return None;
                }
            }
        }
    }

    /// Reads the small files, and with `probe` asks whether the supervisor is alive. In this order: a
    /// dead one writes no result any more.
    fn look(&self, probe: bool) -> Seen {
        let gone = probe && self.is_gone();
        let result = atomic_file::load::<JobResult>(&self.dir.result()).ok().flatten();
        let state = atomic_file::load::<State>(&self.dir.state()).ok().flatten();
        let pid = state.and_then(|state| state.child_pid).filter(|_| result.is_none() && !gone);
        let live = Live { pid, ended: result.is_some() };
        self.live.send_if_modified(|old| std::mem::replace(old, live) != live);
        Seen { gone, result }
    }

    fn is_gone(&self) -> bool {
        match supervisor_lives(&self.dir) {
            Ok(lives) => !lives,
            // Out of file descriptors, say, which is no news of the supervisor.
            // A job that is just being made has no log yet.
            Err(err) if err.kind() == io::ErrorKind::NotFound => self.begun.elapsed() >= START_PATIENCE,
            Err(err) => err.kind() == io::ErrorKind::PermissionDenied,
        }
    }

    /// The end of the job, if it had ended by the time of the look and its log has been read since.
    fn conclude(&self, seen: Seen) -> Option<JobResult> {
        if seen.result.is_some() || !seen.gone {
            return seen.result;
        }
        let spec: Option<Spec> = atomic_file::load(&self.dir.spec()).ok().flatten();
        let (outcome, message) = fate(spec.as_ref(), self.boot_id.as_deref());
        Some(JobResult::without_supervisor(outcome, message.to_owned(), self.after))
    }

    /// Says where the log was cut. The remark takes the number of the last entry that is missing.
    fn with_gaps(&self, entries: Vec<Entry>) -> Followed {
        let mut next = self.after + 1;
        let mut filled = Vec::with_capacity(entries.len());
        for entry in entries {
            if entry.seq > next {
                filled.push(Entry {
                    seq: entry.seq - 1,
                    at: entry.at.clone(),
                    stream: Source::System,
                    line: journal::gap_remark(entry.seq - next),
                    cont: false,
                    test: None,
                    operation: None,
                });
            }
            next = entry.seq + 1;
            filled.push(entry);
        }
        Followed::Entries(filled)
    }
}
