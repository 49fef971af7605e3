//! Commands for one host and for many, and their verdicts.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::oneshot::Receiver;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use nixfleet_protocol::{CommandRejected, KillCommand};
use nixfleet_sessions::{Evidence, Verdict};

use super::outcome::{Outcome, judged, rejected};
use super::{allowed, far, parse, unsent};
use crate::hub::Hub;
use crate::web::{AppState, Failure, failure};
use crate::{Person, SendError};

/// How long the response to a command request waits for the agent. An agent rejects a command as soon as it
/// knows the process id of the running one, which takes a second at most.
const VERDICT_LIMIT: Duration = Duration::from_secs(2);

/// Most hosts of one request: more than half of the largest fleet that this dashboard is tried with.
const MAX_HOSTS: usize = 5_000;

/// Longest command for many hosts, in bytes. Its copies for all of them wait in memory.
const MAX_COMMAND: usize = 2 * 1024;

/// Who asks, if there is a login.
type Asker = Option<Extension<Person>>;

/// Body of `POST /api/hosts/{id}/command`.
#[derive(Debug, Deserialize)]
struct CommandBody {
    command: String,
    /// If it is missing, one is created.
    #[serde(default)]
    id: Option<String>,
}

/// Body of `POST /api/commands`.
#[derive(Debug, Deserialize)]
struct CommandsBody {
    command: String,
    hosts: Vec<String>,
}

/// Why a command did not reach an agent.
#[derive(Debug, Clone, Copy)]
enum Unreached {
    Offline,
    Unsent(SendError),
}

/// Sends a command to a host that is online.
fn ask(hub: &mut Hub, host: &str, command: &str, id: &str) -> Result<Receiver<Verdict>, Unreached> {
    match hub.is_online(host) {
        None => Err(Unreached::Unsent(SendError::UnknownHost)),
        Some(false) => Err(Unreached::Offline),
        Some(true) => hub.ask(host, command, id).map_err(Unreached::Unsent),
    }
}

/// Until when to wait for verdicts on a command that is sent now.
fn deadline(command: &str) -> Instant {
    // These two are never rejected and never pending, so there is nothing to wait for.
    let limit = if matches!(command, "stop" | "kill") { Duration::ZERO } else { VERDICT_LIMIT };
    Instant::now() + limit
}

/// A rejection, or else what confirmed that the command was accepted. Silence counts as acceptance.
async fn verdict(asked: Receiver<Verdict>, until: Instant) -> Result<Option<&'static str>, CommandRejected> {
    match timeout_at(until, asked).await {
        Ok(Ok(Verdict::Rejected(rejection))) => Err(rejection),
        Ok(Ok(Verdict::Accepted(evidence))) => Ok(Some(Evidence::name(evidence))),
        Ok(Err(_)) | Err(_) => Ok(None),
    }
}

/// Sends a command, and returns whether the agent accepted it (202) or rejected it (409).
pub(super) async fn one(
    State(state): State<AppState>,
    Path(host): Path<String>,
    asker: Asker,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failure> {
    let shared = &state.shared;
    allowed(shared, &headers)?;
    let CommandBody { command, id } = parse(&body)?;
    if command.is_empty() {
        return Err(failure(StatusCode::BAD_REQUEST, "the command is empty"));
    }
    let id = id.unwrap_or_else(|| Uuid::now_v7().to_string());
    if shared.is_fed() {
        return far::one(shared, asker.as_deref(), &host, &command, &id).await;
    }
    let until = deadline(&command);
    let asked = shared.apply(|hub, _| ask(hub, &host, &command, &id)).map_err(|why| match why {
        Unreached::Offline => failure(StatusCode::CONFLICT, "host is offline"),
        Unreached::Unsent(error) => unsent(error),
    })?;
    Ok(match verdict(asked, until).await {
        Ok(by) => {
            let answer = json!({ "status": "accepted", "command": command, "id": id, "confirmed_by": by });
            (StatusCode::ACCEPTED, Json(answer)).into_response()
        }
        Err(rejection) => rejected(&id, &rejection),
    })
}

/// Sends a command to many hosts, and returns what became of it on each, once all have answered or had their time.
pub(super) async fn many(
    State(state): State<AppState>,
    asker: Asker,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Failure> {
    let shared = &state.shared;
    allowed(shared, &headers)?;
    let CommandsBody { command, hosts } = parse(&body)?;
    let bad = |why: &str| Err(failure(StatusCode::BAD_REQUEST, why));
    if command.is_empty() || command.len() > MAX_COMMAND {
        return bad("the command must have 1 to 2048 bytes");
    }
    if hosts.is_empty() || hosts.len() > MAX_HOSTS {
        return bad("name 1 to 5000 hosts; ask several times for more");
    }
    let until = deadline(&command);
    let mut seen = BTreeSet::new();
    let hosts: Vec<String> = hosts.into_iter().filter(|host| seen.insert(host.clone())).collect();
    if shared.is_fed() {
        let results = far::many(shared, asker.as_deref(), hosts, &command).await;
        return Ok(Json(json!({ "results": results })));
    }
    let asked: Vec<_> = shared.apply(|hub, _| {
        let ask_one = |host: String| {
            let id = Uuid::now_v7().to_string();
            let asked = ask(hub, &host, &command, &id);
            (host, id, asked)
        };
        hosts.into_iter().map(ask_one).collect()
    });
    let mut results = Vec::with_capacity(asked.len());
    // All wait at the same time: their verdicts arrive meanwhile, and the deadline is the same.
    for (host, id, asked) in asked {
        results.push(match asked {
            Ok(asked) => judged(host, id, verdict(asked, until).await),
            Err(why) => unreached(host, why),
        });
    }
    Ok(Json(json!({ "results": results })))
}

fn unreached(host: String, why: Unreached) -> Outcome {
    let (status, error) = match why {
        Unreached::Offline => ("offline", "host is offline".to_owned()),
        Unreached::Unsent(error) => {
            let status = match error {
                SendError::UnknownHost => "unknown",
                SendError::QueueFull => "busy",
                SendError::NotConnected | SendError::TooLong | SendError::NothingToResend => "not_connected",
            };
            (status, error.to_string())
        }
    };
    Outcome { host, status, error: Some(error), ..Outcome::default() }
}

/// Sends a `kill_command`.
pub(super) async fn kill(
    State(state): State<AppState>,
    Path(host): Path<String>,
    asker: Asker,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failure> {
    allowed(&state.shared, &headers)?;
    let kill: KillCommand = parse(if body.is_empty() { b"{}" } else { &body })?;
    if state.shared.is_fed() {
        if let Some(failed) = far::kill(&state.shared, asker.as_deref(), &host, &kill).await? {
            return Ok(failed);
        }
    } else {
        state.handle().send_kill(&host, kill.clone()).map_err(unsent)?;
    }
    let answer = json!({ "status": "sent", "signal": kill.signal, "pid": kill.pid });
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}
