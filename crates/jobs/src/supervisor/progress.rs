//! How far the parts of a command are, told as the command goes on.
//!
//! ```text
//! pull         pull                    update     lock
//! switch       system                  rollback   system
//! pull-switch  pull, then system       test       tests
//! ```
//!
//! All parts are told at the start as pending, and at the end, whatever it was, as complete or as
//! failed; one that failed stays where it was. A command of somebody's own has no parts.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::process_tree;
use crate::journal::{Source, Writer};
use crate::lines::Piece;
use crate::progress::{MAX_TEST_RESULTS, OperationProgress, Part, PartState, Parts, TestResult, TestsPart};
use crate::spec::Step;
use phases::{Phase, Phases};
use throttle::Throttle;

mod nix_log;
mod phases;
mod throttle;

#[cfg(test)]
mod tests;

/// Steps of the part `pull` on the wire: origin, fetch, reset, clean.
const PULL_STEPS: u32 = 4;

/// Steps of the part `lock` on the wire.
const LOCK_STEPS: u32 = 1;

/// Steps of the part `system` on the wire: its phases.
const SYSTEM_STEPS: u32 = Phase::ALL.len() as u32;

/// How often to look for an activation that writes nothing. A look reads some hundred files of
/// /proc, and what activates nearly always says so first.
const LOOK: Duration = Duration::from_secs(2);

/// Options that show build logs as they grow.
const LIVE_LOGS: &[&str] = &["-L", "--print-build-logs"];

/// A part of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Pull,
    Lock,
    System,
    Tests,
}

/// A part, and the steps of the plan that do it.
struct Section {
    work: Work,
    steps: Range<usize>,
}

/// How far a command is.
pub(super) struct Progress {
    /// In order; none for a command without parts.
    sections: Vec<Section>,
    /// The part that is being done.
    at: Option<usize>,
    /// All parts as they are, whether told or not.
    parts: Parts,
    /// The rebuild that runs.
    rebuild: Option<Rebuild>,
}

/// What is known of a running rebuild, and how it is told.
struct Rebuild {
    phases: Phases,
    throttle: Throttle,
    look_at: Instant,
}

impl Progress {
    /// Tells the parts of `command`. `steps` are those of its plan, none if there is no plan.
    pub(super) fn begin(command: &str, steps: &[Step], log: &mut Writer) -> Self {
        let count = steps.len();
        let section = |work, steps| Section { work, steps };
        let sections = match command {
            "clone" | "pull" => vec![section(Work::Pull, 0..count)],
            "update" => vec![section(Work::Lock, 0..count)],
            "switch" | "rollback" => vec![section(Work::System, 0..count)],
            "pull-switch" => {
                let switch = count.saturating_sub(1);
                vec![section(Work::Pull, 0..switch), section(Work::System, switch..count)]
            }
            "test" => vec![section(Work::Tests, 0..count)],
            _ => Vec::new(),
        };
        let mut progress = Self { sections, at: None, parts: Parts::default(), rebuild: None };
        for section in &progress.sections {
            let all = &mut progress.parts;
            match section.work {
                Work::Pull => all.pull = Some(pending(PULL_STEPS)),
                Work::Lock => all.lock = Some(pending(LOCK_STEPS)),
                Work::System => all.system = Some(pending(SYSTEM_STEPS)),
                Work::Tests => all.tests = Some(untested(section.steps.len())),
            }
        }
        if !progress.sections.is_empty() {
            tell(progress.parts.clone(), log);
        }
        progress
    }

    /// A step begins.
    pub(super) fn step(&mut self, index: usize, step: &Step, log: &mut Writer) {
        let Some(at) = self.sections.iter().position(|section| section.steps.contains(&index)) else {
            return;
        };
        let begins = self.at != Some(at);
        let mut news = Parts::default();
        if begins && let Some(before) = self.at.replace(at) {
            self.close(before, true, &mut news);
        }
        let section = &self.sections[at];
        let work = section.work;
        match work {
            Work::Pull | Work::Lock => {
                let share = (index - section.steps.start, section.steps.len());
                *slot(&mut news, work) = self.simple_step(work, share, step);
            }
            Work::System => news.system = Some(self.rebuild_begins(step)),
            // Later scripts are told when the one before them has ended.
            Work::Tests if begins => news.tests = self.tests_begin(),
            Work::Tests => return,
        }
        tell(news, log);
    }

    /// A step of a part that has nothing finer than steps; `done` of `all` are behind it. The wire
    /// has four for a pull, whether git needs four of them or one.
    fn simple_step(&mut self, work: Work, (done, all): (usize, usize), step: &Step) -> Option<Part> {
        let part = slot(&mut self.parts, work).as_mut()?;
        part.current = u32::try_from(done * part.total as usize / all).unwrap_or(part.total);
        part.status = PartState::InProgress;
        part.phase.clone_from(&step.name);
        Some(part.clone())
    }

