//! The progress of a command's parts, reported while the command runs.
//!
//! ```text
//! pull         pull                    update     lock
//! switch, boot system                  rollback   system
//! pull-switch  pull, then system       test       tests
//! ```
//!
//! All parts are reported as pending at the start, and as complete or failed at the end. A failed part keeps
//! its last progress. A custom command has no parts.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::process_tree;
use super::switch_lines::SwitchLines;
use crate::journal::{Source, Writer};
use crate::lines::Piece;
use crate::progress::{MAX_TEST_RESULTS, OperationProgress, Part, PartState, Parts, TestResult, TestsPart};
use crate::spec::Step;

mod delays;
#[cfg(feature = "test-util")]
pub mod fuzzing;
mod git;
mod nix_log;
mod phases;
mod rebuild;
mod running;
mod throttle;
mod transfer;

use rebuild::{Rebuild, SYSTEM_STEPS};
use running::Running;
use transfer::Transfer;

#[cfg(test)]
mod tests;

/// Reported steps of the part `pull`: fetch, origin, reset, clean.
const PULL_STEPS: u32 = 4;

/// Reported steps of the part `lock`.
const LOCK_STEPS: u32 = 1;

/// How often to check for an activation that writes nothing. A check reads some hundred files of /proc, and
/// an activation nearly always writes something first.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// The kinds of parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PartKind {
    Pull,
    Lock,
    System,
    Tests,
}

/// A part of the command, and the steps of the plan that belong to it.
struct Section {
    kind: PartKind,
    steps: Range<usize>,
}

/// Progress of a command.
pub(super) struct Progress {
    /// The parts in order; empty for a command without parts.
    sections: Vec<Section>,
    /// Index of the running part.
    at: Option<usize>,
    /// Current progress of all parts, reported or not.
    parts: Parts,
    /// The running rebuild.
    rebuild: Option<Rebuild>,
    /// What the running step says about its work.
    said: SwitchLines,
    /// The running program of git, or the one that ended last.
    git: Option<Transfer>,
    /// What is in `state.json`.
    running: Running,
}

impl Progress {
    /// Reports the parts of `command` as pending. `steps` are the steps of its plan, empty if there is no
    /// plan.
    pub(super) fn begin(command: &str, steps: &[Step], log: &mut Writer) -> Self {
        let sections = sections(command, steps.len());
        let mut progress = Self {
            sections,
            at: None,
            parts: Parts::default(),
            rebuild: None,
            git: None,
            said: SwitchLines::default(),
            running: Running::default(),
        };
        for section in &progress.sections {
            let all = &mut progress.parts;
            match section.kind {
                PartKind::Pull => all.pull = Some(pending(PULL_STEPS)),
                PartKind::Lock => all.lock = Some(pending(LOCK_STEPS)),
                PartKind::System => all.system = Some(pending(SYSTEM_STEPS)),
                PartKind::Tests => all.tests = Some(untested(section.steps.len())),
            }
        }
        if !progress.sections.is_empty() {
            report(progress.parts.clone(), log);
        }
        progress
    }

    /// The command begins again with another plan of so many steps.
    pub(super) fn replan(&mut self, command: &str, count: usize) {
        self.sections = sections(command, count);
    }

    /// Reports that a step begins.
    pub(super) fn step(&mut self, index: usize, step: &Step, log: &mut Writer) {
        self.said = SwitchLines::default();
        self.git = is_git(step).then(Transfer::default);
        let Some(at) = self.sections.iter().position(|section| section.steps.contains(&index)) else {
            return;
        };
        let begins = self.at != Some(at);
        let mut changes = Parts::default();
        if begins && let Some(before) = self.at.replace(at) {
            self.close(before, true, &mut changes);
        }
        let section = &self.sections[at];
        let kind = section.kind;
        match kind {
            PartKind::Pull | PartKind::Lock => {
                let share = (index - section.steps.start, section.steps.len());
                *slot(&mut changes, kind) = self.simple_step(kind, share, step);
            }
            PartKind::System => changes.system = Some(self.rebuild_begins(step, log.clock().instant())),
            // A later script is reported when the script before it has ended.
            PartKind::Tests if begins => changes.tests = self.tests_begin(),
            PartKind::Tests => return,
        }
        report(changes, log);
    }

    /// Progress of a part that is counted in steps of the plan: `done` of `all` are complete. They are scaled
    /// to the reported steps, because a pull is reported with four steps even if the plan has only one.
    fn simple_step(&mut self, kind: PartKind, (done, all): (usize, usize), step: &Step) -> Option<Part> {
        let part = slot(&mut self.parts, kind).as_mut()?;
        part.current = u32::try_from(done * part.total as usize / all).unwrap_or(part.total);
        part.status = PartState::InProgress;
        part.phase.clone_from(&step.name);
        part.detail.clear();
        Some(part.clone())
    }

