//! What the commands of a host said, page by page or as a file.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, State, rejection::QueryRejection};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use serde::Deserialize;

use nixfleet_protocol::encode;

use super::unsent;
use crate::log::{self, PAGE_BYTES, Written};
use crate::web::{AppState, Failure, failure};
use crate::{SendError, Shared};

/// Entries of a page, if the question has no number: a few screens.
const PAGE: usize = 500;

/// Most entries of a page: they are put together while agents wait, which takes a few milliseconds.
const MAX_PAGE: usize = 5_000;

/// Longest text to search for, in bytes. People search for words.
const MAX_SEARCH: usize = 1024;

/// What is asked for.
#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    before: Option<u64>,
    /// -1 asks for the oldest entries.
    after: Option<i64>,
    limit: Option<usize>,
    search: Option<String>,
    job: Option<String>,
    /// `1`: each line of the file begins with its time.
    timestamps: Option<String>,
}

/// A page: the newest entries, those in front of `before`, or those behind `after`.
pub(super) async fn page(
    State(state): State<AppState>,
    Path(id): Path<String>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(asked) = asked.map_err(|error| failure(StatusCode::BAD_REQUEST, &error.body_text()))?;
    if asked.search.as_ref().is_some_and(|search| search.len() > MAX_SEARCH) {
        return Err(failure(StatusCode::BAD_REQUEST, "the text to search for is longer than 1024 bytes"));
    }
    let query = log::Query {
        before: asked.before,
        after: asked.after.and_then(|after| u64::try_from(after).ok()),
        oldest_first: asked.after.is_some(),
        limit: asked.limit.unwrap_or(PAGE).clamp(1, MAX_PAGE),
        bytes: PAGE_BYTES,
        job: asked.job,
        search: asked.search.filter(|search| !search.is_empty()).map(|search| search.to_lowercase()),
    };
    let page = state.shared.read(|hub| hub.log(&id, |log| encode(&log.page(&query))));
    let page = page.ok_or_else(|| unsent(SendError::UnknownHost))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], page).into_response())
}

/// The whole log as a file, in the order in which it came.
pub(super) async fn text(
    State(state): State<AppState>,
    Path(id): Path<String>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(asked) = asked.map_err(|error| failure(StatusCode::BAD_REQUEST, &error.body_text()))?;
    let timestamps = asked.timestamps.is_some_and(|word| word == "1");
    let mut written = Written::new(asked.job, timestamps);
    let shared = state.shared;
    let begin = next(&shared, &id, &mut written).ok_or_else(|| unsent(SendError::UnknownHost))?;
    // The name of a known host has letters, digits and hyphens only.
    let name = HeaderValue::try_from(format!("attachment; filename=\"{id}.log\""))
        .unwrap_or(HeaderValue::from_static("attachment"));
    // Piece by piece, as fast as the browser reads, so that no more than one piece is in memory.
    let pieces = unfold((shared, id, written, Some(begin)), |(shared, id, mut written, first)| async move {
        let piece = first.or_else(|| next(&shared, &id, &mut written).flatten().map(Some))?;
        piece.map(|piece| (Ok::<_, std::convert::Infallible>(piece), (shared, id, written, None)))
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::CONTENT_DISPOSITION, name),
    ];
    Ok((headers, Body::from_stream(pieces)).into_response())
}

/// The next piece. None if the host is not known, none in it at the end of the file.
fn next(shared: &Arc<Shared>, id: &str, written: &mut Written) -> Option<Option<String>> {
    shared.read(|hub| hub.log(id, |log| log.write(written)))
}
