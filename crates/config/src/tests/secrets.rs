//! Secrets in settings, and what is shown of them.

use super::*;
use crate::keys::{KEYS, Kind};

const SECRET: &str = "s3cret";

/// Everything that loading and checking these settings can print.
fn printed(given: &Given) -> String {
    match Config::check(&given.source) {
        Ok(config) => {
            let Config { connection, host, warnings } = config;
            let public = host.repo.public_url();
            let Host { repo, rebuild, .. } = host;
            format!("{connection:?} {} {repo:?} {rebuild:?} {public:?} {warnings:?}", connection.url)
        }
        Err(error) => error.to_string(),
    }
}

/// Keys whose values are shown on purpose: names, paths, labels and words that cannot open anything.
fn is_shown(key: &str) -> bool {
    (["paths.", "vitals.", "rebuild."].iter().any(|section| key.starts_with(section)) && key != "rebuild.env")
        || [
            "token_file",
            "ca_file",
            "proxy_login_file",
            "hostname",
            "user",
            "theme_color",
            "location",
            "device_type",
            "reported_version",
            "generation",
            "nixpkgs_version",
            "state_dir",
            "log_level",
            "repo.dir",
            "repo.branch",
            "repo.ssh_key",
            "jobs.launcher",
            "jobs.dir",
            "metrics.listen",
            "commands.*.cwd",
            "commands.*.description",
        ]
        .contains(&key)
}

#[test]
fn a_secret_in_any_key_that_may_hold_one_is_in_no_message() {
    for key in KEYS.iter().filter(|key| !is_shown(key.path)) {
        let values: Vec<String> = match (key.path, key.kind) {
            ("url", _) => [
                "wss://me:s3cret@h/ws",
                "wss://h/ws?token=s3cret",
                "wss//h?token=s3cret",
                "https://me:s3cret@h/ws?s3cret",
                "ws://192.0.2.1/ws?s3cret",
                "wss://me:s3/cret@h:x/s3cret@h",
                "wss:me:s3cret@h",
            ]
            .map(str::to_owned)
            .into(),
            ("proxy", _) => [
                "http://me:s3cret@h:1",
                "me:s3cret@h",
                "s3cret@h",
                "socks5h://s3cret@h",
                "ftp://me:s3cret@h",
                "http://me:s3/cret@h:1",
                "http://me:s3cret@h:x",
                "http://me:a/s3cret@h",
                "http:me:s3cret@h",
                "me:s3cret@[h",
            ]
            .map(str::to_owned)
            .into(),
            ("repo.url", _) => [
                "https://me:s3cret@h/r",
                "https://s3cret@h/r",
                "https://h/r?token=s3cret",
                "https://me:a/s3cret@h/r",
                "ssh://git:s3cret@h/r",
                "me:s3cret@h:r",
                "ext::s3cret",
                "-s3cret",
                "https://me:s3cret@h/\u{7}",
            ]
            .map(str::to_owned)
            .into(),
            (_, Kind::Words | Kind::Steps) => [
                "[\"a\", \"s3cret\"]",
                "[\"a\", \"s3cret\"",
                "[[\"s3cret\", 5]]",
                "[5, \"s3cret\"]",
                "{ s3cret = 5 }",
            ]
            .map(str::to_owned)
            .into(),
            (_, Kind::Checks) => [
                "[{ run = [\"a\", \"s3cret\"], timeout = 0 }]",
                "[{ run = [\"a\", \"s3cret\"], timeout = \"s3cret\" }]",
                "[{ run = \"s3cret\" }]",
                "[{ run = [\"s3cret\\u0000\"] }]",
                "[{ runs = [\"s3cret\"] }]",
                "[{ run = [\"s3cret\"",
                "s3cret",
            ]
            .map(str::to_owned)
            .into(),
            (_, Kind::Table) => [
                "{ A = \"s3cret\" }",
                "{ A = \"s3cret\"",
                "[\"s3cret\"]",
                "A=s3cret",
                "{ \"=\" = \"s3cret\" }",
            ]
            .map(str::to_owned)
            .into(),
            // Numbers and flags: a text in their place is shown, because it says what is wrong.
            _ => continue,
        };
        for value in values {
            let path = key.path.replace('*', "x");
            let name = format!("NIXFLEET_{}", path.to_ascii_uppercase().replace('.', "__"));
            let given = Given::new("", &[(&name, &value)]);
            let text = printed(&given);
            assert!(!text.contains(SECRET), "{name}={value}: {text}");
            // The same in the file; where it is no TOML, the message is about its syntax.
            let (section, last) = path.rsplit_once('.').unwrap_or(("", &path));
            let header = if section.is_empty() { String::new() } else { format!("[{section}]\n") };
            for written in [format!("{header}{last} = {value}\n"), format!("{header}{last} = {value:?}\n")] {
                let given = Given::new(&written, &[]);
                let given = if path == "url" { given.without("NIXFLEET_URL") } else { given };
                let text = printed(&given);
                assert!(!text.contains(SECRET), "{written}: {text}");
            }
        }
    }
}

#[test]
fn a_secret_that_git_would_show_to_every_user_is_warned_of() {
    for (url, wanted) in [
        ("https://h/r?token=s3cret", Some("repo.url: has a query, which every user")),
        ("ssh://git:s3cret@h/r", Some("repo.url: has a password, which every user")),
        ("https://me:s3cret@h/r", None),
        ("ssh://git@h/r", None),
        ("git@h:r", None),
    ] {
        let warnings = Given::new("", &[("NIXFLEET_REPO_URL", url)]).loads().warnings;
        match wanted {
            Some(wanted) => {
                assert!(warnings.len() == 1 && warnings[0].starts_with(wanted), "{url}: {warnings:?}")
            }
            None => assert!(warnings.is_empty(), "{url}: {warnings:?}"),
        }
    }
}
