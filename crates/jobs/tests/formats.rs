//! The files of the state folder, as agents really wrote them: `formats/v0` by the last agent without a
//! version field, `formats/v1` by the last one before any file had version 2. `formats/v2` has only files whose
//! version is 2, and `formats/v3` one whose version is 3, of a supervisor whose files could have 8 KiB at most.
//! `formats/record.sh` records the others.
#![expect(clippy::unwrap_used, reason = "a test that cannot read its file has failed")]

use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};

use nixfleet_jobs::atomic_file::{load, store};
use nixfleet_jobs::checkout::Checkout;
use nixfleet_jobs::format::Format;
use nixfleet_jobs::history::History;
use nixfleet_jobs::journal::{Entry, Reader, Source};
use nixfleet_jobs::progress::{OperationProgress, PartState, Parts, TestProgress, TestResult, TestsPart};
use nixfleet_jobs::record::Record;
use nixfleet_jobs::spec::{JobResult, Outcome, Spec, State, Step};
use nixfleet_jobs::{JobId, JobsDir};

#[path = "formats/version_0.rs"]
mod version_0;

const COMMIT: &str = "d0e5ec6031191c213a3b229b810b3324a56985f8";
const LOCK_HASH: &str = "c2fb18707c2473f0863837b0a1fc5760f08f4f5d8fe3ce23337842f0b866e210";
const OLD_SYSTEM: &str = "/nix/store/old-nixos-system-golden-25.11";
const NEW_SYSTEM: &str = "/nix/store/new-nixos-system-golden-26.05";
const BOOT: &str = "61681ea4-feab-4deb-941d-987b20e255f9";

fn file(version: &str, name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats").join(version).join(name)
}

#[track_caller]
fn check<T: Format + PartialEq + Debug>(name: &str, expected: &T) {
    assert_eq!(load::<T>(&file("v0", name)).unwrap().as_ref(), Some(expected), "{name}");
}

fn job(id: &str) -> JobId {
    id.parse().unwrap()
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// A step without anything optional.
fn step(name: &str, argv: &[&str]) -> Step {
    Step {
        name: name.to_owned(),
        argv: argv.iter().map(|&word| word.to_owned()).collect(),
        cwd: None,
        env: [].into(),
        secrets: Default::default(),
        user: None,
        activation: false,
        test: false,
    }
}

#[test]
fn the_logs_of_all_versions_are_read_with_every_field() {
    for version in ["v0", "v1", "v2"] {
        let folder = tempfile::tempdir().unwrap();
        let dir = JobsDir::new(folder.path()).job(&JobId::generate());
        fs::create_dir(dir.path()).unwrap();
        fs::copy(file(version, "test.log.jsonl"), dir.log(0)).unwrap();
        let entries = Reader::new(dir, 0).read(1 << 20).unwrap();
        assert_eq!(entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), (1..=11).collect::<Vec<_>>());
        let said = &entries[3];
        assert_eq!((said.stream, said.line.as_str(), said.cont), (Source::Stdout, "good", false));
        assert!(said.at.starts_with("2026-11-26T1") && said.is_text());
        let numbers = entries.iter().filter(|entry| entry.is_text()).map(Entry::number);
        let expected = if version == "v2" { [1, 2] } else { [4, 8] };
        assert_eq!(numbers.collect::<Vec<_>>(), expected, "a line without a number has its position");
        assert!(
            entries.iter().all(|entry| entry.line_number.is_some() == (version == "v2" && entry.is_text()))
        );
        let operation = &entries[8];
        let results = vec![TestResult::Pass, TestResult::Fail];
        let tests = TestsPart { current: 2, total: 2, results, status: PartState::InProgress };
        let parts = Parts { tests: Some(tests), ..Parts::default() };
        assert_eq!((operation.stream, operation.line.as_str()), (Source::System, ""));
        assert_eq!(operation.operation.as_deref(), Some(&OperationProgress { progress: parts }));
        assert_eq!(
            entries[9].test.as_deref(),
            Some(&TestProgress {
                current: 2,
                total: 2,
                passed: 1,
                running: false,
                result: some("1/2 passed")
            })
        );
    }
}

/// Reads both versions of a file and writes them again.
fn rewrite<T: Format + PartialEq + Debug>(name: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("written.json");
    for version in ["v0", "v1"] {
        let value: T = load(&file(version, name)).unwrap().unwrap();
        store(&path, &value).unwrap();
        let written = fs::read_to_string(&path).unwrap();
        let golden = fs::read_to_string(file(version, name)).unwrap();
        // Fields that were added since are absent when nothing is to be said.
        let begin = format!("{{\"version\":{}", T::VERSION);
        let expected = match version {
            "v0" => golden.replacen('{', &format!("{begin},"), 1),
            _ => golden.replacen("{\"version\":1", &begin, 1),
        };
        assert_eq!(
            written, expected,
            "{version}/{name}: see the rule in src/format.rs before you change this"
        );
        assert_eq!(load::<T>(&path).unwrap(), Some(value));
    }
}

#[test]
fn what_is_written_is_the_newest_version_to_the_letter() {
    let mut seen = 0;
    for item in fs::read_dir(file("v1", "")).unwrap() {
        let name = item.unwrap().file_name().into_string().unwrap();
        match name.trim_end_matches(".json").rsplit('.').next().unwrap() {
            "spec" => rewrite::<Spec>(&name),
            "state" => rewrite::<State>(&name),
            "result" => rewrite::<JobResult>(&name),
            "history" => rewrite::<History>(&name),
            "checkout" => rewrite::<Checkout>(&name),
            "delivery" => rewrite::<Record>(&name),
            // The agent's own file has its test there.
            "facts" | "jsonl" => {}
            _ => panic!("{name} is no known file"),
        }
        assert!(file("v0", &name).exists(), "{name} is recorded of both");
        seen += 1;
    }
    assert_eq!(seen, 22);
}

