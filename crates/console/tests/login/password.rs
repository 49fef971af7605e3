//! People with passwords.

use std::fs;

use nixfleet_console::{Config, login_line, new_session_key};
use nixfleet_testbed::Nats;
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use crate::client::{PATIENCE, Running, write};

const PASSWORD: &str = "a long password";

/// The same, in a form.
const TYPED: &str = "a+long+password";

/// Anna and Ben have the same password, and a key is there.
fn config(folder: &TempDir) -> Config {
    let lines = ["anna", "ben"].map(|name| login_line(name, PASSWORD).unwrap());
    write(&folder.path().join("logins"), &lines.join("\n"));
    write(&folder.path().join("key"), &new_session_key().unwrap());
    Config {
        login_file: Some(folder.path().join("logins")),
        session_key_file: Some(folder.path().join("key")),
        ..Config::default()
    }
}

#[tokio::test]
async fn without_a_session_there_is_the_login_and_nothing_else() {
    let Some(nats) = Nats::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let dashboard = Running::start(&nats, &config(&folder)).await;
    for (path, status) in [
        ("/api/hosts", 401),
        ("/api/hosts/web-1/log.txt", 401),
        ("/main.js", 401),
        ("/nothing", 401),
        ("/login", 200),
        ("/base.css", 200),
        ("/icon.svg", 200),
        ("/login.css", 200),
        ("/healthz", 200),
    ] {
        let answer = dashboard.get(path, "").await;
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        if status == 401 {
            assert_eq!(answer.header("content-type"), Some("application/json"), "{path}");
            assert!(answer.body.contains("log in at /login"), "{path}: {}", answer.body);
        }
    }
    let html = "Accept: text/html,*/*\r\n";
    for (path, login) in [("/", "/login"), ("/?a=b", "/login?next=%2F%3Fa%3Db"), ("/x", "/login?next=%2Fx")] {
        let answer = dashboard.get(path, html).await;
        assert_eq!((answer.status, answer.header("location")), (303, Some(login)), "{path}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    let command = r#"{"command":"test"}"#;
    for (path, body) in [("/api/commands", command), ("/api/hosts/web-1/command", command), ("/logout", "")] {
        let answer = dashboard.ask("POST", path, html, body).await;
        assert_eq!(answer.status, 401, "{path}");
    }
    assert_eq!(dashboard.socket("").await.0.status, 401);
    let page = dashboard.get("/login", "").await;
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert!(page.header("content-security-policy").unwrap().contains("frame-ancestors 'none'"));
    assert!(
        page.body.contains("autocomplete=\"current-password\"") && !page.body.contains("{{"),
        "{}",
        page.body
    );
}

#[tokio::test]
async fn who_knows_the_password_comes_in_on_every_replica_until_the_file_says_otherwise() {
    let Some(nats) = Nats::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder);
    let dashboard = Running::start(&nats, &config).await;
    for (name, password) in [("anna", "wrong"), ("carl", TYPED), ("", ""), ("%3Cb%3E", TYPED)] {
        let refused = dashboard.log_in(name, password).await;
        assert_eq!((refused.status, refused.header("set-cookie")), (401, None), "{name}");
        assert!(refused.body.contains("role=\"alert\">Name or password is wrong."), "{}", refused.body);
        assert!(!refused.body.contains("<b>"), "the text of strangers stays text");
    }
    let form = format!("name=anna&password={TYPED}");
    for foreign in [
        "Sec-Fetch-Site: cross-site\r\n",
        "Sec-Fetch-Site: same-site\r\n",
        "Origin: https://evil.example\r\n",
    ] {
        let refused = dashboard.ask("POST", "/login", foreign, &form).await;
        assert_eq!((refused.status, refused.header("set-cookie")), (403, None), "{foreign}");
    }
    for (path, next) in [("/login", "/"), ("/login?next=%2Fx", "/x"), ("/login?next=//evil.example", "/")] {
        let good = dashboard.ask("POST", path, "Sec-Fetch-Site: same-origin\r\n", &form).await;
        assert_eq!((good.status, good.header("location")), (303, Some(next)), "{path}");
    }

    let anna = dashboard.log_in("anna", TYPED).await.cookie();
    let ben = dashboard.log_in("ben", TYPED).await.cookie();
    let page = dashboard.get("/", &anna).await;
    assert!(
        page.status == 200 && page.body.contains(">anna<") && page.body.contains("Log out"),
        "{}",
        page.body
    );
    assert_eq!(dashboard.get("/api/hosts", &anna.replace("=ey", "=fy")).await.status, 401, "not signed");
    let again = dashboard.get("/login", &anna).await;
    assert_eq!((again.status, again.header("location")), (303, Some("/")));

    // Another replica knows the session, and takes commands from the page of the first one.
    let replica = Running::start(&nats, &config).await;
    let hosts = replica.get("/api/hosts", &anna).await;
    assert_eq!((hosts.status, hosts.header("cache-control")), (200, Some("no-store")));
    let token = page.body.split("name=\"csrf-token\" content=\"").nth(1).unwrap().split('"').next().unwrap();
    for (token, is_right) in [(token, true), ("other", false)] {
        let headers = format!("{anna}X-CSRF-Token: {token}\r\n");
        let command = r#"{"command":"test"}"#;
        let answer = replica.ask("POST", "/api/hosts/absent/command", &headers, command).await;
        // There is no such host, which is another refusal.
        assert_eq!(answer.status != 403, is_right, "{answer:?}");
        assert_ne!(answer.status, 401);
    }

    // Ben leaves: his open socket ends without a signal, and Anna's stays.
    let (opened, mut socket) = dashboard.socket(&ben).await;
    assert_eq!(opened.status, 101);
    let (opened, mut others) = dashboard.socket(&anna).await;
    assert_eq!(opened.status, 101);
    let lines = fs::read_to_string(folder.path().join("logins")).unwrap();
    fs::write(folder.path().join("logins"), lines.lines().next().unwrap()).unwrap();
    let mut said = Vec::new();
    timeout(PATIENCE, socket.read_to_end(&mut said)).await.expect("it ends").unwrap();
    // A frame of the kind close, its length, and the code 1008.
    let close = b"\x88\x17\x03\xf0the session has ended";
    assert!(said.windows(close.len()).any(|part| part == close), "{}", String::from_utf8_lossy(&said));
    assert_eq!(dashboard.get("/api/hosts", &ben).await.status, 401);
    let mut first = [0; 1];
    assert_eq!(others.read(&mut first).await.unwrap(), 1, "it says something, and has not ended");
    assert_eq!(dashboard.get("/api/hosts", &anna).await.status, 200);

    // A new password ends sessions as well. A signal makes it known at once.
    fs::write(folder.path().join("logins"), login_line("anna", PASSWORD).unwrap()).unwrap();
    dashboard.login.reload();
    assert_eq!(dashboard.get("/api/hosts", &anna).await.status, 401);
    let anna = dashboard.log_in("anna", TYPED).await.cookie();
    assert_eq!(
        dashboard.ask("POST", "/logout", &format!("{anna}Sec-Fetch-Site: cross-site\r\n"), "").await.status,
        403
    );
    let gone = dashboard.ask("POST", "/logout", &anna, "").await;
    assert_eq!((gone.status, gone.header("location")), (303, Some("/login")));
    assert!(
        gone.header("set-cookie").unwrap().starts_with("nixfleet-session=; Path=/; Max-Age=0;"),
        "{gone:?}"
    );
}

#[tokio::test]
async fn who_guesses_has_to_wait() {
    let Some(nats) = Nats::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let proxies = vec!["127.0.0.1".to_owned()];
    let config = Config { trusted_proxies: proxies, ..config(&folder) };
    let dashboard = Running::start(&nats, &config).await;
    let form = |password: &str| format!("name=anna&password={password}");
    let refused = loop {
        let answer = dashboard.ask("POST", "/login", "X-Forwarded-For: 192.0.2.1\r\n", &form("wrong")).await;
        if answer.status != 401 {
            break answer;
        }
    };
    assert_eq!(refused.status, 429);
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=30).contains(&seconds), "{seconds}");
    assert!(refused.body.contains(&format!("Try again in {seconds} seconds.")), "{}", refused.body);
    for (from, status) in [("192.0.2.1", 429), ("192.0.2.2", 303), ("192.0.2.2, 192.0.2.1", 429)] {
        let answer =
            dashboard.ask("POST", "/login", &format!("X-Forwarded-For: {from}\r\n"), &form(TYPED)).await;
        assert_eq!(answer.status, status, "{from}");
    }
}
