//! Notices the end of a supervisor, without a look at it again and again.

#[cfg(target_os = "linux")]
use rustix::fd::OwnedFd;
#[cfg(target_os = "linux")]
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// The process of a supervisor. What it tells only says when to look: whether a supervisor lives is decided by the lock
/// of its log, because a process id may belong to another process by now.
#[derive(Debug, Default)]
pub(super) struct Supervisor {
    pid: Option<u32>,
    /// Readable when the process has ended. None if that was noticed, and where there is no such descriptor: then the
    /// follower looks at its pace.
    #[cfg(target_os = "linux")]
    end: Option<OwnedFd>,
}

impl Supervisor {
    /// The process id is this now.
    pub(super) fn is(&mut self, pid: Option<u32>) {
        if pid.is_none() || self.pid == pid {
            return;
        }
        self.pid = pid;
        #[cfg(target_os = "linux")]
        {
            let pid = pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
            self.end = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        }
    }

    /// What becomes readable at its end.
    #[cfg(target_os = "linux")]
    pub(super) fn end(&self) -> Option<&OwnedFd> {
        self.end.as_ref()
    }

    /// Whether its end will end a wait.
    pub(super) fn is_watched(&self) -> bool {
        #[cfg(target_os = "linux")]
        return self.end.is_some();
        #[cfg(not(target_os = "linux"))]
        return false;
    }

    /// Whether it ended since the last call.
    pub(super) fn has_ended(&mut self) -> bool {
        #[cfg(target_os = "linux")]
        {
            use rustix::event::{PollFd, PollFlags, Timespec, poll};

            let Some(end) = &self.end else { return false };
            let ended = poll(&mut [PollFd::new(end, PollFlags::IN)], Some(&Timespec::default()))
                .is_ok_and(|count| count > 0);
            if ended {
                self.end = None;
            }
            ended
        }
        #[cfg(not(target_os = "linux"))]
        return false;
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_process_is_told_once() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let mut supervisor = Supervisor::default();
        supervisor.is(None);
        assert!(!supervisor.is_watched() && !supervisor.has_ended());
        supervisor.is(Some(child.id()));
        assert!(supervisor.is_watched() && !supervisor.has_ended());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(supervisor.has_ended());
        supervisor.is(Some(child.id()));
        assert!(!supervisor.is_watched() && !supervisor.has_ended());
    }
}
