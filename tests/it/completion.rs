//! How a command looks to a dashboard that judges it by its status and the heartbeat directly behind it. All
//! heartbeats but these are half a minute apart.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use nixfleet_protocol::{AgentMessage, Heartbeat, Register, Status, UpdateState, UpdateStatus};

use crate::command::{commit, git};
use crate::rig::{AgentProcess, Fleet};

/// A fleet whose repository has a flake.lock, on a host that runs the system `one`. A switch makes the system
/// `two`, and a rollback goes back.
async fn fleet(generation: &str) -> Fleet {
    let fleet = Fleet::strict().await;
    let origin = fleet.path("origin");
    fs::create_dir(&origin).unwrap();
    git(&origin, &["init", "--quiet"]);
    commit(&origin, "flake.nix", "{ }");
    commit(&origin, "hosts/test-host/tests/T01-good.sh", "#!/bin/sh\n");
    commit(&origin, "flake.lock", "1");
    let (rebuild, current) = (fleet.path("rebuild"), fleet.path("current"));
    for system in ["one", "two"] {
        fs::create_dir(fleet.path(system)).unwrap();
    }
    symlink(fleet.path("one"), &current).unwrap();
    let script = format!(
        "#!/bin/sh\ncase $2 in --rollback) system=one;; *) system=two;; esac\nln -sfn {}/$system {}\n",
        fleet.folder.path().display(),
        current.display(),
    );
    fs::write(&rebuild, script).unwrap();
    fs::set_permissions(&rebuild, fs::Permissions::from_mode(0o755)).unwrap();
    fleet.configure(&format!(
        "generation = \"{generation}\"\n[repo]\nurl = \"file://{}\"\n[rebuild]\nprogram = [\"{}\"]\n\
         [paths]\ncurrent_system = \"{}\"\n",
        origin.display(),
        rebuild.display(),
        current.display(),
    ))
}

/// An agent with a checkout and an interval in which no test ends.
async fn agent(fleet: &Fleet) -> AgentProcess {
    let mut command = fleet.agent_command();
    command.env("NIXFLEET_INTERVAL", "600");
    let agent = AgentProcess::spawn(command, fleet.path("state"));
    fleet.ended("clone").await;
    agent
}

/// Runs a command; returns its status and the message directly behind it, which has to be a heartbeat.
async fn completed(fleet: &Fleet, command: &str) -> (Status, Heartbeat) {
    fleet.run(command).await;
    fleet
        .wait("a heartbeat behind the status", |fleet| {
            let messages = fleet.messages();
            let at = messages.iter().rposition(|m| matches!(m.message, AgentMessage::Status(_)))?;
            match [&messages[at].message, &messages.get(at + 1)?.message] {
                [AgentMessage::Status(status), AgentMessage::Heartbeat(heartbeat)] => {
                    Some((status.clone(), (**heartbeat).clone()))
                }
                other => panic!("no heartbeat directly behind a status: {other:?}"),
            }
        })
        .await
}

/// The registration after the newest status, and the heartbeat behind it.
async fn registered_again(fleet: &Fleet) -> (Register, Heartbeat) {
    fleet
        .wait("a registration and a heartbeat after the status", |fleet| {
            let messages = fleet.messages();
            let at = messages.iter().rposition(|m| matches!(m.message, AgentMessage::Register(_)))?;
            let after_status = messages[..at]
                .iter()
                .any(|m| matches!(&m.message, AgentMessage::Status(s) if s.command != "clone"));
            match [&messages[at].message, &messages.get(at + 1)?.message] {
                [AgentMessage::Register(register), AgentMessage::Heartbeat(heartbeat)] if after_status => {
                    Some(((**register).clone(), (**heartbeat).clone()))
                }
                _ => None,
            }
        })
        .await
}

fn lights(heartbeat: &Heartbeat) -> &UpdateStatus {
    heartbeat.update_status.as_ref().unwrap()
}

#[tokio::test]
async fn a_pull_with_a_new_flake_lock_is_complete_with_the_heartbeat_behind_its_status() {
    let fleet = fleet("deployed").await;
    let _agent = agent(&fleet).await;
    let (_, first) = completed(&fleet, "pull").await;
    commit(&fleet.path("origin"), "flake.lock", "2");
    let (status, heartbeat) = completed(&fleet, "pull").await;
    assert_eq!(status.exit_code, 0);
    assert_ne!(heartbeat.lock_hash, first.lock_hash);
    assert_eq!(lights(&heartbeat).lock.status, UpdateState::Ok, "{:?}", lights(&heartbeat).lock);
    fleet.assert_no_violations();
}

