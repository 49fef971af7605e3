//! The part of the plan about the repository: its address, its checkout, and the key for it. No I/O.

use nixfleet_config::DEFAULT_FILE;

use super::host::OWN_CHECKOUT;
use super::plan::Plan;
use super::{Host, Old, text};

/// Adds address, folder, branch and key, and what is different about them.
pub(super) fn compare(plan: &mut Plan, old: &Old, host: &Host) {
    checkout(plan, old, host);
    ssh_key(plan, old, host);
}

fn checkout(plan: &mut Plan, old: &Old, host: &Host) {
    const ABOUT: &str = "repository";
    if let (Some(_), Some(dir)) = (old.text("NIXFLEET_NIXCFG"), old.text("NIXFLEET_REPO_DIR")) {
        plan.tell(ABOUT, format!("NIXFLEET_NIXCFG is the old name of NIXFLEET_REPO_DIR: {dir:?} counts"), "");
    }
    if let Some(branch) = old.text("NIXFLEET_BRANCH").filter(|branch| *branch != "main") {
        plan.set("repo.branch", branch, None);
    }
    match (old.text("NIXFLEET_REPO_URL"), old.folder()) {
        (Some(url), folder) => {
            plan.set("repo.url", url, None);
            if has_login(url) {
                plan.holds_password = true;
                let (place, fix) = if host.has_module {
                    let key = text::name("repo.ssh_key", true);
                    (
                        "the Nix store",
                        format!("use an SSH key ({key}), or a login that can do nothing but read"),
                    )
                } else {
                    let fix = format!("chgrp nixfleet-agent {DEFAULT_FILE} && chmod 0640 {DEFAULT_FILE}");
                    ("a file of mode 0644", format!("{fix}, or use an SSH key"))
                };
                plan.tell(
                    ABOUT,
                    format!("its address contains a login, which everybody could read in {place}"),
                    fix,
                );
            }
            if let Some(folder) = folder.filter(|folder| *folder != OWN_CHECKOUT) {
                plan.tell(
                    ABOUT,
                    format!(
                        "{folder:?} was set beside an address, and the old agent worked in a clone of its own; here \
                         that folder would be the clone, and pull would remove what is not committed in it"
                    ),
                    format!("it is left out: the clone is {OWN_CHECKOUT}, as before"),
                );
            }
            if let Some(owner) = &host.foreign_checkout {
                plan.tell(
                    ABOUT,
                    format!("{OWN_CHECKOUT} belongs to {owner}, and git refuses to work there as root"),
                    format!("mv {OWN_CHECKOUT} {OWN_CHECKOUT}.old (or: chown -R root:root {OWN_CHECKOUT})"),
                );
            }
        }
        (None, Some(folder)) => {
            plan.set("repo.dir", folder, None);
            let owner = host.folder_owner.as_deref();
            plan.tell(
                ABOUT,
                match owner {
                    Some(owner) => {
                        format!("git works in {folder:?} as {owner}, its owner, and nixos-rebuild as root")
                    }
                    None => format!(
                        "nobody can look at {folder:?} now, so it is unknown who git will work there as"
                    ),
                },
                if owner.is_some() { "" } else { "is it there? It runs as the owner of the folder" },
            );
        }
        (None, None) => plan.tell(
            ABOUT,
            "neither an address nor a folder was set",
            "pull, switch, test and update need repo.url or repo.dir",
        ),
    }
}

/// Whether the address of a repository contains a password or a token.
fn has_login(url: &str) -> bool {
    let web = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    web.is_some_and(|rest| rest.split('/').next().is_some_and(|host| host.contains('@')))
}

/// Whether git reaches the address by SSH.
fn is_ssh(url: &str) -> bool {
    url.starts_with("ssh://") || (!url.contains("://") && !url.starts_with('/') && url.contains(':'))
}

fn ssh_key(plan: &mut Plan, old: &Old, host: &Host) {
    const ABOUT: &str = "SSH key";
    if let Some(key) = old.text("NIXFLEET_SSH_KEY") {
        plan.set("repo.ssh_key", key, None);
        return;
    }
    // In a folder alone, git runs as its owner, whose keys it finds.
    let (Some(url), Some(person)) = (old.text("NIXFLEET_REPO_URL"), old.person()) else { return };
    if !is_ssh(url) {
        return;
    }
    let setting = text::name("repo.ssh_key", host.has_module);
    let before = format!("the old agent ran as {person:?}, whose keys ssh found; here git runs as root");
    match host.keys.as_deref() {
        Some([key]) => {
            plan.set(
                "repo.ssh_key",
                key.display().to_string(),
                Some("The key that the Go agent used. One that only this host has would be better."),
            );
            let fix = format!("{} is set, and must have no passphrase", key.display());
            plan.tell(ABOUT, before, fix);
        }
        Some(keys) => {
            let names: Vec<String> = keys.iter().map(|key| key.display().to_string()).collect();
            let which = if names.is_empty() {
                "that user has no key with a usual name; perhaps an agent had it".to_owned()
            } else {
                format!("which of {} is it?", names.join(", "))
            };
            plan.tell(ABOUT, before, format!("{which}; set {setting} to a key without a passphrase"));
        }
        None => plan.tell(
            ABOUT,
            before,
            format!(
                "the keys of that user were not seen: run this command as root on the host itself, or look there; \
                 set {setting} to a key without a passphrase"
            ),
        ),
    }
    if let Some(config) = &host.ssh_config {
        plan.tell(
            ABOUT,
            format!("{} is not read for root", config.display()),
            "does it have a line for the repository's server? Then /root/.ssh/config needs it, too",
        );
    }
}
