use std::time::Duration;

use nixfleet_dashboard::{Dashboard, HostStatus};
use nixfleet_fleet::{Beat, Options, names};
use nixfleet_testbed::Nats;

use super::*;

fn example(name: &str) -> String {
    let file = format!("{}/../protocol/tests/wire/{name}.json", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(file).unwrap()
}

#[tokio::test]
async fn a_heartbeat_that_has_expired_before_its_host_was_known_makes_nobody_online() {
    // A message needs a client. This one sends nothing.
    let Some(nats) = Nats::start() else { return };
    let options = Options { servers: vec![nats.url()], name: "test".to_owned(), ..Options::default() };
    let context = async_nats::jetstream::new(nixfleet_fleet::connect(&options).await.unwrap());
    let (dashboard, feed, _asked) = Dashboard::fed(([127, 0, 0, 1], 0).into(), None).await.unwrap();
    let mut picture = Picture::new(feed);
    let text = example("register");
    let host = serde_json::from_str::<serde_json::Value>(&text).unwrap()["payload"]["hostname"].clone();
    let host = host.as_str().unwrap();
    let message = |subject: String, headers, text: String| {
        let (subject, payload) = (subject.into(), text.into());
        let message = async_nats::Message {
            subject,
            payload,
            headers,
            reply: None,
            status: None,
            description: None,
            length: 0,
        };
        Message { message, context: context.clone() }
    };
    let Beat { subject, headers } = Beat::new(host, 1, 5, Duration::from_secs(1));
    let beat = message(subject.clone(), Some(headers.clone()), example("heartbeat-idle"));
    let register = message(names::facts(host), Some(headers), text);
    picture.beat(&beat);
    assert!(picture.waiting_bytes > 0, "nobody knows this host");
    picture.beat(&message(subject, None, String::new()));
    assert_eq!(picture.waiting_bytes, 0);
    picture.facts(&register);
    assert_eq!(dashboard.handle().host(host).unwrap().status, HostStatus::Offline);
    picture.beat(&beat);
    assert_eq!(dashboard.handle().host(host).unwrap().status, HostStatus::Online);
}
