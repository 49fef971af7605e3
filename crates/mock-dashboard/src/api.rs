//! The HTTP side: routes, the JSON API, and the page.

use std::sync::Arc;
use std::time::Duration;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode, header},
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::time::timeout;
use uuid::Uuid;

use nixfleet_protocol::{AgentMessage, KillCommand};

use crate::asks::Verdict;
use crate::faults::Act;
use crate::names::Names;
use crate::view::HostStatus;
use crate::web::{AppState, Failure, failure};
use crate::wire::Peer;
use crate::{Faults, Lifetime, Policy, SendError, Shared, agents, browsers, doors};

/// How long the response to a command request waits for the agent. An agent rejects a command as soon as it
/// knows the process id of the running one, which takes a second at most.
const VERDICT_LIMIT: Duration = Duration::from_secs(2);

/// Most recorded messages in one response.
const MAX_PAGE: usize = 5_000;

/// Content security policy: only files of this server and no frames, because buttons of the page run
/// commands.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                           connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const INDEX: &str = include_str!("page/index.html");
const STYLE: &str = include_str!("page/page.css");
const ICON: &str = include_str!("page/icon.svg");
const SCRIPTS: [(&str, &str); 4] = [
    ("/page.js", include_str!("page/page.js")),
    ("/text.js", include_str!("page/text.js")),
    ("/facts.js", include_str!("page/facts.js")),
    ("/parts.js", include_str!("page/parts.js")),
];

type App = axum::extract::connect_info::IntoMakeServiceWithConnectInfo<Router, Peer>;

/// All routes.
pub(super) fn router(shared: Arc<Shared>, names: Names, lifetime: Lifetime) -> App {
    let state = AppState { shared, lifetime, names: Arc::new(names) };
    let scripts = SCRIPTS.into_iter().fold(Router::new(), |router, (path, text)| {
        router
            .route(path, get(move || async move { file("text/javascript; charset=utf-8", text.to_owned()) }))
    });
    scripts
        .route("/", get(page))
        .route("/page.css", get(|| async { file("text/css; charset=utf-8", STYLE.to_owned()) }))
        .route("/icon.svg", get(|| async { file("image/svg+xml", ICON.to_owned()) }))
        .route("/ws", get(agents::connect))
        .route("/browser", get(browsers::connect))
        .route("/api/hosts", get(hosts))
        .route("/api/hosts/{id}", get(host))
        .route("/api/hosts/{id}/messages", get(messages))
        .route("/api/hosts/{id}/command", post(command))
        .route("/api/hosts/{id}/kill", post(kill))
        .route("/api/hosts/{id}/faults", post(act))
        .route("/api/faults", get(faults).post(set_faults))
        .route("/api/violations", get(violations))
        .route("/api/registrations", get(async |state: State<AppState>| Json(state.handle().registrations())))
        .route(
            "/api/policy",
            get(async |state: State<AppState>| Json(state.handle().policy())).post(set_policy),
        )
        .fallback(|| async { failure(StatusCode::NOT_FOUND, "no such page") })
        // Behind all routes and the fallback, so that no handler sees a request under another name.
        .layer(from_fn_with_state(state.clone(), doors::guard))
        .with_state(state)
        .into_make_service_with_connect_info::<Peer>()
}

async fn page(State(state): State<AppState>) -> Response {
    // The token is visible ASCII. These three characters could end the attribute.
    let token = state.shared.csrf_token.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;");
    file("text/html; charset=utf-8", INDEX.replace("{{csrf_token}}", &token))
}

fn file(kind: &'static str, content: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, PAGE_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, content).into_response()
}

async fn hosts(State(state): State<AppState>) -> Json<Value> {
    Json(json!({ "hosts": state.shared.read(|hub| hub.views()) }))
}

async fn host(State(state): State<AppState>, Path(id): Path<String>) -> Response {
    match state.shared.read(|hub| hub.view(&id)) {
        Some(view) => Json(view).into_response(),
        None => unsent(SendError::UnknownHost).into_response(),
    }
}

