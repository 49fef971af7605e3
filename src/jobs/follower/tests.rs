//! Followers of real folders. The test writes what a supervisor would write.

use std::fs;
use std::ops::RangeInclusive;
use std::time::Instant;

use tokio::time::timeout;

use nixfleet_jobs::atomic_file::store;
use nixfleet_jobs::journal::{Causes, Source, Writer};
use nixfleet_jobs::spec::{Outcome, Spec, State};
use nixfleet_os::Threads;

use super::thread::Seen;
use super::*;

mod faulty_machine;
mod full;
mod line_numbers;
mod trouble;
mod unreadable;

/// Far longer than anything here takes: only a hang reaches it.
const LIMIT: Duration = Duration::from_secs(20);

const BOOT: &str = "this-boot";

struct Rig {
    _folder: tempfile::TempDir,
    jobs: JobsDir,
    id: JobId,
    dir: JobDir,
}

impl Rig {
    /// A job whose folder is empty.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let jobs = JobsDir::new(folder.path());
        let id = JobId::generate();
        let dir = jobs.job(&id);
        fs::create_dir(dir.path()).unwrap();
        Self { _folder: folder, jobs, id, dir }
    }

    fn supervisor(&self, limit: u64) -> Writer {
        Writer::create(self.dir.clone(), limit).unwrap()
    }

    fn follow(&self, after: u64) -> Follower {
        follow(&self.jobs, &self.id, after, Live::default(), Some(BOOT.to_owned())).unwrap()
    }

    fn store_spec(&self, boot_id: Option<&str>) {
        let spec = Spec {
            id: self.id.clone(),
            command: "pull".to_owned(),
            steps: Vec::new(),
            timeout_s: None,
            boot_id: boot_id.map(str::to_owned),
            started_at: nixfleet_os::timestamp(),
        };
        store(&self.dir.spec(), &spec).unwrap();
    }

    fn store_state(&self, child_pid: u32) {
        let state = State {
            supervisor_pid: std::process::id(),
            child_pid: Some(child_pid),
            step: 0,
            step_name: "pull".to_owned(),
            phase: None,
            phase_since: None,
        };
        store(&self.dir.state(), &state).unwrap();
    }

    fn store_result(&self, writer: &Writer) -> JobResult {
        let mut result = JobResult::without_supervisor(Outcome::Ok, "done".to_owned(), writer.last_seq());
        result.exit_code = 0;
        result.dropped = writer.dropped();
        result.lines = Some(writer.lines());
        result.dropped_lines = Some(writer.dropped_lines());
        result.unwritten_lines = Some(writer.unwritten_lines());
        result.unwritten = writer.unwritten_at_end();
        store(&self.dir.result(), &result).unwrap();
        result
    }

    /// A follower whose thread is not started: the test calls its methods.
    fn thread(&self) -> (Thread, Follower) {
        let (live, live_receiver) = watch::channel(Live::default());
        let (items, items_receiver) = mpsc::channel(CHANNEL);
        let link = Link::new(&Threads::default());
        let (dir, boot_id) = (self.dir.clone(), Some(BOOT.to_owned()));
        let start =
            Start { dir, after: 0, live, items, link, boot_id, activations: None, span: Span::none() };
        (Thread::new(&start), Follower { live: live_receiver, items: items_receiver.into() })
    }
}

fn write(writer: &mut Writer, lines: RangeInclusive<u64>) {
    for n in lines {
        writer.line(Source::Stdout, &format!("line {n} {}", "x".repeat(60)), false);
    }
    writer.flush();
}

async fn next(follower: &mut Follower) -> Followed {
    timeout(LIMIT, follower.items.recv()).await.expect("nothing came").expect("the thread is gone")
}

/// Entries until there are `count` of them.
async fn entries(follower: &mut Follower, count: usize) -> Vec<Entry> {
    let mut all = Vec::new();
    while all.len() < count {
        match next(follower).await {
            Followed::Entries(entries) => all.extend(entries),
            Followed::Ended(result) => panic!("ended after {} entries: {result:?}", all.len()),
        }
    }
    all
}

/// Everything up to the end.
async fn rest(follower: &mut Follower) -> (Vec<Entry>, JobResult) {
    let mut all = Vec::new();
    loop {
        match next(follower).await {
            Followed::Entries(entries) => all.extend(entries),
            Followed::Ended(result) => {
                let after = timeout(LIMIT, follower.items.recv()).await.unwrap();
                assert_eq!(after, None, "nothing comes behind the end");
                return (all, *result);
            }
        }
    }
}

fn seqs(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.seq).collect()
}

async fn until_live(follower: &mut Follower, expected: Live) {
    let seen = timeout(LIMIT, follower.live.wait_for(|live| *live == expected)).await;
    assert!(seen.is_ok_and(|live| live.is_ok()), "{expected:?} never came");
}

