//! CONNECT to an HTTP proxy (RFC 9110, 9.3.6).

use std::io;

use data_encoding::BASE64;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use nixfleet_config::{Proxy, ProxyLogin};

use super::super::proxy_failure::ProxyFailure;
use super::super::target::Target;

/// Longest head of an answer, in bytes. Proxies send some hundred; those that ask for a login by Kerberos a few
/// thousand.
const MAX_HEAD: usize = 16 * 1024;

/// Most lines of such a head.
const MAX_HEADERS: usize = 64;

/// Most answers with 1xx before the real one.
const MAX_INTERIM: usize = 8;

/// Asks for a connection to the target. The bytes behind the answer stay in the stream: they belong to the target.
pub(in crate::dial) async fn connect<S: AsyncRead + AsyncWrite + Unpin + ?Sized>(
    stream: &mut S,
    target: &Target,
    proxy: &Proxy,
    login: Option<&ProxyLogin>,
) -> Result<(), ProxyFailure> {
    stream.write_all(request(target, login).as_bytes()).await.map_err(ProxyFailure::Broken)?;
    stream.flush().await.map_err(ProxyFailure::Broken)?;
    let place = login.and(proxy.login.as_ref()).map(|login| login.place());
    for _ in 0..MAX_INTERIM {
        let head = read_head(stream).await?;
        if judge(&head, place.as_deref())? == Answer::Open {
            return Ok(());
        }
    }
    Err(ProxyFailure::Endless)
}

fn request(target: &Target, login: Option<&ProxyLogin>) -> String {
    let host = target.host();
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let place = format!("{host}:{}", target.port());
    let login = login.map(|login| {
        let pair = format!("{}:{}", login.user(), login.password());
        format!("Proxy-Authorization: Basic {}\r\n", BASE64.encode(pair.as_bytes()))
    });
    // Some proxies refuse a request without the name of a program.
    format!(
        "CONNECT {place} HTTP/1.1\r\nHost: {place}\r\nUser-Agent: nixfleet-agent/{}\r\n{}\r\n",
        env!("CARGO_PKG_VERSION"),
        login.unwrap_or_default()
    )
}

/// Reads to the end of the head and not a byte further. A head is some hundred bytes, so a call for each of them costs
/// nothing beside the connection.
async fn read_head<S: AsyncRead + Unpin + ?Sized>(stream: &mut S) -> Result<Vec<u8>, ProxyFailure> {
    let mut head = Vec::new();
    while !(head.ends_with(b"\n\r\n") || head.ends_with(b"\n\n")) {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(err) if err.kind() == io::ErrorKind::UnexpectedEof && head.is_empty() => {
                return Err(ProxyFailure::Closed);
            }
            Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => return Err(ProxyFailure::NoHttp),
            Err(err) => return Err(ProxyFailure::Broken(err)),
        }
        foreign(&head)?;
        if head.len() > MAX_HEAD {
            return Err(ProxyFailure::Endless);
        }
    }
    Ok(head)
}

/// An error as soon as the beginning of an answer cannot be HTTP.
fn foreign(head: &[u8]) -> Result<(), ProxyFailure> {
    const HTTP: &[u8] = b"HTTP/1.";
    /// The kind of a record of TLS with an alert, which is the answer to something else than TLS.
    const ALERT: u8 = 21;
    let shared = head.len().min(HTTP.len());
    match head.first() {
        Some(&ALERT) => Err(ProxyFailure::SpeaksTls),
        _ if head.get(..shared) == HTTP.get(..shared) => Ok(()),
        _ => Err(ProxyFailure::NoHttp),
    }
}

/// What an answer means.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::dial) enum Answer {
    /// What follows is from the target.
    Open,
    /// Another answer follows.
    Interim,
}

/// Judges the head of an answer. `place` is where the login is that was sent.
pub(in crate::dial) fn judge(head: &[u8], place: Option<&str>) -> Result<Answer, ProxyFailure> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => return Err(ProxyFailure::Endless),
        Ok(httparse::Status::Partial) | Err(_) => return Err(ProxyFailure::NoHttp),
    }
    let code = response.code.unwrap_or_default();
    let status = || {
        let reason = ProxyFailure::quote(response.reason.unwrap_or_default());
        format!("{code} {reason}").trim_end().to_owned()
    };
    match code {
        200..=299 => Ok(Answer::Open),
        // 101 would end HTTP, and nobody asked for another protocol.
        100 | 102..=199 => Ok(Answer::Interim),
        403 => Err(ProxyFailure::Forbidden),
        // Of a wrong login, tinyproxy says 401.
        401 | 407 => Err(login_wanted(response.headers, place)),
        502..=504 => Err(ProxyFailure::NoWayOut(status())),
        _ => Err(ProxyFailure::Status(status())),
    }
}

