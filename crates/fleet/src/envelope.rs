//! The headers of what a gateway passes on.

use async_nats::HeaderMap;

use crate::names::{AT, CONNECTION};

/// Headers that say which connection of the host it is from, and when a gateway read it.
pub(crate) fn headers(connection: u64, at_ms: i64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONNECTION, connection.to_string());
    headers.insert(AT, at_ms.to_string());
    headers
}

/// What [`headers`] has written. None if one of them is missing or cannot be read.
pub(crate) fn read(headers: Option<&HeaderMap>) -> Option<(u64, i64)> {
    let headers = headers?;
    let connection = headers.get(CONNECTION)?.as_str().parse().ok()?;
    let at_ms = headers.get(AT)?.as_str().parse().ok()?;
    Some((connection, at_ms))
}
