//! The simulated programs that supervisors run: what they write, how they take signals, how they end.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nixfleet_os::processes::{Output, Programs as Kernel};
use nixfleet_os::service_manager::Shutdown;
use tokio::time::{Instant, sleep, timeout};

use super::World;
use super::process::Process;
use super::wait::Bell;

const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;
const SIGCHLD: i32 = 17;

/// What a program does.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    /// Pauses, each with the number of lines that follow it and whether they go to standard error.
    steps: Vec<(Duration, usize, bool)>,
    /// Bytes that fill up each line.
    padding: usize,
    exit: Result<i32, i32>,
    ignores_term: bool,
    /// How long a process that it leaves behind holds its outputs open.
    background: Option<Duration>,
}

impl Script {
    /// The script of a command, by seed and number.
    pub(crate) fn of(seed: u64, number: usize) -> Self {
        let mut random = fastrand::Rng::with_seed(seed ^ (number as u64 + 1).wrapping_mul(0x9e37_79b9));
        let (long, error) = (random.u32(..12) == 0, random.u32(..4) == 0);
        let steps = (0..random.usize(..6)).map(|_| {
            let longest = if random.bool() { 40 } else { 2500 };
            let pause = Duration::from_millis(random.u64(..longest));
            let lines = if long { random.usize(..400) } else { random.usize(..12) };
            (pause, lines, error)
        });
        Self {
            steps: steps.collect(),
            padding: if random.u32(..5) == 0 { random.usize(..3000) } else { random.usize(..60) },
            exit: match random.u32(..8) {
                0..5 => Ok(0),
                5..7 => Ok(random.i32(1..100)),
                _ => Err(11),
            },
            ignores_term: random.u32(..6) == 0,
            background: (random.u32(..8) == 0).then(|| Duration::from_millis(random.u64(..4000))),
        }
    }
}

/// What a program really did.
#[derive(Debug, Clone)]
pub(crate) struct Ran {
    pub(crate) command: String,
    pub(crate) begun: Instant,
    pub(crate) ended: Option<(Result<i32, i32>, Instant)>,
    /// Each line that it wrote.
    pub(crate) lines: Vec<String>,
    /// The signals that it got while it ran.
    pub(crate) signals: Vec<i32>,
    /// Its supervisor died before it ended.
    pub(crate) orphaned: bool,
}

struct Program {
    parent: u32,
    ran: Ran,
    output: [Vec<u8>; 2],
    closed: [bool; 2],
    /// Its end was collected.
    reaped: bool,
    /// Processes that hold its outputs open, itself included.
    holders: usize,
    bell: Arc<Bell>,
}

/// All programs that were ever started, by process id.
#[derive(Default)]
pub(crate) struct Programs(Mutex<BTreeMap<u32, Program>>);

impl Programs {
    fn all(&self) -> MutexGuard<'_, BTreeMap<u32, Program>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What all of them did, in the order of their start.
    pub(crate) fn ran(&self) -> Vec<Ran> {
        self.all().values().map(|program| program.ran.clone()).collect()
    }

    /// The service manager ends what a supervisor leaves behind.
    pub(crate) fn parent_died(&self, parent: u32) {
        for program in self.all().values_mut().filter(|program| program.parent == parent) {
            program.holders = 0;
            if program.ran.ended.is_none() {
                program.ran.orphaned = true;
                program.ran.ended = Some((Err(SIGKILL), Instant::now()));
            }
            program.bell.ring();
        }
    }

    /// Whether one of them runs.
    pub(crate) fn any_runs(&self) -> bool {
        self.all().values().any(|program| program.ran.ended.is_none())
    }

    fn runs(&self, pid: u32) -> bool {
        self.all().get(&pid).is_some_and(|program| program.ran.ended.is_none())
    }

    fn write(&self, pid: u32, line: String, error: bool) {
        if let Some(program) = self.all().get_mut(&pid)
            && program.ran.ended.is_none()
        {
            let output = &mut program.output[usize::from(error)];
            output.extend_from_slice(line.as_bytes());
            output.push(b'\n');
            program.ran.lines.push(line);
        }
    }

    fn end(&self, pid: u32, how: Result<i32, i32>) {
        if let Some(program) = self.all().get_mut(&pid)
            && program.ran.ended.is_none()
        {
            program.ran.ended = Some((how, Instant::now()));
            program.holders = program.holders.saturating_sub(1);
            program.bell.ring();
        }
    }

    fn let_go(&self, pid: u32) {
        if let Some(program) = self.all().get_mut(&pid) {
            program.holders = program.holders.saturating_sub(1);
            program.bell.ring();
        }
    }
}

/// Plays the script of a program.
async fn play(
    world: Arc<World>,
    parent: Arc<Process>,
    pid: u32,
    command: String,
    script: Script,
    bell: Arc<Bell>,
) {
    let mut number = 0;
    let programs = &world.programs;
    for (pause, lines, error) in script.steps {
        // A signal that ends it rings.
        let ends = Instant::now() + pause;
        while programs.runs(pid) && Instant::now() < ends {
            drop(timeout(ends - Instant::now(), rung(&bell)).await);
        }
        for _ in 0..lines {
            number += 1;
            programs.write(pid, format!("{command} {number} {}", "x".repeat(script.padding)), error);
        }
        parent.bell.ring();
    }
    if programs.runs(pid) {
        world.note(format_args!("{command} ({pid}) ends: {:?}", script.exit));
        programs.end(pid, script.exit);
        parent.signal(SIGCHLD);
    }
    if let Some(background) = script.background {
        sleep(background).await;
        programs.let_go(pid);
        parent.signal(SIGCHLD);
    }
}

