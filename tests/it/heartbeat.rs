//! Heartbeats: regular ones, those during a command, StaSysMo's metrics in them, and the online state of a host.

use std::fs;
use std::time::{Duration, SystemTime};

use rustix::process::Signal;

use nixfleet_dashboard::HostStatus;
use nixfleet_protocol::{AgentMessage, Metrics};

use crate::command::{commit, git};
use crate::rig::{Fleet, HOST, LIMIT, eventually, lives};

/// Allowed deviation of a heartbeat on a loaded test machine, in milliseconds. The benchmark measures the real
/// values.
const SLACK_MS: i64 = 300;

fn assert_on_the_grid(times: &[i64]) {
    for (n, pair) in times.windows(2).enumerate() {
        let gap = pair[1] - pair[0];
        assert!((gap - 1000).abs() <= SLACK_MS, "gap {n} is {gap} ms: {times:?}");
    }
}

/// Waits until `count` heartbeats have arrived.
async fn beats(fleet: &Fleet, count: usize) -> Vec<i64> {
    fleet
        .wait(&format!("{count} beats"), |fleet| {
            let beats = fleet.beats();
            (beats.len() >= count).then(|| beats.iter().map(|(at, _)| *at).collect())
        })
        .await
}

#[tokio::test]
async fn t02_scenario_1_regular() {
    let fleet = Fleet::start().await;
    let checkout = fleet.path("checkout");
    fs::create_dir(&checkout).unwrap();
    git(&checkout, &["init", "--quiet"]);
    commit(&checkout, "flake.nix", "{ }");
    let fleet = fleet.configure(&format!("[repo]\ndir = \"{}\"\n", checkout.display()));
    let _agent = fleet.agent().await;
    let times = beats(&fleet, 6).await;
    assert_on_the_grid(&times);
    let first = &fleet.messages()[..2];
    assert!(matches!(first[0].message, AgentMessage::Register(_)), "{first:?}");
    assert!(matches!(first[1].message, AgentMessage::Heartbeat(_)), "{first:?}");
    assert!(first[1].at_ms - first[0].at_ms < SLACK_MS, "the first beat is immediate");
    let within_five_seconds = times.iter().filter(|at| **at - times[0] <= 5000).count();
    assert!(within_five_seconds >= 5);
    for (_, beat) in fleet.beats() {
        assert!(!beat.generation.is_empty() && !beat.nixpkgs_version.is_empty());
        assert_eq!((beat.pending_command, beat.command_pid), (None, None));
    }
}