#[test]
fn line_numbers_are_fields_of_version_2() {
    let count = |name| {
        let result: JobResult = rewrite_v2(name);
        (result.last_seq, result.lines, result.dropped_lines, result.line_count(), result.missing_lines())
    };
    assert_eq!(count("hang.result.json"), (0, Some(0), Some(0), 0, 0));
    assert_eq!(count("pull.result.json"), (7, Some(1), Some(0), 1, 0));
    assert_eq!(count("test.result.json"), (11, Some(2), Some(0), 2, 0));
    let old: JobResult = load(&file("v1", "test.result.json")).unwrap().unwrap();
    assert_eq!((old.line_count(), old.missing_lines()), (11, 0), "all entries");
    for name in ["reload.delivery.json", "reboot.delivery.json"] {
        assert!(rewrite_v2::<Record>(name).line_numbers, "{name}");
    }
}

/// Reads a file of version 2 and writes it again.
fn rewrite_v2<T: Format>(name: &str) -> T {
    rewrite_of("v2", name)
}

fn rewrite_of<T: Format>(version: &str, name: &str) -> T {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("written.json");
    let value: T = load(&file(version, name)).unwrap().unwrap();
    store(&path, &value).unwrap();
    let golden = fs::read_to_string(file(version, name)).unwrap();
    let begin = format!("{{\"version\":{},", T::VERSION);
    let expected = golden.replacen(&format!("{{\"version\":{},", version.trim_start_matches('v')), &begin, 1);
    assert_eq!(fs::read_to_string(&path).unwrap(), expected, "{name}");
    value
}

#[test]
fn what_could_not_be_written_is_a_field_of_version_3() {
    let result: JobResult = rewrite_of("v3", "full_disk.result.json");
    let unwritten = result.unwritten.unwrap();
    assert_eq!(
        (result.lines, result.dropped_lines, result.unwritten_lines),
        (Some(2000), Some(1909), Some(1909))
    );
    assert_eq!((unwritten.entries, unwritten.lines), (1909, 1909));
    assert_eq!(unwritten.why, "File too large (os error 27)");
}

#[test]
fn a_stop_that_nothing_explains_is_a_field_of_version_2() {
    let result: JobResult = rewrite_v2("unexplained.result.json");
    assert!(result.unexplained);
    assert_eq!((result.outcome, result.exit_code, result.signal), (Outcome::Stopped, 143, Some(15)));
    for (rebooted, outcome, text) in [
        (true, Outcome::InterruptedByReboot, "Lines: stopped because the machine went down"),
        (false, Outcome::Stopped, "Lines: stopped by somebody on the host, not by the dashboard"),
    ] {
        let told = result.clone().explained("lines", rebooted);
        assert_eq!((told.outcome, told.message.as_str(), told.exit_code), (outcome, text, 143));
        assert_eq!(told.clone().explained("lines", !rebooted), told, "once is enough");
    }
}

/// A golden file with some text replaced, as a newer version might write it.
fn newer<T: Format>(name: &str, replaced: &[(&str, &str)]) -> T {
    let mut text = fs::read_to_string(file("v1", name)).unwrap();
    for (from, to) in replaced {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(name), text).unwrap();
    load(&folder.path().join(name)).unwrap().unwrap()
}

#[test]
fn a_newer_file_is_read_like_one_of_today() {
    let future = [("{\"version\":1,", "{\"version\":7,\"news\":{\"a\":[1]},")];
    let known: JobResult = load(&file("v1", "switch.result.json")).unwrap().unwrap();
    assert_eq!(newer::<JobResult>("switch.result.json", &future), known);
    let known: Record = load(&file("v1", "reload.delivery.json")).unwrap().unwrap();
    assert_eq!(newer::<Record>("reload.delivery.json", &future), known);
    // Nobody writes these, and nobody is stopped by them.
    for version in ["-1", "null", "\"two\"", "99999999999999999999"] {
        let odd = [("\"version\":1", &*format!("\"version\":{version}"))];
        assert_eq!(newer::<Record>("reload.delivery.json", &odd), known, "{version}");
    }
}

#[test]
fn an_outcome_that_is_not_known_counts_as_failed_and_the_rest_is_read() {
    let future = [("\"outcome\":\"failed\"", "\"outcome\":\"skipped\"")];
    let known: JobResult = load(&file("v1", "switch.result.json")).unwrap().unwrap();
    assert_eq!(known.outcome, Outcome::Failed);
    assert_eq!(newer::<JobResult>("switch.result.json", &future), known);
    let known: History = load(&file("v1", "history.json")).unwrap().unwrap();
    assert_eq!(newer::<History>("history.json", &future), known);
}

#[test]
fn a_log_of_a_newer_version_is_read_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let dir = JobsDir::new(folder.path()).job(&JobId::generate());
    fs::create_dir(dir.path()).unwrap();
    let text = fs::read_to_string(file("v1", "test.log.jsonl")).unwrap();
    let text = text.replace("\"stdout\"", "\"journal\"").replace("\"in_progress\"", "\"paused\"");
    fs::write(dir.log(0), text).unwrap();
    let entries = Reader::new(dir, 0).read(1 << 20).unwrap();
    assert_eq!(entries.len(), 11, "the follower waits for the last one");
    assert_eq!((entries[3].stream, entries[3].line.as_str()), (Source::System, "good"));
    assert!(entries[2].operation.is_none() && entries[10].operation.is_some());
}
