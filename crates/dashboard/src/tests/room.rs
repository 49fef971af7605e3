//! What strangers cannot do with connections: keep many, keep them for long, or fill them.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::client::{LIMIT, Running};

const SOCKET: &str = "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                      Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

async fn open(dashboard: &Running, text: &str) -> TcpStream {
    let mut tcp = TcpStream::connect(dashboard.address).await.unwrap();
    tcp.write_all(text.as_bytes()).await.unwrap();
    tcp
}

/// What it says first. Nothing if the connection is closed.
async fn first(tcp: &mut TcpStream) -> String {
    let mut piece = [0; 12];
    let length = timeout(LIMIT, tcp.read(&mut piece)).await.expect("an answer or an end").unwrap_or(0);
    String::from_utf8_lossy(&piece[..length]).into_owned()
}

#[tokio::test(start_paused = true)]
async fn a_head_without_an_end_is_not_waited_for() {
    let dashboard = Running::start().await;
    let head = "HEAD /icon.svg HTTP/1.1\r\nHost: localhost\r\n";
    for text in ["", "P", head, &format!("{head}\r\n"), &format!("{head}\r\n{head}")] {
        let mut tcp = open(&dashboard, text).await;
        // Time passes while all wait. Without the limit, nothing would ever end this.
        let ended = timeout(LIMIT * 100, tcp.read_to_end(&mut Vec::new())).await;
        assert!(matches!(ended, Ok(Ok(_))), "{text:?}: {ended:?}");
    }
    dashboard.stop().await;
}

#[tokio::test]
async fn a_head_has_a_size() {
    let dashboard = Running::start().await;
    for (bytes, status) in [(20_000, "HTTP/1.1 200"), (40_000, "HTTP/1.1 431")] {
        let head = format!("GET / HTTP/1.1\r\nHost: localhost\r\nCookie: {}\r\n\r\n", "x".repeat(bytes));
        assert_eq!(first(&mut open(&dashboard, &head).await).await, status, "{bytes}");
    }
    dashboard.stop().await;
}

#[tokio::test]
async fn there_is_room_for_so_many_connections_and_a_socket_keeps_its_place() {
    let dashboard = Running::start_with_room(Arc::new(Semaphore::new(2))).await;
    let socket = format!("GET /browser HTTP/1.1\r\nHost: localhost\r\n{SOCKET}\r\n");
    let mut one = open(&dashboard, &socket).await;
    assert_eq!(first(&mut one).await, "HTTP/1.1 101");
    let page = "GET /icon.svg HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut two = open(&dashboard, page).await;
    assert_eq!(first(&mut two).await, "HTTP/1.1 200");
    for _ in 0..2 {
        assert_eq!(first(&mut open(&dashboard, page).await).await, "", "there is no room");
    }
    let mut kept = Vec::new();
    for place in [one, two] {
        drop(place);
        let again = async {
            loop {
                let mut tcp = open(&dashboard, page).await;
                if first(&mut tcp).await == "HTTP/1.1 200" {
                    break tcp;
                }
                sleep(LIMIT / 1000).await;
            }
        };
        kept.push(timeout(LIMIT, again).await.expect("there is room again"));
    }
    dashboard.stop().await;
}
