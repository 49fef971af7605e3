//! What all handlers of HTTP requests share.

use std::sync::Arc;

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::names::Names;
use crate::{Lifetime, Shared};

/// Read buffer of each socket, in bytes. Agents send a few hundred bytes at a time. The library's default of
/// 128 KiB would be most of the memory of a connection.
pub(super) const READ_BUFFER: usize = 8 * 1024;

/// State that all handlers share.
#[derive(Clone)]
pub(super) struct AppState {
    pub(super) shared: Arc<Shared>,
    pub(super) lifetime: Lifetime,
    pub(super) names: Arc<Names>,
}

/// The response `{"error": ..}`.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    error: String,
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "error": self.error }))).into_response()
    }
}

pub(super) fn failure(status: StatusCode, error: &str) -> Failure {
    Failure { status, error: error.to_owned() }
}

/// Whether the request comes from a page of another site. Agents send no `Origin`.
pub(super) fn is_foreign_origin(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return false };
    let host = headers.get(header::HOST).map(HeaderValue::as_bytes).unwrap_or_default();
    let origin = origin.as_bytes();
    !["http://", "https://"].iter().any(|scheme| origin.strip_prefix(scheme.as_bytes()) == Some(host))
}
