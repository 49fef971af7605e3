//! Every accepted command has one true result: whatever happens to the files of the agent, and however often the
//! result or the request is repeated.

use std::fs;
use std::path::PathBuf;

use nixfleet_dashboard::{Faults, Policy};
use nixfleet_protocol::{Status, StatusKind};

use crate::rig::in_nats::{self, needs_mock};
use crate::rig::{Fleet, HOST, eventually, job_folder};

/// What has to be the same in each repeat of a status.
fn told(status: &Status) -> (String, StatusKind, i32, String, Option<String>, Option<String>) {
    let Status { command, status: kind, exit_code, message, job_id, outcome, .. } = status.clone();
    (command, kind, exit_code, message, job_id, outcome)
}

async fn record(fleet: &Fleet) -> PathBuf {
    eventually("a record", || {
        let mut items = fs::read_dir(fleet.path("state/agent/delivery")).ok()?;
        items.find_map(|item| {
            Some(item.ok()?.path()).filter(|path| path.extension().is_some_and(|end| end == "json"))
        })
    })
    .await
}

/// Waits until the file of answers has this text.
async fn noted(fleet: &Fleet, text: &str) {
    let path = fleet.path("state/agent/answered.json");
    let has = || fs::read_to_string(&path).unwrap_or_default().contains(text).then_some(());
    eventually(&format!("{text} in the file of answers"), has).await;
}

#[tokio::test]
async fn a_request_that_an_earlier_agent_answered_does_not_run_again() {
    let fleet =
        Fleet::strict().await.script("count", "echo ran >> \"${0%/*}/ran\"").script("other", "exit 3");
    let mut agent = fleet.agent().await;
    let send = |command: &str| fleet.dashboard.send_command(HOST, command, Some("c-1")).unwrap();
    send("count");
    let first = fleet.wait("the status", |fleet| fleet.statuses().pop()).await;
    let answered = fleet.path("state/agent/answered.json");
    eventually("the proof", || {
        let left = fs::read_dir(fleet.path("state/agent/delivery")).unwrap().count();
        (left == 0 && answered.exists()).then_some(())
    })
    .await;
    agent.kill();
    let _next = fleet.spawn_agent();
    fleet.beats_on(2).await;
    fleet.connected().await;
    send("count");
    // NATS keeps the end of a job once.
    if !in_nats::is_on() {
        let second = fleet.wait("the status again", |fleet| fleet.statuses().get(1).cloned()).await;
        assert_eq!(told(&second), told(&first));
    }
    // The same id for another command is nobody's repeat.
    send("other");
    let rejected = fleet.wait("a rejection", |fleet| fleet.rejections().pop()).await;
    assert!(rejected.reason.contains("belongs to another one, for `count`"), "{}", rejected.reason);
    assert_eq!(fs::read_to_string(fleet.path("ran")).unwrap(), "ran\n");
    fleet.assert_no_violations();
}

/// A dashboard that answers neither pings nor heartbeats.
fn prove_nothing(fleet: &Fleet) {
    fleet.dashboard.set_policy(Policy { ack: false, ..Policy::default() });
    fleet.dashboard.set_faults(Faults { never_pong: true, ..Faults::default() });
}

#[tokio::test]
async fn a_job_whose_end_nobody_read_is_told_in_the_same_way_after_its_folder_was_due() {
    if needs_mock("its dashboard answers no pings") {
        return;
    }
    let fleet = Fleet::start().await.script("first", "echo out").script("second", "exit 3");
    let fleet = fleet.configure("[jobs]\nkeep = 1\n");
    prove_nothing(&fleet);
    let mut agent = fleet.agent().await;
    let before = [fleet.run("first").await, fleet.run("second").await];
    agent.kill();
    let folders =
        fs::read_dir(fleet.path("state/jobs")).unwrap().filter(|item| item.as_ref().unwrap().path().is_dir());
    assert_eq!(folders.count(), 2, "neither is proven");
    fleet.dashboard.set_faults(Faults::default());
    let _next = fleet.spawn_agent();
    let again = fleet.wait("both again", |fleet| fleet.statuses().get(2..4).map(<[Status]>::to_vec)).await;
    assert_eq!(again.iter().map(told).collect::<Vec<_>>(), before.iter().map(told).collect::<Vec<_>>());
    assert_eq!(before[0].outcome.as_deref(), Some("ok"));
}

#[tokio::test]
async fn a_command_that_could_not_be_started_is_told_so_by_the_next_agent_too() {
    if needs_mock("its dashboard answers no pings") {
        return;
    }
    let fleet = Fleet::start().await.script("never", "exit 0");
    prove_nothing(&fleet);
    let mut agent = fleet.agent().await;
    fs::write(fleet.path("state/jobs"), "in the way").unwrap();
    let first = fleet.run("never").await;
    assert_eq!(first.outcome.as_deref(), Some("not_started"), "{}", first.message);
    agent.kill();
    fs::remove_file(fleet.path("state/jobs")).unwrap();
    let _next = fleet.spawn_agent();
    let second = fleet.wait("the status again", |fleet| fleet.statuses().get(1).cloned()).await;
    assert_eq!(told(&second), told(&first));
}

