//! `nixfleet watch`

use std::collections::HashMap;
use std::pin::pin;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::{self, Context};
use futures_util::StreamExt;
use jiff::Timestamp;
use nixfleet_fleet::names::LOG;
use nixfleet_os::error::chain;
use nixfleet_os::time::length;
use nixfleet_protocol::{AgentMessage, CommandRejected, Status, StatusKind};
use serde::Serialize;
use tokio::time::sleep;

use crate::args::Watch;
use crate::changes::{Change, Seen, changes};
use crate::chosen;
use crate::exit::{Exit, Failure};
use crate::fleet_view::{Fleet, Host, Readers};
use crate::lines;
use crate::log::{message, subjects};
use crate::pattern::Pattern;
use crate::reader::{self, Connects, Entry, Made, ReadError, Tail, made_anew};
use crate::terminal::{Paint, Screen, said};

/// Version of the JSON objects.
const OBJECTS: u32 = 1;

/// Pause before NATS is read again that could not be read.
const PAUSE: Duration = Duration::from_millis(500);

/// Entries of the log that tell what became of commands.
const KINDS: [&str; 2] = ["status", "rejected"];

#[derive(Debug, Serialize)]
struct Event<'a> {
    at: String,
    host: &'a str,
    #[serde(flatten)]
    what: What<'a>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum What<'a> {
    Change(&'a Change),
    Command(Command<'a>),
}

#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Command<'a> {
    Ended { status: &'a Status },
    Rejected { rejection: &'a CommandRejected },
}

#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Start {
    Begin { version: u32, hosts: usize, online: usize },
}

/// Watches until the program is ended.
pub(crate) async fn run(client: &Client, options: &Watch, screen: &mut Screen) -> Result<Exit, Failure> {
    let words = if options.hosts.is_empty() { vec!["*".to_owned()] } else { options.hosts.clone() };
    let patterns = chosen::read(&words)?;
    let jetstream = jetstream::new(client.clone());
    let log = reader::stream(&jetstream, LOG).await?;
    let (made, last) = (Made::of(LOG, &log), log.cached_info().state.last_sequence);
    let names = chosen::names(&patterns);
    let mut fleet = Fleet::default();
    // Before the reading, which a new connection may miss a part of.
    let mut connects = Connects::new(client);
    let mut readers = Readers::open(&jetstream, names.as_deref(), &mut fleet).await?;
    // By a pattern, all hosts: one may come that is not there yet.
    let of = names.clone().unwrap_or_else(|| vec!["*".to_owned()]);
    let mut log = Tail::new(&jetstream, made, last, subjects(&of, &KINDS)).entries();
    let mut watcher = Watcher { screen, patterns, json: options.json, fleet, ends: HashMap::new() };
    watcher.begin()?;
    let mut anew = pin!(made_anew(jetstream.clone(), readers.made()));
    loop {
        let broken = tokio::select! {
            entry = readers.owners.next() => watcher.part(entry, Fleet::owner)?,
            entry = readers.facts.next() => watcher.part(entry, Fleet::facts)?,
            entry = readers.beats.next() => watcher.part(entry, Fleet::beat)?,
            Some(entry) = log.next() => {
                watcher.said(&entry)?;
                false
            }
            () = connects.changed() => true,
            () = &mut anew => true,
        };
        if broken {
            readers = watcher.again(&jetstream, names.as_deref()).await?;
            anew.set(made_anew(jetstream.clone(), readers.made()));
        }
    }
}

struct Watcher<'a> {
    screen: &'a mut Screen,
    patterns: Vec<Pattern>,
    json: bool,
    fleet: Fleet,
    /// Which jobs of which host have ended.
    ends: HashMap<String, lines::Seen>,
}

impl Watcher<'_> {
    fn begin(&mut self) -> Result<(), Failure> {
        let mine = self.fleet.hosts.iter().filter(|(name, _)| self.is_mine(name));
        let (hosts, online) = mine.fold((0, 0), |(hosts, online), (_, host)| {
            (hosts + 1, online + usize::from(host.standing().online))
        });
        if self.json {
            return self.screen.json(&Start::Begin { version: OBJECTS, hosts, online });
        }
        self.screen.note(&format!("{online} of {hosts} hosts are online; watching"));
        Ok(())
    }

    fn is_mine(&self, host: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(host))
    }

    /// An entry of a bucket. Returns whether it cannot be read any more.
    fn part(
        &mut self,
        entry: Result<Option<Entry>, ReadError>,
        put: fn(&mut Fleet, &Entry),
    ) -> Result<bool, Failure> {
        let Ok(entry) = entry else { return Ok(true) };
        let Some(entry) = entry.filter(|entry| self.is_mine(&entry.host)) else { return Ok(false) };
        let before = self.fleet.hosts.get(&entry.host).map(Seen::from).unwrap_or_default();
        put(&mut self.fleet, &entry);
        let Some(host) = self.fleet.hosts.get(&entry.host) else { return Ok(false) };
        let changes = changes(&before, host);
        self.tell(&entry.host, &changes)?;
        Ok(false)
    }

    fn tell(&mut self, host: &str, changes: &[Change]) -> Result<(), Failure> {
        for change in changes {
            let (paint, text) = match change {
                Change::Online => (Paint::Green, "online".to_owned()),
                Change::Offline => (Paint::Red, "offline".to_owned()),
                Change::Connected { gateway, .. } => (Paint::Dim, format!("connected to {}", said(gateway))),
                Change::Left { because } => (Paint::Yellow, format!("not connected: {}", said(because))),
                Change::Started { command } => (Paint::Cyan, format!("started {}", said(command))),
            };
            self.event(host, What::Change(change), paint, &text)?;
        }
        Ok(())
    }

    /// An entry of the log.
    fn said(&mut self, entry: &Entry) -> Result<(), Failure> {
        let host = entry.host.as_str();
        if !self.is_mine(host) {
            return Ok(());
        }
        match message(entry) {
            Some(AgentMessage::Status(status)) => {
                let ends = self.ends.entry(host.to_owned()).or_default();
                if !ends.is_new_end(status.job_id.as_deref()) {
                    return Ok(());
                }
                let (paint, word) = match status.status {
                    StatusKind::Ok => (Paint::Green, "good"),
                    StatusKind::Error => (Paint::Red, "failed"),
                    StatusKind::Stopped => (Paint::Yellow, "stopped"),
                };
                let took = status.duration_ms.map(|ms| format!(" ({})", length(Duration::from_millis(ms))));
                let text = format!(
                    "ended {}, {word}: {}{}",
                    said(&status.command),
                    said(&status.message),
                    took.unwrap_or_default()
                );
                self.event(host, What::Command(Command::Ended { status: &status }), paint, &text)
            }
            Some(AgentMessage::CommandRejected(rejection)) => {
                let command = rejection.command.as_deref().unwrap_or("a command");
                let text = format!("rejected {}: {}", said(command), said(&rejection.reason));
                let what = What::Command(Command::Rejected { rejection: &rejection });
                self.event(host, what, Paint::Yellow, &text)
            }
            _ => Ok(()),
        }
    }

    fn event(&mut self, host: &str, what: What<'_>, paint: Paint, text: &str) -> Result<(), Failure> {
        let now = Timestamp::now();
        if self.json {
            return self.screen.json(&Event { at: format!("{now:.3}"), host, what });
        }
        let time = now.to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M:%S").to_string();
        let colours = self.screen.colours;
        self.screen.line(&format!("{} {host} {}", Paint::Dim.on(&time, colours), paint.on(text, colours)))
    }

    /// Reads all of it again, and tells what has changed meanwhile.
    async fn again(&mut self, jetstream: &Context, names: Option<&[String]>) -> Result<Readers, Failure> {
        let mut is_told = false;
        loop {
            let mut fleet = Fleet::default();
            match Readers::open(jetstream, names, &mut fleet).await {
                Ok(readers) => {
                    self.replace(fleet)?;
                    if is_told {
                        self.screen.note("NATS is read again");
                    }
                    return Ok(readers);
                }
                Err(err) if !std::mem::replace(&mut is_told, true) => {
                    let why = chain(&err);
                    self.screen
                        .note(&format!("{why}; it is tried again, and what happens meanwhile is told later"));
                }
                Err(_) => {}
            }
            sleep(PAUSE).await;
        }
    }

    /// Tells what is different in this newer picture of the fleet.
    fn replace(&mut self, fleet: Fleet) -> Result<(), Failure> {
        let old = std::mem::replace(&mut self.fleet, fleet);
        let nothing = Host::default();
        let mine = self.fleet.hosts.iter().filter(|(name, _)| self.is_mine(name));
        let changed = mine.map(|(name, host)| {
            let before = Seen::from(old.hosts.get(name).unwrap_or(&nothing));
            (name.clone(), changes(&before, host))
        });
        let changed: Vec<(String, Vec<Change>)> = changed.collect();
        for (name, changes) in changed {
            self.tell(&name, &changes)?;
        }
        Ok(())
    }
}
