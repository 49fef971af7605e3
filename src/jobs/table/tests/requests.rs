//! Requests by their ids.

use super::*;

#[test]
fn an_id_belongs_to_one_command() {
    let request = |command: &str, id: Option<&str>| CommandRequest {
        command: command.to_owned(),
        id: id.map(str::to_owned),
    };
    let executor = FakeExecutor::default();
    let records = vec![record("pull", Some("a"), 0), record("test", None, 0)];
    let mut jobs = JobTable::resume(records, Box::new(executor.clone()));
    let running = run(&mut jobs, Some("b"));
    let check = |jobs: &JobTable| {
        for (command, id, clash) in [
            ("pull", Some("a"), None),
            ("switch", Some("a"), Some("pull")),
            ("switch", Some("b"), Some("pull")),
            ("switch", Some("c"), None),
            ("switch", None, None),
        ] {
            assert_eq!(jobs.clash(&request(command, id)), clash, "{command} {id:?}");
        }
    };
    check(&jobs);
    jobs.status_sent(&running, &status("pull"));
    jobs.status_delivered(&running);
    check(&jobs);
    // The next agent knows it from the file.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("answered.json");
    nixfleet_jobs::atomic_file::store(&path, &executor.0.lock().unwrap().answered).unwrap();
    let answered = Answered::load(&nixfleet_os::Disk::real(), &path).unwrap();
    let records = vec![record("pull", Some("a"), 0)];
    let next = JobTable::resume(records, Box::new(FakeExecutor::default())).after(answered, None);
    check(&next);
    assert_eq!(next.ended("b"), Some(("pull", &status("pull"))));
}

#[test]
fn the_newest_requests_are_remembered_by_their_id_and_one_by_its_newest_status() {
    let executor = FakeExecutor::default();
    let mut jobs = JobTable::resume(Vec::new(), Box::new(executor.clone()));
    for n in 0..=MAX_KEPT {
        let id = run(&mut jobs, Some(&n.to_string()));
        jobs.status_sent(&id, &status("old"));
        jobs.status_sent(&id, &status(&n.to_string()));
        jobs.status_delivered(&id);
    }
    assert!(jobs.ended("0").is_none(), "the oldest has made room");
    for n in 1..=MAX_KEPT {
        assert_eq!(jobs.ended(&n.to_string()).map(|(_, status)| status.command.clone()), Some(n.to_string()));
    }
    assert!(jobs.ended("").is_none());
}

#[tokio::test(start_paused = true)]
async fn while_files_of_an_earlier_agent_are_unread_a_request_may_be_one_of_its() {
    let executor = FakeExecutor::default();
    let mut last = JobTable::resume(Vec::new(), Box::new(executor.clone()));
    let accepted = record("pull", Some("a"), 0);
    last.accept(accepted.clone());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("answered.json");
    nixfleet_jobs::atomic_file::store(&path, &executor.0.lock().unwrap().answered).unwrap();
    let answers = || Answered::load(&nixfleet_os::Disk::real(), &path).unwrap();
    let now = Instant::now();
    let unread = |jobs: &JobTable, now| [Some("a"), Some("b"), None].map(|id| jobs.is_unread(id, now));

    let mut jobs = JobTable::resume(Vec::new(), Box::new(FakeExecutor::default()));
    assert_eq!(unread(&jobs, now), [false; 3]);
    jobs.wait_for_unread(now, true);
    assert_eq!(unread(&jobs, now + UNREAD_LIMIT - Duration::from_millis(1)), [true; 3], "any may be");
    assert_eq!(unread(&jobs, now + UNREAD_LIMIT), [false; 3], "a host can be mended by a command");
    jobs.found_answers(answers());
    assert_eq!(unread(&jobs, now), [true, false, false], "its record is not read yet");
    jobs.found(accepted);
    assert_eq!(unread(&jobs, now), [false; 3], "it is a repeat");

    let mut jobs = JobTable::resume(Vec::new(), Box::new(FakeExecutor::default())).after(answers(), None);
    jobs.wait_for_unread(now, false);
    assert_eq!(unread(&jobs, now), [true, false, false]);
    jobs.found_all();
    assert_eq!(unread(&jobs, now), [false; 3], "there is no such record any more");
}

#[test]
fn a_request_is_open_until_the_status_of_its_job_was_read() {
    let executor = FakeExecutor::default();
    let open = || executor.0.lock().unwrap().open();
    let mut jobs = JobTable::resume(Vec::new(), Box::new(executor.clone()));
    let id = run(&mut jobs, Some("a"));
    assert_eq!(open(), [id.to_string()]);
    jobs.status_sent(&id, &status("pull"));
    assert_eq!(open(), [id.to_string()], "nobody is known to have read it");
    jobs.status_delivered(&id);
    assert!(open().is_empty());
    assert_eq!(executor.take(|orders| &mut orders.forgotten), [id]);
}

#[tokio::test]
async fn a_request_is_not_open_again_when_the_answers_are_read_after_its_status() {
    let (executor, told, other) =
        (FakeExecutor::default(), record("pull", Some("a"), 0), record("test", Some("b"), 0));
    let mut older = Answered::default();
    assert!(older.accepted(&told) && older.accepted(&other));
    let mut jobs = JobTable::resume(vec![told.clone(), other.clone()], Box::new(executor.clone()));
    jobs.wait_for_unread(Instant::now(), true);
    let mut jobs = jobs.after(Answered::default(), None);
    jobs.status_sent(&told.id, &status("pull"));
    jobs.status_delivered(&told.id);
    jobs.found_answers(older);
    assert_eq!(executor.0.lock().unwrap().open(), [other.id.to_string()]);
}

#[test]
fn the_requests_of_an_earlier_agent_are_open_also_if_its_file_is_lost() {
    let (executor, kept) = (FakeExecutor::default(), record("pull", Some("a"), 0));
    let rebooting = Record { announced: true, ..record("reboot", Some("b"), 0) };
    let records = vec![kept.clone(), record("test", None, 0), rebooting];
    let jobs = JobTable::resume(records, Box::new(executor.clone())).after(Answered::default(), None);
    assert_eq!(executor.0.lock().unwrap().open(), [kept.id.to_string()]);
    drop(jobs);
}
