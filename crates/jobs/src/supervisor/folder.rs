//! The folder of a job, and the lock of the host.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nixfleet_os::disk::{File, Lock, Open};

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
    let (disk, clock) = (jobs.disk(), jobs.clock());
    disk.make_folders(jobs.path(), 0o750).map_err(folder_error("make", jobs.path()))?;
    let path = jobs.lock();
    let file = disk.open(&path, Open::Keep).map_err(folder_error("open", &path))?;
    let deadline = clock.instant() + LOCK_TIMEOUT;
    loop {
        match file.lock(Lock::Exclusive) {
            Ok(true) => return Ok(file),
            Ok(false) if clock.instant() < deadline => clock.sleep(Duration::from_millis(5)),
            Ok(false) => return Err(SupervisorError::Busy(path)),
            Err(err) => return Err(folder_error("lock", &path)(err)),
        }
    }
}

pub(super) fn create(dir: &JobDir, settings: &Settings) -> Result<Writer, SupervisorError> {
    let disk = dir.disk();
    disk.make_folder(dir.path(), 0o750).map_err(folder_error("make", dir.path()))?;
    let reserve = reserve(dir);
    let filled =
        disk.open(&reserve, Open::Truncate).and_then(|mut file| file.write_all(&[0; RESULT_RESERVE]));
    let filled = filled.map_err(folder_error("write", &reserve));
    let log = filled.and_then(|()| {
        Writer::create(dir.clone(), settings.log_limit).map_err(folder_error("write", &dir.log(0)))
    });
    if log.is_err() {
        // A folder without a log would look like a lost job.
        drop(disk.remove_folder(dir.path()));
    }
    log
}

pub(super) fn reserve(dir: &JobDir) -> PathBuf {
    dir.path().join("result.reserve")
}

/// Removes the oldest job folders. The caller holds the lock of the host, so none of these jobs is running.
pub(super) fn prune(jobs: &JobsDir, keep: usize, current: &JobId) {
    let Ok(names) = jobs.disk().list(jobs.path()) else { return };
    let mut ids: Vec<JobId> =
        names.iter().filter_map(|name| name.to_str()?.parse().ok()).filter(|id| id != current).collect();
    ids.sort();
    let surplus = (ids.len() + 1).saturating_sub(keep.max(1));
    for id in ids.drain(..surplus) {
        // A folder that cannot be removed does no harm; the next job tries again.
        drop(jobs.disk().remove_folder(jobs.job(&id).path()));
    }
}
