//! What a gateway takes, refuses and answers.

use std::fs;
use std::time::Duration;

use nixfleet_fleet::{AskError, Owner, Reply, Request, ask, names};
use nixfleet_protocol::{CommandRequest, DashboardMessage, ServerState};
use nixfleet_testbed::Nats;

use crate::client::{Client, Frame};
use crate::rig::{HOST, Rig, wait};

#[tokio::test]
async fn the_newest_connection_of_a_host_stays_on_whichever_gateway_it_is() {
    let Some(nats) = Nats::start() else { return };
    let rig = Rig::start(&nats).await;
    let (one, two) = (rig.gateway("one").await, rig.gateway("two").await);
    let mut older = Client::registered(one.agents, &rig.token, HOST).await;
    older.beat(1).await;
    older.ack().await;
    let mut newer = Client::registered(two.agents, &rig.token, HOST).await;
    assert!(matches!(older.next().await, Frame::Close(1008, why) if why.starts_with("replaced")));
    let connection = rig.wait_owner("two").await;
    newer.beat(1).await;
    newer.ack().await;
    rig.wait_beat(connection).await;
    assert_eq!(two.metric("owners_moved_total").await, 1);
    wait("the eviction", async || (one.metric("evictions_total").await == 1).then_some(())).await;
    // And back, on the gateway that it left.
    let mut third = Client::registered(one.agents, &rig.token, HOST).await;
    assert!(matches!(newer.next().await, Frame::Close(1008, _)));
    let mut fourth = Client::registered(one.agents, &rig.token, HOST).await;
    assert!(matches!(third.next().await, Frame::Close(1008, _)));
    fourth.beat(1).await;
    fourth.ack().await;
    rig.wait_beat(connection + 2).await;
    // Nothing that the older ones do at their end says anything about the newest.
    wait("the end of the older ones", async || (one.metric("leaving").await == 0).then_some(())).await;
    assert_eq!(rig.owner().await.unwrap().left, None);
}

#[tokio::test]
async fn a_token_opens_its_own_host_until_it_is_revoked() {
    let Some(nats) = Nats::start() else { return };
    let rig = Rig::start(&nats).await;
    let gateway = rig.gateway("one").await;
    assert_eq!(Client::connect(gateway.agents, "wrong").await.err(), Some(401));
    let mut other = Client::connect(gateway.agents, &rig.token).await.unwrap();
    other.register("db-1").await;
    assert!(matches!(other.next().await, Frame::Close(1008, why) if why.contains("another host")));
    let mut client = Client::registered(gateway.agents, &rig.token, HOST).await;
    // A second token beside the first one changes nothing.
    let next = nixfleet_gateway::new_token(HOST).unwrap();
    let old = fs::read_to_string(rig.path("tokens")).unwrap();
    let both = format!("{} {}", old.trim(), next.line.split(' ').nth(1).unwrap());
    fs::write(rig.path("tokens"), both).unwrap();
    gateway.signal("-HUP").await;
    let mut rotated =
        wait("the second token", async || Client::connect(gateway.agents, &next.secret).await.ok()).await;
    client.beat(1).await;
    assert_eq!(client.ack().await.seq, 1);
    rotated.register(HOST).await;
    assert!(matches!(client.next().await, Frame::Close(1008, why) if why.starts_with("replaced")));
    assert!(matches!(rotated.next().await, Frame::Message(DashboardMessage::Registered(_))));
    fs::write(rig.path("tokens"), format!("db-1 {}", "0".repeat(64))).unwrap();
    gateway.signal("-HUP").await;
    assert!(matches!(rotated.next().await, Frame::Close(1008, why) if why.contains("revoked")));
    assert_eq!(Client::connect(gateway.agents, &next.secret).await.err(), Some(401));
}

