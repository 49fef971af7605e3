use nixfleet_fleet::names::said;
use nixfleet_fleet::{Layout, Options, Sizes};
use nixfleet_testbed::Nats;

use super::*;

/// Longest wait for an entry.
const LIMIT: Duration = Duration::from_secs(30);

/// Deletes all consumers, as a server does that dies.
async fn forget(jetstream: &Context) {
    let stream = jetstream.get_stream(LOG).await.unwrap();
    let names: Vec<_> = stream.consumer_names().collect().await;
    assert!(!names.is_empty());
    for name in names {
        stream.delete_consumer(&name.unwrap()).await.unwrap();
    }
}

#[tokio::test]
async fn a_consumer_that_was_lost_before_it_delivered_anything_brings_no_old_entries() {
    let Some(nats) = Nats::start() else { return };
    let options = Options { servers: vec![nats.url()], name: "test".to_owned(), ..Options::default() };
    let jetstream = async_nats::jetstream::new(nixfleet_fleet::connect(&options).await.unwrap());
    Layout::ensure(&jetstream, &Sizes::default()).await.unwrap();
    let say = async || {
        let publish = jetstream.publish(said("web-1", "output"), "old".into()).await.unwrap();
        publish.await.unwrap().sequence
    };
    say().await;
    let last = say().await;
    let mut part = Part::open(&jetstream, LOG, Begin::Behind(last, 100)).await.unwrap();
    part.catch_up(|_| panic!("nothing is new")).await.unwrap();
    forget(&jetstream).await;
    let next = timeout(LIMIT, part.next()).await.expect("the library makes a new consumer");
    assert!(matches!(next, Err(ReadError::Old(LOG))), "{next:?}");

    // The next reading begins where this one did, and one that has delivered something goes on by itself.
    let mut part = Part::open(&jetstream, LOG, Begin::Behind(last, 100)).await.unwrap();
    part.catch_up(|_| panic!("nothing is new")).await.unwrap();
    for expected in last + 1..last + 3 {
        say().await;
        let next = timeout(LIMIT, part.next()).await.expect("the new entry").unwrap();
        assert_eq!(next.info().unwrap().stream_sequence, expected);
        forget(&jetstream).await;
    }
}

#[test]
fn a_reading_knows_whether_it_skips_anything() {
    let most = 100;
    assert_eq!(begin(50, most, 1, 60), (51, false), "behind what was told");
    assert_eq!(begin(60, most, 1, 60), (61, false), "nothing is new");
    assert_eq!(begin(50, most, 1, 150), (51, false), "just as much as is read");
    assert_eq!(begin(50, most, 1, 151), (52, true), "more than is read");
    assert_eq!(begin(50, most, 55, 60), (55, true), "the oldest are not kept any more");
    assert_eq!(begin(50, most, 61, 60), (61, true), "none is");
    assert_eq!(begin(50, most, 1, 10), (1, true), "a stream that was made anew");
    assert_eq!(begin(0, most, 1, 10), (1, true), "the first reading");
    assert_eq!(begin(0, most, 0, 0), (1, true), "an empty stream");
}
