//! `status` and the page for Prometheus.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;

use nixfleet_dashboard::{Faults, Policy, Refusal};

use crate::command::{commit, git};
use crate::rig::{AgentProcess, Fleet, HOST, eventually};
use crate::skipped::skipped;

/// Runs `status` with the agent's settings.
fn status(fleet: &Fleet, arguments: &[&str]) -> Output {
    let mut command = fleet.agent_command();
    command.arg("status").args(arguments);
    // Do not ask an agent that may be installed on this machine.
    command.env("NIXFLEET_PATHS__STATUS", socket(fleet)).output().unwrap()
}

fn socket(fleet: &Fleet) -> PathBuf {
    fleet.path("state/agent/status.sock")
}

/// The whole page.
fn page(fleet: &Fleet) -> String {
    page_with(fleet, &["--verbose"])
}

fn page_with(fleet: &Fleet, arguments: &[&str]) -> String {
    let output = status(fleet, arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn json(fleet: &Fleet) -> Value {
    let output = status(fleet, &["--json"]);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn status_names_the_command_that_runs_and_its_process() {
    let fleet = Fleet::start().await.script("long", "echo one; sleep 60").script("short", "exit 3");
    let _agent = fleet.agent().await;
    assert!(page(&fleet).contains("\n  running     nothing\n"), "{}", page(&fleet));
    fleet.run("short").await;
    fleet.send("long");
    let pid = fleet.running("long").await;
    let text = page(&fleet);
    assert!(text.starts_with(&format!("{HOST}: connected to {}, for ", fleet.url())), "{text}");
    assert!(text.contains(&format!("\n  running     long, process {pid}, for ")), "{text}");
    assert!(text.contains("\n  ended       short: failed (3), "), "{text}");
    assert!(text.contains("\n  looks       "), "{text}");
    let short = page_with(&fleet, &[]);
    assert!(text.starts_with(&format!("{HOST}: connected to ")) && !short.contains("looks"), "{short}");
    assert!(short.contains(" failed with exit code 3\n"), "{short}");
    let coloured = page_with(&fleet, &["--color", "always"]);
    assert!(coloured.contains("\x1b[32mconnected\x1b[0m"), "{coloured}");
}

#[tokio::test]
async fn status_tells_how_far_the_tests_are_and_how_up_to_date_the_host_is() {
    let fleet = Fleet::start().await;
    let tests = fleet.path("origin/hosts/test-host/tests");
    std::fs::create_dir_all(&tests).unwrap();
    for name in ["T01-quick.sh", "T02-waits.sh", "T03-quick.sh"] {
        let end = fleet.path("end");
        let script = match name {
            "T02-waits.sh" => format!("#!/bin/sh\nuntil test -e {}; do sleep 0.02; done\n", end.display()),
            _ => "#!/bin/sh\n".to_owned(),
        };
        std::fs::write(tests.join(name), script).unwrap();
        std::fs::set_permissions(tests.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    git(&fleet.path("origin"), &["init", "--quiet", "--initial-branch", "main"]);
    commit(&fleet.path("origin"), "flake.lock", "1");
    let settings = format!("[repo]\nurl = \"file://{}\"\n", fleet.path("origin").display());
    let fleet = fleet.configure(&settings);
    let _agent = fleet.agent().await;
    fleet.ended("clone").await;
    fleet.run("pull").await;
    let short = || page_with(&fleet, &[]);
    let text =
        eventually("a light", || Some(short()).filter(|page| page.contains("\n  lock        ok "))).await;
    assert!(text.contains("\n  git         -         the checkout is at "), "{text}");
    assert!(
        text.contains("\n  system      outdated  ") && text.contains("\n  tests       unknown   "),
        "{text}"
    );
    fleet.send("test");
    let text =
        eventually("a second test", || Some(short()).filter(|page| page.contains(", test 2 of 3, "))).await;
    assert!(
        text.contains("\n  running     test, process ") && text.contains("\n  tests       working "),
        "{text}"
    );
    let report = json(&fleet);
    assert_eq!(report["running"]["detail"], "test 2 of 3");
    assert_eq!(report["host"]["lights"]["tests"]["status"], "working");
    std::fs::write(fleet.path("end"), "").unwrap();
    eventually("the end", || short().contains("\n  ended       test: ok (0), ").then_some(())).await;
    eventually("a good light", || short().contains("\n  tests       ok        ").then_some(())).await;
}

#[tokio::test]
async fn a_user_who_may_not_ask_is_told_who_may() {
    if !rustix::process::geteuid().is_root() {
        return skipped("only root can run a program as another user");
    }
    let fleet = Fleet::start().await;
    let _agent = fleet.agent().await;
    // The other user must reach the program and the socket, which is in a folder of the agent's own otherwise.
    let place = tempfile::Builder::new().prefix("nixfleet").tempdir_in("/tmp").unwrap();
    let program = place.path().join("nixfleet-agent");
    std::fs::copy(env!("CARGO_BIN_EXE_nixfleet-agent"), &program).unwrap();
    for path in [place.path(), &program] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let ask = |socket: Option<PathBuf>| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--clear-groups"]).arg(&program).arg("status").env_clear();
        command.env("NIXFLEET_STATE_DIR", fleet.path("state")).env("NIXFLEET_HOSTNAME", HOST);
        command.envs(socket.map(|socket| ("NIXFLEET_PATHS__STATUS", socket))).output().unwrap()
    };
    let asked = ask(Some(socket(&fleet)));
    let said = String::from_utf8(asked.stderr).unwrap();
    assert_eq!(asked.status.code(), Some(1), "{said}");
    let wanted = format!("the agent at {} answers root only, and this is ", socket(&fleet).display());
    assert!(said.contains(&wanted) && said.ends_with(": sudo nixfleet-agent status\n"), "{said}");

    // Without that setting there are two places. In the one that this user may look into there is none, and of the other
    // nothing is known.
    let said = String::from_utf8(ask(None).stderr).unwrap();
    assert!(
        said.contains("no agent answers at /run/nixfleet-agent/status.sock, and this user may not look"),
        "{said}"
    );
    assert!(
        said.contains("systemctl status nixfleet-agent; sudo nixfleet-agent status asks there as well"),
        "{said}"
    );
}

#[tokio::test]
async fn status_as_json_has_it_all_in_figures() {
    let fleet = Fleet::start().await.script("lines", "seq 50");
    let agent = fleet.agent().await;
    fleet.run("lines").await;
    let report = json(&fleet);
    assert_eq!(report["hostname"], HOST);
    assert_eq!(report["pid"], agent.pid().as_raw_nonzero().get());
    assert_eq!(report["connection"]["state"], "connected");
    assert_eq!(report["metrics"]["lines_sent"], 50);
    assert_eq!(report["metrics"]["jobs_ended"]["ok"], 1);
    assert_eq!(report["results"][0]["command"], "lines");
    assert!(report["metrics"]["beats"].as_u64().unwrap() >= 1);
    assert!(report["own"]["rss"].as_u64().unwrap() > 1 << 20, "{}", report["own"]);
    assert!(report["own"]["open_files"].as_u64().unwrap() > 3, "{}", report["own"]);
    assert!(report["collectors"]["cpu"]["runs"].as_u64().unwrap() >= 1, "{}", report["collectors"]);
    let mode = std::fs::metadata(socket(&fleet)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "the agent's user and root");
    let text = report.to_string();
    assert!(!text.contains(crate::rig::TOKEN), "{text}");
}

#[tokio::test]
async fn in_a_runtime_folder_everybody_on_the_host_may_ask() {
    let fleet = Fleet::start().await;
    let mut command = fleet.agent_command();
    command.env("RUNTIME_DIRECTORY", fleet.path("run"));
    let _agent = AgentProcess::spawn(command, fleet.path("state"));
    let socket = fleet.path("run/status.sock");
    let mode = eventually("a socket", || Some(std::fs::metadata(&socket).ok()?.permissions().mode())).await;
    assert_eq!(mode & 0o777, 0o666);
    let asked =
        fleet.agent_command().env("RUNTIME_DIRECTORY", fleet.path("run")).arg("status").output().unwrap();
    assert!(asked.status.success(), "{asked:?}");
}

#[tokio::test]
async fn without_an_agent_status_says_where_it_looked_and_what_to_do() {
    let fleet = Fleet::start().await;
    let output = status(&fleet, &[]);
    assert_eq!(output.status.code(), Some(1));
    let wanted = format!(
        "nixfleet: no agent answers at {}: is it running? systemctl status nixfleet-agent\n",
        socket(&fleet).display()
    );
    assert!(String::from_utf8(output.stderr).unwrap().ends_with(wanted.trim_start_matches("nixfleet: ")));
    assert!(output.stdout.is_empty());
}

#[tokio::test]
async fn without_a_dashboard_status_says_why_and_when_it_tries_again() {
    let fleet = Fleet::start().await;
    let mut command = fleet.agent_command();
    command.env("NIXFLEET_URL", "ws://127.0.0.1:1/ws");
    let _agent = AgentProcess::spawn(command, fleet.path("state"));
    let report = eventually("a failed attempt", || {
        let output = status(&fleet, &["--json"]);
        let report: Value = serde_json::from_slice(&output.stdout).ok()?;
        (report["connection"]["state"] == "waiting").then_some(report)
    })
    .await;
    let why = report["connection"]["last_error"].as_str().unwrap();
    assert!(why.starts_with("cannot reach 127.0.0.1:1"), "{why}");
    assert!(report["connection"]["retry_at"].is_string());
    assert!(report["metrics"]["reconnects"]["unreachable"].as_u64().unwrap() >= 1);
    assert_eq!(report.get("server"), None, "nobody said how the dashboard is");
    let text = page(&fleet);
    assert!(text.contains("connected to ws://127.0.0.1:1/ws, "), "{text}");
    assert!(text.contains("\n  attempts    none succeeded yet: "), "{text}");
    assert!(text.contains("\n  heartbeats  none yet, every 1 s once it is connected\n"), "{text}");
    assert!(!text.contains("\n  dashboard ") && !text.contains("healthy"), "{text}");
}

#[tokio::test]
async fn a_dashboard_is_healthy_once_it_says_so_and_later_was_so_when_it_last_said_so() {
    let fleet = Fleet::start().await;
    fleet.dashboard.set_policy(Policy { ack: false, ..Policy::default() });
    let _agent = fleet.agent().await;
    assert_eq!(json(&fleet).get("server"), None, "this dashboard says nothing about itself");
    fleet.dashboard.set_policy(Policy::default());
    let report =
        eventually("its state", || Some(json(&fleet)).filter(|report| report["server"].is_object())).await;
    assert_eq!(report["server"]["state"], "healthy");
    assert!(report["server"]["said_at"].is_string());
    assert!(page(&fleet).contains("\n  dashboard   healthy\n"), "{}", page(&fleet));
    let refusal = Some(Refusal { status: 502, retry_after: None });
    fleet.dashboard.set_faults(Faults { refuse_auth: refusal, ..Faults::default() });
    fleet.dashboard.drop_connection(HOST).unwrap();
    let text =
        eventually("the loss", || Some(page(&fleet)).filter(|page| page.contains(": not connected"))).await;
    assert!(text.contains("\n  dashboard   last said ") && text.contains(" ago: healthy\n"), "{text}");
    assert!(json(&fleet)["connection"]["lost_at"].is_string());
}

#[tokio::test]
async fn a_command_that_ended_without_a_connection_does_not_run_any_more() {
    let fleet = Fleet::strict().await.script("wait", "until test -e \"${0%/*}/end\"; do sleep 0.02; done");
    let fleet = fleet.configure("[metrics]\nlisten = \"127.0.0.1:0\"\n");
    let log = fleet.path("log");
    let mut command = fleet.agent_command();
    command.stderr(std::fs::File::create(&log).unwrap());
    let _agent = AgentProcess::spawn(command, fleet.path("state"));
    fleet.wait("a first heartbeat", |fleet| fleet.beats().first().cloned()).await;
    fleet.send("wait");
    fleet.running("wait").await;
    let refusal = Some(Refusal { status: 502, retry_after: None });
    fleet.dashboard.set_faults(Faults { refuse_auth: refusal, ..Faults::default() });
    fleet.dashboard.drop_connection(HOST).unwrap();
    eventually("no connection", || page(&fleet).contains("not connected to").then_some(())).await;
    assert!(page(&fleet).contains("\n  running     wait, process "), "{}", page(&fleet));
    std::fs::write(fleet.path("end"), "").unwrap();
    let ended = "\n  running     nothing\n  ended       wait: not reported to the dashboard yet, job ";
    eventually("its end", || page(&fleet).contains(ended).then_some(())).await;
    let report = json(&fleet);
    assert_eq!((&report["running"], &report["unreported"]["command"]), (&Value::Null, &"wait".into()));
    let metrics = get(report["metrics_at"].as_str().unwrap(), "GET /metrics HTTP/1.0\r\n\r\n");
    for gauge in ["connected 0", "job_running 0", "job_unreported 1"] {
        assert!(metrics.contains(&format!("\nnixfleet_agent_{gauge}\n")), "no {gauge} in {metrics}");
    }
    fleet.dashboard.set_faults(Faults::default());
    eventually("a report", || page(&fleet).contains("\n  ended       wait: ok (0), ").then_some(())).await;
    assert!(page(&fleet).contains("\n  running     nothing\n"), "{}", page(&fleet));
    // The heartbeats around the status are acknowledged: nothing about it is a warning.
    let beats = fleet.beats().len();
    fleet.wait("two more beats", |fleet| (fleet.beats().len() >= beats + 2).then_some(())).await;
    assert_eq!(json(&fleet)["metrics"]["acks_missing"], 0);
    let log = std::fs::read_to_string(&log).unwrap();
    assert!(!log.contains("acknowledge"), "{log}");
    fleet.assert_no_violations();
}

#[tokio::test]
async fn a_lost_connection_is_counted_by_its_cause() {
    let fleet = Fleet::start().await;
    let _agent = fleet.agent().await;
    fleet.dashboard.close(HOST, 1001, "").unwrap();
    fleet.wait("a second connection", |fleet| (fleet.dashboard.connections(HOST) >= 2).then_some(())).await;
    assert_eq!(json(&fleet)["metrics"]["reconnects"]["closed"], 1);
}

fn get(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test]
async fn prometheus_reads_a_page_over_plain_tcp() {
    let fleet = Fleet::start().await.configure("[metrics]\nlisten = \"127.0.0.1:0\"\n");
    let _agent = fleet.agent().await;
    let address = json(&fleet)["metrics_at"].as_str().unwrap().to_owned();
    assert!(address.starts_with("127.0.0.1:"), "{address}");
    let answer = get(&address, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("Content-Type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
    assert!(body.contains("\nnixfleet_agent_connected 1\n"), "{body}");
    assert!(body.contains("\nnixfleet_agent_heartbeat_lateness_seconds_bucket{le=\"+Inf\"} "), "{body}");
    for (request, wanted) in [
        ("GET /other HTTP/1.1\r\n\r\n".to_owned(), "HTTP/1.1 404 "),
        ("DELETE /metrics HTTP/1.1\r\n\r\n".to_owned(), "HTTP/1.1 405 "),
        ("nonsense\r\n\r\n".to_owned(), "HTTP/1.1 400 "),
        // Exactly the limit: unread bytes would reset the connection before the answer is read.
        ("x".repeat(8 * 1024), "HTTP/1.1 431 "),
    ] {
        let answer = get(&address, &request);
        assert!(answer.starts_with(wanted), "{answer}");
    }
}

#[tokio::test]
async fn clients_that_connect_and_do_nothing_delay_no_beat() {
    let fleet = Fleet::start().await.configure("[metrics]\nlisten = \"127.0.0.1:0\"\n");
    let _agent = fleet.agent().await;
    let address = json(&fleet)["metrics_at"].as_str().unwrap().to_owned();
    let silent: Vec<UnixStream> = (0..40).map(|_| UnixStream::connect(socket(&fleet)).unwrap()).collect();
    let waiting: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect(&address).unwrap()).collect();
    let before = fleet.beats().len();
    fleet.wait("four more beats", |fleet| (fleet.beats().len() >= before + 4).then_some(())).await;
    let beats: Vec<i64> = fleet.beats()[before..].iter().map(|(at, _)| *at).collect();
    assert!(beats.windows(2).all(|pair| pair[1] - pair[0] < 1900), "{beats:?}");
    drop((silent, waiting));
    assert_eq!(json(&fleet)["metrics"]["beats_late"], 0);
}

#[tokio::test]
async fn a_port_that_is_taken_costs_the_page_and_not_the_agent() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("[metrics]\nlisten = \"{}\"\n", taken.local_addr().unwrap());
    let fleet = Fleet::start().await.configure(&listen);
    let _agent = fleet.agent().await;
    assert_eq!(json(&fleet)["metrics_at"], Value::Null);
}

#[test]
fn metrics_for_the_whole_network_are_refused_unless_somebody_means_it() {
    let check = |allowed: &str| {
        let mut command: Command = crate::rig::program();
        command.args(["check-config"]).envs([
            ("NIXFLEET_URL", "wss://fleet.example.org/ws"),
            ("NIXFLEET_TOKEN", "token"),
            ("NIXFLEET_STATE_DIR", "/tmp/x"),
            ("NIXFLEET_HOSTNAME", "web-1"),
            ("NIXFLEET_METRICS__LISTEN", "0.0.0.0:9464"),
            ("NIXFLEET_METRICS__ALLOW_REMOTE", allowed),
        ]);
        command.output().unwrap().status.code()
    };
    assert_eq!((check("false"), check("true")), (Some(64), Some(0)));
}
