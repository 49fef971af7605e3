//! Logging to standard error, in a way that never makes the agent wait.

use std::io::{self, IsTerminal};

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{ParseError, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Lines that may wait for a slow terminal or journal; more are dropped.
const QUEUE: usize = 4096;

/// Starts logging at a level such as `info` or `nixfleet_agent=debug`. The lines are written while
/// the guard lives.
///
/// # Errors
/// When the level is no level.
pub fn start(level: &str) -> Result<WorkerGuard, ParseError> {
    let filter: Targets = level.parse()?;
    let (writer, guard) =
        NonBlockingBuilder::default().buffered_lines_limit(QUEUE).lossy(true).finish(io::stderr());
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_target(false);
    let in_journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let layer = if in_journal {
        // The journal adds the time and shows no colours.
        layer.with_ansi(false).without_time().boxed()
    } else {
        layer.with_ansi(io::stderr().is_terminal()).boxed()
    };
    tracing_subscriber::registry().with(layer.with_filter(filter)).init();
    Ok(guard)
}