#[tokio::test]
async fn entries_come_as_they_are_written_and_the_end_comes_behind_the_last() {
    let rig = Rig::new();
    let mut writer = rig.supervisor(1 << 20);
    let mut follower = rig.follow(0);
    for n in 1..=5 {
        write(&mut writer, n..=n);
        let entries = entries(&mut follower, 1).await;
        assert_eq!(seqs(&entries), [n]);
        assert!(entries[0].line.starts_with(&format!("line {n} ")));
    }
    write(&mut writer, 6..=2000);
    let result = rig.store_result(&writer);
    drop(writer);
    let (entries, end) = rest(&mut follower).await;
    assert_eq!(seqs(&entries), (6..=2000).collect::<Vec<_>>());
    assert_eq!(end, result);
}

#[tokio::test]
async fn what_a_command_does_is_seen_although_nobody_takes_its_output() {
    let rig = Rig::new();
    // The first half of the limit is the head, and each later segment has an eighth.
    let mut writer = rig.supervisor(800_000);
    let follower = rig.follow(0);
    let until = async |wanted: Option<Activity>| {
        let begun = std::time::Instant::now();
        while follower.items.activity() != wanted {
            assert!(begun.elapsed() < LIMIT, "{:?} is not {wanted:?}", follower.items.activity());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    write(&mut writer, 1..=5000);
    let hour_ago = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600);
    let newest = (1..20).rfind(|segment| rig.dir.log(*segment).exists()).expect("more than the head");
    fs::File::options().append(true).open(rig.dir.log(newest)).unwrap().set_modified(hour_ago).unwrap();
    rig.store_state(7);
    // Twice the interval in which it looks: the supervisor of an earlier version says nothing of it.
    tokio::time::sleep(2 * CHECK_INTERVAL).await;
    assert_eq!(follower.items.activity(), None);
    let state = State {
        supervisor_pid: std::process::id(),
        child_pid: Some(7),
        step: 0,
        step_name: "switch".to_owned(),
        phase: Some("build".to_owned()),
        phase_since: Some("2026-01-01T00:00:00.000Z".to_owned()),
    };
    store(&rig.dir.state(), &state).unwrap();
    let phase = "build".to_owned();
    until(Some(Activity { phase, phase_since: Some(hour_ago), last_output: Some(hour_ago) })).await;
    rig.store_result(&writer);
    until(None).await;
}

#[tokio::test]
async fn a_job_that_ended_long_ago_is_told_from_where_it_was_left() {
    let rig = Rig::new();
    let mut writer = rig.supervisor(1 << 20);
    write(&mut writer, 1..=300);
    let result = rig.store_result(&writer);
    drop(writer);
    for after in [0, 1, 299, 300] {
        let (entries, end) = rest(&mut rig.follow(after)).await;
        assert_eq!(seqs(&entries), (after + 1..=300).collect::<Vec<_>>());
        assert_eq!(end, result);
    }
}

#[tokio::test]
async fn a_job_is_followed_from_before_its_folder_is_there() {
    let rig = Rig::new();
    fs::remove_dir(rig.dir.path()).unwrap();
    let mut follower = rig.follow(0);
    fs::create_dir(rig.dir.path()).unwrap();
    let mut writer = rig.supervisor(1 << 20);
    write(&mut writer, 1..=3);
    assert_eq!(seqs(&entries(&mut follower, 3).await), [1, 2, 3]);
}

#[tokio::test]
async fn the_process_is_known_while_it_runs_and_no_longer() {
    let rig = Rig::new();
    let writer = rig.supervisor(1 << 20);
    let mut follower = rig.follow(0);
    assert_eq!(*follower.live.borrow(), Live::default());
    for pid in [4711, 4712] {
        rig.store_state(pid);
        until_live(&mut follower, Live { pid: Some(pid), ended: false }).await;
    }
    rig.store_result(&writer);
    until_live(&mut follower, Live { pid: None, ended: true }).await;
}

#[tokio::test]
async fn a_supervisor_that_died_without_a_result_is_told_as_lost_behind_its_last_words() {
    let rig = Rig::new();
    for boot_id in [None, Some(BOOT)] {
        rig.store_spec(boot_id);
        let mut writer = rig.supervisor(1 << 20);
        write(&mut writer, 1..=3);
        drop(writer);
        let (entries, end) = rest(&mut rig.follow(0)).await;
        assert_eq!(seqs(&entries), [1, 2, 3]);
        assert_eq!((end.outcome, end.exit_code, end.last_seq), (Outcome::Lost, 1, 3), "{boot_id:?}");
        fs::remove_file(rig.dir.log(0)).unwrap();
    }
}

#[tokio::test]
async fn a_reboot_in_between_is_told_as_one() {
    let rig = Rig::new();
    rig.store_spec(Some("another-boot"));
    let mut writer = rig.supervisor(1 << 20);
    write(&mut writer, 1..=3);
    drop(writer);
    let (entries, end) = rest(&mut rig.follow(2)).await;
    assert_eq!(seqs(&entries), [3]);
    assert_eq!((end.outcome, end.last_seq), (Outcome::InterruptedByReboot, 3));
}

#[tokio::test]
async fn a_silent_supervisor_is_not_a_dead_one() {
    let rig = Rig::new();
    let mut writer = rig.supervisor(1 << 20);
    let mut follower = rig.follow(0);
    let silent = timeout(CHECK_INTERVAL * 3, follower.items.recv()).await;
    assert!(silent.is_err(), "{silent:?}");
    write(&mut writer, 1..=1);
    assert_eq!(seqs(&entries(&mut follower, 1).await), [1]);
}

#[test]
fn what_is_written_between_the_look_and_the_end_is_told_before_the_end() {
    for with_result in [true, false] {
        let rig = Rig::new();
        let mut writer = rig.supervisor(1 << 20);
        let (mut thread, _follower) = rig.thread();
        // One round, during which the supervisor writes its last lines and dies.
        let seen = thread.look(true);
        assert!(thread.reader.read(BATCH).unwrap().is_empty());
        write(&mut writer, 1..=3);
        if with_result {
            rig.store_result(&writer);
        }
        drop(writer);
        assert_eq!(thread.conclude(seen), None, "its last words have not been read");

        let seen = thread.look(true);
        assert_eq!(seqs(&thread.reader.read(BATCH).unwrap()), [1, 2, 3]);
        let end = thread.conclude(seen).unwrap();
        let outcome = if with_result { Outcome::Ok } else { Outcome::Lost };
        assert_eq!((end.outcome, end.last_seq), (outcome, 3));
    }
}

#[tokio::test]
async fn a_receiver_that_does_not_read_loses_nothing_and_gets_nothing_twice() {
    let rig = Rig::new();
    let mut writer = rig.supervisor(8 << 20);
    let mut follower = rig.follow(0);
    let mut written = 0;
    // More than the channel can hold.
    let begun = Instant::now();
    while follower.items.len() < CHANNEL {
        write(&mut writer, written + 1..=written + 1000);
        written += 1000;
        assert!(begun.elapsed() < LIMIT, "the channel never filled");
        tokio::task::yield_now().await;
    }
    write(&mut writer, written + 1..=written + 3000);
    written += 3000;
    let mut seen = seqs(&entries(&mut follower, 100).await);
    write(&mut writer, written + 1..=written + 10);
    written += 10;
    let result = rig.store_result(&writer);
    drop(writer);
    let (entries, end) = rest(&mut follower).await;
    seen.extend(seqs(&entries));
    assert!(seen == (1..=written).collect::<Vec<_>>(), "{} of {written}", seen.len());
    assert_eq!(end, result);
}

#[tokio::test]
async fn a_batch_is_small_whatever_is_waiting() {
    let rig = Rig::new();
    let mut writer = rig.supervisor(8 << 20);
    write(&mut writer, 1..=5_000);
    rig.store_result(&writer);
    let mut follower = rig.follow(0);
    while let Followed::Entries(entries) = next(&mut follower).await {
        let bytes: usize = entries.iter().map(|entry| serde_json::to_vec(entry).unwrap().len() + 1).sum();
        assert!(bytes <= BATCH + 200, "{bytes}");
        // Several of them are in memory at once. The text of the entries comes on top.
        assert_eq!(entries.capacity(), entries.len(), "room for more entries");
        let memory = entries.len() * size_of::<Entry>();
        assert!(memory <= BATCH, "{} entries take {memory} bytes", entries.len());
    }
}

#[tokio::test]
async fn a_follower_that_nobody_listens_to_ends() {
    let idle = Rig::new();
    let _alive = idle.supervisor(1 << 20);
    let full = Rig::new();
    let mut writer = full.supervisor(8 << 20);
    write(&mut writer, 1..=5_000);
    let ended = Rig::new();
    let result = ended.store_result(&ended.supervisor(1 << 20));
    assert_eq!(result.last_seq, 0);
    let missing = Rig::new();
    fs::remove_dir(missing.dir.path()).unwrap();
    for (what, rig) in [("idle", idle), ("full", full), ("ended", ended), ("missing", missing)] {
        let Follower { mut live, items } = rig.follow(0);
        if what == "full" {
            let begun = Instant::now();
            while items.len() < CHANNEL {
                assert!(begun.elapsed() < LIMIT);
                tokio::task::yield_now().await;
            }
        }
        drop(items);
        // The thread holds the other end of `live`.
        let gone = timeout(LIMIT, async { while live.changed().await.is_ok() {} }).await;
        assert!(gone.is_ok(), "{what}");
    }
}
