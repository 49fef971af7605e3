//! Waits for changes in a folder.

use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

/// How often to check without inotify. Output should reach the dashboard within 100 ms.
const INTERVAL: Duration = Duration::from_millis(20);

/// Notices when files in a folder are written, created or renamed.
#[derive(Debug)]
pub(super) struct Changes {
    #[cfg(target_os = "linux")]
    inotify: Option<rustix::fd::OwnedFd>,
}

impl Changes {
    /// Starts to watch. Changes after this call are not missed.
    ///
    /// # Errors
    /// When the folder does not exist or cannot be read.
    pub(super) fn watch(folder: &Path) -> io::Result<Self> {
        std::fs::metadata(folder)?;
        Ok(Self {
            // None when the user's inotify watches are used up.
            #[cfg(target_os = "linux")]
            inotify: watch(folder).ok(),
        })
    }

    /// Waits for a change, at most `limit`.
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
    // The events are discarded: the follower reads all files anyway.
    let mut buffer = [0; 4096];
    while matches!(rustix::io::read(inotify, &mut buffer), Ok(1..)) {}
}
