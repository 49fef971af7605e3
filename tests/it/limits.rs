//! Limits and permissions of the place where the agent is started.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

use nixfleet_jobs::JobId;
use nixfleet_protocol::{AgentMessage, StatusKind};

use crate::rig::{AgentProcess, Fleet, HOST, eventually, in_shell, json, lives, program};

/// An agent that a shell starts after these commands.
fn started_after(fleet: &Fleet, commands: &str) -> AgentProcess {
    logging(fleet, commands, Stdio::null())
}

/// The same, with a place for its log.
fn logging(fleet: &Fleet, commands: &str, log: Stdio) -> AgentProcess {
    let mut shell = in_shell(Command::new("sh"), commands, &fleet.agent_command());
    shell.stderr(log);
    AgentProcess::spawn(shell, fleet.path("state"))
}

#[tokio::test]
async fn a_limit_of_the_size_of_files_costs_lines_and_ends_neither_the_agent_nor_a_job() {
    let fleet = Fleet::strict().await.configure("[commands.many]\nrun = [\"seq\", \"20000\"]\n");
    // 64 blocks of 512 bytes.
    let mut agent = started_after(&fleet, "ulimit -f 64");
    fleet.wait("a beat", |fleet| fleet.beats().pop()).await;
    let status = fleet.run("many").await;
    assert_eq!((status.status, status.exit_code), (StatusKind::Ok, 0), "{}", status.message);
    assert_eq!(status.lines, Some(20_000));
    let arrived = fleet.lines().iter().filter(|(_, line, _)| !line.starts_with("nixfleet: ")).count() as u64;
    assert!(arrived > 0 && status.dropped_lines == Some(20_000 - arrived), "{arrived} {status:?}");
    assert!(
        fleet.lines().iter().any(|(_, line, _)| line.contains("File too large")),
        "{:?}",
        fleet.lines().last()
    );
    assert!(agent.is_running());
    fleet.assert_no_violations();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn no_other_user_gets_at_the_files_of_an_agent_whatever_the_umask_is() {
    let fleet = Fleet::strict().await.script("hello", "echo hello");
    // An older agent left its folder open.
    let own = fleet.path("state/agent");
    fs::create_dir_all(&own).unwrap();
    fs::set_permissions(&own, fs::Permissions::from_mode(0o777)).unwrap();
    let _agent = started_after(&fleet, "umask 0");
    fleet.wait("a beat", |fleet| fleet.beats().pop()).await;
    fleet.run("hello").await;
    assert_eq!(mode(&own), 0o700);
    assert_eq!(mode(&own.join("lock")), 0o640);
    let job = crate::rig::job_folder(&fleet);
    assert_eq!((mode(&fleet.path("state/jobs")), mode(&job)), (0o750, 0o750));
    for item in fs::read_dir(&job).unwrap().flatten() {
        assert_eq!(mode(&item.path()), 0o640, "{}", item.path().display());
    }
    fleet.assert_no_violations();
}

#[tokio::test]
async fn a_supervisor_that_can_open_no_file_still_ends_its_command() {
    let folder = tempfile::tempdir().unwrap();
    let (config, id) = (folder.path().join("agent.toml"), JobId::generate());
    fs::write(&config, "jobs.stop_grace = 1\n[commands.nap]\nrun = [\"sleep\", \"300\"]\n").unwrap();
    let mut command = program();
    command.arg("--config").arg(config).args(["exec-job", "--", &format!("nap-{id}")]);
    command
        .env("NIXFLEET_STATE_DIR", folder.path().join("state"))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut supervisor = command.spawn().unwrap();
    let state = folder.path().join("state/jobs").join(id.as_str()).join("state.json");
    let nap = eventually("the process", || json(&state)?["child_pid"].as_u64()).await;
    let nap = u32::try_from(nap).unwrap();
    assert!(lives(nap));
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    prlimit(Some(Pid::from_child(&supervisor)), Resource::Nofile, none).unwrap();
    kill_process(Pid::from_child(&supervisor), Signal::INT).unwrap();
    eventually("the end of the supervisor", || supervisor.try_wait().unwrap()).await;
    assert!(!lives(nap), "the command of a supervisor that has ended goes on");
}

#[tokio::test]
async fn an_agent_that_can_open_no_files_at_its_start_says_so_and_waits_for_them() {
    let fleet = Fleet::strict().await;
    let log = fleet.path("agent.log");
    let mut agent = logging(&fleet, "ulimit -S -n 7", fs::File::create(&log).unwrap().into());
    let said = |log: &str| log.contains("files cannot be opened at once: Too many open files").then_some(());
    eventually("the reason", || said(&fs::read_to_string(&log).unwrap())).await;
    assert!(agent.is_running());
    prlimit(Some(agent.pid()), Resource::Nofile, Rlimit { current: Some(256), maximum: Some(256) }).unwrap();
    fleet.wait("a beat", |fleet| fleet.beats().pop()).await;
    let log = fs::read_to_string(&log).unwrap();
    assert!(!log.contains("panicked") && log.matches("cannot start yet").count() == 1, "{log}");
    fleet.assert_no_violations();
}

/// Only GNU's `env` can block signals.
const BLOCKED: &str = "exec env --block-signal=TERM --block-signal=INT --block-signal=CHLD \"$0\"";

#[tokio::test]
async fn an_agent_whose_parent_blocked_signals_says_so_and_runs_commands() {
    let fleet = Fleet::strict().await.script("hello", "echo hello");
    let log = fleet.path("agent.log");
    let _agent = logging(&fleet, BLOCKED, fs::File::create(&log).unwrap().into());
    fleet.wait("a beat", |fleet| fleet.beats().pop()).await;
    assert_eq!(fleet.run("hello").await.exit_code, 0);
    let log = fs::read_to_string(&log).unwrap();
    assert!(log.contains("has blocked SIGTERM, SIGINT, SIGCHLD"), "{log}");
    fleet.assert_no_violations();
}

#[tokio::test]
async fn a_supervisor_whose_parent_blocked_signals_notices_the_end_of_its_command() {
    let folder = tempfile::tempdir().unwrap();
    let (config, id) = (folder.path().join("agent.toml"), JobId::generate());
    fs::write(&config, "[commands.short]\nrun = [\"true\"]\n").unwrap();
    let agent = program();
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{BLOCKED} \"$@\"")]).arg(agent.get_program());
    shell.arg("--config").arg(config).args(["exec-job", "--", &format!("short-{id}")]);
    shell.env("NIXFLEET_STATE_DIR", folder.path().join("state")).stdout(Stdio::null());
    let mut supervisor = shell.spawn().unwrap();
    let ended = eventually("the end of the supervisor", || supervisor.try_wait().unwrap()).await;
    assert!(ended.success(), "{ended}");
}

