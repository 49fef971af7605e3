//! Every request passes here before the dashboard sees it, if people log in by password.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use nixfleet_dashboard::{CanLogOut, Leave, Person, Stay};
use serde_json::json;
use tokio::time::sleep;

use super::desk::{Desk, now};
use super::form::{NO_STORE, PUBLIC, go_to};
use super::next::login_for;
use super::session::Session;

/// Where browsers say whose page sends a request.
const FETCH_SITE: &str = "sec-fetch-site";

/// Why a request is refused that a page sends which anybody on the way could have written.
pub(super) const IN_CLEAR: &str =
    "a page without HTTPS sent this request, but people use this dashboard with HTTPS";

/// Lets those in who have a session, and sends others to the login.
pub(super) async fn pass(State(desk): State<Arc<Desk>>, mut request: Request, next: Next) -> Response {
    if is_of_another_site(&request) {
        return refusal(StatusCode::FORBIDDEN, "the page of another site sent this request");
    }
    if desk.cookie.is_secure && is_of_page_in_clear(request.headers()) {
        return refusal(StatusCode::FORBIDDEN, IN_CLEAR);
    }
    if PUBLIC.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let Some(session) = desk.session(request.headers()) else {
        return if wants_page(&request) {
            go_to(&login_for(request.uri()))
        } else {
            refusal(StatusCode::UNAUTHORIZED, "there is no session, or it has ended: log in at /login")
        };
    };
    request.extensions_mut().insert(Person(session.name.clone()));
    request.extensions_mut().insert(CanLogOut);
    if request.headers().contains_key(header::UPGRADE) {
        let (stay, leave) = Stay::new();
        request.extensions_mut().insert(stay);
        tokio::spawn(stay_on(Arc::clone(&desk), session.clone(), leave));
    }
    let is_use = uses_session(&request);
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let now = now();
    if is_use
        && let Some(renewed) = session.renewed(now)
        && let Some(cookie) = desk.cookie.keep(&renewed, &desk.key, now)
    {
        headers.insert(header::SET_COOKIE, cookie);
    }
    keep_private(headers);
    response
}

/// Has a socket end when its session does.
async fn stay_on(desk: Arc<Desk>, session: Session, leave: Leave) {
    let mut people = desk.people.subscribe();
    tokio::select! {
        () = leave.is_not_needed() => {}
        () = sleep(session.left(now())) => {}
        // An error would mean that the file is no longer watched.
        _ = people.wait_for(|people| !session.is_of(&desk.key, people)) => {}
    }
}

/// Whether it has a session last longer. All but the page itself may be answered after somebody has logged out in
/// another window, and would bring the session back.
fn uses_session(request: &Request) -> bool {
    request.method() == Method::GET && request.uri().path() == "/"
}

/// Whether a page without HTTPS sends it.
pub(super) fn is_of_page_in_clear(headers: &HeaderMap) -> bool {
    headers.get(header::ORIGIN).is_some_and(|origin| !origin.as_bytes().starts_with(b"https://"))
}

/// Whether a form or a script of another site sends it. Browsers say so, and others have no session to abuse. Those that
/// say nothing here name the `Origin`, at which the dashboard looks itself.
fn is_of_another_site(request: &Request) -> bool {
    let site = request.headers().get(FETCH_SITE).map(HeaderValue::as_bytes);
    let reads = request.method() == Method::GET || request.method() == Method::HEAD;
    // What a socket says is read by whoever has opened it.
    let is_link = reads && !request.headers().contains_key(header::UPGRADE);
    !is_link && site.is_some_and(|site| site != b"same-origin" && site != b"none")
}

/// Whether somebody looks at the answer, rather than a script.
fn wants_page(request: &Request) -> bool {
    let path = request.uri().path();
    let accepts =
        request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let reads = request.method() == Method::GET || request.method() == Method::HEAD;
    let is_page = path == "/" || accepts.contains("text/html") && !path.starts_with("/api/");
    reads && is_page && !request.headers().contains_key(header::UPGRADE)
}

/// The answer `{"error": ..}`.
pub(super) fn refusal(status: StatusCode, why: &str) -> Response {
    let mut response = (status, Json(json!({ "error": why }))).into_response();
    keep_private(response.headers_mut());
    response
}

