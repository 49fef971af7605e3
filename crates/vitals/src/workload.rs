//! The workload that a local program reports: sessions, queries, and the loaded model.
//!
//! Any program can report it, such as an inference server or a script. It either replaces a JSON file, or
//! listens on a Unix socket with the same path and writes the same JSON to each connection:
//!
//! ```json
//! {"active_sessions": 2, "pending_queries": 5, "loaded_model": "llama-3.1-8b"}
//! ```
//!
//! Every field may be missing or null. A file has an age limit, so the report of a program that died
//! disappears. A socket is queried each time.

use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::Deserialize;

use nixfleet_os::{bounded_read, text};

#[cfg(test)]
mod tests;

/// Age limit of the file, the same as for StaSysMo.
pub const MAX_AGE: Duration = Duration::from_secs(30);

/// Longest report accepted, in bytes. It has three short fields.
const MAX_ANSWER: u64 = 4096;

/// Longest wait for each part of the report from a socket. The program runs on the same machine.
const SOCKET_TIMEOUT: Duration = Duration::from_millis(500);

/// Longest name of a model, in characters. Longer names are cut.
const MAX_MODEL: usize = 128;

/// The report of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Count of sessions that are being served.
    pub active_sessions: Option<u32>,
    /// Count of queries that wait.
    pub pending_queries: Option<u32>,
    /// Name of the loaded model.
    pub loaded_model: Option<String>,
    /// When it was reported.
    pub said_at: SystemTime,
}

impl Workload {
    /// Whether it is fresh at `now`. A time in the future counts by its distance, like one in the past.
    pub fn is_fresh(&self, now: SystemTime) -> bool {
        now.duration_since(self.said_at).unwrap_or_else(|ahead| ahead.duration()) <= MAX_AGE
    }
}

/// Why the workload is unknown.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// The file or socket cannot be read, or not in time.
    #[error("cannot be read")]
    Io(#[from] io::Error),
    /// The content is not the JSON that the module documentation describes.
    #[error("is not JSON with active_sessions, pending_queries and loaded_model")]
    Malformed(#[from] serde_json::Error),
}

/// Reads the file or socket at `path`. None if it does not exist, or if the file is too old.
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
        (query(path)?, now)
    } else {
        let file = bounded_read::open(path)?;
        let said_at = file.metadata()?.modified()?;
        (bounded_read::read_open(&file, MAX_ANSWER)?, said_at)
    };
    let workload = parse(&bytes, said_at)?;
    Ok(Some(workload).filter(|workload| workload.is_fresh(now)))
}

fn query(path: &Path) -> io::Result<Vec<u8>> {
    let socket = UnixStream::connect(path)?;
    socket.set_read_timeout(Some(SOCKET_TIMEOUT))?;
    let mut answer = Vec::new();
    socket.take(MAX_ANSWER).read_to_end(&mut answer)?;
    Ok(answer)
}

/// Reads a report.
///
/// # Errors
/// The bytes are not the JSON that the module documentation describes.
pub fn parse(bytes: &[u8], said_at: SystemTime) -> Result<Workload, serde_json::Error> {
    /// Fields of later versions are ignored.
    #[derive(Deserialize)]
    struct Report {
        active_sessions: Option<u32>,
        pending_queries: Option<u32>,
        loaded_model: Option<String>,
    }
    // serde also reads an array as the fields in their order, which nobody means.
    let _: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(bytes)?;
    let Report { active_sessions, pending_queries, loaded_model } = serde_json::from_slice(bytes)?;
    let is_plain = |name: &String| {
        !name.is_empty() && !name.contains(char::is_control) && text::printable(name, false) == *name
    };
    let loaded_model = loaded_model.filter(is_plain).map(|name| name.chars().take(MAX_MODEL).collect());
    Ok(Workload { active_sessions, pending_queries, loaded_model, said_at })
}
