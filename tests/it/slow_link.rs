//! A link that carries less than a command writes: heartbeats keep their time among the output.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use nixfleet_protocol::Heartbeat;

use crate::rig::{AgentProcess, Fleet, TOKEN};

/// Bytes that the link carries from the agent in a second.
const SPEED: usize = 20_000;

/// How often it carries some.
const STEP: Duration = Duration::from_millis(50);

/// How late a heartbeat may arrive. On a machine with nothing else to do it is half a second at most.
const LATE: i64 = 2_000;

/// Listens, and carries what comes from agents slowly to `target`.
async fn slow_link(target: SocketAddr) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut links = JoinSet::new();
        loop {
            let (agent, _) = listener.accept().await.unwrap();
            let (mut from_agent, mut to_agent) = agent.into_split();
            let dashboard = TcpStream::connect(target).await.unwrap();
            dashboard.set_nodelay(true).unwrap();
            let (mut from_dashboard, mut to_dashboard) = dashboard.into_split();
            links
                .spawn(async move { copy(&mut from_dashboard, &mut to_agent).await.map(drop).unwrap_or(()) });
            links.spawn(async move {
                let mut buffer = vec![0; SPEED / 20];
                while let Ok(read @ 1..) = from_agent.read(&mut buffer).await {
                    if to_dashboard.write_all(&buffer[..read]).await.is_err() {
                        return;
                    }
                    sleep(STEP).await;
                }
            });
        }
    });
    (address, tasks)
}

/// When the agent made the heartbeat, in Unix milliseconds.
fn sent_at(beat: &Heartbeat) -> i64 {
    beat.sent_at.as_deref().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond()
}

#[tokio::test]
async fn heartbeats_keep_their_time_on_a_slow_link_while_a_command_floods() {
    const BEATS: usize = 12;
    let fleet = Fleet::start().await.script("flood", "exec yes a line of a command that never ends");
    let (address, _link) = slow_link(fleet.dashboard_address()).await;
    let mut command = fleet.agent_command();
    command.env("NIXFLEET_URL", format!("ws://{address}/ws")).env("NIXFLEET_TOKEN", TOKEN);
    let _agent = AgentProcess::spawn(command, fleet.path("state"));
    fleet.wait("a first heartbeat", |fleet| fleet.beats().pop()).await;
    fleet.send("flood");
    fleet.running("flood").await;
    fleet.wait("output", |fleet| fleet.lines().pop()).await;
    let before = fleet.beats().len();
    let beats =
        fleet.wait("beats", |fleet| Some(fleet.beats()).filter(|beats| beats.len() > before + BEATS)).await;
    let late: Vec<i64> = beats[before..].iter().map(|(at, beat)| at - sent_at(beat)).collect();
    println!("late by ms: {late:?}; {} lines", fleet.lines().len());
    assert!(late.iter().all(|late| *late <= LATE), "{late:?}");
    fleet.send("stop");
}
