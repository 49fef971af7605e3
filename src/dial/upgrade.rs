//! The HTTP request that becomes a WebSocket, and its answer.

use jiff::Timestamp;
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderValue, StatusCode, header};

use super::failure::ConnectError;
use super::redirect::Redirect;
use super::retry_after::retry_after;
use super::target::Target;
use super::{Socket, Stream, limits};

/// Asks for a WebSocket. `headers` gets those of the answer, also of a refusal.
pub(super) async fn upgrade(
    stream: Stream,
    target: &Target,
    bearer: Option<&HeaderValue>,
    headers: &mut Option<HeaderMap>,
) -> Result<Socket, ConnectError> {
    let request = target.url().as_str().into_client_request();
    let mut request = request.map_err(|err| ConnectError::Upgrade(Box::new(err)))?;
    if let Some(bearer) = bearer {
        request.headers_mut().insert(header::AUTHORIZATION, bearer.clone());
    }
    match client_async_with_config(request, stream, Some(limits())).await {
        Ok((socket, response)) => {
            *headers = Some(response.into_parts().0.headers);
            Ok(socket)
        }
        Err(WsError::Http(response)) => {
            let refusal = refusal(response.status(), response.headers());
            *headers = Some(response.into_parts().0.headers);
            Err(refusal)
        }
        Err(err) => Err(ConnectError::Upgrade(Box::new(err))),
    }
}

fn refusal(status: StatusCode, headers: &HeaderMap) -> ConnectError {
    match status {
        StatusCode::MOVED_PERMANENTLY
        | StatusCode::FOUND
        | StatusCode::TEMPORARY_REDIRECT
        | StatusCode::PERMANENT_REDIRECT => {
            let location = headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
            ConnectError::Redirected(Redirect {
                status: status.as_u16(),
                location: location.map(str::to_owned),
            })
        }
        StatusCode::UNAUTHORIZED => ConnectError::WrongToken,
        StatusCode::FORBIDDEN => ConnectError::Forbidden,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            ConnectError::Busy(status, retry_after(headers, Timestamp::now()))
        }
        other => ConnectError::NoWebSocket(other),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::dial::Cause;

    #[test]
    fn refusals_are_told_apart() {
        let none = HeaderMap::new();
        assert!(matches!(refusal(StatusCode::UNAUTHORIZED, &none), ConnectError::WrongToken));
        assert!(matches!(refusal(StatusCode::FORBIDDEN, &none), ConnectError::Forbidden));
        assert!(matches!(refusal(StatusCode::NOT_FOUND, &none), ConnectError::NoWebSocket(_)));
        assert_eq!(refusal(StatusCode::UNAUTHORIZED, &none).cause(), Cause::Refused);
        let mut headers = HeaderMap::new();
        for (text, seconds) in
            [("7", Some(7)), ("999999", Some(600)), ("Wed, 21 Oct 2015 07:28:00 GMT", Some(0))]
        {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(text));
            let error = refusal(StatusCode::SERVICE_UNAVAILABLE, &headers);
            assert_eq!(error.retry_after(), seconds.map(Duration::from_secs), "{text}");
            assert_eq!(error.cause(), Cause::Broken);
        }
    }
}
