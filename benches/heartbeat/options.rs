//! The arguments of the benchmark.

use std::path::PathBuf;

use crate::agent::{Candidate, OWN_COMMAND};
use crate::stages;

/// Path of the agent of this repository, as `cargo bench` has built it.
const AGENT: &str = env!("CARGO_BIN_EXE_nixfleet-agent");

/// Length of a phase in seconds, and pairs for each figure: enough for a median and its spread.
const USUAL: (u64, usize) = (20, 3);

/// The same for `--short`, which takes less than five minutes with another agent.
const SHORT: (u64, usize) = (10, 1);

/// What is measured, and for how long.
pub(crate) struct Options {
    /// The agent of this repository first.
    pub(crate) candidates: Vec<Candidate>,
    /// Names of the stages; all if it is empty.
    pub(crate) stages: Vec<String>,
    pub(crate) seconds: u64,
    pub(crate) pairs: usize,
    pub(crate) strict: bool,
}

impl Options {
    /// Reads the arguments.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn read(arguments: &[String]) -> Result<Self, String> {
        let (own, others) = match arguments.iter().position(|argument| argument == "--") {
            Some(at) => (&arguments[..at], &arguments[at + 1..]),
            None => (arguments, &[][..]),
        };
        let (mut seconds, mut pairs) = USUAL;
        let (mut agent, mut other, mut command) = (PathBuf::from(AGENT), None, OWN_COMMAND.to_owned());
        let (mut stages, mut strict) = (Vec::new(), false);
        let mut words = own.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--short" => (seconds, pairs) = SHORT,
                "--strict" => strict = true,
                "--seconds" => seconds = number(value()?)?.max(2),
                "--pairs" => pairs = usize::try_from(number(value()?)?).unwrap_or(1).max(1),
                "--agent" => agent = PathBuf::from(value()?),
                "--other" => other = Some(PathBuf::from(value()?)),
                "--other-command" => command.clone_from(value()?),
                name if stages::ALL.iter().any(|(stage, _)| *stage == name) => stages.push(name.to_owned()),
                unknown => {
                    let names: Vec<&str> = stages::ALL.iter().map(|(stage, _)| *stage).collect();
                    return Err(format!(
                        "{unknown} is no stage and no option; the stages: {}",
                        names.join(", ")
                    ));
                }
            }
        }
        let mut candidates = vec![Candidate::new("this agent", agent, Vec::new(), OWN_COMMAND.to_owned())];
        if let Some(path) = other {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            candidates.push(Candidate::new(&format!("other: {name}"), path, others.to_vec(), command));
        } else if !others.is_empty() {
            return Err("arguments behind -- are for the agent that --other names".to_owned());
        }
        for candidate in &mut candidates {
            let path = candidate.program.display().to_string();
            // It starts in a folder of its own, where a relative path would lead nowhere.
            candidate.program = std::fs::canonicalize(&candidate.program)
                .map_err(|err| format!("cannot use the program {path}: {err}"))?;
        }
        Ok(Self { candidates, stages, seconds, pairs, strict })
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text} is no number"))
}
