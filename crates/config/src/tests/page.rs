//! The table of settings in docs/settings.md is complete, and names nothing that does not exist.

use super::*;
use crate::{environment, keys};

const PAGE: &str = include_str!("../../../../docs/settings.md");

#[test]
fn the_page_names_every_setting() {
    for key in keys::KEYS {
        match key.path.strip_prefix("commands.*.") {
            Some(name) => assert!(PAGE.contains(&format!("`{name}`")), "[commands.NAME] {name}"),
            None => {
                let row = PAGE.lines().find(|line| line.starts_with(&format!("| `{}` |", key.path)));
                let row = row.unwrap_or_else(|| panic!("no row for {}", key.path));
                assert!(row.contains("| `NIXFLEET_"), "no variable for {}", key.path);
            }
        }
    }
    let short = environment::SHORT_NAMES.iter().map(|(name, _)| name);
    for name in short.chain(environment::NO_KEYS) {
        assert!(PAGE.contains(&format!("`{name}`")), "{name}");
    }
}

#[test]
fn the_page_names_no_variable_that_is_no_setting() {
    let is_part = |letter: char| letter.is_ascii_uppercase() || letter == '_';
    let names = PAGE.split(|letter| !is_part(letter)).filter(|word| word.starts_with("NIXFLEET_"));
    // Names before a placeholder end in an underscore.
    for name in names.filter(|name| !name.ends_with('_')) {
        let given = Given::new("", &[(name, "x")]);
        assert_eq!(
            environment::warnings(&given.source).iter().find(|line| line.contains("is not a setting")),
            None
        );
        let problems = Config::load(&given.source).err().map_or_else(Vec::new, |error| error.problems);
        assert!(problems.iter().all(|problem| problem.what != "unknown variable"), "{name}");
    }
}
