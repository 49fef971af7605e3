//! The clone that starts without a request.

use tokio::time::Instant;

use nixfleet_jobs::record::Record;
use nixfleet_jobs::spec::Outcome;
use nixfleet_protocol::StatusKind;

use super::requests::{ISOLATED, SECOND, launched, live};
use super::rig::{Order, Rig, result};
use crate::jobs::follower::Live;

#[tokio::test(start_paused = true)]
async fn a_missing_clone_is_made_unasked_and_tried_again_while_beats_go_on() {
    let mut rig = live(ISOLATED).await;
    let first = launched(&mut rig).await;
    assert_eq!((first.command.as_str(), first.command_id), ("clone", None));
    let job = rig.launched(&Order::Launch(Record { command_id: None, ..first }), Live::default());
    assert_eq!(rig.heartbeat().await.pending_command.as_deref(), Some("clone"));
    job.end(result(Outcome::Failed)).await;
    let status = rig.status().await;
    assert_eq!((status.command.as_str(), status.status), ("clone", StatusKind::Error), "people see it");
    let begun = Instant::now();
    rig.pong().await;
    let again = loop {
        rig.heartbeat().await;
        let launch = rig.orders().into_iter().find(|order| matches!(order, Order::Launch(_)));
        if let Some(order) = launch {
            break order;
        }
    };
    let waited = begun.elapsed().as_secs();
    assert!((15..=32).contains(&waited), "{waited}");
    let job = rig.launched(&again, Live::default());
    rig.facts(|facts| facts.system.repo_commit = Some("1d91f2b".to_owned()));
    job.end(result(Outcome::Ok)).await;
    assert_eq!(rig.status().await.status, StatusKind::Ok);
    rig.pong().await;
    rig.orders();
    for _ in 0..7200 {
        rig.heartbeat().await;
    }
    assert!(!rig.orders().iter().any(|order| matches!(order, Order::Launch(_))), "it is there");
}

#[tokio::test(start_paused = true)]
async fn a_clone_that_is_there_is_left_alone() {
    let mut rig = Rig::with(SECOND, ISOLATED).await;
    rig.facts(|facts| facts.system.repo_commit = Some("1d91f2b".to_owned()));
    rig.accept_registration(&[]).await;
    for _ in 0..60 {
        rig.heartbeat().await;
    }
    assert!(rig.orders().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_clone_is_made_only_once_somebody_has_looked_for_one() {
    let mut rig = Rig::with(SECOND, ISOLATED).await;
    rig.facts(|facts| facts.complete = false);
    rig.accept_registration(&[]).await;
    for _ in 0..60 {
        rig.heartbeat().await;
    }
    assert!(rig.orders().is_empty());
    rig.facts(|facts| facts.complete = true);
    assert_eq!(launched(&mut rig).await.command, "clone");
}
