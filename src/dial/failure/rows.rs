//! The failures that docs/connecting.md lists, each with an example. `tests/it/failures.rs` makes each of them happen.

use std::io;

use jiff::Timestamp;
use rustls::AlertDescription;
use tokio_tungstenite::tungstenite::http::StatusCode;

use nixfleet_os::certificate::Name;

use super::ConnectError;
use crate::dial::CONNECT_DEADLINE;
use crate::dial::client_auth::ClientCertificateRefused;
use crate::dial::clock_skew::ClockSkew;
use crate::dial::handshake::HandshakeFailure;
use crate::dial::mistrust::Mistrust;
use crate::dial::redirect::Redirect;
use crate::dial::step::Step;
use crate::dial::target::Target;
use crate::dial::upgrade::{Answer, UpgradeError};

/// The dashboard of the examples.
pub const HOST: &str = "dash.example.org";

/// The clock of the examples.
pub const CLOCK: &str = "2026-11-27 08:30 UTC";

/// One kind of failure.
#[derive(Debug)]
pub struct Row {
    /// Its name, for tests.
    pub name: &'static str,
    /// What it means, beyond what the message says.
    pub meaning: &'static str,
    /// The failure of an attempt to reach `wss://dash.example.org/ws`.
    pub example: ConnectError,
}

/// All of them, in the order of the steps of an attempt.
pub fn rows() -> Vec<Row> {
    let row = |name, meaning, example| Row { name, meaning, example };
    let mut rows = reach();
    rows.extend(certificates().into_iter().map(|(name, meaning, mistrust)| {
        row(name, meaning, ConnectError::Tls(HandshakeFailure::Mistrusted(mistrust)))
    }));
    rows.extend(handshakes().into_iter().map(|(name, meaning, failure)| row(name, meaning, failure.into())));
    rows.extend(client_certificates());
    rows.extend(answers());
    rows
}

fn reach() -> Vec<Row> {
    let place = || format!("{HOST}:443");
    let lookup = |text: &'static str| ConnectError::Lookup(place(), io::Error::other(text));
    let tcp = |kind, text: &'static str| ConnectError::Unreachable(place(), io::Error::new(kind, text));
    vec![
        Row {
            name: "no_such_name",
            meaning: "a name server answered, and knows no such name",
            example: lookup("Name or service not known"),
        },
        Row {
            name: "no_name_server",
            meaning: "the network is down or not up yet, or its name servers are",
            example: lookup("Temporary failure in name resolution"),
        },
        Row {
            name: "no_route",
            meaning: "nothing was sent: the agent waits for a change of the network",
            example: tcp(
                io::ErrorKind::NetworkUnreachable,
                "Network is unreachable (os error 101) on the way to 192.0.2.7:443",
            ),
        },
        Row {
            name: "refused",
            meaning: "the machine is there, and no program listens on that port",
            example: tcp(io::ErrorKind::ConnectionRefused, "connection refused by 192.0.2.7:443"),
        },
        Row {
            name: "no_answer",
            meaning: "the machine is off or has another address, or a firewall drops packets",
            example: tcp(io::ErrorKind::TimedOut, "no answer from 192.0.2.7:443"),
        },
        Row {
            name: "silent",
            meaning: "a program took the connection and said nothing",
            example: ConnectError::Slow(Step::Answer, CONNECT_DEADLINE),
        },
        Row {
            name: "silent_handshake",
            meaning: "the same, where TLS should be",
            example: ConnectError::Slow(Step::Handshake, CONNECT_DEADLINE),
        },
    ]
}

