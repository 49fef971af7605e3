//! Runs one schedule: starts everything, carries out the steps, behaves as a dashboard that wants answers, ends the
//! faults, and waits until all has come to rest.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use fastrand::Rng;
use rustix::process::Signal;
use tokio::time::Instant;

use nixfleet_dashboard::{Policy, Recorded};
use nixfleet_protocol::{AgentMessage, Heartbeat};

use crate::clock::Clock;
use crate::commands::{self, Side};
use crate::disk::Disk;
use crate::evidence::{Asked, Done, Evidence, Excused, Rest, now_ms};
use crate::faults::Later;
use crate::machine::{Machine, Needs, Start, signal};
use crate::program::{self, Program};
use crate::proxy::Proxy;
use crate::rig::{Fleet, HOST, lives};
use crate::schedule::{Family, Schedule};

/// Time between two looks at everything.
const TICK: Duration = Duration::from_millis(20);

/// Time between two looks at the processes and at what the commands wrote.
const SAMPLE: Duration = Duration::from_millis(250);

/// A tick that is later than this shows that the machine of the tests stood still, so that heartbeats are late, too.
const STALL: Duration = Duration::from_millis(500);

/// How long everything may take to come to rest after the faults: a reconnect after its longest delay (32 s after
/// five failed attempts), a job whose start was interrupted (60 s), and the end of a command that nothing explains
/// (10 s), with a margin.
const REST: Duration = Duration::from_secs(110);

/// Heartbeats without a command that must arrive before all counts as at rest.
const QUIET_BEATS: usize = 2;

/// How long the last agent may take to end: its own limit is a second.
const EXIT: Duration = Duration::from_secs(10);

/// One schedule as it runs.
pub(crate) struct Driver<'a> {
    schedule: &'a Schedule,
    pub(crate) rng: Rng,
    pub(crate) fleet: Fleet,
    pub(crate) proxy: Proxy,
    pub(crate) machine: Machine,
    pub(crate) disk: Option<Disk>,
    pub(crate) clock: Option<Clock>,
    pub(crate) later: Vec<(Instant, Later)>,
    pub(crate) done: Vec<Done>,
    pub(crate) excused: Vec<Excused>,
    /// When connections became half-open.
    pub(crate) half_open: Vec<i64>,
    /// When `register` got no answer.
    pub(crate) mute: Vec<(i64, i64)>,
    /// The agent was told to end; the next one starts then.
    pub(crate) term_sent: Option<Instant>,
    messages: Vec<Recorded>,
    /// The newest connection with a heartbeat: a command that is sent earlier is ignored.
    live: u64,
    answered: BTreeSet<String>,
    asked: Vec<Asked>,
    side: Side,
    sampled: Option<Instant>,
    ticked: Option<Instant>,
    deaths: Vec<String>,
    together: Vec<String>,
    needs: Needs,
}

