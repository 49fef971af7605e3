//! Checks of rows of docs/migration.md that no other test makes.

use std::fs;
use std::path::Path;

use crate::migrate::host::{OldHost, USUAL};
use crate::rig::run_program;

/// Variables of which `check-config` has nothing to say.
const GOOD: [(&str, &str); 4] = [
    ("NIXFLEET_URL", "wss://fleet.example.org/ws"),
    ("NIXFLEET_TOKEN", "token"),
    ("NIXFLEET_HOSTNAME", "web-1"),
    ("NIXFLEET_STATE_DIR", "/tmp/x"),
];

/// `check-config` of a host with these variables: exit code and standard error.
fn checked(variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let output = run_program(&["check-config"], &[&GOOD[..], variables].concat());
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[track_caller]
fn accepted(variables: &[(&str, &str)], warning: &str) {
    let (code, said) = checked(variables);
    assert_eq!(code, Some(0), "{said}");
    assert!(if warning.is_empty() { said.is_empty() } else { said.contains(warning) }, "{said}");
    assert!(said.lines().count() <= 1, "one warning: {said}");
}

#[track_caller]
fn refused(variables: &[(&str, &str)], why: &str) {
    let (code, said) = checked(variables);
    assert!(code == Some(64) && said.contains(why), "{code:?} {said}");
}

pub(super) fn token_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let variables = [("NIXFLEET_TOKEN", ""), ("NIXFLEET_TOKEN_FILE", file.to_str().unwrap())];
    for (text, warning) in [("token", ""), ("NIXFLEET_TOKEN=\"token\"\n", "NIXFLEET_TOKEN")] {
        fs::write(&file, text).unwrap();
        accepted(&variables, warning);
    }
    fs::write(&file, "two words").unwrap();
    refused(&variables, "token");
}

pub(super) fn hostnames() {
    accepted(&[("NIXFLEET_HOSTNAME", "web-1.lan")], "\"web-1.lan\" is shortened to \"web-1\"");
    refused(&[("NIXFLEET_HOSTNAME", "web_1")], "rebuild.flake_attr = \"web_1\"");
}

pub(super) fn log_levels() {
    accepted(&[("NIXFLEET_LOG_LEVEL", "debug")], "");
    refused(&[("NIXFLEET_LOG_LEVEL", "loud")], "\"loud\" is not a level");
    let found = OldHost::new(&format!("{USUAL}Environment=NIXFLEET_LOG_LEVEL=loud\n")).migrate(&[]);
    assert!(!found.settings().contains("log_level"), "{}", found.out);
}

pub(super) fn intervals() {
    for good in ["1", "3600"] {
        accepted(&[("NIXFLEET_INTERVAL", good)], "");
    }
    for bad in ["0", "3601", "5s"] {
        refused(&[("NIXFLEET_INTERVAL", bad)], "NIXFLEET_INTERVAL");
    }
    let output = run_program(&["check-config"], &GOOD);
    assert!(String::from_utf8(output.stdout).unwrap().ends_with("every 30 s.\n"));
    let old = OldHost::new("Environment=NIXFLEET_URL=wss://x/ws\n").migrate(&[]);
    assert!(old.settings().contains("\ninterval = 5\n"), "{}", old.out);
}

pub(super) fn unencrypted() {
    let far = ("NIXFLEET_URL", "ws://fleet.example.org/ws");
    refused(&[far], "NIXFLEET_ALLOW_INSECURE=1");
    accepted(&[far, ("NIXFLEET_ALLOW_INSECURE", "1")], "");
}

pub(super) fn old_names() {
    accepted(&[("NIXFLEET_NIXCFG", "/srv/fleet")], "NIXFLEET_NIXCFG is the old name of NIXFLEET_REPO_DIR");
    let (_, said) = checked(&[("NIXFLEET_TOKEN_CACHE", "/x")]);
    assert!(said.contains("NIXFLEET_TOKEN_CACHE") && !said.contains("did you mean"), "{said}");
}

/// The folder wins over the one in the state folder, so `migrate` leaves it out.
pub(super) fn two_places() {
    let variables =
        [("NIXFLEET_REPO_URL", "https://git.example.org/x"), ("NIXFLEET_REPO_DIR", "/home/alice/fleet")];
    let given = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut environment = std::collections::BTreeMap::from(given);
    environment.insert("NIXFLEET_STATE_DIR".to_owned(), "/var/lib/nixfleet-agent".to_owned());
    environment.insert("NIXFLEET_HOSTNAME".to_owned(), "web-1".to_owned());
    let host = nixfleet_config::Host::load(&nixfleet_config::Source { file: None, environment }).unwrap();
    assert_eq!(host.repo.dir.as_deref(), Some(Path::new("/home/alice/fleet")));
    let found =
        OldHost::new(&format!("{USUAL}Environment=NIXFLEET_REPO_DIR=/home/alice/fleet\n")).migrate(&[]);
    assert!(!found.settings().contains("/home/alice"), "{}", found.out);
}

pub(super) fn generation() {
    for choice in ["deployed", "checkout"] {
        accepted(&[("NIXFLEET_GENERATION", choice), ("NIXFLEET_REPO_DIR", "/srv/fleet")], "");
    }
    refused(&[("NIXFLEET_GENERATION", "checkout")], "generation");
    refused(&[("NIXFLEET_GENERATION", "newest")], "generation");
}
