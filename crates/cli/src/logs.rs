//! `nixfleet logs`

use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::{self, Context};
use nixfleet_fleet::names::{LOG, STATUS};
use nixfleet_os::time::length;
use nixfleet_protocol::{AgentMessage, BatchLine, CommandRejected, OutputBatch, Status, Stream, is_hostname};
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use crate::args::Logs;
use crate::exit::{Exit, Failure};
use crate::fleet_view::Fleet;
use crate::job::LINES_LIMIT;
use crate::lines::{Line, Seen};
use crate::log::{floor, message, subjects};
use crate::reader::{self, Begin, Entry, Reader, Tail};
use crate::terminal::{Paint, Screen, said};

/// Version of the JSON objects.
const OBJECTS: u32 = 1;

/// Kinds of entries that are shown.
const KINDS: [&str; 3] = ["output", "status", "rejected"];

/// Which jobs are shown.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    /// All of them.
    All,
    /// The one whose id begins or ends so.
    Job(String),
}

/// Digits of an id of a job.
const ID: usize = 32;

impl Wanted {
    /// Whether no second job can be meant.
    fn is_exact(&self) -> bool {
        matches!(self, Self::Job(id) if id.len() >= ID)
    }

    fn takes(&self, job: Option<&str>) -> bool {
        match self {
            Self::All => true,
            Self::Job(part) => job.is_some_and(|job| job.starts_with(part) || job.ends_with(part)),
        }
    }
}

pub(crate) async fn run(client: &Client, options: &Logs, screen: &mut Screen) -> Result<Exit, Failure> {
    let host = &options.host;
    if !is_hostname(host) {
        return Err(Failure::usage(format!("`{}` is no name of a host; give one name", said(host))));
    }
    let jetstream = jetstream::new(client.clone());
    let stream = reader::stream(&jetstream, LOG).await?;
    let last = stream.cached_info().state.last_sequence;
    let ends = reader::unseen(&jetstream, STATUS).await?;
    let (wanted, begin) = match (&options.job, options.since) {
        (Some(part), _) => (Wanted::Job(part.to_ascii_lowercase()), Begin::After(0)),
        (None, Some(time)) => (Wanted::All, Begin::Since(time)),
        (None, None) => match floor(&stream, Some(&ends), host).await?.seen {
            Some(job) => (Wanted::Job(job), Begin::After(0)),
            None if options.follow => {
                known(&jetstream, host).await?;
                screen.note(&format!("no command of {host} has said anything yet"));
                (Wanted::All, Begin::After(last))
            }
            None => {
                known(&jetstream, host).await?;
                return Err(nothing(&format!("any command of {host}")));
            }
        },
    };
    let mut show = Show {
        host,
        wanted,
        json: options.json,
        times: options.times,
        whole: options.since.is_none(),
        ..Show::new(screen)
    };
    show.begin()?;
    let mut reader =
        Reader::open(&jetstream, LOG, begin, subjects(std::slice::from_ref(host), &KINDS)).await?;
    let mut after = last;
    while !(reader.is_caught_up() || show.is_over() && show.wanted.is_exact()) {
        if let Some(entry) = reader.next_there().await? {
            after = entry.sequence;
            show.entry(&entry)?;
        }
    }
    let made = reader.made();
    drop(reader);
    if options.follow {
        follow(Tail::new(&jetstream, made, after, subjects(std::slice::from_ref(host), &KINDS)), &mut show)
            .await?;
    }
    if show.is_empty && show.wanted != Wanted::All {
        known(&jetstream, host).await?;
        return Err(nothing(&format!("such a job of {host}")));
    }
    if show.is_empty {
        known(&jetstream, host).await?;
        show.screen.note(&format!("no command of {host} has said anything in this time"));
    }
    Ok(Exit::Good)
}

async fn follow(mut tail: Tail, show: &mut Show<'_>) -> Result<(), Failure> {
    let mut until = None;
    while !show.is_over() {
        // Only lines are missing that the status counts, and they may be lost.
        let entry = if show.is_ending() {
            let until = *until.get_or_insert_with(|| Instant::now() + LINES_LIMIT);
            match timeout_at(until, tail.next()).await {
                Ok(entry) => entry,
                Err(_) => return Ok(()),
            }
        } else {
            tail.next().await
        };
        show.entry(&entry)?;
    }
    Ok(())
}

/// An error if no gateway has ever seen the host.
async fn known(jetstream: &Context, host: &str) -> Result<(), Failure> {
    if Fleet::read(jetstream, Some(&[host.to_owned()])).await?.hosts.contains_key(host) {
        return Ok(());
    }
    Err(Failure::new(
        Exit::NotDone,
        format!("no gateway has ever seen the host {host}; see `nixfleet hosts`"),
    ))
}

fn nothing(what: &str) -> Failure {
    Failure::new(
        Exit::NotDone,
        format!("NATS has nothing of {what}; it keeps lines for some days, as the gateways are set"),
    )
}

#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event<'a> {
    Begin {
        version: u32,
        host: &'a str,
    },
    Line {
        job: Option<&'a str>,
        command: &'a str,
        #[serde(flatten)]
        line: &'a BatchLine,
    },
    Missing {
        job: &'a str,
        first: u64,
        last: u64,
    },
    Ended(&'a Status),
    Rejected(&'a CommandRejected),
}

/// What is shown, and what was.
struct Show<'a> {
    screen: &'a mut Screen,
    host: &'a str,
    wanted: Wanted,
    json: bool,
    /// The time in front of each line.
    times: bool,
    /// Jobs are read from their first line on, so that one that begins later has a gap.
    whole: bool,
    seen: Seen,
    is_empty: bool,
    /// The job that is shown, if it is a certain one.
    job: Option<String>,
    end: Option<Status>,
}