    /// Another program begins within the step: what the one before it said is not about its work.
    pub(super) fn forget_said(&mut self) {
        self.said = SwitchLines::default();
    }

    /// A program of a step was started. After the first attempt at it, its words begin anew.
    pub(super) fn started(&mut self, pid: u32, index: usize, step: &Step, log: &mut Writer) {
        self.git = is_git(step).then(Transfer::default);
        let phase = self.rebuild.as_ref().map(|rebuild| rebuild.phases.phase().name());
        self.running.begins(Some(pid), index, &step.name, phase, log);
    }

    /// A step waits, and no program of it runs: its process id may soon be that of another one. `detail` says what for.
    pub(super) fn waits(&mut self, index: usize, step: &Step, detail: &str, log: &mut Writer) {
        self.running.begins(None, index, &step.name, None, log);
        if let Some(git) = &mut self.git {
            detail.clone_into(&mut git.words.detail);
        }
        self.report_transfer(log);
    }

    /// The name that the last program of git could not resolve.
    pub(super) fn unresolved(&self) -> Option<&str> {
        self.git.as_ref()?.words.unresolved.as_deref()
    }

    /// What the last program of git said about damaged objects.
    pub(super) fn damage(&self) -> Option<&str> {
        self.git.as_ref()?.words.damage.as_deref()
    }

    fn rebuild_begins(&mut self, step: &Step, now: Instant) -> Part {
        let rebuild = self.rebuild.insert(Rebuild::begin(step, now));
        self.parts.system.insert(rebuild.part()).clone()
    }

    fn tests_begin(&mut self) -> Option<TestsPart> {
        let tests = self.parts.tests.as_mut()?;
        tests.status = PartState::InProgress;
        Some(tests.clone())
    }

    /// Reports that a test script has ended.
    pub(super) fn tested(&mut self, index: usize, passed: bool, log: &mut Writer) {
        let Some(tests) = &mut self.parts.tests else { return };
        if let Some(result) = tests.results.get_mut(index) {
            *result = if passed { TestResult::Pass } else { TestResult::Fail };
        }
        tests.current = tests.current.saturating_add(1);
        report(Parts { tests: Some(tests.clone()), ..Parts::default() }, log);
    }

