//! Requests to end a job.

use super::*;

#[test]
fn a_stop_ends_the_running_job_and_none_that_is_over() {
    let executor = FakeExecutor::default();
    let mut jobs = JobTable::resume(Vec::new(), Box::new(executor.clone()));
    assert!(!jobs.end(Urgency::Stop, "stop", later()), "nothing runs");
    let first = run(&mut jobs, None);
    jobs.status_sent(&first, &status("pull"));
    assert!(!jobs.end(Urgency::Stop, "stop", later()), "over, though nobody has proven to have read it");
    let second = run(&mut jobs, None);
    assert!(jobs.end(Urgency::Kill, "kill_command", later()));
    assert_eq!(executor.take(|orders| &mut orders.ended), [(second, Urgency::Kill)]);
}

#[test]
fn of_several_requests_during_the_launch_the_strongest_counts() {
    let (stop, kill) = ((Urgency::Stop, "stop"), (Urgency::Kill, "kill_command"));
    for (requests, expected) in
        [([stop, kill], Urgency::Kill), ([kill, stop], Urgency::Kill), ([stop, stop], Urgency::Stop)]
    {
        let executor = FakeExecutor::default();
        let mut jobs = JobTable::resume(Vec::new(), Box::new(executor.clone()));
        let record = record("pull", None, 0);
        let id = record.id.clone();
        jobs.accept(record);
        for (urgency, asked) in requests {
            assert!(jobs.end(urgency, asked, later()));
        }
        assert!(jobs.starting(&id));
        jobs.launched(&id);
        assert_eq!(executor.take(|orders| &mut orders.ended), [(id, expected)], "{requests:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_to_end_a_job_is_due_for_an_answer_until_the_status_is_sent() {
    let executor = FakeExecutor::default();
    let mut jobs = JobTable::resume(Vec::new(), Box::new(executor.clone()));
    let (now, second) = (Instant::now(), Duration::from_secs(1));
    let record = record("pull", None, 0);
    let id = record.id.clone();
    jobs.accept(record);
    let unanswered =
        |asked: &str, stage| Unanswered { asked: asked.to_owned(), command: "pull".to_owned(), stage };
    jobs.end(Urgency::Stop, "kill", now + second);
    assert_eq!(jobs.unanswered(now + second), [unanswered("kill", Stage::Launching)]);
    jobs.launched(&id);
    // A repeat does not put the answer off.
    for delay in [3, 9] {
        jobs.end(Urgency::Stop, "stop", now + delay * second);
    }
    jobs.end(Urgency::Kill, "kill_command", now + 4 * second);
    assert_eq!(jobs.unanswered_at(), Some(now + 3 * second));
    assert_eq!(jobs.unanswered(now + 3 * second), [unanswered("stop", Stage::Running)]);
    jobs.stop_answered(&id, "kill_command");
    assert_eq!(jobs.unanswered_at(), None, "the executor said why");
    jobs.end(Urgency::Stop, "stop", now + 9 * second);
    executor.show(&id, Live { pid: None, ended: true });
    assert_eq!(jobs.unanswered(now + 9 * second), [unanswered("stop", Stage::Ended)], "its output drains");
    jobs.stop_answered(&id, "stop");
    let last = run(&mut jobs, None);
    jobs.end(Urgency::Stop, "stop", now + 9 * second);
    jobs.status_sent(&last, &status("pull"));
    assert_eq!(jobs.unanswered_at(), None, "its status is the answer");
    assert_eq!(jobs.unanswered(now + 9 * second), []);
}
