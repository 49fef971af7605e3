//! Followers of a disk that fails or hangs, without threads, and without a listener.

use nixfleet_jobs::journal::gap_count;

use super::faulty_machine::{Fault, Faults};
use super::*;
use crate::jobs::captured_log::CapturedLog;

const EIO: i32 = 5;
const EMFILE: i32 = 24;

impl Rig {
    /// A job that has ended and wrote so many lines.
    fn ended(lines: u64) -> Self {
        let rig = Self::new();
        let mut writer = rig.supervisor(8 << 20);
        write(&mut writer, 1..=lines);
        rig.store_result(&writer);
        rig
    }

    fn faulty(&self, faults: &Faults) -> JobsDir {
        JobsDir::on(faults.machine(), self.jobs.path())
    }

    fn follow_faulty(&self, faults: &Faults, after: u64) -> Follower {
        follow_in_time(&self.faulty(faults), &self.id, after, Live::default(), Some(BOOT.to_owned()))
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < LIMIT, "never: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_log_that_cannot_be_read_for_a_while_is_told_whole_and_no_end_comes_before() {
    for fault in [Fault::Read(EIO), Fault::Open(EMFILE)] {
        let (rig, faults) = (Rig::new(), Faults::default());
        let mut writer = rig.supervisor(1 << 20);
        write(&mut writer, 1..=100);
        faults.set(fault);
        let mut follower = rig.follow_faulty(&faults, 0);
        write(&mut writer, 101..=2_000);
        let result = rig.store_result(&writer);
        drop(writer);
        // Some attempts fail while the result is there.
        until_live(&mut follower, Live { pid: None, ended: true }).await;
        let told = timeout(CHECK_INTERVAL * 3, follower.items.recv()).await;
        assert!(told.is_err(), "{fault:?}: {told:?}");
        faults.set(Fault::None);
        let (entries, end) = rest(&mut follower).await;
        assert!(seqs(&entries) == (1..=2_000).collect::<Vec<_>>(), "{fault:?}: {} entries", entries.len());
        assert_eq!(end, result);
    }
}

#[test]
fn what_can_never_be_read_is_a_counted_hole_with_its_cause_before_the_end() {
    let (rig, faults) = (Rig::ended(10), Faults::default());
    let faulty = Rig { jobs: rig.faulty(&faults), dir: rig.faulty(&faults).job(&rig.id), ..rig };
    let (mut thread, _follower) = faulty.thread();
    faults.set(Fault::Read(EIO));
    let mut waiting = None;
    assert!(!thread.read_log(&mut waiting), "not the end");
    let first = thread.log.since.unwrap();
    assert!(!thread.read_log(&mut waiting), "patience");
    assert_eq!(thread.log.since, Some(first), "one span of time");
    thread.log.since = Some(first.checked_sub(UNREADABLE).unwrap());
    assert!(thread.read_log(&mut waiting), "it gave up");
    let seen = thread.look(true);
    let end = thread.conclude(seen).unwrap();
    assert_eq!(
        (end.outcome, end.lines, end.dropped_lines, end.dropped),
        (Outcome::Ok, Some(10), Some(10), 10)
    );
    let [remark] = &thread.rest[..] else { panic!("{:?}", thread.rest) };
    assert_eq!(
        remark.line,
        "10 lines are missing here: the log could not be read: Input/output error (os error 5)"
    );
    assert_eq!((remark.number(), remark.seq), (10, 10));
}

#[test]
fn a_log_with_an_error_in_each_block_costs_one_warning_and_one_error() {
    let (rig, faults, log) = (Rig::ended(5_000), Faults::default(), CapturedLog::default());
    let faulty = Rig { jobs: rig.faulty(&faults), dir: rig.faulty(&faults).job(&rig.id), ..rig };
    let (mut thread, _follower) = faulty.thread();
    faults.set(Fault::Read(EIO));
    faults.stop_time();
    tracing::dispatcher::with_default(&log.dispatch(), || {
        for _ in 0..10 {
            assert!(!thread.read_log(&mut None));
            faults.advance(UNREADABLE / 10);
        }
        assert!(thread.read_log(&mut None), "it gave up");
    });
    log.line("trying again");
    log.line("Gave up");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_lost_connection_does_not_give_up_on_what_a_killed_supervisor_left() {
    use std::process::{Command, Stdio};

    let rig = Rig::new();
    drop(rig.supervisor(1 << 20));
    nixfleet_jobs::test_util::wait_until_dead(&rig.dir);
    // An activation is awaited. This one ends with its input.
    let mut command = Command::new("sh");
    command.args(["-c", "read -r line", "switch-to-configuration"]).stdin(Stdio::piped());
    let mut activation = command.env(nixfleet_jobs::remains::JOB_VARIABLE, rig.id.as_str()).spawn().unwrap();
    let mut follower = rig.follow(0);
    for _ in 0..15 {
        // Connections that are lost at all times.
        let told = timeout(Duration::from_millis(20), follower.items.recv()).await;
        assert!(told.is_err(), "the host is not free: {told:?}");
        assert!(follower.items.rewind(0));
    }
    drop(activation.stdin.take());
    activation.wait().unwrap();
    let (_, end) = rest(&mut follower).await;
    assert!(end.message.ends_with("; the activation that it had begun was awaited"), "{}", end.message);
}

#[tokio::test]
async fn a_log_that_is_no_file_is_a_counted_hole_at_once() {
    let rig = Rig::ended(10);
    fs::remove_file(rig.dir.log(0)).unwrap();
    fs::create_dir(rig.dir.log(0)).unwrap();
    // LIMIT is far below the time for which an error that may pass is tried again.
    let (entries, end) = rest(&mut rig.follow(0)).await;
    assert!(entries.len() == 1 && gap_count(&entries[0].line) == Some(10), "{entries:?}");
    assert_eq!((end.outcome, end.lines, end.dropped_lines), (Outcome::Ok, Some(10), Some(10)));
}

#[tokio::test]
async fn a_damaged_log_is_told_with_its_holes_and_the_status_counts_them() {
    let rig = Rig::ended(10);
    let text = fs::read_to_string(rig.dir.log(0)).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let (bad, deep) = ("\0".repeat(70), format!("{{\"seq\":7,\"test\":{}", "[".repeat(100_000)));
    let damaged =
        [&lines[..3], &[bad.as_str()], &lines[4..6], &[deep.as_str()], &lines[7..9], &["x"]].concat();
    fs::write(rig.dir.log(0), damaged.join("\n")).unwrap();
    let (entries, end) = rest(&mut rig.follow(0)).await;
    let told: Vec<(u64, bool)> =
        entries.iter().map(|entry| (entry.number(), gap_count(&entry.line) == Some(1))).collect();
    let expected: Vec<(u64, bool)> = (1..=10).map(|n| (n, [4, 7, 10].contains(&n))).collect();
    assert_eq!(told, expected, "the last line too");
    assert!(entries[3].line.ends_with(": the log is damaged"), "{}", entries[3].line);
    assert_eq!((end.outcome, end.lines, end.dropped_lines, end.dropped), (Outcome::Ok, Some(10), Some(3), 3));
}

#[tokio::test]
async fn a_lost_job_whose_log_ends_in_the_middle_of_a_line_says_so() {
    let rig = Rig::new();
    let mut writer = rig.supervisor(1 << 20);
    write(&mut writer, 1..=3);
    drop(writer);
    let length = fs::metadata(rig.dir.log(0)).unwrap().len();
    fs::OpenOptions::new().write(true).open(rig.dir.log(0)).unwrap().set_len(length - 5).unwrap();
    let (entries, end) = rest(&mut rig.follow(0)).await;
    assert_eq!(seqs(&entries), [1, 2]);
    assert_eq!((end.outcome, end.lines), (Outcome::Lost, Some(2)));
    assert!(
        end.message.ends_with("; the end of its log is damaged, lines may be missing"),
        "{}",
        end.message
    );
}

#[tokio::test]
async fn a_hung_disk_costs_one_thread_however_often_the_connection_is_lost() {
    let (rig, faults) = (Rig::new(), Faults::default());
    let mut writer = rig.supervisor(1 << 20);
    write(&mut writer, 1..=10);
    let mut follower = rig.follow_faulty(&faults, 0);
    assert_eq!(seqs(&entries(&mut follower, 10).await), (1..=10).collect::<Vec<_>>());
    faults.set(Fault::Hang);
    write(&mut writer, 11..=20);
    until("the read hangs", || faults.hanging() == 1).await;
    for _ in 0..20 {
        assert!(follower.items.rewind(5), "the thread is still there");
    }
    assert_eq!((faults.threads(), faults.hanging()), (1, 1));
    faults.set(Fault::None);
    assert_eq!(seqs(&entries(&mut follower, 15).await), (6..=20).collect::<Vec<_>>(), "from the proven line");
    let result = rig.store_result(&writer);
    drop(writer);
    assert_eq!(rest(&mut follower).await.1, result);
    until("the thread ends with its job", || faults.threads() == 0).await;
    assert!(!follower.items.rewind(5), "another follower is needed");
}

#[tokio::test]
async fn a_rewind_at_any_moment_begins_again_behind_the_proven_line() {
    let rig = Rig::new();
    let mut writer = rig.supervisor(8 << 20);
    write(&mut writer, 1..=5_000);
    let mut follower = rig.follow(0);
    for (proven, read) in [(0, 0), (0, 1), (700, 900), (4_999, 100), (4_999, 1), (5_000, 0), (0, 3_000)] {
        assert!(follower.items.rewind(proven));
        let mut seen = Vec::new();
        while seen.len() < read.min(usize::try_from(5_000 - proven).unwrap()) {
            seen.extend(seqs(&entries(&mut follower, 1).await));
        }
        let last = proven + seen.len() as u64;
        assert_eq!(seen, (proven + 1..=last).collect::<Vec<_>>());
    }
    assert!(follower.items.rewind(4_990));
    let result = rig.store_result(&writer);
    drop(writer);
    let (entries, end) = rest(&mut follower).await;
    assert_eq!(seqs(&entries), (4_991..=5_000).collect::<Vec<_>>());
    assert_eq!(end, result);
}

#[tokio::test]
async fn a_follower_without_a_thread_tries_again_and_the_job_is_not_lost() {
    let (rig, faults) = (Rig::new(), Faults::default());
    let mut writer = rig.supervisor(1 << 20);
    write(&mut writer, 1..=10);
    faults.set(Fault::NoThread);
    let mut follower = rig.follow_faulty(&faults, 0);
    let told = timeout(Duration::from_millis(50), follower.items.recv()).await;
    assert!(told.is_err(), "nobody knows anything yet: {told:?}");
    assert!(follower.items.rewind(3), "a reconnect meanwhile");
    faults.set(Fault::None);
    assert_eq!(seqs(&entries(&mut follower, 7).await), (4..=10).collect::<Vec<_>>());
    let result = rig.store_result(&writer);
    drop(writer);
    assert_eq!(rest(&mut follower).await, (vec![], result));
}

#[tokio::test]
async fn a_full_channel_costs_a_few_looks_a_second() {
    let (rig, faults) = (Rig::new(), Faults::default());
    let mut writer = rig.supervisor(8 << 20);
    write(&mut writer, 1..=5_000);
    let mut follower = rig.follow_faulty(&faults, 0);
    faults.stop_time();
    until("the channel is full", || follower.items.len() == CHANNEL && faults.is_at_rest()).await;
    let before = faults.looks();
    // Two seconds.
    let step = Duration::from_millis(5);
    for _ in 0..400 {
        faults.advance(step);
        until("the thread waits again", || faults.is_at_rest()).await;
    }
    let looks = faults.looks() - before;
    assert_eq!(looks, 4, "looks in two seconds");
    assert_eq!(seqs(&entries(&mut follower, 5_000).await), (1..=5_000).collect::<Vec<_>>(), "and it goes on");
}
