//! Signals that would end this process and mean nothing to it, or an error that it handles; and signals that whoever
//! started it has blocked.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::process::Signal;
use signal_hook::consts::SIGXFSZ;

/// Signals that end a process by default, and that nobody has a reason to send to one of ours. Those of faults of the
/// program itself, such as SIGSEGV, are not among them. SIGPIPE is ignored by the standard library.
const UNMEANT: &[Signal] = &[
    Signal::ALARM,
    Signal::VTALARM,
    Signal::PROF,
    Signal::USR1,
    Signal::USR2,
    Signal::IO,
    Signal::TRAP,
    Signal::SYS,
    Signal::XCPU,
    #[cfg(target_os = "linux")]
    Signal::POWER,
    #[cfg(target_os = "linux")]
    Signal::STKFLT,
];

/// The real-time signals of Linux that programs may use. They end a process by default, too.
#[cfg(target_os = "linux")]
const REAL_TIME: std::ops::RangeInclusive<i32> = 34..=64;
#[cfg(not(target_os = "linux"))]
const REAL_TIME: std::ops::Range<i32> = 0..0;

/// Survives signals that mean nothing to this process, and the signals `also`. Each gets a handler that does nothing:
/// programs that this process starts inherit that a signal is ignored, and no handler.
///
/// # Errors
/// An error of the operating system: such a signal would end this process.
pub fn survive(also: &[Signal]) -> io::Result<()> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in UNMEANT.iter().chain(also) {
        signal_hook::flag::register(signal.as_raw(), Arc::clone(&flag))?;
    }
    for signal in REAL_TIME {
        // The C library may keep some of the first ones to itself.
        drop(signal_hook::flag::register(signal, Arc::clone(&flag)));
    }
    Ok(())
}

/// Survives RLIMIT_FSIZE (`ulimit -f`, `LimitFSIZE=`). The kernel answers a write beyond it with SIGXFSZ, which ends a
/// process by default, and with EFBIG to a process that handles the signal. For programs that this process starts the
/// limit means what it always does.
///
/// # Errors
/// An error of the operating system: the limit would end this process.
pub fn survive_file_size_limit() -> io::Result<()> {
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false))).map(drop)
}

/// Which signals that a process of ours waits for are blocked, if any. A process inherits that from whoever starts it.
/// If SIGTERM is blocked, only SIGKILL ends the agent. The standard library cannot change it, also not for a program
/// that it starts.
///
/// # Errors
/// It is not known.
#[cfg(target_os = "linux")]
pub fn blocked() -> io::Result<Vec<&'static str>> {
    let mask = mask(&status()?, "SigBlk:")
        .ok_or_else(|| io::Error::other("/proc/self/status does not tell which signals are blocked"))?;
    let awaited = [
        ("SIGTERM", Signal::TERM),
        ("SIGINT", Signal::INT),
        ("SIGCHLD", Signal::CHILD),
        ("SIGUSR1", Signal::USR1),
    ];
    let is_blocked = |signal: Signal| mask >> (signal.as_raw() - 1) & 1 == 1;
    Ok(awaited.into_iter().filter(|(_, signal)| is_blocked(*signal)).map(|(name, _)| name).collect())
}

/// Not looked for on other systems.
///
/// # Errors
/// None.
#[cfg(not(target_os = "linux"))]
pub fn blocked() -> io::Result<Vec<&'static str>> {
    Ok(Vec::new())
}

/// Whether this process ignores a signal, because whoever started it does, as `nohup` makes it. If it is not known, no.
#[cfg(target_os = "linux")]
pub fn is_ignored(signal: Signal) -> bool {
    let ignored = status().ok().and_then(|status| mask(&status, "SigIgn:"));
    ignored.is_some_and(|mask| mask >> (signal.as_raw() - 1) & 1 == 1)
}

/// Not looked for on other systems.
#[cfg(not(target_os = "linux"))]
pub fn is_ignored(_signal: Signal) -> bool {
    false
}

#[cfg(target_os = "linux")]
fn status() -> io::Result<String> {
    /// Longest content of /proc/self/status that is read, in bytes. It has about 1,500.
    const MAX_STATUS: u64 = 64 * 1024;
    let status = crate::bounded_read::read("/proc/self/status".as_ref(), MAX_STATUS)?;
    Ok(String::from_utf8_lossy(&status).into_owned())
}

/// The signals in a line of /proc/self/status: the lowest bit is signal 1.
#[cfg(target_os = "linux")]
fn mask(status: &str, line: &str) -> Option<u64> {
    let mask = status.lines().find_map(|text| text.strip_prefix(line))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_blocked_signals_is_read() {
        for (status, expected) in [
            ("Name:\tx\nSigBlk:\t0000000000000000\n", Some(0)),
            ("SigPnd:\t0000000000000001\nSigBlk:\t0000000000014002\nSigIgn:\t1\n", Some(0x14002)),
            ("SigBlk:\tnone\n", None),
            ("", None),
        ] {
            assert_eq!(mask(status, "SigBlk:"), expected, "{status:?}");
        }
        // Which ones depends on whoever started the tests.
        blocked().unwrap();
    }
}
