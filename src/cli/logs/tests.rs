use std::fs;
use std::path::{Path, PathBuf};

use nixfleet_jobs::journal::{self, Causes, Source as Stream, Writer};
use nixfleet_jobs::progress::{OperationProgress, TestProgress};
use nixfleet_jobs::spec::{JobResult, Outcome, Spec};
use nixfleet_jobs::{JobId, JobsDir, atomic_file};

use super::folder::{End, SHORT};
use super::*;
use crate::cli::terminal::Look;

const PIPE: Look = Look { colours: false, safe: false };
const TERMINAL: Look = Look { colours: true, safe: true };

fn entry(seq: u64, stream: Stream, line: &str) -> Entry {
    Entry::new(seq, "2026-01-01T12:00:00.000Z".to_owned(), stream, line.to_owned())
}

fn shown(look: Look, entries: &[Entry]) -> String {
    let mut lines = Lines::new(look, None);
    let mut text: String = entries.iter().map(|entry| lines.line(entry)).collect();
    text.push_str(lines.end());
    text
}

#[test]
fn a_pipe_gets_the_text_as_it_is_and_a_terminal_what_cannot_harm_it() {
    let entries = [
        entry(1, Stream::Stdout, "\x1b[32mgood\x1b[0m\x1b[2J"),
        entry(2, Stream::Stderr, "bad\x07"),
        entry(3, Stream::Stderr, ""),
        entry(4, Stream::System, "cannot start `x`"),
    ];
    assert_eq!(shown(PIPE, &entries), "\x1b[32mgood\x1b[0m\x1b[2J\nbad\x07\n\nnixfleet: cannot start `x`\n");
    assert_eq!(
        shown(TERMINAL, &entries),
        "\x1b[32mgood\x1b[0m\x1b[0m\n\x1b[2mbad\x1b[0m\n\n\x1b[36mnixfleet: cannot start `x`\x1b[0m\n"
    );
    let plain = Look { colours: false, safe: true };
    assert_eq!(shown(plain, &entries), "good\nbad\n\nnixfleet: cannot start `x`\n");
}

#[test]
fn a_cut_is_a_line_and_a_long_line_is_one() {
    let part = |seq, text| Entry { cont: true, ..entry(seq, Stream::Stdout, text) };
    let causes = Box::new(Causes { size_limit: true, ..Causes::default() });
    let behind_a_gap = |missing, seq, text| Entry {
        missing,
        causes: Some(causes.clone()),
        ..entry(seq, Stream::Stdout, text)
    };
    let entries = [part(1, "a"), part(2, "b"), entry(3, Stream::Stdout, "c"), behind_a_gap(1, 5, "d")];
    let wanted = "abc\nnixfleet: 1 line is missing here: the log reached its size limit\nd\n";
    assert_eq!(shown(PIPE, &entries), wanted);
    let wanted = "a\nnixfleet: 7 lines are missing here: the log reached its size limit\nz\n";
    assert_eq!(shown(PIPE, &[part(1, "a"), behind_a_gap(7, 9, "z")]), wanted);
    assert_eq!(shown(PIPE, &[part(1, "a")]), "a\n", "a line without an end is ended");
}

#[test]
fn each_line_has_its_time_and_the_next_piece_of_a_long_line_has_none() {
    let mut lines = Lines::new(PIPE, Some(Zone::new(true)));
    let part = Entry { cont: true, ..entry(1, Stream::Stdout, "a") };
    let odd = Entry { at: "?\u{1b}[2J".to_owned(), ..entry(4, Stream::Stderr, "c") };
    let remark = entry(3, Stream::System, "cannot start `x`");
    let entries = [part, entry(2, Stream::Stdout, "b"), remark, odd];
    let text: String = entries.iter().map(|entry| lines.line(entry)).collect();
    let stamp = "2026-01-01 12:00:00.000Z";
    assert_eq!(text, format!("{stamp} ab\n{stamp} nixfleet: cannot start `x`\n? c\n"));
}

#[test]
fn programs_get_the_list_as_json() {
    let jobs = Jobs::new(&[("pull", Some(Outcome::Failed)), ("old", None)]);
    let list = json::list(&jobs.find().jobs().unwrap());
    let [old, pull] = &list.as_array().unwrap()[..] else { panic!("two jobs: {list}") };
    assert_eq!((&old["command"], &old["outcome"]), (&"old".into(), &"interrupted_by_reboot".into()));
    assert_eq!((&old["exit_code"], &old["state"]), (&serde_json::Value::Null, &"ended".into()));
    assert_eq!(pull["id"], jobs.ids[0].to_string());
    assert_eq!((&pull["exit_code"], &pull["duration_ms"]), (&1.into(), &61_000.into()));
    assert_eq!(
        (&pull["started_at"], &pull["message"]),
        (&"2026-01-01T12:00:00.000Z".into(), &"it went".into())
    );
    assert_eq!(list[0]["pid"], serde_json::Value::Null);
}

