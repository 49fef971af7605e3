//! A dashboard that says much at once, or something odd: every request has its answer, and log and memory stay
//! small.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;

use nixfleet_dashboard::Faults;

use crate::rig::{AgentProcess, Fleet, HOST, eventually};
use crate::usage;

/// An agent that logs into a file, as with systemd but without the journal.
async fn logging_agent(fleet: &Fleet) -> AgentProcess {
    let mut command = fleet.agent_command();
    command.stderr(Stdio::from(fs::File::create(fleet.path("log")).unwrap()));
    let agent = AgentProcess::spawn(command, fleet.path("state"));
    fleet.wait("a beat", |fleet| fleet.beats().pop()).await;
    agent
}

fn log(fleet: &Fleet) -> String {
    fs::read_to_string(fleet.path("log")).unwrap()
}

/// Resident memory of the agent, in bytes.
fn memory(agent: &AgentProcess) -> u64 {
    usage::field(agent.pid(), "VmRSS:") * 1024
}

#[tokio::test]
async fn ten_thousand_commands_in_one_write_get_ten_thousand_answers() {
    const COMMANDS: usize = 10_000;
    /// What the agent may need for them: the answers in its queue, and the buffers of its socket.
    const MEMORY: u64 = 16 << 20;
    let gate = "while [ ! -e \"$GATE\" ]; do sleep 0.05; done";
    let fleet = Fleet::strict().await.script("quick", gate);
    let mut command = fleet.agent_command();
    command.env("GATE", fleet.path("gate")).stderr(fs::File::create(fleet.path("log")).unwrap());
    let agent = AgentProcess::spawn(command, fleet.path("state"));
    fleet.wait("a beat", |fleet| fleet.beats().pop()).await;
    let before = memory(&agent);
    let one = r#"{"type":"command","payload":{"command":"quick"}}"#.to_owned();
    fleet.dashboard.send_many(HOST, vec![one; COMMANDS]).unwrap();
    fleet.wait("9,999 rejections", |fleet| (fleet.rejections().len() == COMMANDS - 1).then_some(())).await;
    let after = memory(&agent);
    assert!(after < before + MEMORY, "{before} bytes before, {after} after");
    fs::write(fleet.path("gate"), "").unwrap();
    let status = fleet.wait("one status", |fleet| fleet.statuses().pop()).await;
    assert_eq!((status.exit_code, fleet.statuses().len(), fleet.rejections().len()), (0, 1, COMMANDS - 1));
    assert_eq!(fleet.dashboard.connections(HOST), 1);
    let log = log(&fleet);
    assert!(log.lines().count() < 40, "{log}");
}

#[tokio::test]
async fn an_odd_field_of_registered_does_not_keep_an_agent_away() {
    for payload in [
        r#"{"capabilities":null,"host_id":null,"ack":null}"#,
        r#"{"host_id":5}"#,
        r#"{"heartbeat_interval":30.0}"#,
        r#"{"heartbeat_interval":-1}"#,
        r#"{"server_time":1700000000}"#,
        r#"{"reconnect_window_s":1.5}"#,
    ] {
        let fleet = Fleet::start().await;
        fleet.dashboard.set_faults(Faults { no_registered: true, ..Faults::default() });
        let mut command = fleet.agent_command();
        command.stderr(fs::File::create(fleet.path("log")).unwrap());
        let _agent = AgentProcess::spawn(command, fleet.path("state"));
        fleet.wait("a registration", |fleet| fleet.messages().pop()).await;
        fleet.dashboard.send_raw(HOST, format!(r#"{{"type":"registered","payload":{payload}}}"#)).unwrap();
        fleet.wait("two beats", |fleet| (fleet.beats().len() >= 2).then_some(())).await;
        assert_eq!(fleet.dashboard.connections(HOST), 1, "{payload}");
        let odd = usize::from(!payload.contains("null"));
        assert_eq!(log(&fleet).matches("cannot be read").count(), odd, "{payload}");
    }
}

#[tokio::test]
async fn no_reason_of_a_close_feeds_the_watchdog_or_forges_a_line() {
    let fleet = Fleet::start().await;
    let socket = UnixDatagram::bind(fleet.path("notify")).unwrap();
    socket.set_nonblocking(true).unwrap();
    let mut command = fleet.agent_command();
    command.env("NOTIFY_SOCKET", fleet.path("notify"));
    command.stderr(fs::File::create(fleet.path("log")).unwrap());
    let _agent = AgentProcess::spawn(command, fleet.path("state"));
    fleet.wait("a beat", |fleet| fleet.beats().pop()).await;
    let reason = "gone\nWATCHDOG=trigger\r\n2026-01-01T00:00:00Z ERROR forged\u{1b}[2J";
    fleet.dashboard.close(HOST, 1008, reason).unwrap();
    let mut told = String::new();
    eventually("the end of the connection", || {
        let mut bytes = [0; 4096];
        let count = socket.recv(&mut bytes).ok()?;
        told += &format!("{}\n", std::str::from_utf8(&bytes[..count]).unwrap());
        told.contains("gone").then_some(())
    })
    .await;
    let names: Vec<&str> =
        told.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
    assert!(names.iter().all(|name| ["READY", "STATUS"].contains(name)), "{told}");
    let line = eventually("the line", || {
        log(&fleet).lines().find(|line| line.contains("Connection lost")).map(str::to_owned)
    })
    .await;
    assert!(line.contains("gone WATCHDOG=trigger 2026-01-01T00:00:00Z ERROR forged"), "{line}");
}

#[tokio::test]
async fn a_flood_of_nonsense_leaves_a_short_log_without_forged_lines() {
    let fleet = Fleet::start().await;
    let _agent = logging_agent(&fleet).await;
    let forged = "nonsense\n2026-01-01T00:00:00Z ERROR forged\u{1b}[2J".to_owned();
    fleet.dashboard.send_many(HOST, vec![forged; 20_000]).unwrap();
    fleet.send("no\nsuch\u{202e}");
    assert_eq!(fleet.wait("a status", |fleet| fleet.statuses().pop()).await.command, "no such");
    let log = log(&fleet);
    assert!(log.len() < 8_000 && log.contains("Skipped a malformed message"), "{log}");
    assert!(log.lines().all(|line| !line.contains("ERROR") || line.contains("preview=")), "{log}");
    let wrong = |letter: char| letter != '\n' && (letter.is_control() || letter == '\u{202e}');
    assert!(!log.contains(wrong), "{log:?}");
    let output = fleet.agent_command().args(["status", "--json"]).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["metrics"]["messages_ignored"]["malformed"], 20_000);
    assert_eq!(report["metrics"]["log_lines_left_out"], 19_995);
}
