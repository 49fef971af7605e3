//! The process of the dashboard, and what the kernel counts of it.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Token of the agents.
pub(crate) const TOKEN: &str = "bench";

/// Token of requests that send commands.
pub(crate) const CSRF_TOKEN: &str = "bench";

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

/// A core for the dashboard and one for the agents, if there are two.
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
                "one core only: the agents share it with the dashboard, so times and latencies say little"
            );
        }
        Self { pair }
    }

    fn pin(core: usize) {
        let mut set = CpuSet::new();
        set.set(core);
        sched_setaffinity(None, &set).expect("a core that this process may use");
    }
}

/// The dashboard. It ends with its owner.
pub(crate) struct Dashboard {
    child: Child,
    /// Open as long as the dashboard may print.
    _output: BufReader<ChildStdout>,
    pub(crate) address: SocketAddr,
}

impl Dashboard {
    /// Starts it on one core, and moves this process to the other one.
    pub(crate) fn start(program: &str, cores: Cores) -> Self {
        if let Some((own, _)) = cores.pair {
            // The child begins where its parent is.
            Cores::pin(own);
        }
        let mut command = Command::new(program);
        command.args(["--listen", "127.0.0.1:0", "--token", TOKEN, "--csrf-token", CSRF_TOKEN]);
        command.env_remove("NIXFLEET_LOG_LEVEL").stdin(Stdio::null()).stderr(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the dashboard starts");
        if let Some((_, agents)) = cores.pair {
            Cores::pin(agents);
        }
        let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
        let address = output.by_ref().lines().map_while(Result::ok).find_map(|line| {
            let rest = line.strip_prefix("agents:")?.split_once("ws://")?.1;
            rest.strip_suffix("/ws")?.parse().ok()
        });
        Self { child, _output: output, address: address.expect("the dashboard prints its address") }
    }

    /// Processor time of all its threads.
    pub(crate) fn cpu(&self) -> Duration {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("the dashboard runs");
        let on_cpu = |thread: fs::DirEntry| -> Option<u64> {
            fs::read_to_string(thread.path().join("schedstat")).ok()?.split(' ').next()?.parse().ok()
        };
        Duration::from_nanos(threads.flatten().filter_map(on_cpu).sum())
    }

    /// Ticks of the kernel's clock that met it outside the kernel and inside. They are too coarse for anything but the
    /// ratio of the two.
    pub(crate) fn ticks(&self) -> (u64, u64) {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("the dashboard runs");
        // Behind the name, which may have spaces: the state, ten more numbers, then these two.
        let mut fields = text.rsplit(')').next().unwrap_or_default().split_ascii_whitespace().skip(11);
        let mut next = || fields.next().and_then(|field| field.parse().ok()).expect("a number");
        (next(), next())
    }

    /// Its memory in bytes: what it has alone, and its share of what it shares.
    pub(crate) fn memory(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id()));
        let text = text.expect("the dashboard runs");
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).expect("the kernel counts it");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).ok();
        self.child.wait().ok();
    }
}
