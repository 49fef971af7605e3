//! What is deployed on the host, and how up to date it is.

use std::time::Duration;

use jiff::Timestamp;

use nixfleet_protocol::{UpdateState, UpdateStatus, Verdict};

use super::Look;
use super::text::{Text, seconds};
use crate::facts::{Facts, UNKNOWN, update};
use crate::observe::status::Report;

/// Every light that a part can have. A part of which the agent has no opinion has none.
const STATES: [(UpdateState, &str); 5] = [
    (UpdateState::Ok, "ok"),
    (UpdateState::Outdated, "outdated"),
    (UpdateState::Error, "error"),
    (UpdateState::Unknown, "unknown"),
    (UpdateState::Working, "working"),
];

/// Everything about the host's software.
pub(super) fn all(text: &mut Text, report: &Report, look: &Look) {
    info(text, &look.facts);
    lights(text, &lit(&look.facts, report, look.at));
    let measured = look.vitals.reboot_required.map(|required| required.value);
    let required = if look.facts.waits_for_boot { Some(true) } else { measured };
    let help = "Whether the host needs a reboot to run what is deployed.";
    text.gauge("reboot_required", help, required.map(u8::from));
}

fn info(text: &mut Text, facts: &Facts) {
    let known = |name, value: &str| (name, if value == UNKNOWN { String::new() } else { value.to_owned() });
    let commit = |value: &Option<String>| value.clone().unwrap_or_default();
    let labels = [
        known("generation", &facts.generation),
        known("nixpkgs_version", &facts.nixpkgs_version),
        known("os_version", &facts.os_version),
        known("configuration_revision", &commit(&facts.system.configuration_revision)),
        known("checkout", &commit(&facts.system.repo_commit)),
    ];
    if labels.iter().any(|(_, value)| !value.is_empty()) {
        let labels = labels.map(|(name, value)| (name, value.into())).into();
        let help = "The deployed system: commit, versions, the commit it names, the commit of the checkout.";
        text.rows("system_info", "gauge", help, [(labels, Some(1.0))]);
    }
}

/// The lights as a heartbeat at this time has them.
fn lit(facts: &Facts, report: &Report, now: Timestamp) -> UpdateStatus {
    let mut status = facts.update_status.clone();
    if let Some(running) = report.running() {
        let since = running.since.parse::<Timestamp>().ok();
        let age = since.and_then(|since| Duration::try_from(now.duration_since(since)).ok());
        let interval = Duration::from_secs(report.interval_s);
        update::mark_working(
            &mut status,
            &running.command,
            age.unwrap_or_default(),
            interval,
            &running.since,
        );
    }
    status
}

fn lights(text: &mut Text, status: &UpdateStatus) {
    let parts: [(&str, &Verdict); 4] =
        [("git", &status.git), ("lock", &status.lock), ("system", &status.system), ("tests", &status.tests)];
    let judged = || parts.iter().filter(|(_, verdict)| verdict.status != UpdateState::None);
    text.rows(
        "update_state",
        "gauge",
        "How up to date each part of the host is: 1 for the state that it has, 0 for the others.",
        judged().flat_map(|(part, verdict)| {
            STATES.iter().map(move |(state, name)| {
                let labels = vec![("part", (*part).into()), ("state", (*name).into())];
                (labels, Some(f64::from(u8::from(verdict.status == *state))))
            })
        }),
    );
    text.rows(
        "update_checked_timestamp_seconds",
        "gauge",
        "When each part of the host was examined.",
        judged().map(|(part, verdict)| (vec![("part", (*part).into())], seconds(&verdict.checked_at))),
    );
}