#[test]
fn each_test_script_is_named_once_and_other_progress_not_at_all() {
    let test = |seq, current, running: bool| Entry {
        test: Some(Box::new(TestProgress {
            current,
            total: 2,
            passed: 1,
            running,
            result: (!running).then(|| "1/2 passed".to_owned()),
        })),
        ..entry(seq, Stream::System, "")
    };
    let operation =
        Entry { operation: Some(Box::<OperationProgress>::default()), ..entry(2, Stream::System, "") };
    let entries = [
        test(1, 1, true),
        operation,
        entry(3, Stream::Stdout, "fine"),
        test(4, 1, true),
        test(5, 2, true),
        test(6, 2, true),
        test(7, 2, false),
    ];
    let wanted = "nixfleet: test 1 of 2\nfine\nnixfleet: test 2 of 2\nnixfleet: tests: 1/2 passed\n";
    assert_eq!(shown(PIPE, &entries), wanted);
}

#[test]
fn the_last_lines_are_whole_and_begin_without_a_cut() {
    let long = |seq, cont| Entry { cont, ..entry(seq, Stream::Stdout, "x") };
    let progress =
        Entry { operation: Some(Box::<OperationProgress>::default()), ..entry(5, Stream::System, "") };
    let entries = [
        entry(1, Stream::Stdout, "a"),
        long(2, true),
        long(3, true),
        long(4, false),
        progress,
        // The gap is remarked if a line before it is shown too.
        Entry { missing: 7, ..long(13, false) },
    ];
    for (count, first) in [(0, None), (1, Some(5)), (2, Some(2)), (3, Some(1)), (9, Some(1))] {
        let mut tail = Tail::new(count);
        tail.add(entries.to_vec());
        let kept = tail.entries();
        assert_eq!(kept.first().map(|entry| entry.seq), first, "{count}");
        let text = shown(PIPE, kept);
        let remarks = usize::from(count > 1);
        assert_eq!(text.matches("7 lines are missing").count(), remarks, "{text}");
        assert_eq!(text.lines().count(), count.min(3) + remarks, "{text}");
    }
}

/// A folder of jobs of which the first is the oldest.
struct Jobs {
    folder: tempfile::TempDir,
    ids: Vec<JobId>,
}

