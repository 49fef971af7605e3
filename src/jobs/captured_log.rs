//! The agent's log in memory, for tests.

use std::io;
use std::sync::{Arc, Mutex};

use tracing::Dispatch;

/// Log lines, without time and colours.
#[derive(Debug, Clone, Default)]
pub(crate) struct CapturedLog(Arc<Mutex<Vec<u8>>>);

impl CapturedLog {
    /// A writer that adds all lines of level `info` and above to this log.
    pub(crate) fn dispatch(&self) -> Dispatch {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || log.clone());
        subscriber.without_time().with_ansi(false).with_target(false).finish().into()
    }

    /// Everything that was logged.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// The only line with this text.
    #[track_caller]
    pub(crate) fn line(&self, text: &str) -> String {
        let log = self.text();
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(text)).collect();
        let [line] = lines[..] else { panic!("{} lines with {text:?} in:\n{log}", lines.len()) };
        line.trim().to_owned()
    }
}

impl io::Write for CapturedLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
