//! Waits for changes in a folder.

use std::io;
use std::path::Path;
use std::time::Duration;

use nixfleet_jobs::JobDir;
use nixfleet_os::Clock;
use nixfleet_os::disk::Watch;

use super::bell::Bell;

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
    Inotify(rustix::fd::OwnedFd),
    Simulated(Box<dyn Watch>),
    /// Without inotify, or when the user's inotify watches are used up.
    Interval,
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
        if let Ok(inotify) = watch(dir.path()) {
            return Ok(Self { clock, how: How::Inotify(inotify) });
        }
        Ok(Self { clock, how: How::Interval })
    }

    /// Waits for a change or the bell, at most `limit`.
    pub(super) fn wait(&mut self, bell: &Bell, limit: Duration) {
        match &mut self.how {
            #[cfg(target_os = "linux")]
            How::Inotify(inotify) => wait_on(inotify, bell, limit),
            How::Simulated(watch) => watch.wait(limit),
            How::Interval => self.clock.sleep(limit.min(INTERVAL)),
        }
    }
}

#[cfg(target_os = "linux")]
fn watch(folder: &Path) -> io::Result<rustix::fd::OwnedFd> {
    use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

    let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    inotify::add_watch(&fd, folder, WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO)?;
    Ok(fd)
}

#[cfg(target_os = "linux")]
#[cfg_attr(feature = "models", expect(unused_variables, reason = "a model has no time"))]
fn wait_on(inotify: &rustix::fd::OwnedFd, bell: &Bell, limit: Duration) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    let mut fds = vec![PollFd::new(inotify, PollFlags::IN)];
    fds.extend(bell.fd().map(|fd| PollFd::new(fd, PollFlags::IN)));
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
    fn a_bell_and_a_change_each_end_the_wait() {
        /// The wait has no other end: only a hang reaches half of it.
        const LIMIT: Duration = Duration::from_secs(60);
        let folder = tempfile::tempdir().unwrap();
        let dir = JobsDir::new(folder.path()).job(&JobId::generate());
        std::fs::create_dir(dir.path()).unwrap();
        let (bell, begun) = (Bell::default(), std::time::Instant::now());
        let mut changes = Changes::watch(&dir).unwrap();
        bell.ring();
        changes.wait(&bell, LIMIT);
        assert!(!bell.is_ringing(), "it was heard");
        std::fs::write(dir.state(), "").unwrap();
        changes.wait(&bell, LIMIT);
        assert!(begun.elapsed() < LIMIT / 2);
    }
}
