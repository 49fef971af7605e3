//! The page of the login, which works without scripts, and what it sends.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, DefaultBodyLimit, FromRequest as _, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use nixfleet_dashboard::Peer;
use nixfleet_os::text::one_line;
use tokio::time::timeout;
use tracing::{info, warn};

use super::desk::{Desk, Refusal, now};
use super::next::{self, LOGIN};
use super::people::{MAX_NAME, is_name};

/// The longest form, in bytes: a name and a password, of which each byte may be written with three.
const MAX_FORM: usize = 8 * 1024;

/// How long is waited for a form. It fits in a few packets, and comes with its head.
const FORM_LIMIT: Duration = Duration::from_secs(10);

/// After this time, in seconds, somebody may try again who came when too many others did.
const BUSY_PAUSE: u64 = 2;

const PAGE: &str = include_str!("page/login.html");

/// What the page loads besides the style and the icon of the dashboard.
const STYLE: (&str, &str) = ("/login.css", include_str!("page/login.css"));

/// What can be had without a session.
pub(super) const PUBLIC: [&str; 4] = [LOGIN, STYLE.0, "/base.css", "/icon.svg"];

/// Nothing but its own form may be sent, and to this server only.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self'; \
                      frame-ancestors 'none'";

/// Its routes.
pub(super) fn routes(desk: Arc<Desk>) -> Router {
    let style = async || {
        let headers =
            [(header::CONTENT_TYPE, "text/css; charset=utf-8"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
        (headers, STYLE.1)
    };
    Router::new()
        .route(LOGIN, get(show).post(log_in))
        .route("/logout", post(log_out))
        .layer(DefaultBodyLimit::max(MAX_FORM))
        .with_state(desk)
        .route(STYLE.0, get(style))
}

async fn show(State(desk): State<Arc<Desk>>, uri: Uri, headers: HeaderMap) -> Response {
    if desk.session(&headers).is_some() { go_to(&next::after(&uri)) } else { page(StatusCode::OK, "", None) }
}

async fn log_in(
    State(desk): State<Arc<Desk>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    uri: Uri,
    headers: HeaderMap,
    request: Request,
) -> Response {
    let body = match form(request).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let from = desk.proxies.origin(peer.address.ip(), &headers);
    let (mut name, mut password) = (String::new(), String::new());
    for (key, value) in form_urlencoded::parse(&body) {
        match &*key {
            "name" => value.trim().clone_into(&mut name),
            "password" => password = value.into_owned(),
            _ => {}
        }
    }
    // People write their password into the wrong field: what is no name of this fleet is not logged.
    let is_known = desk.people.current().kept(&name).is_some();
    let shown = if is_known { name.as_str() } else { "(unknown)" };
    match desk.let_in(from, &name, password).await {
        Ok(session) => {
            info!(name, %from, "logged in");
            let mut response = go_to(&next::after(&uri));
            if let Some(cookie) = desk.cookie.keep(&session, &desk.key, now()) {
                response.headers_mut().insert(header::SET_COOKIE, cookie);
            }
            response
        }
        Err(Refusal::Wrong) => {
            warn!(name = shown, %from, "a login failed: wrong name or password");
            page(StatusCode::UNAUTHORIZED, &name, Some("Name or password is wrong."))
        }
        Err(Refusal::Often(wait)) => {
            warn!(name = shown, %from, "a login was refused: too many attempts have failed");
            let wait = wait + Duration::from_millis(999);
            let why = format!("Too many attempts have failed. Try again in {} seconds.", wait.as_secs());
            later(page(StatusCode::TOO_MANY_REQUESTS, &name, Some(&why)), wait.as_secs())
        }
        Err(Refusal::Busy) => {
            warn!(%from, "a login was refused: too many others log in");
            let why = "Too many people log in just now. Try again.";
            later(page(StatusCode::SERVICE_UNAVAILABLE, &name, Some(why)), BUSY_PAUSE)
        }
    }
}

/// The form in a request.
async fn form(request: Request) -> Result<Bytes, Response> {
    match timeout(FORM_LIMIT, Bytes::from_request(request, &())).await {
        Ok(form) => form.map_err(IntoResponse::into_response),
        Err(_) => Err((StatusCode::REQUEST_TIMEOUT, "the form did not come in time").into_response()),
    }
}

/// Has the browser forget the session. A copy of its cookie would last: only another password, or another key, ends that.
async fn log_out(
    State(desk): State<Arc<Desk>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
) -> Response {
    if let Some(session) = desk.session(&headers) {
        let from = desk.proxies.origin(peer.address.ip(), &headers);
        info!(name = session.name, %from, "logged out");
    }
    let mut response = go_to(LOGIN);
    if let Some(cookie) = desk.cookie.forget() {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

/// Sends a browser to a path of this server.
pub(super) fn go_to(path: &str) -> Response {
    let path = HeaderValue::try_from(path).unwrap_or(HeaderValue::from_static("/"));
    (StatusCode::SEE_OTHER, [(header::LOCATION, path), (header::CACHE_CONTROL, NO_STORE)]).into_response()
}

/// What is true for one person, or for now.
pub(super) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

fn later(mut response: Response, seconds: u64) -> Response {
    response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    response
}

/// The page, with what was wrong before.
fn page(status: StatusCode, name: &str, error: Option<&str>) -> Response {
    let name = if is_name(name) { name.to_owned() } else { one_line(name, MAX_NAME) };
    let state = |focus| match (error, focus) {
        (Some(_), true) => "aria-invalid=\"true\" aria-describedby=\"error\" autofocus",
        (Some(_), false) => "aria-invalid=\"true\" aria-describedby=\"error\"",
        (None, true) => "autofocus",
        (None, false) => "",
    };
    let alert =
        error.map(|error| format!("<p id=\"error\" class=\"error\" role=\"alert\">{}</p>", escaped(error)));
    let text = PAGE
        .replace("{{title}}", if error.is_some() { "Not logged in · NixFleet" } else { "Log in · NixFleet" })
        .replace("{{error}}", &alert.unwrap_or_default())
        .replace("{{name_state}}", state(name.is_empty()))
        .replace("{{password_state}}", state(!name.is_empty()))
        // Last, because it is the text of a stranger.
        .replace("{{name}}", &escaped(&name));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::CACHE_CONTROL, NO_STORE),
    ];
    (status, headers, text).into_response()
}

/// A text as part of a page or of an attribute.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use futures_util::stream;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_form_that_does_not_come_is_not_waited_for() {
        let never = Body::from_stream(stream::pending::<Result<Bytes, std::convert::Infallible>>());
        let waiting = timeout(FORM_LIMIT * 2, form(Request::new(never)));
        let refusal = waiting.await.expect("it ends").expect_err("there is no form");
        assert_eq!(refusal.status(), StatusCode::REQUEST_TIMEOUT);
        let came = form(Request::new(Body::from("name=anna"))).await.expect("it is there");
        assert_eq!(came, "name=anna");
    }
}
