//! The steps `dns` and `tcp`: the addresses of the name, and which of them can be reached.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::super::{Finding, fail, ok, skipped, warning};

/// Time limit for TCP, to all addresses concurrently. The agent allows the same for each address.
const REACH: Duration = Duration::from_secs(4);

pub(super) async fn reach(addresses: &[SocketAddr]) -> Vec<(SocketAddr, Result<Duration, String>)> {
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

pub(super) fn dns(host: &str, found: &Result<Vec<SocketAddr>, String>, took: Duration) -> Finding {
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

pub(super) fn tcp(reached: &[(SocketAddr, Result<Duration, String>)]) -> Finding {
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
