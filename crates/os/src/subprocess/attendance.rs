//! The other side of a companion: what its program does about itself when it starts.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, Timespec};

/// How willingly the OOM killer takes a companion, from -1000 to 1000. It inherits the reluctance of whoever started it
/// (the agent's unit has -500), but anybody can start it anew.
#[cfg(target_os = "linux")]
const OOM_SCORE: &[u8] = b"500";

/// Makes this process a companion that does not outlive the one that started it, and that the OOM killer takes first.
/// Returns the socket for lines and their answers.
///
/// # Errors
/// It was not started by [`Companion::start`](super::Companion::start), or whoever did so has ended.
pub fn attend() -> io::Result<UnixStream> {
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    socket.peer_addr()?;
    #[cfg(target_os = "linux")]
    {
        // A call into a driver that hangs never finds the end of the socket.
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        be_taken_first();
    }
    let mut state = [PollFd::new(&socket, PollFlags::empty())];
    rustix::event::poll(&mut state, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    if state[0].revents().contains(PollFlags::HUP) {
        // Before the signal was asked for.
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(socket)
}

/// Only helps the rest of the host, so it may fail.
#[cfg(target_os = "linux")]
fn be_taken_first() {
    use rustix::process::{DumpableBehavior, dumpable_behavior, set_dumpable_behavior};

    // While core files are forbidden, the file belongs to root.
    let Ok(before) = dumpable_behavior() else { return };
    if set_dumpable_behavior(DumpableBehavior::Dumpable).is_ok() {
        drop(std::fs::write("/proc/self/oom_score_adj", OOM_SCORE));
        let _forbidden_again = set_dumpable_behavior(before);
    }
}