fn certificates() -> Vec<(&'static str, &'static str, Mistrust)> {
    let host = || HOST.to_owned();
    let name = |common: &str| Name { common: Some(common.to_owned()), organization: None };
    let at = |text: &str| text.parse().unwrap_or(Timestamp::UNIX_EPOCH);
    let now = at("2026-11-27T08:30:00Z");
    vec![
        (
            "expired",
            "nobody renewed it, or the clock of this host is ahead",
            Mistrust::Expired { host: host(), until: at("2020-01-31T00:00:00Z"), now },
        ),
        (
            "not_yet_valid",
            "nearly always the clock of this host, which may have lost its battery",
            Mistrust::NotYetValid { host: host(), from: at("2099-01-01T00:00:00Z"), now },
        ),
        (
            "other_name",
            "the address is an alias, or the wrong server answers",
            Mistrust::OtherName { host: host(), names: vec!["fleet.example.org".to_owned()], more: 0 },
        ),
        (
            "no_alt_name",
            "it was made as certificates were twenty years ago",
            Mistrust::NoName { host: host(), subject: name(HOST) },
        ),
        (
            "unknown_issuer",
            "the authority is a private one, or the server leaves out an intermediate certificate",
            Mistrust::UnknownIssuer { issuer: name("Fleet CA") },
        ),
        (
            "self_signed",
            "nobody but the certificate itself vouches for it",
            Mistrust::SelfSigned { host: host(), subject: name(HOST) },
        ),
        (
            "authority_as_server",
            "`openssl req -x509` makes such a certificate without further options",
            Mistrust::Authority { host: host(), subject: name(HOST) },
        ),
        (
            "other_key",
            "the authority was made anew under its old name, and this host has the old one",
            Mistrust::OtherKey { host: host(), issuer: name("Fleet CA") },
        ),
        (
            "other_purpose",
            "it was made for a client, for mail or for code",
            Mistrust::OtherPurpose { host: host() },
        ),
    ]
}

fn handshakes() -> Vec<(&'static str, &'static str, HandshakeFailure)> {
    let host = || HOST.to_owned();
    vec![
        (
            "alert_unknown_host",
            "the server has several names, and not this one",
            HandshakeFailure::UnknownHost { host: host() },
        ),
        (
            "nothing_in_common",
            "the server is set up for old clients or for special ones",
            HandshakeFailure::NothingInCommon {
                host: host(),
                why: "alert handshake_failure".to_owned(),
                alert: Some(AlertDescription::HandshakeFailure),
            },
        ),
        (
            "alert_other",
            "the server gave up for a reason of its own",
            HandshakeFailure::Alert { host: host(), alert: AlertDescription::InternalError },
        ),
        ("plain_http", "`wss://` with the port of plain HTTP", HandshakeFailure::PlainHttp { host: host() }),
        (
            "not_tls",
            "another service has this port",
            HandshakeFailure::NotTls { host: host(), answer: "SSH-2.0-OpenSSH_9.6".to_owned() },
        ),
        (
            "ended_in_handshake",
            "a firewall, a load balancer without a server, or a server that speaks something else",
            HandshakeFailure::Ended { host: host(), how: "tls handshake eof".to_owned() },
        ),
    ]
}

fn client_certificates() -> Vec<Row> {
    use ClientCertificateRefused as Refused;

    let row = |name, meaning, refused| Row {
        name,
        meaning,
        example: ConnectError::ClientCertificateRefused(refused),
    };
    vec![
        row(
            "client_certificate_missing",
            "the dashboard's server lets in only hosts with a certificate",
            Refused::Missing("alert certificate_required".to_owned()),
        ),
        row(
            "client_certificate_expired",
            "nobody renewed it, or one of the two clocks is wrong",
            Refused::Expired("alert certificate_expired".to_owned()),
        ),
        row(
            "client_certificate_of_other_authority",
            "the dashboard's server knows another authority, or misses the certificates in between",
            Refused::UnknownAuthority("alert unknown_ca".to_owned()),
        ),
        row(
            "client_certificate_refused",
            "it was revoked, or is of a kind or for a purpose that the server does not take",
            Refused::Refused("alert unsupported_certificate".to_owned()),
        ),
    ]
}

