use std::collections::BTreeMap;

use super::*;
use crate::journal::Reader;
use crate::spec::Secrets;
use crate::{JobId, JobsDir};

/// A log in a folder of its own.
struct Rig {
    folder: tempfile::TempDir,
    id: JobId,
    log: Writer,
}

impl Rig {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let id = JobId::generate();
        let dir = JobsDir::new(folder.path()).job(&id);
        std::fs::create_dir_all(dir.path()).unwrap();
        let log = Writer::create(dir, 1 << 20).unwrap();
        Self { folder, id, log }
    }

    /// All reports, in the notation of [`show`].
    fn reports(&mut self) -> Vec<String> {
        self.log.flush();
        let dir = JobsDir::new(self.folder.path()).job(&self.id);
        let entries = Reader::new(dir, 0).read(usize::MAX).unwrap();
        entries.into_iter().filter_map(|entry| Some(show(&entry.operation?.progress))).collect()
    }
}

/// `pull 1/4 in_progress fetch | system 0/3 pending`.
fn show(parts: &Parts) -> String {
    let named = [("pull", &parts.pull), ("lock", &parts.lock), ("system", &parts.system)];
    let mut all: Vec<String> = Vec::new();
    for (name, part) in named {
        if let Some(part) = part {
            let text = format!(
                "{name} {}/{} {} {} {}",
                part.current,
                part.total,
                word(part.status),
                part.phase,
                part.detail
            );
            all.push(text.trim_end().to_owned());
        }
    }
    if let Some(tests) = &parts.tests {
        let results: String = tests
            .results
            .iter()
            .map(|result| match result {
                TestResult::Pass => '+',
                TestResult::Fail => '-',
                TestResult::Pending => '.',
            })
            .collect();
        all.push(format!("tests {}/{} {} {results}", tests.current, tests.total, word(tests.status)));
    }
    all.join(" | ")
}

fn word(status: PartState) -> &'static str {
    match status {
        PartState::Pending => "pending",
        PartState::InProgress => "in_progress",
        PartState::Complete => "complete",
        PartState::Error => "error",
    }
}

fn steps(names: &[&str]) -> Vec<Step> {
    let step = |name: &&str| Step {
        name: (*name).to_owned(),
        argv: vec!["true".to_owned()],
        cwd: None,
        env: BTreeMap::new(),
        secrets: Secrets::default(),
        user: None,
        activation: false,
        test: false,
    };
    names.iter().map(step).collect()
}

/// Runs a command whose steps before `fails` go well.
fn run(command: &str, names: &[&str], fails: Option<usize>) -> Vec<String> {
    let mut rig = Rig::new();
    let steps = steps(names);
    let mut progress = Progress::begin(command, &steps, &mut rig.log);
    for (index, step) in steps.iter().enumerate() {
        progress.step(index, step, &mut rig.log);
        if fails == Some(index) {
            break;
        }
    }
    progress.end(fails.is_none(), &mut rig.log);
    rig.reports()
}

const PULL: [&str; 4] = ["origin", "fetch", "reset", "clean"];

#[test]
fn a_pull_has_four_steps_however_many_git_needs() {
    assert_eq!(
        run("pull", &PULL, None),
        [
            "pull 0/4 pending",
            "pull 0/4 in_progress origin",
            "pull 1/4 in_progress fetch",
            "pull 2/4 in_progress reset",
            "pull 3/4 in_progress clean",
            "pull 4/4 complete",
        ]
    );
    assert_eq!(
        run("pull", &["clone"], None),
        ["pull 0/4 pending", "pull 0/4 in_progress clone", "pull 4/4 complete"]
    );
}

#[test]
fn a_part_that_failed_stays_where_it_was_and_takes_the_next_one_with_it() {
    assert_eq!(
        run("pull-switch", &["origin", "fetch", "reset", "clean", "switch"], Some(1)),
        [
            "pull 0/4 pending | system 0/3 pending",
            "pull 0/4 in_progress origin",
            "pull 1/4 in_progress fetch",
            "pull 1/4 error fetch | system 0/3 error",
        ]
    );
    assert_eq!(
        run("pull-switch", &["clone", "switch"], Some(1)),
        [
            "pull 0/4 pending | system 0/3 pending",
            "pull 0/4 in_progress clone",
            "pull 4/4 complete | system 0/3 in_progress evaluate",
            "system 0/3 error evaluate",
        ]
    );
}

#[test]
fn every_command_has_its_part() {
    assert_eq!(
        run("update", &["update"], None),
        ["lock 0/1 pending", "lock 0/1 in_progress update", "lock 1/1 complete"]
    );
    for command in ["switch", "rollback"] {
        assert_eq!(
            run(command, &["switch"], None),
            ["system 0/3 pending", "system 0/3 in_progress evaluate", "system 3/3 complete"]
        );
    }
    assert_eq!(run("backup", &["restic"], None), [""; 0], "somebody's own command has no parts");
}

