//! Where the settings come from: command line and environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::problem::origin_of;
use crate::proxy_variables::is_proxy_variable;
use crate::{ConfigError, DEFAULT_FILE, Problem};

/// Prefix of all variables of the agent.
pub const VARIABLE_PREFIX: &str = "NIXFLEET_";

/// The variable of the log level.
const LOG_LEVEL: &str = "NIXFLEET_LOG_LEVEL";

/// Variables of other programs that the settings depend on.
const OTHERS: &[&str] = &[
    "STATE_DIRECTORY",
    "RUNTIME_DIRECTORY",
    "CREDENTIALS_DIRECTORY",
    "XDG_STATE_HOME",
    "HOME",
    "USER",
    "LOGNAME",
];

/// Where the settings come from. It is passed as an argument, so that tests do not change the process
/// environment.
#[derive(Clone, Default)]
pub struct Source {
    /// File named on the command line; it must exist. `None`: the file in `NIXFLEET_CONFIG`, or
    /// [`DEFAULT_FILE`] if it exists.
    pub file: Option<PathBuf>,
    /// Environment variables.
    pub environment: BTreeMap<String, String>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Only names are shown: one value is the token, and others may be secrets of other programs.
        let names: Vec<&String> = self.environment.keys().collect();
        f.debug_struct("Source").field("file", &self.file).field("environment", &names).finish()
    }
}

impl Source {
    /// Makes a source from the file of the command line and an environment such as `std::env::vars_os()`.
    ///
    /// # Errors
    /// A variable that can change the configuration is not UTF-8. Other such variables are ignored.
    pub fn new(
        file: Option<PathBuf>,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let mut environment = BTreeMap::new();
        let mut problems = Vec::new();
        for (name, value) in variables {
            let Ok(name) = name.into_string() else { continue };
            match value.into_string() {
                Ok(value) => {
                    environment.insert(name, value);
                }
                Err(_) if matters(&name) => problems.push(Problem {
                    key: name.clone(),
                    what: "not UTF-8".to_owned(),
                    origin: origin_of(&name),
                    fix: "set it to plain text or unset it".to_owned(),
                }),
                Err(_) => {}
            }
        }
        if problems.is_empty() { Ok(Self { file, environment }) } else { Err(ConfigError { problems }) }
    }

    /// Whether the caller means the agent that is installed on this host: neither the command line nor the environment
    /// has a setting that another agent would need. The file of the installed agent may be named. The log level is about
    /// the output of the caller.
    pub fn means_installed(&self) -> bool {
        let usual = |file: &Path| file == Path::new(DEFAULT_FILE);
        let tells = |name: &str, value: &str| match name {
            LOG_LEVEL => false,
            "NIXFLEET_CONFIG" => !value.is_empty() && !usual(Path::new(value)),
            _ => is_ours(name),
        };
        self.file.as_deref().is_none_or(usual)
            && !self.environment.iter().any(|(name, value)| tells(name, value))
    }

    /// Value of a variable. An empty variable counts as unset.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The file to read, and whether it must exist.
    pub(crate) fn file(&self) -> (PathBuf, bool) {
        match (&self.file, self.variable("NIXFLEET_CONFIG")) {
            (Some(file), _) => (file.clone(), true),
            (None, Some(file)) => (PathBuf::from(file), true),
            (None, None) => (PathBuf::from(DEFAULT_FILE), false),
        }
    }
}

/// Whether a variable can change the configuration.
fn matters(name: &str) -> bool {
    name.starts_with(VARIABLE_PREFIX) || OTHERS.contains(&name) || is_proxy_variable(name)
}

/// Whether a variable belongs to the agent.
fn is_ours(name: &str) -> bool {
    name.starts_with(VARIABLE_PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_means_the_installed_agent_unless_a_setting_is_given() {
        for (file, variables, wanted) in [
            (None, &[][..], true),
            (Some(DEFAULT_FILE), &[], true),
            (Some("/tmp/agent.toml"), &[], false),
            (None, &[("HOME", "/root"), ("NIXFLEET_LOG_LEVEL", "debug")], true),
            (None, &[("NIXFLEET_CONFIG", DEFAULT_FILE)], true),
            (None, &[("NIXFLEET_CONFIG", "")], true),
            (None, &[("NIXFLEET_CONFIG", "/tmp/agent.toml")], false),
            (Some(DEFAULT_FILE), &[("NIXFLEET_STATE_DIR", "/tmp/state")], false),
        ] {
            let environment =
                variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
            let source = Source { file: file.map(PathBuf::from), environment };
            assert_eq!(source.means_installed(), wanted, "{file:?} {variables:?}");
        }
    }
}
