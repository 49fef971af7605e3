//! A secret in each place that may hold one, and every command of the program: none of them shows a secret, however the
//! connection ends.

use std::fs;
use std::path::Path;
use std::process::Command;

use data_encoding::{BASE64, HEXLOWER};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::rig::{AgentProcess, Fleet, HOST, LIMIT, eventually};
use forms::forms;

mod forms;

const TOKEN: &str = "Pl4nt3d-token-file-qX7";
const QUERY: &str = "Pl4nt3d-query-qX7";
const URL_LOGIN: &str = "Pl4nt3d-url-login-qX7";
const PROXY_LOGIN: &str = "Pl4nt3d-proxy-login-qX7";
const LOGIN_FILE: &str = "Pl4nt3d-login-file-qX7";
const VARIABLE: &str = "Pl4nt3d-variable-qX7";
const REDIRECT: &str = "Pl4nt3d-redirect-qX7";
const REPOSITORY: &str = "Pl4nt3d-repository-qX7";
const COMMAND: &str = "Pl4nt3d-command-qX7";
const HOOK: &str = "Pl4nt3d-hook-qX7";
const KEY: &str = "Pl4nt3d-client-key-qX7";

const ALL: [&str; 11] =
    [TOKEN, QUERY, URL_LOGIN, PROXY_LOGIN, LOGIN_FILE, VARIABLE, REDIRECT, REPOSITORY, COMMAND, HOOK, KEY];

/// Every subcommand, with arguments with which it ends by itself.
const COMMANDS: &[&str] = &[
    "--help",
    "status",
    "status --verbose",
    "status --json",
    "check-config",
    "doctor",
    "doctor --json",
    "logs",
    "logs --list --json",
    "logs hello",
    "vitals",
    "vitals --format json",
    "vitals --format logfmt",
    "migrate",
    "migrate --toml --unit UNIT",
    "migrate --nixos --unit UNIT",
    "keep-settings",
    "wait-registered --timeout 1",
    "exec-job hello-0",
    "exec-guard hello-0",
    "gpu-reader libnvidia-ml.so.1",
];

/// Fails if a text holds a secret.
#[track_caller]
fn is_clean(case: &str, what: &str, text: &str) {
    for secret in ALL {
        for form in forms(secret) {
            let found = text.lines().find(|line| line.contains(&form));
            assert!(found.is_none(), "{case}: {what} shows {secret} as {form}: {found:?}");
        }
    }
}

#[test]
fn each_form_of_a_secret_is_found() {
    for text in [
        format!("a {TOKEN} b"),
        BASE64.encode(format!("me:{TOKEN}").as_bytes()),
        BASE64.encode(format!("you:{TOKEN}").as_bytes()),
        BASE64.encode(format!("root:{TOKEN}").as_bytes()),
        TOKEN.bytes().map(|byte| format!("%{byte:02x}")).collect(),
        HEXLOWER.encode(TOKEN.as_bytes()),
    ] {
        assert!(std::panic::catch_unwind(|| is_clean("", "", &text)).is_err(), "{text}");
    }
    is_clean("", "", "nothing");
}

/// The text of every file below a folder, with its path.
fn files_below(folder: &Path) -> Vec<(String, String)> {
    let mut files = Vec::new();
    for item in fs::read_dir(folder).into_iter().flatten() {
        let path = item.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else if path.is_file() {
            let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
            files.push((path.display().to_string(), text));
        }
    }
    files
}

/// What a server does with a request.
#[derive(Clone)]
enum Answer {
    Fixed(String),
    /// It sends back what came, behind this.
    Echo(&'static str),
    /// It is an HTTP proxy and connects to this place, whatever was asked for.
    Connect(String),
}

/// A server that answers each request in the same way. Returns its port.
async fn server(answer: Answer) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = tcp.read_u8().await else { return };
                    head.push(byte);
                }
                let text = match answer {
                    Answer::Fixed(text) => text.into_bytes(),
                    Answer::Echo(before) => [before.as_bytes(), &head].concat(),
                    Answer::Connect(place) => {
                        drop(tcp.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await);
                        let mut there = TcpStream::connect(place).await.unwrap();
                        drop(tokio::io::copy_bidirectional(&mut tcp, &mut there).await);
                        return;
                    }
                };
                drop(tcp.write_all(&text).await);
            });
        }
    });
    port
}

