//! Answers on a Unix socket: one JSON document for each connection.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};

use super::ask::Source;
use crate::observe::accept;

/// Replaces the socket at `path`, if there is one, and answers there until the runtime ends. `mode` are the
/// permissions of the socket.
///
/// # Errors
/// When binding fails, or when `path` is something other than a socket.
pub fn spawn(path: &Path, mode: u32, source: Arc<Source>) -> io::Result<()> {
    let listener = bind(path, mode)?;
    tokio::spawn(accept::serve(listener, move |stream| answer(stream, Arc::clone(&source))));
    Ok(())
}

fn bind(path: &Path, mode: u32) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    // A socket may be left by an earlier agent. The lock on the state folder excludes another running one.
    if fs::symlink_metadata(path).is_ok_and(|found| !found.file_type().is_socket()) {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket"));
    }
    // Under a name of its own until it has its permissions: whoever finds the socket may use it. The name is short,
    // because the path of a socket has 107 bytes at most.
    let unfinished = path.with_file_name(format!(".{}", std::process::id()));
    // Left by an agent with the same process id that was killed here.
    drop(fs::remove_file(&unfinished));
    let listener = UnixListener::bind(&unfinished)?;
    let finished = fs::set_permissions(&unfinished, fs::Permissions::from_mode(mode))
        .and_then(|()| fs::rename(&unfinished, path));
    if finished.is_err() {
        drop(fs::remove_file(&unfinished));
    }
    finished.map(|()| listener)
}

async fn answer(mut stream: UnixStream, source: Arc<Source>) {
    let Some(text) = source.report().await.and_then(|report| serde_json::to_vec(&report).ok()) else {
        return;
    };
    // A client that disconnects early does not need the answer.
    drop(stream.write_all(&text).await);
    drop(stream.shutdown().await);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    use tokio::io::AsyncReadExt;
    use tokio::sync::mpsc;
    use tokio::time::timeout;

    use super::*;
    use crate::observe::accept::{CONNECTIONS, DEADLINE};
    use crate::observe::status::{ASKS, Ask, Asker, Report};

    /// An asker for a loop that answers every question.
    fn asker() -> Asker {
        let (asker, mut asks) = mpsc::channel::<Ask>(ASKS);
        tokio::spawn(async move {
            while let Some(Ask(answer)) = asks.recv().await {
                drop(answer.send(Report { hostname: "web-1".to_owned(), ..Report::default() }));
            }
        });
        asker
    }

    fn agent() -> Arc<Source> {
        Arc::new(Source::new(asker(), |report| report.gpu_timeouts = 7))
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
        assert!(report.process.rss.is_some());
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
        let asker = asker();
        let answered = AtomicUsize::new(0);
        let source = Source::new(asker, move |report| {
            if answered.fetch_add(1, Ordering::Relaxed) < CONNECTIONS {
                // Longer than the buffer of any socket.
                report.version = "x".repeat(8 << 20);
            }
        });
        spawn(&path, 0o600, Arc::new(source)).unwrap();
        let begun = Instant::now();
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS {
            held.push(UnixStream::connect(&path).await.unwrap());
        }
        let report = timeout(Duration::from_secs(30), ask(&path)).await.unwrap();
        assert_eq!(report.hostname, "web-1");
        // This client had to wait until one of the other connections reached its deadline.
        assert!(begun.elapsed() >= DEADLINE / 2, "{:?}", begun.elapsed());
        drop(held);
    }
}
