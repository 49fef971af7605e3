//! What is known after a schedule: to the dashboard, on disk, and from the commands themselves.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nixfleet_dashboard::{Recorded, Violation};

use crate::act::Act;
use crate::commands::Side;
use crate::damage::Damaged;
use crate::disk::Disk;
use crate::machine::{Needs, Process};
use crate::proxy::Connection;
use crate::schedule::Family;

/// Unix milliseconds by the real clock.
pub(crate) fn now_ms() -> i64 {
    let elapsed = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    i64::try_from(elapsed.as_millis()).unwrap()
}

/// Something that was done.
#[derive(Debug, Clone)]
pub(crate) struct Done {
    pub(crate) at: i64,
    pub(crate) act: Act,
    /// What it hit, or why it hit nothing.
    pub(crate) note: String,
    /// It had an effect.
    pub(crate) hit: bool,
    pub(crate) damaged: Option<Damaged>,
}

/// A request of the dashboard.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) name: String,
    pub(crate) id: String,
    /// When it was sent, each time.
    pub(crate) sent: Vec<i64>,
    /// The connection on which it was sent last.
    pub(crate) sent_on: u64,
}

/// A time in which heartbeats need not arrive.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Excused {
    pub(crate) from: i64,
    pub(crate) to: i64,
}

/// What is left when all has come to rest, or when the time for that was over.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    /// Milliseconds from the end of the faults; none if it did not come to rest.
    pub(crate) after: Option<i64>,
    /// What was missing for it at the end.
    pub(crate) missing: Vec<String>,
    pub(crate) processes: Vec<Process>,
    /// Files in the delivery folder.
    pub(crate) records: Vec<String>,
    /// How the last agent ended when it was told to.
    pub(crate) exit: String,
}

/// Everything that the audit knows.
#[derive(Debug)]
pub(crate) struct Evidence {
    pub(crate) family: Family,
    pub(crate) strict: bool,
    pub(crate) begun: i64,
    pub(crate) ended: i64,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) disk: Option<Disk>,
    pub(crate) messages: Vec<Recorded>,
    pub(crate) violations: Vec<Violation>,
    pub(crate) connections: Vec<Connection>,
    pub(crate) asked: Vec<Asked>,
    pub(crate) done: Vec<Done>,
    pub(crate) excused: Vec<Excused>,
    /// When `register` got no answer.
    pub(crate) mute: Vec<(i64, i64)>,
    pub(crate) side: Side,
    /// Ends of the agent that nobody ordered.
    pub(crate) deaths: Vec<String>,
    /// Commands that were alive at the same time.
    pub(crate) together: Vec<String>,
    pub(crate) starts: u64,
    pub(crate) needs: Needs,
    pub(crate) log_bytes: u64,
    pub(crate) rest: Rest,
    pub(crate) skipped: Vec<String>,
}

impl Evidence {
    /// Keeps the folder for people.
    pub(crate) fn keep(&mut self) -> PathBuf {
        if let Some(disk) = &mut self.disk {
            disk.leave(true);
        }
        self.folder.disable_cleanup(true);
        self.folder.path().to_owned()
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Seconds since the start.
    pub(crate) fn seconds(&self, at: i64) -> String {
        format!("{:.2} s", (at - self.begun) as f64 / 1000.0)
    }

    /// What was done when, for people.
    pub(crate) fn story(&self) -> String {
        let mut text = format!("  {:?}, strict: {}\n", self.family, self.strict);
        for asked in &self.asked {
            let sent: Vec<String> = asked.sent.iter().map(|at| self.seconds(*at)).collect();
            writeln!(text, "  `{}` was asked for at {}", asked.name, sent.join(", ")).unwrap();
        }
        for done in &self.done {
            let not = if done.hit { "" } else { " [no effect]" };
            writeln!(text, "  {:>8}  {}{not} {}", self.seconds(done.at), done.act, done.note).unwrap();
        }
        let rest = self.rest.after.map_or("never".to_owned(), |after| format!("{after} ms later"));
        writeln!(text, "  at rest: {rest}").unwrap();
        text
    }

    /// Writes every message that the dashboard received, one a line.
    pub(crate) fn write_wire(&self) {
        let mut text = String::new();
        for recorded in &self.messages {
            let at = self.seconds(recorded.at_ms);
            writeln!(text, "{at} #{} {:?}", recorded.connection, recorded.message).unwrap();
        }
        fs::write(self.path().join("wire.log"), text).unwrap();
    }
}
