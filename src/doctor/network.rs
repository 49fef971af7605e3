//! The connection to the dashboard, step by step. The steps after the first failure are skipped.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use jiff::fmt::rfc2822::DateTimeParser;
use jiff::{SignedDuration, Timestamp};
use rustls::{CertificateError, Error as TlsError};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::http::header;

use nixfleet_config::Connection;
use nixfleet_os::error::chain;

use super::certificate::not_after;
use super::{Finding, Subject, Verdict, fail, finding, ok, skipped, warning};
use crate::link::dial::{ConnectError, Probe, probe};
use crate::link::reach::{Unreached, lookup};

/// Time limit for the name lookup. Resolvers retry after five seconds; one retry is slow, but no failure.
const LOOKUP: Duration = Duration::from_secs(8);

/// Time limit for TCP, to all addresses concurrently. The agent allows the same for each address.
const REACH: Duration = Duration::from_secs(4);

/// Time limit for another TCP connection, TLS and the answer. Together with the other steps it is below the
/// limit for all checks.
const ANSWER: Duration = Duration::from_secs(10);

/// Time limit for a second request, made when the first answer does not have the time.
const TIME: Duration = Duration::from_secs(5);

/// Number of addresses that are tried.
const ADDRESSES: usize = 16;

/// Remaining validity below which a certificate should have been renewed already: those of public authorities
/// are renewed a month before their end.
const RENEWED: SignedDuration = SignedDuration::from_hours(14 * 24);

/// Clock difference above which there is a warning. A second or two may be network delay.
const ODD_SKEW: SignedDuration = SignedDuration::from_secs(5);

/// Clock difference above which something breaks: StaSysMo's readings are valid for 30 s, dashboards show a host
/// as offline after three intervals, which may be 3 s, and tokens with a date may not be valid yet.
const WRONG_SKEW: SignedDuration = SignedDuration::from_secs(60);

const STEPS: [&str; 5] = ["dns", "tcp", "tls", "token", "clock"];

/// Findings of all steps.
pub(super) fn findings(subject: &Subject) -> Vec<Finding> {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(err) => return vec![fail("dns", format!("cannot start the runtime: {err}"), "")],
    };
    let mut findings = runtime.block_on(steps(&subject.connection));
    // Do not wait for a resolver that hangs in its thread.
    runtime.shutdown_background();
    if let Some(cause) = findings.iter().find(|finding| finding.verdict == Verdict::Fail) {
        let cause = cause.name;
        for step in &STEPS[findings.len()..] {
            findings.push(skipped(step, format!("needs what failed above: {cause}")));
        }
    }
    findings
}

async fn steps(connection: &Connection) -> Vec<Finding> {
    let host = connection.url.expose().host_str().unwrap_or_default().trim_matches(['[', ']']);
    let port = connection.url.expose().port_or_known_default().unwrap_or(443);
    let begun = Instant::now();
    let found = timeout(LOOKUP, lookup(host, port)).await;
    let found = match found {
        Ok(Ok(addresses)) => Ok(addresses.take(ADDRESSES).collect()),
        Ok(Err(Unreached::NoThread(err))) => Err(format!("there is no thread for it: {err}")),
        Ok(Err(Unreached::Lookup(err) | Unreached::Tcp(err))) => Err(err.to_string()),
        Err(_) => Err(format!("no answer within {LOOKUP:?}")),
    };
    let mut findings = vec![dns(host, &found, begun.elapsed())];
    let addresses = found.unwrap_or_default();
    if addresses.is_empty() {
        return findings;
    }
    let reached = reach(&addresses).await;
    let lost = reached.iter().all(|(_, result)| result.is_err());
    findings.push(tcp(&reached));
    if lost {
        return findings;
    }
    let token = connection.token.read().is_ok();
    let sent = Timestamp::now();
    let mut answer = probe(connection, token, ANSWER).await;
    let mut span = (sent, Timestamp::now());
    findings.extend(conversation(connection, token, &answer, span.1));
    if findings.len() == STEPS.len() - 1 {
        if date(&answer).is_none() && answer.error.is_none() {
            // Some servers send the time only in answers to ordinary requests, such as this one without a token.
            let sent = Timestamp::now();
            answer = probe(connection, false, TIME).await;
            span = (sent, Timestamp::now());
        }
        findings.push(clock(date(&answer), span));
    }
    findings
}