async fn violations(State(state): State<AppState>) -> Json<Value> {
    let mut answer = json!(state.handle().violations());
    answer["strict"] = state.shared.is_strict().into();
    Json(answer)
}

/// Which recorded messages to show.
#[derive(Debug, Deserialize)]
struct MessageQuery {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    since: u64,
}

async fn messages(
    State(state): State<AppState>,
    Path(id): Path<String>,
    query: Result<Query<MessageQuery>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let query = match query {
        Ok(Query(query)) => query,
        Err(rejection) => return failure(StatusCode::BAD_REQUEST, &rejection.body_text()).into_response(),
    };
    let wanted =
        |message: &AgentMessage| query.kind.as_deref().is_none_or(|kind| kind == message_type(message));
    let answer = state.shared.read(|hub| {
        let (recorded, mut next) = hub.messages(&id, query.since)?;
        let mut page = Vec::new();
        for entry in recorded {
            let message = entry.message();
            if !wanted(&message) {
                continue;
            }
            if page.len() == MAX_PAGE {
                next = entry.index;
                break;
            }
            let mut shown = json!({
                "index": entry.index,
                "connection": entry.connection,
                "at_ms": entry.at_ms,
            });
            // This adds "type" and "payload" as in the message.
            if let (Value::Object(shown), Ok(Value::Object(message))) =
                (&mut shown, serde_json::to_value(&*message))
            {
                shown.extend(message);
            }
            page.push(shown);
        }
        let dropped = hub.view(&id).map_or(0, |view| view.dropped_records);
        Some(json!({ "messages": page, "next": next, "dropped": dropped }))
    });
    match answer {
        Some(answer) => Json(answer).into_response(),
        None => unsent(SendError::UnknownHost).into_response(),
    }
}

/// The `type` of a message.
fn message_type(message: &AgentMessage) -> &'static str {
    match message {
        AgentMessage::Register(_) => "register",
        AgentMessage::Heartbeat(_) => "heartbeat",
        AgentMessage::Output(_) => "output",
        AgentMessage::OutputBatch(_) => "output_batch",
        AgentMessage::Status(_) => "status",
        AgentMessage::CommandRejected(_) => "command_rejected",
        AgentMessage::TestProgress(_) => "test_progress",
        AgentMessage::OperationProgress(_) => "operation_progress",
        AgentMessage::Prewarm(_) => "prewarm",
    }
}

/// Body of `POST /api/hosts/{id}/command`.
#[derive(Debug, Deserialize)]
struct CommandBody {
    command: String,
    /// If it is missing, one is created.
    #[serde(default)]
    id: Option<String>,
}

/// Sends a command, and returns whether the agent accepted it (202) or rejected it (409).
async fn command(
    State(state): State<AppState>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failure> {
    let shared = &state.shared;
    allowed(shared, &headers)?;
    let body: CommandBody = parse(&body)?;
    if body.command.is_empty() {
        return Err(failure(StatusCode::BAD_REQUEST, "the command is empty"));
    }
    let host = shared.read(|hub| hub.view(&id)).ok_or_else(|| unsent(SendError::UnknownHost))?;
    if host.status == HostStatus::Offline {
        return Err(failure(StatusCode::CONFLICT, "host is offline"));
    }
    let command_id = body.id.unwrap_or_else(|| Uuid::now_v7().to_string());
    let verdict = shared.apply(|hub, _| hub.ask(&id, &body.command, &command_id)).map_err(unsent)?;
    // These two are never rejected and never pending, so there is nothing to wait for.
    let limit = if matches!(body.command.as_str(), "stop" | "kill") { Duration::ZERO } else { VERDICT_LIMIT };
    let confirmed_by = match timeout(limit, verdict).await {
        Ok(Ok(Verdict::Rejected(rejection))) => {
            let answer = json!({
                "error": rejection.reason,
                "current_command": rejection.current_command,
                "current_pid": rejection.current_pid,
                "id": command_id,
            });
            return Ok((StatusCode::CONFLICT, Json(answer)).into_response());
        }
        Ok(Ok(Verdict::Accepted(evidence))) => Some(evidence.name()),
        Ok(Err(_)) | Err(_) => None,
    };
    let answer = json!({
        "status": "accepted",
        "command": body.command,
        "id": command_id,
        "confirmed_by": confirmed_by,
    });
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

async fn kill(
    State(state): State<AppState>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failure> {
    allowed(&state.shared, &headers)?;
    let kill: KillCommand = parse(if body.is_empty() { b"{}" } else { &body })?;
    state.handle().send_kill(&id, kill.clone()).map_err(unsent)?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "status": "sent", "signal": kill.signal, "pid": kill.pid })))
        .into_response())
}

