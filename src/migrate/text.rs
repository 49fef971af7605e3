//! The new settings as TOML, and as options of the NixOS module.

use super::Old;
use super::plan::{Plan, Setting, Value};

/// Options of the NixOS module, by key. Where the module accepts certain values only, another one goes into
/// `settings`.
const OPTIONS: [(&str, &str, &[&str]); 12] = [
    ("url", "url", &[]),
    ("interval", "interval", &[]),
    ("hostname", "hostname", &[]),
    ("theme_color", "themeColor", &[]),
    ("location", "location", &["home", "work", "cloud"]),
    ("device_type", "deviceType", &["server", "desktop", "laptop", "gaming"]),
    ("log_level", "logLevel", &[]),
    ("repo.url", "repo.url", &[]),
    ("repo.dir", "repo.dir", &[]),
    ("repo.branch", "repo.branch", &[]),
    ("repo.ssh_key", "repo.sshKeyFile", &[]),
    ("rebuild.flake_attr", "rebuild.flakeAttr", &[]),
];

/// The text of `agent.toml`: what is not the default.
pub fn toml(plan: &Plan, old: &Old) -> String {
    let mut text =
        format!("# Settings of the Go agent, by nixfleet-agent migrate. Read: {}.\n", sources(old));
    let mut section = "";
    for Setting { key, value, comment } in &plan.settings {
        let (place, name) = key.split_once('.').map_or(("", *key), |(section, name)| (section, name));
        if place != section {
            text.push_str(&format!("\n[{place}]\n"));
            section = place;
        }
        if let Some(comment) = comment {
            text.push_str(&format!("# {comment}\n"));
        }
        let value = match value {
            Value::Text(text) => toml_text(text),
            Value::Number(number) => number.to_string(),
        };
        text.push_str(&format!("{name} = {value}\n"));
    }
    text
}

/// A NixOS module with the options.
pub fn nix(plan: &Plan, old: &Old) -> String {
    let mut text = format!(
        "# Options of the Go agent's module, by nixfleet-agent migrate. Read: {}.\n{{\n  \
         services.nixfleet-agent = {{\n    enable = true;\n",
        sources(old)
    );
    for Setting { key, value, comment } in &plan.settings {
        if let Some(comment) = comment {
            text.push_str(&format!("    # {comment}\n"));
        }
        text.push_str(&format!("    {} = {};\n", option(key, value), nix_value(value)));
        if *key == "url" {
            text.push_str(&token_file(plan));
        }
    }
    if plan.settings.iter().all(|setting| setting.key != "url") {
        text.push_str(&token_file(plan));
    }
    text.push_str("  };\n}\n");
    text
}

fn token_file(plan: &Plan) -> String {
    match &plan.token_file {
        Some(path) => format!("    tokenFile = {};\n", nix_text(&path.display().to_string())),
        None => "    # A file on the host that holds the token and nothing else, not in the Nix store.\n    \
                 tokenFile = \"/run/secrets/nixfleet-token\";\n"
            .to_owned(),
    }
}

/// The name under which a key is set: that of the option, or that in the file.
pub(super) fn name(key: &str, has_module: bool) -> String {
    let option = OPTIONS.iter().find(|(known, _, _)| *known == key).map(|(_, option, _)| *option);
    match (has_module, option) {
        (false, _) => key.to_owned(),
        (true, Some(option)) => option.to_owned(),
        (true, None) => format!("settings.{key}"),
    }
}

fn option(key: &str, value: &Value) -> String {
    let found = OPTIONS.iter().find(|(known, _, values)| {
        *known == key && (values.is_empty() || values.iter().any(|v| *value == Value::Text((*v).to_owned())))
    });
    found.map_or_else(|| format!("settings.{key}"), |(_, option, _)| (*option).to_owned())
}

fn nix_value(value: &Value) -> String {
    match value {
        Value::Text(text) => nix_text(text),
        Value::Number(number) => number.to_string(),
    }
}

/// Names of what was read. They are names of files, so a line end in them must not end the comment.
fn sources(old: &Old) -> String {
    old.sources.join(", ").escape_debug().to_string()
}

/// A basic string of TOML. Values have no control characters.
pub(super) fn toml_text(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn nix_text(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace("${", "\\${"))
}
