//! Connections through a proxy in this process, which gives odd answers.

use std::fs;
use std::net::TcpListener as StdListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::rig::{AgentProcess, Fleet, LIMIT, TOKEN, eventually};
use crate::tls::terminator_with;

/// A password, and how it is written in a URL.
const PASSWORD: &str = "s3cret:p@ss/word";
const IN_URL: &str = "s3cret%3Ap%40ss%2Fword";

/// `me` with that password, as Basic writes it.
const BASIC: &str = "Proxy-Authorization: Basic bWU6czNjcmV0OnBAc3Mvd29yZA==";

/// An HTTP proxy that answers as it is told.
struct Scripted {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    /// Answers each request with these bytes. After `200` it connects to `backend`, whatever was asked for.
    async fn start(answer: &'static [u8], backend: String) -> Self {
        Self::serve(answer, move |_| Some(backend.clone())).await
    }

    /// The same with another backend for each target; none: it closes the connection.
    async fn serve(
        answer: &'static [u8],
        backend: impl Fn(&str) -> Option<String> + Clone + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((mut tcp, _)) = listener.accept().await {
                let (all, backend) = (Arc::clone(&all), backend.clone());
                tokio::spawn(async move {
                    let Some(head) = head(&mut tcp).await else { return };
                    let target = head.split(' ').nth(1).and_then(&backend);
                    all.lock().unwrap().push(head);
                    let Some(backend) = target else { return };
                    if tcp.write_all(answer).await.is_ok() && answer.starts_with(b"HTTP/1.1 200") {
                        let mut there = TcpStream::connect(backend).await.unwrap();
                        drop(copy_bidirectional(&mut tcp, &mut there).await);
                    }
                });
            }
        });
        Self { port, requests }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// A request up to its empty line; none if the connection ends before.
async fn head(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

/// TLS in front of a port of this machine. Returns its own port.
async fn tls_in_front_of(port: u16, made: &rcgen::CertifiedKey<rcgen::KeyPair>) -> u16 {
    let key = PrivateKeyDer::from_pem_slice(made.signing_key.serialize_pem().as_bytes()).unwrap();
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(mut tls) = acceptor.accept(tcp).await {
                    let mut there = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                    pipe(&mut tls, &mut there).await;
                }
            });
        }
    });
    own
}

async fn pipe(here: &mut (impl AsyncRead + AsyncWrite + Unpin), there: &mut TcpStream) {
    drop(copy_bidirectional(here, there).await);
}

/// An agent with these variables, whose log is in a file.
pub(crate) fn agent(fleet: &Fleet, variables: &[(&str, &str)]) -> AgentProcess {
    let mut command = fleet.agent_command();
    command.envs(variables.iter().copied());
    command.stderr(fs::File::create(fleet.path("log")).unwrap());
    AgentProcess::spawn(command, fleet.path("state"))
}

pub(crate) fn log(fleet: &Fleet) -> String {
    fs::read_to_string(fleet.path("log")).unwrap_or_default()
}

