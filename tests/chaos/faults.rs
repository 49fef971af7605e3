//! Carrying out the steps of a schedule, and ending them.

use std::time::Duration;

use rustix::process::{Resource, Signal};
use tokio::time::Instant;

use nixfleet_dashboard::{Faults, Refusal};
use nixfleet_protocol::{KillCommand, KillSignal};

use crate::act::{Act, Cut, Dashboard, Hit, Network, When, Who};
use crate::commands::{FLOOD, Side};
use crate::damage::{How, Target, damage};
use crate::driver::Driver;
use crate::evidence::{Done, Excused, now_ms};
use crate::machine::signal;
use crate::rig::HOST;

/// How long a step waits for what it needs: a running command, a supervisor, a file.
const PATIENCE: Duration = Duration::from_secs(3);

/// How late a heartbeat may be after a fault of the network or a pause: the agent has to catch up with what waited.
const AFTER: i64 = 1_000;

/// How long a connection lives until it is reset again: some heartbeats and some output pass.
pub(crate) const FLAP: Duration = Duration::from_millis(400);

/// Something to do later.
#[derive(Debug)]
pub(crate) enum Later {
    Network(Network),
    Dashboard(Dashboard),
    Continue(u32),
    /// Ends a stall with a reset.
    Reset,
    /// So many further resets.
    Flap(u32),
    Free,
    Unlimit(Resource),
    StartAgent,
    /// A step that has not found what it needs yet, and until when it tries.
    Again(Act, Instant),
}

/// Time between two attempts of a step.
const AGAIN: Duration = Duration::from_millis(20);

