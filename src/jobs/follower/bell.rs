//! Wakes a thread that waits for changes of a folder.

use nixfleet_os::sync::step;
#[cfg(target_os = "linux")]
use rustix::event::{EventfdFlags, eventfd};
#[cfg(target_os = "linux")]
use rustix::fd::OwnedFd;

/// A descriptor that becomes readable. Without one (no descriptors left, another system) the thread notices at its
/// next look at the folder.
#[derive(Debug)]
pub(super) struct Bell {
    #[cfg(target_os = "linux")]
    fd: Option<OwnedFd>,
}

impl Default for Bell {
    fn default() -> Self {
        Self {
            #[cfg(target_os = "linux")]
            fd: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok(),
        }
    }
}

impl Bell {
    /// Wakes the thread, now or at its next wait.
    pub(super) fn ring(&self) {
        step();
        #[cfg(target_os = "linux")]
        if let Some(fd) = &self.fd {
            // An error means that it rings already.
            rustix::io::write(fd, &1_u64.to_ne_bytes()).ok();
            step();
        }
    }

    /// The descriptor to wait for.
    #[cfg(target_os = "linux")]
    pub(super) fn fd(&self) -> Option<&OwnedFd> {
        self.fd.as_ref()
    }

    /// Whether it rings.
    #[cfg(all(test, target_os = "linux"))]
    pub(super) fn is_ringing(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};

        let fd = self.fd().expect("a descriptor");
        poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    /// Makes it silent again.
    #[cfg(target_os = "linux")]
    pub(super) fn silence(&self) {
        step();
        if let Some(fd) = &self.fd {
            rustix::io::read(fd, &mut [0; 8]).ok();
        }
    }
}