/// Has no cache keep it, unless the dashboard has said what caches may do.
pub(super) fn keep_private(headers: &mut HeaderMap) {
    headers.entry(header::CACHE_CONTROL).or_insert(NO_STORE);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use tokio::time::timeout;
    use tower::ServiceExt as _;

    use super::*;
    use crate::login::key::Key;
    use crate::login::people::PeopleFile;
    use crate::login::people::tests::{KEPT, write};
    use crate::login::session::Cookie;
    use crate::networks::Networks;

    const HOUR: Duration = Duration::from_secs(60 * 60);

    fn desk() -> Arc<Desk> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logins");
        write(&path, &format!("anna {}", KEPT[0]));
        let people = PeopleFile::open(path).unwrap();
        Arc::new(Desk::new(Key::random().unwrap(), Cookie { is_secure: false }, people, Networks::default()))
    }

    /// A session that was used last so long ago.
    fn session(desk: &Desk, ago: Duration) -> Session {
        Session::new(&desk.key, "anna", KEPT[0], now() - i64::try_from(ago.as_secs()).unwrap())
    }

    #[tokio::test]
    async fn the_page_renews_a_session_now_and_then_and_nothing_else_does() {
        let desk = desk();
        let app = Router::new().route("/", get("page").post("")).route("/api/hosts", get("[]"));
        let app = app.layer(from_fn_with_state(Arc::clone(&desk), pass));
        for (method, path, ago, renewed) in [
            (Method::GET, "/", HOUR / 60, false),
            (Method::GET, "/", HOUR, true),
            (Method::POST, "/", HOUR, false),
            (Method::GET, "/api/hosts", HOUR, false),
        ] {
            let cookie = desk.cookie.keep(&session(&desk, ago), &desk.key, now()).unwrap();
            let cookie = cookie.to_str().unwrap().split(';').next().unwrap();
            let request = Request::builder().method(method).uri(path).header(header::COOKIE, cookie);
            let request = request.body(Body::empty()).unwrap();
            let answer = app.clone().oneshot(request).await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK, "{path}");
            let set: Vec<_> = answer.headers().get_all(header::SET_COOKIE).iter().collect();
            let lasts = |value: &HeaderValue| value.to_str().unwrap().contains("Max-Age=43200");
            assert_eq!(set.iter().any(|value| lasts(value)), renewed, "{path} {set:?}");
            assert!(set.len() <= 1, "{set:?}");
        }
    }

    #[test]
    fn a_page_of_another_site_can_only_lead_here() {
        let other = "cross-site";
        for (method, socket, site, refused) in [
            (Method::GET, false, other, false),
            (Method::HEAD, false, "same-site", false),
            (Method::GET, true, other, true),
            (Method::GET, true, "same-origin", false),
            (Method::POST, false, "same-site", true),
            (Method::POST, false, "none", false),
        ] {
            let mut request = Request::builder().method(&method).header(FETCH_SITE, site);
            if socket {
                request = request.header(header::UPGRADE, "websocket");
            }
            let request = request.body(Body::empty()).unwrap();
            assert_eq!(is_of_another_site(&request), refused, "{method} {socket} {site}");
        }
        for (origin, in_clear) in [("https://a", false), ("http://a", true), ("null", true)] {
            let headers = [(header::ORIGIN, HeaderValue::from_static(origin))].into_iter().collect();
            assert_eq!(is_of_page_in_clear(&headers), in_clear, "{origin}");
        }
        assert!(!is_of_page_in_clear(&HeaderMap::new()), "scripts name no page");
    }

    #[tokio::test(start_paused = true)]
    async fn a_socket_stays_until_its_session_ends_or_until_it_ends_itself() {
        let desk = desk();
        for (ago, left) in [(Duration::ZERO, 12 * HOUR), (11 * HOUR, HOUR)] {
            let (stay, leave) = Stay::new();
            let staying = stay_on(Arc::clone(&desk), session(&desk, ago), leave);
            let mut staying = std::pin::pin!(staying);
            assert!(timeout(left - HOUR / 60, &mut staying).await.is_err(), "{ago:?}: it is not over");
            assert!(timeout(HOUR / 30, &mut staying).await.is_ok(), "{ago:?}: it is over");
            drop(stay);
        }
        let (stay, leave) = Stay::new();
        drop(stay);
        let staying = stay_on(Arc::clone(&desk), session(&desk, Duration::ZERO), leave);
        assert!(timeout(HOUR / 60, staying).await.is_ok(), "nothing is left of a socket that has ended");
    }
}
