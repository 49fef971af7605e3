//! The steps `dns` and `tcp`: the addresses of the name, and which of them can be reached.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::super::{Finding, ok, skipped, warning};
use super::failed;
use crate::dial::ConnectError;
use crate::dial::addresses::UNANSWERED;
use crate::dial::race::{CHANCE, DELAY};
use crate::dial::unanswered::Unanswered;

/// What an address said: how long the connection took, or why there is none.
pub(super) type Answer = io::Result<Duration>;

/// Tries all addresses at the same time. The agent takes the first that answers; here each one is to be known. Each has
/// the time that the agent gives to the last one.
pub(super) async fn reach(addresses: &[SocketAddr]) -> Vec<(SocketAddr, Answer)> {
    let attempts = addresses.iter().map(|&address| async move {
        let begun = Instant::now();
        let result = match timeout(CHANCE, TcpStream::connect(address)).await {
            Ok(Ok(_)) => Ok(begun.elapsed()),
            Ok(Err(err)) => Err(err),
            Err(_) => Err(Unanswered::silence()),
        };
        (address, result)
    });
    futures_util::future::join_all(attempts).await
}

fn milliseconds(span: Duration) -> String {
    format!("{} ms", span.as_millis())
}

pub(super) fn dns(host: &str, found: &Result<Vec<SocketAddr>, ConnectError>, took: Duration) -> Finding {
    match found {
        _ if host.parse::<IpAddr>().is_ok() => skipped("dns", format!("{host} is an address")),
        Err(err) => failed("dns", err),
        Ok(addresses) => {
            let shown: Vec<String> = addresses.iter().take(3).map(|at| at.ip().to_string()).collect();
            let more = if addresses.len() > 3 { ", .." } else { "" };
            let text = format!("{host} is {}{more}, in {}", shown.join(", "), milliseconds(took));
            if took < UNANSWERED {
                return ok("dns", text);
            }
            let fix = "a name server does not answer, and each connection waits for it: resolvectl status, /etc/resolv.conf";
            warning("dns", text, fix)
        }
    }
}

/// `place` is the host and its port.
pub(super) fn tcp(place: &str, reached: Vec<(SocketAddr, Answer)>) -> Finding {
    let mut dead = Unanswered::default();
    let mut open = Vec::new();
    for (address, answer) in reached {
        match answer {
            Ok(took) => open.push((address, took)),
            Err(err) => dead.push(address, err),
        }
    }
    let Some((at, took)) = open.first() else {
        return failed("tcp", &ConnectError::Unreachable(place.to_owned(), dead.into()));
    };
    if dead.is_empty() {
        let others = match open.len() {
            1 => String::new(),
            count => format!(" and {} more", count - 1),
        };
        return ok("tcp", format!("reached {at}{others}, in {}", milliseconds(*took)));
    }
    let fix = format!(
        "the agent goes around them, each connection takes up to {} longer for each: mend the way to them, or take \
         them out of the name",
        milliseconds(DELAY)
    );
    warning("tcp", format!("reached {at}, but not all addresses of the name: {dead}"), fix)
}
