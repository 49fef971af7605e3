//! Where the settings come from: command line and environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use crate::{ConfigError, DEFAULT_FILE, Problem, is_proxy_variable};

/// Prefix of all variables of the agent.
pub const VARIABLE_PREFIX: &str = "NIXFLEET_";

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

    /// Whether neither the command line nor the environment has a setting. The caller then means the agent
    /// that is installed on this host.
    pub fn names_nothing(&self) -> bool {
        let names = self.environment.keys().filter(|name| is_ours(name));
        self.file.is_none() && names.count() == 0
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

/// The name of a variable in errors.
pub(crate) fn origin_of(name: &str) -> String {
    format!("environment variable {name}")
}
