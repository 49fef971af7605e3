//! The process of the dashboard.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{ChildStdout, Command, Stdio};

use crate::TOKEN;
use crate::process::{Cores, Process};

/// Token of requests that send commands.
pub(crate) const CSRF_TOKEN: &str = "bench";

/// The dashboard. It ends with its owner.
pub(crate) struct Dashboard {
    process: Process,
    /// Open as long as the dashboard may print.
    _output: BufReader<ChildStdout>,
    pub(crate) address: SocketAddr,
}

impl Dashboard {
    /// Starts it on one core, and moves this process to the other one.
    pub(crate) fn start(program: &str, cores: Cores) -> Self {
        cores.to_measured();
        let mut command = Command::new(program);
        command.args(["--listen", "127.0.0.1:0", "--token", TOKEN, "--csrf-token", CSRF_TOKEN]);
        command.env_remove("NIXFLEET_LOG_LEVEL").stdin(Stdio::null()).stderr(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the dashboard starts");
        cores.to_agents();
        let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
        let address = output.by_ref().lines().map_while(Result::ok).find_map(|line| {
            let rest = line.strip_prefix("agents:")?.split_once("ws://")?.1;
            rest.strip_suffix("/ws")?.parse().ok()
        });
        let address = address.expect("the dashboard prints its address");
        Self { process: child.into(), _output: output, address }
    }

    pub(crate) fn process(&self) -> &Process {
        &self.process
    }
}
