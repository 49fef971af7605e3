//! Where secrets must not be: memory that others can read, environments, logs and answers.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output};

use rustix::process::{Pid, Signal};

use nixfleet_dashboard::{Faults, Refusal};
use nixfleet_protocol::AgentMessage;

use crate::rig::{AgentProcess, Fleet, HOST, LIMIT, TOKEN, eventually, in_shell, program};

/// The user `nobody`: without rights, and never the one who runs the tests.
const NOBODY: u32 = 65534;

/// What every secret of these tests contains.
const SECRET: &str = "s3cret";

/// A command that runs a program as a user without rights: `nobody`, or the one who runs the tests.
fn without_rights(program: impl AsRef<std::ffi::OsStr>) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(program);
    command
}

/// Whether a user without rights can read a file.
fn can_read(path: &str) -> bool {
    let output = without_rights("cat").arg(path).output().unwrap();
    output.status.success()
}

/// Gives a folder and everything in it to the user without rights.
fn give_away(path: &Path) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    if path.is_dir() {
        for item in fs::read_dir(path).unwrap() {
            give_away(&item.unwrap().path());
        }
    }
}

/// An agent of a user without rights, in a folder of theirs, with this soft limit for core files.
fn agent_without_rights(fleet: &Fleet, core_limit: &str) -> AgentProcess {
    // The user may not be able to read the folder of the build.
    let copy = fleet.path("nixfleet-agent");
    fs::copy(env!("CARGO_BIN_EXE_nixfleet-agent"), &copy).unwrap();
    let start = format!("ulimit -Sc {core_limit} || exit; exec '{}'", copy.display());
    let mut command = in_shell(without_rights("sh"), &start, &fleet.agent_command());
    command.env("HOME", fleet.folder.path()).current_dir(fleet.folder.path());
    fs::create_dir_all(fleet.path("state")).unwrap();
    give_away(fleet.folder.path());
    AgentProcess::spawn(command, fleet.path("state"))
}

