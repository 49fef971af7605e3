//! Signals that would end this process and mean nothing to it, and signals that whoever started it has blocked.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::process::Signal;

/// The variable of a process that was started anew because signals were blocked: it does not try that again.
pub const STARTED_ANEW: &str = "_NIXFLEET_STARTED_ANEW";

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

/// Lets the signals in that this process waits for. A process inherits which signals are blocked. If SIGTERM is, nobody
/// can end the agent; if SIGCHLD is, a supervisor never notices the end of its command. Only `execve` by the standard
/// library changes that without unsafe code, so this process then executes itself, with the same process id. To be
/// called before there is any thread.
///
/// # Errors
/// Signals are blocked, or it is not known, and nothing could be done about it.
#[cfg(target_os = "linux")]
pub fn let_in() -> io::Result<()> {
    use std::env;
    use std::os::unix::process::CommandExt;
    use std::path::PathBuf;
    use std::process::Command;

    let blocked = blocked()?;
    if blocked.is_empty() {
        return Ok(());
    }
    let err = if env::var_os(STARTED_ANEW).is_some() {
        io::Error::other("a new start did not help")
    } else {
        let program = env::current_exe().ok().filter(|path| path.exists());
        let mut arguments = env::args_os();
        let mut command = Command::new(program.unwrap_or_else(|| PathBuf::from("/proc/self/exe")));
        if let Some(name) = arguments.next() {
            command.arg0(name);
        }
        command.args(arguments).env(STARTED_ANEW, "1").exec()
    };
    Err(io::Error::new(err.kind(), format!("{} blocked by whoever started this: {err}", blocked.join(", "))))
}

/// Not looked for on other systems.
///
/// # Errors
/// None.
#[cfg(not(target_os = "linux"))]
pub fn let_in() -> io::Result<()> {
    Ok(())
}

/// The blocked ones among the signals that a process of ours waits for.
#[cfg(target_os = "linux")]
fn blocked() -> io::Result<Vec<&'static str>> {
    /// Longest content of /proc/self/status that is read, in bytes. It has about 1,500.
    const MAX_STATUS: u64 = 64 * 1024;
    let status = crate::bounded_read::read("/proc/self/status".as_ref(), MAX_STATUS)?;
    let mask = mask(&String::from_utf8_lossy(&status))
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

/// The blocked signals in /proc/self/status: the lowest bit is signal 1.
#[cfg(target_os = "linux")]
fn mask(status: &str) -> Option<u64> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:"))?;
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
            assert_eq!(mask(status), expected, "{status:?}");
        }
        assert_eq!(blocked().unwrap(), Vec::<&str>::new(), "the tests run without blocked signals");
    }
}
