//! How a request to a host can end.

use nixfleet_protocol::{CommandRejected, Status, StatusKind};

use super::SILENCE;
use crate::exit::Exit;

/// How a gateway calls the evidence of an agent whose command has ended already.
pub(crate) const ENDED: &str = "status";

/// What became of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    /// The host has it, as this evidence of its gateway shows, and nobody waits for the end.
    Accepted(String),
    /// It has ended.
    Ended(Status),
    /// What ran was stopped.
    Stopped(Status),
    /// What was to be stopped has ended by itself. `refused`: the host would not stop it.
    ByItself { status: Status, refused: bool },
    /// The agent does not run it.
    Rejected(CommandRejected),
    /// No gateway has a connection of the host.
    Offline,
    /// No gateway has ever seen the host.
    Unknown,
    /// It was not sent.
    Refused(String),
    /// It may run.
    Unclear(String),
    /// It has not ended in time. `runs`: it was seen running.
    Late { runs: bool },
}

impl Outcome {
    /// In one word, for people and programs.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Accepted(_) => "accepted",
            Self::Ended(status) if status.status == StatusKind::Ok => "good",
            Self::Ended(_) => "failed",
            Self::Stopped(_) => "stopped",
            Self::ByItself { .. } => "ended",
            Self::Rejected(_) => "rejected",
            Self::Offline => "offline",
            Self::Unknown => "unknown",
            Self::Refused(_) => "refused",
            Self::Unclear(_) => "unclear",
            Self::Late { .. } => "late",
        }
    }

    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Accepted(_) | Self::Stopped(_) | Self::ByItself { refused: false, .. } => Exit::Good,
            Self::Ended(status) if status.status == StatusKind::Ok => Exit::Good,
            Self::Ended(_) => Exit::Failed,
            Self::ByItself { refused: true, .. }
            | Self::Rejected(_)
            | Self::Offline
            | Self::Unknown
            | Self::Refused(_)
            | Self::Unclear(_)
            | Self::Late { .. } => Exit::NotDone,
        }
    }

    /// For people, with the words of the host or its gateway.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Accepted(evidence) => taken(evidence).to_owned(),
            Self::Ended(status) | Self::Stopped(status) => status.message.clone(),
            Self::Rejected(rejection) => match (&rejection.current_command, rejection.current_pid) {
                (Some(command), Some(pid)) => format!("{}: {command}, process {pid}", rejection.reason),
                (Some(command), None) => format!("{}: {command}", rejection.reason),
                (None, _) => rejection.reason.clone(),
            },
            Self::Offline => "it is not connected to a gateway, and was not asked".to_owned(),
            Self::Unknown => "no gateway has ever seen a host of this name; it was not asked".to_owned(),
            Self::Refused(reason) => format!("it was not sent: {reason}"),
            Self::Unclear(reason) => format!("it may run, look before it is sent again: {reason}"),
            Self::ByItself { status, refused: false } => format!("by itself: {}", status.message),
            Self::ByItself { status, refused: true } => {
                format!("by itself, the stop was refused: {}", status.message)
            }
            Self::Late { runs: true } => "it has not ended in time, and runs on".to_owned(),
            Self::Late { runs: false } => "it has not ended in time, and may run: look first".to_owned(),
        }
    }

    /// The status, if there is one.
    pub(crate) fn status(&self) -> Option<&Status> {
        match self {
            Self::Ended(status) | Self::Stopped(status) | Self::ByItself { status, .. } => Some(status),
            _ => None,
        }
    }
}

/// What this evidence of a gateway shows, for people.
pub(crate) fn taken(evidence: &str) -> &'static str {
    match evidence {
        SILENCE => "sent, and not rejected within 2 s",
        ENDED => "it has ended already; `nixfleet logs` shows how",
        _ => "it runs",
    }
}
