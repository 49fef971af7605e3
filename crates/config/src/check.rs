//! Checks that many keys share, and the lists of problems and warnings.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::keys::find;
use crate::layers::{self, Layers, quoted};
use crate::{Problem, Source};

/// Text that is set and not empty.
pub(super) fn set(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}

/// Collects problems and warnings, each with the origin of the value.
#[derive(Debug)]
pub(super) struct Checker<'a> {
    pub(super) layers: &'a Layers,
    source: &'a Source,
    pub(super) problems: &'a mut Vec<Problem>,
    /// What does not keep the agent from running, one line each.
    pub(super) warnings: Vec<String>,
}

impl<'a> Checker<'a> {
    pub(super) fn new(layers: &'a Layers, source: &'a Source, problems: &'a mut Vec<Problem>) -> Self {
        Self { layers, source, problems, warnings: Vec::new() }
    }

    /// Adds a problem. Only the first problem of each key is kept, because later ones may follow from it.
    pub(super) fn refuse(&mut self, key: &str, what: impl Into<String>, fix: impl Into<String>) {
        if self.problems.iter().all(|problem| problem.key != key) {
            let origin = self.layers.origin(key);
            self.problems.push(Problem { key: key.to_owned(), what: what.into(), origin, fix: fix.into() });
        }
    }

    /// Adds a warning.
    pub(super) fn warn(&mut self, key: &str, what: impl Into<String>, fix: impl Into<String>) {
        let origin = self.layers.origin(key);
        let warning = Problem { key: key.to_owned(), what: what.into(), origin, fix: fix.into() };
        self.warnings.push(warning.to_string());
    }

    /// Whether a key of this section has a problem.
    pub(super) fn has_problem_below(&self, section: &str) -> bool {
        self.problems
            .iter()
            .any(|problem| problem.key.strip_prefix(section).is_some_and(|rest| rest.starts_with('.')))
    }

    /// Like [`Self::refuse`], with the fix for the kind of the key.
    pub(super) fn refuse_value(&mut self, key: &str, what: String) {
        let path: Vec<String> = key.split('.').map(str::to_owned).collect();
        let fix = find(&path).map_or_else(String::new, layers::fix);
        self.refuse(key, what, fix);
    }

    /// Checks that a number is within bounds.
    pub(super) fn number(&mut self, key: &str, value: i64, bounds: RangeInclusive<i64>, unit: &str) -> u64 {
        if !bounds.contains(&value) {
            let (least, most) = (bounds.start(), bounds.end());
            self.refuse_value(key, format!("{value} is not between {least} and {most}{unit}"));
        }
        value.unsigned_abs()
    }

    pub(super) fn seconds(&mut self, key: &str, value: i64, bounds: RangeInclusive<i64>) -> Duration {
        Duration::from_secs(self.number(key, value, bounds, " seconds"))
    }

    /// Checks text for people: one line, at most `longest` bytes.
    pub(super) fn label(&mut self, key: &str, text: &str, longest: usize) -> String {
        if let Some(bad) = text.chars().find(|letter| letter.is_control()) {
            self.refuse_value(key, format!("holds the control character {bad:?}"));
        } else if text.len() > longest {
            self.refuse_value(key, format!("is longer than {longest} bytes"));
        }
        text.to_owned()
    }

    /// Checks that a path is absolute. A path in a variable may be relative to the working directory, as
    /// usual. In the file a relative path is refused, because its meaning would depend on where the agent is
    /// started.
    pub(super) fn path(&mut self, key: &str, text: &str) -> PathBuf {
        if text.contains('\0') {
            self.refuse_value(key, "holds a NUL".to_owned());
        } else if !text.starts_with('/') {
            let absolute = std::path::absolute(text);
            match absolute {
                Ok(absolute) if self.layers.set_by_variable(key) && !text.starts_with('~') => {
                    return absolute;
                }
                _ => self.refuse_value(key, format!("{} is not an absolute path", quoted(text))),
            }
        }
        PathBuf::from(text)
    }

    pub(super) fn optional_path(&mut self, key: &str, text: Option<&String>) -> Option<PathBuf> {
        text.filter(|text| !text.is_empty()).map(|text| self.path(key, text))
    }

    /// Checks the arguments of a program.
    pub(super) fn arguments(&mut self, key: &str, words: &[String]) -> Vec<String> {
        if words.iter().any(|word| word.contains('\0')) {
            self.refuse_value(key, "holds a NUL, which no argument can".to_owned());
        }
        words.to_vec()
    }

    /// Checks a program and its arguments.
    pub(super) fn program(&mut self, key: &str, words: &[String]) -> Vec<String> {
        if words.first().is_none_or(|program| program.is_empty()) {
            self.refuse_value(key, "names no program".to_owned());
        }
        self.arguments(key, words)
    }

    pub(super) fn variable(&self, name: &str) -> Option<&'a str> {
        self.source.variable(name)
    }
}