#[tokio::test]
async fn signals_without_a_meaning_end_no_agent() {
    let fleet = Fleet::strict().await;
    let mut agent = fleet.agent().await;
    for signal in [Signal::ALARM, Signal::VTALARM, Signal::PROF, Signal::USR1, Signal::USR2, Signal::IO] {
        agent.signal(signal);
    }
    let beats = fleet.beats().len();
    fleet.wait("further beats", |fleet| (fleet.beats().len() > beats + 1).then_some(())).await;
    assert!(agent.is_running());
    fleet.assert_no_violations();
}

#[tokio::test]
async fn a_dashboard_that_restarts_each_new_agent_waits_for_the_next_ones() {
    let fleet = Fleet::strict().await;
    let log = fleet.path("agent.log");
    let _agent = logging(&fleet, ":", fs::File::create(&log).unwrap().into());
    let beat = |fleet: &Fleet, connection: u64| {
        let beats = |m: nixfleet_dashboard::Recorded| {
            m.connection == connection && matches!(m.message, AgentMessage::Heartbeat(_))
        };
        fleet.messages().into_iter().any(beats).then_some(())
    };
    for connection in 1..=2 {
        fleet.wait("a beat of the next agent", |fleet| beat(fleet, connection)).await;
        assert!(
            !fs::read_to_string(&log).unwrap().contains("again and again"),
            "a single restart waits for nothing"
        );
        fleet.dashboard.send_command(HOST, "restart", Some(&format!("r-{connection}"))).unwrap();
    }
    let waits =
        || fs::read_to_string(&log).unwrap().contains("restarts its agents again and again").then_some(());
    eventually("the line about the delay", waits).await;
    fleet.wait("a beat of the third agent", |fleet| beat(fleet, 3)).await;
    fleet.assert_no_violations();
}
