//! Keeps the memory of this process, which holds secrets, out of core files.

use std::io;

/// Forbids the kernel to write this process into a core file, whatever the limits and the core pattern of the
/// host are. As a consequence no other process of the same user can trace it, or read its memory and its
/// environment in /proc. Its own reads in /proc/self go on to work, except for files with mode 0400. Programs
/// that it executes are not affected: `execve` sets the flag anew, and their limits are untouched.
///
/// # Errors
/// The error of prctl(2), which Linux does not report for this request.
#[cfg(target_os = "linux")]
pub fn forbid() -> io::Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};

    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Other systems have no such request; launchd's limit for core files is 0.
///
/// # Errors
/// None.
#[cfg(not(target_os = "linux"))]
pub fn forbid() -> io::Result<()> {
    Ok(())
}
