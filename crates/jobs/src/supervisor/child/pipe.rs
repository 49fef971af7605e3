//! The outputs of a program: reading them, into lines.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{ChildStderr, ChildStdout};
use std::sync::Arc;

use nixfleet_os::processes::{Output, Programs};

use crate::journal::{Source, Writer};
use crate::lines::{Lines, Piece};
use crate::supervisor::failure_reason::FailureReason;
use crate::supervisor::progress::Progress;

/// Bytes that are read of a pipe when the time for the rest is over. What the program wrote before its end is in the
/// pipe by then, which holds at most so much unless root made it larger. A process that was left behind may write for
/// ever.
const REST: usize = 1024 * 1024;

/// The reading end of an output of the program.
pub(super) enum Stream {
    Out(ChildStdout),
    Err(ChildStderr),
    Simulated(Arc<dyn Programs>, Output),
}

impl Stream {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Out(out) => Some(out.as_fd()),
            Self::Err(err) => Some(err.as_fd()),
            Self::Simulated(..) => None,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Out(out) => out.read(buffer),
            Self::Err(err) => err.read(buffer),
            Self::Simulated(programs, output) => programs.read(*output, buffer),
        }
    }
}

/// Makes reads from a pipe return at once when there is nothing to read. A process of the command can open the pipe
/// by /proc/self/fd and take what the supervisor was just told about. A read that waited then would keep the
/// supervisor from every stop, from the timeout and from the end of the command.
pub(super) fn never_waiting<F: AsFd>(pipe: F) -> io::Result<F> {
    rustix::io::ioctl_fionbio(&pipe, true)?;
    Ok(pipe)
}

/// One output stream of the program.
pub(super) struct Pipe {
    /// None when it is closed.
    pub(super) read: Option<Stream>,
    source: Source,
    lines: Lines,
    pub(super) reason: FailureReason,
}

impl Pipe {
    pub(super) fn new(read: Option<Stream>, source: Source) -> Self {
        Self { read, source, lines: Lines::default(), reason: FailureReason::default() }
    }

    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.read.as_ref().and_then(Stream::fd)
    }

    /// Reads once, if there is something to read. Returns how much that was.
    pub(super) fn take(&mut self, buffer: &mut [u8], log: &mut Writer, progress: &mut Progress) -> usize {
        let Some(read) = &mut self.read else { return 0 };
        let count = match read.read(buffer) {
            Ok(count) => count,
            Err(err) if matches!(err.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {
                return 0;
            }
            Err(_) => 0,
        };
        if count == 0 {
            self.close(log, progress);
            return 0;
        }
        let (source, reason) = (self.source, &mut self.reason);
        self.lines.push(&buffer[..count], &mut |piece| record(&piece, source, reason, log, progress));
        if let Some(state) = self.lines.rewritten() {
            progress.rewritten(&state, log);
        }
        count
    }

    /// Adds output that came in another way, when the pipe is closed.
    pub(super) fn add(&mut self, text: &[u8], log: &mut Writer, progress: &mut Progress) {
        let (source, reason) = (self.source, &mut self.reason);
        self.lines.push(text, &mut |piece| record(&piece, source, reason, log, progress));
        self.close(log, progress);
    }

    /// Reads what is in the pipe now, and closes it.
    pub(super) fn finish(&mut self, buffer: &mut [u8], log: &mut Writer, progress: &mut Progress) {
        let mut taken = 0;
        while taken < REST {
            match self.take(buffer, log, progress) {
                0 => break,
                count => taken += count,
            }
        }
        self.close(log, progress);
    }

    fn close(&mut self, log: &mut Writer, progress: &mut Progress) {
        let (source, reason) = (self.source, &mut self.reason);
        self.lines.finish(&mut |piece| record(&piece, source, reason, log, progress));
        self.read = None;
    }
}

fn record(
    piece: &Piece<'_>,
    source: Source,
    reason: &mut FailureReason,
    log: &mut Writer,
    progress: &mut Progress,
) {
    progress.read(source, piece, &mut |shown| {
        log.line(source, &shown.text, shown.cont);
        reason.add_line(&shown.text);
    });
    progress.report_changes(log);
}
