//! Names of units in the output of switch-to-configuration.

use std::fmt;

/// Longest name of a unit, in bytes (systemd.unit(5)).
const MAX_NAME: usize = 255;

/// Endings of the names of units (systemd.unit(5)).
const KINDS: &[&str] = &[
    "service",
    "socket",
    "device",
    "mount",
    "automount",
    "swap",
    "target",
    "path",
    "timer",
    "slice",
    "scope",
];

/// What could not be done with a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::supervisor) enum Verb {
    Start,
    Restart,
    Reload,
    Stop,
}

impl Verb {
    const ALL: [Self; 4] = [Self::Start, Self::Restart, Self::Reload, Self::Stop];

    /// Whether the unit should run behind it.
    pub(in crate::supervisor) fn starts(self) -> bool {
        matches!(self, Self::Start | Self::Restart)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "start",
            Self::Restart => "restart",
            Self::Reload => "reload",
            Self::Stop => "stop",
        })
    }
}

/// Something that could not be done with a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::supervisor) struct FailedJob {
    pub(in crate::supervisor) verb: Verb,
    pub(in crate::supervisor) unit: String,
}

/// Whether the text is the name of a unit. It then has no blank, and nothing that a program could take for an option.
fn is_unit(text: &str) -> bool {
    let kind = text.rsplit_once('.').map(|(_, kind)| kind);
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || ":-_.\\@".contains(letter);
    kind.is_some_and(|kind| KINDS.contains(&kind))
        && text.len() <= MAX_NAME
        && !text.starts_with(['-', '.'])
        && text.chars().all(allowed)
}

/// The names in a list of units.
pub(super) fn list(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split([',', ' ']).filter(|name| is_unit(name)).map(str::to_owned)
}

/// `Failed to reload a.service`, with or without a reason behind a colon, and `Job for a.service failed because ..` of
/// `systemctl`. Also whether it is a unit of a user.
pub(super) fn failed_job(text: &str) -> Option<(bool, FailedJob)> {
    if let Some((unit, rest)) = text.strip_prefix("Job for ").and_then(|rest| rest.split_once(' ')) {
        let failed = rest.starts_with("failed") && is_unit(unit);
        return failed.then(|| (false, FailedJob { verb: Verb::Start, unit: unit.to_owned() }));
    }
    let rest = text.strip_prefix("Failed to ")?;
    let (verb, rest) = rest.split_once(' ')?;
    let verb = Verb::ALL.into_iter().find(|known| known.to_string() == verb)?;
    let (of_user, rest) = match rest.strip_prefix("user unit ") {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let unit = rest.split_once(": ").map_or(rest, |(unit, _)| unit).trim_end_matches('.');
    is_unit(unit).then(|| (of_user, FailedJob { verb, unit: unit.to_owned() }))
}

/// Whether the line belongs to the work on the units, behind the activation script.
pub(super) fn handles(text: &str) -> bool {
    const BEGINNINGS: &[&str] = &[
        "restarting systemd...",
        "reloading user units for ",
        "restarting sysinit-reactivation.target",
        "setting up tmpfiles",
        "reloading the following units: ",
        "restarting the following units: ",
    ];
    starts(text) || BEGINNINGS.iter().any(|beginning| text.starts_with(beginning))
}

/// Whether the line shows that units were started.
pub(super) fn starts(text: &str) -> bool {
    text.starts_with("starting the following units: ")
        || text.starts_with("the following new units were started: ")
}