/// The largest soft limit for core files that this process may set, for `ulimit`.
fn hard_core_limit() -> String {
    let output = Command::new("sh").args(["-c", "ulimit -Hc"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn nobody_reads_the_memory_of_an_agent_and_a_crash_leaves_no_core_file() {
    let fleet = Fleet::strict().await;
    let limit = hard_core_limit();
    let mut agent = agent_without_rights(&fleet, &limit);
    fleet.wait("a first heartbeat", |fleet| fleet.beats().first().cloned()).await;

    // The same for a program that does not forbid it shows that the test can tell.
    let mut command = without_rights("sh");
    command.args(["-c", &format!("ulimit -Sc {limit}; exec sleep 600")]).current_dir(fleet.folder.path());
    // It ends with the test, as an agent does.
    let mut other = AgentProcess::spawn(command, fleet.path("state"));
    let other_pid = other.pid();
    let comm = format!("/proc/{}/comm", other_pid.as_raw_nonzero());
    eventually("sleep", || fs::read_to_string(&comm).is_ok_and(|name| name == "sleep\n").then_some(())).await;
    for file in ["environ", "maps", "auxv"] {
        let path = |pid: Pid| format!("/proc/{}/{file}", pid.as_raw_nonzero());
        assert!(can_read(&path(other_pid)), "{file} of a usual process");
        assert!(!can_read(&path(agent.pid())), "{file} of the agent");
    }

    other.signal(Signal::ABORT);
    let other_left_one = other.end().await.core_dumped();
    agent.signal(Signal::ABORT);
    let end = agent.end().await;
    assert_eq!((end.signal(), end.core_dumped()), (Some(Signal::ABORT.as_raw()), false));
    if !other_left_one {
        eprintln!("SKIPPED: this machine writes no core files, so that of the agent proves nothing");
    }
}

#[tokio::test]
async fn a_command_keeps_its_limit_and_cannot_look_into_its_supervisor() {
    if hard_core_limit() == "0" {
        eprintln!("SKIPPED: this machine allows no core files");
        return;
    }
    let look = "echo limit $(ulimit -Sc)\n\
                tr '\\0' '\\n' < /proc/self/environ > /dev/null && echo own environment\n\
                cat /proc/$PPID/environ > /dev/null || echo closed supervisor\n\
                test -r /proc/$PPID/maps && cat /proc/$PPID/maps > /dev/null || echo closed memory";
    let fleet = Fleet::strict().await.script("look", look);
    // 7 blocks is a limit that nobody else sets.
    let _agent = agent_without_rights(&fleet, "7");
    fleet.wait("a first heartbeat", |fleet| fleet.beats().first().cloned()).await;
    fleet.run("look").await;
    let lines: Vec<String> = fleet.lines().into_iter().map(|(_, line, _)| line).collect();
    for wanted in ["limit 7", "own environment", "closed supervisor", "closed memory"] {
        assert!(lines.iter().any(|line| line == wanted), "no {wanted:?} in {lines:#?}");
    }
    fleet.assert_no_violations();
}

/// A checkout, so that nothing is cloned.
fn checkout(fleet: &Fleet) -> std::path::PathBuf {
    let repo = fleet.path("repo");
    fs::create_dir_all(repo.join(".git/refs/heads")).unwrap();
    fs::create_dir_all(repo.join(".git/objects")).unwrap();
    fs::write(repo.join(".git/HEAD"), "ref: refs/heads/main\n").unwrap();
    repo
}

/// Every secret setting that an agent can have.
fn with_secrets(fleet: &Fleet, mut command: Command) -> Command {
    let hook = format!("[\"true\", \"--password={SECRET}-hook\"]");
    command
        .env("NIXFLEET_URL", format!("{}?token={SECRET}-query", fleet.url()))
        .env("NIXFLEET_REPO_URL", format!("http://me:{SECRET}-login@127.0.0.1:9/r"))
        .env("NIXFLEET_REPO_DIR", checkout(fleet))
        .env("NIXFLEET_COMMANDS__OTHER__RUN", "true")
        .env("NIXFLEET_COMMANDS__OTHER__ENV", format!("{{ PASSWORD = \"{SECRET}-env\" }}"))
        .env("NIXFLEET_PREWARM__HOOK", hook)
        .env("NIXFLEET_PATHS__STATUS", fleet.path("state/agent/status.sock"))
        .env("NIXFLEET_METRICS__LISTEN", "127.0.0.1:0");
    command
}

#[tokio::test]
async fn a_command_gets_the_environment_without_the_settings_of_the_agent() {
    let fleet =
        Fleet::strict().await.configure("[commands.show]\nrun = [\"env\"]\nenv = { NIXFLEET_OWN = \"1\" }\n");
    let mut command = with_secrets(&fleet, fleet.agent_command());
    command.env("EDITOR", "of-the-operator");
    let _agent = AgentProcess::spawn(command, fleet.path("state"));
    fleet.wait("a first heartbeat", |fleet| fleet.beats().first().cloned()).await;
    // The first clone, which fails, takes the slot for commands.
    fleet.ended("clone").await;
    assert_eq!(fleet.run("show").await.exit_code, 0);
    let lines: Vec<String> = fleet.lines().into_iter().map(|(_, line, _)| line).collect();
    let mut ours: Vec<&str> =
        lines.iter().filter_map(|line| line.strip_prefix("NIXFLEET_")?.split('=').next()).collect();
    ours.sort_unstable();
    assert_eq!(ours, ["CONFIG", "OWN", "PATHS__STATUS", "STATE_DIR"], "{lines:#?}");
    assert!(lines.iter().any(|line| line == "EDITOR=of-the-operator"), "{lines:#?}");
    assert!(!lines.iter().any(|line| line.contains(SECRET) || line.contains(TOKEN)), "{lines:#?}");
    fleet.assert_no_violations();
}

/// All output of a program, as one text.
fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}

fn metrics_page(address: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// The text of every file below a folder.
fn files_below(folder: &Path) -> String {
    let mut text = String::new();
    for item in fs::read_dir(folder).unwrap() {
        let path = item.unwrap().path();
        if path.is_dir() {
            text += &files_below(&path);
        } else if path.is_file() {
            text += &format!("{}: {}\n", path.display(), String::from_utf8_lossy(&fs::read(&path).unwrap()));
        }
    }
    text
}

#[tokio::test]
async fn no_secret_is_in_any_output_at_any_log_level() {
    let fleet = Fleet::strict().await.script("hello", "echo hello");
    let log = fleet.path("log");
    let mut command = with_secrets(&fleet, fleet.agent_command());
    command.env("NIXFLEET_LOG_LEVEL", "trace").stderr(fs::File::create(&log).unwrap());
    let mut agent = AgentProcess::spawn(command, fleet.path("state"));
    fleet.wait("a first heartbeat", |fleet| fleet.beats().first().cloned()).await;
    fleet.ended("clone").await;
    fleet.run("hello").await;
    // git fails to reach the repository, and says so.
    fleet.run("pull").await;

    let run = |arguments: &[&str]| {
        let output = with_secrets(&fleet, fleet.agent_command()).args(arguments).output().unwrap();
        (arguments.join(" "), said(&output))
    };
    let mut texts = vec![run(&["status"]), run(&["status", "--json"]), run(&["check-config"])];
    texts.extend([run(&["--help"]), run(&["logs"])]);
    let report: serde_json::Value = serde_json::from_str(&texts[1].1).unwrap();
    texts.push(("metrics".to_owned(), metrics_page(report["metrics_at"].as_str().unwrap())));
    let messages: Vec<AgentMessage> = fleet.messages().into_iter().map(|recorded| recorded.message).collect();
    texts.push(("messages".to_owned(), format!("{messages:?}")));
    texts.push(("files".to_owned(), files_below(&fleet.path("state"))));

    // Failures name the dashboard, too.
    let refusal = Refusal { status: 500, retry_after: None };
    fleet.dashboard.set_faults(Faults { refuse_auth: Some(refusal), ..Faults::default() });
    fleet.dashboard.drop_connection(HOST).unwrap();
    eventually("a failure in the log", || {
        fs::read_to_string(&log).is_ok_and(|text| text.contains("the dashboard failed (500")).then_some(())
    })
    .await;
    texts.push(run(&["doctor"]));
    agent.signal(Signal::TERM);
    agent.end().await;
    texts.push(("log".to_owned(), fs::read_to_string(&log).unwrap()));

    // What shows that each text is there, and that the address is in it.
    let address = fleet.url();
    for (what, text) in &texts {
        assert!(text.len() > 50, "{what}: {text}");
        if ["status", "check-config", "doctor", "log"].contains(&what.as_str()) {
            assert!(text.contains(address), "{what}: {text}");
        }
        for secret in [SECRET, TOKEN] {
            let line = text.lines().find(|line| line.contains(secret));
            assert!(line.is_none(), "{what} shows a secret: {line:?}");
        }
    }
    let register = messages.iter().find_map(|message| match message {
        AgentMessage::Register(register) => Some(register.repo_url.clone()),
        _ => None,
    });
    assert_eq!(register.as_deref(), Some("http://127.0.0.1:9/r"));
    fleet.assert_no_violations();
}

#[test]
fn a_wrong_address_is_told_without_its_secrets() {
    for (name, value, wanted) in [
        ("NIXFLEET_URL", "wss://me:s3cret@host/ws", "holds a user name or a password"),
        ("NIXFLEET_URL", "wss//host?token=s3cret", "is not a URL"),
        ("NIXFLEET_URL", "https://me:s3cret@host/ws?s3cret", "write wss://host/ws"),
        ("NIXFLEET_URL", "ws://192.0.2.1/ws?s3cret", "unencrypted"),
        ("NIXFLEET_COMMANDS__X__ENV", "{ A = \"s3cret\"", "is not a table"),
    ] {
        let mut command = program();
        command.arg("check-config").env("NIXFLEET_URL", "ws://127.0.0.1:1/ws").env("NIXFLEET_TOKEN", "t");
        let output = command.env("NIXFLEET_HOSTNAME", HOST).env(name, value).output().unwrap();
        let text = said(&output);
        assert!(output.status.code() == Some(64) && text.contains(wanted), "{value}: {text}");
        assert!(!text.contains(SECRET), "{value}: {text}");
    }
}

#[test]
fn a_fifo_in_place_of_a_file_ends_the_start_and_hangs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .unwrap();
    for name in ["NIXFLEET_CONFIG", "NIXFLEET_TOKEN_FILE", "NIXFLEET_CA_FILE"] {
        let mut command = Command::new("timeout");
        command.args([&LIMIT.as_secs().to_string(), env!("CARGO_BIN_EXE_nixfleet-agent"), "check-config"]);
        command.env("NIXFLEET_URL", "ws://127.0.0.1:1/ws").env("NIXFLEET_HOSTNAME", HOST).env(name, &path);
        if name != "NIXFLEET_TOKEN_FILE" {
            command.env("NIXFLEET_TOKEN", "t");
        }
        let output = command.output().unwrap();
        let text = said(&output);
        assert_eq!(output.status.code(), Some(64), "{name}: {text}");
        assert!(text.contains("not a regular file") && text.contains("/fifo"), "{name}: {text}");
    }
}

#[tokio::test]
async fn a_ca_file_that_is_none_is_told_in_the_log_and_by_check_config() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    let log = folder.path().join("log");
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .unwrap();
    let mut command = program();
    command
        .env("NIXFLEET_URL", "wss://127.0.0.1:1/ws")
        .env("NIXFLEET_TOKEN", "t")
        .env("NIXFLEET_HOSTNAME", HOST);
    command.env("NIXFLEET_CA_FILE", &path).env("NIXFLEET_STATE_DIR", folder.path().join("state"));
    command.stderr(fs::File::create(&log).unwrap());
    let mut agent = AgentProcess::spawn(command, folder.path().join("state"));
    for (content, wanted) in [
        (None, "not a regular file"),
        (Some(&b"\x30\x82\x01"[..]), "holds what looks like PKCS #12"),
        (Some(b"-----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\n"), "certificate 1 in"),
    ] {
        if let Some(content) = content {
            // The agent reads it again for every attempt.
            let new = folder.path().join("new");
            fs::write(&new, content).unwrap();
            fs::set_permissions(&new, fs::Permissions::from_mode(0o644)).unwrap();
            fs::rename(&new, &path).unwrap();
        }
        eventually(wanted, || {
            let text = fs::read_to_string(&log).unwrap();
            text.lines().any(|line| line.contains(wanted) && line.contains("/ca.pem")).then_some(())
        })
        .await;
    }
    agent.signal(Signal::TERM);
    assert_eq!(agent.exit_code().await, 0);
}
