//! Settings: `agent.toml`, and files with variables.

use std::path::Path;

use figment::providers::{Format, Toml};
use figment::value::Dict;
use nixfleet_config::{Config, Source, environment_file as parser};

/// Longest list of problems, in bytes, beyond what the text of the file adds: each key has one, and each shows a part
/// of its value.
const MAX_PROBLEMS: usize = 128 * 1024;

/// `agent.toml`. An error has one printable line for each problem, and names the line if the text is no TOML.
pub fn settings(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let file = Path::new("agent.toml");
    let checked = Config::of_text(&Source::default(), file, text);
    let is_toml = <Toml as Format>::from_str::<Dict>(text).is_ok();
    match checked {
        Ok(config) => {
            assert!(is_toml);
            assert!((1..=3600).contains(&config.connection.interval.as_secs()));
            config.warnings.iter().for_each(|warning| check_line(warning));
        }
        Err(err) => {
            let lines = err.to_string();
            assert!(lines.len() <= MAX_PROBLEMS + 8 * text.len(), "{} bytes", lines.len());
            lines.split('\n').for_each(check_line);
            if !is_toml {
                let number = lines.strip_prefix("agent.toml:").and_then(|rest| rest.split_once(':'));
                let number = number.and_then(|(number, _)| number.parse::<usize>().ok());
                let last = text.split('\n').count();
                assert!(number.is_some_and(|number| (1..=last).contains(&number)), "{lines}");
            }
        }
    }
}

fn check_line(line: &str) {
    assert!(!line.is_empty() && !line.contains(char::is_control), "{line:?}");
    assert!(line.contains(": ") || line.contains("; "), "{line:?}");
}

/// A file with variables: names and values are parts of the text, one name is in one line.
pub fn environment_file(data: &[u8]) {
    let found = parser::assignments(data);
    let signs = data.iter().filter(|byte| **byte == b'=').count();
    assert!(found.len() <= signs, "{} assignments with {signs} signs", found.len());
    let length: usize = found.iter().map(|found| found.name.len() + found.value.len() + 1).sum();
    assert!(length <= data.len(), "{length} bytes of {}", data.len());
    for found in &found {
        // As for systemd, a sign at the beginning belongs to the name.
        assert!(!found.name.iter().skip(1).any(|byte| matches!(byte, b'\n' | b'\r' | b'=')), "{found:?}");
        assert_eq!(found.name.trim_ascii(), found.name, "{found:?}");
    }
    // Lines before the file change nothing, if they are complete.
    let behind = parser::assignments(&[b"# '\"\\\nA='b'\n", data].concat());
    assert_eq!(behind.get(1..), Some(found.as_slice()));
}
