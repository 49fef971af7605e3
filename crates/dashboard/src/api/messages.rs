//! Recorded messages, as they came.

use axum::Json;
use axum::extract::{Path, Query, State, rejection::QueryRejection};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use nixfleet_protocol::AgentMessage;

use super::unsent;
use crate::SendError;
use crate::web::{AppState, failure};

/// Most recorded messages in one response.
const MAX_PAGE: usize = 5_000;

/// Which recorded messages to show.
#[derive(Debug, Deserialize)]
pub(super) struct MessageQuery {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    since: u64,
}

pub(super) async fn list(
    State(state): State<AppState>,
    Path(id): Path<String>,
    query: Result<Query<MessageQuery>, QueryRejection>,
) -> Response {
    let query = match query {
        Ok(Query(query)) => query,
        Err(rejection) => return failure(StatusCode::BAD_REQUEST, &rejection.body_text()).into_response(),
    };
    let wanted = |message: &AgentMessage| query.kind.as_deref().is_none_or(|kind| kind == message.kind());
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
