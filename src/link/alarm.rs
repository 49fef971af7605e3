//! Waits until the session has something to do, with one wake-up.
//!
//! tokio keeps its timers in a wheel. One of a second wakes the thread when its slot begins, up to 64 ms early, and again
//! when it is due; one of half a minute does so three times. A timer of the kernel wakes it once.

use tokio::time::{Instant, sleep_until};

use kernel::Timer;

/// The session's own timer.
#[derive(Debug, Default)]
pub struct Alarm {
    /// None: tokio's timers, which follow tokio's clock.
    timer: Option<Timer>,
}

impl Alarm {
    /// A timer of the kernel; one of tokio where there is none to be had.
    pub fn of_this_host() -> Self {
        Self { timer: Timer::new() }
    }

    /// Waits until that moment. It may be dropped and called again with another one.
    pub async fn until(&mut self, at: Instant) {
        if let Some(timer) = &mut self.timer {
            match timer.until(at).await {
                Ok(()) => return,
                Err(err) => {
                    tracing::debug!("The kernel's timer fails, and another one is used: {err}.");
                    self.timer = None;
                }
            }
        }
        sleep_until(at).await;
    }
}

#[cfg(target_os = "linux")]
mod kernel {
    use std::future::poll_fn;
    use std::io;
    use std::task::{Context, Poll, ready};
    use std::time::Duration;

    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use tokio::net::unix::pipe::Receiver;
    use tokio::time::Instant;

    /// A timer of the kernel. tokio has no type for one, and its type for pipes does nothing that only pipes do.
    #[derive(Debug)]
    pub(super) struct Timer {
        receiver: Receiver,
        /// When it goes off; none if it went off.
        armed: Option<Instant>,
    }

    impl Timer {
        pub(super) fn new() -> Option<Self> {
            let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
            let timer = timerfd_create(TimerfdClockId::Monotonic, flags).map_err(io::Error::from);
            let receiver = timer.and_then(Receiver::from_owned_fd_unchecked);
            let receiver = receiver.map_err(|err| tracing::debug!("The kernel has no timer: {err}.")).ok()?;
            Some(Self { receiver, armed: None })
        }

        pub(super) async fn until(&mut self, at: Instant) -> io::Result<()> {
            poll_fn(|context| self.poll(at, context)).await
        }

        fn poll(&mut self, at: Instant, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            loop {
                let left = at.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Poll::Ready(Ok(()));
                }
                if self.armed != Some(at) {
                    timerfd_settime(&self.receiver, TimerfdTimerFlags::empty(), &once_in(left))?;
                    self.armed = Some(at);
                }
                ready!(self.receiver.poll_read_ready(context))?;
                match self.receiver.try_read(&mut [0; 8]) {
                    // It may have gone off for an earlier moment than the present one.
                    Ok(_) => self.armed = None,
                    // The next round waits.
                    Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
                    Err(err) => return Poll::Ready(Err(err)),
                }
            }
        }
    }

    /// `left` is not zero, which would stop the timer.
    fn once_in(left: Duration) -> Itimerspec {
        let tv_sec = i64::try_from(left.as_secs()).unwrap_or(i64::MAX);
        Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec { tv_sec, tv_nsec: left.subsec_nanos().into() },
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod kernel {
    use std::io;

    use tokio::time::Instant;

    /// There is none.
    #[derive(Debug)]
    pub(super) struct Timer;

    impl Timer {
        pub(super) fn new() -> Option<Self> {
            None
        }

        pub(super) async fn until(&mut self, _at: Instant) -> io::Result<()> {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_millis(30);
    const LATE: Duration = Duration::from_secs(60);

    /// Waits, and checks that the moment has come.
    async fn waits(alarm: &mut Alarm, at: Instant) {
        timeout(LATE / 2, alarm.until(at)).await.expect("it goes off");
        // The time limit wakes it as well, which is too late.
        assert!(Instant::now() >= at && at.elapsed() < LATE / 4);
    }

    #[tokio::test]
    async fn it_goes_off_at_the_newest_moment_that_it_was_given() {
        let mut alarm = Alarm::of_this_host();
        assert!(cfg!(not(target_os = "linux")) || alarm.timer.is_some());
        waits(&mut alarm, Instant::now()).await;
        waits(&mut alarm, Instant::now() + SOON).await;
        // Given up for an earlier moment, and for a later one that comes when the first one is over.
        let begin = Instant::now();
        assert!(timeout(SOON / 10, alarm.until(begin + LATE)).await.is_err());
        waits(&mut alarm, begin + SOON).await;
        assert!(timeout(SOON / 10, alarm.until(Instant::now() + SOON)).await.is_err());
        waits(&mut alarm, Instant::now() + SOON * 3).await;
        // It went off while nobody waited.
        assert!(timeout(SOON / 10, alarm.until(Instant::now() + SOON)).await.is_err());
        tokio::time::sleep(SOON * 2).await;
        waits(&mut alarm, Instant::now() + SOON).await;
        assert!(cfg!(not(target_os = "linux")) || alarm.timer.is_some(), "the same timer");
    }

    /// How often this thread has slept.
    #[cfg(target_os = "linux")]
    fn sleeps() -> u32 {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
        line.trim().parse().unwrap()
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn it_wakes_the_thread_once_for_each_moment() {
        const MOMENTS: u32 = 8;
        let mut alarm = Alarm::of_this_host();
        // Longer than a slot of tokio's wheel, which would wake the thread at its begin.
        let step = Duration::from_millis(80);
        waits(&mut alarm, Instant::now() + step).await;
        let before = sleeps();
        for _ in 0..MOMENTS {
            waits(&mut alarm, Instant::now() + step).await;
        }
        let sleeps = sleeps() - before;
        assert!(sleeps <= MOMENTS * 3 / 2, "{sleeps} times for {MOMENTS} moments");
    }

    #[tokio::test(start_paused = true)]
    async fn without_one_tokios_clock_counts() {
        let begin = Instant::now();
        Alarm::default().until(begin + LATE).await;
        assert_eq!(begin.elapsed(), LATE);
    }
}