    fn rebuild_begins(&mut self, step: &Step) -> Part {
        let live = step.argv.iter().any(|arg| LIVE_LOGS.contains(&arg.as_str()));
        let now = Instant::now();
        let mut rebuild =
            Rebuild { phases: Phases::new(live), throttle: Throttle::default(), look_at: now + LOOK };
        let part = rebuild.part();
        rebuild.throttle.update(part.clone(), now);
        self.rebuild = Some(rebuild);
        self.parts.system.insert(part).clone()
    }

    fn tests_begin(&mut self) -> Option<TestsPart> {
        let tests = self.parts.tests.as_mut()?;
        tests.status = PartState::InProgress;
        Some(tests.clone())
    }

    /// A test script has ended.
    pub(super) fn tested(&mut self, index: usize, passed: bool, log: &mut Writer) {
        let Some(tests) = &mut self.parts.tests else { return };
        if let Some(result) = tests.results.get_mut(index) {
            *result = if passed { TestResult::Pass } else { TestResult::Fail };
        }
        tests.current = tests.current.saturating_add(1);
        tell(Parts { tests: Some(tests.clone()), ..Parts::default() }, log);
    }

    /// Takes a piece of a line of the step that runs and gives out what is to be shown of it.
    pub(super) fn read(&mut self, source: Source, piece: &Piece<'_>, emit: &mut impl FnMut(&Piece<'_>)) {
        match &mut self.rebuild {
            Some(rebuild) => rebuild.phases.read(source, piece, emit),
            None => emit(piece),
        }
    }

    /// Tells what the last piece has changed, unless it has to wait.
    pub(super) fn heed(&mut self, log: &mut Writer) {
        let Some(rebuild) = &mut self.rebuild else { return };
        if !rebuild.phases.changed() {
            return;
        }
        let part = rebuild.part();
        self.parts.system = Some(part.clone());
        for part in rebuild.throttle.update(part, Instant::now()).into_iter().flatten() {
            tell(Parts { system: Some(part), ..Parts::default() }, log);
        }
    }

    /// Tells what had to wait, and looks for a silent activation.
    pub(super) fn tick(&mut self, log: &mut Writer) {
        let Some(rebuild) = &mut self.rebuild else { return };
        let now = Instant::now();
        if rebuild.looks() && rebuild.look_at <= now {
            if process_tree::activates() {
                rebuild.phases.activates();
            }
            rebuild.look_at = now + LOOK;
        }
        if let Some(part) = rebuild.throttle.due(now) {
            tell(Parts { system: Some(part), ..Parts::default() }, log);
        }
        self.heed(log);
    }

    /// When to call [`Self::tick`] even if nothing is written.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let rebuild = self.rebuild.as_ref()?;
        let look = rebuild.looks().then_some(rebuild.look_at);
        [look, rebuild.throttle.wake_at()].into_iter().flatten().min()
    }

    /// The command has ended; `ok`: all of it went well.
    pub(super) fn end(&mut self, ok: bool, log: &mut Writer) {
        if self.sections.is_empty() {
            return;
        }
        if let Some(rest) = self.rebuild.take().and_then(|mut rebuild| rebuild.throttle.rest()) {
            tell(Parts { system: Some(rest), ..Parts::default() }, log);
        }
        let mut news = Parts::default();
        let first = self.at.unwrap_or(0);
        for section in first..self.sections.len() {
            self.close(section, ok, &mut news);
        }
        tell(news, log);
    }

    /// A part is over. What follows one that failed will not be done, and has failed with it.
    fn close(&mut self, section: usize, ok: bool, news: &mut Parts) {
        let status = if ok { PartState::Complete } else { PartState::Error };
        let work = self.sections[section].work;
        if work == Work::Tests {
            self.parts.tests.iter_mut().for_each(|tests| tests.status = status);
            news.tests.clone_from(&self.parts.tests);
            return;
        }
        let part = slot(&mut self.parts, work);
        if let Some(part) = part {
            part.status = status;
            if ok {
                part.current = part.total;
                part.phase.clear();
                part.detail.clear();
            }
        }
        slot(news, work).clone_from(part);
    }
}

/// The place of a part that is counted in steps.
fn slot(parts: &mut Parts, work: Work) -> &mut Option<Part> {
    match work {
        Work::Pull => &mut parts.pull,
        Work::Lock => &mut parts.lock,
        Work::System | Work::Tests => &mut parts.system,
    }
}

impl Rebuild {
    /// What is known, for the wire.
    fn part(&self) -> Part {
        let phase = self.phases.phase();
        Part {
            current: phase.before(),
            total: SYSTEM_STEPS,
            status: PartState::InProgress,
            phase: phase.name().to_owned(),
            detail: self.phases.detail(),
        }
    }

    fn looks(&self) -> bool {
        self.phases.phase() < Phase::Activate
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

fn tell(news: Parts, log: &mut Writer) {
    log.operation(&OperationProgress { progress: news });
}
