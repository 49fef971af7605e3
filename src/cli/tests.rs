//! The files of `dist/` that follow from the command line.

use std::fs;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use super::*;

/// Rewrites the files instead of comparing them: `UPDATE_DIST=1 cargo test --lib dist`.
const UPDATE: &str = "UPDATE_DIST";

fn dist(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dist").join(file)
}

/// The command line of the packaged agent, which has no demo, and of which nobody types `exec-job`.
fn packaged() -> clap::Command {
    let cli = Cli::command();
    let meant = |command: &&clap::Command| !command.is_hide_set() && command.get_name() != "demo";
    clap::Command::new("nixfleet-agent")
        .version(env!("CARGO_PKG_VERSION"))
        .args(cli.get_arguments().cloned())
        .subcommands(cli.get_subcommands().filter(meant).cloned())
}

#[test]
fn completions_in_dist_are_those_of_this_command_line() {
    for (shell, file) in [
        (Shell::Bash, "nixfleet-agent.bash"),
        (Shell::Zsh, "_nixfleet-agent"),
        (Shell::Fish, "nixfleet-agent.fish"),
    ] {
        let mut made = Vec::new();
        clap_complete::generate(shell, &mut packaged(), "nixfleet-agent", &mut made);
        let path = dist("completions").join(file);
        if std::env::var_os(UPDATE).is_some() {
            fs::write(&path, &made).unwrap();
        }
        let written = fs::read(&path).unwrap();
        assert!(written == made, "{} is old: run {UPDATE}=1 cargo test --lib dist", path.display());
    }
}

#[test]
fn the_man_page_in_dist_knows_every_option_and_subcommand() {
    let page = fs::read_to_string(dist("man/nixfleet-agent.1")).unwrap();
    let cli = packaged();
    for name in cli.get_subcommands().map(clap::Command::get_name) {
        assert!(page.contains(&format!("\n.B {}\n", name.replace('-', "\\-"))), "no {name}");
    }
    for option in cli.get_arguments().filter_map(clap::Arg::get_long) {
        assert!(page.contains(&format!("\\-\\-{}", option.replace('-', "\\-"))), "no --{option}");
    }
    for code in [USAGE, FAILURE] {
        assert!(page.contains(&format!("\n.B {code}\n")), "no exit code {code}");
    }
}
