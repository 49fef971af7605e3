//! docs/dashboard.md names every setting, and no other; the examples are right.

use std::collections::BTreeSet;

use super::Config;

const PAGE: &str = include_str!("../../../../docs/dashboard.md");

const EXAMPLE: &str = include_str!("../../../../dist/dashboard/dashboard.toml");

/// The keys of the table, each with the text of its default.
fn rows() -> Vec<(String, String)> {
    let settings = PAGE.split("## Settings").nth(1).unwrap().split("\n## ").next().unwrap();
    let cells = settings.lines().filter_map(|line| line.strip_prefix("| `"));
    let row = |cells: &str| {
        let (key, rest) = cells.split_once("` | ").unwrap();
        (key.to_owned(), rest.split(" | ").next().unwrap().to_owned())
    };
    cells.map(row).collect()
}

/// The keys that a table of the settings has, by what it says about one that it does not know.
fn keys(table: &str) -> Vec<String> {
    let variable = format!("NIXFLEET_DASHBOARD_{}NOTHING", table.to_ascii_uppercase().replace('.', "__"));
    let why = Config::read(None, [(variable, "1".to_owned())], &[]).unwrap_err().to_string();
    let expected = why.split("expected `one of ").nth(1).or_else(|| why.split("expected ").nth(1)).unwrap();
    let names = expected.split('`').filter(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
    names.filter(|name| !name.is_empty()).map(|name| format!("{table}{name}")).collect()
}

#[test]
fn the_page_has_all_settings() {
    let mut all: BTreeSet<String> = keys("").into_iter().filter(|key| key != "nats").collect();
    all.extend(keys("nats."));
    let listed: BTreeSet<String> = rows().into_iter().map(|(key, _)| key).collect();
    assert_eq!(listed, all);
}

#[test]
fn the_page_has_the_defaults() {
    let Config { listen, no_login, log_level, .. } = Config::default();
    let defaults =
        [("listen", listen.to_string()), ("no_login", no_login.to_string()), ("log_level", log_level)];
    let rows = rows();
    for (key, default) in defaults {
        let row = rows.iter().find(|(listed, _)| listed == key).unwrap();
        assert_eq!(row.1, format!("`{default}`"), "{key}");
    }
}

#[test]
fn the_examples_are_right() {
    let blocks = PAGE.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let examples: Vec<&str> = blocks.chain([EXAMPLE]).collect();
    assert_eq!(examples.len(), 3);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dashboard.toml");
    for example in examples {
        assert!(example.contains("/etc/nixfleet/dashboard.toml"), "{example}");
        std::fs::write(&path, example).unwrap();
        let config = Config::read(Some(&path), [], &[]).unwrap();
        assert!(config.public().unwrap().is_secure);
    }
}
