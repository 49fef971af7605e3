use rustls::{CertificateError, InvalidMessage, PeerIncompatible};

use super::*;

fn tls(err: TlsError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, err)
}

#[test]
fn each_way_in_which_a_handshake_fails_has_its_words() {
    let garbage = || tls(TlsError::InvalidMessage(InvalidMessage::InvalidContentType));
    let alert = |alert| tls(TlsError::AlertReceived(alert));
    let mistrust = Mistrust::OtherPurpose { host: "dash.example".to_owned() };
    let refused = || tls(TlsError::InvalidCertificate(CertificateError::Expired));
    for (err, verdict, answer, words) in [
        (refused(), Some(&mistrust), &b"\x16\x03\x03"[..], "lacks serverAuth; give"),
        (refused(), None, b"\x16\x03\x03", "does not prove that it has the key of its certificate; give"),
        (alert(AlertDescription::UnrecognisedName), None, b"\x15\x03\x03", "no host of this name"),
        (alert(AlertDescription::UnknownCA), None, b"", "(alert unknown_ca), and only the dashboard gets"),
        (alert(AlertDescription::CertificateRequired), None, b"", "(alert certificate_required), and only"),
        (alert(AlertDescription::HandshakeFailure), None, b"", "in common (alert handshake_failure); allow"),
        (
            alert(AlertDescription::ProtocolVersion),
            None,
            b"",
            "(alert protocol_version); allow TLS 1.2 or 1.3",
        ),
        (
            tls(TlsError::PeerIncompatible(PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig)),
            None,
            b"\x16\x03\x01",
            "no TLS version or cipher in common",
        ),
        (alert(AlertDescription::InternalError), None, b"", "(alert internal_error); look at the log"),
        (alert(AlertDescription::Unknown(200)), None, b"", "(alert number 200); look at the log"),
        (garbage(), None, b"HTTP/1.1 400 Bad Request\r\n", "it answered in plain HTTP; check the port"),
        (garbage(), None, b"SSH-2.0-\x1b[31mOpen\r\nSSH", "it answered \"SSH-2.0-Open SSH\"; check the port"),
        (garbage(), None, b"\x16\x03\x03\xff\xff", "the TLS handshake with dash.example failed: "),
        (io::ErrorKind::UnexpectedEof.into(), None, b"", "ended the connection during the TLS handshake ("),
        (io::ErrorKind::ConnectionReset.into(), None, b"", "(connection reset); check the port"),
        (io::ErrorKind::OutOfMemory.into(), None, b"", "the TLS handshake with dash.example failed: out of"),
    ] {
        let text = HandshakeFailure::new(&err, "dash.example", verdict, answer).to_string();
        assert!(text.contains(words), "`{words}` is not in: {text}");
        assert!(text.contains("dash.example"), "{text}");
        assert_eq!(text.split("; ").count(), 2, "what happened, and what to do: {text}");
    }
}

#[test]
fn an_alert_behind_the_handshake_is_told_and_nothing_else_is() {
    let late = |err| HandshakeFailure::late(&err, "dash.example").map(|failure| failure.to_string());
    let text = late(tls(TlsError::AlertReceived(AlertDescription::CertificateRequired))).unwrap();
    assert!(text.contains("asks for a client certificate"), "{text}");
    assert_eq!(late(tls(TlsError::DecryptError)), None);
    assert_eq!(late(io::ErrorKind::ConnectionReset.into()), None);
}
