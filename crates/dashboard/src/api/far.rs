//! Requests to hosts whose sockets another program has. They leave as [`crate::Asked`], and the log says who asked.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::sync::oneshot::Receiver;
use tracing::info;
use uuid::Uuid;

use nixfleet_os::text::one_line;
use nixfleet_protocol::{CommandRequest, DashboardMessage, KillCommand};

use super::outcome::{Outcome, judged, rejected};
use super::unsent;
use crate::web::Failure;
use crate::{Answer, Person, SendError, Shared};

/// Most characters that the log quotes of a command, of a name, and of a reason.
const QUOTED: usize = 200;

/// A request on its way, or why it did not leave.
type Far = Result<Receiver<Answer>, Answer>;

/// Sends a command to a host that is known.
pub(super) async fn one(
    shared: &Shared,
    person: Option<&Person>,
    host: &str,
    command: &str,
    id: &str,
) -> Result<Response, Failure> {
    known(shared, host)?;
    let answer = answered(pass_on(shared, host, command, id)).await;
    note(host, command, person, &answer);
    Ok(response(command, id, answer))
}

/// Sends a command to many hosts. All leave at once, and are answered at the same time.
pub(super) async fn many(
    shared: &Shared,
    person: Option<&Person>,
    hosts: Vec<String>,
    command: &str,
) -> Vec<Outcome> {
    let ask = |host: String| {
        let id = Uuid::now_v7().to_string();
        let far = known(shared, &host).is_ok().then(|| pass_on(shared, &host, command, &id));
        (host, id, far)
    };
    let asked: Vec<_> = hosts.into_iter().map(ask).collect();
    let mut results = Vec::with_capacity(asked.len());
    for (host, id, far) in asked {
        let Some(far) = far else {
            results.push(stranger(host));
            continue;
        };
        let answer = answered(far).await;
        note(&host, command, person, &answer);
        results.push(outcome(host, id, answer));
    }
    results
}

/// Sends a `kill_command` to a host that is known. Returns what to answer if that failed.
pub(super) async fn kill(
    shared: &Shared,
    person: Option<&Person>,
    host: &str,
    kill: &KillCommand,
) -> Result<Option<Response>, Failure> {
    known(shared, host)?;
    let answer = answered(shared.pass_on(host, DashboardMessage::KillCommand(kill.clone()))).await;
    let signal = json!(kill.signal);
    note(host, &format!("signal {}", signal.as_str().unwrap_or_default()), person, &answer);
    match answer {
        Answer::Accepted(_) | Answer::Sent => Ok(None),
        other => Ok(Some(response("kill", "", other))),
    }
}

fn known(shared: &Shared, host: &str) -> Result<(), Failure> {
    let online = shared.read(|hub| hub.is_online(host));
    online.map(|_| ()).ok_or_else(|| unsent(SendError::UnknownHost))
}

fn pass_on(shared: &Shared, host: &str, command: &str, id: &str) -> Far {
    let request = CommandRequest { command: command.to_owned(), id: Some(id.to_owned()) };
    shared.pass_on(host, DashboardMessage::Command(request))
}

async fn answered(far: Far) -> Answer {
    match far {
        Ok(answer) => answer.await.unwrap_or_else(|_| {
            let why = "the dashboard lost sight of the request; look whether the command runs";
            Answer::Unknown(why.to_owned())
        }),
        Err(answer) => answer,
    }
}

/// Who asked what of whom, for the log.
fn note(host: &str, command: &str, person: Option<&Person>, answer: &Answer) {
    let by = person.map(|Person(name)| format!(" by {}", one_line(name, QUOTED))).unwrap_or_default();
    let (word, why) = match answer {
        Answer::Accepted(_) => ("accepted", None),
        Answer::Sent => ("sent", None),
        Answer::Rejected(rejection) => ("rejected", Some(&rejection.reason)),
        Answer::Offline(why) => ("not sent", Some(why)),
        Answer::Refused(why) => ("refused", Some(why)),
        Answer::Unknown(why) => ("unclear", Some(why)),
    };
    let why = why.map(|why| format!(", {}", one_line(why, QUOTED))).unwrap_or_default();
    info!("{}: {} asked{by}: {word}{why}", one_line(host, QUOTED), one_line(command, QUOTED));
}

/// What an answer is in HTTP: nothing but a word of the agent counts as acceptance.
fn response(command: &str, id: &str, answer: Answer) -> Response {
    let failed = |status, why: String| (status, json!({ "error": why, "id": id }));
    let (status, body) = match answer {
        Answer::Accepted(by) => {
            let body = json!({ "status": "accepted", "command": command, "id": id, "confirmed_by": by });
            (StatusCode::ACCEPTED, body)
        }
        Answer::Sent => {
            let body = json!({ "status": "sent", "command": command, "id": id, "confirmed_by": null });
            (StatusCode::ACCEPTED, body)
        }
        Answer::Rejected(rejection) => return rejected(id, &rejection),
        Answer::Offline(why) => failed(StatusCode::CONFLICT, why),
        Answer::Refused(why) => failed(StatusCode::SERVICE_UNAVAILABLE, why),
        // Not 503, after which programs ask again: the command may run.
        Answer::Unknown(why) => {
            (StatusCode::GATEWAY_TIMEOUT, json!({ "status": "unclear", "error": why, "id": id }))
        }
    };
    (status, Json(body)).into_response()
}

fn outcome(host: String, id: String, answer: Answer) -> Outcome {
    let failed = |host, id, status, why| Outcome { host, status, id, error: Some(why), ..Outcome::default() };
    match answer {
        Answer::Accepted(by) => Outcome { confirmed_by: Some(by.into()), ..judged(host, id, Ok(None)) },
        Answer::Sent => Outcome { status: "sent", ..judged(host, id, Ok(None)) },
        Answer::Rejected(rejection) => judged(host, id, Err(rejection)),
        Answer::Offline(why) => failed(host, None, "offline", why),
        Answer::Refused(why) => failed(host, None, "busy", why),
        Answer::Unknown(why) => failed(host, Some(id), "unclear", why),
    }
}

fn stranger(host: String) -> Outcome {
    let error = Some(SendError::UnknownHost.to_string());
    Outcome { host, status: "unknown", error, ..Outcome::default() }
}
