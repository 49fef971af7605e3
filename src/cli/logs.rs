//! `nixfleet-agent logs`: the log of a job, read from its folder.
//!
//! ```text
//! folder.rs   the kept jobs, and which one the user means
//! lines.rs    entries as lines for people
//! json.rs     the kept jobs for programs
//! ```
//!
//! It needs neither an agent nor a dashboard.

use std::collections::VecDeque;
use std::io::{self, BufWriter, StdoutLock, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use clap::ValueHint;
use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::time::timeout;

use nixfleet_config::{Host, Source};
use nixfleet_jobs::journal::{Entry, Reader};

use super::terminal::Color;
use super::zone::Zone;
use super::{Failure, complain};
use crate::jobs::follower::{self, Followed, Live};
use crate::observe::journald::Priority;
use folder::{End, Folder, Job};
use lines::Lines;

pub(super) use folder::SHORT;

mod folder;
mod json;
mod lines;

/// Bytes of log read at once: large enough for few writes, small enough that the first line appears soon.
const BATCH: usize = 64 * 1024;

/// How often to check, while a job is silent, whether the reader of standard output is still there.
const READER_CHECK: Duration = Duration::from_millis(500);

/// Options of `logs`.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// A job's id, or its beginning or end, or a command: its newest job; without it the newest of all
    #[arg(value_name = "JOB", value_hint = ValueHint::Other)]
    job: Option<String>,
    /// Go on until the job ends
    #[arg(long, short)]
    follow: bool,
    /// Only the last LINES lines that are there
    #[arg(short = 'n', long, value_name = "LINES", value_hint = ValueHint::Other)]
    lines: Option<usize>,
    /// The jobs that are kept, newest first
    #[arg(long, conflicts_with_all = ["job", "follow", "timestamps"])]
    list: bool,
    /// The list as JSON
    #[arg(long, requires = "list")]
    json: bool,
    /// The time in front of each line
    #[arg(long, short)]
    timestamps: bool,
    /// Times in UTC instead of the host's time zone
    #[arg(long)]
    utc: bool,
    /// Colours
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    color: Color,
}

/// Shows a log or the list of jobs. Success means that the log was shown, however the job ended.
pub(super) fn run(source: &Source, options: &Options) -> Result<(), Failure> {
    let (host, instead) = Host::to_look_at(source);
    if let Some(line) = instead {
        complain(Priority::Warning, &format!("warning: {line}"));
    }
    let folder = Folder::find(&host, source).map_err(Failure::Start)?;
    let shown = if options.list { list(&folder, options) } else { show(&host, &folder, options) };
    match shown {
        // The reader has seen enough.
        Err(Error::Write(err)) if err.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(Error::Write(err)) => Err(Failure::Start(format!("cannot write to standard output: {err}"))),
        Err(Error::Message(text)) => Err(Failure::Start(text)),
        Ok(()) => Ok(()),
    }
}

/// Why the command ends early.
enum Error {
    /// Writing to standard output failed.
    Write(io::Error),
    /// Any other failure, as a message for people.
    Message(String),
}

impl From<io::Error> for Error {
    fn from(err: io::Error) -> Self {
        Self::Write(err)
    }
}

fn list(folder: &Folder, options: &Options) -> Result<(), Error> {
    let jobs = folder.jobs().map_err(Error::Message)?;
    let shown = &jobs[..options.lines.unwrap_or(jobs.len()).min(jobs.len())];
    let mut out = io::stdout().lock();
    if options.json {
        writeln!(out, "{:#}", json::list(shown))?;
        return Ok(out.flush()?);
    }
    if shown.is_empty() {
        note(&format!("no jobs in {}", folder.path().display()));
        return Ok(());
    }
    let zone = Zone::new(options.utc);
    out.write_all(lines::table(shown, Timestamp::now(), &zone, options.color.look()).as_bytes())?;
    Ok(out.flush()?)
}

fn show(host: &Host, folder: &Folder, options: &Options) -> Result<(), Error> {
    let job = folder.pick(options.job.as_deref()).map_err(Error::Message)?;
    let zone = Zone::new(options.utc);
    note(&lines::header(&job, Timestamp::now(), &zone));
    let mut screen = Screen {
        out: BufWriter::with_capacity(BATCH, io::stdout().lock()),
        lines: Lines::new(options.color.look(), options.timestamps.then_some(zone)),
    };
    let mut reader = Reader::new(folder.dir(&job.id), 0);
    let cannot_read = |err: io::Error| Error::Message(folder::unreadable(&folder.dir(&job.id).log(0), &err));
    match options.lines {
        None => {
            while let Some(entries) = batch(&mut reader).map_err(cannot_read)? {
                screen.show(&entries)?;
            }
            screen.show(&rest(&mut reader, &job, options))?;
        }
        Some(count) => {
            let mut last = Tail::new(count);
            while let Some(entries) = batch(&mut reader).map_err(cannot_read)? {
                last.add(entries);
            }
            last.add(rest(&mut reader, &job, options));
            screen.show(last.entries())?;
        }
    }
    let ended = if options.follow {
        follow(host, folder, &job, reader.after(), &mut screen)?
    } else {
        folder.job(&job.id)
    };
    screen.end()?;
    note(&lines::footer(&ended, options.follow));
    Ok(())
}

