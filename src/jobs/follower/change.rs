//! Waits for changes in a folder.

use std::io;
use std::path::Path;
use std::time::Duration;

use nixfleet_jobs::JobDir;
use nixfleet_os::Clock;
use nixfleet_os::disk::Watch;

use super::bell::Bell;
use super::supervisor::Supervisor;

/// How often to check without inotify. Output should reach the dashboard within 100 ms.
const INTERVAL: Duration = Duration::from_millis(20);

/// Notices when files in a folder are written, created or renamed.
#[derive(Debug)]
pub(super) struct Changes {
    clock: Clock,
    how: How,
}

#[derive(Debug)]
enum How {
    #[cfg(target_os = "linux")]
    Inotify(Notices),
    Simulated(Box<dyn Watch>),
    /// Without inotify, or when the user's inotify watches are used up.
    Interval,
}

/// Two watches of the same folder.
#[cfg(target_os = "linux")]
#[derive(Debug)]
struct Notices {
    all: rustix::fd::OwnedFd,
    /// Files that take the place of others: state and result, but no output and no further segment of the log. None if
    /// there is no descriptor left.
    but_output: Option<rustix::fd::OwnedFd>,
}

impl Changes {
    /// Starts to watch. Changes after this call are not missed.
    ///
    /// # Errors
    /// When the folder does not exist or cannot be read.
    pub(super) fn watch(dir: &JobDir) -> io::Result<Self> {
        let clock = dir.clock().clone();
        if let Some(files) = dir.disk().simulation() {
            return Ok(Self { clock, how: How::Simulated(files.watch(dir.path())?) });
        }
        std::fs::metadata(dir.path())?;
        #[cfg(target_os = "linux")]
        if let Ok(all) = watch(dir.path(), true) {
            let but_output = watch(dir.path(), false).ok();
            return Ok(Self { clock, how: How::Inotify(Notices { all, but_output }) });
        }
        Ok(Self { clock, how: How::Interval })
    }

    /// Whether every change, the bell and the end of this supervisor end a wait at once.
    pub(super) fn are_told(&self, bell: &Bell, supervisor: &Supervisor) -> bool {
        match &self.how {
            #[cfg(target_os = "linux")]
            How::Inotify(notices) => {
                notices.but_output.is_some() && bell.fd().is_some() && supervisor.is_watched()
            }
            How::Simulated(_) | How::Interval => false,
        }
    }

    /// Waits for a change, the bell or the end of the supervisor, at most `limit`.
    pub(super) fn wait(&mut self, bell: &Bell, supervisor: &Supervisor, limit: Duration) {
        match &mut self.how {
            #[cfg(target_os = "linux")]
            How::Inotify(notices) => wait_on(&notices.all, bell, supervisor, limit),
            How::Simulated(watch) => watch.wait(limit),
            How::Interval => self.clock.sleep(limit.min(INTERVAL)),
        }
    }

    /// As [`Self::wait`] if [`Self::are_told`], but output does not end it: a busy command writes some all the time.
    pub(super) fn wait_past_output(&mut self, bell: &Bell, supervisor: &Supervisor, limit: Duration) {
        match &mut self.how {
            #[cfg(target_os = "linux")]
            How::Inotify(Notices { but_output: Some(but_output), .. }) => {
                wait_on(but_output, bell, supervisor, limit);
            }
            _ => self.wait(bell, supervisor, limit),
        }
    }
}

#[cfg(target_os = "linux")]
fn watch(folder: &Path, output: bool) -> io::Result<rustix::fd::OwnedFd> {
    use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

    let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    let output = if output { WatchFlags::MODIFY | WatchFlags::CREATE } else { WatchFlags::empty() };
    inotify::add_watch(&fd, folder, output | WatchFlags::MOVED_TO)?;
    Ok(fd)
}

#[cfg(target_os = "linux")]
#[cfg_attr(feature = "models", expect(unused_variables, reason = "a model has no time"))]
fn wait_on(inotify: &rustix::fd::OwnedFd, bell: &Bell, supervisor: &Supervisor, limit: Duration) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    let mut fds = vec![PollFd::new(inotify, PollFlags::IN)];
    fds.extend(bell.fd().into_iter().chain(supervisor.end()).map(|fd| PollFd::new(fd, PollFlags::IN)));
    // After an interruption by a signal the follower looks once too often.
    #[cfg(not(feature = "models"))]
    poll(&mut fds, Timespec::try_from(limit).ok().as_ref()).ok();
    // The model checker runs all threads on one, so none may wait in the kernel. A ring that was lost makes the
    // interleaving endless.
    #[cfg(feature = "models")]
    while !matches!(poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(1..)) {
        nixfleet_os::sync::thread::yield_now();
    }
    bell.silence();
    // The events are discarded: the follower reads all files anyway.
    let mut buffer = [0; 4096];
    while matches!(rustix::io::read(inotify, &mut buffer), Ok(1..)) {}
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use nixfleet_jobs::{JobId, JobsDir};

    use super::*;

    #[test]
    fn a_bell_a_change_and_the_end_of_a_supervisor_each_end_the_wait() {
        /// The wait has no other end: only a hang reaches half of it.
        const LIMIT: Duration = Duration::from_secs(60);
        let folder = tempfile::tempdir().unwrap();
        let dir = JobsDir::new(folder.path()).job(&JobId::generate());
        std::fs::create_dir(dir.path()).unwrap();
        let (bell, begun) = (Bell::default(), std::time::Instant::now());
        let mut changes = Changes::watch(&dir).unwrap();
        bell.ring();
        let mut supervisor = Supervisor::default();
        changes.wait(&bell, &supervisor, LIMIT);
        assert!(!bell.is_ringing(), "it was heard");
        std::fs::write(dir.state(), "").unwrap();
        changes.wait(&bell, &supervisor, LIMIT);
        assert!(!changes.are_told(&bell, &supervisor), "nobody would tell the end of the supervisor");
        let mut child = std::process::Command::new("sleep").arg("0.1").spawn().unwrap();
        supervisor.is(Some(child.id()));
        assert!(changes.are_told(&bell, &supervisor));
        changes.wait_past_output(&bell, &supervisor, LIMIT);
        std::fs::write(dir.state(), "more").unwrap();
        changes.wait_past_output(&bell, &supervisor, LIMIT);
        assert!(supervisor.has_ended(), "what is written to a file ends no such wait");
        child.wait().unwrap();
        assert!(begun.elapsed() < LIMIT / 2);
    }
}
