//! A running program of git: its words, and how often they are reported.

use std::time::Instant;

use super::git::GitWords;
use super::throttle::Throttle;
use crate::progress::Part;

/// A running program of git.
#[derive(Debug, Default)]
pub(super) struct Transfer {
    pub(super) words: GitWords,
    pub(super) throttle: Throttle,
}

impl Transfer {
    /// What to report of a part, in order: its state with the newest detail, unless it is too early.
    pub(super) fn update(&mut self, part: &mut Part, now: Instant) -> [Option<Part>; 2] {
        part.detail.clone_from(&self.words.detail);
        self.throttle.update(part.clone(), now)
    }
}
