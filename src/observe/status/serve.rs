//! Answers on a Unix socket: one JSON document for each connection.
//!
//! Tasks of the agent's own runtime. They wait for their clients, the agent's loop never for them.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{sleep, timeout};

use super::{Ask, Asker, Own, Report};

/// Clients served at once, on each of the two ways. Others wait until the kernel's queue is full.
pub const CONNECTIONS: usize = 4;

/// For a connection, from its beginning to its end: the answer fits into the socket's buffer, so this
/// is for clients that say nothing or read nothing.
const DEADLINE: Duration = Duration::from_secs(1);

/// Before the next attempt when connections cannot be taken, for want of file descriptors say.
const PAUSE: Duration = Duration::from_secs(1);

/// Where reports come from.
pub struct Source {
    asker: Asker,
    add: Box<dyn Fn(&mut Report) + Send + Sync>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").finish_non_exhaustive()
    }
}

impl Source {
    /// Reports of the loop that `asker` leads to; `add` puts in what others know. It must not wait.
    pub fn new(asker: Asker, add: impl Fn(&mut Report) + Send + Sync + 'static) -> Self {
        Self { asker, add: Box::new(add) }
    }

    /// The agent's state now; none if its loop is gone.
    pub(crate) async fn report(&self) -> Option<Report> {
        let (sender, answer) = oneshot::channel();
        self.asker.send(Ask(sender)).await.ok()?;
        let mut report = answer.await.ok()?;
        report.own = Own::read();
        (self.add)(&mut report);
        Some(report)
    }
}

/// Takes the place of whatever socket is at `path` and answers there until the runtime ends. `mode` is
/// who may ask, as for chmod.
///
/// # Errors
/// As for binding a socket, and if there is something else at `path`.
pub fn spawn(path: &Path, mode: u32, source: Arc<Source>) -> io::Result<()> {
    let listener = bind(path, mode)?;
    tokio::spawn(serve(listener, move |stream| answer(stream, Arc::clone(&source))));
    Ok(())
}

fn bind(path: &Path, mode: u32) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    match fs::symlink_metadata(path) {
        // An earlier agent's: there is no other one now, or this one would not have come so far.
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path)?,
        Ok(_) => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket"));
        }
        Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(listener)
}

async fn answer(mut stream: UnixStream, source: Arc<Source>) {
    let Some(text) = source.report().await.and_then(|report| serde_json::to_vec(&report).ok()) else {
        return;
    };
    // Who hangs up early wanted no answer.
    drop(stream.write_all(&text).await);
    drop(stream.shutdown().await);
}

/// Something that takes connections.
pub(crate) trait Listen: Send + 'static {
    type Stream: Send + 'static;

    fn next(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Listen for UnixListener {
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<UnixStream> {
        Ok(self.accept().await?.0)
    }
}

/// Serves connections, a few at once and each with a deadline.
pub(crate) async fn serve<L, F>(listener: L, handle: impl Fn(L::Stream) -> F + Send + 'static)
where
    L: Listen,
    F: Future<Output = ()> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
        match listener.next().await {
            Ok(stream) => {
                let work = timeout(DEADLINE, handle(stream));
                tokio::spawn(async move {
                    if work.await.is_err() {
                        tracing::debug!("Gave up somebody who asked for the status and was too slow.");
                    }
                    drop(permit);
                });
            }
            Err(err) => {
                tracing::debug!("Could not take a connection: {err}.");
                sleep(PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::AsyncReadExt;
    use tokio::sync::mpsc;

    use super::*;

    fn agent() -> Arc<Source> {
        let (asker, mut asks) = mpsc::channel::<Ask>(crate::observe::status::ASKS);
        tokio::spawn(async move {
            while let Some(Ask(answer)) = asks.recv().await {
                drop(answer.send(Report { hostname: "web-1".to_owned(), ..Report::default() }));
            }
        });
        Arc::new(Source::new(asker, |report| report.gpu_timeouts = 7))
    }

    async fn ask(path: &Path) -> Report {
        let mut text = Vec::new();
        UnixStream::connect(path).await.unwrap().read_to_end(&mut text).await.unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    #[tokio::test]
    async fn who_connects_reads_one_document() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("own/status.sock");
        spawn(&path, 0o600, agent()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let report = ask(&path).await;
        assert_eq!((report.hostname.as_str(), report.gpu_timeouts), ("web-1", 7));
        assert!(report.own.rss.is_some());
    }

    #[tokio::test]
    async fn a_socket_that_is_left_over_is_replaced_and_a_file_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("status.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        spawn(&path, 0o600, agent()).unwrap();
        assert_eq!(ask(&path).await.hostname, "web-1");
        let file = folder.path().join("file");
        fs::write(&file, "precious").unwrap();
        assert_eq!(spawn(&file, 0o600, agent()).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&file).unwrap(), b"precious");
    }

    #[tokio::test]
    async fn clients_that_never_read_are_given_up_and_keep_nobody_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("status.sock");
        let source = agent();
        let asker = source.asker.clone();
        let answered = AtomicUsize::new(0);
        let source = Source::new(asker, move |report| {
            if answered.fetch_add(1, Ordering::Relaxed) < CONNECTIONS {
                // More than any socket's buffer.
                report.version = "x".repeat(8 << 20);
            }
        });
        spawn(&path, 0o600, Arc::new(source)).unwrap();
        let begun = std::time::Instant::now();
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS {
            held.push(UnixStream::connect(&path).await.unwrap());
        }
        let report = timeout(Duration::from_secs(30), ask(&path)).await.unwrap();
        assert_eq!(report.hostname, "web-1");
        // It had to wait for one of the four to be given up.
        assert!(begun.elapsed() >= DEADLINE / 2, "{:?}", begun.elapsed());
        drop(held);
    }
}
