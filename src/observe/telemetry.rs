//! The agent's own log, on standard error. Logging never blocks the agent.

use std::io::{self, IsTerminal};

use nixfleet_config::LOG_TARGETS;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{ParseError, Targets};
use tracing_subscriber::fmt::format::Format;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::journald::{self, JournalFormat};
use super::log_line::OneLine;

/// Lines that may wait for a slow terminal or journal; more are dropped.
const QUEUE: usize = 4096;

/// This crate, as a target.
const AGENT: &str = "nixfleet_agent";

/// Starts logging at a level such as `info` or `nixfleet_agent=debug`. Lines are written as long as the
/// returned guard lives; dropping it writes what is still queued.
///
/// # Errors
/// When `level` cannot be parsed.
pub fn start(level: &str) -> Result<WorkerGuard, ParseError> {
    let filter = filter(level)?;
    let (writer, guard) =
        NonBlockingBuilder::default().buffered_lines_limit(QUEUE).lossy(true).finish(io::stderr());
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    let layer = if journald::is_stderr() {
        layer.with_ansi(false).event_format(JournalFormat::default()).boxed()
    } else {
        let colours = io::stderr().is_terminal();
        let format = Format::default().with_target(false).with_ansi(colours);
        layer.with_ansi(colours).event_format(OneLine::new(format, colours)).boxed()
    };
    tracing_subscriber::registry().with(layer.with_filter(filter)).init();
    Ok(guard)
}

/// The filter for a level. The agent consists of several crates. A level that is set for `nixfleet_agent`
/// also applies to the other crates, except those that have a level of their own.
fn filter(level: &str) -> Result<Targets, ParseError> {
    let named: Targets = level.parse()?;
    let Some((_, own)) = named.iter().find(|(target, _)| *target == AGENT) else { return Ok(named) };
    let others = LOG_TARGETS.iter().filter(|other| named.iter().all(|(target, _)| target != **other));
    Ok(named.clone().with_targets(others.map(|other| (*other, own))))
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn a_level_of_the_agent_holds_for_its_crates_unless_they_have_their_own() {
        let enabled = |level: &str, target: &str| filter(level).unwrap().would_enable(target, &Level::DEBUG);
        for target in ["nixfleet_agent::link", "nixfleet_jobs::record", "nixfleet_vitals::gpu"] {
            assert!(enabled("nixfleet_agent=debug", target), "{target}");
            assert!(enabled("debug", target) && !enabled("info", target), "{target}");
        }
        assert!(!enabled("nixfleet_agent=debug", "rustls::client"));
        assert!(!enabled("nixfleet_agent=debug,nixfleet_vitals=info", "nixfleet_vitals::gpu"));
        assert!(!enabled("nixfleet_vitals=debug", "nixfleet_jobs::record"));
    }
}
