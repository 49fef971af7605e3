//! Requests to the dashboard, as its page makes them.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use crate::agent::Agents;
use crate::dashboard::{CSRF_TOKEN, Dashboard};
use crate::{LIMIT, contents};

/// Time between two commands: they meet other messages of the dashboard, and not each other.
const PAUSE: Duration = Duration::from_millis(10);

/// Distance between the agents of two commands: a prime number, so that all parts of the fleet have some.
const STEP: usize = 7919;

/// Loads the page once.
pub(crate) async fn page(dashboard: SocketAddr) {
    request(dashboard, "GET", "/", "").await;
}

/// Milliseconds from the request for a command to the arrival of the command at its agent.
pub(crate) async fn latencies(dashboard: &Dashboard, agents: &Agents, count: usize) -> Vec<f64> {
    let mut times = Vec::with_capacity(count);
    for number in 0..count {
        let host = contents::hostname(number * STEP % agents.count());
        let id = format!("command-{number}");
        let (arrived, arrival) = oneshot::channel();
        agents.expected.lock().expect("no panic under the lock").insert(id.clone(), arrived);
        let body = format!(r#"{{"command":"pull","id":"{id}"}}"#);
        let asked = Instant::now();
        request(dashboard.address, "POST", &format!("/api/hosts/{host}/command"), &body).await;
        let arrived = timeout(LIMIT, arrival).await.expect("the command arrives").expect("its agent lives");
        times.push(arrived.duration_since(asked).as_secs_f64() * 1000.0);
        sleep(PAUSE).await;
    }
    times
}

/// One request on a connection of its own, which the dashboard answers and closes.
async fn request(dashboard: SocketAddr, method: &str, path: &str, body: &str) {
    let mut tcp = TcpStream::connect(dashboard).await.expect("the dashboard accepts");
    tcp.set_nodelay(true).expect("an open socket");
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nX-CSRF-Token: {CSRF_TOKEN}\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    tcp.write_all(head.as_bytes()).await.expect("the dashboard reads");
    let mut answer = Vec::new();
    tcp.read_to_end(&mut answer).await.expect("the dashboard answers");
    assert!(answer.starts_with(b"HTTP/1.1 20"), "{}", String::from_utf8_lossy(&answer));
}