/// One way in which a connection ends.
struct Case {
    name: &'static str,
    variables: Vec<(&'static str, String)>,
    /// What the log says when the agent has got so far; none: the agent does not start.
    logged: Option<&'static str>,
}

/// An agent with every secret, as the variables of this case change it.
fn command(fleet: &Fleet, case: &Case) -> Command {
    let mut command = fleet.agent_command();
    command
        .env_remove("NIXFLEET_TOKEN")
        .env("NIXFLEET_TOKEN_FILE", fleet.path("token"))
        .env("NIXFLEET_URL", format!("{}?token={QUERY}", fleet.url()))
        .env("NIXFLEET_PROXY_LOGIN_FILE", fleet.path("login"))
        .env("HTTPS_PROXY", format!("http://me:{VARIABLE}@127.0.0.1:9"))
        .env("http_proxy", format!("http://me:{VARIABLE}@127.0.0.1:9"))
        .env("ALL_PROXY", format!("socks5h://me:{VARIABLE}@127.0.0.1:9"))
        .env("NIXFLEET_REPO_URL", format!("http://me:{REPOSITORY}@127.0.0.1:9/r"))
        .env("NIXFLEET_REPO_DIR", fleet.path("no-repository"))
        .env("NIXFLEET_COMMANDS__OTHER__RUN", "true")
        .env("NIXFLEET_COMMANDS__OTHER__ENV", format!("{{ PASSWORD = \"{COMMAND}\" }}"))
        .env("NIXFLEET_PREWARM__HOOK", format!("[\"true\", \"--password={HOOK}\"]"))
        .env("NIXFLEET_PATHS__STATUS", fleet.path("status.sock"))
        .env("NIXFLEET_METRICS__LISTEN", "127.0.0.1:0")
        .env("NIXFLEET_LOG_LEVEL", "trace")
        .envs(case.variables.iter().map(|(name, value)| (*name, value.as_str())));
    command
}

/// Runs the agent and every command, and looks at all that they wrote. The commands run while the agent does.
#[expect(clippy::disallowed_methods, reason = "a test fails without a thread")]
async fn look_at(fleet: &Fleet, case: &Case) {
    let log = fleet.path("log");
    let mut agent = command(fleet, case);
    agent.stdout(fs::File::create(fleet.path("out")).unwrap()).stderr(fs::File::create(&log).unwrap());
    let mut agent = AgentProcess::spawn(agent, fleet.path("state"));
    match case.logged {
        None => assert_eq!(agent.exit_code().await, 64, "{}", case.name),
        Some(wanted) => {
            let begun = std::time::Instant::now();
            while !fs::read_to_string(&log).unwrap().contains(wanted) {
                let text = fs::read_to_string(&log).unwrap();
                assert!(begun.elapsed() < LIMIT, "{}: no `{wanted}` in {text}", case.name);
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        }
    }
    let mut running = Vec::new();
    for arguments in COMMANDS {
        let mut command = command(fleet, case);
        let unit = fleet.path("old.service").display().to_string();
        command.args(
            arguments.split(' ').map(|word| if word == "UNIT" { unit.clone() } else { word.to_owned() }),
        );
        running.push((*arguments, tokio::task::spawn_blocking(move || command.output().unwrap())));
    }
    for (arguments, output) in running {
        let output = output.await.unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        // A command that says nothing would prove nothing. These two are silent when all is well.
        let may_be_silent =
            ["keep-settings", "wait-registered"].iter().any(|name| arguments.starts_with(name));
        assert!(!text.is_empty() || may_be_silent, "{}: {arguments} is silent", case.name);
        is_clean(case.name, arguments, &text);
        if let Some(address) = (arguments == "status --json")
            .then(|| {
                serde_json::from_str::<serde_json::Value>(&text).ok()?["metrics_at"]
                    .as_str()
                    .map(str::to_owned)
            })
            .flatten()
        {
            let mut metrics = TcpStream::connect(address).await.unwrap();
            metrics.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await.unwrap();
            let mut page = String::new();
            metrics.read_to_string(&mut page).await.unwrap();
            assert!(page.contains("nixfleet_agent_"), "{page}");
            is_clean(case.name, "metrics", &page);
        }
    }
    if case.logged.is_some() {
        agent.signal(Signal::TERM);
        agent.end().await;
    }
    let text = fs::read_to_string(&log).unwrap() + &fs::read_to_string(fleet.path("out")).unwrap();
    assert!(text.len() > 50, "{}: {text}", case.name);
    is_clean(case.name, "the log", &text);
    for (path, text) in files_below(&fleet.path("state")) {
        is_clean(case.name, &path, &text);
    }
    is_clean(case.name, "a message", &format!("{:?}", fleet.messages()));
}

/// A fleet with the secrets in their files.
async fn planted() -> Fleet {
    let fleet = Fleet::strict().await.script("hello", "echo hello");
    fleet.dashboard.set_token(TOKEN);
    fs::write(fleet.path("token"), format!("{TOKEN}\n")).unwrap();
    fs::write(fleet.path("login"), format!("me:{LOGIN_FILE}\n")).unwrap();
    let key = BASE64.encode(KEY.as_bytes());
    let pem = |what: &str| format!("-----BEGIN {what}-----\n{key}\n-----END {what}-----\n");
    fs::write(fleet.path("pair.pem"), pem("CERTIFICATE") + &pem("PRIVATE KEY")).unwrap();
    fs::write(fleet.path("spaces"), format!("{TOKEN} {TOKEN}\n")).unwrap();
    fs::write(fleet.path("no-colon"), format!("{LOGIN_FILE}\n")).unwrap();
    // The address of the dashboard has no query: `migrate` prints it as a setting, as it was set.
    let unit = format!(
        "[Service]\nEnvironment=NIXFLEET_URL=wss://dash.example/ws\nEnvironment=NIXFLEET_TOKEN={TOKEN}\n\
         Environment=HTTPS_PROXY=http://me:{VARIABLE}@proxy.example:3128\nExecStart=/bin/nixfleet-agent\n"
    );
    fs::write(fleet.path("old.service"), unit).unwrap();
    fleet
}

#[tokio::test]
async fn a_secret_in_any_place_is_shown_by_no_command_while_the_agent_is_connected() {
    let fleet = planted().await;
    let through = server(Answer::Connect(fleet.dashboard_address().to_string())).await;
    let direct = Case { name: "direct", variables: Vec::new(), logged: Some("Registered") };
    let mut agent = AgentProcess::spawn(command(&fleet, &direct), fleet.path("state"));
    fleet.wait("a first heartbeat", |fleet| fleet.beats().first().cloned()).await;
    // The first clone, which fails, takes the slot for commands.
    fleet.ended("clone").await;
    fleet.run("hello").await;
    agent.signal(Signal::TERM);
    agent.end().await;
    look_at(&fleet, &direct).await;
    for (name, login) in [("a login in the proxy's address", true), ("a login in a file", false)] {
        let login = if login { format!("me:{PROXY_LOGIN}@") } else { String::new() };
        let url = format!("ws://dash.invalid/ws?token={QUERY}");
        let mut variables = vec![
            ("NIXFLEET_URL", url),
            ("NIXFLEET_ALLOW_INSECURE", "1".to_owned()),
            ("NIXFLEET_PROXY", format!("http://{login}127.0.0.1:{through}")),
        ];
        if !login.is_empty() {
            variables.push(("NIXFLEET_PROXY_LOGIN_FILE", String::new()));
        }
        look_at(&fleet, &Case { name, variables, logged: Some("Registered") }).await;
    }
    // The heartbeat after a failure has its reason.
    fleet.dashboard.set_token("another");
    let wrong = Case { name: "a wrong token", variables: Vec::new(), logged: Some("401") };
    look_at(&fleet, &wrong).await;
    let mut last = command(&fleet, &direct);
    last.stderr(fs::File::create(fleet.path("log")).unwrap());
    let mut agent = AgentProcess::spawn(last, fleet.path("state"));
    let log = || fs::read_to_string(fleet.path("log")).unwrap();
    eventually("a refusal", || log().contains("401").then_some(())).await;
    fleet.dashboard.set_token(TOKEN);
    let before = fleet.dashboard.connections(HOST);
    fleet.wait("another session", |fleet| (fleet.dashboard.connections(HOST) > before).then_some(())).await;
    is_clean("a wrong token", "a message", &format!("{:?}", fleet.messages()));
    agent.signal(Signal::TERM);
    agent.end().await;
    fleet.assert_no_violations();
}

#[tokio::test]
async fn a_secret_in_any_place_is_shown_by_no_command_while_the_connection_fails() {
    let fleet = planted().await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let at = |port: u16| vec![("NIXFLEET_URL", format!("ws://127.0.0.1:{port}/ws?token={QUERY}"))];
    let mut cases = vec![Case { name: "refused", variables: at(closed), logged: Some("Not connected") }];
    for (name, location) in [
        (
            "redirect to another host",
            format!("https://me:{REDIRECT}@else.example/ws?token={REDIRECT}#{REDIRECT}"),
        ),
        ("redirect to the same place", format!("/ws?token={QUERY}")),
        ("redirect to another query", format!("?token={REDIRECT}")),
        ("redirect to no address", format!("ftp://me:{REDIRECT}@else.example/?token={REDIRECT}")),
        ("redirect to a wrong address", format!("https://me:{REDIRECT}@[/ws?token={REDIRECT}")),
    ] {
        let answer = format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
        let port = server(Answer::Fixed(answer)).await;
        cases.push(Case { name, variables: at(port), logged: Some("Not connected") });
    }
    let through = |port: u16| {
        vec![
            ("NIXFLEET_URL", format!("wss://dash.invalid/ws?token={QUERY}")),
            ("NIXFLEET_PROXY", format!("http://127.0.0.1:{port}")),
        ]
    };
    let refusal = "HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n".to_owned();
    let port = server(Answer::Fixed(refusal)).await;
    cases.push(Case {
        name: "a login that the proxy refuses",
        variables: through(port),
        logged: Some("refused the login"),
    });
    let mut none = through(port);
    none.push(("NIXFLEET_PROXY_LOGIN_FILE", String::new()));
    cases.push(Case {
        name: "no login for the proxy",
        variables: none,
        logged: Some("asks for a login (407)"),
    });
    let malformed = |name, variable, value| Case { name, variables: vec![(variable, value)], logged: None };
    cases.extend([
        malformed("a login in the address", "NIXFLEET_URL", format!("wss://me:{URL_LOGIN}@dash.example/ws")),
        malformed(
            "a proxy that is none",
            "NIXFLEET_PROXY",
            format!("htp://me:{PROXY_LOGIN}@proxy.example:1"),
        ),
        malformed(
            "a port that is none",
            "NIXFLEET_PROXY",
            format!("http://me:{PROXY_LOGIN}@proxy.example:99999"),
        ),
    ]);
    for name in ["spaces", "no-colon"] {
        let variable = if name == "spaces" { "NIXFLEET_TOKEN_FILE" } else { "NIXFLEET_PROXY_LOGIN_FILE" };
        let mut variables = through(port);
        variables.push((variable, fleet.path(name).display().to_string()));
        cases.push(Case { name, variables, logged: Some("Not connected") });
    }
    let pair = fleet.path("pair.pem").display().to_string();
    let mut variables = vec![("NIXFLEET_URL", format!("wss://127.0.0.1:{closed}/ws?token={QUERY}"))];
    variables.extend([("NIXFLEET_CLIENT_CERT", pair.clone()), ("NIXFLEET_CLIENT_KEY", pair)]);
    cases.push(Case { name: "a client key that is none", variables, logged: Some("Not connected") });
    for case in &cases {
        look_at(&fleet, case).await;
    }
}

#[tokio::test]
async fn a_server_that_sends_back_what_it_got_makes_no_secret_visible() {
    let fleet = planted().await;
    for (name, before) in [
        ("an echo", ""),
        ("an echo in a status line", "HTTP/1.1 400 "),
        ("an echo in a page", "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<title>"),
    ] {
        let port = server(Answer::Echo(before)).await;
        let direct = vec![("NIXFLEET_URL", format!("ws://127.0.0.1:{port}/ws?token={QUERY}"))];
        let proxied = vec![
            ("NIXFLEET_URL", format!("wss://dash.invalid/ws?token={QUERY}")),
            ("NIXFLEET_PROXY", format!("http://127.0.0.1:{port}")),
        ];
        for variables in [direct, proxied] {
            look_at(&fleet, &Case { name, variables, logged: Some("Not connected") }).await;
        }
    }
}
