//! The thread of a follower.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nixfleet_os::planted;
use tokio::sync::{mpsc, watch};

use nixfleet_jobs::journal::{Entry, Reader, supervisor_lives};
use nixfleet_jobs::spec::{JobResult, Outcome, State};
use nixfleet_jobs::{JobDir, atomic_file, damage, rollback};

use super::activity::Activity;
use super::change::Changes;
use super::items::{Link, Rewind};
use super::remains::Left;
use super::supervisor::Supervisor;
use super::{
    BATCH, CHECK_INTERVAL, Followed, LONG_CHECK_INTERVAL, Live, RETRY, SLOW_RETRY, START_TIMEOUT, Start,
    UNREADABLE, UNTIL_READ, send,
};

mod end;

pub(super) struct Thread {
    dir: JobDir,
    pub(super) reader: Reader,
    live: watch::Sender<Live>,
    items: mpsc::Sender<Followed>,
    link: Arc<Link>,
    /// Notices changes of the folder, once it exists.
    changes: Option<Changes>,
    supervisor: Supervisor,
    /// The supervisor is dead, and nobody else will decide about the system that it has activated.
    decided: Cell<bool>,
    /// Entries behind all others, for the end.
    pub(super) rest: Vec<Entry>,
    /// The boot id of the running system.
    boot_id: Option<String>,
    begun: Instant,
    /// When a result was first read that nothing explains.
    unexplained_since: Option<Instant>,
    /// Since when the log cannot be read.
    pub(super) log: Failing,
    /// What a dead supervisor left running.
    left: Left,
}

/// Something that fails again and again.
#[derive(Debug, Default)]
pub(super) struct Failing {
    pub(super) since: Option<Instant>,
    /// It failed for too long. From then on each error counts at once.
    given_up: bool,
    /// What was logged about it. A file may have an error in each of thousands of blocks.
    said: Said,
}

/// What was logged about something that fails, in the order in which it happens.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Said {
    #[default]
    Nothing,
    TryingAgain,
    GaveUp,
}

impl Failing {
    /// It failed at `now`. Returns whether to give up on it.
    fn again(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        self.given_up |= now.saturating_duration_since(since) >= UNREADABLE;
        self.given_up
    }

    /// Whether this is to be logged: neither it nor what comes after it was said.
    fn say(&mut self, what: Said) -> bool {
        let first = self.said < what;
        self.said = self.said.max(what);
        first
    }
}

/// What [`Thread::look`] found.
pub(super) struct Seen {
    /// The supervisor is dead.
    pub(super) gone: bool,
    pub(super) result: Option<JobResult>,
    /// The process id of the supervisor, if it should live and is no simulated one.
    pub(super) supervisor: Option<u32>,
    /// Why the result could not be read, if there is one.
    pub(super) unread: Option<io::Error>,
}

impl Thread {
    pub(super) fn new(start: &Start) -> Self {
        let Start { dir, after, live, items, link, boot_id, activations, .. } = start;
        Self {
            reader: Reader::new(dir.clone(), *after),
            begun: dir.clock().instant(),
            dir: dir.clone(),
            live: live.clone(),
            items: items.clone(),
            link: Arc::clone(link),
            changes: None,
            supervisor: Supervisor::default(),
            decided: Cell::new(false),
            rest: Vec::new(),
            boot_id: boot_id.clone(),
            unexplained_since: None,
            log: Failing::default(),
            left: Left::new(activations.clone()),
        }
    }

