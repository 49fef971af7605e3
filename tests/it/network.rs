//! A host whose network comes up late. The test has a network namespace of its own, with its own loopback device:
//! an agent cannot reach `127.0.0.1` while that is down, and the kernel says "network is unreachable".

#![cfg(target_os = "linux")]

use std::fs;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;

use nixfleet_dashboard::{Faults, Refusal};

use crate::namespace::{ip, is_inside};
use crate::rig::{AgentProcess, Fleet, HOST, LIMIT, eventually};

const NAME: &str = "network::a_host_whose_network_comes_late_is_online_soon_after_it";

/// The shortest planned delay at which the network comes: much longer than what is allowed then.
const FAR: Duration = Duration::from_secs(5);

/// From the return of the network to the registration: the first delay of at most a second, and the attempt.
/// The rest is for a loaded machine.
const SOON: Duration = Duration::from_millis(2500);

#[tokio::test]
async fn a_host_whose_network_comes_late_is_online_soon_after_it() {
    if is_inside(NAME) {
        comes_late().await;
    }
}

async fn comes_late() {
    let fleet = Fleet::strict().await;
    let log = fs::File::create(fleet.path("log")).unwrap();
    let mut command = fleet.agent_command();
    command.stderr(log);
    let agent = AgentProcess::spawn(command, fleet.path("state"));
    let log = || fs::read_to_string(fleet.path("log")).unwrap();
    // An agent that was never registered tries every two seconds in its first minute.
    fleet.wait("a first beat", |fleet| fleet.beats().pop()).await;
    let refuses =
        Faults { refuse_auth: Some(Refusal { status: 502, retry_after: None }), ..Faults::default() };
    fleet.dashboard.set_faults(refuses);
    fleet.dashboard.drop_connection(HOST).unwrap();
    fleet.dashboard.wait_until("the loss", LIMIT, |d| (!d.host(HOST)?.connected).then_some(())).await;
    let before = fleet.beats().len();
    // While it has an address, packets to it vanish. The kernel gives it a new one when it comes up.
    ip("address flush dev lo");
    ip("link set lo down");
    fleet.dashboard.set_faults(Faults::default());
    let planned = eventually("a long delay", || {
        assert_eq!(fleet.beats().len(), before, "the network is down");
        retry_at(&fleet).filter(|at| *at > Timestamp::now() + FAR && log().contains("Network is unreachable"))
    })
    .await;
    let attempts = log().matches("Network is unreachable").count();
    assert!(attempts >= 1, "{attempts} attempts: {}", log());
    assert!(listens(&agent));

    ip("link set lo up");
    let (up, begun) = (Timestamp::now(), Instant::now());
    fleet.wait("a beat", |fleet| (fleet.beats().len() > before).then_some(())).await;
    let took = begun.elapsed();
    assert!(took < SOON, "online {took:?} after {up}, planned was an attempt at {planned}: {}", log());
    assert!(log().contains("The network of this host has changed."), "{}", log());
    fleet.assert_no_violations();

    assert!(!listens(&agent), "nothing is left to listen for");
}

/// Whether the agent has a netlink socket.
fn listens(agent: &AgentProcess) -> bool {
    let process = format!("/proc/{}", agent.pid().as_raw_nonzero());
    let table = fs::read_to_string(format!("{process}/net/netlink")).unwrap();
    let inodes: Vec<&str> = table.lines().skip(1).filter_map(|line| line.split_whitespace().last()).collect();
    let files = fs::read_dir(format!("{process}/fd")).unwrap().flatten();
    let targets = files.filter_map(|file| fs::read_link(file.path()).ok()?.to_str().map(str::to_owned));
    targets.into_iter().any(|target| inodes.iter().any(|inode| target == format!("socket:[{inode}]")))
}

/// When the agent plans its next attempt.
fn retry_at(fleet: &Fleet) -> Option<Timestamp> {
    let mut command = fleet.agent_command();
    command.env("NIXFLEET_PATHS__STATUS", fleet.path("state/agent/status.sock"));
    let output = command.args(["status", "--json"]).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).ok()?;
    report["connection"]["retry_at"].as_str()?.parse().ok()
}
