use std::mem::discriminant;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::StreamExt;
use proptest::prelude::*;
use tokio::io::{DuplexStream, ReadBuf};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::*;

/// A ping from a dashboard that does not wait.
const PING: &[u8] = b"\x89\x05early";

const URL: &str = "ws://dash.example/ws";

/// The key and the answer to it that RFC 6455 has as an example.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Answers a request with `answer` in pieces of this size; `{accept}` in it becomes what belongs to the request. Returns
/// what the agent makes of it. `open`: the connection stays open.
async fn answered(answer: &[u8], piece: usize, open: bool) -> Result<Socket, NoSocket> {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let answer = answer.to_vec();
    let server = tokio::spawn(async move {
        let mut theirs = theirs;
        let accept = accept_of(&mut theirs).await;
        let at = answer.windows(8).position(|word| word == b"{accept}");
        let answer = match at {
            Some(at) => [&answer[..at], accept.as_bytes(), &answer[at + 8..]].concat(),
            None => answer,
        };
        for piece in answer.chunks(piece) {
            // A refusal may come before all of it is written.
            if theirs.write_all(piece).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        open.then_some(theirs)
    });
    let target = Target::new(URL.parse().unwrap());
    let mut headers = None;
    let result = upgrade(Box::new(ours), &target, None, &mut headers).await;
    drop(server.await.unwrap());
    result
}

/// Reads a request. Returns the right `Sec-WebSocket-Accept`.
async fn accept_of(stream: &mut DuplexStream) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await.unwrap());
    }
    let request = String::from_utf8(request).unwrap();
    let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
    derive_accept_key(key.as_bytes())
}

