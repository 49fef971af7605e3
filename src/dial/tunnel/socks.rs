//! SOCKS5 (RFC 1928), and its login with name and password (RFC 1929).

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use nixfleet_config::{Proxy, ProxyLogin};

use super::super::proxy_failure::ProxyFailure;
use super::super::target::Target;

const VERSION: u8 = 5;
/// Methods of a login.
const NO_LOGIN: u8 = 0;
const PASSWORD: u8 = 2;
const NO_METHOD: u8 = 255;
/// The version of the exchange for [`PASSWORD`].
const PASSWORD_VERSION: u8 = 1;
const CONNECT: u8 = 1;
/// Kinds of an address.
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// Asks for a connection to the target: to `address` if there is one, else to its name, which the proxy looks up.
pub(in crate::dial) async fn connect<S: AsyncRead + AsyncWrite + Unpin + ?Sized>(
    stream: &mut S,
    target: &Target,
    address: Option<SocketAddr>,
    proxy: &Proxy,
    login: Option<&ProxyLogin>,
) -> Result<(), ProxyFailure> {
    let methods: &[u8] = if login.is_some() { &[NO_LOGIN, PASSWORD] } else { &[NO_LOGIN] };
    let count = u8::try_from(methods.len()).unwrap_or(u8::MAX);
    send(stream, &[&[VERSION, count], methods].concat()).await?;
    let [version, method] = receive(stream).await?;
    match version {
        VERSION => {}
        b'H' => return Err(ProxyFailure::SpeaksHttp),
        _ => return Err(ProxyFailure::NoSocks),
    }
    let place = || proxy.login.as_ref().map(|login| login.place()).unwrap_or_default();
    match (method, login) {
        (NO_LOGIN, _) => {}
        (PASSWORD, Some(login)) => {
            send(stream, &password(login)?).await?;
            let [_, status] = receive(stream).await?;
            if status != 0 {
                return Err(ProxyFailure::LoginRefused(place()));
            }
        }
        (NO_METHOD, None) => return Err(ProxyFailure::LoginMissing),
        (NO_METHOD, Some(_)) => return Err(ProxyFailure::LoginKind("another way".to_owned())),
        _ => return Err(ProxyFailure::NoSocks),
    }
    send(stream, &request(target, address)?).await?;
    let [version, reply, _, kind] = receive(stream).await?;
    if version != VERSION {
        return Err(ProxyFailure::NoSocks);
    }
    judge(reply)?;
    // The address from which the proxy connects, which nobody needs. What is behind it belongs to the target.
    let length = match kind {
        IPV4 => 4,
        IPV6 => 16,
        NAME => usize::from(receive::<1, S>(stream).await?[0]),
        _ => return Err(ProxyFailure::NoSocks),
    };
    for _ in 0..length + size_of::<u16>() {
        receive::<1, S>(stream).await?;
    }
    Ok(())
}

async fn send<S: AsyncWrite + Unpin + ?Sized>(stream: &mut S, bytes: &[u8]) -> Result<(), ProxyFailure> {
    stream.write_all(bytes).await.map_err(ProxyFailure::Broken)?;
    stream.flush().await.map_err(ProxyFailure::Broken)
}

async fn receive<const N: usize, S: AsyncRead + Unpin + ?Sized>(
    stream: &mut S,
) -> Result<[u8; N], ProxyFailure> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await.map_err(|err| match err.kind() {
        io::ErrorKind::UnexpectedEof => ProxyFailure::Closed,
        _ => ProxyFailure::Broken(err),
    })?;
    Ok(bytes)
}

fn password(login: &ProxyLogin) -> Result<Vec<u8>, ProxyFailure> {
    let mut message = vec![PASSWORD_VERSION];
    for part in [login.user(), login.password()] {
        message.push(u8::try_from(part.len()).map_err(|_| ProxyFailure::LoginTooLong)?);
        message.extend(part.as_bytes());
    }
    Ok(message)
}

fn request(target: &Target, address: Option<SocketAddr>) -> Result<Vec<u8>, ProxyFailure> {
    let mut message = vec![VERSION, CONNECT, 0];
    match address.map(|address| address.ip()).or_else(|| target.host().parse().ok()) {
        Some(IpAddr::V4(address)) => {
            message.push(IPV4);
            message.extend(address.octets());
        }
        Some(IpAddr::V6(address)) => {
            message.push(IPV6);
            message.extend(address.octets());
        }
        None => {
            message.push(NAME);
            message.push(u8::try_from(target.host().len()).map_err(|_| ProxyFailure::NameTooLong)?);
            message.extend(target.host().as_bytes());
        }
    }
    message.extend(target.port().to_be_bytes());
    Ok(message)
}

