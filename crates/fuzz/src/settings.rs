//! Settings: `agent.toml`.

use std::path::Path;

use figment::providers::{Format, Toml};
use figment::value::{Dict, Value};
use nixfleet_config::{Config, Source};

/// Longest list of problems, in bytes, beyond what the text of the file adds: each key has one, and each shows a part
/// of its value.
const MAX_PROBLEMS: usize = 128 * 1024;

/// `agent.toml`. An error has one printable line for each problem, and names the line if the text is no TOML. Settings
/// are what the TOML says.
pub fn settings(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let file = Path::new("agent.toml");
    let checked = Config::of_text(&Source::default(), file, text);
    let toml = <Toml as Format>::from_str::<Dict>(text).ok();
    let is_toml = toml.is_some();
    match checked {
        Ok(config) => {
            assert!((1..=3600).contains(&config.connection.interval.as_secs()));
            is_what_the_text_says(&config, &toml.expect("TOML, because it was accepted"));
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
    assert_eq!(nixfleet_os::text::printable(line, false), line);
    assert!(line.contains(": ") || line.contains("; "), "{line:?}");
}

/// Values that need no default are those of the file.
fn is_what_the_text_says(config: &Config, toml: &Dict) {
    let number = |section: &str, name: &str| {
        let found = if section.is_empty() { toml.get(name) } else { toml.get(section)?.as_dict()?.get(name) };
        found.and_then(Value::to_i128)
    };
    let text = |name: &str| toml.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let jobs = &config.host.jobs;
    for (section, name, used) in [
        ("", "interval", i128::from(config.connection.interval.as_secs())),
        ("jobs", "keep", jobs.keep as i128),
        ("jobs", "stop_grace", i128::from(jobs.stop_grace.as_secs())),
        ("jobs", "log_limit", i128::from(jobs.log_limit)),
    ] {
        let wanted = number(section, name);
        assert!(wanted.is_none_or(|wanted| wanted == used), "{section} {name} is {used} and not {wanted:?}");
    }
    for (name, used) in [
        ("hostname", &config.host.hostname),
        ("theme_color", &config.host.theme_color),
        ("location", &config.host.location),
        ("device_type", &config.host.device_type),
    ] {
        let wanted = text(name);
        assert!(wanted.is_none_or(|wanted| wanted == used), "{name} is {used} and not {wanted:?}");
    }
    let named: Vec<&String> =
        toml.get("commands").and_then(Value::as_dict).into_iter().flat_map(Dict::keys).collect();
    assert_eq!(config.host.commands.keys().collect::<Vec<_>>(), named);
    assert!(config.host.commands.keys().all(|name| !name.is_empty() && !name.contains('/')), "{named:?}");
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn settings_of_the_corpus_are_accepted() {
        for name in ["accepted", "many-jobs"] {
            let text = fs::read_to_string(crate::mutate::corpus("settings").join(name)).unwrap();
            Config::of_text(&Source::default(), Path::new("agent.toml"), &text).unwrap();
        }
    }
}
