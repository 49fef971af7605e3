//! Something fails in the middle of a command.

use nixfleet_fleet::{Reply, names};
use nixfleet_testbed::{Cluster, Nats};

use crate::rig::{Rig, wait};

/// Lines of the command: enough for several messages.
const LINES: usize = 2000;

fn accepted(reply: &Reply) -> bool {
    matches!(reply, Reply::Accepted { .. })
}

#[tokio::test]
async fn a_gateway_that_is_killed_loses_nothing() {
    let Some(nats) = Nats::start() else { return };
    let rig = Rig::start(&nats).await.counter(LINES);
    let mut first = rig.gateway("one").await;
    let (_agent, connection) = rig.agent_at("one").await;
    let _second = rig.gateway("two").await;
    assert!(accepted(&rig.ask("count", "a").await));
    first.kill();
    let moved = rig.wait_owner("two").await;
    assert!(moved > connection);
    rig.go();
    rig.wait_counted(LINES).await;
    rig.wait_beat(moved).await;
    rig.assert_connections_in_order().await;
}

#[tokio::test]
async fn a_gateway_that_ends_hands_its_hosts_over() {
    let Some(nats) = Nats::start() else { return };
    let rig = Rig::start(&nats).await.counter(LINES);
    let mut first = rig.gateway("one").await;
    let (_agent, connection) = rig.agent_at("one").await;
    let second = rig.gateway("two").await;
    assert!(accepted(&rig.ask("count", "a").await));
    first.signal("-TERM").await;
    assert!(first.wait().await);
    // It said that the connection has ended, before it ended itself or the host came to the other one.
    let owner = rig.owner().await.unwrap();
    assert!(owner.left.is_some() || owner.connection > connection, "{owner:?}");
    rig.wait_owner("two").await;
    assert_eq!(second.metric("owners_moved_total").await, 0, "nothing was there to be replaced");
    rig.go();
    rig.wait_counted(LINES).await;
    rig.assert_connections_in_order().await;
}

#[tokio::test]
async fn nats_that_is_started_again_gets_everything() {
    let Some(mut nats) = Nats::start() else { return };
    let rig = Rig::start(&nats).await.counter(LINES);
    let gateway = rig.gateway("one").await;
    let (_agent, connection) = rig.agent_at("one").await;
    assert!(accepted(&rig.ask("count", "a").await));
    nats.kill();
    rig.go();
    // The rest of the output is told while there is nobody to store it.
    wait("attempts that fail", async || (gateway.metric("store_failures_total").await > 0).then_some(()))
        .await;
    nats.start_again();
    nats.wait();
    rig.wait_counted(LINES).await;
    rig.wait_beat(connection).await;
    rig.assert_connections_in_order().await;
}

#[tokio::test]
async fn a_cluster_that_loses_a_leader_loses_nothing() {
    let Some(mut cluster) = Cluster::start(3) else { return };
    let rig = Rig::new(cluster.urls()).await.counter(LINES);
    let _gateway = rig.gateway("one").await;
    let (_agent, connection) = rig.agent_at("one").await;
    assert!(accepted(&rig.ask("count", "a").await));
    let mut log = rig.jetstream.get_stream(names::LOG).await.unwrap();
    let leader = log.info().await.unwrap().cluster.clone().unwrap().leader.unwrap();
    cluster.server(leader.strip_prefix('n').unwrap().parse().unwrap()).kill();
    rig.go();
    rig.wait_counted(LINES).await;
    rig.wait_beat(connection).await;
}

#[tokio::test]
async fn a_full_stream_holds_the_output_back_in_the_agent() {
    let Some(nats) = Nats::start() else { return };
    let rig = Rig::start(&nats).await.counter(LINES);
    let gateway = rig.gateway("one").await;
    // An operator has made the stream refuse what has no room, instead of forgetting the oldest.
    let mut log = rig.jetstream.get_stream(names::LOG).await.unwrap();
    let mut config = log.info().await.unwrap().config.clone();
    (config.discard, config.max_bytes) = (async_nats::jetstream::stream::DiscardPolicy::New, 1);
    rig.jetstream.update_stream(&config).await.unwrap();
    let (_agent, _) = rig.agent_at("one").await;
    assert!(accepted(&rig.ask("count", "a").await));
    rig.go();
    wait("attempts that fail", async || (gateway.metric("store_failures_total").await > 2).then_some(()))
        .await;
    let before = wait("a heartbeat", async || rig.beat().await).await.1;
    wait("heartbeats meanwhile", async || (rig.beat().await?.1 != before).then_some(())).await;
    assert!(rig.lines().await.is_empty());
    config.max_bytes = 1024 * 1024 * 1024;
    rig.jetstream.update_stream(&config).await.unwrap();
    rig.wait_counted(LINES).await;
}