async fn faults(State(state): State<AppState>) -> Json<Faults> {
    Json(state.handle().faults())
}

/// Changes the faults that the body contains.
async fn set_faults(
    State(state): State<AppState>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Faults>, Failure> {
    allowed(&state.shared, &headers)?;
    let faults: Faults = changed(&state.handle().faults(), &body)?;
    if faults.refuse_auth.as_ref().is_some_and(|refusal| !(400..600).contains(&refusal.status)) {
        return Err(failure(StatusCode::BAD_REQUEST, "refuse_auth.status must be 400 to 599"));
    }
    state.handle().set_faults(faults.clone());
    Ok(Json(faults))
}

/// Changes the fields of the policy that the body contains.
async fn set_policy(
    State(state): State<AppState>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Policy>, Failure> {
    allowed(&state.shared, &headers)?;
    let policy: Policy = changed(&state.handle().policy(), &body)?;
    state.handle().set_policy(policy.clone());
    Ok(Json(policy))
}

/// A value with the changes from a body. Fields that the body does not contain keep their values.
fn changed<T: Serialize + DeserializeOwned>(now: &T, body: &[u8]) -> Result<T, Failure> {
    let changes: serde_json::Map<String, Value> = parse(body)?;
    let Ok(Value::Object(mut fields)) = serde_json::to_value(now) else {
        return Err(failure(StatusCode::INTERNAL_SERVER_ERROR, "not an object"));
    };
    fields.extend(changes);
    serde_json::from_value(Value::Object(fields)).map_err(|error| bad_json(&error))
}

/// A single fault for one host.
async fn act(
    State(state): State<AppState>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failure> {
    allowed(&state.shared, &headers)?;
    let handle = state.handle();
    match parse(&body)? {
        Act::Drop {} => handle.drop_connection(&id),
        Act::Close { code, reason } => handle.close(&id, code, &reason),
        Act::SendText { texts } => handle.send_many(&id, texts),
        Act::SendBinary { bytes } => handle.send_binary(&id, bytes),
        Act::Resend {} => handle.resend_command(&id),
    }
    .map_err(unsent)?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "status": "done" }))).into_response())
}

impl AppState {
    fn handle(&self) -> crate::Handle {
        crate::Handle::new(Arc::clone(&self.shared))
    }
}

fn allowed(shared: &Shared, headers: &HeaderMap) -> Result<(), Failure> {
    match headers.get("x-csrf-token") {
        Some(token) if shared.csrf_matches(token.as_bytes()) => Ok(()),
        Some(_) => Err(failure(StatusCode::FORBIDDEN, "wrong X-CSRF-Token")),
        None => Err(failure(StatusCode::FORBIDDEN, "missing X-CSRF-Token")),
    }
}

/// Reads a JSON body with any content type, because curl sends another one by default.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| bad_json(&error))
}

fn bad_json(error: &serde_json::Error) -> Failure {
    failure(StatusCode::BAD_REQUEST, &format!("bad JSON: {error}"))
}

fn unsent(error: SendError) -> Failure {
    let status = match error {
        SendError::UnknownHost => StatusCode::NOT_FOUND,
        SendError::NotConnected | SendError::NothingToResend => StatusCode::CONFLICT,
        SendError::QueueFull => StatusCode::SERVICE_UNAVAILABLE,
        SendError::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
    };
    failure(status, &error.to_string())
}
