//! Time stamps, and lengths of time.

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

/// A duration for people, in at most two units.
pub fn length(length: std::time::Duration) -> String {
    let seconds = length.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, ..) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn lengths_are_for_people() {
        for (seconds, wanted) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min 0 s"),
            (3_725, "1 h 2 min"),
            (86_399, "23 h 59 min"),
            (90_000, "1 d 1 h"),
        ] {
            assert_eq!(length(Duration::from_secs(seconds)), wanted);
        }
    }
}
