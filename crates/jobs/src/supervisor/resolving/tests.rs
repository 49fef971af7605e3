//! Attempts in virtual time: a kernel in which a program ends at once, and a clock that moves when somebody waits.

use std::io;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use nixfleet_os::clock::Time;
use nixfleet_os::processes::{Output, Programs};
use nixfleet_os::service_manager::Shutdown;
use nixfleet_os::{Clock, Machine, Processes};
use signal_hook::consts::{SIGCHLD, SIGINT, SIGTERM};

use super::*;
use crate::journal::Reader;
use crate::spec::{JobResult, Outcome, State};
use crate::supervisor::plan::tests::{host, isolated};
use crate::supervisor::run_on;
use crate::{Instance, JobId, JobsDir, atomic_file};

const PID: u32 = 4711;

/// What curl makes git say.
const UNRESOLVED: &str =
    "fatal: unable to access 'https://git.example.org/fleet.git/': Could not resolve host: git.example.org\n";

#[derive(Debug, Default)]
struct World {
    elapsed: Duration,
    /// When each program was started.
    started: Vec<Duration>,
    running: Option<Running>,
    signals: Vec<i32>,
}

/// The program that runs.
#[derive(Debug)]
struct Running {
    text: Vec<u8>,
    fails: bool,
    /// The ends of standard output and standard error were read.
    closed: [bool; 2],
}

#[derive(Debug)]
struct Fake {
    begun: Instant,
    world: Mutex<World>,
    /// From when on names can be resolved.
    resolves_at: Duration,
    /// What it says until then.
    says: &'static str,
    /// When this signal comes.
    signal: Option<(Duration, i32)>,
}

impl Time for Fake {
    fn now(&self) -> Timestamp {
        // The clock of a machine is checked before a pull.
        let start: Timestamp = "2026-07-14T12:00:00Z".parse().unwrap();
        start + self.world.lock().unwrap().elapsed
    }

    fn instant(&self) -> Instant {
        self.begun + self.world.lock().unwrap().elapsed
    }

    fn sleep(&self, duration: Duration) {
        self.world.lock().unwrap().elapsed += duration;
    }

    fn random(&self) -> [u8; 10] {
        [0; 10]
    }
}

impl Programs for Fake {
    fn own_pid(&self) -> u32 {
        1
    }

    fn spawn(&self, argv: &[String]) -> io::Result<u32> {
        assert_eq!((argv[0].as_str(), argv[3].as_str()), ("git", "clone"));
        let mut world = self.world.lock().unwrap();
        let fails = world.elapsed < self.resolves_at;
        let said = if fails { self.says } else { "" };
        let now = world.elapsed;
        world.started.push(now);
        world.running = Some(Running { text: said.as_bytes().to_vec(), fails, closed: [false; 2] });
        Ok(PID)
    }

    fn read(&self, output: Output, buffer: &mut [u8]) -> io::Result<usize> {
        let mut world = self.world.lock().unwrap();
        let Some(running) = &mut world.running else { return Ok(0) };
        let text = if output == Output::Err { std::mem::take(&mut running.text) } else { Vec::new() };
        running.closed[usize::from(output == Output::Err)] = text.is_empty();
        buffer[..text.len()].copy_from_slice(&text);
        Ok(text.len())
    }

    fn wait(&self, limit: Option<Duration>) -> (bool, bool) {
        let mut world = self.world.lock().unwrap();
        if let Some(Running { closed: [out, err], .. }) = world.running {
            return (!out, !err);
        }
        let until = world.elapsed + limit.expect("nothing waits without a bound");
        world.elapsed = until;
        if let Some((at, signal)) = self.signal.filter(|(at, _)| *at <= until)
            && !world.signals.contains(&-signal)
        {
            world.elapsed = at;
            // Its negative number: it has come.
            world.signals.extend([signal, -signal]);
        }
        (false, false)
    }

    fn take_signal(&self, signal: i32) -> bool {
        let mut world = self.world.lock().unwrap();
        let there = world.signals.len();
        world.signals.retain(|waiting| *waiting != signal);
        world.signals.len() < there || (signal == SIGCHLD && world.running.is_some())
    }

    fn has_signals(&self) -> bool {
        self.world.lock().unwrap().signals.iter().any(|signal| *signal > 0)
    }

    fn reap(&self) -> Option<(u32, Result<i32, i32>)> {
        let mut world = self.world.lock().unwrap();
        // Only when everything was read: nothing holds its outputs open.
        let ended = world.running.take_if(|running| running.closed == [true; 2]);
        ended.map(|running| (PID, Ok(if running.fails { 128 } else { 0 })))
    }

    fn signal_all(&self, _: i32) {}

    fn is_gone(&self) -> bool {
        self.world.lock().unwrap().running.is_none()
    }

    fn activates(&self) -> bool {
        false
    }

    fn going_down(&self) -> Shutdown {
        Shutdown::NotBegun
    }

