//! The dashboard over real sockets, for agents, browsers and curl.

use serde_json::json;
use tokio::time::Instant;

use nixfleet_protocol::{DashboardMessage, encode};

use super::client::{LIMIT, Running, beat, rejection};
use crate::{BindError, Dashboard, HostStatus, Options};

#[tokio::test]
async fn only_the_right_token_and_no_foreign_origin_get_in() {
    let dashboard = Running::start().await;
    for bearer in [None, Some("Bearer wrong"), Some("test-token"), Some("Basic test-token"), Some("Bearer ")]
    {
        let mut request = dashboard.agent_request();
        request.headers_mut().remove("authorization");
        if let Some(bearer) = bearer {
            request.headers_mut().insert("authorization", bearer.parse().unwrap());
        }
        assert_eq!(dashboard.refused(request).await.0, 401, "{bearer:?}");
    }
    let mut request = dashboard.agent_request();
    request.headers_mut().insert("origin", "https://evil.example".parse().unwrap());
    assert_eq!(dashboard.refused(request).await.0, 403);
    dashboard.stop().await;
}

#[tokio::test]
async fn register_comes_first_and_is_answered_each_time() {
    let dashboard = Running::start().await;
    let mut hasty = dashboard.silent_agent().await;
    hasty.send(&beat(None)).await;
    assert_eq!(hasty.close_code().await, Some(1008));
    let mut bad_name = dashboard.silent_agent().await;
    bad_name.register("a/b").await;
    assert_eq!(bad_name.close_code().await, Some(1008));

    let mut agent = dashboard.silent_agent().await;
    for _ in 0..2 {
        agent.register("web").await;
        let DashboardMessage::Registered(registered) = agent.next().await else { panic!("registered") };
        assert_eq!(
            (registered.host_id.as_str(), registered.capabilities),
            ("web", vec!["output_batch".to_owned()])
        );
    }
    assert_eq!(dashboard.handle.connections("web"), 1);
    let host = dashboard.handle.host("web").unwrap();
    assert_eq!((host.status, host.connected, host.last_seen), (HostStatus::Offline, true, None));
    dashboard.stop().await;
}

#[tokio::test]
async fn a_second_agent_of_the_same_name_closes_the_first_with_1008() {
    let dashboard = Running::start().await;
    let mut first = dashboard.agent("web").await;
    let mut second = dashboard.agent("web").await;
    assert_eq!(first.close_code().await, Some(1008));
    second.send(&beat(Some("pull"))).await;
    let pending = |handle: &crate::Handle| handle.host("web")?.pending_command;
    assert_eq!(dashboard.handle.wait_until("pending command", LIMIT, pending).await, "pull");
    assert_eq!(dashboard.handle.connections("web"), 2);
    dashboard.stop().await;
}

#[tokio::test]
async fn broken_and_unknown_messages_are_counted_and_the_connection_stays() {
    let dashboard = Running::start().await;
    let mut agent = dashboard.agent("web").await;
    for text in ["{", "{\"type\":\"news\"}", "{\"type\":\"heartbeat\",\"payload\":{\"command_pid\":5.0}}"] {
        agent.send_text(text.to_owned()).await;
    }
    agent.send(&beat(Some("test"))).await;
    let host = dashboard
        .handle
        .wait_until("beat after the garbage", LIMIT, |handle| {
            handle.host("web").filter(|host| host.pending_command.is_some())
        })
        .await;
    assert_eq!((host.ignored_frames, host.connected), (3, true));
    agent.send_text("x".repeat(513 * 1024)).await;
    assert_eq!(agent.close_code().await, Some(1009), "a message over 512 KiB");
    dashboard.stop().await;
}

