//! `nixfleet hosts`

use std::cmp::Reverse;

use async_nats::jetstream;
use jiff::Timestamp;
use nixfleet_os::time::length;
use nixfleet_protocol::{HostSystem, UpdateState, Verdict};
use serde::Serialize;

use crate::args::{Hosts, Sort};
use crate::chosen::{self, Chosen, choose};
use crate::exit::{Exit, Failure};
use crate::fleet_view::{Fleet, Host};
use crate::pattern::{Pattern, natural};
use crate::table::{Cell, Column, table};
use crate::terminal::{self, Paint, Screen, said};

/// Version of the JSON document. Fields may be added; one that changes in another way makes a new version.
const DOCUMENT: u32 = 1;

/// Longest text of a host in a column, in characters.
const LONGEST: usize = 40;

pub(crate) async fn run(
    client: &async_nats::Client,
    options: &Hosts,
    screen: &mut Screen,
) -> Result<Exit, Failure> {
    let everything = ["*".to_owned()];
    let words = if options.hosts.is_empty() { &everything[..] } else { &options.hosts };
    let patterns = chosen::read(words)?;
    let fleet = Fleet::read(&jetstream::new(client.clone()), chosen::names(&patterns).as_deref()).await?;
    let now = Timestamp::now();
    let mut chosen = choose(&patterns, &fleet, |host| is_wanted(host, options));
    sort(&mut chosen.hosts, &fleet, options.sort);
    let rows: Vec<(&str, &Host)> =
        chosen.hosts.iter().filter_map(|name| Some((name.as_str(), fleet.hosts.get(name)?))).collect();
    if options.json {
        screen.json(&document(&rows, now))?;
    } else if !rows.is_empty() {
        let width = terminal::width().filter(|_| !options.wide);
        screen.text(&page(&rows, now, width, screen.colours))?;
    }
    Ok(tell_missing(&chosen, &patterns, &fleet, screen))
}

/// Says which words stand for no host.
fn tell_missing(chosen: &Chosen, patterns: &[Pattern], fleet: &Fleet, screen: &mut Screen) -> Exit {
    if fleet.hosts.is_empty() && chosen::names(patterns).is_none() {
        screen.note("no host has ever been connected to a gateway of this fleet");
    }
    let is_all = |text: &str| patterns.len() == 1 && text == "*";
    for name in &chosen.unknown {
        screen.note(&format!("no gateway has ever seen the host {name}"));
    }
    for pattern in chosen.empty.iter().filter(|text| !is_all(text)) {
        screen.note(&format!("no host is called {pattern}"));
    }
    let all_there = chosen.unknown.is_empty() && chosen.empty.iter().all(|text| is_all(text));
    if all_there { Exit::Good } else { Exit::NotDone }
}

fn is_wanted(host: &Host, options: &Hosts) -> bool {
    let online = host.standing().online;
    let at = |commit: &str| !host.commit().is_empty() && same_commit(host.commit(), commit);
    (!options.offline || !online)
        && (!options.online || online)
        && (!options.running || host.running().is_some())
        && options.not_at.as_ref().is_none_or(|commit| !at(commit))
}

/// Whether one is the beginning of the other: hosts tell 7 digits.
fn same_commit(one: &str, other: &str) -> bool {
    let (one, other) = (one.to_ascii_lowercase(), other.to_ascii_lowercase());
    one.starts_with(&other) || other.starts_with(&one)
}

