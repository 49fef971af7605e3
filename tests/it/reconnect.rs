//! Reconnects while a command runs or ends: no line of output and no status is lost, and no old heartbeat is sent
//! late. Also the refused token, and SIGTERM.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use nixfleet_dashboard::Refusal;
use nixfleet_protocol::AgentMessage;

use crate::rig::{AgentProcess, Fleet, HOST, LIMIT, eventually, in_nats, lives};
use crate::skipped::skipped;

#[tokio::test]
async fn t02_scenario_6_reconnection() {
    let endless = "i=0; while [ ! -e \"$GATE\" ]; do i=$((i + 1)); echo line $i; sleep 0.05; done; echo end";
    let fleet = Fleet::start().await.script("long", endless);
    let mut command = fleet.agent_command();
    command.env("GATE", fleet.path("gate"));
    let _agent = crate::rig::AgentProcess::spawn(command, fleet.path("state"));
    fleet.wait("a beat", |fleet| fleet.beats().pop()).await;
    fleet.send("long");
    let pid = fleet.running("long").await;
    // The dashboard refuses every attempt while the command runs.
    fleet.refuse(Refusal { status: 502, retry_after: None });
    let beats_before = fleet.beats().len();
    fleet.cut();
    let cut = jiff::Timestamp::now();
    fleet.dashboard.wait_until("the loss", LIMIT, |d| (!d.host(HOST)?.connected).then_some(())).await;
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    assert!(lives(pid), "the command runs on");
    let restored = jiff::Timestamp::now();
    fleet.admit();

    fleet
        .wait("a beat on the new connection", |fleet| {
            (fleet.messages().last()?.connection == 2 && fleet.beats().len() > beats_before).then_some(())
        })
        .await;
    std::fs::write(fleet.path("gate"), "").unwrap();
    let status = fleet.wait("the status", |fleet| fleet.statuses().pop()).await;
    assert_eq!(status.exit_code, 0);
    let messages = fleet.messages();
    let again = messages.iter().position(|m| m.connection == 2).unwrap();
    let AgentMessage::Register(register) = &messages[again].message else { panic!("{:?}", messages[again]) };
    assert_eq!(register.running_job.as_ref().map(|job| job.command.as_str()), Some("long"));
    // NATS keeps the order of one kind of message only: output may be read before the heartbeat.
    let beat =
        messages[again..].iter().position(|m| matches!(m.message, AgentMessage::Heartbeat(_))).unwrap();
    assert!(beat == 1 || in_nats::is_on(), "{:?}", messages[again + 1]);
    let beat = again + beat;
    let AgentMessage::Heartbeat(first) = &messages[beat].message else { unreachable!() };
    assert_eq!((first.pending_command.as_deref(), first.command_pid), (Some("long"), Some(pid)));
    let pause = messages[beat].at_ms - messages[again].at_ms;
    assert!(pause < 300 || in_nats::is_on(), "beats at once after `registered`");

    for (_, beat) in &fleet.beats()[beats_before..] {
        let sent: jiff::Timestamp = beat.sent_at.as_ref().unwrap().parse().unwrap();
        assert!(sent >= restored, "a beat of {sent}, from between {cut} and {restored}, was replayed");
    }
    let texts: Vec<String> = unique_lines(&fleet);
    let numbered = (1..texts.len()).map(|n| format!("line {n}"));
    let expected: Vec<String> = numbered.chain(["end".to_owned()]).collect();
    assert!(texts.len() > 30, "there was output while the connection was down");
    assert_eq!(texts, expected, "its output is complete and in order");
    assert_eq!(fleet.statuses().len(), 1);
}

/// The text of each line, ordered by position. Fails if a position is missing or has two different texts.
fn unique_lines(fleet: &Fleet) -> Vec<String> {
    let lines: BTreeSet<(u64, String)> =
        fleet.lines().into_iter().map(|(seq, line, _)| (seq, line)).collect();
    let seqs: Vec<u64> = lines.iter().map(|(seq, _)| *seq).collect();
    let broken: Vec<&[u64]> = seqs.windows(2).filter(|pair| pair[1] != pair[0] + 1).collect();
    assert!(
        broken.is_empty() && seqs.first() == Some(&1),
        "a hole, or a position with two texts: {broken:?}"
    );
    lines.into_iter().map(|(_, line)| line).collect()
}

#[tokio::test]
async fn a_command_that_ends_while_the_connection_is_down_is_told_once_it_is_back() {
    let gate = "while [ ! -e \"$GATE\" ]; do sleep 0.05; done; echo after";
    let fleet = Fleet::start().await.script("gated", gate);
    let mut command = fleet.agent_command();
    command.env("GATE", fleet.path("gate"));
    let _agent = crate::rig::AgentProcess::spawn(command, fleet.path("state"));
    fleet.wait("a beat", |fleet| fleet.beats().pop()).await;
    fleet.send("gated");
    let pid = fleet.running("gated").await;
    fleet.refuse(Refusal { status: 503, retry_after: Some(1) });
    fleet.cut();
    std::fs::write(fleet.path("gate"), "").unwrap();
    crate::rig::eventually("the command's end", || (!lives(pid)).then_some(())).await;
    fleet.admit();
    let status = fleet.wait("the status", |fleet| fleet.statuses().pop()).await;
    assert_eq!(status.exit_code, 0);
    assert_eq!(unique_lines(&fleet), ["after"]);
    fleet.wait("a free slot", |fleet| fleet.beats().pop()?.1.pending_command.is_none().then_some(())).await;
    assert_eq!(fleet.run("gated").await.exit_code, 0);
    assert_eq!(fleet.statuses().len(), 2, "each once");
}

