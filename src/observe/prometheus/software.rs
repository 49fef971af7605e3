//! What is deployed on the host, and how up to date it is.

use super::Look;
use super::text::{Text, seconds};
use crate::facts::{Facts, UNKNOWN, reboot_required};
use crate::observe::status::{LIGHTS, Light, Lights, Report};

/// Everything about the host's software.
pub(super) fn all(text: &mut Text, report: &Report, look: &Look) {
    info(text, &look.facts);
    if let Some(host) = &report.host {
        lights(text, &host.lights);
    }
    let measured = look.vitals.reboot_required.map(|required| required.value);
    let required = reboot_required(look.facts.waits_for_boot, measured);
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

fn lights(text: &mut Text, lights: &Lights) {
    let parts: [(&str, &Light); 4] =
        [("git", &lights.git), ("lock", &lights.lock), ("system", &lights.system), ("tests", &lights.tests)];
    let judged = || parts.iter().filter(|(_, light)| !light.status.is_empty());
    text.rows(
        "update_state",
        "gauge",
        "How up to date each part of the host is: 1 for the state that it has, 0 for the others.",
        judged().flat_map(|(part, light)| {
            LIGHTS.iter().map(move |state| {
                let labels = vec![("part", (*part).into()), ("state", (*state).into())];
                (labels, Some(f64::from(u8::from(light.status == *state))))
            })
        }),
    );
    text.rows(
        "update_checked_timestamp_seconds",
        "gauge",
        "When each part of the host was examined.",
        judged().map(|(part, light)| (vec![("part", (*part).into())], seconds(&light.checked_at))),
    );
}
