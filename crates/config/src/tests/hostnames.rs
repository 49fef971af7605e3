//! The name of this host.

use super::*;
use crate::check::Checker;
use crate::hostname::validated;

#[test]
fn a_name_with_a_domain_is_shortened_with_a_warning() {
    for (toml, name, wanted) in [
        ("", "db", None),
        (
            "",
            "host.lan",
            Some(
                "hostname: \"host.lan\" is shortened to \"host\" for the dashboard and in the flake (environment variable NIXFLEET_HOSTNAME); set hostname = \"host\" if that is right, and rebuild.flake_attr = \"host.lan\" if the flake has the long name",
            ),
        ),
        (
            "rebuild.flake_attr = 'other'",
            "host.example.org",
            Some(
                "hostname: \"host.example.org\" is shortened to \"host\" for the dashboard (environment variable NIXFLEET_HOSTNAME); set hostname = \"host\" if that is right",
            ),
        ),
        (
            "rebuild.flake_attr = 'other'",
            "db.",
            Some(
                "hostname: \"db.\" is shortened to \"db\" for the dashboard (environment variable NIXFLEET_HOSTNAME); set hostname = \"db\" if that is right",
            ),
        ),
    ] {
        let config = Given::new(toml, &[("NIXFLEET_HOSTNAME", name)]).loads();
        assert_eq!(config.host.hostname, name.split('.').next().unwrap());
        assert_eq!(config.warnings, wanted.into_iter().collect::<Vec<_>>(), "{name}");
    }
}

#[test]
fn a_name_with_an_underscore_is_refused_with_the_lines_to_write() {
    for (toml, name, wanted) in [
        (
            "",
            "web_1",
            "hostname: \"web_1\" has an underscore, and dashboards refuse such a host (FILE); write hostname = \"web-1\" and rebuild.flake_attr = \"web_1\" in the settings",
        ),
        (
            "rebuild.flake_attr = 'x'",
            "_db_1_.example.org",
            "hostname: \"_db_1_.example.org\" has an underscore, and dashboards refuse such a host (FILE); write hostname = \"db-1\" in the settings",
        ),
        (
            "",
            "___",
            "hostname: \"___\" is not 1 to 63 letters, digits and hyphens (FILE); set NIXFLEET_HOSTNAME to a short name such as web-1",
        ),
        (
            "",
            "-bad",
            "hostname: \"-bad\" begins or ends with a hyphen, and programs take such a name for an option (FILE); write hostname = \"bad\"",
        ),
        (
            "",
            "bad-.lan",
            "hostname: \"bad-.lan\" begins or ends with a hyphen, and programs take such a name for an option (FILE); write hostname = \"bad\"",
        ),
        (
            "",
            "--",
            "hostname: \"--\" is not 1 to 63 letters, digits and hyphens (FILE); set NIXFLEET_HOSTNAME to a short name such as web-1",
        ),
        (
            "",
            "a_ b",
            "hostname: \"a_ b\" is not 1 to 63 letters, digits and hyphens (FILE); set NIXFLEET_HOSTNAME to a short name such as web-1",
        ),
    ] {
        let given = Given::new(&format!("hostname = {name:?}\n{toml}\n"), &[]).without("NIXFLEET_HOSTNAME");
        assert_eq!(given.fails(), wanted);
    }
    assert_eq!(
        Given::new("", &[("NIXFLEET_HOSTNAME", "web_1")]).fails(),
        "hostname: \"web_1\" has an underscore, and dashboards refuse such a host (environment variable NIXFLEET_HOSTNAME); write hostname = \"web-1\" and rebuild.flake_attr = \"web_1\" in the settings instead of the variable"
    );
}

/// The result, the problems and the warnings for a name from the kernel.
fn from_kernel(name: &str) -> (String, Vec<String>, Vec<String>) {
    let given = Given::new("", &[]).without("NIXFLEET_HOSTNAME");
    let (layers, mut problems) = layers::Layers::read(&given.source).unwrap();
    let mut check = Checker::new(&layers, &given.source, &mut problems);
    let used = validated(&mut check, name, "the system's name ", "alice");
    let warnings = std::mem::take(&mut check.warnings);
    (used, problems.iter().map(Problem::to_string).collect(), warnings)
}

#[test]
fn the_systems_name_is_judged_like_a_setting() {
    assert_eq!(from_kernel("web-1"), ("web-1".to_owned(), vec![], vec![]));
    let long = "hostname: the system's name \"host.lan\" is shortened to \"host\" for the dashboard and in the flake; set hostname = \"host\" if that is right, and rebuild.flake_attr = \"host.lan\" if the flake has the long name";
    assert_eq!(from_kernel("host.lan"), ("host".to_owned(), vec![], vec![long.to_owned()]));
    let underscore = "hostname: the system's name \"my_host\" has an underscore, and dashboards refuse such a host; write hostname = \"my-host\" and rebuild.flake_attr = \"my_host\" in the settings";
    assert_eq!(from_kernel("my_host").1, [underscore]);
    let bad = "hostname: the system's name \"(none)\" is not 1 to 63 letters, digits and hyphens; set NIXFLEET_HOSTNAME to a short name such as web-1";
    assert_eq!(from_kernel("(none)").1, [bad]);
}

proptest! {
    /// NixOS's own rule for names, with what it does not allow around it.
    #[test]
    fn every_name_is_used_shortened_or_refused_with_a_name_that_is_allowed(name in "[a-zA-Z0-9_.-]{0,70}|\\PC{0,10}") {
        let (used, problems, warnings) = from_kernel(&name);
        let is_allowed = |name: &str| {
            (1..=63).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !name.starts_with('-')
                && !name.ends_with('-')
        };
        prop_assert_eq!(problems.is_empty(), is_allowed(&used));
        prop_assert_eq!(!warnings.is_empty(), problems.is_empty() && used != name);
        if let Some((_, line)) = problems.iter().find_map(|line| line.split_once("write hostname = \"")) {
            let near = line.split('"').next().unwrap();
            prop_assert!(is_allowed(near), "{}", line);
        }
    }
}
