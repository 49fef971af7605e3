//! Connections through a proxy: a scripted one in this process for odd answers, and real ones if they are installed
//! (Debian: tinyproxy-bin, squid, microsocks).

use std::fs;
use std::net::TcpListener as StdListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::rig::{AgentProcess, Fleet, LIMIT, eventually};
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
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((mut tcp, _)) = listener.accept().await {
                let (all, backend) = (Arc::clone(&all), backend.clone());
                tokio::spawn(async move {
                    let Some(head) = head(&mut tcp).await else { return };
                    all.lock().unwrap().push(head);
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
fn agent(fleet: &Fleet, variables: &[(&str, &str)]) -> AgentProcess {
    let mut command = fleet.agent_command();
    command.envs(variables.iter().copied());
    command.stderr(fs::File::create(fleet.path("log")).unwrap());
    AgentProcess::spawn(command, fleet.path("state"))
}

fn log(fleet: &Fleet) -> String {
    fs::read_to_string(fleet.path("log")).unwrap_or_default()
}

/// Waits for a heartbeat behind so many.
async fn online(fleet: &Fleet, before: usize) {
    let begun = Instant::now();
    while fleet.beats().len() <= before {
        assert!(begun.elapsed() < LIMIT, "no heartbeat: {}", log(fleet));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What the program prints with the agent's settings and these variables.
#[expect(clippy::disallowed_methods, reason = "a test fails without a thread")]
async fn printed(fleet: &Fleet, arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let mut command = fleet.agent_command();
    command.env("NIXFLEET_PATHS__STATUS", fleet.path("state/agent/status.sock"));
    command.env("NIXFLEET_VITALS__ENABLED", "false").args(arguments).envs(variables.iter().copied());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

/// A finding of `doctor --json`: verdict, text and fix.
fn finding(document: &str, name: &str) -> String {
    let document: Value = serde_json::from_str(document).unwrap_or_else(|err| panic!("{err}: {document}"));
    let checks = document["checks"].as_array().unwrap();
    checks.iter().find(|check| check["check"] == name).unwrap_or_else(|| panic!("no {name}")).to_string()
}

#[track_caller]
fn has(text: &str, words: &[&str]) {
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
        has(&printed(&fleet, &["status"], &variables).await, &[&format!("{shown} (from {name})")]);
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
    has(&finding(&document, "tcp"), &["\"fail\"", "proxy: no connection", "check ALL_PROXY for the proxy"]);
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
fn free_port() -> u16 {
    StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A server that ends with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Starts a program, and waits until it listens; none if it is not installed.
async fn start(program: &str, arguments: &[&str], port: u16, output: &Path) -> Option<Server> {
    let places = ["/usr/sbin", "/usr/bin", "/usr/local/bin"];
    let Some(path) = places.iter().map(|place| Path::new(place).join(program)).find(|path| path.exists())
    else {
        eprintln!("skipped: {program} is not installed (Debian: tinyproxy-bin, squid, microsocks)");
        return None;
    };
    let file = || fs::File::options().create(true).append(true).open(output).unwrap();
    let mut command = Command::new(path);
    command.args(arguments).stdin(Stdio::null()).stdout(file()).stderr(file());
    let mut server = Server(command.spawn().unwrap());
    eventually(program, || {
        let ended = server.0.try_wait().unwrap();
        assert!(ended.is_none(), "{program}: {}", fs::read_to_string(output).unwrap());
        std::net::TcpStream::connect(("127.0.0.1", port)).ok()
    })
    .await;
    Some(server)
}

/// The agent reaches the dashboard through this proxy with a login from a file, which may be corrected while it runs.
async fn with_login(fleet: &Fleet, variables: &[(&str, &str)]) {
    let login = fleet.path("login");
    let mut all = variables.to_vec();
    let document = printed(fleet, &["doctor", "--json"], &all).await;
    has(&finding(&document, "proxy"), &["\"fail\"", "asks for a login (407), and none is set"]);
    all.push(("NIXFLEET_PROXY_LOGIN_FILE", login.to_str().unwrap()));
    fs::write(&login, "me:wrong\n").unwrap();
    let _agent = agent(fleet, &all);
    eventually("the refusal", || log(fleet).contains("refused the login from").then_some(())).await;
    assert!(fleet.messages().is_empty());
    fs::write(&login, "me:s3cret\n").unwrap();
    online(fleet, 0).await;
    has(&log(fleet), &["Registered"]);
    let document = printed(fleet, &["doctor", "--json"], &all).await;
    has(&finding(&document, "proxy"), &["\"ok\""]);
    has(&finding(&document, "token"), &["\"ok\""]);
    fleet.assert_no_violations();
}

#[tokio::test]
async fn tinyproxy_with_a_login_leads_to_the_dashboard() {
    let fleet = Fleet::strict().await;
    let port = free_port();
    let settings = fleet.path("tinyproxy.conf");
    fs::write(&settings, format!("Port {port}\nListen 127.0.0.1\nBasicAuth me s3cret\nMaxClients 20\n"))
        .unwrap();
    let arguments = ["-d", "-c", settings.to_str().unwrap()];
    let Some(_server) = start("tinyproxy", &arguments, port, &fleet.path("output")).await else { return };
    let address = format!("http://127.0.0.1:{port}");
    with_login(&fleet, &[("NIXFLEET_PROXY", &address)]).await;
}

#[tokio::test]
async fn squid_knows_a_name_that_this_host_does_not_and_wants_a_login() {
    let fleet = Fleet::strict().await;
    let (port, folder) = (free_port(), fleet.folder.path());
    let open = |path: &Path, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    // Started by root, squid becomes another user.
    open(folder, 0o777);
    fs::write(fleet.path("hosts"), "127.0.0.1 dash.invalid\n").unwrap();
    let helper = fleet.path("helper");
    fs::write(
        &helper,
        "#!/bin/sh\nwhile read -r pair; do [ \"$pair\" = 'me s3cret' ] && echo OK || echo ERR; done\n",
    )
    .unwrap();
    open(&helper, 0o755);
    let at = |name: &str| fleet.path(name).display().to_string();
    let text = format!(
        "http_port 127.0.0.1:{port}\npid_filename none\nhosts_file {}\nauth_param basic program {}\n\
         auth_param basic children 1 startup=1\nacl known proxy_auth REQUIRED\nhttp_access allow known\n\
         http_access deny all\ncache deny all\naccess_log none\ncache_log {}\ncoredump_dir {}\n\
         visible_hostname squid.invalid\nshutdown_lifetime 0 seconds\n",
        at("hosts"),
        at("helper"),
        at("cache.log"),
        folder.display(),
    );
    fs::write(fleet.path("squid.conf"), text).unwrap();
    let settings = at("squid.conf");
    let arguments = ["-N", "-f", &settings];
    let Some(_server) = start("squid", &arguments, port, &fleet.path("output")).await else { return };
    let url = format!("ws://dash.invalid:{}/ws", fleet.dashboard_address().port());
    let address = format!("http://127.0.0.1:{port}");
    let variables =
        [("NIXFLEET_URL", url.as_str()), ("NIXFLEET_ALLOW_INSECURE", "1"), ("http_proxy", &address)];
    with_login(&fleet, &variables).await;
    // A dashboard that is away, in squid's words.
    let away = format!("ws://dash.invalid:{}/ws", free_port());
    let login = at("login");
    let variables = [
        ("NIXFLEET_URL", away.as_str()),
        ("NIXFLEET_ALLOW_INSECURE", "1"),
        ("http_proxy", &address),
        ("NIXFLEET_PROXY_LOGIN_FILE", &login),
    ];
    let document = printed(&fleet, &["doctor", "--json"], &variables).await;
    has(
        &finding(&document, "proxy"),
        &["\"fail\"", "does not reach dash.invalid:", "503 Service Unavailable"],
    );
}

#[tokio::test]
async fn microsocks_with_a_login_leads_to_the_dashboard_by_name_and_by_address() {
    let fleet = Fleet::strict().await;
    let port = free_port();
    let given = port.to_string();
    let arguments = ["-i", "127.0.0.1", "-p", &given, "-u", "me", "-P", "s3cret"];
    let Some(_server) = start("microsocks", &arguments, port, &fleet.path("output")).await else { return };
    let url = fleet.url().replace("127.0.0.1", "localhost");
    let address = format!("socks5h://127.0.0.1:{port}");
    with_login(&fleet, &[("NIXFLEET_URL", &url), ("NIXFLEET_PROXY", &address)]).await;
    // The name has two addresses at least on many hosts, of which one is refused.
    let address = format!("socks5://me:s3cret@127.0.0.1:{port}");
    let variables = [("NIXFLEET_URL", url.as_str()), ("NIXFLEET_PROXY", &address)];
    let document = printed(&fleet, &["doctor", "--json"], &variables).await;
    has(&finding(&document, "token"), &["\"ok\""]);
}
