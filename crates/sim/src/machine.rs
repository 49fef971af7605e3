//! The simulated machine: its clock, its disk, its processes, and what happened.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use nixfleet_os::{Clock, Machine, Processes, Threads};
use tokio::time::Instant;

use crate::faults::{DiskFault, Event, Kind, Schedule, What};
use files::{Disk, ProcessFiles};
use process::{Process, ProcessTime};
use programs::{ProcessPrograms, Programs};
use thread::ProcessTasks;
use wait::Bell;

pub(crate) mod clocks;
mod files;
pub(crate) mod process;
pub(crate) mod programs;
pub(crate) mod thread;
pub(crate) mod wait;

/// The wall clock at the start of each run.
const EPOCH: &str = "2026-07-14T12:00:00Z";

/// Operations of the disk and turns of threads in one run; a run has a few thousand. Beyond it something spins.
const MOST_OPERATIONS: u64 = 400_000;

/// Turns of threads in one run; a run has a few thousand.
const MOST_TURNS: u32 = 400_000;

/// Where the kernel says which boot this is.
pub(crate) const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What happened, as text and as a digest of all of it.
#[derive(Debug)]
struct Trace {
    digest: u64,
    count: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    fn add(&mut self, line: String) {
        // FNV-1a: a difference of one byte changes everything behind it.
        for byte in line.bytes().chain([b'\n']) {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.count += 1;
        if let Some(lines) = &mut self.lines {
            lines.push(line);
        }
    }
}

struct State {
    random: fastrand::Rng,
    /// What was added to the wall clock.
    clock: SignedDuration,
    /// How long the machine has slept.
    asleep: Duration,
    boots: u32,
    processes: Vec<Arc<Process>>,
    operations: [u64; 2],
    findings: Vec<String>,
    healed: bool,
    most_threads: usize,
    deaths: Vec<(Instant, Kind)>,
    exits: Vec<(Instant, Kind)>,
    power_cuts: Vec<Instant>,
    attempts: Vec<Instant>,
    /// The power is off until then.
    off_until: Option<Instant>,
}

/// The machine.
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) begun: Instant,
    pub(crate) files: Disk,
    pub(crate) programs: Programs,
    events: Vec<Event>,
    pids: AtomicU32,
    turns: AtomicU32,
    /// Rings when the wall clock makes a step.
    steps: Bell,
    state: Mutex<State>,
    trace: Mutex<Trace>,
}

