//! docs/gateway.md names every setting, and no other.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Settings;

const PAGE: &str = include_str!("../../../../docs/gateway.md");

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
    let variable = format!("NIXFLEET_GATEWAY_{}NOTHING", table.to_ascii_uppercase().replace('.', "__"));
    let why = Settings::read(None, [(variable, "1".to_owned())]).unwrap_err().to_string();
    let expected = why.split("expected `one of ").nth(1).or_else(|| why.split("expected ").nth(1)).unwrap();
    let names = expected.split('`').filter(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
    names.filter(|name| !name.is_empty()).map(|name| format!("{table}{name}")).collect()
}

#[test]
fn the_page_has_all_settings() {
    let tables = ["nats", "streams", "tls"];
    let mut all: BTreeSet<String> =
        keys("").into_iter().filter(|key| !tables.contains(&key.as_str())).collect();
    for table in tables {
        all.extend(keys(&format!("{table}.")));
    }
    let listed: BTreeSet<String> = rows().into_iter().map(|(key, _)| key).collect();
    assert_eq!(listed, all);
}

#[test]
fn the_page_has_the_defaults() {
    let variables = [("NATS__SERVERS", "[\"nats://n\"]"), ("TOKENS_FILE", "/t")];
    let variables = variables.map(|(name, value)| (format!("NIXFLEET_GATEWAY_{name}"), value.to_owned()));
    let settings = Settings::read(None, variables).unwrap();
    let Settings { listen, health_listen, reconnect_window_s, ping_interval_s, silence_limit_s, .. } =
        &settings;
    let Settings { max_connections, log_level, streams, .. } = &settings;
    let listen: Vec<String> = listen.iter().map(ToString::to_string).collect();
    let defaults = [
        ("listen", Value::from(listen).to_string()),
        ("health_listen", health_listen.to_string()),
        ("reconnect_window_s", reconnect_window_s.to_string()),
        ("ping_interval_s", ping_interval_s.to_string()),
        ("silence_limit_s", silence_limit_s.to_string()),
        ("max_connections", max_connections.to_string()),
        ("log_level", log_level.clone()),
        ("streams.replicas", streams.replicas.to_string()),
        ("streams.log_max_age_days", streams.log_max_age_days.to_string()),
        ("streams.log_max_bytes", streams.log_max_bytes.to_string()),
    ];
    let rows = rows();
    for (key, default) in defaults {
        let row = rows.iter().find(|(listed, _)| listed == key).unwrap();
        assert_eq!(row.1, format!("`{default}`"), "{key}");
    }
}

#[test]
fn the_example_is_right() {
    let example = PAGE.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    assert!(example.starts_with("# /etc/nixfleet/gateway.toml"), "{example}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.toml");
    std::fs::write(&path, example).unwrap();
    let settings = Settings::read(Some(&path), []).unwrap();
    assert_eq!(settings.nats.servers.len(), 3);
}
