//! The HTTP side: routes, and the JSON API.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::faults::Act;
use crate::moment::Moment;
use crate::names::Names;
use crate::web::{AppState, Failure, failure};
use crate::{Faults, Lifetime, Policy, SendError, Shared, agents, browsers, doors, page};

mod commands;
mod far;
mod log;
mod messages;
mod outcome;

/// All routes.
pub(super) fn router(
    shared: Arc<Shared>,
    names: Names,
    lifetime: Lifetime,
    wrap: impl FnOnce(Router) -> Router,
) -> Router {
    let is_fed = shared.is_fed();
    let state = AppState { shared, lifetime, names: Arc::new(names) };
    let mut routes = page::routes(&state.shared.csrf_token, is_fed)
        .route("/browser", get(browsers::connect))
        .route("/api/hosts", get(hosts))
        .route("/api/hosts/{id}", get(host))
        .route("/api/hosts/{id}/messages", get(messages::list))
        .route("/api/hosts/{id}/log", get(log::page))
        .route("/api/hosts/{id}/log.txt", get(log::text))
        .route("/api/hosts/{id}/history", get(history))
        .route("/api/hosts/{id}/command", post(commands::one))
        .route("/api/hosts/{id}/kill", post(commands::kill))
        .route("/api/commands", post(commands::many))
        .fallback(|| async { failure(StatusCode::NOT_FOUND, "no such page") });
    if !is_fed {
        routes = routes.merge(of_sockets());
    }
    wrap(routes.with_state(state.clone()))
        // Behind all routes and the fallback, so that no handler sees a request under another name.
        .layer(from_fn_with_state(state, doors::guard))
}

/// What only a dashboard has that has the sockets of its agents.
fn of_sockets() -> Router<AppState> {
    Router::new()
        .route("/ws", get(agents::connect))
        .route("/api/hosts/{id}/faults", post(act))
        .route("/api/faults", get(faults).post(set_faults))
        .route("/api/violations", get(violations))
        .route("/api/registrations", get(async |state: State<AppState>| Json(state.handle().registrations())))
        .route(
            "/api/policy",
            get(async |state: State<AppState>| Json(state.handle().policy())).post(set_policy),
        )
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

/// The last hour, for plots.
async fn history(State(state): State<AppState>, Path(id): Path<String>) -> Response {
    match state.shared.read(|hub| hub.plot(&id, Moment::now())) {
        Some(plot) => Json(plot).into_response(),
        None => unsent(SendError::UnknownHost).into_response(),
    }
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
