//! The servers do what tests ask of them.
#![allow(clippy::unwrap_used, reason = "a failure fails the test")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nixfleet_testbed::{Cluster, Nats};

/// How long a server may take to do what it was told.
const LIMIT: Duration = Duration::from_secs(20);

/// Names the test that becomes a process of its own, and is killed.
const VICTIM: &str = "NIXFLEET_TESTBED_VICTIM";

fn is_there(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_ok()
}

fn wait(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LIMIT, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a new client is greeted within half a second.
fn greets(address: SocketAddr) -> bool {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    stream.read(&mut [0; 4]).is_ok()
}

#[test]
fn a_server_is_halted_stopped_and_started_again_at_the_same_place() {
    let Some(mut nats) = Nats::start() else { return };
    let address = nats.address();
    nats.pause();
    assert!(!greets(address));
    nats.resume();
    wait("the server answers no more", || greets(address));
    nats.pause();
    nats.stop();
    assert!(!is_there(address));
    // Connections of others may have its port now, on the address that everybody uses.
    let _other = TcpListener::bind(("127.0.0.1", address.port()));
    nats.start_again();
    nats.wait();
    assert_eq!(nats.url(), format!("nats://{address}"));
    drop(nats);
    assert!(!is_there(address));
}

#[test]
fn a_cluster_has_another_leader_after_the_first() {
    let Some(mut cluster) = Cluster::start(3) else { return };
    assert_eq!(cluster.urls().len(), 3);
    let first = cluster.wait_leader();
    cluster.kill(first);
    wait("nobody else leads", || cluster.leader().is_some_and(|leader| leader != first));
    cluster.start_again(first);
}

#[test]
fn a_server_does_not_outlive_a_test_that_is_killed() {
    if std::env::var_os(VICTIM).is_some() {
        let nats = Nats::start().unwrap();
        println!("address {}", nats.address());
        std::io::stdout().flush().unwrap();
        // Longer than the other side waits.
        std::thread::sleep(2 * LIMIT);
        return;
    }
    if Nats::start().is_none() {
        return;
    }
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "a_server_does_not_outlive_a_test_that_is_killed"])
        .env(VICTIM, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = victim.stdout.take().unwrap();
    let mut text = String::new();
    let address: SocketAddr = loop {
        let mut byte = [0];
        assert_eq!(output.read(&mut byte).unwrap(), 1, "it ended: {text}");
        text.push(char::from(byte[0]));
        if let Some(address) = text.split_once("address ").and_then(|(_, rest)| rest.strip_suffix('\n')) {
            break address.parse().unwrap();
        }
    };
    assert!(is_there(address));
    victim.kill().unwrap();
    victim.wait().unwrap();
    wait("the server is still there", || !is_there(address));
}