impl Jobs {
    fn new(commands: &[(&str, Option<Outcome>)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let jobs = JobsDir::new(folder.path());
        let mut ids = Vec::new();
        for (n, (command, outcome)) in commands.iter().enumerate() {
            let id: JobId = format!("{n:08x}{:016x}{:08x}", 0, 0xabc0 + n).parse().unwrap();
            let dir = jobs.job(&id);
            fs::create_dir(dir.path()).unwrap();
            let mut writer = Writer::create(dir.clone(), 1 << 20).unwrap();
            writer.line(Stream::Stdout, command, false);
            writer.flush();
            let asked = Spec {
                id: id.clone(),
                command: (*command).to_owned(),
                steps: Vec::new(),
                timeout_s: None,
                boot_id: Some("then".to_owned()),
                started_at: "2026-01-01T12:00:00.000Z".to_owned(),
            };
            atomic_file::store(&dir.spec(), &asked).unwrap();
            if let Some(outcome) = outcome {
                let mut result = JobResult::without_supervisor(*outcome, "it went".to_owned(), 1);
                result.exit_code = i32::from(*outcome != Outcome::Ok);
                result.duration_ms = 61_000;
                atomic_file::store(&dir.result(), &result).unwrap();
            }
            drop(writer);
            nixfleet_jobs::test_util::wait_until_dead(&dir);
            ids.push(id);
        }
        Self { folder, ids }
    }

    fn find(&self) -> Folder {
        Folder::first(&[self.folder.path().to_owned()], Some("now".to_owned())).unwrap()
    }
}

#[test]
fn a_job_is_found_by_its_id_its_beginning_its_end_and_its_command() {
    let ok = Some(Outcome::Ok);
    let jobs = Jobs::new(&[("pull", ok), ("add", ok), ("switch", ok), ("pull", ok)]);
    let folder = jobs.find();
    let full = jobs.ids[1].to_string();
    for (wanted, found) in [
        (None, 3),
        (Some("pull"), 3),
        (Some("switch"), 2),
        (Some("add"), 1),
        (Some(full.as_str()), 1),
        (Some("00000002"), 2),
        (Some("abc0"), 0),
        (Some("ABC2"), 2),
        (Some("00000001-0000-0000-0000-00000000abc1"), 1),
    ] {
        assert_eq!(folder.pick(wanted).unwrap().id, jobs.ids[found], "{wanted:?}");
    }
    let several = folder.pick(Some("0000")).unwrap_err();
    assert!(several.starts_with("4 jobs are `0000`; the newest are 00000000abc3 (pull), "), "{several}");
    let none = folder.pick(Some("reboot\x1b")).unwrap_err();
    assert!(none.starts_with("no job and no command `reboot\\u{1b}`; the newest are 0000"), "{none}");
    assert!(folder.pick(Some("-")).is_err());
}

#[test]
fn the_list_tells_how_each_job_ended() {
    let jobs =
        Jobs::new(&[("pull", Some(Outcome::Failed)), ("pull-switch", Some(Outcome::Ok)), ("old", None)]);
    let now = "2026-01-01T12:01:00Z".parse().unwrap();
    let text = lines::table(&jobs.find().jobs().unwrap(), now, &Zone::new(true), PIPE);
    let wanted = "\
JOB           COMMAND      STARTED                         TOOK  ENDED
00000000abc2  old          2026-01-01 12:00:00 UTC            -  interrupted by reboot
00000000abc1  pull-switch  2026-01-01 12:00:00 UTC    1 min 1 s  ok (0)
00000000abc0  pull         2026-01-01 12:00:00 UTC    1 min 1 s  failed (1)
";
    assert_eq!(text, wanted);
    assert_eq!(SHORT, 12);
}

#[test]
fn header_and_footer_say_what_it_was_and_how_it_ended() {
    let jobs = Jobs::new(&[("old", None), ("pull", Some(Outcome::Failed))]);
    let folder = jobs.find();
    let now = "2026-01-01T12:01:00Z".parse().unwrap();
    let (pull, utc) = (folder.pick(Some("pull")).unwrap(), Zone::new(true));
    let id = &jobs.ids[1];
    let wanted = format!("pull, job {id}, started 2026-01-01 12:00:00 UTC, 1 min 0 s ago: failed (1)");
    assert_eq!(lines::header(&pull, now, &utc), wanted);
    assert_eq!(lines::footer(&pull, false), "pull: failed (1), took 1 min 1 s; it went");
    let old = lines::footer(&folder.pick(Some("old")).unwrap(), false);
    assert_eq!(old, "old: interrupted by reboot; the machine went down while the command ran");
    let running = Job { end: End::Running(Some(7)), ..pull };
    assert!(lines::header(&running, now, &utc).ends_with("ago: runs, process 7"));
    assert_eq!(lines::footer(&running, false), "pull: goes on; --follow shows the rest");
}

#[test]
fn a_job_whose_supervisor_lives_runs() {
    let jobs = Jobs::new(&[("nap", None)]);
    let dir = jobs.find().dir(&jobs.ids[0]);
    assert!(matches!(jobs.find().job(&jobs.ids[0]).end, End::Without(Outcome::InterruptedByReboot, _)));
    let log = fs::File::open(dir.log(0)).unwrap();
    rustix::fs::flock(&log, rustix::fs::FlockOperation::LockExclusive).unwrap();
    assert!(journal::supervisor_lives(&dir).unwrap());
    assert_eq!(jobs.find().job(&jobs.ids[0]).end, End::Running(None));
}

#[test]
fn the_first_folder_that_holds_jobs_is_taken() {
    let jobs = Jobs::new(&[("pull", None)]);
    let empty = tempfile::tempdir().unwrap();
    let missing = PathBuf::from("/nonexistent/jobs");
    let path = |folder: &Path| folder.to_owned();
    let found =
        Folder::first(&[missing.clone(), path(empty.path()), path(jobs.folder.path())], None).unwrap();
    assert_eq!(found.path(), jobs.folder.path());
    let found = Folder::first(&[missing.clone(), path(empty.path())], None).unwrap();
    assert_eq!(found.path(), empty.path());
    assert!(found.pick(None).unwrap_err().starts_with("no jobs in "));
    let error = Folder::first(&[missing.clone(), missing], None).unwrap_err();
    assert!(error.contains("/nonexistent/jobs nor /nonexistent/jobs: has a command run yet?"), "{error}");
    let error = folder::unreadable(Path::new("/x"), &io::ErrorKind::PermissionDenied.into());
    assert!(error.contains("use sudo, or be in the folder's group"), "{error}");
}
