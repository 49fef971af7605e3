//! Says that the agent is connected, while a system is on trial.
//!
//! The guard of such a system takes it back unless the agent reaches the dashboard anew. It reads a file that a thread
//! writes. There is such a thread while a switch runs; it looks for a trial twice a second. It does not depend on
//! settings: those of the system on trial may be others.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nixfleet_os::sync::atomic::{AtomicU64, Ordering};
use nixfleet_os::sync::{Condvar, Mutex, MutexGuard, PoisonError, thread};
use tokio::sync::watch;

use nixfleet_jobs::rollback::{self, Begun, GuardState, Trial, now_ms};
use nixfleet_jobs::{JobDir, JobId, JobsDir};

/// How often to look for a trial, and how old its news may be.
const LOOK: Duration = Duration::from_millis(500);

/// Stack of the thread, in bytes: it reads and writes small JSON files.
const STACK: usize = 256 * 1024;

/// Time between pings during a trial: each pong is a sign of life, and the guard waits for several.
const PING_INTERVAL: Duration = Duration::from_secs(2);

/// Longest delay between two attempts to connect during a trial. A trial lasts for minutes, and one host hurries.
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// A trial that is not decided.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Open {
    /// When the activation ended, in milliseconds since the boot.
    ended_ms: Option<u64>,
    /// Until when the system must be confirmed.
    deadline_ms: Option<u64>,
}

/// What the agent tells the thread.
#[derive(Debug, Default)]
struct Told {
    /// What a thread takes when it begins and puts back when it ends; none while there is one.
    writer: Option<Writer>,
    /// No thread could be started for this job, which was logged.
    no_thread: bool,
    /// The job that may have a trial.
    job: Option<JobId>,
    /// The newest connection.
    opened_ms: u64,
    registered_ms: Option<u64>,
}

#[derive(Debug, Default)]
struct Shared {
    told: Mutex<Told>,
    news: Condvar,
    /// When something was last received from the dashboard, in milliseconds since the boot.
    heard_ms: AtomicU64,
}

impl Shared {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The job that may have a trial, and what is to be said then.
    fn newest(&self, boot_id: Option<&str>) -> Option<(JobId, rollback::Contact)> {
        let told = self.told();
        let contact = rollback::Contact {
            boot_id: boot_id.map(str::to_owned),
            opened_ms: told.opened_ms,
            registered_ms: told.registered_ms,
            heard_ms: told.registered_ms.map(|_| self.heard_ms.load(Ordering::Relaxed)),
        };
        Some((told.job.clone()?, contact))
    }

    /// Waits until it is time to look again, or until the job is over.
    fn pause(&self) {
        let told = self.told();
        if told.job.is_some() {
            drop(self.news.wait_timeout(told, LOOK));
        }
    }
}

/// The agent's side.
#[derive(Debug)]
pub struct Contact {
    shared: Arc<Shared>,
    open: watch::Receiver<Option<Open>>,
    /// Keeps `open` alive where there is no thread.
    _sender: Option<watch::Sender<Option<Open>>>,
    opened_ms: u64,
}

impl Default for Contact {
    /// Never with a thread: no system is on trial.
    fn default() -> Self {
        let (sender, open) = watch::channel(None);
        Self { shared: Arc::default(), open, _sender: Some(sender), opened_ms: 0 }
    }
}

impl Contact {
    /// Says it in `file`. `boot_id` is that of the running system.
    pub fn new(jobs: JobsDir, file: PathBuf, boot_id: Option<String>) -> Self {
        let (sender, open) = watch::channel(None);
        let mut writer = Writer { jobs, file, boot_id, open: sender, written: None, failed: false };
        // What an agent before this one said is not true of this one.
        writer.withdraw();
        let shared = Arc::new(Shared::default());
        shared.told().writer = Some(writer);
        Self { shared, open, _sender: None, opened_ms: 0 }
    }

    /// A job runs that may put a system on trial.
    pub fn follow(&self, job: &JobId) {
        self.shared.told().job = Some(job.clone());
        self.go_on();
    }

    /// Starts the thread if it is needed and there is none. Costs nothing otherwise. Called with each heartbeat of a
    /// switch, because there may have been no thread to be had.
    pub fn go_on(&self) {
        let told = self.shared.told();
        if told.job.is_none() || told.writer.is_none() {
            return;
        }
        drop(told);
        let shared = Arc::clone(&self.shared);
        let run = move || {
            // None: another thread was faster.
            let writer = shared.told().writer.take();
            if let Some(writer) = writer {
                writer.run(&shared);
            }
        };
        let started = thread::Builder::new().name("contact".to_owned()).stack_size(STACK).spawn(run);
        let failed = started.as_ref().is_err();
        let is_news = !std::mem::replace(&mut self.shared.told().no_thread, failed);
        if let (Err(err), true) = (started, is_news) {
            tracing::warn!("No thread to confirm a new system, trying again with each heartbeat: {err}.");
        }
    }