    pub(super) fn run(mut self) {
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
            self.note_supervisor(&seen);
            let has_result = seen.result.is_some();
            // A state that could not be read is read again soon.
            let is_known = seen.supervisor.is_some();
            let complete = self.read_log(&mut waiting);
            let seen = if planted!("look-after-reading") { self.look(probe) } else { seen };
            if complete && let Some(result) = self.conclude(seen) {
                return self.tell_end(result);
            }
            if waiting.is_some() {
                self.wait_for_room(has_result);
            } else if !complete {
                self.link.wait(SLOW_RETRY);
            } else if let Some(changes) = &mut self.changes {
                let (bell, supervisor) = (&self.link.bell, &self.supervisor);
                // What was seen without a probe is told soon; and an end that is held back is looked at again.
                let may_sleep = probe && is_known && !has_result && changes.are_told(bell, supervisor);
                changes.wait(bell, supervisor, if may_sleep { LONG_CHECK_INTERVAL } else { CHECK_INTERVAL });
            }
            if self.supervisor.has_ended() {
                checked = None;
            }
            if let Some(item) = waiting.take() {
                waiting = self.offer(item);
            }
        }
    }

    /// The end of this supervisor ends waits from now on.
    pub(super) fn note_supervisor(&mut self, seen: &Seen) {
        self.supervisor.is(seen.supervisor);
    }

    #[cfg(test)]
    pub(super) fn link(&self) -> Arc<Link> {
        Arc::clone(&self.link)
    }

    /// The channel is full. Does not wait for output, which a busy command writes all the time. The end of the command
    /// is noticed all the same: it frees the slot.
    pub(super) fn wait_for_room(&mut self, has_result: bool) {
        match &mut self.changes {
            Some(changes)
                if changes.are_told(&self.link.bell, &self.supervisor) && !cfg!(feature = "models") =>
            {
                let supervisor = &self.supervisor;
                self.link
                    .wait_at_bell(|bell| changes.wait_past_output(bell, supervisor, LONG_CHECK_INTERVAL));
            }
            // Nothing more happens in the folder.
            _ if has_result && !self.dir.machine().threads.are_simulated() => {
                self.link.wait(LONG_CHECK_INTERVAL)
            }
            _ => self.link.wait(CHECK_INTERVAL),
        }
    }

    /// Reads until the channel is full or there is no more at present. Returns whether the log was read to its end
    /// without an error: only then a job may count as ended.
    pub(super) fn read_log(&mut self, waiting: &mut Option<Followed>) -> bool {
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
                    let path = self.dir.path().display();
                    // Damage stays: waiting would only keep the slot.
                    if !damage::is_damage(&err) && !self.log.again(self.dir.clock().instant()) {
                        if self.log.say(Said::TryingAgain) {
                            tracing::warn!(
                                "Cannot read the log in {path}, trying again for {UNREADABLE:?}: {err}"
                            );
                        }
                        return false;
                    }
                    if self.log.say(Said::GaveUp) {
                        tracing::error!(
                            "Gave up on what cannot be read of the log in {path}, its lines count as missing: {err}"
                        );
                    }
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
    pub(super) fn wait_for_folder(&mut self) -> bool {
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
                    let path = self.dir.path().display();
                    let message = if self.reader.after() > 0 {
                        format!("the job's folder is gone: {path}: {err}")
                    } else {
                        format!("the job never started, or its folder is gone: {path}: {err}")
                    };
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
    pub(super) fn look(&self, probe: bool) -> Seen {
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
        let runs = result.is_none() && !gone;
        // Nothing waits for it, so twice a second is enough. In a model each lock is one more choice.
        if probe && !cfg!(feature = "models") {
            let state = state.as_ref().filter(|_| runs);
            self.link.tell_activity(state.and_then(|state| Activity::read(&self.dir, state)));
        }
        let is_real = !self.dir.machine().threads.are_simulated() && !cfg!(feature = "models");
        let supervisor = state.as_ref().filter(|_| runs && is_real).map(|state| state.supervisor_pid);
        let pid = state.and_then(|state| state.child_pid).filter(|_| runs);
        if gone && result.is_none() {
            // A connection that is lost ends no wait: the next one needs the host free as well.
            let awaits = |pid| _ = self.live.send_replace(Live { pid, ended: false });
            self.left.end(&self.dir, self.boot_id.as_deref(), || !self.link.is_closed(), awaits);
        }
        let live = Live { pid, ended: result.is_some() || gone };
        self.live.send_if_modified(|old| std::mem::replace(old, live) != live);
        Seen { gone, result, supervisor, unread }
    }

    fn age(&self) -> Duration {
        self.dir.clock().elapsed(self.begun)
    }

    /// Whether nobody decides any more about the system that the supervisor has activated. It takes 15 s to find out that
    /// nobody will, which is remembered: a new connection begins to follow anew.
    fn is_decided(&self) -> bool {
        if !self.decided.get() {
            self.decided.set(!rollback::is_open(&self.dir, self.boot_id.as_deref()));
        }
        self.decided.get()
    }

    fn is_gone(&self) -> bool {
        match supervisor_lives(&self.dir) {
            // Somebody may still decide about the system that it has activated.
            Ok(lives) => !lives && self.is_decided(),
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
                planted!("lost-on-an-error")
            }
        }
    }
}

/// Inserts a remark where lines are missing. Gives back the room for more entries: several batches wait for a session.
fn with_gaps(mut entries: Vec<Entry>) -> Followed {
    if entries.iter().all(|entry| entry.missing == 0) {
        entries.shrink_to_fit();
        return Followed::Entries(entries);
    }
    let mut filled = Vec::with_capacity(entries.len());
    for mut entry in entries {
        filled.extend(entry.gap());
        (entry.missing, entry.causes) = (0, None);
        filled.push(entry);
    }
    Followed::Entries(filled)
}
