//! Waiting for a folder to change.

use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

/// How often to look where the kernel cannot tell: keeps a line below the 100 ms that T03 allows.
const INTERVAL: Duration = Duration::from_millis(20);

/// Tells when files of a folder were written, made or renamed.
#[derive(Debug)]
pub(super) struct Changes {
    #[cfg(target_os = "linux")]
    inotify: Option<rustix::fd::OwnedFd>,
}

impl Changes {
    /// Starts to watch; changes from here on are not missed.
    ///
    /// # Errors
    /// When the folder is not there.
    pub(super) fn watch(folder: &Path) -> io::Result<Self> {
        std::fs::metadata(folder)?;
        Ok(Self {
            // None when the machine's watches are used up.
            #[cfg(target_os = "linux")]
            inotify: watch(folder).ok(),
        })
    }

    /// Waits for a change, at most for `limit`.
    pub(super) fn wait(&mut self, limit: Duration) {
        #[cfg(target_os = "linux")]
        if let Some(inotify) = &self.inotify {
            return wait_on(inotify, limit);
        }
        thread::sleep(limit.min(INTERVAL));
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
fn wait_on(inotify: &rustix::fd::OwnedFd, limit: Duration) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    let mut fds = [PollFd::new(inotify, PollFlags::IN)];
    poll(&mut fds, Timespec::try_from(limit).ok().as_ref()).ok();
    // What changed is found by looking; the events only say that a look is worth it.
    let mut buffer = [0; 4096];
    while matches!(rustix::io::read(inotify, &mut buffer), Ok(1..)) {}
}
