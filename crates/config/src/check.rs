//! Checks that many keys share, and the list of what they found.

use std::{ops::RangeInclusive, path::PathBuf, time::Duration};

use super::layers::{Layers, quoted};
use super::{Problem, Source, file, layers};

/// Notes problems and finds out who is to blame.
#[derive(Debug)]
pub(super) struct Checker<'a> {
    pub(super) layers: &'a Layers,
    source: &'a Source,
    pub(super) problems: &'a mut Vec<Problem>,
}

impl<'a> Checker<'a> {
    pub(super) fn new(layers: &'a Layers, source: &'a Source, problems: &'a mut Vec<Problem>) -> Self {
        Self { layers, source, problems }
    }

    /// Notes a problem, unless the key has one already: what follows from it would only confuse.
    pub(super) fn refuse(&mut self, key: &str, what: impl Into<String>, fix: impl Into<String>) {
        if self.problems.iter().all(|problem| problem.key != key) {
            let origin = self.layers.origin(key);
            self.problems.push(Problem { key: key.to_owned(), what: what.into(), origin, fix: fix.into() });
        }
    }

    /// Whether a key of this section has a problem already.
    pub(super) fn has_problem_below(&self, section: &str) -> bool {
        self.problems
            .iter()
            .any(|problem| problem.key.strip_prefix(section).is_some_and(|rest| rest.starts_with('.')))
    }

    /// As [`Self::refuse`], with the fix of the key's kind.
    pub(super) fn refuse_value(&mut self, key: &str, what: String) {
        let path: Vec<String> = key.split('.').map(str::to_owned).collect();
        let fix = file::find(&path).map_or_else(String::new, layers::fix);
        self.refuse(key, what, fix);
    }

    /// A number within bounds.
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

    /// Text for people, on one line.
    pub(super) fn label(&mut self, key: &str, text: &str, longest: usize) -> String {
        if let Some(bad) = text.chars().find(|letter| letter.is_control()) {
            self.refuse_value(key, format!("holds the control character {bad:?}"));
        } else if text.len() > longest {
            self.refuse_value(key, format!("is longer than {longest} bytes"));
        }
        text.to_owned()
    }

    /// An absolute path. What a variable says may be relative to where the agent was started, as
    /// with any program; in a file that would mean another place with every start.
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

    /// Arguments of a program that is started as they are.
    pub(super) fn arguments(&mut self, key: &str, words: &[String]) -> Vec<String> {
        if words.iter().any(|word| word.contains('\0')) {
            self.refuse_value(key, "holds a NUL, which no argument can".to_owned());
        }
        words.to_vec()
    }

    /// Program and arguments.
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