#[tokio::test]
async fn four_cuts_in_the_middle_of_a_flood_lose_no_line() {
    let fleet = Fleet::start()
        .await
        .script("flood", "for i in $(seq 1 300); do seq -f \"$i-%.0f\" 1 100; sleep 0.01; done");
    let _agent = fleet.agent().await;
    fleet.send("flood");
    // Each makes the next reconnect later: 15 s at most, all together.
    for cut in 1..=4 {
        fleet.wait("output", |fleet| (fleet.dashboard.host(HOST)?.lines >= cut * 1000).then_some(())).await;
        fleet.cut();
    }
    fleet.wait("the status", |fleet| fleet.statuses().pop()).await;
    let expected: Vec<String> = (1..=300).flat_map(|i| (1..=100).map(move |j| format!("{i}-{j}"))).collect();
    assert_eq!(unique_lines(&fleet), expected);
}

#[tokio::test]
async fn a_refused_token_is_told_from_a_network_that_is_down_and_rotation_needs_no_restart() {
    let fleet = Fleet::start().await;
    let token = fleet.path("token");
    std::fs::write(&token, "old-token\n").unwrap();
    let log = std::fs::File::create(fleet.path("log")).unwrap();
    let mut command = fleet.agent_command();
    command.env_remove("NIXFLEET_TOKEN").env("NIXFLEET_TOKEN_FILE", &token).stderr(log);
    let mut agent = crate::rig::AgentProcess::spawn(command, fleet.path("state"));
    let text = crate::rig::eventually("the complaint", || {
        std::fs::read_to_string(fleet.path("log")).ok().filter(|text| text.contains("(401)"))
    })
    .await;
    assert!(text.contains("refused the token") && !text.contains("old-token"), "{text}");
    std::fs::write(&token, "test-token\n").unwrap();
    fleet.wait("a beat with the new token", |fleet| fleet.beats().pop()).await;
    assert!(agent.is_running());
}

/// Processes of the agent's user in [`a_user_without_threads_costs_attempts_and_not_the_agent`], threads
/// included. The agent needs a quarter of them.
const PROCESSES: u32 = 40;

#[tokio::test]
async fn a_user_without_threads_costs_attempts_and_not_the_agent() {
    // The kernel counts the processes of a user, root's excepted.
    if !rustix::process::geteuid().is_root() {
        return skipped("using up the processes of a user needs root");
    }
    // Nobody else's, and another one in each run of the tests.
    let user = 60_000 + std::process::id() % 5000;
    let fleet = Fleet::start().await;
    let settings = fleet.agent_command();
    // Other users may not be able to reach the folder of the build.
    let program = fleet.path("nixfleet-agent");
    fs::copy(settings.get_program(), &program).unwrap();
    fs::set_permissions(fleet.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(fleet.path("state")).unwrap();
    chown(fleet.path("state"), Some(user), Some(user)).unwrap();
    let mut command = Command::new("prlimit");
    command.arg(format!("--nproc={PROCESSES}:{PROCESSES}")).arg(&program).uid(user).gid(user);
    command.env_clear().envs(settings.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
    command.stderr(fs::File::create(fleet.path("log")).unwrap());
    let mut agent = AgentProcess::spawn(command, fleet.path("state"));
    fleet.wait("a beat", |fleet| fleet.beats().pop()).await;

    let one = || Command::new("sleep").arg("60").uid(user).gid(user).spawn().unwrap();
    let mut others: Vec<Child> = (0..PROCESSES).map(|_| one()).collect();
    fleet.cut();
    let failed = eventually("failed attempts", || {
        let text = fs::read_to_string(fleet.path("log")).unwrap();
        if !agent.is_running() {
            return Some(Err(text));
        }
        (text.matches("no thread to connect with: ").count() >= 2).then_some(Ok(()))
    })
    .await;
    for other in &mut others {
        other.kill().unwrap();
        other.wait().unwrap();
    }
    failed.unwrap();
    fleet.wait("a second connection", |fleet| (fleet.dashboard.connections(HOST) >= 2).then_some(())).await;
}

#[tokio::test]
async fn sigterm_closes_politely_exits_0_and_leaves_the_command_alone() {
    let fleet = Fleet::start().await.held("long", "echo done");
    let mut agent = fleet.agent().await;
    fleet.send("long");
    let pid = fleet.running("long").await;
    let begun = std::time::Instant::now();
    agent.signal(Signal::TERM);
    assert_eq!(agent.exit_code().await, 0);
    assert!(begun.elapsed().as_millis() < 1500, "{:?}", begun.elapsed());
    assert!(lives(pid));
    fleet.let_go();
    let _next = fleet.spawn_agent();
    let status = fleet.wait("the status", |fleet| fleet.statuses().pop()).await;
    assert_eq!((status.command.as_str(), status.exit_code), ("long", 0));
    assert_eq!(unique_lines(&fleet), ["done"]);
}