#[tokio::test]
async fn proofs_wait_for_nats_and_heartbeats_do_not() {
    let Some(mut nats) = Nats::start() else { return };
    let rig = Rig::start(&nats).await;
    let gateway = rig.gateway("one").await;
    let mut client = Client::registered(gateway.agents, &rig.token, HOST).await;
    client.ping("early").await;
    assert!(matches!(client.next().await, Frame::Pong(payload) if payload == "early"));
    client.beat(1).await;
    assert_eq!(client.ack().await.seq, 1);
    nats.kill();
    let line = r#"{"type":"output_batch","payload":{"command":"pull","job_id":"j","lines":
        [{"seq":1,"at":"2026-11-28T00:00:00Z","stream":"stdout","line":"a"}]}}"#;
    client.say(line).await;
    client.ping("late").await;
    // A heartbeat before it may still be given to the connection that is lost.
    wait("a gateway that knows", async || gateway.get("/readyz").await.contains(" 503 ").then_some(())).await;
    client.beat(2).await;
    assert!(client.is_silent_for(Duration::from_millis(500)).await, "nothing is proven");
    // It would give up a connection on which it hears nothing.
    client.is_pinged().await;
    wait("dropped heartbeats", async || (gateway.metric("beats_dropped_total").await > 0).then_some(()))
        .await;
    assert_eq!(Client::connect(gateway.agents, &rig.token).await.err(), Some(503));
    nats.start_again();
    nats.wait();
    assert!(matches!(client.next().await, Frame::Pong(payload) if payload == "late"));
    let ack = client.ack().await;
    assert_eq!(ack.seq, 2);
    assert_eq!(rig.lines().await.len(), 1);
    wait("a gateway that is ready", async || gateway.get("/readyz").await.contains(" 200 ").then_some(()))
        .await;
    client.beat(3).await;
    let ack = client.ack().await;
    assert_eq!((ack.seq, ack.server_status.state), (3, ServerState::Healthy));
}

#[tokio::test]
async fn a_command_is_answered_by_the_gateway_that_has_the_host() {
    let Some(nats) = Nats::start() else { return };
    let rig = Rig::start(&nats).await;
    let gateway = rig.gateway("one").await;
    let request = |command: &str, id: Option<&str>| {
        let (command, id) = (command.to_owned(), id.map(str::to_owned));
        Request(DashboardMessage::Command(CommandRequest { command, id }))
    };
    let offline = ask(&rig.client, HOST, &request("pull", Some("a"))).await;
    assert!(matches!(offline, Err(AskError::Offline(host)) if host == HOST));
    let mut client = Client::registered(gateway.agents, &rig.token, HOST).await;
    client.beat(1).await;
    client.ack().await;
    wait("its heartbeat", async || rig.beat().await).await;
    let asking = tokio::spawn({
        let (nats, request) = (rig.client.clone(), request("pull", Some("a")));
        async move { ask(&nats, HOST, &request).await.unwrap() }
    });
    let Frame::Message(DashboardMessage::Command(command)) = client.next().await else {
        panic!("no command")
    };
    assert_eq!((command.command.as_str(), command.id.as_deref()), ("pull", Some("a")));
    let rejection = r#"{"type":"command_rejected","payload":{"reason":"busy","command":"pull","command_id":"a",
        "current_command":"switch","current_pid":7}}"#;
    client.say(rejection).await;
    let Reply::Rejected { rejection } = asking.await.unwrap() else { panic!("not rejected") };
    assert_eq!((rejection.reason.as_str(), rejection.current_pid), ("busy", Some(7)));
    let refused = ask(&rig.client, HOST, &request("pull", None)).await.unwrap();
    assert!(matches!(refused, Reply::Refused { reason } if reason.contains("no `id`")));
    // The connection ends while it is not known whether the agent runs the command.
    let asking = tokio::spawn({
        let (nats, request) = (rig.client.clone(), request("test", Some("b")));
        async move { ask(&nats, HOST, &request).await.unwrap() }
    });
    assert!(matches!(client.next().await, Frame::Message(DashboardMessage::Command(_))));
    drop(client);
    assert!(matches!(asking.await.unwrap(), Reply::Unknown { reason } if reason.contains("ended")));
    let left = wait("the end of the connection", async || rig.owner().await?.left).await;
    assert!(!left.why.is_empty());
    // The beat outlasts the connection for three intervals, and then its host is offline.
    wait("a host that is offline", async || rig.beat().await.is_none().then_some(())).await;
}

