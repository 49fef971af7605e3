//! The folder of a job, and the lock of the host.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nixfleet_os::disk::{File, Lock, Open};

use super::SupervisorError;
use crate::atomic_file::store_on;
use crate::journal::Writer;
use crate::spec::{JobResult, State};
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
    if let Err(err) = log.sync() {
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::atomic_file::load;
    use crate::journal::Source;
    use crate::spec::Outcome;

    #[test]
    fn a_state_that_cannot_be_written_does_not_leave_an_old_process_behind() {
        let folder = tempfile::tempdir().unwrap();
        let dir = JobsDir::new(folder.path()).job(&JobId::generate());
        fs::create_dir(dir.path()).unwrap();
        // A folder in the place of the temporary file: nothing new can be written, as on a full disk.
        let full = dir.state().with_extension("tmp");
        let store = |pid, is_full| {
            if is_full {
                fs::create_dir(&full).unwrap();
            }
            let state =
                State { supervisor_pid: 7, child_pid: Some(pid), step: 0, step_name: "step".to_owned() };
            let stored = store_state(&dir, &state);
            assert_eq!(stored.is_err(), is_full);
            if is_full {
                fs::remove_dir(&full).unwrap();
            }
            load::<State>(&dir.state()).unwrap().map(|state| (state.supervisor_pid, state.child_pid))
        };
        assert_eq!(store(1, true), None, "full from the start");
        assert_eq!(store(2, false), Some((7, Some(2))));
        assert_eq!(store(3, true), Some((7, None)), "a stop still finds the supervisor");
        assert_eq!(store(4, true), Some((7, None)), "still full");
        assert_eq!(store(5, false), Some((7, Some(5))));
        assert_eq!(store(6, true), Some((7, None)), "full again");
        let mut log = Writer::create(dir.clone(), 1 << 20).unwrap();
        finish(&dir, &mut log, &result()).unwrap();
        let names = ["log.jsonl", "result.json", "state.json"].map(|name| dir.path().join(name).exists());
        assert_eq!((names, fs::read_dir(dir.path()).unwrap().count()), ([true; 3], 3), "nothing else stays");
    }

    fn result() -> JobResult {
        JobResult::without_supervisor(Outcome::Ok, String::new(), 0)
    }

    #[test]
    fn the_log_is_synced_before_the_result_is_written_and_a_failure_is_in_both() {
        let folder = tempfile::tempdir().unwrap();
        let dir = JobsDir::new(folder.path()).job(&JobId::generate());
        fs::create_dir(dir.path()).unwrap();
        let mut log = Writer::create(dir.clone(), 65_536).unwrap();
        for _ in 0..2000 {
            log.line(Source::Stdout, "some text", false);
            log.flush();
        }
        // It was written, and nothing but a sync looks at it again.
        let newest = (0..100).map(|n| dir.log(n)).filter(|path| path.exists()).last().unwrap();
        fs::rename(&newest, dir.path().join("aside")).unwrap();
        finish(&dir, &mut log, &result()).unwrap();
        let result: JobResult = load(&dir.result()).unwrap().unwrap();
        assert_eq!((result.last_seq, result.lines), (2001, Some(2001)), "the remark was written before it");
        let text = fs::read_to_string(dir.path().join("aside")).unwrap();
        assert!(text.lines().last().unwrap().contains("cannot sync the log, a power cut may cost"), "{text}");
    }
}