fn answers() -> Vec<Row> {
    let status = |code: u16| StatusCode::from_u16(code).unwrap_or(StatusCode::IM_A_TEAPOT);
    let answer = |code: u16| Box::new(Answer::bare(status(code)));
    let no_socket = |code: u16| ConnectError::NoWebSocket(answer(code));
    let portal = Answer { page: Some("Guest network".to_owned()), ..*answer(200) };
    let https =
        Answer { page: Some("400 The plain HTTP request was sent to HTTPS port".to_owned()), ..*answer(400) };
    let at = |text: &str| text.parse().unwrap_or(Timestamp::UNIX_EPOCH);
    let skew = ClockSkew::between(at("2026-11-27T08:30:00Z"), at("2026-11-27T10:31:00Z"));
    let elsewhere = format!("wss://{HOST}/ws").parse().ok().map(Target::new).map(|from| {
        ConnectError::Redirected(Box::new(Redirect::new(
            status(302),
            Some("https://login.example.net/"),
            &from,
        )))
    });
    let row = |name, meaning, example| Row { name, meaning, example };
    let mut rows = vec![
        row("tls_on_plain_port", "`ws://` with the port of TLS", UpgradeError::SpeaksTls.into()),
        row("https_port", "`ws://` with the port of TLS, and a server that explains it", {
            ConnectError::NoWebSocket(Box::new(https))
        }),
        row("closed_without_answer", "a proxy or a server gave up", UpgradeError::Closed.into()),
        row("portal", "a captive portal, or the wrong path", ConnectError::NoWebSocket(Box::new(portal))),
        row("bad_request", "usually a proxy that drops headers", no_socket(400)),
        row("wrong_token", "the token of the agent is not the dashboard's", ConnectError::WrongToken),
        row(
            "wrong_token_or_clock",
            "a token with a date in it, and one of the two clocks is wrong",
            skew.map_or(ConnectError::WrongToken, ConnectError::WrongTokenOrClock),
        ),
        row("forbidden", "somebody knows this host and does not let it in", ConnectError::Forbidden),
        row("no_such_path", "the address leads to a server, and the path to nothing", no_socket(404)),
        row("proxy_login", "a proxy in between intercepts connections", no_socket(407)),
        row("other_host", "the server has several names, and not this one", no_socket(421)),
        row("no_upgrade", "a proxy in between speaks plain HTTP to the dashboard", no_socket(426)),
        row(
            "too_many_requests",
            "the agent tries again later by itself",
            ConnectError::Busy(status(429), None),
        ),
        row("dashboard_failed", "a fault of the dashboard", no_socket(500)),
        row("bad_gateway", "the proxy cannot reach the dashboard", no_socket(502)),
        row(
            "unavailable",
            "overload, maintenance or a dashboard that is down",
            ConnectError::Busy(status(503), None),
        ),
        row("gateway_timeout", "the proxy waits in vain for the dashboard", no_socket(504)),
    ];
    rows.extend(
        elsewhere
            .map(|example| row("redirect_elsewhere", "a login page, or the dashboard has moved", example)),
    );
    rows
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::path::Path;

    use super::*;

    const BEGIN: &str = "<!-- The table is written by UPDATE_CONNECTING=1 cargo test -p nixfleet-agent --lib connecting -->\n";
    const END: &str = "<!-- end of the table -->\n";

    #[test]
    fn every_failure_of_connecting_is_in_the_docs() {
        let mut table = String::from("| message | what it means | what to do |\n| --- | --- | --- |\n");
        for row in rows() {
            let (what, fix) = row.example.parts();
            assert!(!what.is_empty() && !fix.is_empty(), "{}: {what}", row.name);
            let escaped = |text: &str| text.replace('|', "\\|").replace('<', "&lt;");
            writeln!(table, "| {} | {} | {} |", escaped(&what), row.meaning, escaped(&fix)).unwrap();
        }
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/connecting.md");
        let page = std::fs::read_to_string(&path).unwrap();
        let (before, rest) =
            page.split_once(BEGIN).expect("docs/connecting.md has the beginning of the table");
        let (found, after) = rest.split_once(END).expect("docs/connecting.md has the end of the table");
        if std::env::var_os("UPDATE_CONNECTING").is_some() {
            std::fs::write(&path, [before, BEGIN, &table, END, after].concat()).unwrap();
        } else {
            assert_eq!(found, table, "run UPDATE_CONNECTING=1 cargo test -p nixfleet-agent --lib connecting");
        }
    }
}
