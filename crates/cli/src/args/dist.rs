//! What is written about the command line: the completions and the man page in `dist/`, and docs/nixfleet.md.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{CommandFactory, Parser};
use clap_complete::Shell;

use super::Arguments;
use crate::exit::Exit;

/// Set to rewrite the files instead of comparing them: `UPDATE_DIST=1 cargo test -p nixfleet-cli dist`.
const UPDATE: &str = "UPDATE_DIST";

const PAGE: &str = include_str!("../../../../docs/nixfleet.md");

const EXITS: [Exit; 6] =
    [Exit::Good, Exit::Failed, Exit::Nats, Exit::NotDone, Exit::Usage, Exit::Interrupted];

fn dist(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dist").join(file)
}

/// The long options of a command line, but for those that all have.
fn options(command: &clap::Command) -> BTreeSet<String> {
    let names = command.get_arguments().filter_map(clap::Arg::get_long);
    names.filter(|name| !["help", "version"].contains(name)).map(str::to_owned).collect()
}

#[test]
fn completions_in_dist_are_those_of_this_command_line() {
    for (shell, file) in
        [(Shell::Bash, "nixfleet.bash"), (Shell::Zsh, "_nixfleet"), (Shell::Fish, "nixfleet.fish")]
    {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut Arguments::command(), "nixfleet", &mut text);
        let text = String::from_utf8(text).unwrap();
        let path = dist("completions").join(file);
        if std::env::var_os(UPDATE).is_some() {
            fs::write(&path, &text).unwrap();
        }
        let written = fs::read_to_string(&path).unwrap();
        assert!(written == text, "{} is old: run {UPDATE}=1 cargo test -p nixfleet-cli dist", path.display());
    }
}

#[test]
fn the_man_page_knows_every_option_subcommand_and_exit_code() {
    let page = fs::read_to_string(dist("man/nixfleet.1")).unwrap();
    let cli = Arguments::command();
    for command in cli.get_subcommands() {
        assert!(page.contains(&format!("\n.B {}\n", command.get_name())), "no {}", command.get_name());
    }
    for option in cli.get_subcommands().chain([&cli]).flat_map(options) {
        assert!(page.contains(&format!("\\-\\-{}", option.replace('-', "\\-"))), "no --{option}");
    }
    for exit in EXITS {
        assert!(page.contains(&format!("\n.B {}\n", exit.code())), "no exit code {}", exit.code());
    }
}

/// The part of the page below this heading.
fn section(title: &str) -> &'static str {
    let behind = PAGE.split(&format!("\n## {title}\n")).nth(1).unwrap_or_else(|| panic!("no {title}"));
    behind.split("\n## ").next().unwrap()
}

/// The options in the first column of a section's tables.
fn listed(section: &str) -> BTreeSet<String> {
    let cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    let words = cells.flat_map(|cell| cell.split(['`', ' ', ',']));
    words.filter_map(|word| word.strip_prefix("--")).map(str::to_owned).collect()
}

#[test]
fn the_page_has_every_option_and_no_other() {
    let cli = Arguments::command();
    assert_eq!(listed(section("Connection")), options(&cli));
    for command in cli.get_subcommands() {
        let (first, rest) = command.get_name().split_at(1);
        let title = first.to_uppercase() + rest;
        assert_eq!(listed(section(&title)), options(command), "{title}");
    }
    for exit in EXITS {
        let row = format!("\n| {} | ", exit.code());
        assert!(section("Exit codes").contains(&row), "no exit code {}", exit.code());
    }
}

#[test]
fn commands_on_the_page_are_right() {
    let blocks = PAGE.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let mut checked = 0;
    for line in blocks.flat_map(str::lines) {
        let words = line.split('#').next().unwrap().split_whitespace().map(|word| word.trim_matches('\''));
        if let Err(err) = Arguments::try_parse_from(words) {
            panic!("{line}: {err}");
        }
        checked += 1;
    }
    assert!(checked > 5);
}
