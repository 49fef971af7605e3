//! The files in `dist/` that are derived from the command line.

use std::fs;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use super::*;

mod bash;

/// Set to rewrite the files instead of comparing them: `UPDATE_DIST=1 cargo test --lib dist`.
const UPDATE: &str = "UPDATE_DIST";

fn dist(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dist").join(file)
}

/// The command line for people, without the hidden `exec-job` and the options of the Go agent.
fn packaged() -> clap::Command {
    let cli = Cli::command();
    let visible = |command: &&clap::Command| !command.is_hide_set();
    clap::Command::new("nixfleet-agent")
        .version(env!("CARGO_PKG_VERSION"))
        .args(cli.get_arguments().filter(|option| !option.is_hide_set()).cloned())
        .subcommands(cli.get_subcommands().filter(visible).cloned())
}

#[test]
fn completions_in_dist_are_those_of_this_command_line() {
    let generated = |shell| {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut packaged(), "nixfleet-agent", &mut text);
        String::from_utf8(text).unwrap()
    };
    let cli = packaged();
    let names: Vec<&str> = cli.get_subcommands().map(clap::Command::get_name).collect();
    let names = names.join(" ");
    // `help` itself is among the names behind which it offers none.
    let is_behind_help = format!("seen_subcommand_from {names}");
    let fish = generated(Shell::Fish).replace(&format!("{is_behind_help} help"), &is_behind_help);
    // Behind a subcommand, files are offered for the options that name one, and for nothing else.
    let no_files =
        format!("complete -c nixfleet-agent -n \"__fish_nixfleet_agent_using_subcommand {names} help\" -f\n");
    let fish = fish + &no_files;
    for (file, text) in [
        ("nixfleet-agent.bash", bash::script(&packaged())),
        ("_nixfleet-agent", generated(Shell::Zsh)),
        ("nixfleet-agent.fish", fish),
    ] {
        let path = dist("completions").join(file);
        if std::env::var_os(UPDATE).is_some() {
            fs::write(&path, &text).unwrap();
        }
        let written = fs::read_to_string(&path).unwrap();
        assert!(written == text, "{} is old: run {UPDATE}=1 cargo test --lib dist", path.display());
    }
}

#[test]
fn the_man_page_in_dist_knows_every_option_and_subcommand() {
    let page = fs::read_to_string(dist("man/nixfleet-agent.1")).unwrap();
    let cli = packaged();
    for name in cli.get_subcommands().map(clap::Command::get_name) {
        assert!(page.contains(&format!("\n.B {}\n", name.replace('-', "\\-"))), "no {name}");
    }
    let of_subcommands = cli.get_subcommands().flat_map(clap::Command::get_arguments);
    for option in cli.get_arguments().chain(of_subcommands).filter_map(clap::Arg::get_long) {
        assert!(page.contains(&format!("\\-\\-{}", option.replace('-', "\\-"))), "no --{option}");
    }
    for code in [USAGE, FAILURE] {
        assert!(page.contains(&format!("\n.B {code}\n")), "no exit code {code}");
    }
}

#[test]
fn check_is_check_config_and_goes_with_no_other_subcommand() {
    let parsed = |words: &[&str]| {
        let cli = Cli::try_parse_from([&["nixfleet-agent"], words].concat()).unwrap();
        effective_subcommand(cli.check, cli.command)
    };
    for words in [&["--check"][..], &["--check", "run"], &["--check", "check-config"], &["check-config"]] {
        assert!(matches!(parsed(words), Ok(Subcommands::CheckConfig)), "{words:?}");
    }
    assert!(matches!(parsed(&[]), Ok(Subcommands::Run)));
    assert!(matches!(parsed(&["--check", "vitals"]), Err(Failure::Usage(_))));
    for words in [["nixfleet-agent", "-v"], ["nixfleet-agent", "-V"]] {
        let shown = Cli::try_parse_from(words).unwrap_err();
        assert_eq!(shown.kind(), clap::error::ErrorKind::DisplayVersion, "{words:?}");
    }
    Cli::command().debug_assert();
}
