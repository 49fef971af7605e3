//! The connection to the dashboard, step by step. The steps after the first failure are skipped.

//!
//! ```text
//! reach.rs   name and TCP
//! tls.rs     the certificate
//! clock.rs   this host's clock
//! ```

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use nixfleet_config::{Connection, LoginSource, Proxy, Way};
use nixfleet_os::certificate::Certificate;

use super::{Finding, Subject, Verdict, client_certificate, fail, finding, ok, skipped, warning};
use crate::dial::addresses::{LookupError, lookup};
use crate::dial::target::{Target, place};
use crate::dial::{ConnectError, Probe, probe};
use clock::{clock, date};
use reach::{dns, reach, tcp};
use tls::trusted;

mod clock;
mod reach;
mod tls;

/// Time limit for another TCP connection, TLS and the answer. Together with the other steps it is below the
/// limit for all checks.
const ANSWER: Duration = Duration::from_secs(10);

/// Time limit for a second request, made when the first answer does not have the time.
const TIME: Duration = Duration::from_secs(5);

const STEPS: [&str; 6] = ["proxy", "dns", "tcp", "tls", "token", "clock"];

/// Findings of all steps.
pub(super) fn findings(subject: &Subject) -> Vec<Finding> {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(err) => return vec![fail("proxy", format!("cannot start the runtime: {err}"), "")],
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
    let target = Target::new(connection.url.expose().clone());
    let proxy = connection.way.proxy();
    // With a proxy, this host never looks for the dashboard itself.
    let (host, port) =
        proxy.map_or((target.host(), target.port()), |proxy| (proxy.host.as_str(), proxy.port));
    let begun = Instant::now();
    // With the agent's own time limit: what it can look up is no failure here.
    let found = lookup(host, port).await.map_err(|err| match err {
        LookupError::NoThread(err) => ConnectError::NoThread(err),
        LookupError::NotFound(err) => ConnectError::Lookup(place(host, port), err),
    });
    let mut findings = vec![way(&connection.way), of_proxy(dns(host, &found, begun.elapsed()), proxy)];
    let Ok(addresses) = found else { return findings };
    let tcp = of_proxy(tcp(&place(host, port), reach(&addresses).await), proxy);
    let lost = tcp.verdict == Verdict::Fail;
    findings.push(tcp);
    if lost {
        return findings;
    }
    if let Some(Err(err)) = proxy.and_then(|proxy| proxy.login.as_ref()).map(LoginSource::read)
        && err.is_denied()
    {
        let unknown = |step: &&'static str| super::root_only(step, "the login for the proxy");
        findings.extend(STEPS[findings.len()..].iter().map(unknown));
        return findings;
    }
    if client_certificate::is_denied(connection) {
        let unknown = |step: &&'static str| super::root_only(step, "the key of the client certificate");
        findings.extend(STEPS[findings.len()..].iter().map(unknown));
        return findings;
    }
    let token = connection.token.read().is_ok();
    let sent = Timestamp::now();
    let mut answer = probe(connection, token, ANSWER).await;
    let mut span = (sent, Timestamp::now());
    if let Some(ConnectError::Proxy(err)) = &answer.error {
        let text = err.to_string();
        let (what, fix) = text.split_once("; ").unwrap_or((&text, ""));
        findings[0] = fail("proxy", what, fix);
        return findings;
    }
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

/// Which proxy counts, and why.
fn way(way: &Way) -> Finding {
    match way {
        Way::Direct(_) => skipped("proxy", way.to_string()),
        Way::Proxy(_) => ok("proxy", way.to_string()),
    }
}

/// The finding of a step that is about the proxy.
fn of_proxy(found: Finding, proxy: Option<&Proxy>) -> Finding {
    let Some(proxy) = proxy else { return found };
    let text = format!("proxy: {}", found.text);
    match found.verdict {
        Verdict::Fail => {
            let fix = format!("check {} for the proxy; NIXFLEET_PROXY=none goes without it", proxy.said_by);
            Finding { text, fix, ..found }
        }
        _ => Finding { text, ..found },
    }
}

/// Findings about TLS and the token, as far as the connection got.
fn conversation(connection: &Connection, token: bool, probe: &Probe, now: Timestamp) -> Vec<Finding> {
    let redirected = probe.seen.redirected.as_ref();
    let secure = redirected.map_or(connection.url.expose().scheme() == "wss", Target::is_secure);
    let tls_ok = || match secure {
        true => trusted(probe.seen.certificate.as_deref().and_then(Certificate::read).as_ref(), now),
        false => skipped("tls", "ws:// has none"),
    };
    // Without an HTTP answer nothing is known about the steps after TLS.
    match &probe.error {
        // With TLS 1.3 it is judged behind the handshake.
        Some(err @ ConnectError::ClientCertificateRefused(_)) => vec![failed("tls", err)],
        Some(err) if probe.seen.headers.is_none() => {
            // The handshake may have succeeded.
            if secure && probe.seen.certificate.is_none() {
                vec![failed("tls", err)]
            } else {
                vec![tls_ok(), failed("token", err)]
            }
        }
        Some(ConnectError::WrongToken | ConnectError::WrongTokenOrClock(_)) if !token => {
            vec![tls_ok(), skipped("token", "not tried without one: see `token file`")]
        }
        Some(err) => vec![tls_ok(), failed("token", err)],
        None if !token => vec![
            tls_ok(),
            warning("token", "the dashboard lets anybody in without a token", "it should ask for one"),
        ],
        None => vec![tls_ok(), accepted(redirected)],
    }
}

fn accepted(redirected: Option<&Target>) -> Finding {
    match redirected {
        None => ok("token", "the dashboard accepts it"),
        Some(target) => {
            let shown = target.shown();
            let text = format!("the dashboard accepts it, behind a redirect to {shown}");
            warning(
                "token",
                text,
                format!("write {shown} in NIXFLEET_URL: each connection takes that detour"),
            )
        }
    }
}

/// The finding for a failed attempt, in the words of the agent's log.
fn failed(step: &'static str, err: &ConnectError) -> Finding {
    let (what, fix) = err.parts();
    let verdict = if matches!(err, ConnectError::Busy(..)) { Verdict::Warning } else { Verdict::Fail };
    finding(step, verdict, what, fix)
}

#[cfg(test)]
mod tests;
