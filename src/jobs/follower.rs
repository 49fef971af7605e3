//! Follows the folder of a job: its output as it grows, its process, and its end.
//!
//! Each follower has a thread of its own, so that a disk that hangs delays output but no heartbeat. What it
//! reads goes into a short channel. When the channel is full it waits; the output stays in the log.
//!
//! A job keeps its thread over reconnects: it is told to begin again. So a disk that hangs costs one thread for each
//! job, however often the connection is lost.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tracing::Span;

use nixfleet_jobs::activation::Activations;
use nixfleet_jobs::journal::Entry;
use nixfleet_jobs::spec::JobResult;
use nixfleet_jobs::{JobDir, JobId, JobsDir};
use nixfleet_os::Machine;

use items::{CHANNEL, Link};
use thread::Thread;

mod activity;
mod bell;
mod change;
mod fate;
mod items;
mod remains;
mod supervisor;
mod thread;

pub use activity::Activity;
pub(crate) use fate::{explained, fate};
pub use items::Items;

#[cfg(all(test, feature = "models"))]
mod models;
#[cfg(test)]
mod tests;

/// Bytes of log in one batch. A batch fits into one message even with the longest entry behind it. In a model each line
/// is a batch.
pub(crate) const BATCH: usize = if cfg!(feature = "models") { 64 } else { 32 * 1024 };

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

/// The same while the end of the supervisor would end the wait, and so would all that it writes: for what no event tells,
/// and for the error that events get lost. While nobody takes output, the time of the last line is as old as this.
const LONG_CHECK_INTERVAL: Duration = Duration::from_secs(10);

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
    let activations = jobs.activations().cloned();
    let start = Start { dir, after, live, items, link, boot_id, activations, span: Span::current() };
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
    activations: Option<Activations>,
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
        #[cfg(feature = "models")]
        return drop(nixfleet_os::sync::block_on(sender.send(item)));
        #[cfg(not(feature = "models"))]
        return drop(sender.blocking_send(item));
    }
    let mut item = item;
    while let Err(mpsc::error::TrySendError::Full(back)) = sender.try_send(item) {
        machine.clock.sleep(RETRY);
        item = back;
    }
}