impl Driver<'_> {
    /// Carries out a step.
    pub(crate) fn act(&mut self, act: Act, now: Instant) {
        self.attempt(act, now, now + PATIENCE);
    }

    fn note(&mut self, act: Act, hit: bool, note: impl Into<String>) {
        self.done.push(Done { at: now_ms(), act, note: note.into(), hit, damaged: None });
    }

    /// Heartbeats need not arrive for this time.
    fn excuse(&mut self, length: Duration) {
        let from = now_ms();
        let to = from + i64::try_from(length.as_millis()).unwrap() + AFTER;
        self.excused.push(Excused { from, to });
    }

    fn attempt(&mut self, act: Act, now: Instant, until: Instant) {
        match act {
            Act::Ask(number) => self.ask(number),
            Act::AskAgain(number) => {
                let hit = self.ask_again(number);
                self.note(act, hit, "");
            }
            Act::Stop => {
                let hit = self.fleet.dashboard.send_command(HOST, "stop", None).is_ok();
                self.note(act, hit, "");
            }
            Act::Kill => {
                let kill = KillCommand { signal: KillSignal::Kill, pid: 0 };
                let hit = self.fleet.dashboard.send_kill(HOST, kill).is_ok();
                self.note(act, hit, "");
            }
            Act::Network(fault, length) => {
                self.proxy.set(fault, true);
                self.later(now + length, Later::Network(fault));
                self.excuse(length);
                self.note(act, true, "");
            }
            Act::Cut(how) => {
                self.proxy.cut(how);
                if how == Cut::HalfOpen {
                    // Until the agent notices, or until the faults end.
                    self.half_open.push(now_ms());
                }
                self.note(act, true, "");
            }
            Act::Stall(length) => {
                self.proxy.set(Network::Blackhole, true);
                self.later(now + length, Later::Reset);
                self.excuse(length);
                self.note(act, true, "");
            }
            Act::Flap(count) => {
                self.later(now, Later::Flap(count));
                self.note(act, true, "");
            }
            Act::Dashboard(fault, length) => {
                self.dashboard_fault(fault, true);
                self.later(now + length, Later::Dashboard(fault));
                if fault != Dashboard::NeverPong {
                    self.excuse(length);
                }
                self.note(act, true, "");
            }
            Act::Close(code) => {
                let hit = self.fleet.dashboard.close(HOST, code, "chaos\nWATCHDOG=trigger").is_ok();
                self.note(act, hit, "");
            }
            Act::Nonsense => {
                let hit = NONSENSE
                    .iter()
                    .all(|text| self.fleet.dashboard.send_raw(HOST, (*text).to_owned()).is_ok());
                self.note(act, hit, "");
            }
            Act::Agent(hit, down) => self.agent(act, hit, now + down),
            Act::Signal(who, hit) => self.signal(act, who, hit, now, until),
            Act::Damage { target, how, down } => self.damage(act, target, how, down, now, until),
            Act::FullDisk(when, length) => self.full_disk(act, when, length, now, until),
            Act::FewFiles(more, length) => self.limit(act, Resource::Nofile, more, now + length),
            Act::FewThreads(more, length) => {
                if rustix::process::geteuid().is_root() {
                    self.limit(act, Resource::Nproc, more, now + length);
                } else {
                    self.note(act, false, "it needs users of its own, and so root");
                }
            }
            Act::Clock(seconds) => {
                let Some(clock) = &mut self.clock else { return self.note(act, false, "no libfaketime") };
                clock.jump(seconds);
                self.note(act, true, "");
            }
        }
    }

    fn full_disk(&mut self, act: Act, when: When, length: Duration, now: Instant, until: Instant) {
        let Some(disk) = &self.disk else { return self.note(act, false, "no small disk") };
        if let When::Line(line) = when {
            // The one that writes is noticed within a tick, which is less than a hundred lines.
            let written = self.flooding();
            if written.is_none_or(|written| written < line) {
                return self.again(act, now, until, "none wrote");
            }
        }
        disk.fill();
        self.later(now + length, Later::Free);
        let note = self.flooding().map_or(String::new(), |line| format!("at line {line} of {FLOOD}"));
        self.note(act, true, note);
    }

    /// How many lines the command has written that runs now, if it is one that writes for seconds.
    fn flooding(&self) -> Option<u64> {
        let side = Side::read(self.fleet.folder.path());
        let (name, _) = side.running()?;
        name.starts_with("flood").then(|| side.runs.get(name)?.last().map(|run| run.lines)).flatten()
    }

    fn agent(&mut self, act: Act, hit: Hit, start: Instant) {
        let Some(agent) = self.machine.agent() else { return self.note(act, false, "no agent runs") };
        match hit {
            Hit::Kill => {
                self.machine.kill_agent();
                self.later(start, Later::StartAgent);
            }
            Hit::Term => {
                signal(agent, Signal::TERM);
                self.term_sent = Some(start);
            }
            Hit::Pause(length) => {
                signal(agent, Signal::STOP);
                self.excuse(length);
                self.later(Instant::now() + length, Later::Continue(agent));
            }
        }
        self.note(act, true, "");
    }

    fn signal(&mut self, act: Act, who: Who, hit: Hit, now: Instant, until: Instant) {
        let (name, pid) = self.running();
        let pid = match who {
            Who::Command => pid,
            Who::Supervisor => self.machine.supervisor().map(|process| process.pid),
        };
        let Some(pid) = pid else { return self.again(act, now, until, "none ran") };
        let sent = match hit {
            Hit::Kill => signal(pid, Signal::KILL),
            Hit::Term => signal(pid, Signal::TERM),
            Hit::Pause(length) => {
                self.later(now + length, Later::Continue(pid));
                signal(pid, Signal::STOP)
            }
        };
        self.note(act, sent, format!("{pid}, while `{name}` was the newest"));
    }

    fn damage(&mut self, act: Act, target: Target, how: How, down: bool, now: Instant, until: Instant) {
        if down && self.machine.agent().is_some() {
            self.machine.kill_agent();
        }
        let state = self.fleet.path("state");
        let damaged = damage(&state, target, how, &mut self.rng);
        if damaged.is_none() && now < until {
            return self.later(now + AGAIN, Later::Again(act, until));
        }
        if down {
            self.later(now, Later::StartAgent);
        }
        let note = damaged
            .as_ref()
            .map_or("there was none".to_owned(), |damaged| damaged.path.display().to_string());
        let hit = damaged.is_some();
        self.done.push(Done { at: now_ms(), act, note, hit, damaged });
    }

    fn again(&mut self, act: Act, now: Instant, until: Instant, why: &str) {
        if now < until {
            self.later(now + AGAIN, Later::Again(act, until));
        } else {
            self.note(act, false, why);
        }
    }

    fn limit(&mut self, act: Act, resource: Resource, more: u64, until: Instant) {
        let limit = self.machine.limit(resource, more);
        self.later(until, Later::Unlimit(resource));
        self.note(act, limit.is_some(), limit.map_or(String::new(), |limit| format!("{limit}")));
    }

    /// Does what is due.
    pub(crate) fn due(&mut self, now: Instant) {
        let mut due = Vec::new();
        self.later.retain_mut(|(at, what)| {
            let is_due = *at <= now;
            if is_due {
                due.push(std::mem::replace(what, Later::Free));
            }
            !is_due
        });
        for what in due {
            match what {
                Later::Again(act, until) => self.attempt(act, now, until),
                end => self.end(end),
            }
        }
    }

    fn end(&mut self, what: Later) {
        match what {
            Later::Network(fault) => self.proxy.set(fault, false),
            Later::Dashboard(fault) => self.dashboard_fault(fault, false),
            Later::Continue(pid) => {
                signal(pid, Signal::CONT);
            }
            Later::Reset => {
                self.proxy.cut(Cut::Reset);
                self.proxy.set(Network::Blackhole, false);
            }
            Later::Flap(left) => self.flap(left),
            Later::Free => {
                if let Some(disk) = &self.disk {
                    disk.free();
                }
            }
            Later::Unlimit(resource) => self.machine.unlimit(resource),
            Later::StartAgent => {
                if self.machine.agent().is_none() {
                    self.machine.start_agent();
                }
            }
            Later::Again(act, _) => self.note(act, false, "the faults ended before"),
        }
    }

    /// Resets the connection if it is old enough, so many times.
    fn flap(&mut self, left: u32) {
        let newest = self.proxy.connections().last().copied();
        let old = i64::try_from(FLAP.as_millis()).unwrap();
        let lives = newest.is_some_and(|newest| newest.ended.is_none() && now_ms() - newest.opened > old);
        if lives {
            self.proxy.cut(Cut::Reset);
        }
        let left = left - u32::from(lives);
        if left > 0 {
            self.later(Instant::now() + AGAIN, Later::Flap(left));
        }
    }

    /// Ends every fault.
    pub(crate) fn calm(&mut self) {
        for (_, what) in std::mem::take(&mut self.later) {
            self.end(what);
        }
        self.fleet.dashboard.set_faults(Faults::default());
        self.speak();
        self.machine.unlimit(Resource::Nofile);
        self.machine.unlimit(Resource::Nproc);
        self.machine.wake_all();
        self.proxy.heal();
        if self.machine.agent().is_none() {
            self.machine.start_agent();
        }
    }

    fn dashboard_fault(&mut self, fault: Dashboard, on: bool) {
        let mut faults = self.fleet.dashboard.faults();
        match fault {
            Dashboard::NeverPong => faults.never_pong = on,
            Dashboard::StopReading => faults.stop_reading = on,
            Dashboard::NoRegistered => {
                faults.no_registered = on;
                if on {
                    self.mute.push((now_ms(), i64::MAX));
                } else {
                    self.speak();
                }
            }
            Dashboard::Refuse(status) => {
                faults.refuse_auth = on.then_some(Refusal { status, retry_after: Some(1) });
            }
        }
        self.fleet.dashboard.set_faults(faults);
    }

    /// `register` is answered from now on.
    fn speak(&mut self) {
        for (_, until) in &mut self.mute {
            *until = (*until).min(now_ms());
        }
    }

    fn later(&mut self, at: Instant, what: Later) {
        self.later.push((at, what));
    }
}

/// Frames without a meaning, or with an odd one.
const NONSENSE: [&str; 5] = [
    "{",
    r#"{"type":"weather","payload":{"sun":true}}"#,
    r#"{"type":"command","payload":{"command":7}}"#,
    r#"{"type":"heartbeat_ack","payload":{"seq":4000000000}}"#,
    r#"{"type":"kill_command","payload":{"signal":"SIGKILL","pid":1}}"#,
];
