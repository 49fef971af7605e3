//! The agent's own log, on standard error. Logging never blocks the agent.

use std::io::{self, IsTerminal};

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{ParseError, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::journald::{self, JournalFormat};

/// Lines that may wait for a slow terminal or journal; more are dropped.
const QUEUE: usize = 4096;

/// Starts logging at a level such as `info` or `nixfleet_agent=debug`. Lines are written as long as the
/// returned guard lives; dropping it writes what is still queued.
///
/// # Errors
/// When `level` cannot be parsed.
pub fn start(level: &str) -> Result<WorkerGuard, ParseError> {
    let filter: Targets = level.parse()?;
    let (writer, guard) =
        NonBlockingBuilder::default().buffered_lines_limit(QUEUE).lossy(true).finish(io::stderr());
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_target(false);
    let layer = if journald::is_stderr() {
        layer.with_ansi(false).event_format(JournalFormat::default()).boxed()
    } else {
        layer.with_ansi(io::stderr().is_terminal()).boxed()
    };
    tracing_subscriber::registry().with(layer.with_filter(filter)).init();
    Ok(guard)
}