async fn rung(bell: &Bell) {
    let heard = bell.heard();
    std::future::poll_fn(|context| {
        bell.listen(context.waker());
        if bell.heard() == heard { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
}

/// The kernel as a process sees it.
#[derive(Debug)]
pub(crate) struct ProcessPrograms(pub(crate) Arc<Process>);

impl ProcessPrograms {
    fn programs(&self) -> &Programs {
        &self.0.world.programs
    }

    /// What can be read: standard output, standard error.
    fn ready(&self) -> (bool, bool) {
        let all = self.programs().all();
        let newest = all.values().rfind(|program| program.parent == self.0.pid);
        let ready = |output: usize| {
            newest.is_some_and(|program| {
                !program.closed[output] && (!program.output[output].is_empty() || program.holders == 0)
            })
        };
        (ready(0), ready(1))
    }
}

impl Kernel for ProcessPrograms {
    fn own_pid(&self) -> u32 {
        self.0.pid
    }

    fn spawn(&self, argv: &[String]) -> io::Result<u32> {
        if self.0.is_dead() {
            return Err(io::Error::from_raw_os_error(5));
        }
        let world = &self.0.world;
        let command = argv.last().cloned().unwrap_or_default();
        let script = Script::of(world.seed, world.number_of(&command));
        let pid = world.next_pid();
        let bell = Arc::<Bell>::default();
        let program = Program {
            parent: self.0.pid,
            ran: Ran {
                command: command.clone(),
                begun: Instant::now(),
                ended: None,
                lines: Vec::new(),
                signals: Vec::new(),
                orphaned: false,
            },
            output: [Vec::new(), Vec::new()],
            closed: [false, false],
            reaped: false,
            holders: 1 + usize::from(script.background.is_some()),
            bell: Arc::clone(&bell),
        };
        self.programs().all().insert(pid, program);
        world.note(format_args!("{:?} starts {command} ({pid})", self.0));
        drop(tokio::spawn(play(Arc::clone(world), Arc::clone(&self.0), pid, command, script, bell)));
        Ok(pid)
    }

    fn read(&self, output: Output, buffer: &mut [u8]) -> io::Result<usize> {
        let output = usize::from(output == Output::Err);
        let mut all = self.programs().all();
        let Some(program) = all.values_mut().rfind(|program| program.parent == self.0.pid) else {
            return Ok(0);
        };
        let count = program.output[output].len().min(buffer.len());
        if count == 0 && program.holders > 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        buffer[..count].copy_from_slice(&program.output[output][..count]);
        program.output[output].drain(..count);
        program.closed[output] = count == 0;
        Ok(count)
    }

    fn wait(&self, limit: Option<Duration>) -> (bool, bool) {
        let (out, err) = self.ready();
        if out || err || self.0.has_signals() || self.0.is_dead() {
            // The others may run in between, as everywhere.
            self.0.sleep(Duration::ZERO);
            return (out, err);
        }
        self.0.wait(&self.0.bell, limit);
        self.ready()
    }

    fn take_signal(&self, signal: i32) -> bool {
        self.0.take_signal(signal)
    }

    fn has_signals(&self) -> bool {
        self.0.has_signals()
    }

    fn reap(&self) -> Option<(u32, Result<i32, i32>)> {
        let mut all = self.programs().all();
        let parent = self.0.pid;
        let (pid, program) = all.iter_mut().find(|(_, program)| {
            program.parent == parent && !program.reaped && program.ran.ended.is_some()
        })?;
        program.reaped = true;
        program.ran.ended.map(|(how, _)| (*pid, how))
    }

    fn signal_all(&self, signal: i32) {
        if self.0.is_dead() || !matches!(signal, SIGKILL | SIGTERM) {
            return;
        }
        let mut ended = false;
        for (pid, program) in
            self.programs().all().iter_mut().filter(|(_, program)| program.parent == self.0.pid)
        {
            if signal == SIGKILL {
                program.holders = usize::from(program.ran.ended.is_none());
            }
            if program.ran.ended.is_some() {
                continue;
            }
            program.ran.signals.push(signal);
            let number = self.0.world.number_of(&program.ran.command);
            if signal == SIGKILL || !Script::of(self.0.world.seed, number).ignores_term {
                self.0.world.note(format_args!("{} ({pid}) ends by signal {signal}", program.ran.command));
                program.ran.ended = Some((Err(signal), Instant::now()));
                program.holders = program.holders.saturating_sub(1);
                program.bell.ring();
                ended = true;
            }
        }
        if ended {
            self.0.signal(SIGCHLD);
        }
    }

    fn is_gone(&self) -> bool {
        let all = self.programs().all();
        all.values().filter(|program| program.parent == self.0.pid).all(|program| program.holders == 0)
    }

    fn activates(&self) -> bool {
        false
    }

    fn going_down(&self) -> Shutdown {
        Shutdown::NotBegun
    }

    fn kill(&self, pid: u32, signal: i32) -> io::Result<()> {
        if self.0.is_dead() {
            return Err(io::Error::from_raw_os_error(5));
        }
        let target = self.0.world.process(pid).ok_or_else(|| io::Error::from_raw_os_error(3))?;
        self.0.world.note(format_args!("{:?} sends signal {signal} to {target:?}", self.0));
        target.signal(signal);
        Ok(())
    }
}
