//! Room for the start of the agent. Libraries panic when they get no descriptor or no thread then.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::{Failure, complain};
use crate::observe::journald::Priority;

/// Descriptors that must be free: one for a file, and six for tokio's runtime (epoll twice, a waker, and three ends of a
/// pipe for signals, without which it panics).
const DESCRIPTORS: usize = 8;

/// How long to wait for room. A service manager takes a start of 90 s for a failure. Whoever starts the agent without
/// one sees the error.
const LIMIT: Duration = Duration::from_secs(60);

/// How often to look for room.
const PAUSE: Duration = Duration::from_millis(250);

/// Waits until there is room, and says what is missing.
///
/// # Errors
/// There was none for a minute.
pub(super) fn wait_for_room() -> Result<(), Failure> {
    let begun = Instant::now();
    let mut said = false;
    while let Err(what) = look() {
        if begun.elapsed() >= LIMIT {
            return Err(Failure::Start(format!("cannot start: {what}")));
        }
        if !std::mem::replace(&mut said, true) {
            complain(
                Priority::Warning,
                &format!("cannot start yet: {what}; trying again for {} s", LIMIT.as_secs()),
            );
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// Takes what the start needs, and gives it back.
///
/// # Errors
/// What is missing, and what to do.
fn look() -> Result<(), String> {
    let descriptors = || -> io::Result<()> {
        let (first, _second) = io::pipe()?;
        let rest: io::Result<Vec<io::PipeReader>> = (2..DESCRIPTORS).map(|_| first.try_clone()).collect();
        rest.map(drop)
    };
    if let Err(err) = descriptors()
        && [Errno::MFILE, Errno::NFILE].iter().any(|none| err.raw_os_error() == Some(none.raw_os_error()))
    {
        return Err(format!(
            "{DESCRIPTORS} files cannot be opened at once: {err}; raise the limit of open files (ulimit -n, \
             LimitNOFILE=)"
        ));
    }
    match thread::Builder::new().spawn(|| {}) {
        // A thread that does nothing does not panic.
        Ok(thread) => drop(thread.join()),
        Err(err) => {
            return Err(format!(
                "no thread can be started: {err}; raise the limit of processes (ulimit -u, TasksMax=)"
            ));
        }
    }
    Ok(())
}
