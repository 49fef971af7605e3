//! Starts with a wrong settings file.

use std::fs;
use std::process::{Command, Output};

use rustix::process::Signal;
use serde_json::Value;

use crate::rig::{AgentProcess, Fleet, HOST, eventually, job_folder, journal, json};

/// The program with the settings of the agent, without writing the settings file.
fn with_settings(fleet: &Fleet) -> Command {
    let file = fleet.path("agent.toml");
    let before = fs::read_to_string(&file);
    let command = fleet.agent_command();
    if let Ok(before) = before {
        fs::write(file, before).unwrap();
    }
    command
}

fn output(fleet: &Fleet, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = with_settings(fleet);
    command.env("NIXFLEET_PATHS__STATUS", fleet.path("state/agent/status.sock"));
    let Output { status, stdout, stderr } = command.args(arguments).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// Waits until the settings of the connected agent are known to lead to a dashboard.
async fn proven(fleet: &Fleet) {
    let note = fleet.path("state/agent/registered-settings.json");
    eventually("a note of the registration", || json(&note)).await;
}

async fn end(mut agent: AgentProcess) {
    agent.signal(Signal::TERM);
    assert_eq!(agent.exit_code().await, 0);
}

/// The system on trial may have brought the mistake, and its guard may have been killed.
#[tokio::test]
async fn a_guard_finds_its_job_with_a_wrong_settings_file() {
    let fleet = Fleet::strict().await;
    end(fleet.agent().await).await;
    fs::write(fleet.path("agent.toml"), "nonsense = 1\n").unwrap();
    let (code, _, error) = output(&fleet, &["exec-guard", "0123456789abcdef0123456789abcdef"]);
    let jobs = fleet.path("state/jobs/0123456789abcdef0123456789abcdef");
    let expected = format!("no system is on trial: there is no trial.json in {}", jobs.display());
    assert!(code == Some(1) && error.contains(&expected), "{code:?} {error}");
}

#[tokio::test]
async fn a_wrong_settings_file_leaves_no_host_dark_and_everybody_is_told() {
    let fleet = Fleet::strict().await.script("hello", "echo hello");
    let agent = fleet.agent().await;
    assert_eq!(fleet.beats()[0].1.last_good_settings, None);
    proven(&fleet).await;
    end(agent).await;

    let (file, log) = (fleet.path("agent.toml"), fleet.path("log"));
    let good = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{good}[nonsense]\nurl = 'https://me:hunter2@host'\n")).unwrap();
    let mut command = with_settings(&fleet);
    command.stderr(fs::File::create(&log).unwrap());
    let agent = AgentProcess::spawn(command, fleet.path("state"));
    let beat = fleet.wait("a beat that tells it", |fleet| fleet.beats().pop()?.1.last_good_settings).await;
    assert_eq!(beat.file, file.to_str().unwrap());
    // The page shows it.
    let view = fleet.dashboard.host(HOST).unwrap();
    assert_eq!(view.last_good_settings.as_deref(), Some(&*beat));
    assert!(beat.accepted_at.parse::<jiff::Timestamp>().is_ok(), "{beat:?}");
    assert!(beat.problems.len() == 1 && beat.problems[0].starts_with("nonsense"), "{beat:?}");

    // The supervisor uses the same settings, and says so.
    assert_eq!(fleet.run("hello").await.exit_code, 0);
    let lines: Vec<String> = journal(&fleet).into_iter().map(|(_, line)| line).collect();
    assert!(lines[0].contains("agent.toml is wrong, so the settings that were accepted at"), "{lines:?}");
    assert!(lines[1].starts_with("nonsense: unknown key"), "{lines:?}");
    assert!(lines.contains(&"hello".to_owned()), "{lines:?}");

    let (code, page, said) = output(&fleet, &["status", "--utc"]);
    assert_eq!(code, Some(0), "{said}");
    // However the row is cut into lines.
    let words: Vec<&str> = page.split_whitespace().collect();
    let accepted = beat.accepted_at[..19].replace('T', " ");
    let row = format!(
        "settings {} is wrong; those of {accepted} UTC are in use nonsense: unknown key",
        file.display()
    );
    assert!(words.join(" ").contains(&row), "{row}: {page}");
    assert!(said.starts_with("nixfleet-agent: warning: ") && said.lines().count() == 1, "{said}");
    let (_, document, _) = output(&fleet, &["status", "--json"]);
    let document: Value = serde_json::from_str(&document).unwrap();
    assert_eq!(document["last_good_settings"]["accepted_at"], beat.accepted_at.as_str());

    let (code, text, said) = output(&fleet, &["logs", "hello"]);
    assert!(code == Some(0) && text.contains("hello\n"), "{said}");
    let (code, _, said) = output(&fleet, &["check-config"]);
    assert!(code == Some(64) && said.contains("nonsense: unknown key"), "{said}");
    let (code, found, _) = output(&fleet, &["doctor", "--json"]);
    assert_eq!(code, Some(64), "{found}");
    let found: Value = serde_json::from_str(&found).unwrap();
    let checks: Vec<(&str, &str)> = found["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|check| (check["check"].as_str().unwrap(), check["verdict"].as_str().unwrap()))
        .collect();
    assert_eq!(checks[..2], [("configuration", "fail"), ("configuration", "warning")], "{checks:?}");
    assert!(checks.contains(&("agent", "ok")), "the rest is looked at as well: {checks:?}");

    end(agent).await;
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.contains("ERROR") && text.contains("then restart the agent."), "{text}");
    assert_eq!(text.matches("nonsense: unknown key").count(), 1, "{text}");
    for shown in [&text, &page, &said] {
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    fs::write(&file, good).unwrap();
    let beats = fleet.beats().len();
    let _agent = AgentProcess::spawn(with_settings(&fleet), fleet.path("state"));
    let beat = fleet.wait("a beat of the next agent", |fleet| fleet.beats().get(beats).cloned()).await.1;
    assert_eq!(beat.last_good_settings, None, "mended");
    fleet.assert_no_violations();
}

#[tokio::test]
async fn settings_that_never_reached_a_dashboard_are_not_the_last_good_ones() {
    let fleet = Fleet::start().await;
    let (file, log) = (fleet.path("agent.toml"), fleet.path("log"));
    let agent_with = |settings: &str| {
        let mut command = fleet.agent_command();
        fs::write(&file, settings).unwrap();
        command.env_remove("NIXFLEET_URL").stderr(fs::File::create(&log).unwrap());
        AgentProcess::spawn(command, fleet.path("state"))
    };
    let good = format!("url = \"{}\"\n", fleet.url());
    let agent = agent_with(&good);
    proven(&fleet).await;
    end(agent).await;
    let connections = fleet.dashboard.connections(HOST);

    // Without a mistake, and nobody is there.
    let agent = agent_with("url = \"ws://127.0.0.1:1/ws\"\n");
    eventually("an attempt to connect", || {
        fs::read_to_string(&log).unwrap().contains("Not connected: cannot reach 127.0.0.1:1").then_some(())
    })
    .await;
    let kept = json(&fleet.path("state/settings/last-good.json")).unwrap();
    assert_eq!(kept["proven"]["text"], good.as_str());
    end(agent).await;
    assert_eq!(fleet.dashboard.connections(HOST), connections);

    let _agent = agent_with("url = \"ws://127.0.0.1:1/ws\n");
    let beat =
        fleet.wait("a beat with the older address", |fleet| fleet.beats().pop()?.1.last_good_settings).await;
    assert!(beat.problems[0].contains("agent.toml:1:"), "{beat:?}");
    let kept = json(&fleet.path("state/settings/last-good.json")).unwrap();
    assert_eq!((kept["accepted"]["text"].as_str(), &kept["proven"]), (Some(good.as_str()), &Value::Null));
}

#[tokio::test]
async fn status_and_logs_work_whatever_the_file_says() {
    let fleet = Fleet::start().await.script("hello", "echo hello");
    let _agent = fleet.agent().await;
    fleet.run("hello").await;
    let id = job_folder(&fleet).file_name().unwrap().to_str().unwrap().to_owned();
    fs::remove_dir_all(fleet.path("state/settings")).unwrap();
    for wrong in ["[", "interval = 0\n[nonsense]\n", "\u{0}"] {
        fs::write(fleet.path("agent.toml"), wrong).unwrap();
        let (code, page, said) = output(&fleet, &["status"]);
        assert!(code == Some(0) && page.contains(": connected to "), "{wrong}: {said}");
        assert!(
            said.starts_with("nixfleet-agent: warning: ") && said.lines().count() == 1,
            "{wrong}: {said}"
        );
        assert!(said.contains(&format!("state folder {}", fleet.path("state").display())), "{wrong}: {said}");
        let (code, list, said) = output(&fleet, &["logs", "--list"]);
        assert!(code == Some(0) && list.contains(&id[id.len() - 12..]), "{wrong}: {said}");
        assert!(said.contains("warning: the settings are wrong"), "{wrong}: {said}");
        let (code, log, said) = output(&fleet, &["logs", "hello"]);
        assert!(code == Some(0) && log == "hello\n", "{wrong}: {log}{said}");
    }
}
