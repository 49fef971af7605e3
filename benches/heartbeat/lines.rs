//! The lines of the table: what is measured, and the figures that it must and should reach.

/// Whether a low or a high figure is good.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Best {
    Low,
    High,
}

/// One line. A bound without a value is infinite: the figure is shown, and judged by people.
#[derive(Clone, Copy)]
pub(crate) struct Line {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) must: f64,
    pub(crate) aim: f64,
    pub(crate) best: Best,
}

const fn low(name: &'static str, unit: &'static str, must: f64, aim: f64) -> Line {
    Line { name, unit, must, aim, best: Best::Low }
}

const fn high(name: &'static str, unit: &'static str, must: f64, aim: f64) -> Line {
    Line { name, unit, must, aim, best: Best::High }
}

const NONE: f64 = f64::INFINITY;

pub(crate) const CPU: Line = low("processor time for 1,000 beats", "s", 0.35, 0.15);
pub(crate) const SWITCHES: Line = low("context switches, 1 s beats", "/s", 10.0, 3.0);
pub(crate) const WAKES: Line = low("wake-ups, 1 s beats", "/s", 10.0, 3.0);
pub(crate) const SLOW_SWITCHES: Line = low("context switches, 30 s beats", "/s", 1.0, 0.2);
pub(crate) const SLOW_WAKES: Line = low("wake-ups, 30 s beats", "/s", 1.0, 0.2);
pub(crate) const THREADS: Line = low("threads, idle", "", 6.0, 4.0);
pub(crate) const RSS: Line = low("memory, resident", "MB", 6.5, 5.0);
pub(crate) const PSS: Line = low("memory, proportional (Pss)", "MB", 4.0, 3.0);
pub(crate) const ANON: Line = low("memory, its own (Pss_Anon)", "MB", NONE, NONE);
pub(crate) const BINARY: Line = low("size of the program", "MB", 5.0, 4.0);
pub(crate) const START: Line = low("exec to first beat", "ms", 5.0, 3.0);
pub(crate) const START_LOAD: Line = low("exec to first beat, 3 busy processes a core", "ms", NONE, NONE);
pub(crate) const STOP: Line = low("SIGTERM to exit", "ms", NONE, NONE);
pub(crate) const RATE: Line = high("lines/s, batches, request to status", "/s", 600_000.0, 1_000_000.0);
pub(crate) const SINGLE: Line = low("400,000 lines, one message each", "s", 5.0, NONE);
pub(crate) const SINGLE_CPU: Line = low("400,000 lines, one message each: processor", "s", NONE, NONE);
pub(crate) const LOST: Line = low("lines lost", "", 0.0, 0.0);
pub(crate) const LATENCY_50: Line = low("line written to line arrived, p50", "ms", 1.0, 0.5);
pub(crate) const LATENCY_99: Line = low("line written to line arrived, p99", "ms", 20.0, 5.0);
pub(crate) const LATE_IDLE: Line = low("beat lateness, idle, p99", "ms", 5.0, 2.0);
pub(crate) const LATE_BUSY: Line = low("beat lateness, 4 busy processes a core, p99", "ms", 20.0, 10.0);
pub(crate) const LATE_FLOOD: Line = low("beat lateness, a command floods, p99", "ms", 5.0, 3.0);
pub(crate) const MISSING: Line = low("beats missing in these three", "", 0.0, 0.0);
pub(crate) const ABSENT: Line = low("wake-ups, no dashboard, output pending", "/s", 2.0, 0.1);
pub(crate) const ABSENT_CPU: Line = low("share of a core, no dashboard, output pending", "%", NONE, NONE);
pub(crate) const LINK: Line = low("silence beyond 1 s, flood over 20 kB/s, worst", "s", 2.0, 0.5);