#[tokio::test]
async fn a_damaged_record_is_answered_and_moved_aside() {
    for (folder_stays, outcome) in [(true, "failed"), (false, "lost")] {
        let fleet = Fleet::start().await.held("short", "echo late; exit 3");
        let mut agent = fleet.agent().await;
        fleet.dashboard.send_command(HOST, "short", Some("c-7")).unwrap();
        fleet.running("short").await;
        agent.kill();
        fleet.let_go();
        eventually("the result", || job_folder(&fleet).join("result.json").exists().then_some(())).await;
        let path = record(&fleet).await;
        fs::write(&path, "\u{0}\u{0}{").unwrap();
        if !folder_stays {
            fs::remove_dir_all(job_folder(&fleet)).unwrap();
        }
        let _next = fleet.spawn_agent();
        let status = fleet.wait("the status", |fleet| fleet.statuses().pop()).await;
        assert_eq!(status.outcome.as_deref(), Some(outcome), "{}", status.message);
        assert_eq!(status.message.contains("is damaged"), !folder_stays, "{}", status.message);
        assert!(path.with_extension("damaged").exists());
        eventually("the record's end", || (!path.exists()).then_some(())).await;
        assert_eq!(status.command, "short");
        if needs_mock("NATS keeps the end of a job once, however often it is asked for") {
            continue;
        }
        // The request is known from the file of answers.
        fleet.dashboard.send_command(HOST, "short", Some("c-7")).unwrap();
        let again = fleet.wait("the status again", |fleet| fleet.statuses().get(1).cloned()).await;
        assert_eq!(told(&again), told(&status));
        assert_eq!(fleet.lines().len(), usize::from(folder_stays), "it ran once");
    }
}

#[tokio::test]
async fn a_record_that_is_damaged_behind_the_answer_costs_no_word_of_it() {
    if needs_mock("its dashboard answers no pings") {
        return;
    }
    let fleet = Fleet::start().await.script("never", "exit 0");
    prove_nothing(&fleet);
    let mut agent = fleet.agent().await;
    fs::write(fleet.path("state/jobs"), "in the way").unwrap();
    fleet.dashboard.send_command(HOST, "never", Some("c-8")).unwrap();
    let first = fleet.wait("the status", |fleet| fleet.statuses().pop()).await;
    assert_eq!(first.outcome.as_deref(), Some("not_started"), "{}", first.message);
    // It is written before anything is told, and what was told a moment later.
    noted(&fleet, "\"not_started\"").await;
    agent.kill();
    fs::write(record(&fleet).await, "{").unwrap();
    fs::remove_file(fleet.path("state/jobs")).unwrap();
    let _next = fleet.spawn_agent();
    let second = fleet.wait("the status again", |fleet| fleet.statuses().get(1).cloned()).await;
    assert_eq!(told(&second), told(&first));
}

#[tokio::test]
async fn a_command_whose_record_was_removed_is_answered_and_runs_once() {
    let fleet = Fleet::start().await.held("short", "echo late; exit 3");
    let mut agent = fleet.agent().await;
    fleet.dashboard.send_command(HOST, "short", Some("c-9")).unwrap();
    fleet.running("short").await;
    noted(&fleet, "\"c-9\"").await;
    agent.kill();
    fleet.let_go();
    let path = record(&fleet).await;
    fs::remove_file(&path).unwrap();
    let _next = fleet.spawn_agent();
    fleet.beats_on(2).await;
    fleet.connected().await;
    fleet.dashboard.send_command(HOST, "short", Some("c-9")).unwrap();
    let status = fleet.wait("the status", |fleet| fleet.statuses().pop()).await;
    assert_eq!((status.command.as_str(), status.outcome.as_deref()), ("short", Some("failed")));
    eventually("the record's end", || (!path.exists()).then_some(())).await;
    assert_eq!(fleet.lines().len(), 1, "it ran once");
}

#[tokio::test]
async fn a_damaged_result_is_told_as_that() {
    let fleet = Fleet::start().await.held("short", "echo late");
    let mut agent = fleet.agent().await;
    fleet.send("short");
    fleet.running("short").await;
    agent.kill();
    fleet.let_go();
    let result = eventually("the result", || {
        Some(job_folder(&fleet).join("result.json")).filter(|result| result.exists())
    })
    .await;
    fs::write(&result, "{\"outcome\":").unwrap();
    let _next = fleet.spawn_agent();
    let status = fleet.wait("the status", |fleet| fleet.statuses().pop()).await;
    assert_eq!(status.outcome.as_deref(), Some("lost"));
    assert!(status.message.contains("result.json is damaged"), "{}", status.message);
    assert!(!status.message.contains("supervisor died"), "{}", status.message);
    assert_eq!(fleet.lines().len(), 1);
}

#[tokio::test]
async fn no_file_of_the_agent_keeps_it_from_connecting() {
    for name in ["lock", "facts.json", "answered.json", "delivery/01a2185b930173f7bd335271afd16fd9.json"] {
        let fleet = Fleet::start().await.script("count", "exit 0");
        let path = fleet.path("state/agent").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let _agent = fleet.agent().await;
        assert_eq!(fleet.run("count").await.outcome.as_deref(), Some("ok"), "{name}");
    }
    // The supervisor's lock.
    let fleet = Fleet::start().await.script("count", "exit 0");
    fs::create_dir_all(fleet.path("state/jobs")).unwrap();
    let (path, mode) = (fleet.path("state/jobs/lock"), rustix::fs::Mode::from_raw_mode(0o600));
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let _agent = fleet.agent().await;
    let status = fleet.run("count").await;
    assert_eq!(status.outcome.as_deref(), Some("not_started"));
    assert!(status.message.contains("jobs/lock"), "{}", status.message);
}
