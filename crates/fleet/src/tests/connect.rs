//! The way to NATS.

use nixfleet_os::error::chain;

use crate::{ConnectError, Login, Options, connect};

/// Why there is no connection to these servers, with all causes.
async fn why(server: &str) -> (ConnectError, String) {
    let options = Options { servers: vec![server.to_owned()], ..Options::default() };
    let err = connect(&options).await.expect_err("nobody is there");
    let text = format!("{} {err:?}", chain(&err));
    (err, text)
}

#[tokio::test]
async fn no_error_has_the_login_of_an_address() {
    // Nothing listens on port 1.
    let (err, text) = why("nats://me:hunter2@127.0.0.1:1").await;
    assert!(matches!(err, ConnectError::Connect { .. }), "{text}");
    assert!(text.contains("127.0.0.1:1") && !text.contains("hunter2"), "{text}");
    let (err, text) = why("nats://me:hunter2@127.0.0.1:port").await;
    assert!(matches!(err, ConnectError::Address { .. }), "{text}");
    assert!(text.contains("nats://127.0.0.1") && !text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn a_file_that_is_missing_or_wrong_is_named_before_anybody_is_called() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("seed"), "not a seed").expect("written");
    let base = Options { servers: vec!["nats://127.0.0.1:1".to_owned()], ..Options::default() };
    let cases = [
        (Options { ca_file: Some(path("ca")), ..base.clone() }, "ca"),
        (Options { client_certificate: Some((path("seed"), path("key"))), ..base.clone() }, "key"),
        (Options { login: Login::Nkey(path("nk")), ..base.clone() }, "nk"),
        (Options { login: Login::Nkey(path("seed")), ..base }, "seed"),
    ];
    for (options, name) in cases {
        let err = connect(&options).await.expect_err(name);
        let is_named = matches!(&err, ConnectError::File { path, .. } if path.ends_with(name));
        assert!(is_named, "{name}: {err:?}");
    }
}
