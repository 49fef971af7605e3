//! A process, and what the kernel counts of it.

use std::fs;
use std::process::Child;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Files that each process needs besides a socket for each agent.
const MORE_FILES: u64 = 64;

/// Raises the limit of this process and of those it starts, so that each can have a socket for each agent.
pub(crate) fn allow_files(agents: usize) {
    let wanted = agents as u64 + MORE_FILES;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
        setrlimit(Resource::Nofile, raised)
            .unwrap_or_else(|error| panic!("cannot open {wanted} files: {error}; raise `ulimit -Hn`"));
    }
}

/// A core for what is measured and one for the agents, if there are two.
#[derive(Clone, Copy)]
pub(crate) struct Cores {
    pair: Option<(usize, usize)>,
}

impl Cores {
    /// The first two cores that this process may use.
    pub(crate) fn of_this_process() -> Self {
        let allowed = sched_getaffinity(None).expect("the cores of this process");
        let mut cores = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core));
        let pair = cores.next().zip(cores.next());
        if pair.is_none() {
            eprintln!(
                "one core only: the agents share it with what is measured, so times and latencies say little"
            );
        }
        Self { pair }
    }

    /// Moves this process to the core of what is measured. A child begins where its parent is.
    pub(crate) fn to_measured(self) {
        self.pair.into_iter().for_each(|(measured, _)| Self::pin(measured));
    }

    /// Moves this process to the core of the agents.
    pub(crate) fn to_agents(self) {
        self.pair.into_iter().for_each(|(_, agents)| Self::pin(agents));
    }

    fn pin(core: usize) {
        let mut set = CpuSet::new();
        set.set(core);
        sched_setaffinity(None, &set).expect("a core that this process may use");
    }
}

/// A process.
pub(crate) struct Process {
    id: u32,
    /// A child of this process. It ends with its owner.
    child: Option<Child>,
}

impl Process {
    /// A process that somebody else ends.
    #[allow(dead_code, reason = "not all benchmarks have one")]
    pub(crate) fn other(id: u32) -> Self {
        Self { id, child: None }
    }

    /// Sends it a signal.
    #[allow(dead_code, reason = "not all benchmarks do")]
    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.id).ok().and_then(Pid::from_raw).expect("an id");
        kill_process(id, signal).expect("the process runs");
    }

    /// Processor time of all its threads.
    pub(crate) fn cpu(&self) -> Duration {
        let threads = fs::read_dir(format!("/proc/{}/task", self.id)).expect("the process runs");
        let on_cpu = |thread: fs::DirEntry| -> Option<u64> {
            fs::read_to_string(thread.path().join("schedstat")).ok()?.split(' ').next()?.parse().ok()
        };
        Duration::from_nanos(threads.flatten().filter_map(on_cpu).sum())
    }

    /// Ticks of the kernel's clock that met it outside the kernel and inside. They are too coarse for anything but the
    /// ratio of the two.
    pub(crate) fn ticks(&self) -> (u64, u64) {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.id)).expect("the process runs");
        // Behind the name, which may have spaces: the state, ten more numbers, then these two.
        let mut fields = text.rsplit(')').next().unwrap_or_default().split_ascii_whitespace().skip(11);
        let mut next = || fields.next().and_then(|field| field.parse().ok()).expect("a number");
        (next(), next())
    }

    /// Its memory in bytes: what it has alone, and its share of what it shares.
    pub(crate) fn memory(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.id));
        let text = text.expect("the process runs");
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).expect("the kernel counts it");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }
}

impl From<Child> for Process {
    fn from(child: Child) -> Self {
        Self { id: child.id(), child: Some(child) }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            kill_process(Pid::from_child(child), Signal::TERM).ok();
            child.wait().ok();
        }
    }
}
