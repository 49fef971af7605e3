//! Changes of this host's clocks: the host has slept, or its wall clock was set.
//!
//! Linux announces both with a timer that never expires (timerfd_create(2), `TFD_TIMER_CANCEL_ON_SET`): it cancels the
//! timer when the wall clock makes a step, also at the end of a sleep. So this costs nothing as long as nothing
//! happens.
//!
//! How long the host slept is the difference of two clocks, of which one counts sleep. They are also compared each time
//! the agent wakes up for another reason: that is two reads of memory, and it finds a sleep where nobody announces
//! one. The times of the agent, those of tokio, are of the clock that does not count sleep.

use std::fmt;
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use nixfleet_os::{planted, since_boot};

use kernel::Timer;

/// A shorter sleep is none: it changes nothing, and two clocks cannot be read at the same moment.
const SHORTEST: Duration = Duration::from_secs(1);

/// A change of the clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockChange {
    /// The wall clock was set.
    Stepped,
    /// The host slept for so long.
    Slept(Duration),
}

/// Who knows of changes: this host, or a simulated one.
pub trait Source: fmt::Debug + Send {
    /// How long the host has slept, since some moment that stays the same.
    fn asleep(&self) -> Duration;
    /// Ready if a change was announced since the last time. Otherwise the task is woken by the next announcement.
    fn poll_announced(&mut self, context: &mut Context<'_>) -> Poll<()>;
}

/// Tells of changes. By default there are none.
#[derive(Debug, Default)]
pub struct ClockChanges {
    source: Option<Box<dyn Source>>,
    /// How long the host had slept when it was last asked.
    known: Duration,
}

impl ClockChanges {
    /// Changes of which this source tells.
    pub fn of(source: Box<dyn Source>) -> Self {
        Self { known: source.asleep(), source: Some(source) }
    }

    /// Changes of this host. Call it within a runtime.
    pub fn of_this_host() -> Self {
        Self::of(Box::new(Host { booted: since_boot(), awake: Instant::now(), timer: Timer::new() }))
    }

    /// Waits for the next change. Changes of which nobody was told yet count, too. Cancel-safe.
    pub async fn next(&mut self) -> ClockChange {
        poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<ClockChange> {
        let Some(source) = &mut self.source else { return Poll::Pending };
        let announced = source.poll_announced(context).is_ready();
        change(&mut self.known, source.asleep(), announced).map_or(Poll::Pending, Poll::Ready)
    }
}

/// What has changed. `known` is how long the host had slept before, `asleep` how long it has slept now.
fn change(known: &mut Duration, asleep: Duration, announced: bool) -> Option<ClockChange> {
    let slept = asleep.saturating_sub(*known);
    if slept >= SHORTEST && !planted!("sleep-unnoticed") {
        *known = asleep;
        return Some(ClockChange::Slept(slept));
    }
    announced.then_some(ClockChange::Stepped)
}

/// This host.
#[derive(Debug)]
struct Host {
    /// The clock that counts sleep, at the same moment as `awake`.
    booted: Duration,
    awake: Instant,
    timer: Timer,
}

impl Source for Host {
    fn asleep(&self) -> Duration {
        // In this order. A process that does not run between the two claims too little, and not a sleep.
        let all = since_boot().saturating_sub(self.booted);
        all.saturating_sub(self.awake.elapsed())
    }

    fn poll_announced(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.timer.poll_announced(context)
    }
}

#[cfg(target_os = "linux")]
mod kernel {
    use std::io;
    use std::os::fd::OwnedFd;
    use std::task::{Context, Poll, ready};

    use rustix::io::Errno;
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use tokio::net::unix::pipe::Receiver;

    /// A timer that the kernel cancels when the wall clock makes a step; none if there is none to be had. tokio has no
    /// type for one, and its type for pipes does nothing that only pipes do: it polls, and calls read(2).
    #[derive(Debug)]
    pub(super) struct Timer(Option<Receiver>);

    impl Timer {
        pub(super) fn new() -> Self {
            // The kernel takes this for the end of its time.
            Self::at(Timespec { tv_sec: i64::MAX, tv_nsec: 0 })
        }

        pub(super) fn at(at: Timespec) -> Self {
            let timer = armed(at).and_then(Receiver::from_owned_fd_unchecked);
            Self(timer.map_err(|err| unnoticed(&err)).ok())
        }

        pub(super) fn poll_announced(&mut self, context: &mut Context<'_>) -> Poll<()> {
            let Some(timer) = &self.0 else { return Poll::Pending };
            match ready!(read(timer, context)) {
                Ok(()) => Poll::Ready(()),
                Err(err) => {
                    unnoticed(&err);
                    self.0 = None;
                    Poll::Pending
                }
            }
        }
    }

    fn unnoticed(err: &io::Error) {
        tracing::debug!(
            "The kernel does not announce that the clock was set, or that this host slept: {err}."
        );
    }

    fn armed(at: Timespec) -> io::Result<OwnedFd> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Realtime, flags)?;
        let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: at };
        timerfd_settime(&timer, flags, &once)?;
        Ok(timer)
    }

    /// Takes an announcement. The timer stays armed, and the kernel announces the next step, too.
    fn read(timer: &Receiver, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(timer.poll_read_ready(context))?;
            match timer.try_read(&mut [0; 8]) {
                Ok(_) => return Poll::Ready(Ok(())),
                Err(err) if Errno::from_io_error(&err) == Some(Errno::CANCELED) => {
                    return Poll::Ready(Ok(()));
                }
                // The next round waits.
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
                Err(err) => return Poll::Ready(Err(err)),
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod kernel {
    use std::task::{Context, Poll};

    /// There are no announcements.
    #[derive(Debug)]
    pub(super) struct Timer;

    impl Timer {
        pub(super) fn new() -> Self {
            Self
        }

        pub(super) fn poll_announced(&mut self, _context: &mut Context<'_>) -> Poll<()> {
            Poll::Pending
        }
    }
}

#[cfg(test)]
pub(super) mod told;

#[cfg(test)]
mod tests;