#[tokio::test]
async fn facts_that_change_are_stored_before_they_are_answered() {
    let Some(nats) = Nats::start() else { return };
    let rig = Rig::start(&nats).await;
    let gateway = rig.gateway("one").await;
    let mut client = Client::registered(gateway.agents, &rig.token, HOST).await;
    let hosts = rig.layout().await.hosts;
    let facts = async || String::from_utf8(hosts.get(HOST).await.unwrap().unwrap().to_vec()).unwrap();
    assert!(!facts().await.contains("26.05"));
    client.say(r#"{"type":"register","payload":{"hostname":"web-1","nixpkgs_version":"26.05"}}"#).await;
    assert!(matches!(client.next().await, Frame::Message(DashboardMessage::Registered(_))));
    assert!(facts().await.contains("26.05"));
    client.say(r#"{"type":"register","payload":{"hostname":"web-2"}}"#).await;
    assert!(matches!(client.next().await, Frame::Close(1008, why) if why.contains("one hostname")));
}

#[tokio::test]
async fn an_owner_that_somebody_removed_is_found_out() {
    let Some(nats) = Nats::start() else { return };
    let rig = Rig::start(&nats).await;
    let gateway = rig.gateway("one").await;
    let mut client = Client::registered(gateway.agents, &rig.token, HOST).await;
    // A gateway that was away while its host went elsewhere learns it from the entry alone.
    let owners = rig.layout().await.owners;
    let newer = Owner { gateway: "other-1".to_owned(), connection: 9, since_ms: 0, left: None };
    owners.put(HOST, serde_json::to_vec(&newer).unwrap().into()).await.unwrap();
    rig.client.publish(names::evict("nobody"), "{}".into()).await.unwrap();
    let mut nats = nats;
    nats.stop();
    nats.start_again();
    nats.wait();
    assert!(matches!(client.next().await, Frame::Close(1008, why) if why.starts_with("replaced")));
    // It is counted in the moment after.
    wait("the eviction", async || (gateway.metric("evictions_total").await == 1).then_some(())).await;
}

#[tokio::test]
async fn a_registration_that_nats_does_not_answer_ends_in_order() {
    let Some(mut nats) = Nats::start() else { return };
    let rig = Rig::start(&nats).await;
    let gateway = rig.gateway("one").await;
    nats.pause();
    let mut client = Client::connect(gateway.agents, &rig.token).await.unwrap();
    client.register(HOST).await;
    assert!(matches!(client.next().await, Frame::Close(1013, why) if why.contains("NATS")));
    nats.resume();
    wait("the end of the attempt", async || (gateway.metric("leaving").await == 0).then_some(())).await;
    assert_eq!(gateway.metric("registration_failures_total").await, 1);
    gateway.wait_ready().await;
    Client::registered(gateway.agents, &rig.token, HOST).await;
    assert!(gateway.has_said("it is asked to come again") && !gateway.has_said("panicked"));
}

#[tokio::test]
async fn of_many_connections_of_a_host_at_once_one_is_left() {
    let Some(nats) = Nats::start() else { return };
    let rig = Rig::start(&nats).await;
    let (one, two) = (rig.gateway("one").await, rig.gateway("two").await);
    let mut clients = Vec::new();
    for number in 0..40 {
        let address = if number % 2 == 0 { one.agents } else { two.agents };
        clients.push(Client::connect(address, &rig.token).await.unwrap());
    }
    for client in &mut clients {
        client.register(HOST).await;
    }
    // Sockets that nobody reads would not be closed in order.
    let reading = clients.into_iter().map(|mut client| {
        tokio::spawn(async move { while matches!(client.next().await, Frame::Message(_)) {} })
    });
    let reading: Vec<_> = reading.collect();
    wait("one connection", async || {
        let hosts = one.metric("hosts").await + two.metric("hosts").await;
        let leaving = one.metric("leaving").await + two.metric("leaving").await;
        let ended = reading.iter().filter(|client| client.is_finished()).count();
        ((hosts, leaving, ended) == (1, 0, 39)).then_some(())
    })
    .await;
    assert_eq!(rig.owner().await.unwrap().left, None);
    assert!(!one.has_said("panicked") && !two.has_said("panicked"));
}

#[tokio::test]
async fn a_host_that_goes_while_nats_is_away_is_given_up_when_it_is_back() {
    let Some(mut nats) = Nats::start() else { return };
    let rig = Rig::start(&nats).await;
    let gateway = rig.gateway("one").await;
    let client = Client::registered(gateway.agents, &rig.token, HOST).await;
    nats.kill();
    drop(client);
    wait("an attempt to give it up", async || (gateway.metric("leaving").await == 1).then_some(())).await;
    wait("a gateway that knows", async || gateway.get("/readyz").await.contains(" 503 ").then_some(())).await;
    nats.start_again();
    nats.wait();
    wait("the end of the connection", async || rig.owner().await?.left).await;
}