impl World {
    pub(crate) fn new(schedule: &Schedule, keep_trace: bool) -> Arc<Self> {
        let world = Arc::new(Self {
            seed: schedule.seed,
            begun: Instant::now(),
            files: Disk::default(),
            programs: Programs::default(),
            events: schedule.events.clone(),
            pids: AtomicU32::new(1000),
            turns: AtomicU32::new(0),
            steps: Bell::default(),
            state: Mutex::new(State {
                random: fastrand::Rng::with_seed(schedule.seed ^ 0x5eed),
                clock: SignedDuration::ZERO,
                asleep: Duration::ZERO,
                boots: 0,
                processes: Vec::new(),
                operations: [0; 2],
                findings: Vec::new(),
                healed: false,
                most_threads: 0,
                deaths: Vec::new(),
                exits: Vec::new(),
                power_cuts: Vec::new(),
                attempts: Vec::new(),
                off_until: None,
            }),
            trace: Mutex::new(Trace {
                digest: 0xcbf2_9ce4_8422_2325,
                count: 0,
                lines: keep_trace.then(Vec::new),
            }),
        });
        world.boot();
        world
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line to the trace.
    pub(crate) fn note(&self, what: fmt::Arguments<'_>) {
        let at = self.begun.elapsed().as_millis();
        self.trace.lock().unwrap_or_else(PoisonError::into_inner).add(format!("{at:>7} {what}"));
    }

    /// The digest of the trace, the number of its lines, and the lines if they were kept.
    pub(crate) fn trace(&self) -> (u64, u64, Vec<String>) {
        let mut trace = self.trace.lock().unwrap_or_else(PoisonError::into_inner);
        (trace.digest, trace.count, trace.lines.take().unwrap_or_default())
    }

    /// Something that must not happen.
    pub(crate) fn finding(&self, text: String) {
        self.note(format_args!("FINDING {text}"));
        let mut state = self.state();
        if state.findings.len() < 20 {
            state.findings.push(text);
        }
    }

    pub(crate) fn findings(&self) -> Vec<String> {
        self.state().findings.clone()
    }

    pub(crate) fn next_pid(&self) -> u32 {
        self.pids.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn wall_clock(&self) -> Timestamp {
        let epoch: Timestamp = EPOCH.parse().unwrap_or_default();
        let elapsed = SignedDuration::try_from(self.begun.elapsed()).unwrap_or_default();
        epoch.checked_add(elapsed + self.state().clock).unwrap_or(epoch)
    }

    /// Sets the wall clock.
    pub(crate) fn set_clock(&self, by: SignedDuration) {
        self.state().clock += by;
        self.steps.ring();
    }

    /// The machine has slept for so long, of which only its wall clock and its count of sleep know.
    pub(crate) fn slept(&self, time: Duration) {
        self.state().asleep += time;
        self.set_clock(SignedDuration::try_from(time).unwrap_or_default());
    }

    /// The agent tries to connect.
    pub(crate) fn tries(&self) {
        self.state().attempts.push(Instant::now());
    }

    /// When the agent tried to connect.
    pub(crate) fn attempts(&self) -> Vec<Instant> {
        self.state().attempts.clone()
    }

    pub(crate) fn random_id(&self) -> [u8; 10] {
        let mut bytes = [0; 10];
        self.state().random.fill(&mut bytes);
        bytes
    }

    pub(crate) fn chance(&self, one_in: u32) -> bool {
        self.state().random.u32(..one_in) == 0
    }

    pub(crate) fn below(&self, limit: u64) -> u64 {
        self.state().random.u64(..limit.max(1))
    }

    /// Adds a process.
    pub(crate) fn begin(&self, process: &Arc<Process>) {
        self.note(format_args!("{process:?} begins"));
        let mut state = self.state();
        state.processes.retain(|other| !other.is_dead());
        state.processes.push(Arc::clone(process));
    }

    pub(crate) fn process(&self, pid: u32) -> Option<Arc<Process>> {
        self.state().processes.iter().find(|process| process.pid == pid && !process.is_dead()).cloned()
    }

    pub(crate) fn processes(&self) -> Vec<Arc<Process>> {
        self.state().processes.iter().filter(|process| !process.is_dead()).cloned().collect()
    }

    /// A process died, not by itself.
    pub(crate) fn died(&self, kind: Kind) {
        self.state().deaths.push((Instant::now(), kind));
    }

    /// When processes died, not by themselves.
    pub(crate) fn deaths(&self) -> Vec<(Instant, Kind)> {
        self.state().deaths.clone()
    }

    /// A process ended by itself.
    pub(crate) fn exited(&self, kind: Kind) {
        self.state().exits.push((Instant::now(), kind));
    }

    /// When processes ended by themselves.
    pub(crate) fn exits(&self) -> Vec<(Instant, Kind)> {
        self.state().exits.clone()
    }

    /// Whether the power is off.
    pub(crate) fn power_is_off(&self) -> bool {
        self.state().off_until.is_some_and(|until| until > Instant::now())
    }

    /// How long it stays off.
    pub(crate) fn off_for(&self) -> Duration {
        self.state().off_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
    }

    /// Ends everything, also what holds this world.
    pub(crate) fn end(&self) {
        for process in self.processes() {
            process.kill("the end of the run");
        }
        self.state().processes.clear();
        self.steps.ring();
    }

    pub(crate) fn threads_seen(&self, threads: usize) {
        let mut state = self.state();
        state.most_threads = state.most_threads.max(threads);
    }

    pub(crate) fn most_threads(&self) -> usize {
        self.state().most_threads
    }

    fn boot(&self) {
        let boots = {
            let mut state = self.state();
            state.boots += 1;
            state.boots
        };
        self.files.put(Path::new(BOOT_ID), format!("boot-{boots}\n").into_bytes());
    }

    /// The machine loses its power.
    pub(crate) fn power_cut(&self) {
        self.note(format_args!("the power fails"));
        for process in self.processes() {
            process.kill("the power fails");
        }
        self.files.power_cut(|| self.chance(2));
        self.boot();
        let off = Duration::from_millis(2000 + self.below(8000));
        let (now, mut state) = (Instant::now(), self.state());
        state.power_cuts.push(now);
        state.off_until = Some(now + off);
    }

    /// When the machine lost its power.
    pub(crate) fn power_cuts(&self) -> Vec<Instant> {
        self.state().power_cuts.clone()
    }

    /// The faults have ended.
    pub(crate) fn heal(&self) {
        self.note(format_args!("the faults end"));
        self.state().healed = true;
    }

    pub(crate) fn is_healed(&self) -> bool {
        self.state().healed
    }

    /// The events that last now.
    pub(crate) fn now(&self) -> impl Iterator<Item = &What> {
        let (now, healed) = (self.begun.elapsed(), self.is_healed());
        let lasts = move |event: &&Event| !healed && event.at <= now && now < event.at + event.lasts;
        self.events.iter().filter(lasts).map(|event| &event.what)
    }

    pub(crate) fn no_thread(&self) -> bool {
        self.now().any(|what| *what == What::NoThread)
    }

    /// Counts a turn of a thread. True if there were far too many: something spins.
    pub(crate) fn spins(&self) -> bool {
        let turns = self.turns.fetch_add(1, Ordering::Relaxed);
        if turns == MOST_TURNS {
            self.finding("threads take turns without end".to_owned());
            self.end();
        }
        turns >= MOST_TURNS
    }

    /// Counts an operation of the disk; returns its number.
    pub(crate) fn count_operation(&self, kind: Kind) -> u64 {
        let mut state = self.state();
        let count = &mut state.operations[usize::from(kind == Kind::Supervisor)];
        *count += 1;
        let count = *count;
        drop(state);
        assert!(count < MOST_OPERATIONS, "the {} does operations of the disk without end", kind.name());
        count
    }

    /// How long an operation takes.
    pub(crate) fn disk_delay(&self, kind: Kind) -> Duration {
        let now = self.begun.elapsed();
        let hangs = self.events.iter().filter(|event| {
            event.what == What::Hang(kind) && event.at <= now && now < event.at + event.lasts
        });
        if let Some(until) = hangs.map(|event| event.at + event.lasts).max().filter(|_| !self.is_healed()) {
            return until - now;
        }
        let mut state = self.state();
        match state.random.u32(..480) {
            // Long enough for a supervisor to end meanwhile.
            0 => Duration::from_millis(state.random.u64(..400)),
            1..20 => Duration::from_micros(state.random.u64(..4000)),
            _ => Duration::ZERO,
        }
    }

    /// What this operation meets.
    pub(crate) fn disk_fault(&self, kind: Kind, number: u64, what: &str, writes: bool) -> Option<DiskFault> {
        if self.is_healed() {
            return None;
        }
        self.events.iter().find_map(|event| {
            let What::Disk { who, from, count, fault } = event.what else { return None };
            let meets = match fault {
                DiskFault::Io => !matches!(what, "lock" | "remove" | "remove folder"),
                DiskFault::TooManyFiles => matches!(what, "open" | "list" | "watch" | "sync folder"),
                DiskFault::Full | DiskFault::Torn => {
                    writes && matches!(what, "open" | "mkdir" | "write" | "sync")
                }
                DiskFault::Crash | DiskFault::PowerCut => true,
            };
            (who == kind && meets && (from..from + count).contains(&number)).then_some(fault)
        })
    }

    /// The number of a command of this simulation, by its name.
    pub(crate) fn number_of(&self, command: &str) -> usize {
        command.rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or(0)
    }
}

/// The handles for the code that runs in a process.
pub(crate) fn handles(process: &Arc<Process>) -> Machine {
    Machine {
        disk: nixfleet_os::Disk::simulated(Arc::new(ProcessFiles(Arc::clone(process)))),
        clock: Clock::simulated(Arc::new(ProcessTime(Arc::clone(process)))),
        threads: Threads::simulated(Arc::new(ProcessTasks(Arc::clone(process)))),
        processes: Processes::simulated(Arc::new(ProcessPrograms(Arc::clone(process)))),
    }
}
