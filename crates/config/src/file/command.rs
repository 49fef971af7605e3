//! Custom commands in the configuration file.

use std::collections::BTreeMap;

use serde::Deserialize;

/// `[commands.NAME]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Command {
    /// Program and arguments, passed without a shell. Either this or `steps`.
    pub(crate) run: Option<Vec<String>>,
    /// Several programs, which run in order until one fails.
    pub(crate) steps: Option<Vec<Step>>,
    /// Seconds for all steps together, 1 to 604800. Default: no limit.
    pub(crate) timeout: Option<i64>,
    /// Whether `stop` may end the command. Default true.
    pub(crate) killable: bool,
    /// Whether stopping any step half-way does more harm than letting it finish. Default false.
    pub(crate) activation: bool,
    /// Working directory. Default: that of the supervisor.
    pub(crate) cwd: Option<String>,
    /// Variables that are added to the environment. Default: none.
    pub(crate) env: BTreeMap<String, String>,
    /// Description for people. Default: empty.
    pub(crate) description: String,
}

impl Default for Command {
    fn default() -> Self {
        Self {
            run: None,
            steps: None,
            timeout: None,
            killable: true,
            activation: false,
            cwd: None,
            env: BTreeMap::new(),
            description: String::new(),
        }
    }
}

/// A step: a list of words, or a table with `run` and `activation`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged, expecting = "a step is a list of words, or a table with `run` and `activation`")]
pub(crate) enum Step {
    Words(Vec<String>),
    Table(StepTable),
}

/// A step as a table.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StepTable {
    /// Program and arguments.
    pub(crate) run: Vec<String>,
    /// Whether stopping the step half-way does more harm than letting it finish. Default false.
    #[serde(default)]
    pub(crate) activation: bool,
}