fn sort(names: &mut [String], fleet: &Fleet, by: Sort) {
    let of = |name: &String| fleet.hosts.get(name);
    let text = |host: Option<&Host>| match by {
        Sort::Commit => host.map_or("", Host::commit).to_owned(),
        Sort::Agent => {
            host.and_then(|host| Some(host.facts.as_ref()?.agent_version.clone())).unwrap_or_default()
        }
        Sort::Gateway => host.and_then(|host| Some(host.owner.as_ref()?.gateway.clone())).unwrap_or_default(),
        Sort::Host | Sort::State | Sort::Since => String::new(),
    };
    let number = |host: Option<&Host>| match by {
        Sort::State => host.map_or(0, |host| {
            let standing = host.standing();
            i64::from(standing.online) + i64::from(standing.online && standing.connected)
        }),
        Sort::Since => -host.and_then(Host::since_ms).unwrap_or_default(),
        Sort::Host | Sort::Commit | Sort::Agent | Sort::Gateway => 0,
    };
    names.sort_by_cached_key(|name| {
        let host = of(name);
        // What nobody knows comes last.
        let text = text(host);
        (number(host), Reverse(!text.is_empty()), natural(&text), natural(name))
    });
}

const COLUMNS: [Column; 11] = [
    Column { title: "HOST", rank: 0 },
    Column { title: "STATE", rank: 0 },
    Column { title: "SINCE", rank: 1 },
    Column { title: "RUNNING", rank: 2 },
    Column { title: "COMMIT", rank: 3 },
    Column { title: "SYSTEM", rank: 4 },
    Column { title: "LOCK", rank: 6 },
    Column { title: "TESTS", rank: 5 },
    Column { title: "NIXPKGS", rank: 8 },
    Column { title: "AGENT", rank: 7 },
    Column { title: "GATEWAY", rank: 9 },
];

/// The table.
fn page(hosts: &[(&str, &Host)], now: Timestamp, width: Option<usize>, colours: bool) -> String {
    let rows: Vec<Vec<Cell>> = hosts.iter().map(|(name, host)| row(name, host, now)).collect();
    table(&COLUMNS, &rows, width, colours)
}

fn row(name: &str, host: &Host, now: Timestamp) -> Vec<Cell> {
    let plain = |text: &str| Cell::new(nixfleet_os::text::one_line(text, LONGEST), Paint::Plain);
    let standing = host.standing();
    let state = match (standing.online, standing.connected) {
        (true, true) => Cell::new("online", Paint::Green),
        // It is about to be offline, or on its way to another gateway.
        (true, false) => Cell::new("online, left", Paint::Yellow),
        (false, _) => Cell::new("offline", Paint::Red),
    };
    let since = host.since_ms().map(|ms| ago(ms, now)).unwrap_or_default();
    let beat = host.heartbeat();
    let running = host.running().map(|command| {
        let phase =
            beat.and_then(|beat| beat.command_activity.as_ref()).map_or("", |activity| &activity.phase);
        if phase.is_empty() { command.to_owned() } else { format!("{command}, {phase}") }
    });
    let lights = beat.and_then(|beat| beat.update_status.as_deref());
    let light = |of: fn(&nixfleet_protocol::UpdateStatus) -> &Verdict| {
        let (word, paint) = word(lights.map_or(UpdateState::None, |lights| of(lights).status));
        Cell::new(word, paint)
    };
    let facts = host.facts.as_deref();
    let nixpkgs = beat.map(|beat| beat.nixpkgs_version.as_str()).filter(|text| !text.is_empty());
    vec![
        plain(name),
        state,
        plain(&since),
        Cell::new(said(&running.unwrap_or_default()), Paint::Cyan),
        plain(host.commit()),
        light(|lights| &lights.system),
        light(|lights| &lights.lock),
        light(|lights| &lights.tests),
        plain(nixpkgs.or(facts.map(|facts| facts.nixpkgs_version.as_str())).unwrap_or_default()),
        plain(facts.map_or("", |facts| &facts.agent_version)),
        plain(host.owner.as_ref().map_or("", |owner| &owner.gateway)),
    ]
}

/// The word of a light, as `nixfleet-agent status` shows it.
fn word(state: UpdateState) -> (&'static str, Paint) {
    match state {
        UpdateState::None => ("", Paint::Dim),
        UpdateState::Ok => ("ok", Paint::Green),
        UpdateState::Outdated => ("outdated", Paint::Yellow),
        UpdateState::Error => ("error", Paint::Red),
        UpdateState::Working => ("working", Paint::Cyan),
        UpdateState::Unknown => ("unknown", Paint::Dim),
    }
}

