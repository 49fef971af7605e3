//! The program itself, as far as it needs no NATS.

use std::fs;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use crate::client::{PATIENCE, write};

fn program(folder: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nixfleet-dashboard"));
    command.current_dir(folder).kill_on_drop(true).env_remove("NOTIFY_SOCKET").stdin(Stdio::null());
    // Nobody listens there.
    command.env("NIXFLEET_DASHBOARD_NATS__SERVERS", "nats://127.0.0.1:1");
    command
}

/// The exit code, and what it said on standard output and error.
async fn ended(command: &mut Command) -> (i32, String) {
    let output = timeout(PATIENCE, command.output()).await.expect("it ends").unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

/// The line of a password that is piped in.
async fn line(folder: &TempDir, name: &str, password: &str) -> (i32, String) {
    let mut command = program(folder);
    command.args(["password", name]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    // Who does not read it has ended already.
    drop(input.write_all(password.as_bytes()).await);
    drop(input);
    let output = timeout(PATIENCE, child.wait_with_output()).await.expect("it ends").unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

#[tokio::test]
async fn wrong_settings_and_files_end_it_with_64_and_say_the_fix() {
    let folder = tempfile::tempdir().unwrap();
    let (code, text) = line(&folder, "anna", "a long password\n").await;
    assert_eq!(code, 0, "{text}");
    write(&folder.path().join("logins"), &text);
    write(&folder.path().join("wrong"), &format!("{text}ben secret"));
    fs::write(folder.path().join("open"), "key").unwrap();
    for (arguments, said) in [
        (vec![], "there is no login"),
        (vec!["--no-login", "--listen", "0.0.0.0:0"], "of loopback"),
        (vec!["--no-login", "--login-file", "logins"], "leave one of them out"),
        (vec!["--login-file", "absent"], "cannot read the logins in absent"),
        (vec!["--login-file", "logins", "--session-key-file", "absent"], "session-key` makes one"),
        (vec!["--login-file", "logins", "--session-key-file", "open"], "chmod 600"),
        (vec!["--login-file", "wrong"], "wrong, line 2: after the name"),
        (vec!["--no-login", "--nats", "nats://:a"], "is no address of a NATS server"),
        (vec!["--no-login", "--nkey-file", "absent"], "absent"),
        (vec!["--config", "absent"], "cannot read absent"),
        (vec!["--no-logi"], "--no-login"),
    ] {
        let (code, text) = ended(program(&folder).args(&arguments)).await;
        assert!(code == 64 && text.contains(said), "{arguments:?}: {code} {text}");
        assert!(text.starts_with("nixfleet-dashboard: ") || text.starts_with("error: "), "{text}");
    }
    let (_, key) = ended(program(&folder).arg("session-key")).await;
    write(&folder.path().join("key"), &key);
    let right = ["check-config", "--login-file", "logins", "--session-key-file", "key"];
    // Options stand before the subcommand.
    let right = [&right[1..], &right[..1]].concat();
    assert_eq!(ended(program(&folder).args(right)).await, (0, "The settings are right.\n".to_owned()));
    for (name, password, said) in
        [("a/b", "a long password", "cannot be a name"), ("anna", "short", "too short")]
    {
        let (code, text) = line(&folder, name, password).await;
        assert!(code == 64 && text.contains(said), "{name}: {code} {text}");
    }
}

#[tokio::test]
async fn it_waits_for_nats_and_ends_when_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = program(&folder).arg("--no-login").stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let line = timeout(PATIENCE, lines.next_line()).await.expect("it says something").unwrap().unwrap();
    assert!(line.contains("cannot connect to NATS") && line.contains("it is tried again"), "{line}");
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().await.unwrap().success());
    assert!(timeout(PATIENCE, child.wait()).await.expect("it ends").unwrap().success());
}
