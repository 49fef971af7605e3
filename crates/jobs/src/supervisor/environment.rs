//! Which variables of the agent a command gets.
//!
//! A setting of the agent is a variable of its environment, too, and some settings are secret: the token, a login in
//! `NIXFLEET_REPO_URL` or `NIXFLEET_URL`, a password in the arguments or variables of another command. So a
//! command gets the environment of its supervisor without all variables of the agent but [`PLACES`], which cannot
//! hold a secret. It also gets what its own step sets.

use std::ffi::OsString;
use std::process::Command;

/// The prefix of the agent's variables.
const PREFIX: &[u8] = b"NIXFLEET_";

/// Where the agent's settings and folders are. With these a command can run `nixfleet-agent status` or `logs`.
const PLACES: &[&str] =
    &["NIXFLEET_CONFIG", "NIXFLEET_STATE_DIR", "NIXFLEET_JOBS__DIR", "NIXFLEET_PATHS__STATUS"];

/// Removes the agent's variables from what a program inherits. `inherited` are the names of all variables.
pub(super) fn withhold(command: &mut Command, inherited: impl IntoIterator<Item = OsString>) {
    for name in inherited {
        let is_place = PLACES.iter().any(|place| name == *place);
        if name.as_encoded_bytes().starts_with(PREFIX) && !is_place {
            command.env_remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_agents_variables_only_places_are_handed_on() {
        let mut command = Command::new("true");
        let names = [
            "HOME",
            "MY_NIXFLEET_URL",
            "NIXFLEET_CONFIG",
            "NIXFLEET_STATE_DIR",
            "NIXFLEET_URL",
            "NIXFLEET_TOKEN",
            "NIXFLEET_REPO_URL",
            "NIXFLEET_REPO__URL",
            "NIXFLEET_COMMANDS__BACKUP__ENV",
            "NIXFLEET_OF_A_LATER_VERSION",
        ];
        withhold(&mut command, names.map(OsString::from));
        let removed: Vec<_> =
            command.get_envs().map(|(name, value)| (name.to_str().unwrap(), value)).collect();
        let mut wanted = names[4..].to_vec();
        wanted.sort_unstable();
        assert_eq!(removed, wanted.into_iter().map(|name| (name, None)).collect::<Vec<_>>());
    }
}