async fn reach(addresses: &[SocketAddr]) -> Vec<(SocketAddr, Result<Duration, String>)> {
    let attempts = addresses.iter().map(|&address| async move {
        let begun = Instant::now();
        let result = match timeout(REACH, TcpStream::connect(address)).await {
            Ok(Ok(_)) => Ok(begun.elapsed()),
            Ok(Err(err)) => Err(err.to_string()),
            Err(_) => Err(format!("no answer within {REACH:?}")),
        };
        (address, result)
    });
    futures_util::future::join_all(attempts).await
}

fn milliseconds(span: Duration) -> String {
    format!("{} ms", span.as_millis())
}

fn dns(host: &str, found: &Result<Vec<SocketAddr>, String>, took: Duration) -> Finding {
    let fix = "check the name in NIXFLEET_URL, and the host's resolver: resolvectl query, /etc/resolv.conf";
    match found {
        _ if host.parse::<IpAddr>().is_ok() => skipped("dns", format!("{host} is an address")),
        Err(err) => fail("dns", format!("cannot look up {host}: {err}"), fix),
        Ok(addresses) if addresses.is_empty() => fail("dns", format!("{host} has no address"), fix),
        Ok(addresses) => {
            let shown: Vec<String> = addresses.iter().take(3).map(|at| at.ip().to_string()).collect();
            let more = if addresses.len() > 3 { ", .." } else { "" };
            ok("dns", format!("{host} is {}{more}, in {}", shown.join(", "), milliseconds(took)))
        }
    }
}

fn tcp(reached: &[(SocketAddr, Result<Duration, String>)]) -> Finding {
    let fix = "is the dashboard running, and does a firewall or the port in NIXFLEET_URL stand in between?";
    let lost: Vec<String> =
        reached.iter().filter_map(|(at, result)| Some(format!("{at}: {}", result.as_ref().err()?))).collect();
    let first = reached.iter().find_map(|(at, result)| Some((at, result.as_ref().ok()?)));
    match first {
        None => fail("tcp", format!("no connection: {}", lost.join("; ")), fix),
        Some((at, took)) if lost.is_empty() => {
            let others = match reached.len() {
                1 => String::new(),
                count => format!(" and {} more", count - 1),
            };
            ok("tcp", format!("reached {at}{others}, in {}", milliseconds(*took)))
        }
        Some((at, _)) => warning(
            "tcp",
            format!("reached {at}, but not {}", lost.join("; ")),
            "each connection may wait for it first: mend that way, or take the address out of the name",
        ),
    }
}

/// Findings about TLS and the token, as far as the connection got.
fn conversation(connection: &Connection, token: bool, probe: &Probe, now: Timestamp) -> Vec<Finding> {
    let secure = connection.url.expose().scheme() == "wss";
    let tls_ok = || match secure {
        true => trusted(probe.certificate.as_deref().and_then(not_after), now),
        false => skipped("tls", "ws:// has none"),
    };
    // Without an HTTP answer nothing is known about the steps after TLS.
    match &probe.error {
        Some(err) if probe.headers.is_none() => {
            if let Some(problem) = err.tls() {
                vec![mistrusted(problem)]
            } else if secure {
                vec![fail("tls", chain(err), "")]
            } else {
                vec![tls_ok(), fail("token", chain(err), "")]
            }
        }
        Some(ConnectError::WrongToken) if !token => {
            vec![tls_ok(), skipped("token", "not tried without one: see `token file`")]
        }
        Some(err) => vec![tls_ok(), refused(err)],
        None if !token => vec![
            tls_ok(),
            warning("token", "the dashboard lets anybody in without a token", "it should ask for one"),
        ],
        None => vec![tls_ok(), ok("token", "the dashboard accepts it")],
    }
}

