//! The folder of a job, and the lock of the host.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nixfleet_os::disk::{File, Lock, Open};
use nixfleet_os::{planted, short};

use super::SupervisorError;
use crate::atomic_file::store_on;
use crate::journal::Writer;
use crate::spec::{JobResult, State};
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

/// A state without a command, which takes the place of an old one when the disk is too full for a new one.
fn spare(dir: &JobDir) -> PathBuf {
    dir.path().join("state.spare")
}

/// Writes what is running. If that fails, the old state must not stay: its process is gone, and the kernel may give
/// its number to another one. A rename needs no room on the disk, so a state without a process is kept for that.
///
/// # Errors
/// An error of the file system. The state on disk then names no process.
pub(super) fn store_state(dir: &JobDir, state: &State) -> io::Result<()> {
    let (disk, spare) = (dir.disk(), spare(dir));
    let nobody = State { child_pid: None, ..state.clone() };
    let kept = disk.kind(&spare).map(drop).or_else(|_| store_on(disk, &spare, &nobody));
    // Without a spare state, no state with a process may be written.
    let stored = kept.and_then(|()| store_on(disk, &dir.state(), state));
    if stored.is_err() {
        // It fails if there is no spare state, and then no process was ever written.
        drop(disk.rename(&spare, &dir.state()));
    }
    stored
}

/// Writes the result. This is the last write of a supervisor.
pub(super) fn finish(dir: &JobDir, log: &mut Writer, result: &JobResult) -> Result<(), SupervisorError> {
    // Before the result: after a power cut, no result may stand over a log that is lost.
    if !planted!("no-sync-before-result")
        && let Err(err) = log.sync()
    {
        log.remark(&format!("cannot sync the log, a power cut may cost a part of it: {err}"));
    }
    let result = JobResult {
        last_seq: log.last_seq(),
        dropped: log.dropped(),
        lines: Some(log.lines()),
        dropped_lines: Some(log.dropped_lines()),
        unwritten_lines: Some(log.unwritten_lines()).filter(|lines| *lines > 0),
        unwritten: log.unwritten_at_end(),
        ..result.clone()
    };
    let (disk, path) = (dir.disk(), dir.result());
    let stored = store_on(disk, &path, &result);
    // The reserve is always removed. If the disk was full, that makes room for the second attempt.
    drop(disk.remove(&reserve(dir)));
    drop(disk.remove(&spare(dir)));
    let stored = stored.or_else(|_| store_on(disk, &path, &result));
    stored.map_err(|source| SupervisorError::Result { path, source })
}

/// Removes old job folders. The caller holds the lock of the host, so none of these jobs is running.
pub(super) fn prune(jobs: &JobsDir, state_dir: &Path, keep: usize, current: &JobId) {
    let Ok(names) = jobs.disk().list(jobs.path()) else { return };
    let ids: Vec<JobId> = names.iter().filter_map(|name| name.to_str()?.parse().ok()).collect();
    let unproven = if planted!("prune-unproven") { Some(BTreeSet::new()) } else { unproven(jobs, state_dir) };
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
            let id = |name: &OsString| name.to_str()?.strip_suffix(".json")?.parse::<JobId>().ok();
            Some(short::gather(names.iter().filter_map(id)))
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
    short::sort(&mut ids);
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
