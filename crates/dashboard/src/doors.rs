//! Every request passes here before any handler sees it: the name that it is for, and the page that it comes from.

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header, uri::Authority};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::info;

use crate::listener::Peer;
use crate::names::{Asked, host};
use crate::web::{AppState, failure, is_foreign_origin};

/// Longest name that a refusal repeats, in characters: the longest name of DNS.
const MAX_SHOWN: usize = 253;

/// The host of a request: that of its target if it has one, else that of its only `Host` header. None if the
/// request is malformed.
fn asked(target: &Uri, headers: &HeaderMap) -> Option<Asked> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (first, more) = (hosts.next(), hosts.next());
    if more.is_some() {
        return None;
    }
    let authority: Authority = match target.authority() {
        Some(authority) => authority.clone(),
        None => first?.as_bytes().try_into().ok()?,
    };
    // A login in front of a host has no place here, and would be no part of the name.
    if authority.as_str().contains('@') { None } else { host(authority.host()) }
}

/// Refuses every request under another name, and every request of a page of another site, before any handler.
pub(super) async fn guard(
    State(state): State<AppState>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let Some(asked) = asked(request.uri(), request.headers()) else {
        return failure(StatusCode::BAD_REQUEST, "the request names no host, or several").into_response();
    };
    if !state.names.answers(&asked, peer.local) {
        let shown: String = match asked {
            Asked::Name(name) => name.chars().take(MAX_SHOWN).collect(),
            Asked::Address(address) => address.to_string(),
        };
        info!(peer = %peer.address, host = shown, "refused a request to another host; --allow-host allows it");
        let fix = format!(
            "this dashboard does not answer as {shown}; if that is its name, start it with --allow-host {shown}"
        );
        return failure(StatusCode::MISDIRECTED_REQUEST, &fix).into_response();
    }
    if is_foreign_origin(request.headers()) {
        return failure(StatusCode::FORBIDDEN, "foreign origin").into_response();
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;
    use crate::names::Names;

    fn headers(hosts: &[&str]) -> HeaderMap {
        hosts.iter().map(|host| (header::HOST, HeaderValue::from_str(host).unwrap())).collect()
    }

    #[test]
    fn loopback_the_own_address_and_allowed_names_are_answered_and_no_others() {
        let mut names = Names::default();
        for name in ["Dashboard", "fleet.example.org.", "192.0.2.7", "[2001:db8::7]", "2001:db8::8"] {
            names.allow(name).unwrap();
        }
        let local = Some("10.0.0.1:8000".parse().unwrap());
        for (host, answered) in [
            ("localhost", true),
            ("LOCALHOST:8000", true),
            ("localhost.", true),
            ("127.0.0.1:8000", true),
            ("127.9.9.9", true),
            ("[::1]:8000", true),
            ("[::ffff:127.0.0.1]", true),
            ("10.0.0.1:8000", true),
            ("dashboard:8000", true),
            ("FLEET.example.org", true),
            ("192.0.2.7", true),
            ("[2001:db8::7]:8000", true),
            ("[2001:db8::8]", true),
            ("evil.example", false),
            ("localhost.evil.example", false),
            ("evil.example:localhost", false),
            ("127.0.0.1.evil.example", false),
            ("127.0.0.1@evil.example", false),
            ("evil.example@127.0.0.1", false),
            ("10.0.0.2", false),
            ("0.0.0.0:8000", false),
            ("[::]", false),
            ("2130706433", false),
            ("", false),
            ("local host", false),
        ] {
            let asked = asked(&Uri::from_static("/"), &headers(&[host]));
            assert_eq!(asked.is_some_and(|asked| names.answers(&asked, local)), answered, "{host:?}");
        }
    }

    #[test]
    fn the_target_of_a_request_counts_more_than_its_host_and_two_hosts_are_none() {
        let target = Uri::from_static("http://evil.example/api/hosts");
        assert_eq!(asked(&target, &headers(&["localhost"])), Some(Asked::Name("evil.example".to_owned())));
        assert_eq!(asked(&Uri::from_static("/"), &headers(&["localhost", "evil.example"])), None);
        assert_eq!(asked(&Uri::from_static("/"), &headers(&[])), None);
    }
}
