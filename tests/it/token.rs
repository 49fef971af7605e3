//! Tokens in environment files, and files without a token.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;
use serde_json::Value;

use crate::rig::{AgentProcess, Fleet, HOST, TOKEN, run_program};

#[track_caller]
fn hides_the_token(text: &str) {
    assert!(!text.contains(TOKEN), "{text}");
}

#[tokio::test]
async fn an_environment_file_with_the_token_connects_and_is_told_once() {
    let fleet = Fleet::strict().await;
    let (file, log) = (fleet.path("fleet.env"), fleet.path("log"));
    fs::write(
        &file,
        format!("# of the old agent\r\nNIXFLEET_URL=ws://x\r\nexport NIXFLEET_TOKEN=\"{TOKEN}\"\r\n"),
    )
    .unwrap();
    let mut command = fleet.agent_command();
    command.env_remove("NIXFLEET_TOKEN").env("NIXFLEET_TOKEN_FILE", &file);
    command.env("NIXFLEET_HOSTNAME", format!("{HOST}.lan"));
    command.stderr(fs::File::create(&log).unwrap());
    let mut agent = AgentProcess::spawn(command, fleet.path("state"));
    for connection in 1..=3 {
        let is_there = |fleet: &Fleet| {
            let beats = fleet.dashboard.host(HOST)?.last_seen.is_some();
            (beats && fleet.dashboard.connections(HOST) == connection).then_some(())
        };
        fleet.wait("the next connection", is_there).await;
        if connection < 3 {
            fleet.dashboard.drop_connection(HOST).unwrap();
        }
    }
    agent.signal(Signal::TERM);
    assert_eq!(agent.exit_code().await, 0);
    let text = fs::read_to_string(&log).unwrap();
    assert_eq!(
        text.matches("is an environment file, of which only NIXFLEET_TOKEN is read").count(),
        1,
        "{text}"
    );
    assert!(text.contains(file.to_str().unwrap()), "{text}");
    assert_eq!(text.matches("\"test-host.lan\" is shortened to \"test-host\"").count(), 1, "{text}");
    hides_the_token(&text);
    fleet.assert_no_violations();
}

#[tokio::test]
async fn check_config_and_doctor_tell_it_too() {
    let fleet = Fleet::start().await;
    let file = fleet.path("fleet.env");
    let path = file.to_str().unwrap();
    let state = fleet.path("state");
    let settings = [
        ("NIXFLEET_URL", "ws://127.0.0.1:1/ws"),
        ("NIXFLEET_TOKEN_FILE", path),
        ("NIXFLEET_HOSTNAME", "host.lan"),
        ("NIXFLEET_STATE_DIR", state.to_str().unwrap()),
        ("NIXFLEET_VITALS__ENABLED", "false"),
    ];
    let warning =
        format!("The token file {path} is an environment file, of which only NIXFLEET_TOKEN is read");
    let wrong = format!("{path} holds something else than a token: character 5");
    for (content, code, said) in
        [(format!("NIXFLEET_TOKEN={TOKEN}\n"), 0, &warning), (format!("test {TOKEN}\n"), 64, &wrong)]
    {
        fs::write(&file, content).unwrap();
        let output = run_program(&["check-config"], &settings);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert_eq!(text.matches(said).count(), 1, "{text}");
        hides_the_token(&text);
        assert_eq!(text.contains("\"host.lan\" is shortened to \"host\""), code == 0, "{text}");

        let output = run_program(&["doctor", "--json"], &settings);
        hides_the_token(&String::from_utf8(output.stdout.clone()).unwrap());
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        let texts: Vec<&str> =
            found["checks"].as_array().unwrap().iter().filter_map(|check| check["text"].as_str()).collect();
        assert_eq!(texts.iter().filter(|text| text.contains(said.as_str())).count(), 1, "{texts:#?}");
        assert!(
            texts.iter().any(|text| text.contains("\"host.lan\" is shortened to \"host\"")),
            "{texts:#?}"
        );
    }
}

