//! Activations that are no children of a job. The control group of their unit is a folder, and the test is its service
//! manager; the lock is real.

use std::fs;
use std::process::{Child, Command, Stdio};

use rustix::process::{Signal, kill_process};

use nixfleet_protocol::{KillCommand, KillSignal, StatusKind};

use crate::rig::{Fleet, HOST, eventually, lives, supervisor};

const UNIT: &str = "nixos-rebuild-switch-to-configuration.service";

/// A host whose rebuild says that it has begun, and ends when it is told to.
async fn fleet() -> Fleet {
    let fleet = Fleet::strict().await;
    let at = |name: &str| fleet.path(name).display().to_string();
    fs::create_dir(fleet.path("checkout")).unwrap();
    fs::write(fleet.path("checkout/flake.nix"), "{}").unwrap();
    fs::write(fleet.path("lock"), "").unwrap();
    std::os::unix::fs::symlink("/nix/store/old", fleet.path("current-system")).unwrap();
    let paths = format!(
        "[repo]\ndir = \"{}\"\n[rebuild]\nprogram = [\"{}\"]\n[paths]\ncgroups = \"{}\"\nswitch_lock = \"{}\"\n\
         current_system = \"{}\"\n",
        at("checkout"),
        at("rebuild.sh"),
        at("cgroup"),
        at("lock"),
        at("current-system")
    );
    let body = "cd \"${0%/*}\"\necho begun\nuntil [ -e end ]; do sleep 0.02; done\necho ended";
    fleet.script("rebuild", body).configure(&paths)
}

/// The process of the unit, below the test and not below the agent.
struct Unit<'a>(&'a Fleet, Child);

impl<'a> Unit<'a> {
    fn start(fleet: &'a Fleet) -> Self {
        let process = Command::new("sleep").arg("300").spawn().unwrap();
        let group = fleet.path("cgroup/system.slice").join(UNIT);
        fs::create_dir_all(&group).unwrap();
        fs::write(group.join("cgroup.procs"), process.id().to_string()).unwrap();
        Self(fleet, process)
    }

    fn end(&mut self) {
        fs::remove_dir_all(self.0.path("cgroup/system.slice")).ok();
        self.1.kill().unwrap();
        self.1.wait().unwrap();
    }
}

impl Drop for Unit<'_> {
    fn drop(&mut self) {
        self.1.kill().ok();
        self.1.wait().ok();
    }
}

#[tokio::test]
async fn a_switch_beside_another_activation_runs_nothing_and_names_it() {
    let fleet = fleet().await;
    let _agent = fleet.agent().await;
    let mut unit = Unit::start(&fleet);
    let status = fleet.run("switch").await;
    assert_eq!((status.outcome.as_deref(), status.exit_code), (Some("busy"), 1), "{status:?}");
    let who =
        format!("the unit {UNIT} (process {}, `sleep 300`) is active; nothing was changed", unit.1.id());
    assert!(status.message.contains(&who), "{status:?}");
    unit.end();

    let mut flock = Command::new("flock");
    flock.arg(fleet.path("lock")).args(["sh", "-c", "echo held; read -r line"]);
    let mut holder = flock.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut held = [0; 5];
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut held).unwrap();
    let status = fleet.run("switch").await;
    drop(holder.stdin.take());
    holder.wait().unwrap();
    let who = format!("the lock {} is held by process {}", fleet.path("lock").display(), holder.id());
    assert!(status.outcome.as_deref() == Some("busy") && status.message.contains(&who), "{status:?}");
    assert!(!fleet.lines().iter().any(|(_, line, _)| line == "begun"), "{:?}", fleet.lines());

    fs::write(fleet.path("end"), "").unwrap();
    assert_eq!(fleet.run("switch").await.outcome.as_deref(), Some("ok"));
    fleet.assert_no_violations();
}

#[tokio::test]
async fn a_unit_that_outlives_the_rebuild_is_protected_and_awaited() {
    let fleet = fleet().await;
    let _agent = fleet.agent().await;
    fleet.send("switch");
    fleet.line("begun").await;
    let mut unit = Unit::start(&fleet);
    fleet.send("stop");
    fleet.line(&format!("stop refused: the system is being activated, by {UNIT}")).await;
    fs::write(fleet.path("end"), "").unwrap();
    fleet.line(&format!("the activation goes on in {UNIT} (process {}, `sleep 300`)", unit.1.id())).await;
    assert!(!fleet.statuses().iter().any(|status| status.command == "switch"), "{:?}", fleet.statuses());
    unit.end();
    let status = fleet.ended("switch").await;
    assert_eq!(status.outcome.as_deref(), Some("ok"), "{status:?}");
    fleet.line(&format!("the activation in {UNIT} has ended")).await;
    fleet.assert_no_violations();
}

#[tokio::test]
async fn a_kill_reaches_the_unit() {
    let fleet = fleet().await;
    let _agent = fleet.agent().await;
    fleet.send("switch");
    let pid = fleet.running("switch").await;
    fleet.line("begun").await;
    let mut unit = Unit::start(&fleet);
    fleet.dashboard.send_kill(HOST, KillCommand { signal: KillSignal::Kill, pid }).unwrap();
    // As the kernel would do it, the group goes with its process.
    let ended = eventually("the end of the unit", || unit.1.try_wait().unwrap()).await;
    assert!(!ended.success());
    fs::remove_dir_all(fleet.path("cgroup/system.slice")).unwrap();
    let status = fleet.ended("switch").await;
    assert_eq!((status.status, status.exit_code), (StatusKind::Stopped, 137), "{status:?}");
    fleet.line(&format!("SIGKILL also for {UNIT}")).await;
    fleet.assert_no_violations();
}

#[tokio::test]
async fn the_unit_of_a_killed_supervisor_is_awaited_before_the_switch_is_lost() {
    let fleet = fleet().await;
    let _agent = fleet.agent().await;
    fleet.send("switch");
    let pid = fleet.running("switch").await;
    fleet.line("begun").await;
    let mut unit = Unit::start(&fleet);
    kill_process(supervisor(&fleet), Signal::KILL).unwrap();
    eventually("the end of the rebuild", || (!lives(pid)).then_some(())).await;
    // The heartbeats say what runs.
    let named = |fleet: &Fleet| fleet.beats().pop().filter(|(_, beat)| beat.command_pid == Some(unit.1.id()));
    let (_, beat) = fleet.wait("the process of the unit", named).await;
    assert_eq!(beat.pending_command.as_deref(), Some("switch"));
    assert!(fleet.statuses().is_empty(), "{:?}", fleet.statuses());
    fs::remove_file(fleet.path("current-system")).unwrap();
    std::os::unix::fs::symlink("/nix/store/new", fleet.path("current-system")).unwrap();
    unit.end();
    let status = fleet.ended("switch").await;
    assert_eq!(status.outcome.as_deref(), Some("lost"), "{status:?}");
    let said = format!("in {UNIT} and has ended; the running system is /nix/store/new");
    assert!(status.message.ends_with(&said), "{status:?}");
    fleet.assert_no_violations();
}
