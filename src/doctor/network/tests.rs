use std::net::SocketAddr;

use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderValue, StatusCode, header};

use nixfleet_os::certificate::{Name, Validity};

use super::*;
use crate::dial::step::Step;
use crate::dial::{Answer, Seen};

fn connection(url: &str) -> Connection {
    let variables = [("NIXFLEET_URL", url), ("NIXFLEET_TOKEN", "t"), ("NIXFLEET_STATE_DIR", "/nonexistent")];
    let environment = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let source = nixfleet_config::Source { file: None, environment };
    nixfleet_config::Config::load(&source).unwrap().connection
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[track_caller]
fn check(found: &Finding, verdict: Verdict, words: &[&str]) {
    assert_eq!(found.verdict, verdict, "{found:?}");
    for word in words {
        assert!(found.text.contains(word) || found.fix.contains(word), "`{word}` is not in {found:?}");
    }
}

#[test]
fn names_are_judged() {
    let took = Duration::from_millis(12);
    let some = |count: u8| Ok((1..=count).map(|n| SocketAddr::from(([10, 0, 0, n], 443))).collect());
    check(&dns("dash", &some(1), took), Verdict::Ok, &["dash is 10.0.0.1, in 12 ms"]);
    check(&dns("dash", &some(4), took), Verdict::Ok, &["10.0.0.3, .., in"]);
    let unknown = std::io::Error::other("Name or service not known");
    let unknown = Err(ConnectError::Lookup("dash:443".to_owned(), unknown));
    check(
        &dns("dash", &unknown, took),
        Verdict::Fail,
        &["the name dash does not exist", "resolvectl query dash"],
    );
    let slow = Duration::from_secs(5);
    check(&dns("dash", &some(1), slow), Verdict::Warning, &["in 5000 ms", "a name server does not answer"]);
    check(&dns("10.0.0.1", &some(1), took), Verdict::Skipped, &["is an address"]);
    check(&dns("::1", &some(1), took), Verdict::Skipped, &[]);
}

#[test]
fn one_way_that_is_closed_is_a_warning_and_all_a_failure() {
    const AT: &str = "dash:443";
    let open = || (address("10.0.0.1:443"), Ok(Duration::from_millis(3)));
    let closed = |text| (address(text), Err(std::io::ErrorKind::TimedOut.into()));
    check(&tcp(AT, vec![open()]), Verdict::Ok, &["reached 10.0.0.1:443, in 3 ms"]);
    check(&tcp(AT, vec![open(), open()]), Verdict::Ok, &["and 1 more"]);
    let half = tcp(AT, vec![closed("[2001:db8::1]:443"), open(), closed("[2001:db8::2]:443")]);
    let words = [
        "reached 10.0.0.1:443, but not all addresses of the name: no answer from [2001:db8::1]:443 and 1 more",
        "goes around them",
        "250 ms longer for each",
    ];
    check(&half, Verdict::Warning, &words);
    let none = tcp(AT, vec![closed("[2001:db8::1]:443")]);
    check(&none, Verdict::Fail, &["cannot reach dash:443: no answer from [2001:db8::1]:443", "firewall"]);
}

#[test]
fn a_certificate_that_ends_within_two_weeks_is_a_warning() {
    let now = at("2026-01-01T00:00:00Z");
    let ending = |end: &str| Certificate {
        validity: Validity { not_before: now, not_after: at(end) },
        subject: Name::default(),
        issuer: Name::default(),
        names_itself: false,
        hosts: Vec::new(),
        more_hosts: 0,
    };
    let found = |end| trusted(Some(&ending(end)), now);
    check(&found("2026-03-01T00:00:00Z"), Verdict::Ok, &["is trusted, and valid for 59 more days"]);
    check(&found("2026-01-15T00:00:00Z"), Verdict::Ok, &["14 more days"]);
    check(&found("2026-01-14T23:59:59Z"), Verdict::Warning, &["13 more days", "renew"]);
    check(&trusted(None, now), Verdict::Ok, &[]);
}

#[test]
fn refusals_are_the_tokens_and_the_first_failure_ends_the_list() {
    let now = Timestamp::now();
    let probe = |error, answered: bool| Probe {
        error,
        seen: Seen { headers: answered.then(HeaderMap::new), ..Seen::default() },
    };
    let (ws, wss) = (connection("ws://127.0.0.1:1/ws"), connection("wss://dash.example/ws"));
    let verdicts = |findings: Vec<Finding>| {
        findings.into_iter().map(|found| (found.name, found.verdict)).collect::<Vec<_>>()
    };
    let (ok, fail, skipped) = (Verdict::Ok, Verdict::Fail, Verdict::Skipped);
    for (connection, token, error, answered, wanted) in [
        (&wss, true, None, true, vec![("tls", ok), ("token", ok)]),
        (&ws, true, None, true, vec![("tls", skipped), ("token", ok)]),
        (&wss, false, None, true, vec![("tls", ok), ("token", Verdict::Warning)]),
        (&wss, true, Some(ConnectError::WrongToken), true, vec![("tls", ok), ("token", fail)]),
        (&wss, false, Some(ConnectError::WrongToken), true, vec![("tls", ok), ("token", skipped)]),
        (&ws, true, Some(ConnectError::Forbidden), true, vec![("tls", skipped), ("token", fail)]),
        (
            &wss,
            true,
            Some(ConnectError::Busy(StatusCode::SERVICE_UNAVAILABLE, None)),
            true,
            vec![("tls", ok), ("token", Verdict::Warning)],
        ),
        (&wss, true, Some(ConnectError::NoRoots), false, vec![("tls", fail)]),
        (&wss, true, Some(ConnectError::Slow(Step::Answer, ANSWER)), false, vec![("tls", fail)]),
        (
            &ws,
            true,
            Some(ConnectError::Slow(Step::Answer, ANSWER)),
            false,
            vec![("tls", skipped), ("token", fail)],
        ),
    ] {
        let what = format!("{error:?}");
        assert_eq!(verdicts(conversation(connection, token, &probe(error, answered), now)), wanted, "{what}");
    }
    let redirected = Some(Target::new("wss://dash.example/other?secret".parse().unwrap()));
    let seen = Seen { headers: Some(HeaderMap::new()), redirected, ..Seen::default() };
    let found = conversation(&ws, true, &Probe { error: None, seen }, now);
    check(&found[0], Verdict::Ok, &["is trusted"]);
    check(
        &found[1],
        Verdict::Warning,
        &["redirect to wss://dash.example/other", "write wss://dash.example/other in"],
    );
    let found = failed("token", &ConnectError::NoWebSocket(Box::new(Answer::bare(StatusCode::NOT_FOUND))));
    assert_eq!(found.text, "the dashboard answered 404 Not Found instead of a WebSocket");
    assert_eq!(found.fix, "check the path of the URL, usually /ws");
}

#[test]
fn clocks_are_compared_by_what_the_answer_proves() {
    let date = at("2026-01-01T12:00:00Z");
    let span = |sent: &str, received: &str| (at(sent), at(received));
    for (sent, received, verdict, words) in [
        ("2026-01-01T12:00:00.2Z", "2026-01-01T12:00:00.4Z", Verdict::Ok, "the same"),
        ("2026-01-01T12:00:00.9Z", "2026-01-01T12:00:01.4Z", Verdict::Ok, "the same"),
        // With a slow answer the difference may be zero.
        ("2026-01-01T11:59:00Z", "2026-01-01T12:01:00Z", Verdict::Ok, "the same"),
        ("2026-01-01T12:00:04Z", "2026-01-01T12:00:05Z", Verdict::Ok, "3 s ahead of"),
        ("2026-01-01T12:00:06.5Z", "2026-01-01T12:00:07Z", Verdict::Warning, "5 s ahead of"),
        ("2026-01-01T11:59:53Z", "2026-01-01T11:59:54Z", Verdict::Warning, "6 s behind"),
        ("2026-01-01T12:01:01Z", "2026-01-01T12:01:01Z", Verdict::Warning, "60 s ahead of"),
        ("2026-01-01T12:01:02Z", "2026-01-01T12:01:02Z", Verdict::Fail, "61 s ahead of"),
        ("2025-12-31T12:00:00Z", "2025-12-31T12:00:00Z", Verdict::Fail, "86400 s behind"),
    ] {
        check(&clock(Some(date), span(sent, received)), verdict, &[words]);
    }
    check(&clock(None, span("2026-01-01T12:00:00Z", "2026-01-01T12:00:00Z")), Verdict::Skipped, &[]);
}

#[test]
fn the_time_is_read_as_http_writes_it() {
    let answer = |text: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert(header::DATE, HeaderValue::from_static(text));
        Probe { error: None, seen: Seen { headers: Some(headers), ..Seen::default() } }
    };
    assert_eq!(date(&answer("Sun, 06 Nov 1994 08:49:37 GMT")), Some(at("1994-11-06T08:49:37Z")));
    // A form of old servers, which is as good.
    assert_eq!(date(&answer("Sun Nov  6 08:49:37 1994")), Some(at("1994-11-06T08:49:37Z")));
    assert_eq!(date(&answer("soon")), None);
    assert_eq!(date(&Probe { error: None, seen: Seen::default() }), None);
}
