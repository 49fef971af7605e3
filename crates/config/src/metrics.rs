//! Validates the address of the metrics page.

use std::net::SocketAddr;

use crate::Metrics;
use crate::check::Checker;
use crate::layers::quoted;

pub(super) fn metrics(check: &mut Checker<'_>) -> Metrics {
    let given = &check.layers.settings.metrics;
    let Some(text) = given.listen.as_deref().filter(|text| !text.is_empty()) else {
        return Metrics { listen: None };
    };
    let listen = match text.parse::<SocketAddr>() {
        Ok(address) => Some(address),
        Err(_) => {
            let what = format!("{} is not an address with a port", quoted(text));
            check.refuse("metrics.listen", what, "set it to 127.0.0.1:9464");
            None
        }
    };
    if let Some(address) = listen.filter(|address| !address.ip().is_loopback() && !given.allow_remote) {
        check.refuse(
            "metrics.listen",
            format!("{address} can be reached by other machines, and nobody is asked for a password"),
            "set it to 127.0.0.1:9464, or set NIXFLEET_METRICS__ALLOW_REMOTE=1 on a network you trust",
        );
    }
    Metrics { listen }
}
