//! Files of a job that are damaged, and files that cannot be read for a while.

use rustix::io::Errno;

use super::faulty_machine::{FOLDER, Faults};
use super::*;

#[tokio::test]
async fn an_error_that_may_pass_concludes_nothing() {
    for (name, errno) in [
        ("result.json", Errno::IO),
        ("result.json", Errno::MFILE),
        ("result.json", Errno::ACCESS),
        ("log.jsonl", Errno::ACCESS),
        ("log.jsonl", Errno::MFILE),
        (FOLDER, Errno::ACCESS),
    ] {
        let mut rig = Rig::new();
        let mut writer = rig.supervisor(1 << 20);
        rig.store_spec(Some(BOOT));
        write(&mut writer, 1..=3);
        let told = rig.store_result(&writer);
        drop(writer);
        nixfleet_jobs::test_util::wait_until_dead(&rig.dir);
        let faults = Faults::default();
        faults.close(name, 3, errno.raw_os_error());
        rig.jobs = JobsDir::on(faults.machine(), rig.jobs.path());
        let mut follower = rig.follow(0);
        assert_eq!(entries(&mut follower, 3).await.len(), 3, "{name} {errno:?}");
        assert_eq!(next(&mut follower).await, Followed::Ended(Box::new(told)), "{name} {errno:?}");
        assert_eq!(faults.closed(), 0, "each attempt was made: {name} {errno:?}");
    }
}

/// The end that is told if `file` has this content and the supervisor is dead.
async fn end_with(file: &str, content: &str) -> JobResult {
    let rig = Rig::new();
    let mut writer = rig.supervisor(1 << 20);
    rig.store_spec(Some(BOOT));
    write(&mut writer, 1..=3);
    if file != "result.json" {
        rig.store_result(&writer);
    }
    drop(writer);
    nixfleet_jobs::test_util::wait_until_dead(&rig.dir);
    fs::write(rig.dir.path().join(file), content).unwrap();
    let mut follower = rig.follow(0);
    entries(&mut follower, 3).await;
    let Followed::Ended(result) = next(&mut follower).await else { panic!("output") };
    *result
}

#[tokio::test]
async fn a_damaged_result_is_told_as_what_it_is() {
    for content in ["", "{", "{}", "[7]", "\u{0}\u{0}", r#"{"outcome":7}"#] {
        let result = end_with("result.json", content).await;
        assert_eq!(result.outcome, Outcome::Lost, "{content:?}");
        assert!(result.message.contains("result.json is damaged"), "{content:?}: {}", result.message);
        assert!(!result.message.contains("supervisor"), "{content:?}: {}", result.message);
        assert_eq!(result.line_count(), 3);
    }
}

#[tokio::test]
async fn a_damaged_file_beside_the_result_changes_nothing() {
    for file in ["state.json", "spec.json"] {
        for content in ["", "{", "\u{0}"] {
            assert_eq!(end_with(file, content).await.outcome, Outcome::Ok, "{file} {content:?}");
        }
    }
}

#[test]
fn a_result_that_is_damaged_while_the_supervisor_lives_is_no_end() {
    let rig = Rig::new();
    let _writer = rig.supervisor(1 << 20);
    fs::write(rig.dir.result(), "{").unwrap();
    let (mut thread, _follower) = rig.thread();
    let seen = thread.look(true);
    assert!(thread.conclude(seen).is_none(), "it will be replaced");
}

#[test]
fn a_job_whose_log_is_missing_is_not_told_as_a_supervisor_that_died() {
    let rig = Rig::new();
    let (mut thread, _follower) = rig.thread();
    let seen = Seen { gone: true, result: None, supervisor: None, unread: None };
    let result = thread.conclude(seen).unwrap();
    assert_eq!(result.outcome, Outcome::Lost);
    assert!(result.message.contains("log.jsonl"), "{}", result.message);
    assert!(!result.message.contains("supervisor"), "{}", result.message);
}