#[test]
fn a_command_that_was_not_started_has_failed_in_all_parts() {
    for (command, reports) in [
        ("pull", ["pull 0/4 pending", "pull 0/4 error"]),
        ("update", ["lock 0/1 pending", "lock 0/1 error"]),
        ("pull-switch", ["pull 0/4 pending | system 0/3 pending", "pull 0/4 error | system 0/3 error"]),
        ("test", ["tests 0/0 pending ", "tests 0/0 error "]),
    ] {
        let mut rig = Rig::new();
        Progress::begin(command, &[], &mut rig.log).end(false, &mut rig.log);
        assert_eq!(rig.reports(), reports);
    }
}

#[test]
fn test_scripts_are_told_one_by_one_the_first_eight_of_them() {
    let mut rig = Rig::new();
    let steps = steps(&["T"; 10]);
    let mut progress = Progress::begin("test", &steps, &mut rig.log);
    for (index, step) in steps.iter().enumerate().take(9) {
        progress.step(index, step, &mut rig.log);
        progress.tested(index, index != 1, &mut rig.log);
    }
    progress.end(false, &mut rig.log);
    let reports = rig.reports();
    assert_eq!(
        reports[..4],
        [
            "tests 0/10 pending ........",
            "tests 0/10 in_progress ........",
            "tests 1/10 in_progress +.......",
            "tests 2/10 in_progress +-......",
        ]
    );
    assert_eq!(
        reports[reports.len() - 2..],
        ["tests 9/10 in_progress +-++++++", "tests 9/10 error +-++++++"]
    );
}

#[test]
fn a_rebuild_tells_its_phases_between_its_lines_and_the_last_count_of_each() {
    let mut rig = Rig::new();
    let steps = steps(&["switch"]);
    let mut progress = Progress::begin("switch", &steps, &mut rig.log);
    progress.step(0, &steps[0], &mut rig.log);
    let mut read = |line: &'static str| {
        let piece = Piece { text: line.into(), cont: false };
        progress
            .read(Source::Stderr, &piece, &mut |shown| rig.log.line(Source::Stderr, &shown.text, shown.cont));
        progress.report_changes(&mut rig.log);
    };
    read("these 3 derivations will be built:");
    for _ in 0..3 {
        read("building '/nix/store/x.drv'...");
    }
    read("activating the configuration...");
    read("starting the following units: a.service");
    progress.end(true, &mut rig.log);
    let reports = rig.reports();
    // How many counts lie between the first and the last depends on the time this takes.
    assert_eq!(
        reports[..3],
        [
            "system 0/3 pending",
            "system 0/3 in_progress evaluate",
            "system 1/3 in_progress build 0/3 derivations"
        ]
    );
    assert_eq!(
        reports[reports.len() - 3..],
        [
            "system 1/3 in_progress build 3/3 derivations",
            "system 2/3 in_progress activate",
            "system 3/3 complete"
        ]
    );
    let dir = JobsDir::new(rig.folder.path()).job(&rig.id);
    let entries = Reader::new(dir, 0).read(usize::MAX).unwrap();
    let at = |wanted: &str| entries.iter().position(|entry| entry.line.starts_with(wanted)).unwrap();
    let build = entries.iter().position(|entry| {
        entry
            .operation
            .as_ref()
            .is_some_and(|reports| reports.progress.system.as_ref().unwrap().phase == "build")
    });
    assert!(build > Some(at("these 3")) && build < Some(at("building")), "{entries:?}");
}

#[test]
fn a_count_that_had_to_wait_is_told_even_if_nothing_more_is_written() {
    let mut rig = Rig::new();
    let steps = steps(&["switch"]);
    let mut progress = Progress::begin("switch", &steps, &mut rig.log);
    progress.step(0, &steps[0], &mut rig.log);
    let mut read = |line: &'static str| {
        progress.read(Source::Stderr, &Piece { text: line.into(), cont: false }, &mut |_| {});
        progress.report_changes(&mut rig.log);
    };
    read("these 2 derivations will be built:");
    read("building '/nix/store/x.drv'...");
    let wanted = "system 1/3 in_progress build 1/2 derivations";
    // On a slow machine the throttle may have reported it already.
    if rig.reports().last().unwrap() != wanted {
        let due = progress.wake_at().unwrap();
        assert!(due <= Instant::now() + throttle::GAP);
        while Instant::now() < due {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        progress.tick(&mut rig.log, || false);
    }
    assert_eq!(rig.reports().last().unwrap(), wanted);
}
