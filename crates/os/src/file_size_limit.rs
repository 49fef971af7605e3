//! A write beyond the limit of the size of files is an error, and does not end the process.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::SIGXFSZ;

/// Survives RLIMIT_FSIZE (`ulimit -f`, `LimitFSIZE=`). The kernel answers a write beyond it with SIGXFSZ, which ends a
/// process by default, and with EFBIG to a process that handles the signal. Programs that this process starts do not
/// inherit a handler: for them the limit means what it always does.
///
/// # Errors
/// An error of the operating system: the limit would end this process.
pub fn survive() -> io::Result<()> {
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false))).map(drop)
}
