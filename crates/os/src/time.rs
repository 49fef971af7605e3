//! Time stamps.

/// The current time as RFC 3339 in UTC with milliseconds: the form of all times in files and messages.
pub fn timestamp() -> String {
    format!("{:.3}", jiff::Timestamp::now())
}

/// Time since the machine was booted, with the time for which it slept. No setting of the clock changes it, and all
/// processes of a boot see the same.
pub fn since_boot() -> std::time::Duration {
    #[cfg(target_os = "linux")]
    let clock = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = rustix::time::ClockId::Monotonic;
    // The kernel counts from 0, so it is never negative.
    std::time::Duration::try_from(rustix::time::clock_gettime(clock)).unwrap_or_default()
}
