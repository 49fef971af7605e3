//! States of units whose names are known, by `systemctl show`. A unit that systemd starts again and again is not in
//! the state "failed" between two starts, so [`failed_units`](crate::failed_units) does not have it.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use crate::failed_units::LIMIT;
use crate::subprocess::{self, ProgramError};

const ARGUMENTS: [&str; 4] = ["show", "--no-pager", "--property=Id,LoadState,ActiveState,Result", "--"];

/// What systemd says about a unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnitState {
    /// `LoadState`; `loaded` if the unit is there.
    pub load: String,
    /// `ActiveState`, such as `active`, `activating` or `failed`.
    pub active: String,
    /// `Result` of the last run; `success` if nothing was wrong. Empty for kinds of units that have none.
    pub result: String,
}

impl UnitState {
    /// The unit runs, and not only until its next start.
    pub fn runs(&self) -> bool {
        self.active == "active" || self.active == "reloading"
    }

    /// It exists, and does not run.
    pub fn is_stopped(&self) -> bool {
        self.load == "loaded" && (self.active == "inactive" || self.active == "failed")
    }

    /// The last run came to its end without a failure, as that of a service of the type "oneshot".
    pub fn is_done(&self) -> bool {
        self.active == "inactive" && (self.result.is_empty() || self.result == "success")
    }
}

/// Parses the output of `systemctl show`: properties of one unit each, with an empty line between two units. None if
/// it is anything else.
pub fn parse(text: &str) -> Option<BTreeMap<String, UnitState>> {
    let mut units = BTreeMap::new();
    for block in text.split("\n\n").filter(|block| !block.trim().is_empty()) {
        let (mut name, mut state) = (None, UnitState::default());
        for line in block.lines().filter(|line| !line.is_empty()) {
            let (property, value) = line.split_once('=')?;
            match property {
                "Id" => name = Some(value.to_owned()),
                "LoadState" => value.clone_into(&mut state.load),
                "ActiveState" => value.clone_into(&mut state.active),
                "Result" => value.clone_into(&mut state.result),
                _ => return None,
            }
        }
        if state.active.is_empty() {
            return None;
        }
        units.insert(name?, state);
    }
    Some(units)
}

/// Starts `systemctl` and reads the states of these units. None where systemd does not run: `runtime` is its folder,
/// `/run/systemd`. The caller makes sure that the names are names of units.
///
/// # Errors
/// As for [`failed_units::read`](crate::failed_units::read).
pub fn read(
    runtime: &Path,
    systemctl: &Path,
    units: &[String],
) -> Result<Option<BTreeMap<String, UnitState>>, ProgramError> {
    if units.is_empty() || !runtime.join("system").is_dir() {
        return Ok(None);
    }
    let arguments: Vec<&str> = ARGUMENTS.into_iter().chain(units.iter().map(String::as_str)).collect();
    let answer = subprocess::output(systemctl, &arguments, LIMIT)?;
    let states = std::str::from_utf8(&answer).ok().and_then(parse);
    states.map(Some).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_between_two_starts_neither_runs_nor_is_done() {
        let text = "Result=success\nId=sshd.service\nActiveState=active\n\n\
                    Result=exit-code\nId=web.service\nActiveState=activating\n\n\
                    Result=success\nId=once.service\nLoadState=loaded\nActiveState=inactive\n\n\
                    Id=gone.service\nLoadState=not-found\nActiveState=inactive\n\n\
                    Id=boot.mount\nActiveState=active\n";
        let units = parse(text).unwrap();
        let look = |name: &str| (units[name].runs(), units[name].is_done());
        assert_eq!(look("sshd.service"), (true, false));
        assert_eq!(look("web.service"), (false, false));
        assert_eq!(look("once.service"), (false, true));
        assert_eq!(look("boot.mount"), (true, false));
        let stopped: Vec<_> =
            units.iter().filter(|(_, unit)| unit.is_stopped()).map(|(name, _)| &**name).collect();
        assert_eq!(stopped, ["once.service"], "a unit that was removed is not missing");
    }

    #[test]
    fn what_is_no_answer_of_systemctl_show_means_nothing() {
        assert_eq!(parse(""), Some(BTreeMap::new()));
        for text in [
            "a.service loaded failed failed A",
            "Id=a.service\n",
            "ActiveState=active\n",
            "Id=a.service\nB=c\n",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
