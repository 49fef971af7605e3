//! `nixfleet-agent wait-registered`: ends well as soon as the agent of this host is registered with its dashboard.
//!
//! It is for units that need a host which its fleet can reach: above all for `boot-complete.target`, before which a boot
//! loader with boot counting does not call a boot good.

use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, ValueHint};

use nixfleet_config::{Host, Source};

use super::{Failure, complain};
use crate::observe::journald::Priority;
use crate::observe::status::{Report, client};

/// Time between two questions. An answer costs the agent less than a millisecond.
const PAUSE: Duration = Duration::from_secs(1);

/// Longest time that can be waited for, in seconds: a day.
const LONGEST: u64 = 24 * 3600;

/// What to wait for.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Seconds to wait, 1 to 86400
    #[arg(long, value_name = "SECONDS", value_hint = ValueHint::Other, default_value_t = 600)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=LONGEST))]
    timeout: u64,
}

/// Waits.
pub(super) fn run(source: &Source, options: &Options) -> Result<(), Failure> {
    let (host, instead) = Host::to_look_at(source);
    if let Some(line) = instead {
        complain(Priority::Warning, &format!("warning: {line}"));
    }
    let places = client::places(&host);
    let deadline = Instant::now() + Duration::from_secs(options.timeout);
    loop {
        let why = match client::ask(&places) {
            Ok(document) => match missing(&document) {
                None => return Ok(()),
                Some(why) => why,
            },
            Err(why) => why.to_string(),
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Failure::Start(format!(
                "not registered within {} s: {why}; nixfleet-agent doctor looks for the cause",
                options.timeout
            )));
        }
        thread::sleep(PAUSE.min(left));
    }
}

/// What keeps the agent with that report from being registered; none if it is.
fn missing(document: &[u8]) -> Option<String> {
    let report: Report = match serde_json::from_slice(document) {
        Ok(report) => report,
        Err(err) => return Some(format!("the agent's answer makes no sense: {err}")),
    };
    if report.is_connected() {
        return None;
    }
    let state = report.connection.state.as_str();
    Some(match report.connection.last_error {
        Some(error) => format!("the agent is {state}: {error}"),
        None => format!("the agent is {state}, without an error so far"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_connection_that_stands_counts() {
        for (document, expected) in [
            (r#"{"connection":{"state":"connected","since":""}}"#, None),
            (
                r#"{"connection":{"state":"connecting","since":""}}"#,
                Some("the agent is connecting, without an error so far"),
            ),
            (
                r#"{"connection":{"state":"waiting","since":"","last_error":"401"},"metrics":{"registrations":3}}"#,
                Some("the agent is waiting: 401"),
            ),
            ("{}", Some("the agent is connecting, without an error so far")),
        ] {
            assert_eq!(missing(document.as_bytes()).as_deref(), expected, "{document}");
        }
        assert!(missing(b"[").unwrap().starts_with("the agent's answer makes no sense"));
    }
}
