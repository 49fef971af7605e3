//! Hosts whose network is broken in ways that everyday networks are, each in a network namespace of its own: IPv6 that
//! leads nowhere, and a name server that does not answer.

#![cfg(target_os = "linux")]

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::net::UdpSocket;

use crate::namespace::{Names, dead_addresses, is_inside};
use crate::rig::{AgentProcess, DASHBOARD, Fleet, eventually};

/// Where it listens.
const LIVE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// From the start of the agent to its first heartbeat. A dead family costs one delay of 250 ms; the rest is for the start
/// of the agent on a loaded machine. Dead addresses that are tried one after the other take 4 s each.
const SOON: Duration = Duration::from_secs(5);

/// The agent's program, which has the dashboard's name instead of its address.
fn by_name(fleet: &Fleet) -> Command {
    let mut command = fleet.agent_command();
    command.env("NIXFLEET_URL", format!("ws://{DASHBOARD}:{}/ws", fleet.dashboard_address().port()));
    command.env("NIXFLEET_ALLOW_INSECURE", "1");
    command.env("NIXFLEET_PATHS__STATUS", fleet.path("state/agent/status.sock"));
    command
}

/// An agent that has the dashboard's name, and writes its log to a file.
fn agent_by_name(fleet: &Fleet) -> AgentProcess {
    let mut command = by_name(fleet);
    command.stderr(fs::File::create(fleet.path("log")).unwrap());
    AgentProcess::spawn(command, fleet.path("state"))
}

/// Waits until the agent's log has this text.
async fn logged(fleet: &Fleet, text: &str) {
    let log = || fs::read_to_string(fleet.path("log")).unwrap();
    eventually(&format!("`{text}` in the log"), || log().contains(text).then_some(())).await;
}

/// What `doctor` finds in these checks: the verdict, and the whole finding.
#[expect(clippy::disallowed_methods, reason = "a test fails without a thread")]
async fn doctor(fleet: &Fleet, checks: &[&str]) -> Vec<(String, String)> {
    let mut command = by_name(fleet);
    command.args(["doctor", "--json"]).env("NIXFLEET_VITALS__ENABLED", "false");
    // The dashboard runs in this process and must answer in the meantime.
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let found = |name: &&str| {
        let found = report["checks"].as_array().unwrap().iter().find(|check| check["check"] == **name);
        let found = found.unwrap_or_else(|| panic!("no {name}: {report:#}"));
        (found["verdict"].as_str().unwrap().to_owned(), found.to_string())
    };
    checks.iter().map(found).collect()
}

/// A name with `count` dead IPv6 addresses in front of the live one. glibc puts IPv6 first, whatever the file says.
async fn dead_ipv6(count: u16) {
    let fleet = Fleet::strict().await;
    let names = Names::new(fleet.folder.path());
    let mut addresses: Vec<(IpAddr, &str)> =
        dead_addresses(count).into_iter().map(|address| (address, DASHBOARD)).collect();

    names.set(&addresses);
    let agent = agent_by_name(&fleet);
    let port = fleet.dashboard_address().port();
    logged(&fleet, &format!("cannot reach {DASHBOARD}:{port}: no answer from [fd00:1::")).await;
    logged(&fleet, &format!("]:{port} and {} more", count - 1)).await;
    drop(agent);

    addresses.push((LIVE, DASHBOARD));
    names.set(&addresses);
    let begun = Instant::now();
    let _agent = agent_by_name(&fleet);
    fleet.wait("a beat", |fleet| fleet.beats().pop()).await;
    let took = begun.elapsed();
    println!("{count} dead addresses: first heartbeat after {took:?}");
    assert!(took < SOON, "{took:?}");
    let log = fs::read_to_string(fleet.path("log")).unwrap();
    assert!(!log.contains("Not connected"), "{log}");

    let found = doctor(&fleet, &["dns", "tcp", "token"]).await;
    let verdicts: Vec<&str> = found.iter().map(|(verdict, _)| verdict.as_str()).collect();
    assert_eq!(verdicts, ["ok", "warning", "ok"], "{found:?}");
    let (_, tcp) = &found[1];
    for words in [
        format!("reached {LIVE}:{port}, but not all"),
        format!("]:{port} and {} more", count - 1),
        "goes around them, each connection takes up to 250 ms longer for each".to_owned(),
    ] {
        assert!(tcp.contains(&words), "`{words}` is not in {tcp}");
    }
    fleet.assert_no_violations();
}