/// Runs a schedule to its end.
pub(crate) async fn run(schedule: &Schedule, program: &Program) -> Evidence {
    let mut skipped = Vec::new();
    let mut fleet = if schedule.strict { Fleet::strict().await } else { Fleet::start().await };
    fleet.dashboard.set_policy(Policy { ack: true, ..Policy::default() });
    let folder = fleet.folder.path().to_owned();
    let settings = commands::install(&folder, &schedule.commands);
    fleet = fleet.configure(&settings);
    fs::create_dir(fleet.path("state")).unwrap();
    let disk = (schedule.family == Family::Disk).then(|| Disk::mount(&fleet.path("state"))).flatten();
    if schedule.family == Family::Disk && disk.is_none() {
        skipped.push("a full disk: mounting a small tmpfs needs root".to_owned());
    }
    let clock = (schedule.family == Family::Clock).then(|| Clock::new(&folder)).flatten();
    if schedule.family == Family::Clock && clock.is_none() {
        skipped.push("clock jumps: libfaketime is not installed".to_owned());
    }
    let user = program::user(schedule.seed);
    if schedule.family == Family::Limits && user.is_none() {
        skipped.push("few threads: users of their own need root".to_owned());
    }
    let target = fleet.url().trim_start_matches("ws://").trim_end_matches("/ws").parse().unwrap();
    let proxy = Proxy::start(target).await;
    let settings = fleet.agent_command();
    let mut command = std::process::Command::new(program.path());
    command.env_clear().envs(settings.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("PATH", "/usr/local/bin:/usr/bin:/bin").env("HOME", &folder);
    command.env("NIXFLEET_URL", format!("ws://{}/ws", proxy.address()));
    // For an agent that was built with the feature `planted-faults`.
    command.envs(std::env::var_os("PLANTED_FAULT").map(|fault| ("PLANTED_FAULT", fault)));
    if let Some(clock) = &clock {
        clock.apply(&mut command);
    }
    let machine = Machine::new(Start { command, folder, user });
    let mut driver = Driver {
        schedule,
        rng: Rng::with_seed(!schedule.seed),
        fleet,
        proxy,
        machine,
        disk,
        clock,
        later: Vec::new(),
        done: Vec::new(),
        excused: Vec::new(),
        half_open: Vec::new(),
        mute: Vec::new(),
        term_sent: None,
        messages: Vec::new(),
        live: 0,
        answered: BTreeSet::new(),
        asked: Vec::new(),
        side: Side::default(),
        sampled: None,
        ticked: None,
        deaths: Vec::new(),
        together: Vec::new(),
        needs: Needs::default(),
    };
    let begun = now_ms();
    driver.play().await;
    let rest = driver.rest().await;
    driver.evidence(begun, rest, skipped)
}

impl Driver<'_> {
    async fn play(&mut self) {
        self.machine.start_agent();
        let begun = Instant::now();
        let ends = begun + Duration::from_millis(self.schedule.ends);
        let mut steps = self.schedule.steps.iter().peekable();
        loop {
            let now = Instant::now();
            if now >= ends {
                break;
            }
            while let Some((_, act)) = steps.next_if(|(at, _)| begun + Duration::from_millis(*at) <= now) {
                self.act(act.clone(), now);
            }
            self.tick(now).await;
        }
        self.calm();
    }

    /// Everything that happens all the time.
    async fn tick(&mut self, now: Instant) {
        self.due(now);
        self.watch_agent(now);
        self.receive();
        self.insist();
        if self.sampled.is_none_or(|at| now - at >= SAMPLE) {
            self.sampled = Some(now);
            self.sample();
        }
        self.excuse_stall(now);
        tokio::time::sleep(TICK).await;
    }

    /// Nothing was received since the last tick, if that was long ago: the dashboard runs on the same thread.
    fn excuse_stall(&mut self, now: Instant) {
        if let Some(last) = self.ticked.replace(now)
            && now - last > TICK + STALL
        {
            let stood = i64::try_from((now - last).as_millis()).unwrap();
            self.excused.push(Excused { from: now_ms() - stood, to: now_ms() + stood });
        }
    }

    /// Starts the next agent after one that was told to end. Any other end is a finding.
    fn watch_agent(&mut self, now: Instant) {
        let Some(status) = self.machine.agent_ended() else { return };
        let next = match self.term_sent.take() {
            Some(next) => {
                let young = !self.machine.has_begun();
                if status != "exit status: 0" && !(young && status.starts_with("signal: 15")) {
                    self.deaths.push(format!("after SIGTERM: {status}"));
                }
                next
            }
            None => {
                self.deaths.push(status);
                now
            }
        };
        self.later.push((next, Later::StartAgent));
    }

    fn receive(&mut self) {
        let since = self.messages.last().map_or(0, |recorded| recorded.index + 1);
        for recorded in self.fleet.dashboard.messages_since(HOST, since) {
            match &recorded.message {
                AgentMessage::Heartbeat(_) => self.live = recorded.connection,
                AgentMessage::Status(status) => drop(self.answered.insert(status.command.clone())),
                AgentMessage::CommandRejected(rejected) => self.answered.extend(rejected.command.clone()),
                _ => {}
            }
            self.messages.push(recorded);
        }
    }

    fn sample(&mut self) {
        self.side = Side::read(self.fleet.folder.path());
        let alive: Vec<String> = self
            .side
            .runs
            .iter()
            .flat_map(|(name, runs)| runs.iter().map(move |run| (name, run)))
            .filter(|(_, run)| run.exit.is_none() && lives(run.pid))
            .map(|(name, run)| format!("`{name}` ({})", run.pid))
            .collect();
        if alive.len() > 1 {
            self.together.push(alive.join(" and "));
        }
        if let Some(needs) = self.machine.needs() {
            self.needs.threads = self.needs.threads.max(needs.threads);
            self.needs.files = self.needs.files.max(needs.files);
            self.needs.kib = self.needs.kib.max(needs.kib);
        }
    }

    /// The newest command, and its process if it runs.
    pub(crate) fn running(&self) -> (String, Option<u32>) {
        let side = Side::read(self.fleet.folder.path());
        match side.running() {
            Some((name, pid)) => (name.to_owned(), Some(pid).filter(|pid| lives(*pid))),
            None => ("nothing".to_owned(), None),
        }
    }

    /// Sends a request for the first time. Without a connection it is sent later.
    pub(crate) fn ask(&mut self, number: usize) {
        let name = self.schedule.commands[number].name(number);
        let id = format!("request-{}-{number}", self.schedule.seed);
        self.asked.push(Asked { name, id, sent: Vec::new(), sent_on: 0 });
        self.send(self.asked.len() - 1);
    }

    /// Sends a request again. False if it was never sent.
    pub(crate) fn ask_again(&mut self, number: usize) -> bool {
        let name = self.schedule.commands[number].name(number);
        let at = self.asked.iter().position(|asked| asked.name == name && !asked.sent.is_empty());
        at.is_some_and(|at| self.send(at))
    }

    fn send(&mut self, at: usize) -> bool {
        let asked = &mut self.asked[at];
        let sent = self.fleet.dashboard.send_command(HOST, &asked.name, Some(&asked.id)).is_ok();
        if sent {
            asked.sent.push(now_ms());
            asked.sent_on = self.live;
        }
        sent
    }

    /// Sends every request again that has no answer, once on each new connection, as a dashboard does.
    fn insist(&mut self) {
        for at in 0..self.asked.len() {
            let asked = &self.asked[at];
            if !self.answered.contains(&asked.name) && asked.sent_on < self.live {
                self.send(at);
            }
        }
    }

    /// Waits until all has come to rest.
    async fn rest(&mut self) -> Rest {
        let (begun, from) = (Instant::now(), now_ms());
        let mut rest = Rest::default();
        loop {
            let now = Instant::now();
            self.tick(now).await;
            rest.missing = self.missing(from);
            if rest.missing.is_empty() {
                rest.after = Some(now_ms() - from);
                break;
            }
            if now - begun > REST {
                break;
            }
        }
        self.sample();
        rest.records = self.records();
        let agent = self.machine.agent();
        rest.processes = self.machine.processes();
        rest.processes.retain(|process| Some(process.pid) != agent);
        rest.exit = self.end_agent().await;
        self.excuse_stall(Instant::now());
        self.receive();
        rest
    }

    /// What is missing to be at rest; `from` is when the faults ended.
    fn missing(&mut self, from: i64) -> Vec<String> {
        let mut missing = Vec::new();
        let open = self.asked.iter().filter(|asked| !self.answered.contains(&asked.name));
        missing.extend(open.map(|asked| format!("no answer to `{}`", asked.name)));
        // Beats that were made after all that was sent: the agent has had its turns to read it. With a clock that jumps,
        // the time of their arrival has to do.
        let last_sent = self.asked.iter().flat_map(|asked| asked.sent.last()).max();
        let from = from.max(last_sent.copied().unwrap_or(from));
        let is_new = |recorded: &Recorded, beat: &Heartbeat| {
            let made = beat.sent_at.as_deref().and_then(|sent| sent.parse::<jiff::Timestamp>().ok());
            let made = made.map(jiff::Timestamp::as_millisecond);
            let is_real = self.schedule.family != Family::Clock;
            recorded.at_ms > from && (!is_real || made.is_some_and(|made| made > from))
        };
        let quiet = self.messages.iter().rev().take_while(|recorded| match &recorded.message {
            AgentMessage::Heartbeat(beat) => beat.pending_command.is_none() && is_new(recorded, beat),
            AgentMessage::Register(_) => true,
            _ => false,
        });
        let beats = quiet.filter(|recorded| matches!(recorded.message, AgentMessage::Heartbeat(_))).count();
        if beats < QUIET_BEATS {
            missing.push("no two heartbeats without a command and without anything between them".to_owned());
        }
        if missing.is_empty() {
            // Only now, because it reads many files.
            missing.extend(self.records().into_iter().map(|name| format!("a record is left: {name}")));
            let agent = self.machine.agent();
            let others = self.machine.processes().into_iter().filter(|process| Some(process.pid) != agent);
            missing.extend(others.map(|process| format!("process {} runs: {:?}", process.pid, process.argv)));
        }
        missing
    }

    fn records(&self) -> Vec<String> {
        let items = fs::read_dir(self.fleet.path("state/agent/delivery")).into_iter().flatten().flatten();
        items
            .filter(|item| item.path().extension().is_some_and(|ending| ending == "json"))
            .map(|item| item.file_name().to_string_lossy().into_owned())
            .collect()
    }

    async fn end_agent(&mut self) -> String {
        let Some(agent) = self.machine.agent() else { return "no agent ran".to_owned() };
        signal(agent, Signal::TERM);
        let begun = Instant::now();
        while begun.elapsed() < EXIT {
            if let Some(status) = self.machine.agent_ended() {
                return status;
            }
            tokio::time::sleep(TICK).await;
        }
        format!("it did not end within {EXIT:?}")
    }

    fn evidence(mut self, begun: i64, rest: Rest, skipped: Vec<String>) -> Evidence {
        let folder = std::mem::replace(&mut self.fleet.folder, tempfile::tempdir().unwrap());
        let connections = self.proxy.connections();
        for from in &self.half_open {
            // It lasts until the agent's next connection is registered.
            let next = connections.iter().map(|connection| connection.opened).find(|opened| opened > from);
            self.excused.push(Excused { from: *from, to: next.unwrap_or(i64::MAX) });
        }
        Evidence {
            family: self.schedule.family,
            strict: self.schedule.strict,
            begun,
            ended: now_ms(),
            messages: self.messages,
            violations: self.fleet.dashboard.violations().violations,
            connections,
            asked: self.asked,
            done: self.done,
            excused: self.excused,
            mute: self.mute,
            side: Side::read(folder.path()),
            deaths: self.deaths,
            together: self.together,
            starts: self.machine.starts,
            needs: self.needs,
            log_bytes: fs::metadata(folder.path().join("agent.log")).map_or(0, |log| log.len()),
            rest,
            skipped,
            folder,
            disk: self.disk,
        }
    }
}
