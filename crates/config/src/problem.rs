//! The problems of a configuration, as lines for people.

use std::fmt;

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

/// The name of a variable in errors.
pub(crate) fn origin_of(name: &str) -> String {
    format!("environment variable {name}")
}

/// Escapes control characters, and leaves out what changes the direction of text. Keys and paths are text of the
/// operator; a line end in them must not split the line.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() {
            line.extend(letter.escape_default());
        } else {
            line.push(letter);
        }
    }
    nixfleet_os::text::printable(&line, false)
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, what, origin, fix } = self;
        write!(f, "{}: {}", one_line(key), one_line(what))?;
        if !origin.is_empty() {
            write!(f, " ({})", one_line(origin))?;
        }
        if !fix.is_empty() {
            write!(f, "; {}", one_line(fix))?;
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

    /// The same problems, and what may be their reason.
    #[must_use]
    pub fn with(mut self, reasons: impl IntoIterator<Item = Problem>) -> Self {
        self.problems.extend(reasons);
        self
    }

    /// The same problems. A value that the caller put into this variable for the check is called by what it is.
    #[must_use]
    pub fn called(mut self, variable: &str, key: &str, origin: &str) -> Self {
        let set = origin_of(variable);
        for problem in self.problems.iter_mut().filter(|problem| problem.origin == set) {
            key.clone_into(&mut problem.key);
            origin.clone_into(&mut problem.origin);
        }
        self
    }
}
