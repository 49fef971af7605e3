//! Built agents over many connections: they do not grow. `cargo xtask soak` lets this run for minutes.
//!
//! An agent that loses its connection waits up to a second before the next attempt, and longer if the connection held
//! for less than five seconds. So one agent makes about seven connections a minute, and several of them
//! run side by side.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use nixfleet_dashboard::Recorded;
use nixfleet_protocol::AgentMessage;

use crate::rig::{AgentProcess, Fleet, LIMIT, eventually};
use crate::usage::Usage;
use proxy::Proxy;

mod proxy;

/// Agents side by side: so many that they lose 80 connections in 35 s.
const AGENTS: usize = 20;

/// How long they run, unless `SOAK_SECONDS` says otherwise.
const SECONDS: u64 = 25;

/// Connections of each agent before the first sample: threads start when they are first needed, and buffers get
/// their size.
const WARM_UP: u64 = 1;

/// Heartbeats of each connection, one a second: they take longer than the 5 s after which a connection counts as one
/// that held.
const HELD: usize = 6;

/// Connections that each agent loses at least, also on a machine that is too slow for more in that time.
const LOST: u64 = WARM_UP + 3;

/// Commands on each connection: more than [`KEEP`] in all, so that folders of jobs are removed.
const COMMANDS: usize = 2;

/// `jobs.keep` of the agents.
const KEEP: usize = 3;

/// KiB of resident memory by which an agent may grow on average. The allocator of the C library keeps some pages of
/// each thread that has ended, in as many arenas as there are processors.
const RSS_MARGIN: u64 = 256;

/// One agent, and the way to its dashboard.
struct Host<'a> {
    fleet: &'a Fleet,
    name: String,
    proxy: Proxy,
    process: AgentProcess,
    /// Index of the next message that was not looked at.
    next: u64,
    /// Heartbeats and statuses on the newest connection.
    connection: u64,
    beats: usize,
    statuses: usize,
}

impl<'a> Host<'a> {
    async fn start(fleet: &'a Fleet, number: usize, mut command: Command) -> Self {
        let proxy = Proxy::start(fleet.dashboard_address()).await;
        let (name, state) = (format!("soak-{number}"), fleet.path(&format!("state-{number}")));
        command.env("NIXFLEET_URL", format!("ws://{}/ws", proxy.address()));
        command.env("NIXFLEET_HOSTNAME", &name).env("NIXFLEET_STATE_DIR", &state);
        command.env("NIXFLEET_JOBS__KEEP", KEEP.to_string()).env("NIXFLEET_LOG_LEVEL", "error");
        let process = AgentProcess::spawn(command, state);
        Self { fleet, name, proxy, process, next: 0, connection: 0, beats: 0, statuses: 0 }
    }

    fn look(&mut self) {
        let messages = self.fleet.dashboard.messages_since(&self.name, self.next);
        self.next = self.fleet.dashboard.next_index(&self.name);
        for Recorded { connection, message, .. } in messages {
            if connection > self.connection {
                (self.connection, self.beats, self.statuses) = (connection, 0, 0);
            }
            match message {
                AgentMessage::Heartbeat(_) => self.beats += 1,
                AgentMessage::Status(status) => {
                    assert_eq!(status.exit_code, 0, "{status:?}");
                    self.statuses += 1;
                }
                _ => {}
            }
        }
    }

