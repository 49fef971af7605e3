//! The folder of a job, and the lock of the host.

use std::collections::BTreeSet;
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

/// Where the agent keeps its records, below its state folder.
const RECORDS: [&str; 2] = ["agent", "delivery"];

/// Names that are read there. The agent keeps 16 records, and at most as many leftovers.
const MAX_NAMES: usize = 4096;

/// Folders that are kept beyond `jobs.keep` because no dashboard has certainly read how the job ended. The agent
/// accepts no more commands than these without that proof.
const MAX_UNPROVEN: usize = 16;

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

/// Removes old job folders. The caller holds the lock of the host, so none of these jobs is running.
pub(super) fn prune(jobs: &JobsDir, state_dir: &Path, keep: usize, current: &JobId) {
    let Ok(names) = jobs.disk().list(jobs.path()) else { return };
    let ids: Vec<JobId> = names.iter().filter_map(|name| name.to_str()?.parse().ok()).collect();
    let unproven = unproven(jobs, state_dir);
    for id in surplus(ids, keep, current, unproven.as_ref()) {
        // A folder that cannot be removed does no harm; the next job tries again.
        drop(jobs.disk().remove_folder(jobs.job(&id).path()));
    }
}

/// The jobs whose end no dashboard has certainly read: the agent has a record of each. None if that cannot be read.
///
/// The folder with the records belongs to the agent's user, and this supervisor may be root. So no link is followed,
/// and only names that are ids of jobs count, of a bounded number of names.
fn unproven(jobs: &JobsDir, state_dir: &Path) -> Option<BTreeSet<JobId>> {
    match jobs.disk().list_below(state_dir, &RECORDS, MAX_NAMES) {
        Ok(names) => {
            Some(names.iter().filter_map(|name| name.to_str()?.strip_suffix(".json")?.parse().ok()).collect())
        }
        // No agent has accepted a command.
        Err(err) if err.kind() == io::ErrorKind::NotFound => Some(BTreeSet::new()),
        Err(_) => None,
    }
}

/// The jobs to remove so that `keep` are left, oldest first. A job of `unproven` is kept beyond that, because an
/// agent would tell it as lost: up to [`MAX_UNPROVEN`] more than `keep`. Without `unproven`, that is every job.
fn surplus(
    mut ids: Vec<JobId>,
    keep: usize,
    current: &JobId,
    unproven: Option<&BTreeSet<JobId>>,
) -> Vec<JobId> {
    let keep = keep.max(1);
    ids.retain(|id| id != current);
    ids.sort();
    let mut left = ids.len() + 1;
    let mut removed = Vec::new();
    for (proven, limit) in [(true, keep), (false, keep + MAX_UNPROVEN)] {
        ids.retain(|id| {
            let of_this_kind = unproven.is_none_or(|unproven| unproven.contains(id)) != proven;
            let remove = of_this_kind && left > limit;
            if remove {
                left -= 1;
                removed.push(id.clone());
            }
            !remove
        });
    }
    removed
}

#[cfg(test)]
mod tests;
