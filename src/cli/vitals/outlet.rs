//! Where the lines go: standard output, by a thread that may hang in it, or the journal's socket.

use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

/// Lines that may wait for a reader that is slow. More would be old when they are read.
const QUEUE: usize = 16;

/// It formats nothing and holds one line.
const STACK: usize = 64 * 1024;

/// How long the end waits for lines that are still on their way: less than the second it may take.
const PATIENCE: Duration = Duration::from_millis(500);

/// Where journald listens.
pub(super) const JOURNAL: &str = "/run/systemd/journal/socket";

/// Standard output. Whoever reads it may stop reading without leaving: only the thread waits then.
#[derive(Debug)]
pub(super) struct Lines {
    queue: SyncSender<String>,
    ended: oneshot::Receiver<io::Result<()>>,
    skipped: u64,
}

impl Lines {
    /// # Errors
    /// There is no thread to be had.
    pub(super) fn start(mut out: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, taken) = mpsc::sync_channel::<String>(QUEUE);
        let (tell, ended) = oneshot::channel();
        let write = move || {
            // One call for a line, so that none is seen in halves.
            let result = taken.iter().try_for_each(|line| {
                out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush())
            });
            // Nobody is left to be told when the program ends.
            drop(tell.send(result));
        };
        thread::Builder::new().name("lines".to_owned()).stack_size(STACK).spawn(write)?;
        Ok(Self { queue, ended, skipped: 0 })
    }

    /// Hands over a line, or leaves it out if too many wait already. Does not wait.
    pub(super) fn put(&mut self, line: String) {
        match self.queue.try_send(line) {
            Ok(()) if self.skipped > 0 => {
                tracing::warn!(skipped = self.skipped, "Standard output is read again.");
                self.skipped = 0;
            }
            // The end of the thread is told by `ended`.
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(_)) => {
                if self.skipped == 0 {
                    tracing::warn!("Nobody reads standard output; lines are left out.");
                }
                self.skipped += 1;
            }
        }
    }

    /// Waits until nothing more can be written. A reader that left is no error.
    ///
    /// # Errors
    /// Why it cannot.
    pub(super) async fn ended(&mut self) -> io::Result<()> {
        let ended = (&mut self.ended).await;
        quiet(ended.unwrap_or_else(|_| Err(io::Error::other("the thread for lines ended"))))
    }

    /// Waits a moment for the lines that are on their way.
    pub(super) async fn finish(self) {
        drop(self.queue);
        // Whoever does not read by now does not get them.
        drop(tokio::time::timeout(PATIENCE, self.ended).await);
    }
}

/// A reader that has seen enough (`head`) is no error.
pub(super) fn quiet(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(err) if err.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// The journal, by a datagram for each entry.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    socket: Option<UnixDatagram>,
    broken: bool,
}

impl Journal {
    /// Connects with the first entry.
    pub(super) fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), socket: None, broken: false }
    }

    /// Hands over an entry, or leaves it out. Does not wait. The first failure of a row is logged.
    pub(super) fn put(&mut self, datagram: &[u8]) {
        // One more time: a journal that was restarted has a new socket.
        let result = self.send(datagram).or_else(|_| self.send(datagram));
        match result {
            Ok(()) if std::mem::take(&mut self.broken) => tracing::info!("The journal takes entries again."),
            Err(err) if !std::mem::replace(&mut self.broken, true) => {
                tracing::warn!("Cannot send to the journal at {}: {err}.", self.path.display());
            }
            _ => {}
        }
    }

    /// # Errors
    /// The journal is not there, or is too busy.
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
