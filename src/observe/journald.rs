//! Standard error as the systemd journal: priorities by line prefix, as sd-daemon(3) defines them.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{Format, FormatEvent, FormatFields, Full, Writer};
use tracing_subscriber::registry::LookupSpan;

use super::log_line::OneLine;

/// Importance of a line: the severities of syslog(3) that the agent uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Something does not work.
    Error,
    /// Something failed. The agent continues without it, or tries again.
    Warning,
    /// Ordinary operation.
    Info,
    /// Details for developers.
    Debug,
}

impl Priority {
    fn prefix(self) -> &'static str {
        match self {
            Self::Error => "<3>",
            Self::Warning => "<4>",
            Self::Info => "<6>",
            Self::Debug => "<7>",
        }
    }

    /// The text with the prefix of this priority before each of its lines. Empty lines are left out: the
    /// journal does not store them.
    ///
    /// journald ends a line at a NUL as well. Each line gets its own prefix, so text from elsewhere cannot
    /// choose a priority.
    pub fn mark(self, text: &str) -> String {
        let lines = text.split(['\n', '\0']).filter(|line| !line.is_empty());
        lines.flat_map(|line| [self.prefix(), line, "\n"]).collect()
    }
}

impl From<&Level> for Priority {
    fn from(level: &Level) -> Self {
        match *level {
            Level::ERROR => Self::Error,
            Level::WARN => Self::Warning,
            Level::INFO => Self::Info,
            _ => Self::Debug,
        }
    }
}

/// Whether standard error is connected to the journal.
///
/// `JOURNAL_STREAM` alone is not enough: child processes inherit it, also those whose standard error is a
/// pipe or a file.
pub fn is_stderr() -> bool {
    let file = || Some(File::from(io::stderr().as_fd().try_clone_to_owned().ok()?));
    std::env::var_os("JOURNAL_STREAM").is_some_and(|stream| file().is_some_and(|file| names(&stream, &file)))
}

/// Whether `stream`, as `device:inode`, names this file.
fn names(stream: &OsStr, file: &File) -> bool {
    file.metadata().is_ok_and(|found| *stream == *format!("{}:{}", found.dev(), found.ino()))
}

/// Log lines for the journal, one for each event. The journal adds the time, shows the priority itself, and has no
/// colours.
#[derive(Debug)]
pub(super) struct JournalFormat(OneLine<Format<Full, ()>>);

impl Default for JournalFormat {
    fn default() -> Self {
        let format = Format::default().without_time().with_level(false).with_target(false).with_ansi(false);
        Self(OneLine::new(format, false))
    }
}

impl<S, N> FormatEvent<S, N> for JournalFormat
where
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
        self.0.format_event(context, Writer::new(&mut text), event)?;
        writer.write_str(&Priority::from(event.metadata().level()).mark(&text))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What the journal gets while `log` runs.
    fn logged(log: impl FnOnce()) -> String {
        let memory = Memory::default();
        let writer = memory.clone();
        let layer = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .event_format(JournalFormat::default())
            .with_writer(move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        let bytes = memory.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn every_level_has_its_priority_and_fields_follow_the_message() {
        let text = logged(|| {
            tracing::error!(job = "a", "wrong");
            tracing::warn!(times = 3, "odd");
            tracing::info_span!("job", id = 7).in_scope(|| tracing::info!("ordinary"));
            tracing::debug!("detail");
            tracing::trace!("more detail");
        });
        assert_eq!(
            text,
            "<3>wrong job=\"a\"\n<4>odd times=3\n<6>job{id=7}: ordinary\n<7>detail\n<7>more detail\n"
        );
    }

    #[test]
    fn a_message_is_one_line_and_each_line_of_other_text_has_its_priority() {
        let text = logged(|| tracing::warn!(said = %"x\ny", "one\n\n<0>two\0<1>three"));
        assert_eq!(text, "<4>one  <0>two<1>three said=x y\n");
        let text = logged(|| tracing::warn!("{}", "x".repeat(100_000)));
        assert!(text.len() < 5_000, "{}", text.len());
        assert_eq!(Priority::Error.mark("a\nb"), "<3>a\n<3>b\n");
        assert_eq!(Priority::Error.mark(""), "");
    }

    #[test]
    fn only_the_device_and_inode_of_the_very_file_name_it() {
        let file = tempfile::tempfile().unwrap();
        let found = file.metadata().unwrap();
        let (device, inode) = (found.dev(), found.ino());
        for (stream, wanted) in [
            (format!("{device}:{inode}"), true),
            (format!("{device}:{}", inode + 1), false),
            (format!("{}:{inode}", device + 1), false),
            (format!("{inode}"), false),
            (String::new(), false),
        ] {
            assert_eq!(names(OsStr::new(&stream), &file), wanted, "{stream}");
        }
    }
}
