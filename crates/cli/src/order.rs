//! What many hosts are asked for, and how.

use std::ops::Range;
use std::time::Duration;

use nixfleet_fleet::Request;
use nixfleet_protocol::{CommandRequest, DashboardMessage, KillCommand, KillSignal};
use uuid::Uuid;

use crate::job::Asked;

/// What hosts are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// To run this command.
    Run(String),
    /// To end the running command.
    Stop,
    /// To end it at once.
    Kill,
}

/// What is done.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) what: What,
    /// Show lines.
    pub(crate) lines: bool,
    /// Wait for the ends.
    pub(crate) wait: bool,
    /// How long a host may take.
    pub(crate) timeout: Duration,
    /// Which hosts are asked together, as parts of the list of hosts.
    pub(crate) waves: Vec<Range<usize>>,
    /// Ask no more after a wave that did not go well.
    pub(crate) stop_on_failure: bool,
    /// Time between two waves.
    pub(crate) pause: Duration,
}

impl Order {
    /// The request to one host, with an id of its own.
    pub(crate) fn request(&self) -> (Request, Asked) {
        let id = Uuid::now_v7().to_string();
        let command = |command: &str| {
            let request = CommandRequest { command: command.to_owned(), id: Some(id.clone()) };
            Request(DashboardMessage::Command(request))
        };
        match &self.what {
            What::Run(name) => {
                let asked = Asked::Command { command: name.clone(), id: id.clone(), lines: self.lines };
                (command(name), asked)
            }
            What::Stop => (command("stop"), Asked::Stop),
            What::Kill => {
                let kill = KillCommand { signal: KillSignal::Kill, pid: 0 };
                (Request(DashboardMessage::KillCommand(kill)), Asked::Stop)
            }
        }
    }

    /// The kinds of entries that tell what becomes of it.
    pub(crate) fn kinds(&self) -> &'static [&'static str] {
        // A stop that is refused is a line.
        if self.lines || !matches!(self.what, What::Run(_)) {
            &["output", "status", "rejected"]
        } else {
            &["status", "rejected"]
        }
    }

    /// What it is called.
    pub(crate) fn name(&self) -> &str {
        match &self.what {
            What::Run(command) => command,
            What::Stop => "stop",
            What::Kill => "kill",
        }
    }
}