/// Waits for a heartbeat behind so many.
pub(crate) async fn online(fleet: &Fleet, before: usize) {
    let begun = Instant::now();
    while fleet.beats().len() <= before {
        assert!(begun.elapsed() < LIMIT, "no heartbeat: {}", log(fleet));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What the program prints with the agent's settings and these variables.
#[expect(clippy::disallowed_methods, reason = "a test fails without a thread")]
pub(crate) async fn printed(fleet: &Fleet, arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let mut command = fleet.agent_command();
    command.env("NIXFLEET_PATHS__STATUS", fleet.path("state/agent/status.sock"));
    command.env("NIXFLEET_VITALS__ENABLED", "false").args(arguments).envs(variables.iter().copied());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

/// A finding of `doctor --json`: verdict, text and fix.
pub(crate) fn finding(document: &str, name: &str) -> String {
    let document: Value = serde_json::from_str(document).unwrap_or_else(|err| panic!("{err}: {document}"));
    let checks = document["checks"].as_array().unwrap();
    checks.iter().find(|check| check["check"] == name).unwrap_or_else(|| panic!("no {name}")).to_string()
}

#[track_caller]
pub(crate) fn has(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "`{word}` is not in {text}");
    }
    assert!(!text.contains("s3cret"), "{text}");
}

#[tokio::test]
async fn a_dashboard_whose_name_only_the_proxy_knows_is_reached_with_tls_through_both_kinds_of_proxies() {
    let fleet = Fleet::strict().await;
    let made = |name: &str| rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let (tls, authority) = terminator_with(&fleet, made("dash.invalid")).await;
    let proxy = Scripted::start(b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n", format!("127.0.0.1:{tls}")).await;
    let own = made("localhost");
    let secure = tls_in_front_of(proxy.port, &own).await;
    let ca_file = fleet.path("ca.pem");
    fs::write(&ca_file, format!("{authority}{}", own.cert.pem())).unwrap();
    let plain = format!("http://me:{IN_URL}@127.0.0.1:{}", proxy.port);
    let secure = format!("https://me:{IN_URL}@localhost:{secure}");
    for (count, (name, value)) in
        [("https_proxy", &plain), ("NIXFLEET_PROXY", &secure)].into_iter().enumerate()
    {
        let variables = [
            ("NIXFLEET_URL", "wss://dash.invalid:8443/ws"),
            ("NIXFLEET_CA_FILE", ca_file.to_str().unwrap()),
            (name, value.as_str()),
        ];
        let before = fleet.beats().len();
        let agent = agent(&fleet, &variables);
        online(&fleet, before).await;
        let requests = proxy.requests();
        assert_eq!(requests.len(), count + 1);
        assert!(requests[count].starts_with("CONNECT dash.invalid:8443 HTTP/1.1\r\n"), "{requests:?}");
        assert!(requests[count].contains(BASIC), "{requests:?}");
        let shown = value.replace(&format!("me:{IN_URL}@"), "");
        has(
            &printed(&fleet, &["status", "--verbose"], &variables).await,
            &[&format!("{shown} (from {name})")],
        );
        drop(agent);
        has(&log(&fleet), &["Registered"]);
        let doctor = printed(&fleet, &["doctor", "--json"], &variables).await;
        has(&finding(&doctor, "proxy"), &["\"ok\"", &shown, name]);
        has(&finding(&doctor, "tcp"), &["\"ok\"", "proxy: reached 127.0.0.1:"]);
        has(&finding(&doctor, "tls"), &["\"ok\""]);
        has(&finding(&doctor, "token"), &["\"ok\""]);
        proxy.requests.lock().unwrap().truncate(count + 1);
    }
    fleet.assert_no_violations();
}

#[tokio::test]
async fn each_answer_of_a_proxy_has_its_own_words() {
    let fleet = Fleet::start().await;
    let login = fleet.path("login");
    fs::write(&login, format!("me:{PASSWORD}\n")).unwrap();
    let login = login.to_str().unwrap();
    let endless: &'static [u8] = Vec::leak([b"HTTP/1.1 200 OK\r\nA: ".as_slice(), &[b'x'; 20_000]].concat());
    const WANTED: &[u8] = b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n";
    for (answer, login, words) in [
        (WANTED, None, ["asks for a login (407), and none is set", "NIXFLEET_PROXY_LOGIN_FILE"]),
        (WANTED, Some(login), ["refused the login from", login]),
        (
            b"HTTP/1.1 407 No\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM\r\n\r\n",
            Some(login),
            ["by Negotiate, NTLM (407), and this agent knows Basic only", "allow Basic"],
        ),
        (
            b"HTTP/1.1 403 Forbidden\r\n\r\n",
            None,
            ["forbids a connection to dash.invalid:443 (403)", "port 443 only"],
        ),
        (
            b"HTTP/1.1 503 Service Unavailable\r\n\r\n",
            None,
            ["does not reach dash.invalid:443: 503 Service Unavailable", "is the dashboard running"],
        ),
        (b"HTTP/1.1 404 Not \x1b[31m Found\r\n\r\n", None, ["does not speak HTTP", "check scheme and port"]),
        (
            b"HTTP/1.1 405 Method Not Allowed\r\n\r\n",
            None,
            ["answered 405 Method Not Allowed to CONNECT dash.invalid:443", "allow CONNECT?"],
        ),
        (
            b"SSH-2.0-OpenSSH_9.2\r\n",
            None,
            ["does not speak HTTP", "check scheme and port in NIXFLEET_PROXY"],
        ),
        (
            b"\x15\x03\x01\x00\x02\x02\x46",
            None,
            ["speaks TLS on that port", "write https:// in NIXFLEET_PROXY"],
        ),
        (b"", None, ["closed the connection without an answer", "look at the log of the proxy"]),
        (endless, None, ["has no end", "look at the log"]),
    ] {
        let proxy = Scripted::start(answer, String::new()).await;
        let address = format!("http://127.0.0.1:{}", proxy.port);
        let variables = [
            ("NIXFLEET_URL", "wss://dash.invalid/ws"),
            ("NIXFLEET_PROXY", address.as_str()),
            ("NIXFLEET_PROXY_LOGIN_FILE", login.unwrap_or_default()),
        ];
        let document = printed(&fleet, &["doctor", "--json"], &variables).await;
        let found = finding(&document, "proxy");
        has(&found, &["\"fail\"", &address]);
        has(&found, &words);
        has(&finding(&document, "token"), &["skipped", "needs what failed above: proxy"]);
    }
    // Nothing listens there.
    let free = free_port();
    let address = format!("socks5h://127.0.0.1:{free}");
    let variables = [("NIXFLEET_URL", "wss://dash.invalid/ws"), ("ALL_PROXY", address.as_str())];
    let document = printed(&fleet, &["doctor", "--json"], &variables).await;
    has(&finding(&document, "tcp"), &["\"fail\"", "proxy: cannot reach", "check ALL_PROXY for the proxy"]);
    let _agent = agent(&fleet, &variables);
    let wanted = format!("Not connected: the proxy {address} (from ALL_PROXY) cannot be reached: ");
    eventually("the failure", || log(&fleet).contains(&wanted).then_some(())).await;
}

#[tokio::test]
async fn the_environment_does_not_send_a_local_dashboard_to_a_proxy_and_none_ignores_it() {
    let fleet = Fleet::strict().await;
    let proxy = Scripted::start(b"HTTP/1.1 403 x\r\n\r\n", String::new()).await;
    let address = format!("http://127.0.0.1:{}", proxy.port);
    let variables = [("http_proxy", address.as_str()), ("ALL_PROXY", &address)];
    let _agent = agent(&fleet, &variables);
    fleet.wait("a beat", |fleet| fleet.beats().pop()).await;
    assert!(proxy.requests().is_empty());
    let document = printed(&fleet, &["doctor", "--json"], &variables).await;
    has(&finding(&document, "proxy"), &["skipped", "the dashboard is on this machine"]);
    let refused = [("NIXFLEET_PROXY", address.as_str())];
    let document = printed(&fleet, &["doctor", "--json"], &refused).await;
    has(&finding(&document, "proxy"), &["\"fail\"", "forbids"]);
    let none = [("NIXFLEET_PROXY", "none"), ("ALL_PROXY", &address)];
    let document = printed(&fleet, &["doctor", "--json"], &none).await;
    has(&finding(&document, "proxy"), &["skipped", "no proxy, as NIXFLEET_PROXY says"]);
    has(&finding(&document, "token"), &["\"ok\""]);
}

/// A port on which nothing listens.
pub(crate) fn free_port() -> u16 {
    StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A server that answers each request with 307 and this address. Returns its port, and the requests.
async fn redirecting(location: &str) -> (u16, Arc<Mutex<Vec<String>>>) {
    let answer =
        format!("HTTP/1.1 307 Temporary Redirect\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, requests) = (listener.local_addr().unwrap().port(), Arc::new(Mutex::new(Vec::new())));
    let all = Arc::clone(&requests);
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            if let Some(head) = head(&mut tcp).await {
                all.lock().unwrap().push(head);
                drop(tcp.write_all(answer.as_bytes()).await);
                drop(tcp.shutdown().await);
            }
        }
    });
    (port, requests)
}

#[tokio::test]
async fn a_redirect_is_followed_through_the_proxy_and_the_token_stays_with_the_host() {
    const TLS: &str = "dash.invalid:8443";
    for (first, location, then) in [
        ("ws://dash.invalid:8080/old", "https://dash.invalid:8443/ws", Ok(())),
        ("wss://dash.invalid:8444/old", "//dash.invalid:8443/ws", Ok(())),
        ("wss://dash.invalid:8444/old", "https://other.invalid:8443/ws", Err("names another host")),
        ("wss://dash.invalid:8444/old", "http://dash.invalid:8080/ws", Err("names an address without TLS")),
    ] {
        let fleet = Fleet::strict().await;
        let made = rcgen::generate_simple_self_signed(vec!["dash.invalid".to_owned()]).unwrap();
        let ca_file = fleet.path("ca.pem");
        fs::write(&ca_file, made.cert.pem()).unwrap();
        let (plain, asked) = redirecting(location).await;
        let secure = tls_in_front_of(plain, &made).await;
        let dashboard = tls_in_front_of(fleet.dashboard_address().port(), &made).await;
        let proxy = Scripted::serve(b"HTTP/1.1 200 OK\r\n\r\n", move |target| {
            let port = match target {
                "dash.invalid:8080" => plain,
                "dash.invalid:8444" => secure,
                // One that wants the token of another host can have a certificate that is trusted.
                TLS | "other.invalid:8443" => dashboard,
                _ => return None,
            };
            Some(format!("127.0.0.1:{port}"))
        })
        .await;
        let address = format!("http://127.0.0.1:{}", proxy.port);
        let _agent = agent(
            &fleet,
            &[
                ("NIXFLEET_URL", first),
                ("NIXFLEET_ALLOW_INSECURE", "1"),
                ("NIXFLEET_CA_FILE", ca_file.to_str().unwrap()),
                ("NIXFLEET_PROXY", &address),
            ],
        );
        match then {
            Ok(()) => online(&fleet, 0).await,
            Err(words) => {
                eventually(words, || log(&fleet).contains(words).then_some(())).await;
                assert!(fleet.messages().is_empty());
            }
        }
        let requests = proxy.requests();
        let targets: Vec<&str> = requests.iter().filter_map(|head| head.split(' ').nth(1)).collect();
        let at = first.split('/').nth(2).unwrap();
        let wanted: &[&str] = if then.is_ok() { &[at, TLS] } else { &[at] };
        // Without a connection, there may be further attempts by now.
        let rounds = if then.is_ok() { 1 } else { targets.len() };
        assert_eq!(targets, wanted.repeat(rounds), "{location}");
        assert!(requests.iter().all(|head| !head.contains(TOKEN)), "the proxy got the token: {requests:?}");
        let asked = asked.lock().unwrap();
        assert!(asked[0].starts_with("GET /old HTTP/1.1\r\n") && asked[0].contains(TOKEN), "{asked:?}");
        fleet.assert_no_violations();
    }
}
