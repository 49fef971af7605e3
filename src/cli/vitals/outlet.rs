//! Writes lines to standard output, on a thread of its own because a write may block; sends entries to the
//! journal's socket.

use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

/// Lines that may wait for a slow reader. More would be outdated when they are read.
const QUEUE: usize = 16;

/// Stack of the writing thread, in bytes. It only writes one line at a time.
const STACK: usize = 64 * 1024;

/// How long the shutdown waits for unwritten lines. The whole shutdown should take less than a second.
const PATIENCE: Duration = Duration::from_millis(500);

/// Socket of journald.
pub(super) const JOURNAL: &str = "/run/systemd/journal/socket";

/// Standard output. A reader that stops reading blocks only the writing thread.
#[derive(Debug)]
pub(super) struct Lines {
    queue: SyncSender<String>,
    ended: oneshot::Receiver<io::Result<()>>,
    skipped: u64,
}

impl Lines {
    /// Starts the writing thread.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(super) fn start(mut out: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, lines) = mpsc::sync_channel::<String>(QUEUE);
        let (sender, ended) = oneshot::channel();
        let write = move || {
            // One write for each line, so that no reader sees half of one.
            let result = lines.iter().try_for_each(|line| {
                out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush())
            });
            // The receiver is gone when the program ends.
            drop(sender.send(result));
        };
        thread::Builder::new().name("lines".to_owned()).stack_size(STACK).spawn(write)?;
        Ok(Self { queue, ended, skipped: 0 })
    }

    /// Queues a line; drops it if the queue is full. Does not block.
    pub(super) fn put(&mut self, line: String) {
        match self.queue.try_send(line) {
            Ok(()) if self.skipped > 0 => {
                tracing::warn!(skipped = self.skipped, "Standard output is read again.");
                self.skipped = 0;
            }
            // `ended` reports the end of the thread.
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(_)) => {
                if self.skipped == 0 {
                    tracing::warn!("Nobody reads standard output; lines are left out.");
                }
                self.skipped += 1;
            }
        }
    }

    /// Waits until writing ends. A closed pipe is not an error.
    ///
    /// # Errors
    /// The error of the failed write.
    pub(super) async fn ended(&mut self) -> io::Result<()> {
        let ended = (&mut self.ended).await;
        quiet(ended.unwrap_or_else(|_| Err(io::Error::other("the thread for lines ended"))))
    }

    /// Waits a moment for the queued lines.
    pub(super) async fn finish(self) {
        drop(self.queue);
        // Lines that are still unread after that are lost.
        drop(tokio::time::timeout(PATIENCE, self.ended).await);
    }
}

/// Treats a closed pipe as success: the reader, such as `head`, has seen enough.
pub(super) fn quiet(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(err) if err.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// The journal: one datagram for each entry.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    socket: Option<UnixDatagram>,
    broken: bool,
}

impl Journal {
    /// The journal at this socket. The first entry connects.
    pub(super) fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), socket: None, broken: false }
    }

    /// Sends an entry, or drops it. Does not block. Logs the first of several failures in a row.
    pub(super) fn put(&mut self, datagram: &[u8]) {
        // Try twice: a restarted journal has a new socket.
        let result = self.send(datagram).or_else(|_| self.send(datagram));
        match result {
            Ok(()) if std::mem::take(&mut self.broken) => tracing::info!("The journal takes entries again."),
            Err(err) if !std::mem::replace(&mut self.broken, true) => {
                tracing::warn!("Cannot send to the journal at {}: {err}.", self.path.display());
            }
            _ => {}
        }
    }

    /// Sends an entry. Does not block.
    ///
    /// # Errors
    /// When the journal is absent or too busy.
    pub(super) fn send(&mut self, datagram: &[u8]) -> io::Result<()> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => {
                let socket = UnixDatagram::unbound()?;
                socket.set_nonblocking(true)?;
                socket.connect(&self.path)?;
                socket
            }
        };
        socket.send(datagram)?;
        self.socket = Some(socket);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
