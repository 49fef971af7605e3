//! Acknowledgements of heartbeats, and the settings that they carry: maintenance and the interval.

use nixfleet_dashboard::{Faults, Policy};
use nixfleet_protocol::{ServerState, ServerStatus};

use crate::rig::in_nats::needs_mock;
use crate::rig::{Fleet, HOST};

#[tokio::test]
async fn acknowledged_beats_show_how_long_the_way_is() {
    let fleet = Fleet::start().await;
    let _agent = fleet.agent().await;
    let rtt = fleet.wait("a round trip", |fleet| fleet.dashboard.host(HOST)?.ack_rtt_ms).await;
    assert!(rtt > 0.0 && rtt < 10_000.0, "{rtt}");
}

#[tokio::test]
async fn a_dashboard_that_stops_acknowledging_is_connected_to_anew() {
    if needs_mock("its dashboard changes what it asks of agents") {
        return;
    }
    let fleet = Fleet::start().await;
    let _agent = fleet.agent().await;
    fleet.dashboard.set_faults(Faults { never_ack: true, ..Faults::default() });
    fleet.wait("a second connection", |fleet| (fleet.dashboard.connections(HOST) >= 2).then_some(())).await;
}

#[tokio::test]
async fn maintenance_rejects_commands_and_says_why() {
    if needs_mock("its dashboard changes what it asks of agents") {
        return;
    }
    let fleet = Fleet::start().await.script("short", "exit 0");
    let _agent = fleet.agent().await;
    let server_status =
        ServerStatus { state: ServerState::Maintenance, reason: "upgrade".to_owned(), until: String::new() };
    fleet.dashboard.set_policy(Policy { server_status, ..Policy::default() });
    // The policy takes effect with the next acknowledgement.
    let beats = fleet.beats().len();
    fleet.wait("two beats", |fleet| (fleet.beats().len() >= beats + 3).then_some(())).await;
    fleet.send("short");
    let rejected = fleet.wait("a rejection", |fleet| fleet.rejections().pop()).await;
    assert_eq!(rejected.reason, "the dashboard is in maintenance: upgrade");
    fleet.dashboard.set_policy(Policy::default());
    let beats = fleet.beats().len();
    fleet.wait("two beats", |fleet| (fleet.beats().len() >= beats + 3).then_some(())).await;
    fleet.send("short");
    fleet.wait("a status", |fleet| fleet.statuses().pop().filter(|status| status.exit_code == 0)).await;
}

#[tokio::test]
async fn the_dashboard_sets_the_pace() {
    if needs_mock("its dashboard changes what it asks of agents") {
        return;
    }
    let fleet = Fleet::start().await;
    fleet.dashboard.set_policy(Policy { heartbeat_interval: Some(3600), ..Policy::default() });
    let mut command = fleet.agent_command();
    command.env("NIXFLEET_INTERVAL", "3600");
    let _agent = crate::rig::AgentProcess::spawn(command, fleet.path("state"));
    fleet.wait("a beat", |fleet| fleet.beats().pop()).await;
    fleet.dashboard.set_policy(Policy { heartbeat_interval: Some(1), ..Policy::default() });
    fleet.wait("beats at the new pace", |fleet| (fleet.beats().len() >= 4).then_some(())).await;
    assert_eq!(fleet.dashboard.host(HOST).unwrap().heartbeat_interval, 1);
}

#[tokio::test]
async fn a_dashboard_that_answers_no_ping_and_acknowledges_heartbeats_can_go_on_sending_commands() {
    if needs_mock("its dashboard answers no pings") {
        return;
    }
    // More than may wait for a proof.
    const COMMANDS: usize = 20;
    let fleet = Fleet::start().await.script("quick", "true");
    fleet.dashboard.set_faults(Faults { never_pong: true, ..Faults::default() });
    let _agent = fleet.agent().await;
    fleet.wait("a beat", |fleet| fleet.beats().pop()).await;
    for n in 1..=COMMANDS {
        fleet.send("quick");
        fleet.wait("its status", |fleet| (fleet.statuses().len() == n).then_some(())).await;
    }
    assert!(fleet.rejections().is_empty(), "{:?}", fleet.rejections());
    assert_eq!(fleet.dashboard.connections(HOST), 1);
}