/// How long ago that was. A clock that is a little ahead means now.
fn ago(ms: i64, now: Timestamp) -> String {
    let passed = now.as_millisecond().saturating_sub(ms).max(0).unsigned_abs();
    length(std::time::Duration::from_millis(passed))
}

/// A time in JSON. None if it is beyond all calendars.
pub(crate) fn rfc3339(ms: i64) -> Option<String> {
    Timestamp::from_millisecond(ms).ok().map(|at| format!("{at:.3}"))
}

#[derive(Debug, Serialize)]
struct Document<'a> {
    version: u32,
    at: String,
    hosts: Vec<OfHost<'a>>,
}

#[derive(Debug, Serialize)]
struct OfHost<'a> {
    host: &'a str,
    online: bool,
    connected: bool,
    since: Option<String>,
    left_because: Option<&'a str>,
    gateway: Option<&'a str>,
    connection: Option<u64>,
    heartbeat_at: Option<String>,
    running: Option<Running<'a>>,
    commit: Option<&'a str>,
    nixpkgs_version: Option<&'a str>,
    lights: Option<Lights<'a>>,
    system: Option<&'a HostSystem>,
    agent_version: Option<&'a str>,
    host_type: Option<&'a str>,
    os_version: Option<&'a str>,
    location: Option<&'a str>,
    device_type: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct Running<'a> {
    command: &'a str,
    pid: Option<u32>,
    phase: Option<&'a str>,
    silent_s: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Lights<'a> {
    git: &'a Verdict,
    lock: &'a Verdict,
    system: &'a Verdict,
    tests: &'a Verdict,
}

fn document<'a>(hosts: &[(&'a str, &'a Host)], now: Timestamp) -> Document<'a> {
    let hosts = hosts.iter().map(|(name, host)| of_host(name, host)).collect();
    Document { version: DOCUMENT, at: format!("{now:.3}"), hosts }
}

fn of_host<'a>(name: &'a str, host: &'a Host) -> OfHost<'a> {
    let known = |text: &'a str| Some(text).filter(|text| !text.is_empty());
    let (standing, owner, beat, facts) =
        (host.standing(), host.owner.as_ref(), host.heartbeat(), host.facts.as_deref());
    let fact = |of: fn(&nixfleet_protocol::Register) -> &str| facts.and_then(|facts| known(of(facts)));
    let running = host.running().map(|command| {
        let activity = beat.and_then(|beat| beat.command_activity.as_deref());
        Running {
            command,
            pid: beat.and_then(|beat| beat.command_pid),
            phase: activity.and_then(|activity| known(&activity.phase)),
            silent_s: activity.and_then(|activity| activity.silent_s),
        }
    });
    let lights = beat.and_then(|beat| beat.update_status.as_deref()).map(|lights| Lights {
        git: &lights.git,
        lock: &lights.lock,
        system: &lights.system,
        tests: &lights.tests,
    });
    OfHost {
        host: name,
        online: standing.online,
        connected: standing.connected,
        since: host.since_ms().and_then(rfc3339),
        left_because: owner.and_then(|owner| owner.left.as_ref()).map(|left| left.why.as_str()),
        gateway: owner.map(|owner| owner.gateway.as_str()),
        connection: owner.map(|owner| owner.connection),
        heartbeat_at: host.beat.as_ref().and_then(|(at, _)| rfc3339(at.at_ms)),
        running,
        commit: known(host.commit()),
        nixpkgs_version: beat
            .and_then(|beat| known(&beat.nixpkgs_version))
            .or_else(|| fact(|facts| &facts.nixpkgs_version)),
        lights,
        system: beat.and_then(|beat| beat.system.as_deref()),
        agent_version: fact(|facts| &facts.agent_version),
        host_type: fact(|facts| &facts.host_type),
        os_version: fact(|facts| &facts.os_version),
        location: fact(|facts| &facts.location),
        device_type: fact(|facts| &facts.device_type),
    }
}

#[cfg(test)]
mod tests;
