//! The files of the page. A new one is one line in [`FILES`].

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};

use crate::digest;
use crate::person::{CanLogOut, Person};
use crate::web::AppState;

/// Content security policy: only files of this server and no frames, because buttons of the page run
/// commands.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self' ws: wss:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

/// The page itself, where the CSRF token is filled in.
const INDEX: &str = include_str!("page/index.html");

/// What it loads: path, kind and content.
const FILES: &[(&str, &str, &str)] = &[
    ("/base.css", STYLE, include_str!("page/base.css")),
    ("/fleet.css", STYLE, include_str!("page/fleet.css")),
    ("/host.css", STYLE, include_str!("page/host.css")),
    ("/output.css", STYLE, include_str!("page/output.css")),
    ("/vendor/uplot.css", STYLE, include_str!("page/vendor/uplot.css")),
    ("/icon.svg", IMAGE, include_str!("page/icon.svg")),
    ("/icon-alert.svg", IMAGE, include_str!("page/icon-alert.svg")),
    ("/bulk.js", SCRIPT, include_str!("page/bulk.js")),
    ("/commands.js", SCRIPT, include_str!("page/commands.js")),
    ("/entries.js", SCRIPT, include_str!("page/entries.js")),
    ("/find.js", SCRIPT, include_str!("page/find.js")),
    ("/fleet.js", SCRIPT, include_str!("page/fleet.js")),
    ("/gauges.js", SCRIPT, include_str!("page/gauges.js")),
    ("/host.js", SCRIPT, include_str!("page/host.js")),
    ("/kept.js", SCRIPT, include_str!("page/kept.js")),
    ("/lines.js", SCRIPT, include_str!("page/lines.js")),
    ("/link.js", SCRIPT, include_str!("page/link.js")),
    ("/main.js", SCRIPT, include_str!("page/main.js")),
    ("/output.js", SCRIPT, include_str!("page/output.js")),
    ("/picked.js", SCRIPT, include_str!("page/picked.js")),
    ("/plots.js", SCRIPT, include_str!("page/plots.js")),
    ("/query.js", SCRIPT, include_str!("page/query.js")),
    ("/rows.js", SCRIPT, include_str!("page/rows.js")),
    ("/running.js", SCRIPT, include_str!("page/running.js")),
    ("/severity.js", SCRIPT, include_str!("page/severity.js")),
    ("/store.js", SCRIPT, include_str!("page/store.js")),
    ("/text.js", SCRIPT, include_str!("page/text.js")),
    ("/virtual.js", SCRIPT, include_str!("page/virtual.js")),
    ("/vendor/uplot.js", SCRIPT, include_str!("page/vendor/uplot.js")),
];

/// Bytes of a digest that tell two versions of a file apart.
const TAG_BYTES: usize = 16;

/// The routes of the page and of its files.
pub(super) fn routes(csrf_token: &str, is_fed: bool) -> Router<AppState> {
    let token = escaped(csrf_token);
    let kind = if is_fed { "dashboard" } else { "mock dashboard" };
    let index = INDEX.replace("{{kind}}", kind);
    let index: Arc<str> = index.replace("{{csrf_token}}", &token).into();
    let page = move |person: Option<Extension<Person>>, way_out: Option<Extension<CanLogOut>>| {
        let index = Arc::clone(&index);
        async move {
            let person = person.map(|Extension(person)| whoever(&person, way_out.is_some()));
            let index = index.replace("{{person}}", &person.unwrap_or_default());
            answer("text/html; charset=utf-8", "no-store", index)
        }
    };
    FILES.iter().fold(Router::new().route("/", get(page)), |router, &(path, kind, text)| {
        let tag = tag(text);
        router.route(path, get(move |asked: HeaderMap| async move { file(kind, text, &tag, &asked) }))
    })
}

/// Who looks at the page, and the way out if there is one.
fn whoever(Person(name): &Person, can_log_out: bool) -> String {
    let name = escaped(name);
    let way_out = if can_log_out { "<button type=\"submit\">Log out</button>" } else { "" };
    let name = format!("<span title=\"{name}\">{name}</span>");
    let form = "<form id=\"person\" class=\"person\" method=\"post\" action=\"logout\">";
    format!("{form}{name}{way_out}</form>")
}

/// A text as part of the page, or of an attribute in double quotes.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;")
}

/// The paths of its files.
#[cfg(test)]
pub(super) fn paths() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(path, ..)| *path)
}

/// A file that browsers keep, and ask for again each time: the dashboard may be a newer one.
fn file(kind: &'static str, text: &'static str, tag: &HeaderValue, asked: &HeaderMap) -> Response {
    let known = asked.get(header::IF_NONE_MATCH).is_some_and(|known| known == tag);
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        answer(kind, "no-cache", text.to_owned())
    };
    response.headers_mut().insert(header::ETAG, tag.clone());
    response
}

fn tag(text: &str) -> HeaderValue {
    let hex: String =
        digest(text.as_bytes()).iter().take(TAG_BYTES).map(|byte| format!("{byte:02x}")).collect();
    // Hex digits are visible ASCII.
    HeaderValue::try_from(format!("\"{hex}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

fn answer(kind: &'static str, caching: &'static str, content: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, caching),
    ];
    (headers, content).into_response()
}