#[tokio::test]
async fn commands_need_the_csrf_token_a_known_host_and_good_json() {
    let dashboard = Running::start().await;
    let agent = dashboard.agent("web").await;
    let body = r#"{"command":"pull"}"#;
    let path = "/api/hosts/web/command";
    for csrf in [None, Some("wrong")] {
        assert_eq!(dashboard.http("POST", path, csrf, body).await.0, 403, "{csrf:?}");
        assert_eq!(dashboard.http("POST", "/api/faults", csrf, "{}").await.0, 403, "{csrf:?}");
    }
    assert_eq!(dashboard.post("/api/hosts/nobody/command", body).await.0, 404);
    for bad in ["", "{", "[]", "{\"command\":5}", "{\"command\":\"\"}"] {
        let (status, answer) = dashboard.post(path, bad).await;
        assert_eq!(status, 400, "{bad:?}");
        assert!(answer["error"].is_string(), "{answer}");
    }
    drop(agent);
    let gone = |handle: &crate::Handle| handle.host("web").filter(|host| !host.connected);
    dashboard.handle.wait_until("end of the connection", LIMIT, gone).await;
    assert_eq!(dashboard.post(path, body).await.0, 409, "online by its beats, but not connected");
    dashboard.stop().await;
}

#[tokio::test]
async fn the_agent_decides_whether_it_is_busy() {
    let dashboard = Running::start().await;
    let mut agent = dashboard.agent("web").await;
    // According to the record the agent is busy, but the command is sent anyway.
    agent.send(&beat(Some("switch"))).await;
    let busy = |handle: &crate::Handle| handle.host("web")?.pending_command;
    dashboard.handle.wait_until("busy host", LIMIT, busy).await;
    let asked = dashboard.post("/api/hosts/web/command", r#"{"command":"test"}"#);
    let rejects = async {
        let command = agent.command().await;
        agent.send(&rejection(&command)).await;
    };
    let ((status, answer), ()) = tokio::join!(asked, rejects);
    assert_eq!(status, 409);
    assert_eq!(answer["error"], "command already running");
    assert_eq!((&answer["current_command"], &answer["current_pid"]), (&json!("switch"), &json!(12345)));

    let asked = dashboard.post("/api/hosts/web/command", r#"{"command":"pull","id":"mine"}"#);
    let accepts = async {
        let command = agent.command().await;
        assert_eq!((command.command.as_str(), command.id.as_deref()), ("pull", Some("mine")));
        agent.send(&beat(Some("pull"))).await;
    };
    let before = Instant::now();
    let ((status, answer), ()) = tokio::join!(asked, accepts);
    assert_eq!(status, 202);
    assert_eq!(answer, json!({"status":"accepted","command":"pull","id":"mine","confirmed_by":"heartbeat"}));
    assert!(before.elapsed().as_millis() < 1900, "a beat ends the wait");
    dashboard.stop().await;
}

#[tokio::test]
async fn a_silent_agent_is_taken_to_have_accepted_after_two_seconds_and_stop_is_not_waited_for() {
    let dashboard = Running::start().await;
    let mut agent = dashboard.agent("web").await;
    let before = Instant::now();
    let (status, _) = dashboard.post("/api/hosts/web/command", r#"{"command":"stop"}"#).await;
    assert_eq!((status, agent.command().await.command.as_str()), (202, "stop"));
    assert!(before.elapsed().as_millis() < 1900);
    let (status, answer) = dashboard.post("/api/hosts/web/command", r#"{"command":"pull"}"#).await;
    assert_eq!((status, &answer["confirmed_by"]), (202, &json!(null)));
    assert!(before.elapsed().as_millis() >= 2000);
    assert_eq!(dashboard.post("/api/hosts/web/kill", r#"{"signal":"SIGKILL","pid":7}"#).await.0, 202);
    agent.command().await;
    let DashboardMessage::KillCommand(kill) = agent.next().await else { panic!("kill_command") };
    assert_eq!(encode(&kill), r#"{"signal":"SIGKILL","pid":7}"#);
    dashboard.stop().await;
}

#[tokio::test]
async fn recorded_messages_are_listed_by_type_and_position() {
    let dashboard = Running::start().await;
    let mut agent = dashboard.agent("web").await;
    agent.send(&beat(Some("pull"))).await;
    dashboard
        .handle
        .wait_until("two beats", LIMIT, |handle| (handle.next_index("web") == 3).then_some(()))
        .await;
    let (_, all) = dashboard.get("/api/hosts/web/messages").await;
    assert_eq!((all["messages"].as_array().unwrap().len(), &all["next"]), (3, &json!(3)));
    let (_, beats) = dashboard.get("/api/hosts/web/messages?type=heartbeat&since=2").await;
    let only = &beats["messages"][0];
    assert_eq!(beats["messages"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&only["index"], &only["connection"], &only["type"]),
        (&json!(2), &json!(1), &json!("heartbeat"))
    );
    assert_eq!(only["payload"]["metrics"], json!(null));
    assert_eq!(dashboard.get("/api/hosts/web/messages?since=x").await.0, 400);
    assert_eq!(dashboard.get("/api/hosts/nobody/messages").await.0, 404);
    let (status, hosts) = dashboard.get("/api/hosts").await;
    assert_eq!((status, &hosts["hosts"][0]["status"]), (200, &json!("online")));
    assert_eq!(dashboard.get("/api/hosts/web").await.1, hosts["hosts"][0]);
    assert_eq!(dashboard.get("/nothing").await.0, 404);
    let page = dashboard.raw_http("GET", "/", None, "").await;
    assert!(page.contains("content=\"test-csrf\"") && page.contains("default-src 'none'"), "{page}");
    dashboard.stop().await;
}

#[tokio::test]
async fn an_address_in_use_and_empty_tokens_are_told_apart() {
    let dashboard = Running::start().await;
    let options = |listen, token: &str, csrf: &str| Options {
        listen,
        token: token.to_owned(),
        csrf_token: Some(csrf.to_owned()),
        strict: None,
    };
    let free = ([127, 0, 0, 1], 0).into();
    let error = Dashboard::bind(options(dashboard.address, "t", "c")).await.unwrap_err();
    assert!(matches!(error, BindError::Listen { address, .. } if address == dashboard.address), "{error}");
    assert!(matches!(Dashboard::bind(options(free, "", "c")).await, Err(BindError::EmptyToken)));
    for csrf in ["", "a b", "a\n", "ä"] {
        assert!(
            matches!(Dashboard::bind(options(free, "t", csrf)).await, Err(BindError::BadCsrfToken)),
            "{csrf:?}"
        );
    }
    let mut random = options(free, "t", "c");
    random.csrf_token = None;
    assert_eq!(Dashboard::bind(random).await.unwrap().csrf_token().len(), 32);
    dashboard.stop().await;
}

#[tokio::test]
async fn the_end_of_serve_is_the_end_of_every_connection() {
    let dashboard = Running::start().await;
    let mut agent = dashboard.agent("web").await;
    let _browser = dashboard.browser().await;
    let address = dashboard.address;
    let (code, ()) = tokio::join!(agent.close_code(), dashboard.stop());
    assert_eq!(code, Some(1001));
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nothing listens any more");
}

#[tokio::test]
async fn everything_that_the_page_asks_for_is_there() {
    let dashboard = Running::start().await;
    let (mut wanted, mut seen) = (vec!["/".to_owned()], Vec::new());
    while let Some(path) = wanted.pop() {
        let answer = dashboard.raw_http("GET", &path, None, "").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        for mark in ["src=\"", "href=\"", "from \"./", "import \"./"] {
            let named = answer.split(mark).skip(1).filter_map(|rest| rest.split('"').next());
            // A link to a part of the page is no file.
            let files = named.filter(|name| !name.starts_with('#')).map(|name| format!("/{name}"));
            wanted.extend(files.filter(|path| !seen.contains(path)));
        }
        seen.push(path);
    }
    // Browsers keep the files, and ask each time whether they are still the same.
    let tag = |answer: &str| {
        let line = answer.lines().find(|line| line.starts_with("etag: "));
        line.map(|line| line["etag: ".len()..].to_owned())
    };
    let files: Vec<&String> = seen.iter().filter(|path| *path != "/").collect();
    // The alert icon is asked for when something is wrong.
    let given = crate::page::paths().filter(|path| *path != "/icon-alert.svg");
    let unused: Vec<_> = given.filter(|path| !seen.iter().any(|seen| seen == path)).collect();
    assert!(unused.is_empty(), "no part of the page asks for {unused:?}");
    for path in files {
        let tag = tag(&dashboard.raw_http("GET", path, None, "").await).expect(path);
        let known = format!("x\r\nIf-None-Match: {tag}");
        let answer = dashboard.raw_http("GET", path, Some(&known), "").await;
        assert!(answer.starts_with("HTTP/1.1 304"), "{path}: {answer}");
    }
    dashboard.stop().await;
}