    fn kill(&self, _: u32, _: i32) -> io::Result<()> {
        Err(io::ErrorKind::NotFound.into())
    }
}

struct Ran {
    result: JobResult,
    state: State,
    /// The remarks of the supervisor, and the details of the part `pull`.
    remarks: Vec<String>,
    details: Vec<String>,
    /// When each attempt began, in seconds, and how long the job took.
    started: Vec<u64>,
    took: Duration,
}

/// Runs a pull that has to clone.
fn pull(resolves_at: u64, says: &'static str, signal: Option<(u64, i32)>) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let fake = Arc::new(Fake {
        begun: Instant::now(),
        world: Mutex::default(),
        resolves_at: Duration::from_secs(resolves_at),
        says,
        signal: signal.map(|(at, signal)| (Duration::from_secs(at), signal)),
    });
    let machine = Machine {
        clock: Clock::simulated(Arc::<Fake>::clone(&fake)),
        processes: Processes::simulated(Arc::<Fake>::clone(&fake)),
        ..Machine::default()
    };
    let mut settings = host(&[|settings| isolated(settings, "https://git.example.org/fleet.git")]);
    settings.state_dir = folder.path().to_owned();
    settings.dir = folder.path().join("jobs");
    settings.repo.dir = Some(folder.path().join("repo"));
    let instance = Instance { command: "pull".to_owned(), id: JobId::generate() };
    run_on(machine, &settings, &instance, || {}).unwrap();
    let dir = JobsDir::new(&settings.dir).job(&instance.id);
    let entries = Reader::new(dir.clone(), 0).read(1 << 20).unwrap();
    let system =
        |entry: &&crate::journal::Entry| entry.stream == crate::journal::Source::System && entry.is_text();
    let detail = |entry: &crate::journal::Entry| {
        Some(entry.operation.as_ref()?.progress.pull.as_ref()?.detail.clone())
    };
    let world = fake.world.lock().unwrap();
    Ran {
        result: atomic_file::load(&dir.result()).unwrap().unwrap(),
        state: atomic_file::load(&dir.state()).unwrap().unwrap(),
        remarks: entries.iter().filter(system).map(|entry| entry.line.clone()).collect(),
        details: entries.iter().filter_map(detail).filter(|text| !text.is_empty()).collect(),
        started: world.started.iter().map(Duration::as_secs).collect(),
        took: world.elapsed,
    }
}

#[test]
fn a_name_that_can_be_resolved_a_little_later_costs_no_pull() {
    let ran = pull(5, UNRESOLVED, None);
    assert_eq!((ran.result.outcome, &ran.started[..]), (Outcome::Ok, &[0, 2, 6][..]), "{:?}", ran.remarks);
    assert_eq!(
        ran.remarks,
        [
            "git.example.org cannot be resolved; trying `clone` again in 2 s, for another 60 s in all",
            "git.example.org cannot be resolved; trying `clone` again in 4 s, for another 58 s in all",
        ]
    );
    assert_eq!(ran.details[0], "waiting until git.example.org can be resolved");
    assert_eq!(ran.state.phase_since.as_deref(), Some("2026-07-14T12:00:00.000Z"), "it is one step");
}

#[test]
fn a_name_that_cannot_be_resolved_for_a_minute_is_the_end() {
    let ran = pull(3600, UNRESOLVED, None);
    assert_eq!((ran.result.outcome, ran.result.exit_code), (Outcome::Failed, 128));
    assert!(
        ran.result.message.ends_with("Could not resolve host: git.example.org"),
        "{}",
        ran.result.message
    );
    assert_eq!(ran.started, [0, 2, 6, 14, 24, 34, 44, 54, 60]);
    assert_eq!(ran.took, LIMIT);
    assert_eq!(ran.remarks.last().unwrap(), "git.example.org could not be resolved for 60 s");
}

#[test]
fn another_failure_is_not_tried_again() {
    let refused = "fatal: unable to access 'https://git.example.org/fleet.git/': Failed to connect to git.example.org \
                   port 443 after 2 ms: Could not connect to server\n";
    let ran = pull(3600, refused, None);
    assert_eq!((ran.result.outcome, &ran.started[..]), (Outcome::Failed, &[0][..]));
}

#[test]
fn a_stop_ends_the_wait_and_no_other_attempt_begins() {
    for signal in [SIGINT, SIGTERM] {
        let ran = pull(3600, UNRESOLVED, Some((9, signal)));
        let JobResult { outcome, exit_code, message, .. } = &ran.result;
        assert_eq!(
            (*outcome, *exit_code, message.as_str()),
            (Outcome::Stopped, 143, "Pull: stopped"),
            "{signal}"
        );
        assert_eq!((&ran.started[..], ran.took), (&[0, 2, 6][..], Duration::from_secs(9)), "{signal}");
        assert_eq!(ran.state.child_pid, None, "nothing runs meanwhile");
    }
}
