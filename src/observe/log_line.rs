//! One event of the log is one line, whatever text it carries.

use std::fmt;

use nixfleet_os::text;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

/// Longest line in characters. It has room for a path, an error with its causes and the span of a job; the whole
/// output of a command is in the job's log.
pub(super) const LONGEST: usize = 4096;

/// Formats an event as another format does, and cleans what comes out. Texts are cleaned where they enter as well;
/// this holds for those that nobody thought of.
#[derive(Debug)]
pub(super) struct OneLine<F> {
    format: F,
    colours: bool,
}

impl<F> OneLine<F> {
    /// `colours`: the format writes colours.
    pub(super) fn new(format: F, colours: bool) -> Self {
        Self { format, colours }
    }
}

impl<F, S, N> FormatEvent<S, N> for OneLine<F>
where
    F: FormatEvent<S, N>,
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut text = String::new();
        self.format.format_event(context, Writer::new(&mut text), event)?;
        writeln!(writer, "{}", text::log_line(text.trim_end_matches('\n'), LONGEST, self.colours))
    }
}
