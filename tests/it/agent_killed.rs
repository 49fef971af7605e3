//! SIGKILL of the agent and of the supervisor, and a reboot while a command runs.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

use crate::rig::{Fleet, eventually, job_folder, journal, json, lives, supervisor};

#[tokio::test]
async fn a_killed_agent_loses_and_doubles_nothing() {
    let fleet = Fleet::start().await.script("long", "for i in $(seq 1 30); do echo line $i; sleep 0.1; done");
    let mut agent = fleet.agent().await;
    fleet.send("long");
    let pid = fleet.running("long").await;
    agent.kill();
    assert!(lives(pid), "the command runs on");
    let _next = fleet.spawn_agent();
    let status = fleet.wait("the status", |fleet| fleet.statuses().pop()).await;
    assert_eq!((status.command.as_str(), status.exit_code), ("long", 0));
    let expected: Vec<(u64, String)> = (1..=30).map(|n| (n, format!("line {n}"))).collect();
    assert_eq!(journal(&fleet), expected, "no line of the journal is missing or doubled");
    let mut arrived: Vec<(u64, String)> =
        fleet.lines().into_iter().map(|(seq, line, _)| (seq, line)).collect();
    arrived.sort();
    arrived.dedup();
    assert_eq!(arrived, expected);
    // A third agent has nothing left to send.
    eventually("the record's end", || {
        fs::read_dir(fleet.path("state/agent/delivery")).unwrap().next().is_none().then_some(())
    })
    .await;
    drop(_next);
    let _third = fleet.spawn_agent();
    fleet
        .wait("two beats of the third", |fleet| {
            (fleet.messages().last()?.connection == 3 && fleet.beats().pop()?.1.seq >= Some(2)).then_some(())
        })
        .await;
    assert_eq!(fleet.statuses().len(), 1);
}

#[tokio::test]
async fn a_command_that_ended_while_there_was_no_agent_is_told_by_the_next() {
    let fleet = Fleet::start().await.held("short", "echo late; exit 3");
    let mut agent = fleet.agent().await;
    fleet.send("short");
    eventually("the job", || {
        fleet
            .path("state/jobs")
            .read_dir()
            .ok()?
            .find_map(|item| item.ok()?.path().join("state.json").exists().then_some(()))
    })
    .await;
    agent.kill();
    fleet.let_go();
    eventually("the result", || job_folder(&fleet).join("result.json").exists().then_some(())).await;
    let _next = fleet.spawn_agent();
    let status = fleet.wait("the status", |fleet| fleet.statuses().pop()).await;
    assert_eq!(status.exit_code, 3);
    assert_eq!(fleet.lines(), [(1, "late".to_owned(), false)]);
}

#[tokio::test]
async fn a_job_whose_supervisor_was_killed_is_told_as_lost() {
    let fleet = Fleet::start().await.script("long", "echo begun; sleep 60");
    let _agent = fleet.agent().await;
    fleet.send("long");
    let pid = fleet.running("long").await;
    kill_process(supervisor(&fleet), Signal::KILL).unwrap();
    let status = fleet.wait("the status", |fleet| fleet.statuses().pop()).await;
    assert_eq!((status.exit_code, status.outcome.as_deref()), (1, Some("lost")));
    assert_eq!(fleet.lines().len(), 1);
    assert!(!lives(pid), "the command does not go on");
    fleet.wait("a free slot", |fleet| fleet.beats().pop()?.1.pending_command.is_none().then_some(())).await;
}

#[tokio::test]
async fn a_reboot_in_the_middle_of_a_command_is_told_as_that() {
    let fleet = Fleet::start().await.script("long", "sleep 60");
    let mut agent = fleet.agent().await;
    fleet.send("long");
    let pid = fleet.running("long").await;
    let folder = job_folder(&fleet);
    agent.kill();
    let state = json(&folder.join("state.json")).unwrap();
    for pid in [state["supervisor_pid"].as_u64().unwrap(), u64::from(pid)] {
        kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();
    }
    let mut spec = json(&folder.join("spec.json")).unwrap();
    spec["boot_id"] = "another boot".into();
    fs::write(folder.join("spec.json"), spec.to_string()).unwrap();
    let _next = fleet.spawn_agent();
    let status = fleet.wait("the status", |fleet| fleet.statuses().pop()).await;
    assert_eq!(status.outcome.as_deref(), Some("interrupted_by_reboot"));
}
