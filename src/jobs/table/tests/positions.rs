//! Up to which line each job was delivered: what is saved, and where a connection goes on.

use super::*;

#[test]
fn a_record_that_was_forgotten_is_not_saved_again() {
    let executor = FakeExecutor::default();
    let mut jobs = JobTable::resume(Vec::new(), Box::new(executor.clone()));
    let id = run(&mut jobs, None);
    jobs.lines_delivered(&id, 40);
    jobs.save_positions();
    assert_eq!(executor.take(|orders| &mut orders.saved).len(), 1);
    jobs.lines_delivered(&id, 41);
    jobs.status_delivered(&id);
    jobs.save_positions();
    assert!(executor.take(|orders| &mut orders.saved).is_empty());
}

#[test]
fn a_lost_connection_follows_again_from_the_newest_proof_and_never_from_an_older_one() {
    let executor = FakeExecutor::default();
    let mut jobs = JobTable::resume(Vec::new(), Box::new(executor.clone()));
    let id = run(&mut jobs, None);
    jobs.lines_delivered(&id, 40);
    jobs.lines_delivered(&id, 30);
    executor.take(|orders| &mut orders.followed);
    jobs.rewind();
    assert_eq!(executor.take(|orders| &mut orders.followed), [(id.clone(), 40)]);

    jobs.status_sent(&id, &status("pull"));
    jobs.status_delivered(&id);
    jobs.rewind();
    assert!(executor.take(|orders| &mut orders.followed).is_empty(), "history");
    assert_eq!(executor.take(|orders| &mut orders.forgotten), std::slice::from_ref(&id));
    jobs.lines_delivered(&id, 50);
    assert!(!jobs.has_unsaved_positions());
}

#[test]
fn each_job_keeps_its_position_until_it_is_saved_whatever_happens_to_the_others() {
    let executor = FakeExecutor::default();
    let records = vec![record("pull", None, 3), record("switch", None, 0), record("test", None, 0)];
    let ids: Vec<JobId> = records.iter().map(|record| record.id.clone()).collect();
    let mut jobs = JobTable::resume(records, Box::new(executor.clone()));
    jobs.lines_delivered(&ids[0], 3);
    assert!(!jobs.has_unsaved_positions(), "it is on disk");
    jobs.lines_delivered(&ids[0], 12);
    jobs.lines_delivered(&ids[1], 7);
    jobs.lines_delivered(&JobId::generate(), 9);
    jobs.status_delivered(&ids[2]);
    // Of a job that is over nothing is saved: a record would bring it back.
    jobs.lines_delivered(&ids[2], 5);
    jobs.save_positions();
    let saved = executor.take(|orders| &mut orders.saved).into_iter();
    let saved: Vec<_> = saved.map(|record| (record.id, record.delivered_seq)).collect();
    assert_eq!(saved, [(ids[0].clone(), 12), (ids[1].clone(), 7)]);
    jobs.save_positions();
    assert!(executor.take(|orders| &mut orders.saved).is_empty(), "once");
}