#[tokio::test]
async fn t02_scenario_2_during_command() {
    let fleet = Fleet::start().await.script("switch-like", "for i in 1 2 3 4 5; do echo $i; sleep 1; done");
    let _agent = fleet.agent().await;
    let status = fleet.run("switch-like").await;
    assert_eq!(status.exit_code, 0);
    // The heartbeat after the status is not a scheduled one. It has no running command.
    let after = fleet.wait("a beat without a command", |fleet| {
        let beat = fleet.beats().pop()?.1;
        beat.pending_command.is_none().then_some(beat)
    });
    assert_eq!(after.await.command_pid, None);
    let all = fleet.beats();
    let during: Vec<_> = all.iter().filter(|(_, beat)| beat.pending_command.is_some()).collect();
    assert!(during.len() >= 4, "{} beats during 5 s", during.len());
    for (_, beat) in &during {
        assert_eq!(beat.pending_command.as_deref(), Some("switch-like"));
    }
    let pids: Vec<_> = during.iter().filter_map(|(_, beat)| beat.command_pid).collect();
    assert!(pids.len() >= 4 && pids.iter().all(|pid| *pid == pids[0]), "{pids:?}");
    let until_last = all.iter().rposition(|(_, beat)| beat.pending_command.is_some()).unwrap();
    assert_on_the_grid(&all[..=until_last].iter().map(|(at, _)| *at).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_pid_in_a_beat_is_the_commands_own_and_alive() {
    let fleet = Fleet::start().await.script("sleeper", "exec sleep 60");
    let _agent = fleet.agent().await;
    fleet.send("sleeper");
    let pid = fleet.running("sleeper").await;
    // It is the shell's until then.
    let is_sleep = || (fs::read(format!("/proc/{pid}/cmdline")).ok()? == b"sleep\x0060\x00").then_some(());
    eventually("the command under this pid", is_sleep).await;
    fleet.send("stop");
    fleet.wait("the status", |fleet| fleet.statuses().pop()).await;
    assert!(!lives(pid));
}

fn write_stasysmo(fleet: &Fleet, values: [(&str, &str); 4]) {
    let folder = fleet.path("stasysmo");
    fs::create_dir_all(&folder).unwrap();
    for (name, value) in values {
        fs::write(folder.join(name), format!("{value}\n")).unwrap();
    }
}

const READINGS: [(&str, &str); 4] = [("cpu", "15.5"), ("ram", "42.0"), ("swap", "0.0"), ("load", "0.5")];

#[tokio::test]
async fn t02_scenario_3_with_metrics() {
    let fleet = Fleet::start().await;
    write_stasysmo(&fleet, READINGS);
    let _agent = fleet.agent().await;
    let first = fleet.beats()[0].1.metrics;
    assert_eq!(first, Some(Metrics { cpu: 15.5, ram: 42.0, swap: 0.0, load: 0.5 }), "in the first beat");
    write_stasysmo(&fleet, [("cpu", "85"), ("ram", "60"), ("swap", "1"), ("load", "2.5")]);
    let newer = Metrics { cpu: 85.0, ram: 60.0, swap: 1.0, load: 2.5 };
    fleet
        .wait("the new readings", |fleet| (fleet.beats().pop()?.1.metrics == Some(newer)).then_some(()))
        .await;
}

#[tokio::test]
async fn t02_scenario_4_without_metrics() {
    let fleet = Fleet::start().await;
    let _agent = fleet.agent().await;
    beats(&fleet, 2).await;
    assert!(fleet.beats().iter().all(|(_, beat)| beat.metrics.is_none()));
    assert_eq!(fleet.dashboard.host(HOST).unwrap().metrics, None);
}

#[tokio::test]
async fn hour_old_readings_are_not_reported_as_fresh() {
    let fleet = Fleet::start().await;
    write_stasysmo(&fleet, READINGS);
    let old = SystemTime::now() - Duration::from_secs(3600);
    for (name, _) in READINGS {
        fs::File::open(fleet.path("stasysmo").join(name)).unwrap().set_modified(old).unwrap();
    }
    let _agent = fleet.agent().await;
    beats(&fleet, 2).await;
    assert!(fleet.beats().iter().all(|(_, beat)| beat.metrics.is_none()));
}

#[tokio::test]
async fn t02_scenario_5_host_status() {
    let fleet = Fleet::start().await;
    let mut agent = fleet.agent().await;
    let status = |fleet: &Fleet| fleet.dashboard.host(HOST).map(|host| host.status);
    assert_eq!(status(&fleet), Some(HostStatus::Online));
    // The connection stays open, only the heartbeats stop.
    agent.signal(Signal::STOP);
    fleet
        .dashboard
        .wait_until("offline", LIMIT, |_| (status(&fleet) == Some(HostStatus::Offline)).then_some(()))
        .await;
    let now =
        i64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis()).unwrap();
    // Read here, because one may have been under way.
    let silence = now - fleet.beats().last().unwrap().0;
    assert!((3000..4000).contains(&silence), "offline after {silence} ms, three intervals are 3000");
    agent.signal(Signal::CONT);
    fleet
        .dashboard
        .wait_until("online", LIMIT, |_| (status(&fleet) == Some(HostStatus::Online)).then_some(()))
        .await;
    agent.kill();
    fleet
        .dashboard
        .wait_until("offline", LIMIT, |_| (status(&fleet) == Some(HostStatus::Offline)).then_some(()))
        .await;
    let _again = fleet.spawn_agent();
    fleet
        .dashboard
        .wait_until("online", LIMIT, |_| (status(&fleet) == Some(HostStatus::Online)).then_some(()))
        .await;
}