    async fn wait(&mut self, what: &str, mut reached: impl FnMut(&Self) -> bool) {
        let begun = Instant::now();
        loop {
            self.look();
            if reached(self) {
                return;
            }
            assert!(begun.elapsed() < LIMIT, "{}: after {LIMIT:?} still no {what}", self.name);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Runs the commands of this connection and waits until it has held.
    async fn hold(&mut self) {
        for done in 1..=COMMANDS {
            self.fleet.dashboard.send_command(&self.name, "lines", None).unwrap();
            self.wait("status", |host| host.statuses >= done).await;
        }
        // One behind each status.
        self.wait("heartbeats", |host| host.beats >= HELD + COMMANDS).await;
    }

    /// Cuts the connection and waits for a heartbeat on the next one.
    async fn cut(&mut self) {
        let connection = self.connection;
        self.proxy.cut();
        self.wait("beat on another connection", |host| host.connection > connection && host.beats > 0).await;
    }

    /// What the agent uses when all that it had to deliver was delivered.
    async fn usage(&self) -> Usage {
        let state = self.process.state().to_owned();
        let delivered = || {
            let left = fs::read_dir(state.join("agent/delivery")).into_iter().flatten().count();
            (left == 0).then_some(())
        };
        eventually("empty folder of deliveries", delivered).await;
        Usage::of(self.process.pid())
    }

    /// What it uses at the end. A thread that is about to end, such as a look at the host, may be there for a moment.
    async fn settled(&self, early: Usage) -> Usage {
        let begun = Instant::now();
        loop {
            let usage = self.usage().await;
            let more =
                usage.threads > early.threads || usage.descriptors > early.descriptors || usage.zombies > 0;
            if !more || begun.elapsed() > SETTLED {
                return usage;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// How long threads may take to end.
const SETTLED: Duration = Duration::from_secs(5);

/// Keeps losing the connection until the time is over. Returns the number of times, and the use before and after.
async fn live(fleet: &Fleet, number: usize, command: Command, until: Instant) -> (u64, Usage, Usage) {
    let mut host = Host::start(fleet, number, command).await;
    host.wait("first heartbeat", |host| host.beats > 0).await;
    let (mut cuts, mut early) = (0, None);
    loop {
        host.hold().await;
        if cuts == WARM_UP {
            early = Some(host.usage().await);
        }
        if cuts >= LOST && Instant::now() >= until {
            break;
        }
        host.cut().await;
        cuts += 1;
    }
    let early = early.unwrap();
    let late = host.settled(early).await;
    let folders = fs::read_dir(host.process.state().join("jobs")).unwrap().flatten();
    let folders = folders.filter(|item| item.path().is_dir()).count();
    assert!(folders <= KEEP, "{} has {folders} folders of jobs, {KEEP} are to be kept", host.name);
    (cuts, early, late)
}

#[tokio::test]
async fn agents_with_many_connections_and_commands_do_not_grow() {
    let seconds = std::env::var("SOAK_SECONDS").map_or(SECONDS, |text| text.parse().unwrap());
    let fleet =
        Fleet::strict().await.script("lines", "i=0; while [ $i -lt 50 ]; do i=$((i+1)); echo $i; done");
    let begun = Instant::now();
    let until = begun + Duration::from_secs(seconds);
    // All of them before the first one is started: each writes the configuration, which all agents read.
    let commands: Vec<Command> = (0..AGENTS).map(|_| fleet.agent_command()).collect();
    let lives =
        commands.into_iter().enumerate().map(|(number, command)| live(&fleet, number, command, until));
    let lives = futures_util::future::join_all(lives).await;
    let (cuts, early, late) =
        lives.iter().fold((0, Usage::default(), Usage::default()), |(cuts, early, late), life| {
            (cuts + life.0, early + life.1, late + life.2)
        });
    println!("{AGENTS} agents lost {cuts} connections in {:?}: from {early:?} to {late:?}", begun.elapsed());
    let mut grown = Vec::new();
    if late.rss > early.rss + RSS_MARGIN * AGENTS as u64 {
        grown.push("resident memory");
    }
    if late.threads > early.threads {
        grown.push("threads");
    }
    if late.descriptors > early.descriptors {
        grown.push("descriptors");
    }
    if late.zombies > 0 {
        grown.push("zombies");
    }
    assert!(
        grown.is_empty(),
        "of {AGENTS} agents after {cuts} lost connections: {grown:?}; {early:?} {late:?}"
    );
    fleet.assert_no_violations();
}
