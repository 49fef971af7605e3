//! Helpers for tests, also for those of other crates.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::JobDir;
use crate::journal::supervisor_lives;
use crate::settings::SystemPaths;

/// A machine whose system is in a folder. The files are made by the test.
pub fn system_in(folder: &Path) -> SystemPaths {
    SystemPaths {
        running: folder.join("current-system"),
        profile: folder.join("profile"),
        lock: folder.join("lock"),
        boot: folder.join("boot"),
        efi_variables: folder.join("efivars"),
        cgroups: folder.join("cgroup"),
        systemd: folder.join("systemd"),
    }
}

/// Waits until the lock of a dropped writer is free. A process that another test is forking holds a copy of
/// the lock until it has called `exec`.
///
/// # Panics
/// When the lock is still held after 20 s, or when the log does not exist.
pub fn wait_until_dead(dir: &JobDir) {
    let begun = Instant::now();
    while supervisor_lives(dir).expect("the job has a log") {
        assert!(begun.elapsed() < Duration::from_secs(20), "the lock is still held");
        std::thread::yield_now();
    }
}

/// Runs the ignored test `name` of this program alone in a process of its own, which gets an error instead of a signal
/// when a file becomes too large. There the test may limit the size of files, as on a full disk.
///
/// # Panics
/// When the test fails.
#[cfg(test)]
pub(crate) fn alone(name: &str) {
    let script = "trap '' XFSZ; exec \"$0\" --exact \"$1\" --ignored --nocapture";
    let mut test = std::process::Command::new("sh");
    let ran = test.args(["-c", script]).arg(std::env::current_exe().unwrap()).arg(name).output().unwrap();
    let text = String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success() && text.contains("1 passed"), "{text}");
}

/// Limits the size of files from now on, in bytes; none lifts the limit.
///
/// # Panics
/// When the kernel refuses.
#[cfg(test)]
pub(crate) fn limit_files(bytes: Option<u64>) {
    limit(rustix::process::Resource::Fsize, bytes);
}

/// Limits the descriptors that can be opened from now on to so many; none lifts the limit.
///
/// # Panics
/// When the kernel refuses.
#[cfg(test)]
pub(crate) fn limit_descriptors(more: Option<u64>) {
    let limit_at = |limit| self::limit(rustix::process::Resource::Nofile, limit);
    limit_at(None);
    // The kernel gives the lowest free number.
    let lowest = rustix::fd::AsRawFd::as_raw_fd(&std::fs::File::open("/").unwrap());
    limit_at(more.map(|more| u64::try_from(lowest).unwrap() + more));
}

#[cfg(test)]
fn limit(what: rustix::process::Resource, at: Option<u64>) {
    use rustix::process::{Rlimit, getrlimit, setrlimit};

    let maximum = getrlimit(what).maximum;
    let current = at.or(maximum);
    setrlimit(what, Rlimit { current, maximum }).unwrap();
}

/// A program that sleeps, once its arguments can be read: the kernel lets its parent go on a moment before.
#[cfg(all(test, target_os = "linux"))]
pub(crate) fn sleeping() -> std::process::Child {
    let child = std::process::Command::new("sleep").arg("61").spawn().expect("there is a sleep");
    let path = format!("/proc/{}/cmdline", child.id());
    while std::fs::read_to_string(&path).expect("it lives").is_empty() {
        std::thread::yield_now();
    }
    child
}
