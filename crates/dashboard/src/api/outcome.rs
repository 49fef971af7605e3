//! What became of a command, for one of many hosts.

use std::borrow::Cow;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

use nixfleet_protocol::CommandRejected;

/// What became of a command for one of many hosts.
#[derive(Debug, Default, Serialize)]
pub(super) struct Outcome {
    pub(super) host: String,
    /// Sent: `accepted`, `rejected`, `sent` (no answer in time), or `unclear` (it may have been sent, and may run).
    /// Not sent: `unknown` (no host of this name), `offline`, `not_connected` or `busy` (ask again in a moment).
    pub(super) status: &'static str,
    /// Of the request. None if nothing was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) current_command: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) current_pid: Option<u32>,
    /// The message that showed the acceptance; none if the time was up before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) confirmed_by: Option<Cow<'static, str>>,
}

pub(super) fn judged(
    host: String,
    id: String,
    verdict: Result<Option<&'static str>, CommandRejected>,
) -> Outcome {
    let id = Some(id);
    match verdict {
        Ok(by) => {
            let confirmed_by = by.map(Into::into);
            Outcome { host, status: "accepted", id, confirmed_by, ..Outcome::default() }
        }
        Err(CommandRejected { reason, current_command, current_pid, .. }) => {
            let (status, error) = ("rejected", Some(reason));
            Outcome { host, status, id, error, current_command, current_pid, confirmed_by: None }
        }
    }
}

/// A rejection by the host that was asked, in the agent's own words.
pub(super) fn rejected(id: &str, rejection: &CommandRejected) -> Response {
    let CommandRejected { reason, current_command, current_pid, .. } = rejection;
    let answer = json!({
        "error": reason,
        "current_command": current_command,
        "current_pid": current_pid,
        "id": id,
    });
    (StatusCode::CONFLICT, Json(answer)).into_response()
}