#[tokio::test]
async fn tests_and_rollback_are_complete_with_the_heartbeat_behind_their_status() {
    let fleet = fleet("deployed").await;
    let _agent = agent(&fleet).await;
    let (_, heartbeat) = completed(&fleet, "switch").await;
    assert_eq!(lights(&heartbeat).system.status, UpdateState::Ok, "{:?}", lights(&heartbeat).system);
    let (_, heartbeat) = completed(&fleet, "test").await;
    assert_eq!(lights(&heartbeat).tests.status, UpdateState::Ok);
    let registered =
        fleet.messages().iter().filter(|m| matches!(m.message, AgentMessage::Register(_))).count();
    let (_, heartbeat) = completed(&fleet, "rollback").await;
    assert_eq!(lights(&heartbeat).system.status, UpdateState::Ok, "the rollback is complete");
    let current = heartbeat.system.unwrap().current.unwrap();
    assert!(current.ends_with("/one"), "{current}");
    let next = fleet
        .wait("a heartbeat after the registration behind the rollback", |fleet| {
            let messages = fleet.messages();
            let is_register =
                |m: &&nixfleet_dashboard::Recorded| matches!(m.message, AgentMessage::Register(_));
            let seen = messages.iter().filter(is_register).count();
            let AgentMessage::Heartbeat(last) = &messages.last()?.message else { return None };
            (seen > registered).then(|| last.clone())
        })
        .await;
    assert_eq!(lights(&next).system.status, UpdateState::Outdated, "the truth about the system");
    fleet.assert_no_violations();
}

#[tokio::test]
async fn a_switch_is_complete_although_the_new_system_takes_long_to_tell_its_revision() {
    let fleet = fleet("deployed").await;
    let program = fleet.path("two/sw/bin/nixos-version");
    fs::create_dir_all(program.parent().unwrap()).unwrap();
    let asked = fleet.path("asked");
    // It ends with the folder of the test, which outlives the agent.
    let script = format!("#!/bin/sh\ntouch {0}\nwhile [ -e {0} ]; do sleep 0.1; done\n", asked.display());
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let _agent = agent(&fleet).await;
    let (status, heartbeat) = completed(&fleet, "switch").await;
    fleet.wait("the question", |_| asked.exists().then_some(())).await;
    assert_eq!(status.generation, heartbeat.generation);
    assert_eq!(lights(&heartbeat).system.status, UpdateState::Ok, "{:?}", lights(&heartbeat).system);
    let (register, _) = registered_again(&fleet).await;
    assert_eq!(register.generation, status.generation);
    fleet.assert_no_violations();
}

#[tokio::test]
async fn the_generation_is_one_commit_in_every_message_the_deployed_one_or_that_of_the_checkout() {
    for (setting, follows_pull) in [("deployed", false), ("checkout", true)] {
        let fleet = fleet(setting).await;
        let _agent = agent(&fleet).await;
        let (status, heartbeat) = completed(&fleet, "switch").await;
        let (register, next) = registered_again(&fleet).await;
        let first = git(&fleet.path("origin"), &["rev-parse", "--short=7", "HEAD"]);
        for told in [&status.generation, &heartbeat.generation, &register.generation, &next.generation] {
            assert_eq!(*told, first, "{setting}");
        }
        commit(&fleet.path("origin"), "flake.nix", "{ a = 1; }");
        let second = git(&fleet.path("origin"), &["rev-parse", "--short=7", "HEAD"]);
        let expected = if follows_pull { &second } else { &first };
        let (status, heartbeat) = completed(&fleet, "pull").await;
        assert_eq!((&status.generation, &heartbeat.generation), (expected, expected), "{setting}");
        completed(&fleet, "switch").await;
        let (status, heartbeat) = completed(&fleet, "pull").await;
        assert_eq!((&status.generation, &heartbeat.generation), (&second, &second), "{setting}");
        fleet.assert_no_violations();
    }
}

#[tokio::test]
async fn a_host_without_a_checkout_reports_no_generation_and_not_a_word() {
    let fleet = Fleet::strict().await.configure("[paths]\ncurrent_system = \"/nowhere\"\n");
    let _agent = fleet.agent().await;
    let messages = fleet.messages();
    let AgentMessage::Register(register) = &messages[0].message else { panic!("{messages:?}") };
    assert_eq!((register.generation.as_str(), fleet.beats()[0].1.generation.as_str()), ("", ""));
    fleet.assert_no_violations();
}
