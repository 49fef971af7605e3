//! A dashboard with a login, and a client that sends what it is told.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use nixfleet_console::{Config, Console, Login, Settings};
use nixfleet_fleet::Options;
use nixfleet_testbed::Nats;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest wait for anything, also beside other builds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What makes a request one for a socket.
const SOCKET: &str = "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                      Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// A dashboard that runs.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) login: Login,
}

/// What it answers.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// A header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// The cookie that it sets, as a header of requests.
    pub(crate) fn cookie(&self) -> String {
        format!("Cookie: {}\r\n", self.header("set-cookie").unwrap().split(';').next().unwrap())
    }
}

impl Running {
    pub(crate) async fn start(nats: &Nats, config: &Config) -> Self {
        let login = Login::open(config).unwrap();
        let nats = Options { servers: vec![nats.url()], name: "test".to_owned(), ..Options::default() };
        let settings = Settings { listen: ([127, 0, 0, 1], 0).into(), nats };
        let console = Console::behind(login.clone(), settings).await.unwrap();
        let address = console.address();
        tokio::spawn(console.serve(std::future::pending()));
        Self { address, login }
    }

    async fn open(&self, method: &str, path: &str, headers: &str, body: &str) -> TcpStream {
        let mut tcp = TcpStream::connect(self.address).await.unwrap();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {length}\r\n{headers}\r\n{body}",
            self.address
        );
        tcp.write_all(request.as_bytes()).await.unwrap();
        tcp
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let mut tcp = self.open(method, path, &format!("Connection: close\r\n{headers}"), body).await;
        let mut text = Vec::new();
        timeout(PATIENCE, tcp.read_to_end(&mut text)).await.expect("it answers").unwrap();
        answer(&text)
    }

    pub(crate) async fn get(&self, path: &str, headers: &str) -> Answer {
        self.ask("GET", path, headers, "").await
    }

    pub(crate) async fn log_in(&self, name: &str, password: &str) -> Answer {
        self.ask("POST", "/login", "", &format!("name={name}&password={password}")).await
    }

    /// Opens a socket of a browser, or returns the answer.
    pub(crate) async fn socket(&self, headers: &str) -> (Answer, TcpStream) {
        let mut tcp = self.open("GET", "/browser", &format!("{SOCKET}{headers}"), "").await;
        let mut text = Vec::new();
        // What follows belongs to the socket.
        while !text.ends_with(b"\r\n\r\n") {
            text.push(timeout(PATIENCE, tcp.read_u8()).await.expect("it answers").unwrap());
        }
        (answer(&text), tcp)
    }
}

fn answer(text: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(text);
    let (head, body) = text.split_once("\r\n\r\n").expect("an answer");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

/// Writes a file that others cannot read.
pub(crate) fn write(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}