#[tokio::test]
async fn four_dead_addresses_before_the_live_one_cost_one_delay() {
    if is_inside("network_namespace::four_dead_addresses_before_the_live_one_cost_one_delay") {
        dead_ipv6(4).await;
    }
}

#[tokio::test]
async fn eight_dead_addresses_before_the_live_one_cost_one_delay() {
    if is_inside("network_namespace::eight_dead_addresses_before_the_live_one_cost_one_delay") {
        dead_ipv6(8).await;
    }
}

/// What a name server says.
#[derive(Debug, Clone)]
pub(crate) enum Answers {
    /// Each name has the address [`LIVE`], once this is true. Before that, nothing.
    Live(Arc<AtomicBool>),
    /// No name exists.
    NoSuchName,
}

/// A name server that gets every question.
pub(crate) async fn name_server(answers: Answers) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 53)).await.unwrap();
    tokio::spawn(async move {
        let mut packet = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut packet).await {
            let question = &packet[..length];
            let answer = match &answers {
                Answers::Live(live) if live.load(Ordering::Relaxed) => answer(question),
                Answers::Live(_) => continue,
                Answers::NoSuchName => no_such_name(question),
            };
            drop(socket.send_to(&answer, from).await);
        }
    });
}

/// The answer that no such name exists (RFC 1035, 4.1.1): the question with the code 3.
fn no_such_name(question: &[u8]) -> Vec<u8> {
    let mut answer = question[..2].to_vec();
    answer.extend([0x81, 0x83]);
    // The rest as it was asked, also what a resolver wants to know beside the question.
    answer.extend(&question[4..]);
    answer
}

/// The answer to a question (RFC 1035, 4): the address for type A, and nothing for another type.
fn answer(question: &[u8]) -> Vec<u8> {
    const HEADER: usize = 12;
    const TYPE_A: [u8; 2] = [0, 1];
    let name = question[HEADER..].iter().position(|byte| *byte == 0).unwrap() + 1;
    let (kind, end) = (HEADER + name, HEADER + name + 4);
    let is_a = question[kind..kind + 2] == TYPE_A;
    let mut answer = question[..2].to_vec();
    // A response with recursion, no error; one question, perhaps one answer, nothing else.
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
    answer.extend(&question[HEADER..end]);
    if is_a {
        // The name of the question, type A, class IN, a lifetime of 0 s, four bytes.
        answer.extend([0xc0, HEADER as u8, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        answer.extend(Ipv4Addr::LOCALHOST.octets());
    }
    answer
}

#[tokio::test]
async fn a_name_server_that_does_not_answer_is_named_and_its_return_is_noticed() {
    if !is_inside("network_namespace::a_name_server_that_does_not_answer_is_named_and_its_return_is_noticed")
    {
        return;
    }
    let fleet = Fleet::strict().await;
    let names = Names::new(fleet.folder.path());
    let answers = Arc::new(AtomicBool::new(false));
    name_server(Answers::Live(Arc::clone(&answers))).await;
    // One question with the time limit of one question, instead of two with 5 s each.
    names.resolve_by("nameserver 127.0.0.1\noptions timeout:4 attempts:1\n");

    let _agent = agent_by_name(&fleet);
    logged(&fleet, "no name server answered the question for").await;
    let found = doctor(&fleet, &["dns", "tcp"]).await;
    let (verdict, dns) = &found[0];
    let words = format!("no name server answered the question for {DASHBOARD} within 4 s");
    assert!(verdict == "fail" && dns.contains(&words), "{dns}");
    assert_eq!(found[1].0, "skipped");

    answers.store(true, Ordering::Relaxed);
    fleet.wait("a beat", |fleet| fleet.beats().pop()).await;
    fleet.assert_no_violations();
}
