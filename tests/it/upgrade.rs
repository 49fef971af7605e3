//! What answers an agent's request for a WebSocket: odd but right, wrong, and redirects.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::rig::{AgentProcess, Fleet, HOST, eventually};
use crate::tls::terminator;

/// Reads a head up to its empty line.
async fn head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

/// A proxy before the dashboard that writes the head of each answer anew, and sends it in pieces of this size.
async fn front(fleet: &Fleet, change: fn(&str) -> String, piece: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let dashboard = fleet.dashboard_address();
    tokio::spawn(async move {
        while let Ok((mut agent, _)) = listener.accept().await {
            tokio::spawn(async move {
                // Otherwise the kernel puts the pieces together.
                agent.set_nodelay(true).ok()?;
                let mut dashboard = TcpStream::connect(dashboard).await.ok()?;
                let request = head(&mut agent).await?;
                dashboard.write_all(request.as_bytes()).await.ok()?;
                let answer = change(&head(&mut dashboard).await?);
                for piece in answer.as_bytes().chunks(piece) {
                    agent.write_all(piece).await.ok()?;
                    tokio::task::yield_now().await;
                }
                copy_bidirectional(&mut agent, &mut dashboard).await.ok()
            });
        }
    });
    address
}

/// A server that answers each request with this text, in which `{accept}` is not replaced, and closes.
async fn answering(answer: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut agent, _)) = listener.accept().await {
            if head(&mut agent).await.is_some() {
                drop(agent.write_all(answer.as_bytes()).await);
                drop(agent.shutdown().await);
            }
        }
    });
    address
}

fn redirect_to(location: &str) -> String {
    format!("HTTP/1.1 301 Moved Permanently\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
}

/// An agent of this fleet with another address, whose log is a file.
fn agent_at(fleet: &Fleet, url: &str) -> Command {
    let mut command = fleet.agent_command();
    command.env("NIXFLEET_URL", url).stderr(fs::File::create(fleet.path("log")).unwrap());
    command
}

fn log(fleet: &Fleet) -> String {
    fs::read_to_string(fleet.path("log")).unwrap()
}

/// Waits until the agent has failed to connect so many times. Returns its log.
async fn failures(fleet: &Fleet, count: usize) -> String {
    eventually("a failure in the log", || {
        let text = log(fleet);
        (text.matches("Not connected").count() >= count).then_some(text)
    })
    .await
}

#[tokio::test]
async fn a_proxy_may_write_the_answer_in_any_right_way() {
    let change: fn(&str) -> String = |answer| {
        assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
        let lines = answer.lines().skip(1).filter(|line| {
            let name = line.split(':').next().unwrap_or_default();
            !line.is_empty()
                && !name.eq_ignore_ascii_case("connection")
                && !name.eq_ignore_ascii_case("upgrade")
        });
        let rest: Vec<&str> = lines.collect();
        format!(
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 101\r\nUPGRADE: WebSocket\r\n\
             connection: keep-alive, Upgrade\r\n{}\r\n\r\n",
            rest.join("\r\n")
        )
    };
    for piece in [1, usize::MAX] {
        let fleet = Fleet::strict().await.script("hello", "seq 1 2000");
        let front = front(&fleet, change, piece).await;
        let _agent = AgentProcess::spawn(agent_at(&fleet, &format!("ws://{front}/ws")), fleet.path("state"));
        fleet.wait("a beat", |fleet| fleet.beats().pop()).await;
        assert_eq!(fleet.run("hello").await.lines, Some(2000));
        fleet.assert_no_violations();
    }
}

#[tokio::test]
async fn an_answer_from_something_in_between_is_told_as_such() {
    let right = "HTTP/1.1 101 a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
    for (answer, words) in [
        (
            format!("{right}Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"),
            "something in between answered",
        ),
        (right.replace("Upgrade: websocket\r\n", "") + "\r\n", "lacks the header `Upgrade: websocket`"),
        ("SSH-2.0-OpenSSH_9.2\r\n".to_owned(), "does not speak HTTP"),
        (String::new(), "closed without an answer"),
        (format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "x".repeat(20_000)), "more than 16 KiB"),
    ] {
        let fleet = Fleet::start().await;
        let server = answering(answer).await;
        let _agent = AgentProcess::spawn(agent_at(&fleet, &format!("ws://{server}/ws")), fleet.path("state"));
        let text = failures(&fleet, 1).await;
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[tokio::test]
async fn a_redirect_to_tls_on_the_same_host_is_followed_at_each_attempt_and_told_once() {
    let fleet = Fleet::strict().await;
    let (port, authority) = terminator(&fleet).await;
    let ca_file = fleet.path("ca.pem");
    fs::write(&ca_file, authority).unwrap();
    let plain = answering(redirect_to(&format!("https://localhost:{port}/ws"))).await;
    let mut command = agent_at(&fleet, &format!("ws://localhost:{}/ws", plain.port()));
    command.env("NIXFLEET_CA_FILE", &ca_file);
    let mut doctor = Command::new(command.get_program());
    doctor.arg("doctor").envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let _agent = AgentProcess::spawn(command, fleet.path("state"));
    fleet.wait("a beat", |fleet| fleet.beats().pop()).await;
    fleet.dashboard.drop_connection(HOST).unwrap();
    fleet.wait("another connection", |fleet| (fleet.messages().last()?.connection == 2).then_some(())).await;
    let (text, to) =
        (log(&fleet), format!("to wss://localhost:{port}/ws. Write the second address in NIXFLEET_URL."));
    assert_eq!(text.matches("The dashboard redirects from ws://localhost").count(), 1, "{text}");
    assert!(text.contains(&to), "{text}");
    fleet.assert_no_violations();

    let output = tokio::task::spawn_blocking(move || doctor.output().unwrap()).await.unwrap();
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    let step = report.lines().find(|line| line.contains("behind a redirect")).unwrap_or_default();
    assert!(step.starts_with("warning token "), "{report}");
    assert!(step.contains(&format!(" to wss://localhost:{port}/ws; write ")), "{report}");
}

#[tokio::test]
async fn no_token_is_sent_to_another_host() {
    let fleet = Fleet::start().await;
    let trap = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = trap.local_addr().unwrap();
    let login = format!("http://me:secret@localhost:{}/login?rd=secret", place.port());
    let server = answering(redirect_to(&login)).await;
    let _agent = AgentProcess::spawn(agent_at(&fleet, &format!("ws://{server}/ws")), fleet.path("state"));
    let text = failures(&fleet, 2).await;
    let named = format!("names another host, ws://localhost:{}/login, where no token is sent;", place.port());
    assert!(text.contains(&named) && !text.contains("secret"), "{text}");
    let came = tokio::time::timeout(std::time::Duration::ZERO, trap.accept()).await;
    assert!(came.is_err(), "somebody connected to it: {came:?}");
}

#[tokio::test]
async fn a_second_redirect_is_not_followed() {
    let fleet = Fleet::start().await;
    let second = answering(redirect_to(fleet.url())).await;
    let first = answering(redirect_to(&format!("http://{second}/other"))).await;
    let _agent = AgentProcess::spawn(agent_at(&fleet, &format!("ws://{first}/ws")), fleet.path("state"));
    let text = failures(&fleet, 1).await;
    assert!(text.contains(&format!("again behind another redirect, and names {};", fleet.url())), "{text}");
    assert!(fleet.messages().is_empty());
}
