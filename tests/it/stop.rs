//! Ending a running command.

use std::fs;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use nixfleet_protocol::{KillCommand, KillSignal, StatusKind};

use crate::rig::{Fleet, HOST, eventually, job_folder, lives};

/// A process tree: a child, a grandchild in its own session, and one that ignores SIGTERM.
const TREE: &str = "sleep 300 &\necho $! >> $PIDS\nsetsid sh -c 'echo $$ >> $PIDS; exec sleep 300' &\n\
                    (trap '' TERM; echo $$ > /dev/null; sh -c 'echo $PPID >> $PIDS; exec sleep 300') &\necho $$ >> $PIDS\necho ready\nwait\nsleep 300";

async fn tree(fleet: &Fleet) -> (crate::rig::AgentProcess, Vec<u32>) {
    let mut command = fleet.agent_command();
    command.env("PIDS", fleet.path("pids"));
    let agent = crate::rig::AgentProcess::spawn(command, fleet.path("state"));
    fleet.wait("a beat", |fleet| fleet.beats().pop()).await;
    fleet.send("tree");
    let pids = eventually("four processes", || {
        let text = fs::read_to_string(fleet.path("pids")).ok()?;
        let pids: Vec<u32> = text.lines().filter_map(|line| line.parse().ok()).collect();
        (pids.len() == 4).then_some(pids)
    })
    .await;
    assert!(pids.iter().all(|pid| lives(*pid)), "{pids:?}");
    fleet.running("tree").await;
    (agent, pids)
}

#[tokio::test]
async fn stop_ends_the_whole_tree_and_not_the_agent() {
    let fleet = Fleet::start().await.script("tree", TREE);
    let (mut agent, pids) = tree(&fleet).await;
    fleet.send("stop");
    let status = fleet.wait("the status", |fleet| fleet.statuses().pop()).await;
    assert_eq!((status.status, status.command.as_str()), (StatusKind::Stopped, "tree"));
    assert!([137, 143].contains(&status.exit_code), "{status:?}");
    assert!(!pids.iter().any(|pid| lives(*pid)), "{pids:?}");
    assert!(agent.is_running());
    assert_eq!(fleet.statuses().len(), 1);
    assert_eq!(fleet.dashboard.connections(HOST), 1);
}

#[tokio::test]
async fn kill_command_ends_the_running_command_and_no_other_process() {
    let fleet = Fleet::start().await.script("tree", TREE);
    let (mut agent, pids) = tree(&fleet).await;
    let mut stranger = std::process::Command::new("sleep").arg("300").spawn().unwrap();
    let kill = |pid| KillCommand { signal: KillSignal::Kill, pid };
    fleet.dashboard.send_kill(HOST, kill(stranger.id())).unwrap();
    let refused = fleet.wait("the refusal", |fleet| fleet.statuses().pop()).await;
    assert_eq!(refused.command, "kill_command");
    assert!(lives(stranger.id()) && pids.iter().all(|pid| lives(*pid)));
    stranger.kill().unwrap();
    stranger.wait().unwrap();

    fleet.dashboard.send_kill(HOST, kill(0)).unwrap();
    let status = fleet.wait("the status", |fleet| fleet.statuses().into_iter().nth(1)).await;
    assert_eq!((status.status, status.exit_code, status.signal), (StatusKind::Stopped, 137, Some(9)));
    assert!(!pids.iter().any(|pid| lives(*pid)), "{pids:?}");
    assert!(agent.is_running());
}

