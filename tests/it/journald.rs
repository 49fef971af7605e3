//! What the journal gets when standard error is connected to it: each line with its priority.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use crate::rig::{AgentProcess, Fleet, eventually, program};

/// Sends standard error to a new file, and says in the environment that this file is the journal.
fn to_journal(command: &mut Command, path: &Path) {
    let file = File::create(path).unwrap();
    let found = file.metadata().unwrap();
    command.env("JOURNAL_STREAM", format!("{}:{}", found.dev(), found.ino())).stderr(file);
}

fn has_priority(line: &str) -> bool {
    line.starts_with('<') && line.get(2..3) == Some(">")
}

/// The log of an agent whose token is refused.
async fn log_of_refused_agent(fleet: &Fleet, mut command: Command, log: &Path) -> String {
    command.env("NIXFLEET_TOKEN", "wrong");
    let _agent = AgentProcess::spawn(command, fleet.path("state"));
    eventually("the refusal in the log", || {
        fs::read_to_string(log).ok().filter(|text| text.contains("Not connected: ") && text.ends_with('\n'))
    })
    .await
}

#[tokio::test]
async fn in_the_journal_a_refused_token_is_a_warning_and_the_start_is_not() {
    let fleet = Fleet::start().await;
    let log = fleet.path("log");
    let mut command = fleet.agent_command();
    to_journal(&mut command, &log);
    let text = log_of_refused_agent(&fleet, command, &log).await;
    assert!(text.lines().all(has_priority), "{text}");
    let refusal = "Not connected: the dashboard refused the token";
    let refusal = text.lines().find(|line| line.contains(refusal)).unwrap_or_else(|| panic!("{text}"));
    assert!(refusal.starts_with("<4>connection{"), "{text}");
    assert!(text.starts_with("<6>Started. "), "neither time nor level: {text}");
}

#[tokio::test]
async fn elsewhere_lines_have_a_level_and_no_priority() {
    let fleet = Fleet::start().await;
    let inherited = fleet.path("inherited");
    // An agent in a unit whose standard error is sent elsewhere still inherits the variable.
    for journal_stream in [None, Some(&inherited)] {
        let log = fleet.path("log");
        let mut command = fleet.agent_command();
        match journal_stream {
            Some(path) => to_journal(&mut command, path),
            None => drop(command.env_remove("JOURNAL_STREAM")),
        }
        command.stderr(File::create(&log).unwrap());
        let text = log_of_refused_agent(&fleet, command, &log).await;
        assert!(!text.lines().any(has_priority), "{text}");
        let refusal = "Not connected: the dashboard refused the token";
        assert!(text.lines().any(|line| line.contains(" WARN ") && line.contains(refusal)), "{text}");
    }
}

#[test]
fn errors_before_the_end_are_errors_in_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    for (arguments, code) in [
        (&["run"][..], 64),
        (&["check-config"], 64),
        (&["--nonsense"], 64),
        (&["exec-job", "--", "x"], 64),
        (&["exec-job", "--", "pull-0123456789abcdef0123456789abcdef"], 64),
        (&["vitals", "--follow", "--file", "/no/such/file"], 64),
    ] {
        let mut command = program();
        command.args(arguments).env("NIXFLEET_INTERVAL", "soon").env("NIXFLEET_HOSTNAME", "under_score");
        to_journal(&mut command, &log);
        let status = command.status().unwrap();
        let text = fs::read_to_string(&log).unwrap();
        assert_eq!(status.code(), Some(code), "{arguments:?}: {text}");
        assert!(
            !text.is_empty() && text.lines().all(|line| line.starts_with("<3>")),
            "{arguments:?}: {text}"
        );
    }
}