/// Judges the code of a reply (RFC 1928, section 6).
pub(in crate::dial) fn judge(reply: u8) -> Result<(), ProxyFailure> {
    let why = match reply {
        0 => return Ok(()),
        2 => return Err(ProxyFailure::Forbidden),
        1 => "it failed there",
        3 => "its network is unreachable from there",
        4 => "it is unreachable from there",
        5 => "it refused the connection",
        6 => "it is too far away",
        7 => "the proxy does not connect for others",
        8 => "the proxy does not know this kind of address",
        other => return Err(ProxyFailure::NoWayOut(format!("error {other} of SOCKS"))),
    };
    Err(ProxyFailure::NoWayOut(why.to_owned()))
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;
    use url::Url;

    use nixfleet_config::{LoginSource, ProxyScheme};

    use super::*;

    /// What a proxy with these answers gets to read, how it ended, and the first byte behind the answers.
    async fn exchange(
        answers: &[u8],
        login: Option<(&str, &str)>,
        url: &str,
    ) -> (Vec<u8>, String, Option<u8>) {
        let (mut here, mut there) = duplex(1024);
        there.write_all(answers).await.unwrap();
        there.write_all(b"!").await.unwrap();
        let login = login.map(|(user, password)| ProxyLogin::new(user, password));
        let source = login.clone().map(|login| LoginSource::Address { said_by: "x".to_owned(), login });
        let (host, said_by) = ("proxy".to_owned(), "all_proxy".to_owned());
        let proxy = Proxy { scheme: ProxyScheme::Socks5h, host, port: 1080, said_by, login: source };
        let target = Target::new(Url::parse(url).unwrap());
        let done = connect(&mut here, &target, None, &proxy, login.as_ref()).await;
        let behind = if done.is_ok() { here.read_u8().await.ok() } else { None };
        drop(here);
        let mut sent = Vec::new();
        there.read_to_end(&mut sent).await.unwrap();
        (sent, format!("{done:?}"), behind)
    }

    #[tokio::test]
    async fn the_exchange_is_that_of_the_standard_and_ends_with_its_last_byte() {
        const OPEN: &[u8] = &[5, 0, 0, 1, 10, 0, 0, 1, 1, 2];
        let with = |method: &[u8], rest: &[u8]| [method, rest].concat();
        let (sent, done, behind) = exchange(&with(&[5, 0], OPEN), None, "wss://dash.example/ws").await;
        assert_eq!(sent, with(&[5, 1, 0], b"\x05\x01\x00\x03\x0cdash.example\x01\xbb"));
        assert_eq!((done.as_str(), behind), ("Ok(())", Some(b'!')));
        let (sent, done, behind) = exchange(
            &with(&[5, 2, 1, 0], &[5, 0, 0, 3, 2, b'a', b'b', 1, 2]),
            Some(("me", "pw")),
            "ws://192.0.2.1:80/ws",
        )
        .await;
        assert_eq!(sent, with(b"\x05\x02\x00\x02\x01\x02me\x02pw", &[5, 1, 0, 1, 192, 0, 2, 1, 0, 80]));
        assert_eq!((done.as_str(), behind), ("Ok(())", Some(b'!')));
        let (sent, done, behind) =
            exchange(&with(&[5, 0, 5, 0, 0, 4], &[0; 18]), None, "wss://[2001:db8::1]/ws").await;
        assert!(sent.starts_with(&[5, 1, 0, 5, 1, 0, 4, 0x20, 0x01]), "{sent:?}");
        assert_eq!((done.as_str(), behind), ("Ok(())", Some(b'!')));
        for (answers, login, wanted) in [
            (&b"HTTP/1.1 400"[..], None, "SpeaksHttp"),
            (b"SSH-", None, "NoSocks"),
            (&[5, 255], None, "LoginMissing"),
            (&[5, 255], Some(("me", "pw")), "LoginKind(\"another way\")"),
            (&[5, 2], None, "NoSocks"),
            (&[5, 1], None, "NoSocks"),
            (&[5, 2, 1, 1], Some(("me", "pw")), "LoginRefused(\"x\")"),
            (&[5, 0, 5, 2, 0, 1], None, "Forbidden"),
            (&[5, 0, 5, 5, 0, 1], None, "NoWayOut(\"it refused the connection\")"),
            (&[5, 0, 5, 9, 0, 1], None, "NoWayOut(\"error 9 of SOCKS\")"),
            (&[5, 0, 4, 0, 0, 1], None, "NoSocks"),
            (&[5, 0, 5, 0, 0, 7], None, "NoSocks"),
        ] {
            let (_, done, _) = exchange(answers, login, "wss://dash.example/ws").await;
            assert_eq!(done, format!("Err({wanted})"), "{answers:?}");
        }
        let long = "x".repeat(256);
        let (_, done, _) = exchange(&[5, 2], Some(("me", &long)), "wss://dash.example/ws").await;
        assert_eq!(done, "Err(LoginTooLong)");
    }
}