impl<'a> Show<'a> {
    fn new(screen: &'a mut Screen) -> Self {
        Self {
            screen,
            host: "",
            wanted: Wanted::All,
            json: false,
            times: false,
            whole: true,
            seen: Seen::default(),
            is_empty: true,
            job: None,
            end: None,
        }
    }

    fn begin(&mut self) -> Result<(), Failure> {
        if self.json {
            self.screen.json(&Event::Begin { version: OBJECTS, host: self.host })?;
        }
        Ok(())
    }

    /// The certain job has ended, and lines may be missing.
    fn is_ending(&self) -> bool {
        self.end.is_some() && self.wanted != Wanted::All
    }

    /// Nothing more will come of the certain job.
    fn is_over(&self) -> bool {
        let (Some(end), Some(job)) = (&self.end, &self.job) else { return false };
        self.is_ending() && end.lines.is_none_or(|lines| self.seen.last_line(job) >= lines)
    }

    fn entry(&mut self, entry: &Entry) -> Result<(), Failure> {
        match message(entry) {
            Some(AgentMessage::OutputBatch(batch)) => self.batch(&batch),
            Some(AgentMessage::Output(output)) if self.wanted == Wanted::All => {
                self.is_empty = false;
                let (seq, at) = (output.seq.unwrap_or(0), output.at.unwrap_or_default());
                let line = BatchLine { seq, at, stream: output.stream, line: output.line, cont: output.cont };
                self.line(None, &output.command, &line)
            }
            Some(AgentMessage::Status(status)) => self.status(status),
            Some(AgentMessage::CommandRejected(rejection)) if self.wanted == Wanted::All => {
                self.is_empty = false;
                if self.json {
                    return self.screen.json(&Event::Rejected(&rejection));
                }
                let command = rejection.command.as_deref().unwrap_or("a command");
                let text = format!("-- {} was rejected: {}", said(command), said(&rejection.reason));
                self.remark(&text, Paint::Yellow);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn batch(&mut self, batch: &OutputBatch) -> Result<(), Failure> {
        let job = batch.job_id.as_str();
        if !self.is_wanted(Some(job), &batch.command)? {
            return Ok(());
        }
        for line in &batch.lines {
            // The first line of what is shown may be in the middle of a job.
            let is_first = self.seen.last_line(job) == 0;
            match self.seen.line(job, line.seq) {
                Line::Repeat => continue,
                Line::Next => {}
                // The host itself says in their place what has become of them.
                Line::Behind(..)
                    if line.line.starts_with("nixfleet: ") && line.line.contains(" missing here") => {}
                Line::Behind(..) if is_first && !self.whole => {}
                Line::Behind(first, last) => self.missing(job, first, last)?,
            }
            self.line(Some(job), &batch.command, line)?;
        }
        Ok(())
    }

    /// Whether this job is shown. Its first word has a heading.
    fn is_wanted(&mut self, job: Option<&str>, command: &str) -> Result<bool, Failure> {
        if !self.wanted.takes(job) {
            return Ok(false);
        }
        let Some(job) = job else { return Ok(true) };
        if self.wanted != Wanted::All {
            match &self.job {
                Some(shown) if shown != job => {
                    return Err(Failure::usage(format!(
                        "the jobs {} and {} have such an id: give more of it",
                        said(shown),
                        said(job)
                    )));
                }
                _ => self.job = Some(job.to_owned()),
            }
        }
        if self.seen.is_new_job(job) && !self.json {
            self.remark(&format!("-- {}, job {}", said(command), said(job)), Paint::Dim);
        }
        self.is_empty = false;
        Ok(true)
    }

    fn line(&mut self, job: Option<&str>, command: &str, line: &BatchLine) -> Result<(), Failure> {
        if self.json {
            return self.screen.json(&Event::Line { job, command, line });
        }
        let text = self.screen.line_of_command(&line.line, line.stream == Stream::Stderr);
        let time = if self.times { format!("{} ", said(&line.at)) } else { String::new() };
        self.screen.line(&format!("{}{text}", Paint::Dim.on(&time, self.screen.colours && self.times)))
    }

    fn missing(&mut self, job: &str, first: u64, last: u64) -> Result<(), Failure> {
        if self.json {
            return self.screen.json(&Event::Missing { job, first, last });
        }
        let which =
            if first == last { format!("line {first} is") } else { format!("lines {first} to {last} are") };
        self.remark(&format!("-- {which} not in NATS"), Paint::Yellow);
        Ok(())
    }

    fn status(&mut self, status: Status) -> Result<(), Failure> {
        let job = status.job_id.clone();
        if !self.is_wanted(job.as_deref(), &status.command)? || !self.seen.is_new_end(job.as_deref()) {
            return Ok(());
        }
        self.is_empty = false;
        if self.json {
            self.screen.json(&Event::Ended(&status))?;
        } else {
            let took = status.duration_ms.map(|ms| format!(", took {}", length(Duration::from_millis(ms))));
            let outcome = status.outcome.as_deref().map(said);
            let text = format!(
                "-- {}: {} ({}){}: {}",
                said(&status.command),
                outcome.unwrap_or_else(|| format!("{:?}", status.status).to_ascii_lowercase()),
                status.exit_code,
                took.unwrap_or_default(),
                said(&status.message)
            );
            let paint =
                if status.status == nixfleet_protocol::StatusKind::Ok { Paint::Green } else { Paint::Red };
            self.remark(&text, paint);
        }
        self.end = Some(status);
        Ok(())
    }

    fn remark(&mut self, text: &str, paint: Paint) {
        let text = paint.on(text, self.screen.colours);
        self.screen.remark(&text);
    }
}
