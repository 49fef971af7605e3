//! A proxy that knows people.

use nixfleet_console::Config;
use nixfleet_testbed::Nats;

use crate::client::Running;

fn config(proxy: &str) -> Config {
    Config {
        trusted_header: Some("X-Remote-User".to_owned()),
        trusted_proxies: vec![proxy.to_owned()],
        ..Config::default()
    }
}

#[tokio::test]
async fn a_name_is_believed_from_the_proxy_only() {
    let Some(nats) = Nats::start() else { return };
    let (behind, stranger) = (
        Running::start(&nats, &config("127.0.0.0/8")).await,
        Running::start(&nats, &config("10.0.0.0/8")).await,
    );
    let anna = "X-Remote-User: anna\r\n";
    for path in ["/", "/api/hosts", "/base.css", "/login"] {
        assert_eq!(stranger.get(path, anna).await.status, 403, "{path}");
        assert_eq!(behind.get(path, "").await.status, 401, "{path}");
        assert_eq!(behind.get(path, "X-Remote-User:\r\n").await.status, 401, "{path}");
        assert_eq!(behind.get(path, &format!("{anna}X-Remote-User: ben\r\n")).await.status, 403, "{path}");
    }
    assert_eq!(stranger.get("/healthz", "").await.status, 200);
    assert_eq!(stranger.socket(anna).await.0.status, 403);
    assert_eq!(behind.socket("").await.0.status, 401);
    assert_eq!(behind.socket(anna).await.0.status, 101);
    assert_eq!(behind.get("/api/hosts", anna).await.status, 200);
    let page = behind.get("/", "X-Remote-User: <anna>\r\n").await;
    assert!(page.body.contains(">&lt;anna>") && !page.body.contains("<anna>"), "{}", page.body);
    assert!(!page.body.contains("Log out"), "the proxy has logged her in");
    assert_eq!(behind.get("/login", anna).await.status, 404);

    // A page without HTTPS can be written by anybody on the way, and counts as another site if people use HTTPS.
    let public_url = Some("https://fleet.example.org".to_owned());
    let secure = Running::start(&nats, &Config { public_url, ..config("127.0.0.0/8") }).await;
    for (scheme, status) in [("https", 101), ("http", 403)] {
        let origin = format!("{anna}Origin: {scheme}://{}\r\n", secure.address);
        assert_eq!(secure.socket(&origin).await.0.status, status, "{scheme}");
    }
    let origin = format!("{anna}Origin: http://{}\r\n", behind.address);
    assert_eq!(behind.socket(&origin).await.0.status, 101);
}
