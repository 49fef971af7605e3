//! Serves the page for Prometheus: the part of HTTP/1.1 that this needs.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::accept;
use super::prometheus::{self, Look};
use super::status::Source;

/// Longest head of a request, in bytes: the usual limit of web servers.
const MAX_REQUEST: usize = 8 * 1024;

/// A bound listener.
#[derive(Debug)]
pub struct Endpoint {
    listener: TcpListener,
    address: SocketAddr,
}

impl Endpoint {
    /// Binds to the address.
    ///
    /// # Errors
    /// When binding fails.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self { address: listener.local_addr()?, listener })
    }

    /// The bound address, with the actual port if port 0 was requested.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until the runtime ends. `look` takes the newest snapshots of the host; it must not block.
    pub fn spawn(self, source: Arc<Source>, look: impl Fn() -> Look + Send + Sync + 'static) {
        let look: Arc<Looker> = Arc::new(look);
        let serve = move |stream| converse(stream, Arc::clone(&source), Arc::clone(&look));
        tokio::spawn(accept::serve(self.listener, serve));
    }
}

/// Takes the newest snapshots of the host.
type Looker = dyn Fn() -> Look + Send + Sync;

async fn converse(mut stream: TcpStream, source: Arc<Source>, look: Arc<Looker>) {
    let answer = match read_head(&mut stream).await {
        Ok(Some(head)) => match route(&head) {
            Ok(with_body) => match source.report().await {
                Some(report) => page(&prometheus::page(&report, &look()), with_body),
                None => refusal("503 Service Unavailable", "The agent ends."),
            },
            Err(refusal) => refusal,
        },
        Ok(None) => refusal("431 Request Header Fields Too Large", "The request is too long."),
        // The client has gone.
        Err(_) => return,
    };
    drop(stream.write_all(answer.as_bytes()).await);
    drop(stream.shutdown().await);
}

/// The head of a request, up to the empty line; none if it is longer than [`MAX_REQUEST`].
async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::with_capacity(1024);
    let mut limited = stream.take(MAX_REQUEST as u64);
    loop {
        if limited.read_buf(&mut head).await? == 0 {
            let whole = head.len() >= MAX_REQUEST;
            return if whole { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        if head.windows(4).any(|window| window == b"\r\n\r\n") {
            return Ok(Some(head));
        }
    }
}

/// Whether the answer has a body (GET) or not (HEAD); else the answer that refuses the request.
fn route(head: &[u8]) -> Result<bool, String> {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = std::str::from_utf8(line).unwrap_or_default();
    let [method, target, version] = line.split(' ').collect::<Vec<_>>()[..] else {
        return Err(refusal("400 Bad Request", "This is no HTTP request."));
    };
    if !version.starts_with("HTTP/1.") || !target.starts_with('/') {
        return Err(refusal("400 Bad Request", "This is no HTTP/1 request."));
    }
    if !["GET", "HEAD"].contains(&method) {
        return Err(refusal("405 Method Not Allowed", "Only GET and HEAD are answered."));
    }
    match target.split('?').next() {
        Some("/metrics") => Ok(method == "GET"),
        _ => Err(refusal("404 Not Found", "The page is /metrics.")),
    }
}

fn page(text: &str, with_body: bool) -> String {
    answer("200 OK", prometheus::CONTENT_TYPE, text, with_body)
}

fn refusal(status: &str, why: &str) -> String {
    answer(status, "text/plain; charset=utf-8", &format!("{why}\n"), true)
}

fn answer(status: &str, kind: &str, text: &str, with_body: bool) -> String {
    // Only 405 requires the Allow header; other answers may have it.
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nAllow: GET, HEAD\r\nConnection: close\r\n\r\n",
        text.len()
    );
    if with_body { head + text } else { head }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_page_is_served() {
        for (request, wanted) in [
            ("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", Ok(true)),
            ("GET /metrics?a=b HTTP/1.0\r\n\r\n", Ok(true)),
            ("HEAD /metrics HTTP/1.1\r\n\r\n", Ok(false)),
            ("POST /metrics HTTP/1.1\r\n\r\n", Err("405")),
            ("GET / HTTP/1.1\r\n\r\n", Err("404")),
            ("GET /metrics/ HTTP/1.1\r\n\r\n", Err("404")),
            ("GET /../metrics HTTP/1.1\r\n\r\n", Err("404")),
            ("GET /metrics HTTP/2\r\n\r\n", Err("400")),
            ("GET /metrics\r\n\r\n", Err("400")),
            ("GET  /metrics HTTP/1.1\r\n\r\n", Err("400")),
            ("\r\n\r\n", Err("400")),
            ("\u{16}\u{3}\u{1}\r\n\r\n", Err("400")),
        ] {
            let found = route(request.as_bytes());
            let found = found.as_ref().map_err(|answer| &answer["HTTP/1.1 ".len()..][..3]);
            assert_eq!(found.copied(), wanted, "{request:?}");
        }
    }

    #[tokio::test]
    async fn a_request_ends_with_an_empty_line_or_is_too_long() {
        let head = |text: Vec<u8>| async move { read_head(&mut text.as_slice()).await };
        assert_eq!(head(b"GET / HTTP/1.1\r\n\r\n".to_vec()).await.unwrap().unwrap().len(), 18);
        assert_eq!(head(vec![b'x'; 2 * MAX_REQUEST]).await.unwrap(), None);
        assert_eq!(head(b"GET /".to_vec()).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn an_answer_says_how_long_it_is() {
        let answer = page("12345", true);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\n12345"), "{answer}");
        assert!(answer.contains("\r\nContent-Length: 5\r\n"), "{answer}");
        let head = page("12345", false);
        assert!(head.ends_with("\r\n\r\n") && head.contains("\r\nContent-Length: 5\r\n"), "{head}");
    }
}
