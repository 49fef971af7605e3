//! The program itself, as far as it needs no NATS.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::UnixDatagram;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::client::Client;

/// Longest wait for anything, also beside other builds.
const PATIENCE: Duration = Duration::from_secs(60);

fn program(folder: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nixfleet-gateway"));
    command.current_dir(folder).kill_on_drop(true).env_remove("NOTIFY_SOCKET");
    for (name, value) in [
        ("TOKENS_FILE", "tokens"),
        ("LISTEN", "[\"127.0.0.1:0\"]"),
        ("HEALTH_LISTEN", "127.0.0.1:0"),
        // Nobody listens there.
        ("NATS__SERVERS", "[\"nats://127.0.0.1:1\"]"),
    ] {
        command.env(format!("NIXFLEET_GATEWAY_{name}"), value);
    }
    command
}

fn folder() -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let token = nixfleet_gateway::new_token("web-1").unwrap();
    fs::write(folder.path().join("tokens"), token.line).unwrap();
    (folder, token.secret)
}

/// The exit code, and what it said on standard output and error.
async fn ended(command: &mut Command) -> (i32, String) {
    let output = timeout(PATIENCE, command.output()).await.expect("it ends").unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

#[tokio::test]
async fn wrong_settings_and_files_end_it_with_64_and_say_the_fix() {
    let (folder, _) = folder();
    let right = ended(program(&folder).arg("check-config")).await;
    assert_eq!(right, (0, "The settings are right.\n".to_owned()));
    for (name, value, said) in [
        ("LISTN", "[]", "NIXFLEET_GATEWAY_LISTN, `listn`"),
        ("LISTN", "[]", "did you mean `listen`?"),
        ("TOKENS_FILE", "absent", "cannot read the tokens in absent"),
        ("LOG_LEVEL", "loud", "`log_level`"),
    ] {
        let variable = format!("NIXFLEET_GATEWAY_{name}");
        let (code, text) = ended(program(&folder).arg("check-config").env(variable, value)).await;
        assert!(code == 64 && text.contains(said), "{name}: {code} {text}");
    }
    // Nobody has to wait for what stays wrong.
    for (servers, said) in [("[\"nats://:a\"]", "is no address of a NATS server"), ("[]", "`nats.servers`")] {
        let (code, text) = ended(program(&folder).env("NIXFLEET_GATEWAY_NATS__SERVERS", servers)).await;
        assert!(code == 64 && text.contains(said), "{code} {text}");
    }
    let (code, text) = ended(program(&folder).args(["token", "a b"])).await;
    assert!(code == 64 && text.contains("cannot be a hostname"), "{code} {text}");
}

/// What the program tells a service manager, without its times.
async fn told(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 256];
    let length = timeout(PATIENCE, socket.recv(&mut buffer)).await.expect("it says something").unwrap();
    let text = str::from_utf8(&buffer[..length]).unwrap();
    let names = text.lines().map(|line| line.trim_end_matches(|c: char| c.is_ascii_digit()));
    names.collect::<Vec<_>>().join(" ")
}

async fn signal(child: &Child, name: &str) {
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args([name, &pid]).status().await.unwrap().success());
}

#[tokio::test]
async fn without_nats_it_is_started_and_asks_agents_to_come_again() {
    let (folder, token) = folder();
    let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
    let mut command = program(&folder);
    command.env("NOTIFY_SOCKET", folder.path().join("notify")).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut agents = None;
    let why = loop {
        let line = timeout(PATIENCE, lines.next_line()).await.expect("it says something").unwrap().unwrap();
        let address = line.split("agents: ").nth(1).and_then(|rest| rest.strip_suffix("/ws"));
        agents = agents.or_else(|| address?.parse::<SocketAddr>().ok());
        if line.contains("it is tried again") {
            break line;
        }
    };
    assert!(why.contains("cannot connect to NATS at nats://127.0.0.1:1"), "{why}");
    assert_eq!(told(&socket).await, "READY=");
    let agents = agents.unwrap();
    assert_eq!(Client::connect(agents, &token).await.err(), Some(503));
    signal(&child, "-HUP").await;
    assert_eq!(told(&socket).await, "RELOADING= MONOTONIC_USEC=");
    assert_eq!(told(&socket).await, "READY=");
    signal(&child, "-TERM").await;
    assert_eq!(told(&socket).await, "STOPPING= EXTEND_TIMEOUT_USEC=");
    assert!(timeout(PATIENCE, child.wait()).await.expect("it ends").unwrap().success());
}

#[tokio::test]
async fn secrets_go_to_new_files_that_only_their_owner_reads() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let run = async |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nixfleet-gateway"));
        let output = timeout(PATIENCE, command.args(words).current_dir(folder.path()).output()).await;
        let output = output.expect("it ends").unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let (code, line, _) = run(&["token", "web-1", "web-1.token"]).await;
    assert!(code == 0 && line.starts_with("web-1 ") && line.lines().count() == 1, "{line}");
    let (code, key, _) = run(&["nkey", "gateway.nk"]).await;
    assert!(code == 0 && key.starts_with('U') && key.trim().len() == 56, "{key}");
    for (name, begin) in [("web-1.token", ""), ("gateway.nk", "SU")] {
        let secret = fs::read_to_string(file(name)).unwrap();
        assert!(secret.starts_with(begin) && secret.lines().count() == 1, "{secret}");
        assert_eq!(fs::metadata(file(name)).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let before = fs::read(file("gateway.nk")).unwrap();
    let (code, printed, why) = run(&["nkey", "gateway.nk"]).await;
    assert!(code == 1 && printed.is_empty() && why.contains("cannot write gateway.nk: File exists"), "{why}");
    assert_eq!(fs::read(file("gateway.nk")).unwrap(), before);
    let (code, both, _) = run(&["token", "web-1"]).await;
    assert!(code == 0 && both.contains("token: ") && both.contains("line of tokens_file: "), "{both}");
}
