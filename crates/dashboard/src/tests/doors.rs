//! Which requests get in: by name and by origin.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::client::{CSRF, LIMIT, Running, TOKEN};

/// Every way into the dashboard: the page, its parts, the API and both sockets.
const DOORS: [(&str, &str); 9] = [
    ("GET", "/"),
    ("GET", "/main.js"),
    ("GET", "/api/hosts"),
    ("GET", "/api/hosts/h/messages"),
    ("GET", "/api/violations"),
    ("POST", "/api/faults"),
    ("POST", "/api/hosts/h/command"),
    ("GET", "/browser"),
    ("GET", "/ws"),
];

/// The answer to a request with all tokens, with these headers in addition.
async fn answer(dashboard: &Running, method: &str, target: &str, headers: &str) -> String {
    let request = format!(
        "{method} {target} HTTP/1.1\r\nConnection: close, upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Authorization: Bearer {TOKEN}\r\nX-CSRF-Token: {CSRF}\r\nContent-Length: 2\r\n{headers}\r\n{{}}"
    );
    let mut tcp = TcpStream::connect(dashboard.address).await.unwrap();
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    // A socket that was opened stays open: the head is enough. What comes behind it is read for its words.
    timeout(LIMIT, async {
        loop {
            let length = tcp.read(&mut piece).await.unwrap();
            bytes.extend_from_slice(&piece[..length]);
            if length == 0 || bytes.starts_with(b"HTTP/1.1 101") {
                break;
            }
        }
    })
    .await
    .expect("an answer in time");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn under_another_sites_name_no_door_opens_and_no_token_is_told() {
    let dashboard = Running::start().await;
    for (method, target) in DOORS {
        let refused = answer(&dashboard, method, target, "Host: rebound.example:8000\r\n").await;
        assert!(refused.starts_with("HTTP/1.1 421 "), "{method} {target}: {refused}");
        assert!(refused.contains("--allow-host rebound.example"), "{refused}");
        assert!(!refused.contains(CSRF) && !refused.contains(TOKEN), "{refused}");
        let absolute = format!("http://rebound.example{target}");
        let refused = answer(&dashboard, method, &absolute, "Host: localhost\r\n").await;
        assert!(refused.starts_with("HTTP/1.1 421 "), "{method} {absolute}: {refused}");
        for hosts in ["", "Host: localhost\r\nHost: rebound.example\r\n", "Host: a b\r\n"] {
            let refused = answer(&dashboard, method, target, hosts).await;
            assert!(refused.starts_with("HTTP/1.1 400 "), "{method} {target} {hosts:?}: {refused}");
        }
        // The same request under its own name is answered, whatever the answer is.
        let host = format!("Host: localhost:{}\r\n", dashboard.address.port());
        let answered = answer(&dashboard, method, target, &host).await;
        let code = answered.split(' ').nth(1).unwrap();
        assert!(["101", "200", "400", "404"].contains(&code), "{method} {target}: {answered}");
    }
    dashboard.stop().await;
}

#[tokio::test]
async fn a_page_of_another_site_gets_in_nowhere() {
    let dashboard = Running::start().await;
    let host = format!("localhost:{}", dashboard.address.port());
    for (method, target) in DOORS {
        for origin in
            ["https://evil.example", "null", "http://localhost:1", &format!("http://{host}.evil.example")]
        {
            let refused =
                answer(&dashboard, method, target, &format!("Host: {host}\r\nOrigin: {origin}\r\n")).await;
            assert!(refused.starts_with("HTTP/1.1 403 "), "{method} {target} from {origin}: {refused}");
        }
        let own = format!("Host: {host}\r\nOrigin: http://{host}\r\n");
        let answered = answer(&dashboard, method, target, &own).await;
        assert!(!answered.starts_with("HTTP/1.1 403 "), "{method} {target}: {answered}");
    }
    dashboard.stop().await;
}

#[tokio::test]
async fn an_allowed_name_is_answered() {
    let dashboard = Running::start_under(&["fleet.example.org"]).await;
    for host in ["fleet.example.org", "FLEET.example.org.:8000", "127.0.0.1"] {
        let answered = answer(&dashboard, "GET", "/api/hosts", &format!("Host: {host}\r\n")).await;
        assert!(answered.starts_with("HTTP/1.1 200 "), "{host}: {answered}");
    }
    let refused = answer(&dashboard, "GET", "/api/hosts", "Host: example.org\r\n").await;
    assert!(refused.starts_with("HTTP/1.1 421 "), "{refused}");
    dashboard.stop().await;
}
