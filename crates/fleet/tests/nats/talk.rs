//! Commands and their replies.

use std::time::{Duration, Instant};

use async_nats::connection::State;
use futures_util::StreamExt;
use nixfleet_fleet::{AskError, ConnectError, Options, Reply, Request, ask, connect, names};
use nixfleet_protocol::DashboardMessage;
use nixfleet_testbed::{Nats, Setup};

use crate::rig::{Rig, soon, until};

fn pull() -> Request {
    let text = r#"{"type":"command","payload":{"command":"pull","id":"c1"}}"#;
    Request(DashboardMessage::decode(text).unwrap())
}

/// Answers the next request for `host` with this, or never.
async fn answer(rig: &Rig, host: &str, with: Option<&'static str>) -> tokio::task::JoinHandle<()> {
    let client = rig.client.clone();
    let group = names::OWNER_GROUP.to_owned();
    let mut requests = client.queue_subscribe(names::command(host), group).await.unwrap();
    // The subscription is known before anybody asks.
    client.flush().await.unwrap();
    tokio::spawn(async move {
        let request = requests.next().await.unwrap();
        Request::decode(&request.payload).unwrap();
        match with {
            Some(text) => client.publish(request.reply.unwrap(), text.into()).await.unwrap(),
            None => std::future::pending().await,
        }
    })
}

#[tokio::test]
async fn a_host_without_a_gateway_is_offline_at_once() {
    let Some(rig) = Rig::start().await else { return };
    let begun = Instant::now();
    let err = ask(&rig.client, "web-1", &pull()).await.unwrap_err();
    assert!(matches!(&err, AskError::Offline(host) if host == "web-1"), "{err}");
    assert!(begun.elapsed() < Duration::from_secs(2), "it was waited for");
}

#[tokio::test]
async fn a_reply_is_what_the_gateway_says() {
    let Some(rig) = Rig::start().await else { return };
    let rows = [
        (r#"{"verdict":"accepted","evidence":"output"}"#, "Accepted"),
        (r#"{"verdict":"refused","reason":"NATS is away"}"#, "Refused"),
        (r#"{"verdict":"unknown","reason":"it ended"}"#, "Unknown"),
        (r#"{"verdict":"sent"}"#, "Sent"),
        // A newer gateway may say more.
        (r#"{"verdict":"sent","more":1}"#, "Sent"),
    ];
    for (text, kind) in rows {
        let gateway = answer(&rig, "web-1", Some(text)).await;
        let reply = ask(&rig.client, "web-1", &pull()).await.unwrap();
        assert!(format!("{reply:?}").starts_with(kind), "{reply:?}");
        soon("the gateway has answered", gateway).await.unwrap();
    }
    let gateway = answer(&rig, "web-1", Some("no json")).await;
    let err = ask(&rig.client, "web-1", &pull()).await.unwrap_err();
    assert!(matches!(err, AskError::Reply { .. }), "{err}");
    soon("the gateway has answered", gateway).await.unwrap();
}

#[tokio::test]
async fn a_gateway_that_says_nothing_is_late() {
    let Some(rig) = Rig::start().await else { return };
    let gateway = answer(&rig, "web-1", None).await;
    let err = soon("the limit", ask(&rig.client, "web-1", &pull())).await.unwrap_err();
    assert!(matches!(err, AskError::Late(_)), "{err}");
    gateway.abort();
}

#[tokio::test]
async fn what_is_asked_while_nats_is_away_is_not_sent_later() {
    let Some(mut rig) = Rig::start().await else { return };
    let client = rig.client.clone();
    let mut requests = client.subscribe(names::command("web-1")).await.unwrap();
    client.flush().await.unwrap();
    rig.nats.kill();
    let state = |wanted| {
        let client = &client;
        until("the state of the connection", async move || {
            (client.connection_state() == wanted).then_some(())
        })
    };
    state(State::Disconnected).await;
    let err = ask(&client, "web-1", &pull()).await.unwrap_err();
    assert!(matches!(&err, AskError::Away(host) if host == "web-1"), "{err}");
    rig.nats.start_again();
    rig.nats.wait();
    state(State::Connected).await;
    // What comes first was sent first.
    client.publish(names::command("web-1"), "mark".into()).await.unwrap();
    let first = soon("the mark", requests.next()).await.unwrap();
    assert_eq!(first.payload, "mark");
}

#[tokio::test]
async fn a_name_with_a_wildcard_asks_nobody() {
    let Some(rig) = Rig::start().await else { return };
    let _gateway = answer(&rig, "web-1", Some(r#"{"verdict":"sent"}"#)).await;
    for name in ["*", ">", "", "web-1.a", "web-1 x", "a\r\nb"] {
        let err = ask(&rig.client, name, &pull()).await.unwrap_err();
        assert!(matches!(err, AskError::Name(_)), "{name:?}: {err}");
        assert!(!err.to_string().contains('\n'), "{err}");
    }
    // The one that it is was never asked.
    assert_eq!(ask(&rig.client, "web-1", &pull()).await.unwrap(), Reply::Sent);
}

#[tokio::test]
async fn a_prefix_of_replies_is_a_plain_subject() {
    let Some(rig) = Rig::start().await else { return };
    let with = |prefix: &str| Options {
        servers: vec![rig.nats.url()],
        inbox_prefix: Some(prefix.to_owned()),
        ..Options::default()
    };
    for prefix in ["", "_INBOX.>", "a b", "a..b", "*"] {
        let err = connect(&with(prefix)).await.unwrap_err();
        assert!(matches!(err, ConnectError::Prefix(_)), "{prefix:?}: {err}");
    }
    let client = connect(&with("_INBOX_gateway")).await.unwrap();
    assert!(client.new_inbox().starts_with("_INBOX_gateway."));
}

#[tokio::test]
async fn an_address_may_have_user_and_password() {
    let config = "authorization { user: me, password: \"a/b c\" }".to_owned();
    let Some(nats) = Nats::with(&Setup { config, name: None }) else { return };
    let options = |login: &str| {
        let servers = vec![format!("nats://{login}{}", nats.address())];
        Options { servers, ..Options::default() }
    };
    assert!(connect(&options("me:a%2Fb%20c@")).await.is_ok());
    for wrong in ["", "me:b@"] {
        assert!(matches!(connect(&options(wrong)).await, Err(ConnectError::Connect { .. })), "{wrong}");
    }
}
