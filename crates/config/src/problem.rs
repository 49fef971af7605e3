//! The problems of a configuration, as lines for people.

use std::fmt::{self, Write as _};

/// The configuration is invalid. `Display` shows one line for each problem.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    pub(crate) problems: Vec<Problem>,
}

/// One problem: what is wrong, where, and how to fix it. It never contains the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Key as in the file, such as `repo.branch`, also for a value from another layer.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// File or variable that set the value; empty if none did.
    pub origin: String,
    /// How to fix it.
    pub fix: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Keys and paths are text of the operator. A line end in them must not split the line.
        let mut line = |text: &str| {
            text.chars().try_for_each(|letter| {
                if letter.is_control() {
                    write!(f, "{}", letter.escape_default())
                } else {
                    f.write_char(letter)
                }
            })
        };
        line(&self.key)?;
        line(": ")?;
        line(&self.what)?;
        if !self.origin.is_empty() {
            line(" (")?;
            line(&self.origin)?;
            line(")")?;
        }
        if !self.fix.is_empty() {
            line("; ")?;
            line(&self.fix)?;
        }
        Ok(())
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl ConfigError {
    /// The problems, at least one.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}
