//! The demo as people start it: the real programs, by the page's own API.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::string_slice, reason = "a test that cannot go on should say where")]

use std::time::Duration;

use rustix::process::Signal;

use rig::{Demo, eventually, lives, within};

mod rig;

/// Longest wait until nothing is left of a demo that has ended: its own limits are shorter.
const END_LIMIT: Duration = Duration::from_secs(10);

/// The lights of a host: what each part of `update_status` says.
fn lights(demo: &Demo, host: &str) -> [String; 4] {
    let status = demo.host(host)["update_status"].take();
    ["git", "lock", "system", "tests"]
        .map(|part| status[part]["status"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn pull_switch_and_test_turn_all_lights_of_a_host_green_and_the_switch_replaces_the_agent() {
    let demo = Demo::start();
    let version = |demo: &Demo| demo.host("web-1")["agent_version"].as_str().unwrap().to_owned();
    let before = version(&demo);
    let at_first = ["outdated", "unknown", "ok", "unknown"];
    eventually("the lights of a missed commit", || (lights(&demo, "web-1") == at_first).then_some(()));
    assert_eq!(demo.run("web-1", "pull")["outcome"], "ok");
    eventually("a system that is out of date", || (lights(&demo, "web-1")[2] == "outdated").then_some(()));
    demo.send("web-1", "switch");
    eventually("another agent with the command", || {
        let host = demo.host("web-1");
        (host["pending_command"] == "switch" && host["agent_version"] != *before).then_some(())
    });
    let status = demo.ended("web-1", "switch");
    assert_eq!(status["outcome"], "ok", "{status}");
    let lines = demo.lines("web-1", status["job_id"].as_str().unwrap());
    let numbers: Vec<u64> = lines.iter().map(|(number, _)| *number).collect();
    let first = numbers.first().copied().unwrap();
    let all: Vec<u64> = (first..first + status["lines"].as_u64().unwrap()).collect();
    assert_eq!(numbers, all, "each line once: {lines:?}");
    let replaced = format!("nixfleet-agent {before} was replaced by {}", version(&demo));
    assert!(lines.iter().any(|(_, line)| *line == replaced), "{replaced}: {lines:?}");
    assert_eq!(lines.last().unwrap().1, "starting the following units: nginx.service");
    assert_eq!(demo.run("web-1", "test")["outcome"], "ok");
    eventually("green lights", || (lights(&demo, "web-1") == ["ok"; 4]).then_some(()));

    assert_eq!(demo.run("web-1", "update")["outcome"], "ok");
    eventually("a lock that is out of date", || (lights(&demo, "web-1")[1] == "outdated").then_some(()));
    assert_eq!(demo.run("web-1", "pull")["outcome"], "ok");
    eventually("green lights", || (lights(&demo, "web-1") == ["ok"; 4]).then_some(()));

    assert_eq!(demo.run("web-1", "commit")["outcome"], "ok");
    for host in ["web-1", "studio", "attic"] {
        eventually("a commit that is missing", || (lights(&demo, host)[0] == "outdated").then_some(()));
    }

    let status = demo.run("attic", "test");
    assert_eq!((&status["outcome"], &status["exit_code"]), (&"failed".into(), &1.into()), "{status}");
    let lines = demo.lines("attic", status["job_id"].as_str().unwrap());
    assert!(lines.iter().any(|(_, line)| line.contains("newest backup is 12 days old")), "{lines:?}");
    eventually("a red light", || (lights(&demo, "attic")[3] == "error").then_some(()));
}

#[test]
fn a_switch_that_cuts_a_host_off_is_taken_back_and_a_mended_one_stays() {
    let demo = Demo::start();
    eventually("a GPU", || demo.host("studio")["vitals"]["gpus"][0]["usage"].as_f64());
    assert_eq!(demo.run("studio", "break-network")["outcome"], "ok");
    demo.send("studio", "pull-switch");
    eventually("a host that is offline", || (demo.host("studio")["status"] == "offline").then_some(()));
    assert_eq!(demo.host("web-1")["status"], "online", "the others are not touched");
    let status = demo.ended("studio", "pull-switch");
    assert_eq!(status["outcome"], "rolled_back", "{status}");
    assert!(status["message"].as_str().unwrap().contains("not confirmed within 12 s"), "{status}");
    eventually("a red light", || (lights(&demo, "studio")[2] == "error").then_some(()));

    assert_eq!(demo.run("studio", "mend-network")["outcome"], "ok");
    let status = demo.run("studio", "pull-switch");
    assert_eq!(status["outcome"], "ok", "{status}");
    eventually("green lights", || (lights(&demo, "studio")[..3] == ["ok"; 3]).then_some(()));
}

/// Ends a demo in which commands run, and waits until nothing of it is left.
#[track_caller]
fn ends(mut demo: Demo, end: impl FnOnce(&mut Demo)) -> Option<i32> {
    // Its program ends neither by a lost pipe nor by itself.
    demo.commit("hosts/attic/tests/T00-wait.sh", "#!/bin/sh\nsleep 3600\n");
    assert_eq!(demo.run("attic", "pull")["outcome"], "ok");
    demo.send("attic", "test");
    demo.send("web-1", "test-long");
    eventually("a test that runs", || demo.has_process("3600").then_some(()));
    eventually("a command that runs", || demo.host("web-1")["command_pid"].as_u64());
    let processes = demo.processes();
    // Three agents, two supervisors and their commands, besides the demo and its manager.
    assert!(processes.len() >= 9, "{processes:?}");
    end(&mut demo);
    let code = demo.wait();
    within(END_LIMIT, "the end of all processes", || {
        (!processes.iter().any(|process| lives(*process))).then_some(())
    });
    within(END_LIMIT, "the end of the folder", || (!demo.folder().exists()).then_some(()));
    code
}

#[test]
fn ctrl_c_a_termination_and_a_closed_terminal_leave_nothing_behind() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        assert_eq!(ends(Demo::start(), |demo| demo.signal(signal)), Some(0), "{signal:?}");
    }
}

#[test]
fn a_demo_that_is_killed_leaves_nothing_behind() {
    ends(Demo::start(), |demo| {
        // Nobody but the demo can end their commands then.
        demo.kill_supervisors();
        demo.signal(Signal::KILL);
    });
}

#[test]
fn a_demo_whose_agents_have_nobody_to_keep_them_ends_with_everything() {
    assert_eq!(ends(Demo::start(), Demo::kill_manager), Some(1));
}

#[test]
fn a_port_that_is_taken_is_told_and_the_next_one_is_used() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let demo = Demo::start_at(&format!("127.0.0.1:{port}"));
    assert!(demo.said().contains(&format!("Port {port} is in use")), "{}", demo.said());
}
