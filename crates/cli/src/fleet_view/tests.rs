use nixfleet_fleet::Beat;
use nixfleet_protocol::encode;

use super::*;

fn entry(host: &str, payload: &str, connection: Option<u64>) -> Entry {
    let headers =
        connection.map(|number| Beat::new(host, number, 5, std::time::Duration::from_secs(1)).headers);
    let payload = payload.to_owned().into();
    Entry { host: host.to_owned(), headers, payload, sequence: 1, stored_ms: 99 }
}

fn beat(command: &str) -> String {
    let pending_command = Some(command.to_owned()).filter(|command| !command.is_empty());
    let beat = Heartbeat { pending_command, generation: "0badf00".to_owned(), ..Heartbeat::default() };
    encode(&AgentMessage::Heartbeat(Box::new(beat)))
}

fn owner(connection: u64) -> String {
    format!(r#"{{"gateway":"gw1-x","connection":{connection},"since_ms":1000}}"#)
}

#[test]
fn a_heartbeat_of_an_older_connection_is_no_news() {
    let mut fleet = Fleet::default();
    fleet.owner(&entry("web-1", &owner(7), None));
    fleet.beat(&entry("web-1", &beat("switch"), Some(7)));
    fleet.beat(&entry("web-1", &beat(""), Some(6)));
    let host = &fleet.hosts["web-1"];
    assert_eq!((host.running(), host.commit()), (Some("switch"), "0badf00"));

    // As the only one it shows that the host is there.
    fleet.owner(&entry("web-2", &owner(7), None));
    fleet.beat(&entry("web-2", &beat("switch"), Some(6)));
    let host = &fleet.hosts["web-2"];
    assert!(host.standing().online && host.heartbeat().is_none());
    assert_eq!((host.running(), host.commit()), (None, ""));
}

#[test]
fn the_marker_means_offline_and_the_end_of_a_connection_does_not() {
    let mut fleet = Fleet::default();
    fleet.owner(&entry("web-1", &owner(7), None));
    fleet.beat(&entry("web-1", &beat(""), Some(7)));
    assert_eq!(fleet.hosts["web-1"].since_ms(), Some(1000));
    let left = r#"{"gateway":"g","connection":7,"since_ms":1000,"left":{"at_ms":2000,"why":"gone"}}"#;
    fleet.owner(&entry("web-1", left, None));
    let host = &fleet.hosts["web-1"];
    assert!(host.standing().online && !host.standing().connected);
    assert_eq!(host.since_ms(), Some(2000));
    fleet.beat(&entry("web-1", "", None));
    assert!(!fleet.hosts["web-1"].standing().online);

    // A gateway that was killed cannot say it.
    fleet.owner(&entry("web-2", &owner(7), None));
    assert_eq!(fleet.hosts["web-2"].since_ms(), None);
    fleet.beat(&entry("web-2", "", None));
    assert_eq!(fleet.hosts["web-2"].since_ms(), Some(99));
}

#[test]
fn what_cannot_be_read_is_skipped() {
    let mut fleet = Fleet::default();
    fleet.owner(&entry("web-1", "{", None));
    fleet.facts(&entry("web-1", "[]", Some(1)));
    fleet.beat(&entry("web-1", "{}", Some(1)));
    assert!(fleet.hosts.is_empty());
}