#[tokio::test]
async fn right_answers_are_accepted_however_they_are_written() {
    let many: String = (0..90).map(|number| format!("X-{number}: y\r\n")).collect();
    let end = "Sec-WebSocket-Accept: {accept}\r\n\r\n";
    for head in [
        format!("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{end}"),
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n{end}"
        ),
        format!("HTTP/1.1 101 OK\r\nupgrade: WebSocket\r\nCONNECTION: UPGRADE ,keep-alive\r\n{end}"),
        format!(
            "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: keep-alive\r\nConnection: upgrade\r\n{end}"
        ),
        format!("HTTP/1.1 101\r\nUpgrade:websocket\r\nConnection:\t Upgrade \t\r\n{end}"),
        format!("HTTP/1.1 101 \r\nUpgrade: h2c, websocket\r\nConnection : Upgrade\r\n{end}"),
        format!("HTTP/1.1 101 a\r\nUpgrade: websocket\r\nConnection: keep-alive,\r\n Upgrade\r\n{end}"),
        format!("HTTP/1.1 101 a\nUpgrade: websocket\nConnection: Upgrade\n{}", end.replace('\r', "")),
        format!("HTTP/1.1 101 a\r\nno header\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{end}"),
        format!("HTTP/1.1 101 a\r\n{many}Upgrade: websocket\r\nConnection: Upgrade\r\n{end}"),
        format!(
            "HTTP/1.1 101 a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Extensions:\r\n\
             Sec-WebSocket-Protocol: \r\nServer: caf\u{e9}\r\n{end}"
        ),
        format!(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
             HTTP/1.1 101 a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{end}"
        ),
    ] {
        // The first frame comes in one packet with the end of the head, or behind it.
        for piece in [1, 7, usize::MAX] {
            let answer = [head.as_bytes(), PING].concat();
            let mut socket =
                answered(&answer, piece, true).await.unwrap_or_else(|err| panic!("{head}: {err:?}"));
            let message = socket.next().await.unwrap().unwrap();
            assert_eq!(message, Message::Ping("early".into()), "{head}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn wrong_answers_have_words_of_their_own() {
    let right = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n";
    let many = "a: b\r\n".repeat(MAX_HEADERS + 1);
    let long = format!("a: {}\r\n", "x".repeat(MAX_HEAD));
    for (answer, words) in [
        ("".to_owned(), "closed without an answer"),
        ("HTTP/1.1 101 Swi".to_owned(), "closed in the middle of the answer"),
        ("HTTP/1.1 103 a\r\n\r\n".to_owned(), "closed in the middle of the answer"),
        ("SSH-2.0-OpenSSH_9.2\r\n".to_owned(), "does not speak HTTP but began with \"SSH-2.0-OpenSSH_9.2\";"),
        ("220 mail.example ESMTP\r\n".to_owned(), "began with \"220 mail.example ESMTP\""),
        (
            "\u{0}\u{0}\u{6}\u{4}\u{0}\u{0}\u{0}\u{0}\u{0}".to_owned(),
            "began with the bytes 00 00 06 04 00 00 00 00;",
        ),
        ("\u{15}\u{3}\u{1}\u{0}\u{2}\u{2}F".to_owned(), "speaks TLS where HTTP was expected; "),
        ("HTTP/2.0 101 a\r\n\r\n".to_owned(), "not valid HTTP/1.1: invalid HTTP version;"),
        ("HTTP/1.1 099 a\r\n\r\n".to_owned(), "not valid HTTP/1.1: its status"),
        (format!("HTTP/1.0 101 a\r\n{right}\r\n"), "HTTP/1.0, which has no WebSockets"),
        (format!("HTTP/1.1 101 a\r\n{many}\r\n"), "more than 100 headers"),
        (format!("HTTP/1.1 101 a\r\n{long}\r\n"), "more than 16 KiB"),
        ("HTTP/1.1 103 a\r\n\r\n".repeat(MAX_INTERIM + 1), "more than 8 interim answers"),
        ("HTTP/1.1 101 a\r\n\r\n".to_owned(), "lacks the header `Upgrade: websocket`"),
        (
            format!("HTTP/1.1 101 a\r\n{}\r\n", right.replace("websocket", "h2c")),
            "lacks the header `Upgrade: websocket`",
        ),
        (
            format!("HTTP/1.1 101 a\r\n{}\r\n", right.replace(": Upgrade", ": keep-alive, xUpgrade")),
            "lacks the header `Connection: Upgrade`",
        ),
        (
            format!("HTTP/1.1 101 a\r\n{}\r\n", right.replace("{accept}", ACCEPT)),
            "wrong Sec-WebSocket-Accept",
        ),
        (format!("HTTP/1.1 101 a\r\n{}\r\n", right.replace("{accept}", "")), "wrong Sec-WebSocket-Accept"),
        (
            format!("HTTP/1.1 101 a\r\n{right}Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"),
            "wrong Sec-WebSocket-Accept",
        ),
        (
            "HTTP/1.1 101 a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n".to_owned(),
            "lacks the header Sec-WebSocket-Accept, so something in between answered for the dashboard",
        ),
        (
            format!("HTTP/1.1 101 a\r\n{right}Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"),
            "the WebSocket extension \"permessage-deflate\"",
        ),
        (
            format!("HTTP/1.1 101 a\r\n{right}Sec-WebSocket-Protocol: mqtt\r\n\r\n"),
            "the WebSocket subprotocol \"mqtt\"",
        ),
    ] {
        for piece in [1, usize::MAX] {
            let result = answered(answer.as_bytes(), piece, false).await.map(drop);
            let Err(NoSocket::Failed(err)) = result else { panic!("{answer:?}: {result:?}") };
            let text = err.to_string();
            // A protocol is recognized by its first byte, before more of it may be there.
            let is_quoted = matches!(err, UpgradeError::NoHttp(_)) && piece == 1;
            assert!(is_quoted || text.contains(words), "{answer:?}: {text}");
            assert!(text.contains("; "), "what to do is missing: {text}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn other_answers_say_who_they_are_from_and_what_they_are() {
    let head = "HTTP/1.1 502 Bad Gateway\r\nServer: nginx/1.22\u{1}\r\nVia: 1.1 a, 1.1 b\r\nRetry-After: 7\r\n\
                Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: Text/HTML; charset=x\r\n";
    let page = "<html><head><title>Sorry, \u{1b}[1mno\n dashboard</title></head>";
    // The end of the page never comes, or the connection ends before it.
    for (length, open) in [("", true), ("", false), ("Content-Length: 9999\r\n", true)] {
        let head = head.replace('\u{1}', "");
        let result = answered(format!("{head}{length}\r\n{page}").as_bytes(), 5, open).await.map(drop);
        let Err(NoSocket::Answered(answer)) = result else { panic!("{result:?}") };
        assert!(answer.is_page());
        let wanted = Answer {
            status: StatusCode::BAD_GATEWAY,
            location: None,
            retry_after: Some(Duration::from_secs(7)),
            skew: answer.skew,
            server: Some("nginx/1.22".to_owned()),
            via: Some("1.1 a, 1.1 b".to_owned()),
            content_type: Some("text/html".to_owned()),
            page: Some("Sorry, no dashboard".to_owned()),
        };
        assert_eq!(*answer, wanted);
        assert!(answer.skew.unwrap().to_string().ends_with("the dashboard's 1994-11-06 08:49 UTC"));
    }
    // Some servers answer so when they are spoken to without TLS.
    let old = "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
    let Err(NoSocket::Answered(answer)) = answered(old.as_bytes(), usize::MAX, false).await else { panic!() };
    assert_eq!(answer.page.as_deref(), Some("Client sent an HTTP request to an HTTPS server."));
    let moved = "HTTP/1.1 308 x\r\nLocation: https://dash.example/ws\r\n\r\n";
    let Err(NoSocket::Answered(answer)) = answered(moved.as_bytes(), usize::MAX, true).await else {
        panic!()
    };
    assert_eq!(answer.location.as_deref(), Some("https://dash.example/ws"));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_comes_is_not_waited_for_longer_than_a_second() {
    let begun = tokio::time::Instant::now();
    let result = answered(b"HTTP/1.1 404 x\r\nContent-Length: 9\r\n\r\n", usize::MAX, true).await;
    assert!(matches!(result, Err(NoSocket::Answered(answer)) if answer.page.is_none()));
    assert_eq!(begun.elapsed(), BODY_TIME);
    // A redirect needs none.
    let begun = tokio::time::Instant::now();
    drop(answered(b"HTTP/1.1 301 x\r\nContent-Length: 9\r\n\r\n", usize::MAX, true).await);
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

/// Answers of which a property test takes one, to cut it and to change a byte of it.
const ANSWERS: [&str; 9] = [
    "HTTP/1.1 101 a\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
     Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\u{1}\u{2}frame\r\n\r\n",
    "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 101\r\nUpgrade: websocket\r\nconnection : a,\r\n\tUpgrade\r\n\
     Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
    "HTTP/1.1 302 Found\r\nLocation: https://dash.example/ws\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<title>Login</title>",
    "\r\n\r\nHTTP/1.0 400 Bad\nno header\nA: b\n\nHTTP/1.1 200 OK",
    "SSH-2.0-OpenSSH_9.2\r\n",
    "\r\n\u{15}\u{3}\u{1}",
    // No record of TLS: they were taken for one if they came in one piece.
    " \u{15}\u{3}\u{1}",
    "\r\r\u{15}\u{3}\u{1}",
];

/// Whether two results are the same, apart from what a message quotes.
fn is_same(a: &Option<Result<Vec<u8>, NoSocket>>, b: &Option<Result<Vec<u8>, NoSocket>>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(Ok(a)), Some(Ok(b))) => a == b,
        (Some(Err(NoSocket::Answered(a))), Some(Err(NoSocket::Answered(b)))) => a == b,
        (Some(Err(NoSocket::Failed(a))), Some(Err(NoSocket::Failed(b)))) => {
            discriminant(a) == discriminant(b)
        }
        _ => false,
    }
}

#[test]
fn an_answer_that_is_cut_anywhere_is_the_same_answer() {
    for answer in ANSWERS.map(str::as_bytes) {
        let whole = judge(&[answer], KEY);
        assert!(whole.is_some());
        for at in 0..=answer.len() {
            let (start, end) = answer.split_at(at);
            let cut = judge(&[start, end], KEY);
            assert!(is_same(&cut, &whole), "{at} of {answer:?}: {cut:?}");
        }
    }
    assert!(
        matches!(judge(&[ANSWERS[0].as_bytes()], KEY), Some(Ok(rest)) if rest == b"\x01\x02frame\r\n\r\n")
    );
}

proptest! {
    #[test]
    fn a_changed_answer_in_pieces_is_the_same_answer(
        answer in proptest::sample::select(&ANSWERS[..]),
        changed in 0..200_usize,
        byte in any::<u8>(),
        piece in 1..40_usize,
    ) {
        let mut answer = answer.as_bytes().to_vec();
        if let Some(place) = answer.get_mut(changed) {
            *place = byte;
        }
        let pieces: Vec<&[u8]> = answer.chunks(piece).collect();
        let (whole, cut) = (judge(&[&answer], KEY), judge(&pieces, KEY));
        prop_assert!(is_same(&cut, &whole), "{cut:?} and {whole:?}");
    }
}

/// A server that has answered and closed before the request comes: nothing can be written any more.
struct ClosedEarly(std::io::Cursor<Vec<u8>>);

impl tokio::io::AsyncRead for ClosedEarly {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buf)
    }
}

impl tokio::io::AsyncWrite for ClosedEarly {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn what_a_server_said_before_it_closed_is_read_although_nothing_can_be_written() {
    let target = Target::new(URL.parse().unwrap());
    let asked = async |answer: &[u8]| {
        let stream = ClosedEarly(std::io::Cursor::new(answer.to_vec()));
        upgrade(Box::new(stream), &target, None, &mut None).await.map(drop)
    };
    let answer = asked(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").await;
    assert!(matches!(&answer, Err(NoSocket::Answered(answer)) if answer.status == 403), "{answer:?}");
    let nothing = asked(b"").await;
    let broken = |err: &io::Error| err.kind() == io::ErrorKind::BrokenPipe;
    assert!(
        matches!(&nothing, Err(NoSocket::Failed(UpgradeError::Broken(err))) if broken(err)),
        "{nothing:?}"
    );
}
