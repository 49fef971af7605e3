//! What a local program says about its work: sessions, queries, the model it has loaded (seed 001).
//!
//! Any program can: an inference server, a script. It either replaces a JSON file, or listens on a Unix
//! socket in the same place and writes the same JSON to whoever connects:
//!
//! ```json
//! {"active_sessions": 2, "pending_queries": 5, "loaded_model": "llama-3.1-8b"}
//! ```
//!
//! Every field may be missing or null. A file counts while it is fresh, so a program that died is not
//! quoted for ever; a socket is asked anew each time.

use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use tokio::sync::watch;

use nixfleet_os::bounded_read;

#[cfg(test)]
mod tests;

/// A file older than this is not reported: the same as for StaSysMo's (T02 scenario 3).
pub const MAX_AGE: Duration = Duration::from_secs(30);

/// Longest answer, in bytes. It has three short fields.
const MAX_ANSWER: u64 = 4096;

/// Longest wait for each piece of a socket's answer. It is a program on the same machine.
const SOCKET_PATIENCE: Duration = Duration::from_millis(500);

/// Longest name of a model that is passed on, in characters.
const MAX_MODEL: usize = 128;

/// Bounds of the time between two looks, as for StaSysMo.
const MIN_PERIOD: Duration = Duration::from_millis(250);
const MAX_PERIOD: Duration = Duration::from_secs(5);

/// Stack of the thread, in bytes: small reads.
const STACK: usize = 128 * 1024;

/// What a program said, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Sessions that are being served.
    pub active_sessions: Option<u32>,
    /// Queries that wait.
    pub pending_queries: Option<u32>,
    /// Name of the model in memory.
    pub loaded_model: Option<String>,
    /// When it was said.
    pub said_at: SystemTime,
}

impl Workload {
    /// Whether it may be reported at `now`. A time ahead of the clock is no newer than now.
    pub fn is_fresh(&self, now: SystemTime) -> bool {
        now.duration_since(self.said_at).unwrap_or_else(|ahead| ahead.duration()) <= MAX_AGE
    }
}

/// Why nothing is known.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// It cannot be read, or not in time.
    #[error("cannot be read")]
    Io(#[from] io::Error),
    /// Not the JSON that is described above.
    #[error("is not JSON with active_sessions, pending_queries and loaded_model")]
    Malformed(#[from] serde_json::Error),
}

/// Reads what is at `path`; none when nothing is there, or something old.
///
/// # Errors
/// [`WorkloadError`].
pub fn read(path: &Path, now: SystemTime) -> Result<Option<Workload>, WorkloadError> {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(err) => return Err(err.into()),
    };
    let (bytes, said_at) = if metadata.file_type().is_socket() {
        (ask(path)?, now)
    } else {
        let file = bounded_read::open(path)?;
        let said_at = file.metadata()?.modified()?;
        (bounded_read::read_open(&file, MAX_ANSWER)?, said_at)
    };
    let workload = parse(&bytes, said_at)?;
    Ok(Some(workload).filter(|workload| workload.is_fresh(now)))
}

fn ask(path: &Path) -> io::Result<Vec<u8>> {
    let socket = UnixStream::connect(path)?;
    socket.set_read_timeout(Some(SOCKET_PATIENCE))?;
    let mut answer = Vec::new();
    socket.take(MAX_ANSWER).read_to_end(&mut answer)?;
    Ok(answer)
}

fn parse(bytes: &[u8], said_at: SystemTime) -> Result<Workload, serde_json::Error> {
    /// Fields of later versions are ignored.
    #[derive(Deserialize)]
    struct Said {
        active_sessions: Option<u32>,
        pending_queries: Option<u32>,
        loaded_model: Option<String>,
    }
    let Said { active_sessions, pending_queries, loaded_model } = serde_json::from_slice(bytes)?;
    let plain = |name: &String| !name.is_empty() && !name.contains(char::is_control);
    let loaded_model = loaded_model.filter(plain).map(|name| name.chars().take(MAX_MODEL).collect());
    Ok(Workload { active_sessions, pending_queries, loaded_model, said_at })
}

/// The newest word, kept up to date by a thread that ends when this is dropped.
#[derive(Debug)]
pub struct WorkloadHandle {
    newest: watch::Receiver<Option<Workload>>,
    /// Its end is the thread's sign to stop; nothing is ever sent.
    _stop: mpsc::Sender<()>,
}

impl WorkloadHandle {
    /// The snapshot; see [`Workload::is_fresh`].
    pub fn newest(&self) -> Option<Workload> {
        self.newest.borrow().clone()
    }
}

/// Starts looking at `path`, four times each `interval` within bounds. A thread, because whoever
/// answers may hang.
pub fn spawn(path: PathBuf, interval: Duration) -> WorkloadHandle {
    let (publish, newest) = watch::channel(None);
    let (stop, stopped) = mpsc::channel();
    let period = (interval / 4).clamp(MIN_PERIOD, MAX_PERIOD);
    let run = move || {
        let mut told = false;
        loop {
            let read = read(&path, SystemTime::now());
            if let Err(err) = &read
                && !std::mem::replace(&mut told, true)
            {
                let err = nixfleet_os::error::chain(err);
                tracing::warn!("The workload at {} {err}; it is not reported.", path.display());
            }
            told &= read.is_err();
            let workload = read.ok().flatten();
            publish.send_if_modified(|old| std::mem::replace(old, workload.clone()) != workload);
            match stopped.recv_timeout(period) {
                Ok(()) | Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
        }
    };
    if let Err(error) = thread::Builder::new().name("workload".to_owned()).stack_size(STACK).spawn(run) {
        tracing::warn!(%error, "No thread for the workload: heartbeats go without it.");
    }
    WorkloadHandle { newest, _stop: stop }
}
