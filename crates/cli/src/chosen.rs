//! Which hosts are meant.

use std::collections::HashSet;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::Path;

use nixfleet_os::bounded_read;

use crate::args::Which;
use crate::exit::Failure;
use crate::fleet_view::{Fleet, Host};
use crate::pattern::{Pattern, natural};

/// The longest list of names, in bytes: more than a million of the longest names.
const MAX_LIST: u64 = 64 * 1024 * 1024;

/// Names that a question shows.
const SHOWN: usize = 5;

/// Hosts to do something with.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Chosen {
    /// Their names, each once, in the order in which they were named; those of a pattern as people count.
    pub(crate) hosts: Vec<String>,
    /// Names that no gateway has ever seen.
    pub(crate) unknown: Vec<String>,
    /// Patterns that no host has.
    pub(crate) empty: Vec<String>,
    /// Some of them are there by a pattern, so that nobody may have read their names.
    pub(crate) by_pattern: bool,
}

/// The hosts of these patterns that `wanted` takes.
pub(crate) fn choose(patterns: &[Pattern], fleet: &Fleet, wanted: impl Fn(&Host) -> bool) -> Chosen {
    let mut chosen = Chosen::default();
    let mut seen = HashSet::new();
    let mut sorted: Vec<(&String, &Host)> = fleet.hosts.iter().collect();
    sorted.sort_by_cached_key(|(name, _)| natural(name));
    for pattern in patterns {
        if let Some(name) = pattern.name() {
            match fleet.hosts.get(name) {
                None if seen.insert(name.to_owned()) => chosen.unknown.push(name.to_owned()),
                Some(host) if wanted(host) && seen.insert(name.to_owned()) => {
                    chosen.hosts.push(name.to_owned())
                }
                _ => {}
            }
            continue;
        }
        let mut matching = sorted.iter().filter(|(name, _)| pattern.matches(name)).peekable();
        if matching.peek().is_none() {
            chosen.empty.push(pattern.text().to_owned());
        }
        for (name, _) in matching.filter(|(_, host)| wanted(host)) {
            if seen.insert((*name).clone()) {
                chosen.by_pattern = true;
                chosen.hosts.push((*name).clone());
            }
        }
    }
    chosen
}

/// The patterns of a command line that needs hosts.
pub(crate) fn patterns(which: &Which) -> Result<Vec<Pattern>, Failure> {
    let mut words = which.hosts.clone();
    if which.all {
        words.push("*".to_owned());
    }
    if let Some(path) = &which.from {
        words.extend(list(path)?);
    }
    if words.is_empty() {
        return Err(Failure::usage(
            "no host is named: name hosts or patterns such as 'web-*', or give --all or --from FILE",
        ));
    }
    read(&words)
}

/// Patterns out of words.
pub(crate) fn read(words: &[String]) -> Result<Vec<Pattern>, Failure> {
    words.iter().map(|word| Pattern::new(word).map_err(Failure::usage)).collect()
}

/// The names, if none of these is a pattern.
pub(crate) fn names(patterns: &[Pattern]) -> Option<Vec<String>> {
    patterns.iter().map(|pattern| pattern.name().map(str::to_owned)).collect()
}

/// The names in a file: one in each line. Empty lines, and those that begin with `#`, are none.
fn list(path: &Path) -> Result<Vec<String>, Failure> {
    let cannot =
        |err: io::Error| Failure::usage(format!("cannot read names of hosts from {}: {err}", path.display()));
    let bytes = if path.as_os_str() == "-" {
        let mut bytes = Vec::new();
        io::stdin().lock().take(MAX_LIST).read_to_end(&mut bytes).map_err(cannot)?;
        bytes
    } else {
        bounded_read::read(path, MAX_LIST).map_err(cannot)?
    };
    let text = String::from_utf8_lossy(&bytes);
    let names = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let names: Vec<String> = names.map(str::to_owned).collect();
    if names.is_empty() {
        return Err(Failure::usage(format!("{} has no name of a host", path.display())));
    }
    Ok(names)
}

/// Asks the person before `what` is done on more than one host that was not named by name.
pub(crate) fn confirm(what: &str, chosen: &Chosen, which: &Which) -> Result<(), Failure> {
    if which.yes || !chosen.by_pattern || chosen.hosts.len() < 2 {
        return Ok(());
    }
    let count = chosen.hosts.len();
    // Standard input may be the list of names.
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Failure::usage(format!(
            "{what} on {count} hosts was not confirmed, as this is no terminal: give --yes, or name the hosts one by one"
        )));
    }
    let shown = chosen.hosts.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = if count > SHOWN { format!(" and {} more", count - SHOWN) } else { String::new() };
    drop(write!(io::stderr(), "{what} on {count} hosts ({shown}{more})? [y/N] "));
    let mut answer = String::new();
    let read = io::stdin().lock().take(1024).read_line(&mut answer);
    if read.is_ok() && ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()) {
        return Ok(());
    }
    Err(Failure::usage("nothing was sent"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet(names: &[&str]) -> Fleet {
        Fleet { hosts: names.iter().map(|name| ((*name).to_owned(), Host::default())).collect() }
    }

    fn chosen(words: &[&str]) -> Chosen {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let fleet = fleet(&["web-1", "web-2", "web-10", "db"]);
        choose(&read(&words).unwrap(), &fleet, |_| true)
    }

    #[test]
    fn each_host_is_chosen_once_in_the_order_of_the_words() {
        let both = chosen(&["web-10", "web-*", "db", "web-1"]);
        assert_eq!(both.hosts, ["web-10", "web-1", "web-2", "db"]);
        assert!(both.by_pattern);
        assert_eq!(chosen(&["*"]).hosts, ["db", "web-1", "web-2", "web-10"]);
        assert!(!chosen(&["db", "web-1"]).by_pattern);
    }

    #[test]
    fn what_is_not_there_is_told() {
        let chosen = chosen(&["db", "dc", "x-*", "dc"]);
        assert_eq!(chosen.unknown, ["dc"]);
        assert_eq!(chosen.empty, ["x-*"]);
        assert_eq!(chosen.hosts, ["db"]);
    }

    #[test]
    fn hosts_that_are_not_wanted_are_neither_chosen_nor_unknown() {
        let none =
            choose(&read(&["db".to_owned(), "w*".to_owned()]).unwrap(), &fleet(&["db", "web"]), |_| false);
        assert_eq!(none, Chosen::default());
    }

    #[test]
    fn without_a_terminal_a_pattern_needs_a_yes() {
        // Tests have no terminal, or at least none on both.
        let many = chosen(&["web-*"]);
        let which = Which::default();
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            assert!(confirm("run switch", &many, &which).unwrap_err().message.unwrap().contains("--yes"));
        }
        confirm("run switch", &many, &Which { yes: true, ..which.clone() }).unwrap();
        confirm("run switch", &chosen(&["web-1", "web-2"]), &which).unwrap();
        confirm("run switch", &chosen(&["d*"]), &which).unwrap();
    }

    #[test]
    fn a_list_has_comments() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts");
        std::fs::write(&path, "# all\nweb-1\r\n\n  db \n").unwrap();
        assert_eq!(list(&path).unwrap(), ["web-1", "db"]);
        std::fs::write(&path, "# none\n").unwrap();
        assert!(list(&path).unwrap_err().message.unwrap().contains("has no name"));
    }
}
