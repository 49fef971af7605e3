//! Files of ours that cannot be read: what counts as damage, and saying so once.
//!
//! Damage stays: the same bytes will be there the next time. Any other error, such as too many open files or a
//! missing permission, may pass: whoever meets one tries again, and concludes nothing from it.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;

/// Paths that are remembered as reported. It is far more than a host has files of ours; beyond it, a path is reported
/// again.
const MAX_REPORTED: usize = 1024;

/// Whether the error says that the file is not what it should be: other content, too long, or no regular file.
pub fn is_damage(err: &io::Error) -> bool {
    use io::ErrorKind::{
        FileTooLarge, InvalidData, InvalidInput, IsADirectory, NotADirectory, UnexpectedEof,
    };
    // A socket cannot be opened (ENXIO), and neither can a link to itself (ELOOP).
    let odd = matches!(Errno::from_io_error(err), Some(Errno::NXIO | Errno::LOOP | Errno::NODEV));
    let kinds = [FileTooLarge, InvalidData, InvalidInput, IsADirectory, NotADirectory, UnexpectedEof];
    odd || kinds.contains(&err.kind())
}

/// What is wrong with the file, with its path, and for a missing permission what to do.
pub fn describe(path: &Path, err: &io::Error) -> String {
    let path = path.display();
    if is_damage(err) {
        return format!("{path} is damaged ({err})");
    }
    let fix = if err.kind() == io::ErrorKind::PermissionDenied {
        "; this user needs permission to read it and to enter the folders above it"
    } else {
        ""
    };
    format!("cannot read {path} ({err}{fix})")
}

/// Logs once in the life of this process that the file cannot be read, and what follows from that. `followed_by` is a
/// sentence without its full stop.
pub fn report(path: &Path, err: &io::Error, followed_by: &str) {
    static REPORTED: Mutex<BTreeSet<(PathBuf, bool)>> = Mutex::new(BTreeSet::new());
    let mut reported = REPORTED.lock().unwrap_or_else(PoisonError::into_inner);
    if reported.len() >= MAX_REPORTED {
        reported.clear();
    }
    if reported.insert((path.to_owned(), is_damage(err))) {
        drop(reported);
        tracing::warn!("{}: {followed_by}.", describe(path, err));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stays_counts_as_damage() {
        for errno in
            [Errno::IO, Errno::MFILE, Errno::ACCESS, Errno::NOENT, Errno::INTR, Errno::NOMEM, Errno::STALE]
        {
            assert!(!is_damage(&errno.into()), "{errno:?}");
        }
        for errno in [Errno::NXIO, Errno::LOOP, Errno::ISDIR, Errno::NOTDIR, Errno::FBIG] {
            assert!(is_damage(&errno.into()), "{errno:?}");
        }
        assert!(describe(Path::new("/a"), &Errno::ACCESS.into()).contains("/a (Permission denied"));
        assert!(describe(Path::new("/a"), &Errno::ACCESS.into()).contains("needs permission"));
    }
}