#[tokio::test]
async fn a_stopped_test_run_is_over_even_if_a_script_had_failed_before() {
    let fleet = Fleet::start().await;
    let scripts = fleet.path("repo/hosts/test-host/tests");
    fs::create_dir_all(&scripts).unwrap();
    for (name, body) in [("T01.sh", "exit 3"), ("T02.sh", "sleep 300"), ("T03.sh", "echo third")] {
        fs::write(scripts.join(name), format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(scripts.join(name), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let repo = fleet.path("repo");
    let fleet = fleet.configure(&format!("[repo]\ndir = \"{}\"\n", repo.display()));
    let _agent = fleet.agent().await;
    fleet.send("test");
    fleet
        .wait("the second script", |fleet| {
            fleet.dashboard.host(HOST)?.test_progress.filter(|p| p.current == 2 && p.running)
        })
        .await;
    fleet.send("stop");
    let status = fleet.wait("the status", |fleet| fleet.statuses().pop()).await;
    assert_eq!((status.status, status.exit_code), (StatusKind::Stopped, 143));
    assert!(fleet.lines().is_empty(), "the third script did not run: {:?}", fleet.lines());
}

#[tokio::test]
async fn an_activation_is_not_stopped_half_way_unless_forced() {
    let fleet = Fleet::start().await.configure(
        "[commands.activate]\nsteps = [{ run = [\"sleep\", \"300\"], activation = true }]\n\
         [commands.stubborn]\nrun = [\"sleep\", \"300\"]\nkillable = false\n",
    );
    let _agent = fleet.agent().await;
    for (command, reason) in [("activate", "being activated"), ("stubborn", "not killable")] {
        let before = fleet.statuses().len();
        fleet.send(command);
        let pid = fleet.running(command).await;
        fleet.send("stop");
        fleet
            .wait("the refusal", |fleet| {
                fleet.lines().iter().any(|(_, line, _)| line.contains(reason)).then_some(())
            })
            .await;
        assert!(lives(pid));
        fleet.dashboard.send_kill(HOST, KillCommand { signal: KillSignal::Kill, pid }).unwrap();
        let status = fleet.wait("the status", |fleet| fleet.statuses().get(before).cloned()).await;
        assert_eq!(status.exit_code, 137);
    }
}

#[tokio::test]
async fn a_running_switch_to_configuration_counts_as_an_activation() {
    let fleet = Fleet::start().await;
    let program = fleet.path("switch-to-configuration");
    fs::write(&program, "#!/bin/sh\nsleep 300\n").unwrap();
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let fleet = fleet.script("rebuild", &format!("sh {} switch", program.display()));
    let _agent = fleet.agent().await;
    fleet.send("rebuild");
    fleet.running("rebuild").await;
    fleet.send("stop");
    fleet
        .wait("the refusal", |fleet| {
            fleet.lines().iter().any(|(_, line, _)| line.contains("being activated")).then_some(())
        })
        .await;
    assert!(fleet.statuses().is_empty());
}

#[tokio::test]
async fn no_signal_but_sigkill_parts_a_supervisor_from_its_command() {
    let fleet = Fleet::strict()
        .await
        .script("work", "cd \"${0%/*}\"\nuntil [ -e end ]; do sleep 0.02; done\necho last");
    let _agent = fleet.agent().await;
    fleet.send("work");
    fleet.running("work").await;
    let state = fs::read_to_string(job_folder(&fleet).join("state.json")).unwrap();
    let state: serde_json::Value = serde_json::from_str(&state).unwrap();
    let supervisor = i32::try_from(state["supervisor_pid"].as_i64().unwrap()).unwrap();
    for signal in [
        Signal::HUP,
        Signal::QUIT,
        Signal::ABORT,
        Signal::ALARM,
        Signal::VTALARM,
        Signal::PROF,
        Signal::USR2,
        Signal::PIPE,
        Signal::IO,
        Signal::TRAP,
        Signal::SYS,
        Signal::XCPU,
        Signal::XFSZ,
        #[cfg(target_os = "linux")]
        Signal::POWER,
        #[cfg(target_os = "linux")]
        Signal::STKFLT,
    ] {
        kill_process(Pid::from_raw(supervisor).unwrap(), signal).unwrap();
    }
    // rustix has no names for the real-time signals.
    let real_time =
        Command::new("sh").args(["-c", "kill -34 $0; kill -64 $0", &supervisor.to_string()]).status();
    assert!(real_time.unwrap().success());
    fs::write(fleet.path("end"), "").unwrap();
    let status = fleet.ended("work").await;
    assert_eq!((status.outcome.as_deref(), status.lines), (Some("ok"), Some(1)), "{status:?}");
    fleet.assert_no_violations();
}
