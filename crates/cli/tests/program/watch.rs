use std::time::Duration;

use futures_util::TryStreamExt;
use nixfleet_fleet::{Layout, Sizes, names};
use nixfleet_protocol::StatusKind;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::timeout;

use crate::rig::{self, LONG, Rig, lines, new_job};

#[tokio::test(flavor = "multi_thread")]
async fn each_change_is_a_line_and_what_happens_while_nats_is_away_is_told_later() {
    let Some(mut rig) = Rig::new().await else { return };
    let web = rig.host("web-1").await;
    let mut child = rig.start("watch web-* --json");
    let mut stdout = lines(&mut child);
    let mut next = async || {
        let line = rig::next(&mut stdout).await;
        serde_json::from_str::<serde_json::Value>(&line.expect("it runs")).unwrap()
    };
    let begin = next().await;
    assert_eq!((&begin["event"], &begin["hosts"], &begin["online"]), (&"begin".into(), &1.into(), &1.into()));
    web.beat(Some("switch"), LONG).await;
    let started = next().await;
    assert_eq!((&started["event"], &started["command"]), (&"started".into(), &"switch".into()));
    assert!(started["at"].as_str().unwrap().ends_with('Z'), "{started}");
    let job = new_job();
    web.ends("switch", &job, StatusKind::Error, 0).await;
    let ended = next().await;
    assert_eq!((&ended["event"], &ended["status"]["status"]), (&"ended".into(), &"error".into()));

    // Hosts that nobody asked for say nothing here.
    rig.host("db").await;
    rig.host("web-2").await;
    // They are in two buckets, which have no order among each other.
    let mut come = [next().await, next().await].map(|event| (event["host"].clone(), event["event"].clone()));
    come.sort_by_key(|(_, event)| event.to_string());
    assert_eq!(come, ["connected", "online"].map(|event| ("web-2".into(), event.into())));

    // Heartbeats are in memory: with the server they are gone, and no marker tells of it. A gateway makes the bucket again.
    rig.nats.kill();
    rig.nats.start_again();
    rig.nats.wait();
    let made = async || while Layout::ensure(&rig.jetstream, &Sizes::default()).await.is_err() {};
    timeout(Duration::from_secs(30), made()).await.expect("the bucket is there again");
    let mut gone = [next().await, next().await].map(|event| (event["host"].clone(), event["event"].clone()));
    gone.sort_by_key(|(host, _)| host.to_string());
    assert_eq!(gone, ["web-1", "web-2"].map(|host| (host.into(), "offline".into())));
    web.beat(None, LONG).await;
    let online = next().await;
    assert_eq!((&online["event"], &online["host"]), (&"online".into(), &"web-1".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_that_nats_begins_anew_tells_nothing_twice() {
    let Some(rig) = Rig::new().await else { return };
    let web = rig.host("web-1").await;
    let (old, new) = (new_job(), new_job());
    web.ends("switch", &old, StatusKind::Ok, 0).await;
    let mut child = rig.start("watch --json");
    let mut stdout = lines(&mut child);
    let mut next = async || rig::next(&mut stdout).await.expect("it runs");
    assert!(next().await.contains("\"begin\""));
    // The server that had its consumer is gone, before it has delivered anything.
    let log = rig.jetstream.get_stream(names::LOG).await.unwrap();
    let consumer = async || loop {
        let all: Vec<String> = log.consumer_names().try_collect().await.unwrap();
        if let Some(name) = all.into_iter().next() {
            return name;
        }
    };
    let name = timeout(Duration::from_secs(30), consumer()).await.expect("the log is read");
    log.delete_consumer(&name).await.unwrap();
    web.ends("switch", &new, StatusKind::Ok, 0).await;
    let ended = next().await;
    assert!(ended.contains(&new), "{ended}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_made_anew_is_read_again() {
    let Some(rig) = Rig::new().await else { return };
    let web = rig.host("web-1").await;
    for _ in 0..3 {
        web.beat(None, LONG).await;
    }
    let mut child = rig.start("watch");
    let mut stdout = lines(&mut child);
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
    timeout(Duration::from_secs(30), stderr.next_line()).await.expect("it watches").unwrap();
    // As with the last server that had it, and the connection stays.
    rig.jetstream.delete_stream("KV_fleet_beats").await.unwrap();
    Layout::ensure(&rig.jetstream, &Sizes::default()).await.unwrap();
    let offline = rig::next(&mut stdout).await.unwrap();
    assert!(offline.ends_with(" web-1 offline"), "{offline}");
    web.beat(None, LONG).await;
    let online = rig::next(&mut stdout).await.unwrap();
    assert!(online.ends_with(" web-1 online"), "{online}");
}
