//! The processes of this machine, by /proc.

use procfs::process::{Process, all_processes};
use procfs::{ProcError, ProcResult};
use rustix::io::Errno;

/// What `look` finds of each process. A process that ended meanwhile, or that may not be looked at, is left out. None
/// if there is no /proc, or a shortage of descriptors or memory: a process that is not seen then may live all the same.
pub(crate) fn each<T>(look: impl Fn(&Process) -> ProcResult<Option<T>>) -> Option<Vec<T>> {
    let mut found = Vec::new();
    for process in all_processes().ok()? {
        found.extend(optional(process.and_then(|process| look(&process))).ok()?.flatten());
    }
    Some(found)
}

/// What was read, or none if it cannot be read. A shortage stays an error.
///
/// # Errors
/// A shortage.
pub(crate) fn optional<T>(read: ProcResult<T>) -> ProcResult<Option<T>> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(err) if is_shortage(&err) => Err(err),
        Err(_) => Ok(None),
    }
}

fn is_shortage(err: &ProcError) -> bool {
    let ProcError::Io(err, _) = err else { return false };
    matches!(Errno::from_io_error(err), Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM))
}
