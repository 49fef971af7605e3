//! The request for a WebSocket (RFC 6455, 4.1).

use tokio_tungstenite::tungstenite::http::HeaderValue;

use crate::dial::target::Target;

/// The bytes of the request. Names have the letters that most clients write: some servers and proxies look at them.
pub(super) fn request(target: &Target, key: &str, bearer: Option<&HeaderValue>) -> Vec<u8> {
    let mut request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n",
        target.request_target(),
        target.authority(),
    )
    .into_bytes();
    if let Some(bearer) = bearer {
        request.extend_from_slice(b"Authorization: ");
        request.extend_from_slice(bearer.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_small_and_usual() {
        let target = Target::new("ws://dash.example:8000/ws?a=b".parse().unwrap());
        let bearer = HeaderValue::from_static("Bearer t");
        let text = |bearer| String::from_utf8(request(&target, "a2V5", bearer)).unwrap();
        let without = "GET /ws?a=b HTTP/1.1\r\nHost: dash.example:8000\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: a2V5\r\n";
        assert_eq!(text(None), format!("{without}\r\n"));
        assert_eq!(text(Some(&bearer)), format!("{without}Authorization: Bearer t\r\n\r\n"));
    }
}
