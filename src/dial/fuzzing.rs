//! What the targets of `crates/fuzz` call.

use std::mem::{Discriminant, discriminant};
use std::time::Duration;

use futures_util::FutureExt;
use jiff::Timestamp;
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderValue, header};

use nixfleet_config::{LoginSource, Proxy, ProxyLogin, ProxyScheme};

use super::redirect::Redirect;
use super::target::Target;
use super::tunnel;
use super::upgrade::{Answer, NoSocket, UpgradeError, judge};

/// What an answer to a request for a WebSocket means.
#[derive(Debug, PartialEq, Eq)]
pub enum Judged {
    /// Its head is not whole.
    More,
    /// A WebSocket, with the bytes behind the head.
    Socket(Vec<u8>),
    /// Another answer, and the address that it redirects to if that is followed.
    Answer(Box<Answer>, Option<String>),
    /// No answer.
    Failed(Discriminant<UpgradeError>),
}

/// What an answer in these pieces means for a request to `url` with this key, and the message if it is a failure.
pub fn upgrade_answer(pieces: &[&[u8]], key: &str, url: &str) -> (Judged, String) {
    match judge(pieces, key) {
        None => (Judged::More, String::new()),
        Some(Ok(rest)) => (Judged::Socket(rest), String::new()),
        Some(Err(NoSocket::Failed(err))) => (Judged::Failed(discriminant(&err)), err.to_string()),
        Some(Err(NoSocket::Answered(answer))) => {
            let target = Target::new(url.parse().expect("the address of a target"));
            let redirect = Redirect::new(answer.status, answer.location.as_deref(), &target);
            let follow = redirect.follow().map(|target| target.url().to_string());
            (Judged::Answer(answer, follow), redirect.to_string())
        }
    }
}

/// What a proxy leaves behind its answer to CONNECT, or the message of the failure.
///
/// # Errors
/// The message.
pub fn http_proxy(answer: &[u8], login: Option<(&str, &str)>) -> Result<Vec<u8>, String> {
    let proxy = proxy(ProxyScheme::Http, login);
    let mut rest = answer;
    let mut stream = tokio::io::join(&mut rest, tokio::io::sink());
    let login = login.map(|(user, password)| ProxyLogin::new(user, password));
    let target = target();
    let asked = tunnel::http::connect(&mut stream, &target, &proxy, login.as_ref()).now_or_never();
    let done = asked.expect("the whole answer is there");
    done.map(|()| rest.to_vec()).map_err(|failure| failure.of(&proxy, &target).to_string())
}

/// The same for the exchange of SOCKS5.
///
/// # Errors
/// The message.
pub fn socks_proxy(answer: &[u8], login: Option<(&str, &str)>) -> Result<Vec<u8>, String> {
    let proxy = proxy(ProxyScheme::Socks5h, login);
    let mut rest = answer;
    let mut stream = tokio::io::join(&mut rest, tokio::io::sink());
    let login = login.map(|(user, password)| ProxyLogin::new(user, password));
    let target = target();
    let asked = tunnel::socks::connect(&mut stream, &target, None, &proxy, login.as_ref()).now_or_never();
    let done = asked.expect("the whole answer is there");
    done.map(|()| rest.to_vec()).map_err(|failure| failure.of(&proxy, &target).to_string())
}

fn proxy(scheme: ProxyScheme, login: Option<(&str, &str)>) -> Proxy {
    let login = login.map(|(user, password)| LoginSource::Address {
        said_by: "HTTPS_PROXY".to_owned(),
        login: ProxyLogin::new(user, password),
    });
    Proxy { scheme, host: "proxy.example".to_owned(), port: 3128, said_by: "HTTPS_PROXY".to_owned(), login }
}

fn target() -> Target {
    Target::new("wss://dash.example/ws".parse().expect("the address of a target"))
}

/// The delay of an answer with `Retry-After` and perhaps a `Date`; see the module `retry_after`.
pub fn retry_after(value: &[u8], date: Option<&[u8]>, now: Timestamp) -> Option<Duration> {
    let mut headers = HeaderMap::new();
    headers.insert(header::RETRY_AFTER, HeaderValue::from_bytes(value).ok()?);
    if let Some(date) = date {
        headers.insert(header::DATE, HeaderValue::from_bytes(date).ok()?);
    }
    super::retry_after::retry_after(&headers, now)
}
