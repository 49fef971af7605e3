//! The part `git` of a host, which only the dashboard can judge.

use nixfleet_protocol::{AgentMessage, Heartbeat, HostSystem, UpdateStatus};
use serde_json::Value;

use super::world::{World, link};

const OLD: &str = "1111111111111111111111111111111111111111";
const NEW: &str = "2222222222222222222222222222222222222222";

fn beat(commit: &str) -> AgentMessage {
    let system = HostSystem { repo_commit: Some(commit.to_owned()), ..HostSystem::default() };
    AgentMessage::Heartbeat(Box::new(Heartbeat {
        system: Some(Box::new(system)),
        update_status: Some(Box::new(UpdateStatus::default())),
        ..Heartbeat::default()
    }))
}

/// The word of the light in the list of hosts, and in the view of the host.
fn lights(world: &mut World) -> [String; 2] {
    let moment = world.at(0);
    let list: Value = serde_json::from_str(&world.hub.overview(moment)).unwrap();
    let view = serde_json::to_value(world.hub.view("h").unwrap()).unwrap();
    [&list["payload"]["hosts"][0]["lights"]["git"], &view["update_status"]["git"]["status"]]
        .map(|word| word.as_str().unwrap().to_owned())
}

#[test]
fn lists_and_hosts_show_whether_the_newest_commit_is_in_the_checkout() {
    let mut world = World::new();
    let link = link(1);
    world.register(0, &link, "h", 1);
    world.message(0, &link, beat(OLD));
    assert_eq!(lights(&mut world), ["", ""], "no opinion");
    let moment = world.at(1);
    drop(world.hub.changes(moment));
    world.hub.set_newest(moment, Some(NEW));
    assert!(world.hub.changes(moment).is_some(), "browsers are told");
    assert_eq!(lights(&mut world), ["outdated", "outdated"]);
    world.hub.set_newest(moment, Some(NEW));
    assert_eq!(world.hub.changes(moment), None, "that is no news");
    world.message(2, &link, beat(NEW));
    assert_eq!(lights(&mut world), ["ok", "ok"]);
}
