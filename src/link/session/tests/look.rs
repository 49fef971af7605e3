//! The look at the host between the end of a job and its status.

use std::time::Duration;

use tokio::time::Instant;

use nixfleet_jobs::spec::Outcome;
use nixfleet_protocol::{AgentMessage, Heartbeat, Register, Status, UpdateState};

use super::rig::{Order, Rig, entries, result};
use crate::facts::Facts;
use crate::link::session::FACTS_TIMEOUT;
use crate::link::session::look::LOOK_TIMEOUT;

const SECOND: Duration = Duration::from_secs(1);

const HOUR: Duration = Duration::from_secs(3600);

/// A session in which a command has ended, and the host is being looked at.
async fn looking(interval: Duration, command: &str) -> Rig {
    let mut rig = Rig::live(interval, &[]).await;
    rig.facts(old);
    rig.run_command(command).await.end(result(Outcome::Ok)).await;
    while rig.looks() == 0 {
        tokio::task::yield_now().await;
    }
    rig
}

fn old(facts: &mut Facts) {
    facts.generation = "aaaaaaa".to_owned();
    facts.lock_hash = "11".repeat(32);
    facts.update_status.system.status = UpdateState::Ok;
}

fn new(facts: &mut Facts) {
    facts.generation = "bbbbbbb".to_owned();
    facts.lock_hash = "22".repeat(32);
    facts.update_status.lock.status = UpdateState::Ok;
    facts.update_status.system.status = UpdateState::Outdated;
}

/// The status, and the heartbeat directly behind it.
async fn ended(rig: &mut Rig) -> (Status, Heartbeat) {
    let status = rig.status().await;
    let AgentMessage::Heartbeat(heartbeat) = rig.next().await else { panic!("no heartbeat") };
    (status, *heartbeat)
}

async fn registered_again(rig: &mut Rig) -> Register {
    let AgentMessage::Register(register) = rig.next_but_heartbeats().await else { panic!("no register") };
    *register
}

fn system(heartbeat: &Heartbeat) -> UpdateState {
    heartbeat.update_status.as_ref().unwrap().system.status
}

#[tokio::test(start_paused = true)]
async fn a_status_and_the_heartbeat_behind_it_tell_what_the_job_changed() {
    let mut rig = looking(HOUR, "pull").await;
    let asked = Instant::now();
    rig.looked(new);
    let (status, heartbeat) = ended(&mut rig).await;
    assert_eq!(asked.elapsed(), Duration::ZERO, "nobody waits longer than the look");
    assert_eq!((status.generation.as_str(), heartbeat.generation.as_str()), ("bbbbbbb", "bbbbbbb"));
    assert_eq!(heartbeat.lock_hash, "22".repeat(32));
    assert_eq!(heartbeat.update_status.unwrap().lock.status, UpdateState::Ok);
    assert_eq!(heartbeat.pending_command, None);
}

