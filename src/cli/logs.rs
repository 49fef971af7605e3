//! `nixfleet-agent logs`: the log of a job, read from its folder like the agent does.
//!
//! ```text
//! folder.rs   which jobs are kept, which one is meant
//! lines.rs    an entry as a line for people
//! ```
//!
//! Nobody is asked: it works without an agent, without a dashboard, and after both.

use std::collections::VecDeque;
use std::io::{self, BufWriter, StdoutLock, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::time::timeout;

use nixfleet_config::{Host, Source};
use nixfleet_jobs::journal::{Entry, Reader};

use super::terminal::Color;
use super::{Failure, usage};
use crate::jobs::follower::{self, Followed, Live};
use folder::{Folder, Job};
use lines::Lines;

mod folder;
mod lines;

/// Bytes of log taken at once: a write of some size, and a line soon.
const BATCH: usize = 64 * 1024;

/// How often to look, while a job is silent, whether anybody still reads.
const LOOK: Duration = Duration::from_millis(500);

/// What `logs` is told.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// A job's id, or its beginning or end, or a command: its newest job; without it the newest of all
    #[arg(value_name = "JOB")]
    job: Option<String>,
    /// Go on until the job ends
    #[arg(long, short)]
    follow: bool,
    /// Only the last LINES lines that are there
    #[arg(short = 'n', long, value_name = "LINES")]
    lines: Option<usize>,
    /// The jobs that are kept, newest first
    #[arg(long, conflicts_with_all = ["job", "follow"])]
    list: bool,
    /// Colours
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    color: Color,
}

/// Shows a log, or the list. It ends well when it has shown what there is, however the job ended.
pub(super) fn run(source: &Source, options: &Options) -> Result<(), Failure> {
    let host = Host::load(source).map_err(|err| usage(&err))?;
    let folder = Folder::find(&host, source).map_err(Failure::Start)?;
    let shown = if options.list { list(&folder, options) } else { show(&host, &folder, options) };
    match shown {
        // Somebody who closes a pipe has seen enough.
        Err(Trouble::Write(err)) if err.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(Trouble::Write(err)) => Err(Failure::Start(format!("cannot write to standard output: {err}"))),
        Err(Trouble::Told(text)) => Err(Failure::Start(text)),
        Ok(()) => Ok(()),
    }
}

/// Why it ends early.
enum Trouble {
    /// Standard output.
    Write(io::Error),
    /// Anything else, for people.
    Told(String),
}

impl From<io::Error> for Trouble {
    fn from(err: io::Error) -> Self {
        Self::Write(err)
    }
}

fn list(folder: &Folder, options: &Options) -> Result<(), Trouble> {
    let jobs = folder.jobs().map_err(Trouble::Told)?;
    let shown = &jobs[..options.lines.unwrap_or(jobs.len()).min(jobs.len())];
    if shown.is_empty() {
        say(&format!("no jobs in {}", folder.path().display()));
        return Ok(());
    }
    let mut out = io::stdout().lock();
    out.write_all(lines::table(shown, Timestamp::now(), options.color.look()).as_bytes())?;
    Ok(out.flush()?)
}

fn show(host: &Host, folder: &Folder, options: &Options) -> Result<(), Trouble> {
    let job = folder.pick(options.job.as_deref()).map_err(Trouble::Told)?;
    say(&lines::header(&job, Timestamp::now()));
    let mut screen = Screen {
        out: BufWriter::with_capacity(BATCH, io::stdout().lock()),
        lines: Lines::new(options.color.look()),
    };
    let mut reader = Reader::new(folder.dir(&job.id), 0);
    let cannot_read = |err: io::Error| Trouble::Told(folder::unreadable(&folder.dir(&job.id).log(0), &err));
    match options.lines {
        None => {
            while let Some(entries) = batch(&mut reader).map_err(cannot_read)? {
                screen.show(&entries)?;
            }
        }
        Some(count) => {
            let mut last = Tail::new(count);
            while let Some(entries) = batch(&mut reader).map_err(cannot_read)? {
                last.add(entries);
            }
            screen.lines.begin_behind(last.before(reader.after()));
            screen.show(last.entries.make_contiguous())?;
        }
    }
    let ended = if options.follow {
        follow(host, folder, &job, reader.after(), &mut screen)?
    } else {
        folder.job(&job.id)
    };
    screen.end()?;
    say(&lines::footer(&ended, options.follow));
    Ok(())
}

fn batch(reader: &mut Reader) -> io::Result<Option<Vec<Entry>>> {
    let entries = reader.read(BATCH)?;
    Ok((!entries.is_empty()).then_some(entries))
}

/// Shows what comes behind entry `after`, up to the job's end.
fn follow(host: &Host, folder: &Folder, job: &Job, after: u64, screen: &mut Screen) -> Result<Job, Trouble> {
    let told = |what: &str, err: io::Error| Trouble::Told(format!("cannot start {what}: {err}"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(|err| told("the runtime", err))?;
    let boot_id = nixfleet_os::boot_id(&host.paths.proc);
    let mut follower = follower::follow(folder.jobs_dir(), &job.id, after, Live::default(), boot_id)
        .map_err(|err| told("a thread", err))?;
    runtime.block_on(async {
        loop {
            match timeout(LOOK, follower.items.recv()).await {
                Ok(Some(Followed::Entries(entries))) => screen.show(&entries)?,
                Ok(Some(Followed::Ended(result))) => return Ok(job.ended_with(*result)),
                // It ends by itself when the folder went away: then there is nothing more to show.
                Ok(None) => return Ok(folder.job(&job.id)),
                Err(_) if nobody_reads() => return Err(Trouble::Write(io::ErrorKind::BrokenPipe.into())),
                Err(_) => {}
            }
        }
    })
}

/// Whether the other end of a pipe is gone, which a write would tell, but there is nothing to write.
fn nobody_reads() -> bool {
    let stdout = io::stdout();
    let mut fds = [PollFd::from_borrowed_fd(stdout.as_fd(), PollFlags::empty())];
    let at_once = Timespec::default();
    poll(&mut fds, Some(&at_once)).is_ok_and(|count| count > 0)
        && fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
}

/// A line for people, beside the log.
fn say(text: &str) {
    drop(writeln!(io::stderr(), "{text}"));
}

/// Standard output, with what it shows.
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
    /// Ends of lines among the entries.
    held: usize,
}

impl Tail {
    fn new(count: usize) -> Self {
        Self { count, entries: VecDeque::new(), held: 0 }
    }

    fn add(&mut self, entries: Vec<Entry>) {
        // The pieces of a long line come and go together, and progress is no line.
        let ends = |entry: &Entry| usize::from(lines::is_text(entry) && !entry.cont);
        for entry in entries {
            self.held += ends(&entry);
            self.entries.push_back(entry);
            while self.held > self.count
                && let Some(gone) = self.entries.pop_front()
            {
                self.held -= ends(&gone);
            }
        }
    }

    /// Position before the first entry; `read` is the last that there was.
    fn before(&self, read: u64) -> u64 {
        self.entries.front().map_or(read, |first| first.seq - 1)
    }
}

#[cfg(test)]
mod tests;