/// What a 407 means.
fn login_wanted(headers: &[httparse::Header<'_>], place: Option<&str>) -> ProxyFailure {
    let offers = headers.iter().filter(|header| header.name.eq_ignore_ascii_case("Proxy-Authenticate"));
    // The first word is a way to log in. Further ways may follow behind a comma, and so may parameters of the first.
    let words: Vec<String> = offers
        .flat_map(|header| header.value.split(|byte| *byte == b','))
        .filter_map(|part| {
            let word = part.trim_ascii().split(|byte| *byte == b' ').next()?;
            Some(String::from_utf8_lossy(word).into_owned())
        })
        .filter(|word| !word.is_empty() && !word.contains('='))
        .collect();
    let has_basic = words.is_empty() || words.iter().any(|word| word.eq_ignore_ascii_case("basic"));
    match place {
        _ if !has_basic => ProxyFailure::LoginKind(ProxyFailure::quote(&words.join(", "))),
        Some(place) => ProxyFailure::LoginRefused(place.to_owned()),
        None => ProxyFailure::LoginMissing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        let said = |head: &str, place: Option<&str>| match judge(head.as_bytes(), place) {
            Ok(answer) => format!("{answer:?}"),
            Err(failure) => format!("{failure:?}"),
        };
        for (head, place, wanted) in [
            ("HTTP/1.1 200 Connection established\r\n\r\n", None, "Open"),
            ("HTTP/1.0 200\r\nContent-Length: 5\r\n\r\n", None, "Open"),
            ("HTTP/1.1 299 x\n\n", None, "Open"),
            ("HTTP/1.1 100 Continue\r\n\r\n", None, "Interim"),
            ("HTTP/1.1 101 Switching\r\n\r\n", None, "Status(\"101 Switching\")"),
            ("HTTP/1.1 403 Forbidden\r\n\r\n", None, "Forbidden"),
            ("HTTP/1.1 407 x\r\n\r\n", None, "LoginMissing"),
            ("HTTP/1.1 407 x\r\nproxy-authenticate: bAsic realm=\"a\"\r\n\r\n", None, "LoginMissing"),
            ("HTTP/1.1 407 x\r\nproxy-authenticate: NTLM\r\n\r\n", None, "LoginKind(\"NTLM\")"),
            (
                "HTTP/1.1 407 x\r\nProxy-Authenticate: Basic realm=\"a, b\"\r\n\r\n",
                Some("/f"),
                "LoginRefused(\"/f\")",
            ),
            (
                "HTTP/1.1 407 x\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM\r\n\r\n",
                Some("/f"),
                "LoginKind(\"Negotiate, NTLM\")",
            ),
            (
                "HTTP/1.1 407 x\r\nProxy-Authenticate: Digest realm=\"a\", nonce=\"b\", Basic realm=\"c\"\r\n\r\n",
                None,
                "LoginMissing",
            ),
            ("HTTP/1.1 401 x\r\n\r\n", Some("/f"), "LoginRefused(\"/f\")"),
            ("HTTP/1.1 502 Bad Gateway\r\n\r\n", None, "NoWayOut(\"502 Bad Gateway\")"),
            ("HTTP/1.1 504 a\tb\r\n\r\n", None, "NoWayOut(\"504 a b\")"),
            ("HTTP/1.1 500 x\r\n\r\n", None, "Status(\"500 x\")"),
            ("HTTP/1.1 302 Found\r\nLocation: http://portal/\r\n\r\n", None, "Status(\"302 Found\")"),
            ("HTTP/1.1 x\r\n\r\n", None, "NoHttp"),
            ("HTTP/1.1 200 OK\r\nno colon\r\n\r\n", None, "NoHttp"),
        ] {
            assert_eq!(said(head, place), wanted, "{head:?}");
        }
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(MAX_HEADERS + 1));
        assert_eq!(said(&many, None), "Endless");
    }

    #[tokio::test]
    async fn the_head_is_read_to_its_end_and_not_a_byte_further() {
        let mut stream = &b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n\x16behind"[..];
        assert!(read_head(&mut stream).await.unwrap().ends_with(b"A: b\r\n\r\n"));
        assert_eq!(stream, b"\x16behind");
        let endless = [b"HTTP/1.1 200 OK\r\nA: ".as_slice(), &[b'x'; 2 * MAX_HEAD]].concat();
        for (bytes, wanted) in [
            (&b""[..], "Closed"),
            (b"HTTP/1.1 200", "NoHttp"),
            (b"SSH-2.0-OpenSSH", "NoHttp"),
            (b"HTTP/2 200", "NoHttp"),
            (b"\x15\x03\x01\x00\x02\x02\x46", "SpeaksTls"),
            (b"\x05\xff", "NoHttp"),
            (&endless, "Endless"),
        ] {
            let mut stream = bytes;
            let failure = read_head(&mut stream).await.unwrap_err();
            assert_eq!(format!("{failure:?}"), wanted, "{bytes:?}");
        }
    }
}