fn batch(reader: &mut Reader) -> io::Result<Option<Vec<Entry>>> {
    let entries = reader.read(BATCH)?;
    Ok((!entries.is_empty()).then_some(entries))
}

/// What comes behind the entries of a log: a remark about lines that are missing at its end. With `--follow`, the
/// follower tells it.
fn rest(reader: &mut Reader, job: &Job, options: &Options) -> Vec<Entry> {
    match &job.end {
        _ if options.follow => Vec::new(),
        End::Result(result) => reader.finish(Some(result)),
        End::Running(_) | End::Without(..) => reader.finish(None),
    }
}

/// Shows the entries after position `after`, until the job ends.
fn follow(host: &Host, folder: &Folder, job: &Job, after: u64, screen: &mut Screen) -> Result<Job, Error> {
    let cannot_start = |what: &str, err: io::Error| Error::Message(format!("cannot start {what}: {err}"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(|err| cannot_start("the runtime", err))?;
    let boot_id = nixfleet_os::boot_id(&host.paths.proc);
    let mut follower = follower::follow(folder.jobs_dir(), &job.id, after, Live::default(), boot_id)
        .map_err(|err| cannot_start("a thread", err))?;
    runtime.block_on(async {
        loop {
            match timeout(READER_CHECK, follower.items.recv()).await {
                Ok(Some(Followed::Entries(entries))) => screen.show(&entries)?,
                Ok(Some(Followed::Ended(result))) => return Ok(job.ended_with(*result)),
                // The follower ends without a result when the folder is removed.
                Ok(None) => return Ok(folder.job(&job.id)),
                Err(_) if reader_is_gone() => return Err(Error::Write(io::ErrorKind::BrokenPipe.into())),
                Err(_) => {}
            }
        }
    })
}

/// Whether the other end of the pipe is closed. A write would report it, but a silent job has nothing to write.
fn reader_is_gone() -> bool {
    let stdout = io::stdout();
    let mut fds = [PollFd::from_borrowed_fd(stdout.as_fd(), PollFlags::empty())];
    let no_wait = Timespec::default();
    poll(&mut fds, Some(&no_wait)).is_ok_and(|count| count > 0)
        && fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
}

/// Prints a line for people to standard error, so that standard output has the log alone.
fn note(text: &str) {
    drop(writeln!(io::stderr(), "{text}"));
}

/// Standard output, and the state of its formatting.
struct Screen {
    out: BufWriter<StdoutLock<'static>>,
    lines: Lines,
}

impl Screen {
    fn show(&mut self, entries: &[Entry]) -> io::Result<()> {
        for entry in entries {
            self.out.write_all(self.lines.line(entry).as_bytes())?;
        }
        self.out.flush()
    }

    fn end(&mut self) -> io::Result<()> {
        self.out.write_all(self.lines.end().as_bytes())?;
        self.out.flush()
    }
}

/// The last lines of a log.
#[derive(Debug)]
struct Tail {
    count: usize,
    entries: VecDeque<Entry>,
    /// Number of complete lines among the entries.
    complete: usize,
}

impl Tail {
    fn new(count: usize) -> Self {
        Self { count, entries: VecDeque::new(), complete: 0 }
    }

    fn add(&mut self, entries: Vec<Entry>) {
        // The pieces of a long line count as one line, and progress as none.
        let ends = |entry: &Entry| usize::from(entry.is_text() && !entry.cont);
        for entry in entries {
            self.complete += ends(&entry);
            self.entries.push_back(entry);
            while self.complete > self.count
                && let Some(gone) = self.entries.pop_front()
            {
                self.complete -= ends(&gone);
            }
        }
    }

    /// The entries of these lines. What came before them was left out on purpose, so it is not missing.
    fn entries(&mut self) -> &[Entry] {
        let entries = self.entries.make_contiguous();
        if let Some(first) = entries.iter_mut().find(|entry| entry.is_text()) {
            first.missing = 0;
        }
        entries
    }
}

#[cfg(test)]
mod tests;