    /// The job has ended.
    pub fn unfollow(&self) {
        self.shared.told().job = None;
        self.shared.news.notify_one();
    }

    /// An attempt to connect begins.
    pub fn dialing(&mut self) {
        self.opened_ms = now_ms();
        let mut told = self.shared.told();
        (told.opened_ms, told.registered_ms) = (self.opened_ms, None);
    }

    /// The dashboard has accepted the registration on that connection.
    pub fn registered(&self) {
        let now = now_ms();
        self.shared.heard_ms.store(now, Ordering::Relaxed);
        self.shared.told().registered_ms.get_or_insert(now);
    }

    /// Something was received on it.
    pub fn heard(&self) {
        if self.is_open() {
            self.shared.heard_ms.store(now_ms(), Ordering::Relaxed);
        }
    }

    /// The connection has ended.
    pub fn lost(&self) {
        self.shared.told().registered_ms = None;
    }

    /// Whether a system is on trial.
    pub fn is_open(&self) -> bool {
        self.open.borrow().is_some()
    }

    /// Whether only another connection can prove that the system on trial reaches the dashboard: this one was opened
    /// before it was active.
    pub fn needs_another(&self) -> bool {
        self.open.borrow().is_some_and(|open| open.ended_ms.is_some_and(|ended| ended > self.opened_ms))
    }

    /// Waits until [`Self::is_open`] changed, or until [`Self::needs_another`].
    pub async fn changed(&mut self) {
        if self.needs_another() {
            return;
        }
        if self.open.changed().await.is_err() {
            // The thread is gone; only a bug can cause that.
            std::future::pending().await
        }
    }

    /// What the system on trial waits for, for people.
    pub fn waits(&self) -> Option<String> {
        let left = (*self.open.borrow())?.deadline_ms?.saturating_sub(now_ms()).div_ceil(1000);
        Some(format!("confirming, {left} s left"))
    }

    /// The time between two pings, which is `usual` without a trial.
    pub fn ping_interval(&self, usual: Duration) -> Duration {
        if self.is_open() { PING_INTERVAL } else { usual }
    }

    /// The delay before the next attempt to connect: no long one during a trial.
    pub fn hurries(&self, delay: Duration) -> Duration {
        if self.is_open() { delay.min(LONGEST_DELAY) } else { delay }
    }
}

/// The thread's side.
#[derive(Debug)]
struct Writer {
    jobs: JobsDir,
    file: PathBuf,
    boot_id: Option<String>,
    open: watch::Sender<Option<Open>>,
    /// What the file says.
    written: Option<rollback::Contact>,
    /// It could not be written during this trial, which was logged.
    failed: bool,
}

impl Writer {
    /// Looks until there is no job any more, and puts itself back.
    fn run(mut self, shared: &Shared) {
        while !self.open.is_closed() {
            let (job, contact) = match shared.newest(self.boot_id.as_deref()) {
                Some(newest) => newest,
                None => {
                    self.open.send_if_modified(|old| old.take().is_some());
                    self.withdraw();
                    let mut told = shared.told();
                    if told.job.is_none() {
                        told.writer = Some(self);
                        return;
                    }
                    continue;
                }
            };
            let dir = self.jobs.job(&job);
            let open = self.look(&dir);
            self.open.send_if_modified(|old| std::mem::replace(old, open) != open);
            match open {
                Some(_) => self.say(contact),
                None => self.withdraw(),
            }
            if dir.result().exists() {
                let mut told = shared.told();
                told.job.take_if(|told| *told == job);
            }
            shared.pause();
        }
    }

    fn look(&self, dir: &JobDir) -> Option<Open> {
        let trial = Trial::load(dir).ok().flatten()?;
        let is_decided = GuardState::load(dir).is_ok_and(|state| state.decision.is_some());
        let is_over =
            is_decided || dir.result().exists() || trial.is_of_another_boot(self.boot_id.as_deref());
        let ended_ms = trial.activation.map(|end| end.ended_ms).filter(|_| trial.begun == Begun::Activating);
        (!is_over).then_some(Open { ended_ms, deadline_ms: trial.deadline_ms() })
    }

    fn say(&mut self, contact: rollback::Contact) {
        if self.written.as_ref() == Some(&contact) {
            return;
        }
        match contact.store(&self.file) {
            Ok(()) => self.written = Some(contact),
            Err(err) => {
                self.written = None;
                // Said once: it is tried again twice a second.
                if !std::mem::replace(&mut self.failed, true) {
                    tracing::warn!(
                        "Cannot write {}, so the new system may be taken back: {err}.",
                        self.file.display()
                    );
                }
            }
        }
    }

    fn withdraw(&mut self) {
        (self.written, self.failed) = (None, false);
        if self.file.exists() {
            drop(std::fs::remove_file(&self.file));
        }
    }
}

#[cfg(test)]
mod tests;
