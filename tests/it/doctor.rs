//! Findings of `doctor` on good hosts and on broken ones.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::rig::{Fleet, HOST};
use crate::tls::{terminator, terminator_with};

/// `doctor` with the agent's settings, without the vitals of this machine.
fn command(fleet: &Fleet, arguments: &[&str]) -> Command {
    let mut command = fleet.agent_command();
    command.env("NIXFLEET_PATHS__STATUS", fleet.path("state/agent/status.sock"));
    command.env("NIXFLEET_VITALS__ENABLED", "false").arg("doctor").args(arguments);
    command
}

/// The findings as JSON.
struct Found(Value);

impl Found {
    #[track_caller]
    fn of(output: &Output) -> Self {
        let document = serde_json::from_slice(&output.stdout);
        Self(document.unwrap_or_else(|err| panic!("{err}: {output:?}")))
    }

    #[track_caller]
    fn check(&self, name: &str, verdict: &str, words: &[&str]) {
        let checks = self.0["checks"].as_array().unwrap();
        let found = checks.iter().find(|check| check["check"] == name);
        let found = found.unwrap_or_else(|| panic!("no {name}: {:#}", self.0));
        assert_eq!(found["verdict"], verdict, "{found}");
        for word in words {
            assert!(found.to_string().contains(word), "`{word}` is not in {found}");
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a test fails without a thread")]
pub(crate) async fn run(mut command: Command) -> Output {
    // The dashboard runs in this process and must answer in the meantime.
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

async fn json(fleet: &Fleet, variables: &[(&str, &str)]) -> (Option<i32>, Found) {
    let mut command = command(fleet, &["--json"]);
    command.envs(variables.iter().copied());
    let output = run(command).await;
    assert!(output.stderr.is_empty(), "{output:?}");
    (output.status.code(), Found::of(&output))
}

/// Makes a program of this name; returns a `PATH` that contains it.
fn program(fleet: &Fleet, name: &str) -> String {
    let folder = fleet.path("bin");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join(name);
    fs::write(&file, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    format!("{}:{}", folder.display(), std::env::var("PATH").unwrap_or_default())
}

#[tokio::test]
async fn a_host_that_is_well_passes_and_its_agent_is_not_evicted() {
    let fleet = Fleet::start().await;
    let _agent = fleet.agent().await;
    let path = program(&fleet, "nixos-rebuild");
    let (code, found) = json(&fleet, &[("PATH", &path)]).await;
    assert_eq!(code, Some(0), "{:#}", found.0);
    assert_eq!(found.0["failed"], 0);
    found.check("configuration", "ok", &[HOST, fleet.url()]);
    found.check("state folder", "ok", &[]);
    found.check("tcp", "ok", &["reached 127.0.0.1:"]);
    found.check("tls", "skipped", &["ws:// has none"]);
    found.check("token", "ok", &["accepts"]);
    found.check("clock", "ok", &[]);
    found.check("repository", "skipped", &["none is configured"]);
    found.check("rebuild", "ok", &["bin/nixos-rebuild"]);
    found.check("launcher", "ok", &["direct"]);
    found.check("agent", "ok", &["is connected"]);
    assert_eq!(fleet.dashboard.connections(HOST), 1, "nobody else registered");
    let text = found.0.to_string();
    assert!(!text.contains(crate::rig::TOKEN), "{text}");

    let output = run({
        let mut command = command(&fleet, &[]);
        command.env("PATH", path);
        command
    })
    .await;
    let page = String::from_utf8(output.stdout).unwrap();
    assert!(page.starts_with("ok      configuration   test-host reports to "), "{page}");
    assert!(page.contains("\nok      token           the dashboard accepts it\n"), "{page}");
    assert!(!page.contains('\x1b') && !page.contains(crate::rig::TOKEN), "{page}");
}

#[tokio::test]
async fn a_wrong_token_is_told_from_a_dashboard_that_is_away() {
    let fleet = Fleet::start().await;
    let (code, found) = json(&fleet, &[("NIXFLEET_TOKEN", "another-token-of-length")]).await;
    assert_eq!(code, Some(1));
    found.check("tcp", "ok", &[]);
    found.check("token", "fail", &["refused the token (401)", "compare"]);
    found.check("clock", "ok", &[]);
    assert!(!found.0.to_string().contains("another-token"), "{:#}", found.0);

    let (code, found) = json(&fleet, &[("NIXFLEET_URL", "ws://127.0.0.1:1/ws")]).await;
    assert_eq!(code, Some(1));
    found.check("tcp", "fail", &["127.0.0.1:1", "nothing listens there"]);
    found.check("token", "skipped", &["needs what failed above: tcp"]);
    found.check("clock", "skipped", &[]);

    let unknown = [("NIXFLEET_URL", "wss://no-such-host.invalid/ws")];
    let (code, found) = json(&fleet, &unknown).await;
    assert_eq!(code, Some(1));
    found.check("dns", "fail", &["no-such-host.invalid", "resolv"]);
    found.check("tls", "skipped", &["needs what failed above: dns"]);

    let wrong_path = fleet.url().replace("/ws", "/elsewhere");
    let (_, found) = json(&fleet, &[("NIXFLEET_URL", &wrong_path)]).await;
    found.check("token", "fail", &["404", "usually /ws"]);
}

#[tokio::test]
async fn certificates_are_judged_by_what_is_wrong_with_them() {
    let fleet = Fleet::start().await;
    let (port, authority) = terminator(&fleet).await;
    let ca_file = fleet.path("ca.pem");
    fs::write(&ca_file, authority).unwrap();
    let ca_file = ca_file.to_str().unwrap();
    let url = format!("wss://localhost:{port}/ws");
    let (code, found) = json(&fleet, &[("NIXFLEET_URL", &url)]).await;
    assert_eq!(code, Some(1));
    found.check("tls", "fail", &["issued by itself", "NIXFLEET_CA_FILE"]);
    found.check("token", "skipped", &["needs what failed above: tls"]);

    let (_, found) = json(&fleet, &[("NIXFLEET_URL", &url), ("NIXFLEET_CA_FILE", ca_file)]).await;
    found.check("tls", "ok", &["more days"]);
    found.check("token", "ok", &[]);

    let by_address = format!("wss://127.0.0.1:{port}/ws");
    let (_, found) = json(&fleet, &[("NIXFLEET_URL", &by_address), ("NIXFLEET_CA_FILE", ca_file)]).await;
    found.check("tls", "fail", &["another name", "localhost"]);

    let plain = fleet.url().replace("ws://", "wss://");
    let (_, found) = json(&fleet, &[("NIXFLEET_URL", &plain), ("NIXFLEET_CA_FILE", ca_file)]).await;
    found.check("tls", "fail", &["does not speak TLS"]);
}

/// A certificate for `localhost` that is valid until the beginning of the day `end`, such as `2026-01-31`.
fn certificate(end: &str) -> rcgen::CertifiedKey<rcgen::KeyPair> {
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let parts: Vec<u16> = end.split('-').map(|part| part.parse().unwrap()).collect();
    let small = |part: u16| u8::try_from(part).unwrap();
    params.not_before = rcgen::date_time_ymd(2000, 1, 1);
    params.not_after = rcgen::date_time_ymd(i32::from(parts[0]), small(parts[1]), small(parts[2]));
    let signing_key = rcgen::KeyPair::generate().unwrap();
    rcgen::CertifiedKey { cert: params.self_signed(&signing_key).unwrap(), signing_key }
}

#[tokio::test]
async fn a_certificate_that_ends_soon_is_a_warning_and_one_that_has_ended_a_failure() {
    let fleet = Fleet::start().await;
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(5 * 24);
    for (end, verdict, words) in [
        ("2020-01-31", "fail", ["has expired", "clock"]),
        (&soon.to_string()[..10], "warning", ["4 more days", "renew it"]),
    ] {
        let (port, authority) = terminator_with(&fleet, certificate(end)).await;
        let ca_file = fleet.path("ca.pem");
        fs::write(&ca_file, authority).unwrap();
        let url = format!("wss://localhost:{port}/ws");
        let variables = [("NIXFLEET_URL", url.as_str()), ("NIXFLEET_CA_FILE", ca_file.to_str().unwrap())];
        let (_, found) = json(&fleet, &variables).await;
        found.check("tls", verdict, &words);
    }
}

/// A dashboard that sends this Date header, or none, and refuses every token.
async fn dashboard_with_date(date: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/ws", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                drop(tcp.read(&mut request).await);
                let date = if date.is_empty() { String::new() } else { format!("Date: {date}\r\n") };
                let answer = format!("HTTP/1.1 401 Unauthorized\r\n{date}Content-Length: 0\r\n\r\n");
                drop(tcp.write_all(answer.as_bytes()).await);
            });
        }
    });
    url
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_told_by_the_dashboards_answer() {
    let fleet = Fleet::start().await;
    let url = dashboard_with_date("Sun, 06 Nov 1994 08:49:37 GMT").await;
    let (_, found) = json(&fleet, &[("NIXFLEET_URL", &url)]).await;
    found.check("clock", "fail", &["s ahead of the dashboard's", "timedatectl"]);
    let url = dashboard_with_date("").await;
    let (_, found) = json(&fleet, &[("NIXFLEET_URL", &url)]).await;
    found.check("clock", "skipped", &["does not say"]);
}

#[tokio::test]
async fn without_programs_it_says_which_are_missing() {
    let fleet = Fleet::start().await;
    let empty = fleet.path("empty");
    fs::create_dir(&empty).unwrap();
    let variables = [
        ("PATH", empty.to_str().unwrap()),
        ("NIXFLEET_REPO_URL", "https://git.example.org/fleet.git"),
        ("NIXFLEET_JOBS__LAUNCHER", "systemd"),
    ];
    let (code, found) = json(&fleet, &variables).await;
    assert_eq!(code, Some(1));
    found.check("repository", "warning", &["is not there yet", "clones it by itself"]);
    found.check("launcher", "fail", &["nixfleet-job@.service", "dist/systemd"]);
    found.check("agent", "warning", &["no agent answers at "]);
    found.check("configuration", "ok", &[]);
    assert!(found.0["warnings"].as_u64().unwrap() >= 3, "variables that jobs do not see: {:#}", found.0);
    let (code, found) = json(&fleet, &variables[..2]).await;
    assert_eq!(code, Some(1));
    found.check("remote", "fail", &["git is not on the PATH"]);
    found.check("rebuild", "fail", &["nixos-rebuild is not on the PATH"]);
}

#[tokio::test]
async fn a_configuration_that_is_wrong_is_the_first_finding_and_exit_code_64() {
    let fleet = Fleet::start().await;
    let (code, found) = json(&fleet, &[("NIXFLEET_INTERVAL", "0")]).await;
    assert_eq!(code, Some(64));
    found.check("configuration", "fail", &["interval", "NIXFLEET_INTERVAL"]);
    assert_eq!(found.0["checks"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn files_of_the_host_that_are_odd_are_named_with_line_and_reason() {
    let fleet = Fleet::start().await;
    let proc = fleet.path("proc");
    crate::vitals::odd_proc(&proc);
    let proc = proc.to_str().unwrap();
    let variables =
        [("NIXFLEET_VITALS__ENABLED", "true"), ("NIXFLEET_PATHS__PROC", proc), ("NIXFLEET_PATHS__SYS", proc)];
    let (_, found) = json(&fleet, &variables).await;
    let checks = found.0["checks"].as_array().unwrap();
    for (verdict, words) in [
        ("warning", "meminfo, line 2 (MemFree): is no number with kB behind it"),
        ("warning", "stat, cpu: is missing"),
        ("skipped", "no interface has hardware behind it or a default route: eth0"),
    ] {
        let is_it = |check: &&Value| check["check"] == "vitals" && check.to_string().contains(words);
        let check = checks.iter().find(is_it).unwrap_or_else(|| panic!("no {words}: {checks:#?}"));
        assert_eq!(check["verdict"], verdict, "{check}");
    }
}