fn refused(err: &ConnectError) -> Finding {
    let text = chain(err);
    // The text of the error has the fix after the semicolon.
    let (what, fix) = text.split_once("; ").unwrap_or((&text, ""));
    let verdict = if matches!(err, ConnectError::Busy(..)) { Verdict::Warning } else { Verdict::Fail };
    finding("token", verdict, what, fix)
}

fn trusted(end: Option<Timestamp>, now: Timestamp) -> Finding {
    let Some(end) = end else { return ok("tls", "the certificate is trusted") };
    let left = end.duration_since(now);
    let days = left.as_hours() / 24;
    let text = format!("the certificate is trusted, and valid for {days} more days");
    if left < RENEWED { warning("tls", text, "renew it; why was it not renewed?") } else { ok("tls", text) }
}

/// The finding for a certificate that rustls refused, or for a failed handshake.
fn mistrusted(problem: &TlsError) -> Finding {
    let clock = "or is this host's clock wrong? timedatectl";
    let (text, fix) = match problem {
        TlsError::InvalidCertificate(certificate) => match certificate {
            CertificateError::UnknownIssuer => (
                "this host does not trust the certificate's issuer".to_owned(),
                "set NIXFLEET_CA_FILE to the PEM file of its authority".to_owned(),
            ),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => (
                "the certificate has expired".to_owned(),
                format!("renew it on the dashboard's side; {clock}"),
            ),
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                ("the certificate is not valid yet".to_owned(), format!("wait for it; {clock}"))
            }
            CertificateError::NotValidForName => wrong_name(&[]),
            CertificateError::NotValidForNameContext { presented, .. } => wrong_name(presented),
            other => {
                (format!("the certificate is refused: {other}"), "give the dashboard another one".to_owned())
            }
        },
        TlsError::InvalidMessage(_) => (
            "what listens there does not speak TLS".to_owned(),
            "check the port in NIXFLEET_URL; without TLS the scheme is ws://".to_owned(),
        ),
        other => (
            format!("the TLS handshake failed: {other}"),
            "look at the log of the dashboard or its proxy".to_owned(),
        ),
    };
    fail("tls", text, fix)
}

fn wrong_name(presented: &[String]) -> (String, String) {
    let names = if presented.is_empty() { String::new() } else { format!(": {}", presented.join(", ")) };
    (
        format!("the certificate is for another name{names}"),
        "write the certificate's name in NIXFLEET_URL, or give the dashboard one for this name".to_owned(),
    )
}

/// The dashboard's time from the Date header, in whole seconds.
fn date(probe: &Probe) -> Option<Timestamp> {
    let text = probe.headers.as_ref()?.get(header::DATE)?.to_str().ok()?;
    DateTimeParser::new().parse_timestamp(text).ok()
}

/// The least amount by which this clock is ahead of the dashboard's (negative: behind). The answer was made at
/// an unknown time between sending and receiving, and its time is cut to whole seconds.
fn skew(date: Timestamp, (sent, received): (Timestamp, Timestamp)) -> SignedDuration {
    let second = SignedDuration::from_secs(1);
    let ahead = sent.duration_since(date) - second;
    let behind = received.duration_since(date);
    if ahead.is_positive() { ahead } else { behind.min(SignedDuration::ZERO) }
}

fn clock(date: Option<Timestamp>, span: (Timestamp, Timestamp)) -> Finding {
    let Some(date) = date else { return skipped("clock", "the dashboard does not say what time it is") };
    let skew = skew(date, span);
    let side = if skew.is_negative() { "behind" } else { "ahead of" };
    let text = format!("{} s {side} the dashboard's", skew.abs().as_secs());
    let fix = "which of the two is wrong? timedatectl; services.timesyncd, chrony or ntp keep a clock right";
    match skew.abs() {
        skew if skew > WRONG_SKEW => fail("clock", text, fix),
        skew if skew > ODD_SKEW => warning("clock", text, fix),
        skew if skew.is_zero() => ok("clock", "the same as the dashboard's"),
        _ => ok("clock", text),
    }
}

#[cfg(test)]
mod tests;