#[test]
fn a_token_file_that_this_user_may_not_read_is_a_warning() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    fs::write(&file, TOKEN).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
    let settings = [
        ("NIXFLEET_URL", "ws://127.0.0.1:1/ws"),
        ("NIXFLEET_TOKEN_FILE", file.to_str().unwrap()),
        ("NIXFLEET_HOSTNAME", HOST),
        ("NIXFLEET_STATE_DIR", "/tmp/never-made"),
    ];
    // Root may read every file, unless it has lost its capabilities.
    let output = match rustix::process::geteuid().is_root() {
        true => {
            let mut command = std::process::Command::new("setpriv");
            command.args(["--bounding-set=-all", "--inh-caps=-all", "--"]);
            command
                .arg(env!("CARGO_BIN_EXE_nixfleet-agent"))
                .arg("check-config")
                .envs(settings)
                .output()
                .unwrap()
        }
        false => run_program(&["check-config"], &settings),
    };
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("warning: token_file: this user may not read /"), "{text}");
}

#[test]
fn of_an_installed_agent_check_config_reads_the_token_that_its_unit_passes() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let unit = format!(
        "[Service]\nLoadCredential=token:{}\nEnvironment=NIXFLEET_URL=ws://127.0.0.1:1/ws\n\
         Environment=NIXFLEET_HOSTNAME={HOST}\n",
        path("token").display()
    );
    fs::write(path("unit"), unit).unwrap();
    fs::write(path("systemctl"), format!("#!/bin/sh\nexec cat {}\n", path("unit").display())).unwrap();
    fs::set_permissions(path("systemctl"), fs::Permissions::from_mode(0o755)).unwrap();
    let system_path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let check = |more: &[(&str, &str)]| {
        let output = run_program(&["check-config"], &[&[("PATH", system_path.as_str())], more].concat());
        let (out, err) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        (output.status.code(), out, err)
    };
    fs::write(path("token"), TOKEN).unwrap();
    // A log level is about what the caller sees, and says nothing about the agent.
    for level in [&[][..], &[("NIXFLEET_LOG_LEVEL", "debug")]] {
        let (code, out, err) = check(level);
        assert_eq!(code, Some(0), "{err}");
        assert!(out.contains(HOST) && out.contains("with the settings of nixfleet-agent.service"), "{out}");
    }
    fs::write(path("token"), "two words").unwrap();
    let (code, _, err) = check(&[]);
    assert!(code == Some(64) && err.contains("nixfleet-agent: token: /"), "{code:?} {err}");
    for words in ["character 4 is a blank", "(LoadCredential= of nixfleet-agent.service)"] {
        assert!(err.contains(words), "{err}");
    }
    fs::remove_file(path("token")).unwrap();
    let (code, out, err) = check(&[]);
    assert!(code == Some(64) && out.is_empty(), "{code:?} {out}");
    let wanted =
        "does not exist on this machine; nixfleet-agent.service cannot connect without it, so write it\n";
    assert!(err.lines().count() == 1 && err.ends_with(wanted), "{err}");
    // A caller with settings of their own means another agent.
    let own = [("PATH", system_path.as_str()), ("NIXFLEET_URL", "ws://127.0.0.1:1/ws")];
    let err = String::from_utf8(run_program(&["check-config"], &own).stderr).unwrap();
    assert!(err.contains("token: missing"), "{err}");
}

#[test]
fn of_an_installed_agent_check_config_reads_the_files_of_variables_as_systemd_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let unit = format!(
        "[Service]\nEnvironment=NIXFLEET_URL=ws://127.0.0.1:1/ws\nEnvironment=NIXFLEET_HOSTNAME=other\n\
         EnvironmentFile=-{}\nEnvironmentFile={}\n",
        path("none").display(),
        path("variables").display()
    );
    fs::write(path("unit"), unit).unwrap();
    fs::write(path("systemctl"), format!("#!/bin/sh\nexec cat {}\n", path("unit").display())).unwrap();
    fs::set_permissions(path("systemctl"), fs::Permissions::from_mode(0o755)).unwrap();
    let system_path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let check = || run_program(&["check-config"], &[("PATH", &system_path)]);
    fs::write(path("variables"), format!("NIXFLEET_HOSTNAME={HOST}\nNIXFLEET_TOKEN='{TOKEN}'\n")).unwrap();
    let output = check();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success() && out.contains(HOST), "{out}{err}");
    assert!(!out.contains(TOKEN) && err.is_empty(), "{out}{err}");
    // Without the file the token is missing, and why is told.
    fs::remove_file(path("variables")).unwrap();
    let output = check();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{err}");
    for words in ["token: missing", "its settings in /", "/variables cannot be read: No such file"] {
        assert!(err.contains(words), "{err}");
    }
}
