//! Entries and jobs as text for people.

use std::time::Duration;

use jiff::Timestamp;

use nixfleet_jobs::journal::{Entry, REMARK, Source};
use nixfleet_os::time::length;

use super::folder::{End, Job, SHORT};
use crate::cli::terminal::{Look, Paint, safe};
use crate::cli::zone::Zone;

/// Formats entries as lines, in order.
#[derive(Debug)]
pub(super) struct Lines {
    look: Look,
    /// The time zone of the time in front of each line; none without it.
    zone: Option<Zone>,
    /// The last entry did not end its line.
    open: bool,
    /// Number of the test script that was announced last.
    test: u32,
}

impl Lines {
    pub(super) fn new(look: Look, zone: Option<Zone>) -> Self {
        Self { look, zone, open: false, test: 0 }
    }

    /// The entry as text with its line end, after a remark if lines are missing before it.
    pub(super) fn line(&mut self, entry: &Entry) -> String {
        let mut text = String::new();
        if let Some(remark) = entry.gap_remark() {
            self.put_remark(&mut text, entry, &remark);
        }
        match (&entry.test, entry.stream) {
            // The output of the programs says the same.
            _ if entry.operation.is_some() => {}
            (Some(progress), _) => match &progress.result {
                Some(result) => self.put_remark(&mut text, entry, &format!("tests: {result}")),
                // There is an entry before and one after each script; announce the script once.
                None if progress.current != self.test => {
                    self.test = progress.current;
                    let remark = format!("test {} of {}", progress.current, progress.total);
                    self.put_remark(&mut text, entry, &remark);
                }
                None => {}
            },
            (None, Source::System) => self.put_remark(&mut text, entry, &entry.line),
            (None, stream) => self.put(&mut text, entry, stream),
        }
        text
    }

    /// The line end that an unfinished line still needs.
    pub(super) fn end(&mut self) -> &'static str {
        if std::mem::take(&mut self.open) { "\n" } else { "" }
    }

    fn put(&mut self, text: &mut String, entry: &Entry, stream: Source) {
        // The next piece of a long line has none.
        if !self.open {
            self.put_time(text, entry);
        }
        let line = if self.look.safe { safe(&entry.line, self.look.colours) } else { entry.line.clone() };
        if stream == Source::Stderr && self.look.colours && !line.is_empty() {
            // Not red: nix and git write ordinary messages to standard error.
            text.push_str(&Paint::Dim.on(&line, true));
        } else {
            text.push_str(&line);
        }
        self.open = entry.cont;
        if !entry.cont {
            text.push('\n');
        }
    }

    fn put_time(&self, text: &mut String, entry: &Entry) {
        let Some(zone) = &self.zone else { return };
        let stamp = entry.at.parse().map_or_else(|_| safe(&entry.at, false), |at| zone.stamp(at));
        text.push_str(&Paint::Dim.on(&stamp, self.look.colours));
        text.push(' ');
    }

    fn put_remark(&mut self, text: &mut String, entry: &Entry, remark: &str) {
        text.push_str(self.end());
        self.put_time(text, entry);
        let remark = if self.look.safe { safe(remark, false) } else { remark.to_owned() };
        text.push_str(&Paint::Cyan.on(&format!("{REMARK}{remark}"), self.look.colours));
        text.push('\n');
    }
}

/// The line before a log.
pub(super) fn header(job: &Job, now: Timestamp, zone: &Zone) -> String {
    let started = job.started_at.map_or_else(String::new, |at| {
        format!(", started {}, {} ago", zone.time(at), length(since(at, now)))
    });
    let Job { command, id, .. } = job;
    format!("{}, job {id}{started}: {}", safe(command, false), in_words(&job.end))
}

/// The line after a log.
pub(super) fn footer(job: &Job, followed: bool) -> String {
    let command = safe(&job.command, false);
    match &job.end {
        End::Running(_) if followed => format!("{command}: its folder is gone"),
        End::Running(_) => format!("{command}: goes on; --follow shows the rest"),
        End::Without(_, why) => format!("{command}: {}; {why}", in_words(&job.end)),
        End::Result(result) => {
            let took = length(Duration::from_millis(result.duration_ms));
            let message = safe(&result.message, false);
            let message = if message.is_empty() { message } else { format!("; {message}") };
            format!("{command}: {}, took {took}{message}", in_words(&job.end))
        }
    }
}

/// The table of `--list`.
pub(super) fn table(jobs: &[Job], now: Timestamp, zone: &Zone, look: Look) -> String {
    let command_width = jobs.iter().map(|job| job.command.chars().count()).max().unwrap_or(0).max(7);
    // In UTC a time says so, which is longer.
    let started = |job: &Job| job.started_at.map_or_else(|| "-".to_owned(), |at| zone.time(at));
    let started_width = jobs.iter().map(|job| started(job).len()).max().unwrap_or(0).max(7);
    let mut text = format!(
        "{:<SHORT$}  {:<command_width$}  {:<started_width$}  {:>11}  {}\n",
        "JOB", "COMMAND", "STARTED", "TOOK", "ENDED"
    );
    for job in jobs {
        let took = match &job.end {
            End::Result(result) => Some(Duration::from_millis(result.duration_ms)),
            End::Running(_) => job.started_at.map(|at| since(at, now)),
            End::Without(..) => None,
        };
        let took = took.map_or_else(|| "-".to_owned(), length);
        let (id, command, started) = (job.short(), safe(&job.command, false), started(job));
        let ended = paint(&job.end).on(&in_words(&job.end), look.colours);
        text += &format!("{id}  {command:<command_width$}  {started:<started_width$}  {took:>11}  {ended}\n");
    }
    text
}

fn paint(end: &End) -> Paint {
    match end {
        End::Running(_) => Paint::Cyan,
        End::Result(result) if result.exit_code == 0 => Paint::Green,
        End::Result(_) | End::Without(..) => Paint::Red,
    }
}

fn in_words(end: &End) -> String {
    let name = |outcome: nixfleet_jobs::spec::Outcome| outcome.as_str().replace('_', " ");
    match end {
        End::Running(Some(pid)) => format!("runs, process {pid}"),
        End::Running(None) => "runs".to_owned(),
        End::Without(outcome, _) => name(*outcome),
        End::Result(result) => format!("{} ({})", name(result.outcome), result.exit_code),
    }
}

fn since(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(at)).unwrap_or_default()
}
