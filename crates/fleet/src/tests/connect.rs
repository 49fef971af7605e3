//! The way to NATS.

use nixfleet_os::error::chain;

use crate::{ConnectError, Options, connect};

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
