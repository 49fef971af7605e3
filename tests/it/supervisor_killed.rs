//! A supervisor that is killed or suspended under the direct launcher, and what it leaves running.

use std::fs;
use std::process::Command;

use rustix::process::{Signal, kill_process};

use nixfleet_jobs::JobId;

use crate::rig::{Fleet, eventually, lives, program, supervisor};

/// A process tree: one in a session of its own, one without an environment, one that ignores SIGTERM.
const TREE: &str = "setsid sh -c 'echo $$ >> $PIDS; exec sleep 300' &\n\
                    env -i PIDS=$PIDS sh -c 'echo $$ >> $PIDS; exec sleep 300' &\n\
                    (trap '' TERM; sh -c 'echo $$ >> $PIDS; exec sleep 300') &\n\
                    echo $$ >> $PIDS\nwait\nsleep 300";

async fn pids(file: &std::path::Path, count: usize) -> Vec<u32> {
    eventually("the processes", || {
        let text = fs::read_to_string(file).ok()?;
        let pids: Vec<u32> = text.lines().filter_map(|line| line.parse().ok()).collect();
        (pids.len() == count).then_some(pids)
    })
    .await
}

#[tokio::test]
async fn what_a_killed_supervisor_leaves_is_ended_and_told() {
    let fleet = Fleet::strict().await.script("tree", TREE).script("next", "echo next");
    let mut command = fleet.agent_command();
    command.env("PIDS", fleet.path("pids"));
    let _agent = crate::rig::AgentProcess::spawn(command, fleet.path("state"));
    fleet.wait("a beat", |fleet| fleet.beats().pop()).await;
    fleet.send("tree");
    let tree = pids(&fleet.path("pids"), 4).await;
    fleet.running("tree").await;
    kill_process(supervisor(&fleet), Signal::KILL).unwrap();
    let status = fleet.ended("tree").await;
    assert!(!tree.iter().any(|pid| lives(*pid)), "{tree:?}");
    assert_eq!((status.exit_code, status.outcome.as_deref()), (1, Some("lost")));
    assert!(
        status.message.ends_with("processes of it went on without a supervisor, and were ended"),
        "{status:?}"
    );
    assert_eq!(fleet.run("next").await.exit_code, 0);
    fleet.assert_no_violations();
}

/// A job that runs under a supervisor of its own, without an agent; the supervisor is then killed. Returns the
/// processes of the command.
async fn orphaned(folder: &std::path::Path, config: &str, command: &str, count: usize) -> Vec<u32> {
    let file = folder.join("pids");
    drop(fs::remove_file(&file));
    let mut supervisor = exec_job(folder, config, command).spawn().unwrap();
    let found = pids(&file, count).await;
    supervisor.kill().unwrap();
    supervisor.wait().unwrap();
    assert!(found.iter().all(|pid| lives(*pid)), "they go on: {found:?}");
    found
}

fn exec_job(folder: &std::path::Path, config: &str, command: &str) -> Command {
    let path = folder.join("agent.toml");
    fs::write(&path, config).unwrap();
    let mut program = program();
    program.arg("--config").arg(path).args(["exec-job", "--", &format!("{command}-{}", JobId::generate())]);
    program
        .env("NIXFLEET_STATE_DIR", folder.join("state"))
        .env("PIDS", folder.join("pids"))
        .current_dir(folder);
    program
}

/// The log of the newest job that has ended.
fn ended_log(folder: &std::path::Path) -> String {
    let jobs = fs::read_dir(folder.join("state/jobs")).unwrap().flatten().map(|item| item.path());
    let ended = jobs.filter(|job| job.join("result.json").exists()).max().unwrap();
    fs::read_to_string(ended.join("log.jsonl")).unwrap()
        + &fs::read_to_string(ended.join("result.json")).unwrap()
}

#[tokio::test]
async fn the_next_supervisor_ends_what_is_left_before_it_begins() {
    let folder = tempfile::tempdir().unwrap();
    let work = "echo $$ >> $PIDS; sleep 300 & echo $! >> $PIDS; wait";
    let config = format!(
        "[commands.work]\nrun = [\"sh\", \"-c\", \"{work}\"]\n\
         [commands.check]\nrun = [\"sh\", \"-c\", \"for pid in $(cat $PIDS); do grep -q sleep /proc/$pid/cmdline && exit 9; done; exit 0\"]\n"
    );
    let left = orphaned(folder.path(), &config, "work", 2).await;
    assert!(exec_job(folder.path(), &config, "check").status().unwrap().success());
    assert!(!left.iter().any(|pid| lives(*pid)), "{left:?}");
    let log = ended_log(folder.path());
    assert!(log.contains("the earlier command: 2 processes of it went on"), "{log}");
    assert!(log.contains("\"outcome\":\"ok\""), "nothing was left when it began: {log}");
}

#[tokio::test]
async fn the_next_supervisor_waits_for_an_activation_that_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("switch-to-configuration");
    fs::write(&program, "echo $$ >> $PIDS\nuntil [ -e end ]; do sleep 0.05; done\n").unwrap();
    let config = format!(
        "[commands.work]\nrun = [\"sh\", \"{}\"]\n[commands.next]\nrun = [\"true\"]\n",
        program.display()
    );
    let left = orphaned(folder.path(), &config, "work", 1).await;
    let mut next =
        exec_job(folder.path(), &config, "next").stdout(std::process::Stdio::null()).spawn().unwrap();
    eventually("a job that waits", || {
        let jobs = fs::read_dir(folder.path().join("state/jobs")).ok()?;
        let logs = jobs.flatten().filter_map(|item| fs::read_to_string(item.path().join("log.jsonl")).ok());
        logs.into_iter().any(|log| log.contains("an earlier command goes on")).then_some(())
    })
    .await;
    assert!(next.try_wait().unwrap().is_none() && lives(left[0]), "it is not stopped half-way");
    fs::write(folder.path().join("end"), "").unwrap();
    assert!(next.wait().unwrap().success());
    let log = ended_log(folder.path());
    assert!(log.contains("the activation that it had begun was awaited"), "{log}");
    assert!(log.contains("\"outcome\":\"ok\""), "{log}");
}

#[tokio::test]
async fn a_stop_for_a_suspended_supervisor_is_answered_and_carried_out_later() {
    let fleet = Fleet::strict().await.script("long", "sleep 300");
    let _agent = fleet.agent().await;
    fleet.send("long");
    fleet.running("long").await;
    let supervisor = supervisor(&fleet);
    kill_process(supervisor, Signal::STOP).unwrap();
    fleet.send("stop");
    let status = fleet.ended("stop").await;
    assert_eq!(status.exit_code, 1);
    assert!(status.message.starts_with("The command goes on: "), "{status:?}");
    kill_process(supervisor, Signal::CONT).unwrap();
    assert_eq!(fleet.ended("long").await.outcome.as_deref(), Some("stopped"));
    fleet.assert_no_violations();
}
