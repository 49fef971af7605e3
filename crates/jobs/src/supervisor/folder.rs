//! The folder of a job, and the lock of the host.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use super::SupervisorError;
use crate::journal::Writer;
use crate::{JobDir, JobId, JobsDir, Settings};

/// How long to wait for the lock. The previous supervisor may have written its result but not ended yet.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes that are reserved at the start, so that the result can be written when the disk is full at the end.
const RESULT_RESERVE: usize = 4096;

fn folder_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SupervisorError {
    let path = path.to_owned();
    move |source| SupervisorError::Folder { what, path, source }
}

pub(super) fn lock(jobs: &JobsDir) -> Result<File, SupervisorError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o750).create(jobs.path()).map_err(folder_error("make", jobs.path()))?;
    let path = jobs.lock();
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(folder_error("open", &path))?;
    let deadline = Instant::now() + LOCK_TIMEOUT;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(5));
            }
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(SupervisorError::Busy(path)),
            Err(err) => return Err(folder_error("lock", &path)(err.into())),
        }
    }
}

pub(super) fn create(dir: &JobDir, settings: &Settings) -> Result<Writer, SupervisorError> {
    let made = DirBuilder::new().mode(0o750).create(dir.path());
    made.map_err(folder_error("make", dir.path()))?;
    let reserve = reserve(dir);
    let filled = fs::write(&reserve, [0; RESULT_RESERVE]).map_err(folder_error("write", &reserve));
    let log = filled.and_then(|()| {
        Writer::create(dir.clone(), settings.log_limit).map_err(folder_error("write", &dir.log(0)))
    });
    if log.is_err() {
        // A folder without a log would look like a lost job.
        drop(fs::remove_dir_all(dir.path()));
    }
    log
}

pub(super) fn reserve(dir: &JobDir) -> PathBuf {
    dir.path().join("result.reserve")
}

/// Removes the oldest job folders. The caller holds the lock of the host, so none of these jobs is running.
pub(super) fn prune(jobs: &JobsDir, keep: usize, current: &JobId) {
    let Ok(items) = fs::read_dir(jobs.path()) else { return };
    let mut ids: Vec<JobId> = items
        .flatten()
        .filter_map(|item| item.file_name().to_str()?.parse().ok())
        .filter(|id| id != current)
        .collect();
    ids.sort();
    let surplus = (ids.len() + 1).saturating_sub(keep.max(1));
    for id in ids.drain(..surplus) {
        // A folder that cannot be removed does no harm; the next job tries again.
        drop(fs::remove_dir_all(jobs.job(&id).path()));
    }
}
