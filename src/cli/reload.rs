//! SIGHUP: a request to read the token and the certificates anew, or the end of the terminal.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Signal, getpid, kill_process};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use nixfleet_os::signals;

use super::Failure;

/// Requests that wait. More of them mean the same.
const WAITING: usize = 1;

/// Each SIGHUP becomes a request. Programs that the agent starts inherit no handler.
///
/// An agent that was started from a terminal ends when that is closed. One that was started with `nohup` goes on to
/// ignore the signal.
///
/// # Errors
/// When the signal cannot be caught.
pub(super) fn listen() -> Result<mpsc::Receiver<()>, Failure> {
    let (sender, receiver) = mpsc::channel(WAITING);
    if signals::is_ignored(Signal::HUP) {
        // Nobody asks, until the receiver is dropped.
        tokio::spawn(async move { sender.closed().await });
        return Ok(receiver);
    }
    let mut hangup = signal(SignalKind::hangup())
        .map_err(|err| Failure::Start(format!("cannot listen for signals: {err}")))?;
    let had_terminal = has_terminal();
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            if had_terminal && !has_terminal() {
                tracing::info!("Its terminal was closed.");
                // As everybody else would end it.
                kill_process(getpid(), Signal::TERM).ok();
            } else {
                let _one_is_enough = sender.try_send(());
            }
        }
    });
    Ok(receiver)
}

/// Whether the process has a terminal that is still open.
fn has_terminal() -> bool {
    let opened =
        rustix::fs::open("/dev/tty", OFlags::RDONLY | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty());
    // Other errors, such as a lack of descriptors, say nothing about a terminal.
    !matches!(opened, Err(Errno::NXIO | Errno::IO | Errno::NOENT | Errno::NODEV))
}
