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

/// Waits until files can be opened, and says what is missing. Whoever only reads files needs no thread, and a look for
/// one costs a turn of the scheduler: milliseconds of the start on a busy host.
///
/// # Errors
/// There was no room for a minute.
pub(super) fn wait_for_files() -> Result<(), Failure> {
    wait(descriptors)
}

/// Waits until there is room for all that the start needs, and says what is missing.
///
/// # Errors
/// There was none for a minute.
pub(super) fn wait_for_room() -> Result<(), Failure> {
    wait(|| descriptors().and_then(|()| one_thread()))
}

/// `look` takes what is needed and gives it back, or says what is missing and what to do.
fn wait(look: impl Fn() -> Result<(), String>) -> Result<(), Failure> {
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

fn descriptors() -> Result<(), String> {
    let take = || -> io::Result<()> {
        let (first, _second) = io::pipe()?;
        let rest: io::Result<Vec<io::PipeReader>> = (2..DESCRIPTORS).map(|_| first.try_clone()).collect();
        rest.map(drop)
    };
    match take() {
        Err(err)
            if [Errno::MFILE, Errno::NFILE]
                .iter()
                .any(|none| err.raw_os_error() == Some(none.raw_os_error())) =>
        {
            Err(format!(
                "{DESCRIPTORS} files cannot be opened at once: {err}; raise the limit of open files (ulimit -n, \
                 LimitNOFILE=)"
            ))
        }
        _ => Ok(()),
    }
}

fn one_thread() -> Result<(), String> {
    let thread = thread::Builder::new().spawn(|| {});
    // A thread that does nothing does not panic.
    thread.map(|thread| drop(thread.join())).map_err(|err| {
        format!("no thread can be started: {err}; raise the limit of processes (ulimit -u, TasksMax=)")
    })
}