#[tokio::test(start_paused = true)]
async fn a_status_and_the_heartbeat_behind_it_are_made_from_one_snapshot() {
    let mut rig = Rig::live(HOUR, &[]).await;
    rig.facts(old);
    let _flicker = rig.flicker();
    for n in 0..100 {
        let id = n.to_string();
        rig.run_command_as("pull", Some(&id)).await.end(result(Outcome::Ok)).await;
        while rig.looks() == 0 {
            tokio::task::yield_now().await;
        }
        rig.looked(|_| {});
        let (status, heartbeat) = ended(&mut rig).await;
        assert_eq!(status.generation, heartbeat.generation, "the end of job {n}");
        rig.command("pull", Some(&id)).await;
        let (status, heartbeat) = ended(&mut rig).await;
        assert_eq!(status.generation, heartbeat.generation, "its repeat");
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_host_is_looked_at_nothing_runs() {
    let mut rig = looking(Duration::from_millis(100), "pull").await;
    for _ in 0..3 {
        assert_eq!(rig.heartbeat().await.pending_command, None);
    }
    rig.looked(new);
    let (_, heartbeat) = ended(&mut rig).await;
    assert_eq!((heartbeat.pending_command, heartbeat.generation.as_str()), (None, "bbbbbbb"));
}

#[tokio::test(start_paused = true)]
async fn a_look_that_hangs_holds_back_no_status_and_its_facts_follow() {
    let mut rig = looking(HOUR, "pull").await;
    let asked = Instant::now();
    let (status, heartbeat) = ended(&mut rig).await;
    assert_eq!(asked.elapsed(), LOOK_TIMEOUT);
    assert_eq!((status.generation.as_str(), heartbeat.generation.as_str()), ("aaaaaaa", "aaaaaaa"));
    rig.looked(new);
    let heartbeat = rig.heartbeat().await;
    assert!(asked.elapsed() < SECOND, "not with the next scheduled one");
    assert_eq!(heartbeat.generation, "bbbbbbb");
}

#[tokio::test(start_paused = true)]
async fn a_look_that_nobody_makes_holds_back_nothing() {
    let mut rig = looking(HOUR, "pull").await;
    let asked = Instant::now();
    rig.look_fails();
    ended(&mut rig).await;
    assert_eq!(asked.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_look_that_nobody_makes_is_no_new_knowledge() {
    let mut rig = looking(HOUR, "switch").await;
    let asked = Instant::now();
    rig.look_fails();
    ended(&mut rig).await;
    rig.facts(new);
    assert_eq!(registered_again(&mut rig).await.generation, "bbbbbbb");
    assert_eq!(asked.elapsed(), FACTS_TIMEOUT, "the registration gave the facts time");
}

#[tokio::test(start_paused = true)]
async fn after_a_good_switch_the_agent_registers_again_on_the_same_socket() {
    let mut rig = looking(HOUR, "switch").await;
    rig.looked(new);
    let (status, heartbeat) = ended(&mut rig).await;
    let AgentMessage::Register(register) = rig.next().await else { panic!("directly behind the heartbeat") };
    assert_eq!([status.generation, heartbeat.generation, register.generation], ["bbbbbbb"; 3]);
    rig.registered(&[]).await;
    assert_eq!(rig.heartbeat().await.generation, "bbbbbbb");
}

#[tokio::test(start_paused = true)]
async fn after_a_switch_with_a_look_that_hangs_it_registers_with_the_new_facts_or_without_them() {
    for late in [true, false] {
        let mut rig = looking(HOUR, "switch").await;
        ended(&mut rig).await;
        let sent = Instant::now();
        if late {
            rig.looked(new);
        }
        let register = registered_again(&mut rig).await;
        let (waited, generation) =
            if late { (Duration::ZERO, "bbbbbbb") } else { (FACTS_TIMEOUT, "aaaaaaa") };
        assert_eq!((sent.elapsed(), register.generation.as_str()), (waited, generation));
    }
}

#[tokio::test(start_paused = true)]
async fn the_heartbeat_that_completes_a_rollback_calls_it_good_and_the_next_one_outdated() {
    let mut rig = looking(SECOND, "rollback").await;
    rig.looked(new);
    let (_, heartbeat) = ended(&mut rig).await;
    assert_eq!(system(&heartbeat), UpdateState::Ok);
    registered_again(&mut rig).await;
    rig.registered(&[]).await;
    assert_eq!(system(&rig.heartbeat().await), UpdateState::Outdated);

    let mut rig = Rig::live(HOUR, &[]).await;
    rig.facts(new);
    rig.run_command_as("rollback", Some("one")).await.end(result(Outcome::Ok)).await;
    ended(&mut rig).await;
    rig.command("rollback", Some("one")).await;
    let (_, heartbeat) = ended(&mut rig).await;
    assert_eq!(system(&heartbeat), UpdateState::Ok, "a repeated status completes it as well");

    let mut rig = Rig::live(HOUR, &[]).await;
    rig.facts(new);
    rig.run_command("rollback").await.end(result(Outcome::Failed)).await;
    let (_, heartbeat) = ended(&mut rig).await;
    assert_eq!(system(&heartbeat), UpdateState::Outdated, "a failed one is not called good");
}

#[tokio::test(start_paused = true)]
async fn a_status_that_waits_is_sent_before_the_agent_leaves() {
    let mut rig = looking(HOUR, "pull").await;
    rig.shut_down();
    ended(&mut rig).await;
    assert_eq!(rig.close_frame().await, (1000, "shutdown".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_status_that_waits_survives_the_connection() {
    let mut rig = looking(HOUR, "pull").await;
    rig.drop_connection().await;
    rig.reconnect().await;
    rig.accept_registration(&[]).await;
    assert_eq!(rig.heartbeat().await.pending_command, None, "it has ended");
    rig.job().end(result(Outcome::Ok)).await;
    let (status, _) = ended(&mut rig).await;
    assert_eq!(status.command, "pull");
    rig.pong().await;
    assert!(matches!(rig.orders()[..], [.., Order::Forget(_)]));
}

#[tokio::test(start_paused = true)]
async fn a_status_that_is_repeated_agrees_with_the_heartbeat_behind_it() {
    let mut rig = Rig::live(HOUR, &[]).await;
    rig.facts(old);
    rig.run_command_as("pull", Some("one")).await.end(result(Outcome::Ok)).await;
    ended(&mut rig).await;
    rig.looked(new);
    rig.heartbeat().await;
    rig.command("pull", Some("one")).await;
    let (status, heartbeat) = ended(&mut rig).await;
    assert_eq!((status.generation.as_str(), heartbeat.generation.as_str()), ("bbbbbbb", "bbbbbbb"));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_repeated_on_the_next_connection_gets_its_output_before_its_status() {
    let mut rig = Rig::live(HOUR, &[]).await;
    let job = rig.run_command_as("pull", Some("one")).await;
    job.say(entries(1..=2)).await;
    job.end(result(Outcome::Ok)).await;
    while !matches!(rig.next().await, AgentMessage::Status(_)) {}
    rig.drop_connection().await;
    rig.reconnect().await;
    rig.accept_registration(&[]).await;
    rig.command("pull", Some("one")).await;
    // The repeat is read before there is output.
    rig.texts(&["{}"]).await;
    let job = rig.job();
    job.say(entries(1..=2)).await;
    job.end(result(Outcome::Ok)).await;
    for n in 1..=2 {
        let AgentMessage::Output(output) = rig.next_but_heartbeats().await else { panic!("line {n}") };
        assert_eq!(output.seq, Some(n));
    }
    assert!(matches!(rig.next_but_heartbeats().await, AgentMessage::Status(_)));
    rig.command("pull", Some("one")).await;
    assert!(matches!(rig.next_but_heartbeats().await, AgentMessage::Status(_)), "now it is answered again");
}
