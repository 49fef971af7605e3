//! The part of the plan about units, users and what they leave behind. No I/O.

use std::path::Path;

use super::plan::Plan;
use super::{Host, Old};

/// Folders whose units override those of packages (systemd.unit(5)).
const OVERRIDES: [&str; 3] = ["/etc/systemd/system", "/run/systemd/system", "/etc/systemd/system.control"];

/// The same on NixOS, where /etc/systemd/system is made by each switch.
const NIXOS_OVERRIDES: [&str; 2] = ["/run/systemd/system", "/etc/systemd/system.control"];

/// Adds what is different about units and users.
pub(super) fn compare(plan: &mut Plan, old: &Old, host: &Host) {
    rights(plan, old, host);
    unit(plan, old, host);
}

fn rights(plan: &mut Plan, old: &Old, host: &Host) {
    if let Some(person) = old.person() {
        plan.tell(
            "user",
            format!("the old agent and its commands ran as {person:?}; here commands run as root"),
            "check commands and scripts of tests that need that user's home or variables",
        );
    }
    for rule in &host.sudo_rules {
        plan.tell(
            "sudo",
            format!("{rule} lets the old user run nixos-rebuild"),
            "no command needs sudo here: remove the rule, unless somebody else uses it",
        );
    }
    if !host.closed_rules.is_empty() {
        let files: Vec<String> = host.closed_rules.iter().map(|file| file.display().to_string()).collect();
        let text = format!("this user may not look for rules in {}", files.join(", "));
        plan.tell("sudo", text, "run this command as root");
    }
}

fn unit(plan: &mut Plan, old: &Old, host: &Host) {
    if old.is_user_unit {
        plan.tell(
            "unit",
            "the old one belongs to a person's service manager; the new one is a unit of the system, or with \
             homeManagerModules.default again that of a person",
            "as that person: systemctl --user disable --now nixfleet-agent, or remove it from Home Manager",
        );
    }
    let folders: &[&str] = if host.is_nixos { &NIXOS_OVERRIDES } else { &OVERRIDES };
    for file in old.unit_files.iter().filter(|file| folders.iter().any(|folder| file.starts_with(folder))) {
        let shown = file.display();
        let (text, fix) = if file.extension() == Some("conf".as_ref()) {
            (
                format!("the drop-in {shown} would change the new unit, too"),
                "remove it, or keep what is still meant",
            )
        } else {
            (format!("{shown} would hide the new unit in /usr/lib/systemd/system"), "remove it")
        };
        plan.tell("unit", text, format!("{fix}; then systemctl daemon-reload"));
    }
    let Some(program) = old.command.first() else { return };
    let name = Path::new(program.trim_start_matches(['@', '-', ':', '+', '!', '|'])).file_name();
    if name != Some("nixfleet-agent".as_ref()) {
        let text =
            format!("it starts {program:?}, not the agent itself; what that program sets is not seen here");
        plan.tell("unit", text, "look into it for more settings, and give them with --env-file");
    }
}