    /// Reads a piece of a line of the running step and gives out the text to show.
    pub(super) fn read(&mut self, source: Source, piece: &Piece<'_>, emit: &mut impl FnMut(&Piece<'_>)) {
        let said = &mut self.said;
        let mut emit = |shown: &Piece<'_>| {
            said.read(source, shown);
            emit(shown);
        };
        if let Some(rebuild) = &mut self.rebuild {
            return rebuild.phases.read(source, piece, &mut emit);
        }
        let is_progress = self.git.as_mut().is_some_and(|git| !piece.cont && git.words.read(&piece.text));
        if !is_progress {
            emit(piece);
        }
    }

    /// Reads the state of a line that the running step is about to rewrite.
    pub(super) fn rewritten(&mut self, state: &str, log: &mut Writer) {
        if let (None, Some(git)) = (&self.rebuild, &mut self.git) {
            git.words.read(state);
            self.report_transfer(log);
        }
    }

    /// Reports how far git is, unless the throttle delays it.
    fn report_transfer(&mut self, log: &mut Writer) {
        let running = self.at.is_some_and(|at| self.sections[at].kind == PartKind::Pull);
        let (Some(git), Some(part)) = (&mut self.git, self.parts.pull.as_mut().filter(|_| running)) else {
            return;
        };
        if part.detail == git.words.detail {
            return;
        }
        for part in git.update(part, log.clock().instant()).into_iter().flatten() {
            report(Parts { pull: Some(part), ..Parts::default() }, log);
        }
    }

    /// What the last step said about its work.
    pub(super) fn said(&mut self) -> SwitchLines {
        std::mem::take(&mut self.said)
    }

    /// Reports what the last piece changed, unless the throttle delays it.
    pub(super) fn report_changes(&mut self, log: &mut Writer) {
        self.report_transfer(log);
        let Some(rebuild) = &mut self.rebuild else { return };
        if !rebuild.phases.changed() {
            return;
        }
        let part = rebuild.part();
        self.running.phase(&part.phase, log);
        self.parts.system = Some(part.clone());
        for part in rebuild.throttle.update(part, log.clock().instant()).into_iter().flatten() {
            report(Parts { system: Some(part), ..Parts::default() }, log);
        }
    }

    /// Reports delayed progress, and checks for an activation that writes nothing. `unit`: whether the service manager
    /// runs one for the job.
    pub(super) fn tick(&mut self, log: &mut Writer, unit: impl FnOnce() -> bool) {
        let now = log.clock().instant();
        if let Some(part) = self.git.as_mut().and_then(|git| git.throttle.due(now)) {
            report(Parts { pull: Some(part), ..Parts::default() }, log);
        }
        let Some(rebuild) = &mut self.rebuild else { return };
        if rebuild.polls() && rebuild.poll_at <= now {
            if unit() || process_tree::activates(log.processes()) {
                rebuild.phases.activates();
            }
            rebuild.poll_at = now + POLL_INTERVAL;
        }
        if let Some(part) = rebuild.throttle.due(now) {
            report(Parts { system: Some(part), ..Parts::default() }, log);
        }
        self.report_changes(log);
    }

    /// Reports how long a system that was activated on trial has for its confirmation.
    pub(super) fn confirms(&mut self, detail: String, log: &mut Writer) {
        let Some(rebuild) = &mut self.rebuild else { return };
        rebuild.phases.activates();
        let part = Part { detail, ..rebuild.part() };
        self.parts.system = Some(part.clone());
        report(Parts { system: Some(part), ..Parts::default() }, log);
    }

    /// When to call [`Self::tick`] even if the program writes nothing.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let rebuild = self.rebuild.as_ref();
        let poll = rebuild.filter(|rebuild| rebuild.polls()).map(|rebuild| rebuild.poll_at);
        let details = rebuild.and_then(|rebuild| rebuild.throttle.wake_at());
        let transfer = self.git.as_ref().and_then(|git| git.throttle.wake_at());
        [poll, details, transfer].into_iter().flatten().min()
    }

    /// Reports the end of the command. `ok`: every step succeeded.
    pub(super) fn end(&mut self, ok: bool, log: &mut Writer) {
        if self.sections.is_empty() {
            return;
        }
        if let Some(rest) = self.rebuild.take().and_then(|mut rebuild| rebuild.throttle.rest()) {
            report(Parts { system: Some(rest), ..Parts::default() }, log);
        }
        let mut changes = Parts::default();
        let first = self.at.unwrap_or(0);
        for section in first..self.sections.len() {
            self.close(section, ok, &mut changes);
        }
        report(changes, log);
    }

    /// Sets the final state of a part. The parts after a failed part count as failed too.
    fn close(&mut self, section: usize, ok: bool, changes: &mut Parts) {
        let status = if ok { PartState::Complete } else { PartState::Error };
        let kind = self.sections[section].kind;
        if kind == PartKind::Tests {
            self.parts.tests.iter_mut().for_each(|tests| tests.status = status);
            changes.tests.clone_from(&self.parts.tests);
            return;
        }
        let part = slot(&mut self.parts, kind);
        if let Some(part) = part {
            part.status = status;
            if ok {
                part.current = part.total;
                part.phase.clear();
                part.detail.clear();
            }
        }
        slot(changes, kind).clone_from(part);
    }
}

/// The parts of a command, whose plan has so many steps.
fn sections(command: &str, count: usize) -> Vec<Section> {
    let section = |kind, steps| Section { kind, steps };
    match command {
        "clone" | "pull" => vec![section(PartKind::Pull, 0..count)],
        "update" => vec![section(PartKind::Lock, 0..count)],
        "switch" | "boot" | "rollback" => vec![section(PartKind::System, 0..count)],
        "pull-switch" => {
            let switch = count.saturating_sub(1);
            vec![section(PartKind::Pull, 0..switch), section(PartKind::System, switch..count)]
        }
        "test" => vec![section(PartKind::Tests, 0..count)],
        _ => Vec::new(),
    }
}

/// Whether a step is a program of git.
fn is_git(step: &Step) -> bool {
    step.argv.first().is_some_and(|program| program == "git")
}

/// The field of a part that is counted in steps.
fn slot(parts: &mut Parts, kind: PartKind) -> &mut Option<Part> {
    match kind {
        PartKind::Pull => &mut parts.pull,
        PartKind::Lock => &mut parts.lock,
        PartKind::System | PartKind::Tests => &mut parts.system,
    }
}

fn pending(total: u32) -> Part {
    Part { current: 0, total, status: PartState::Pending, phase: String::new(), detail: String::new() }
}

fn untested(scripts: usize) -> TestsPart {
    TestsPart {
        current: 0,
        total: u32::try_from(scripts).unwrap_or(u32::MAX),
        results: vec![TestResult::Pending; scripts.min(MAX_TEST_RESULTS)],
        status: PartState::Pending,
    }
}

fn report(changes: Parts, log: &mut Writer) {
    log.operation(&OperationProgress { progress: changes });
}
