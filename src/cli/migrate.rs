//! `nixfleet-agent migrate`: the new settings on standard output, what is different on standard error.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use clap::{Parser, ValueHint};

use nixfleet_config::{DEFAULT_FILE, Source};

use super::terminal::{self, safe};
use super::{Cli, Failure};
use crate::migrate::{self, Difference, Host, Old, Places, Plan, TOKEN_FILE};

/// Columns before the text of a difference.
const INDENT: usize = 16;

/// Options of `migrate`.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Read the old unit from FILE instead of asking systemd for it
    #[arg(long, value_name = "FILE")]
    unit: Option<PathBuf>,
    /// Read more variables from FILE, one NAME=value a line; may be given several times
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Print options of the NixOS module, which on NixOS is the default
    #[arg(long, conflicts_with = "toml")]
    nixos: bool,
    /// Print the settings file on NixOS, too
    #[arg(long)]
    toml: bool,
    /// Write the settings file, which is that of --config or /etc/nixfleet/agent.toml and must not exist
    #[arg(long, conflicts_with = "nixos")]
    write: bool,
    /// Look at a host whose files are below DIR, such as a mounted disk, and write there; needs --unit
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, default_value = "/", requires = "unit")]
    root: PathBuf,
}

/// Prints or writes the new settings. Success means that there are some, whatever is left to do.
pub(super) fn run(source: &Source, options: &Options) -> Result<(), Failure> {
    let Options { root, unit, env_file, .. } = options;
    let places = Places { root: root.clone(), unit: unit.clone(), env_files: env_file.clone() };
    let old = Old::read(&places).map_err(|text| Failure::Start(line_by_line(&text)))?;
    let mut host = Host::look(root, &old);
    let nixos = options.nixos || (host.is_nixos && !options.toml);
    host.has_module = nixos && !options.write;
    let mut plan = migrate::compare(&old, &host);
    arguments(&mut plan, &old);
    if options.write {
        report(&old, &plan);
        return write(source, options, &host, &plan, &old);
    }
    let text = if nixos { migrate::nix(&plan, &old) } else { migrate::toml(&plan, &old) };
    let text = if io::stdout().is_terminal() { line_by_line(&text) } else { text };
    match io::stdout().write_all(text.as_bytes()) {
        // The reader has seen enough.
        Err(err) if err.kind() != io::ErrorKind::BrokenPipe => {
            return Err(Failure::Start(format!("cannot write to standard output: {err}")));
        }
        _ => report(&old, &plan),
    }
    Ok(())
}

/// Text from the host that is safe for a terminal, line by line.
fn line_by_line(text: &str) -> String {
    let mut lines: Vec<String> = text.lines().map(|line| safe(line, false)).collect();
    if text.ends_with('\n') {
        lines.push(String::new());
    }
    lines.join("\n")
}

/// Arguments of the old unit that this program does not have.
fn arguments(plan: &mut Plan, old: &Old) {
    let given = old.command.get(1..).unwrap_or_default();
    let parsed =
        Cli::try_parse_from(std::iter::once("nixfleet-agent").chain(given.iter().map(String::as_str)));
    // `--help` and `--version` are no mistakes.
    if parsed.is_err_and(|err| err.use_stderr()) {
        let text = format!("it starts the agent with {:?}, which this one does not have", given.join(" "));
        plan.tell("arguments", text, "the new unit starts it without arguments; settings go into the file");
    }
}

fn write(source: &Source, options: &Options, host: &Host, plan: &Plan, old: &Old) -> Result<(), Failure> {
    let refuse = |text: String| Err(Failure::Start(text));
    let default = migrate::below(&options.root, DEFAULT_FILE);
    let path = source.file.clone().unwrap_or_else(|| default.clone());
    if host.is_nixos && source.file.is_none() {
        let text =
            "on NixOS the module writes this file: put the options of migrate --nixos into the configuration";
        return refuse(format!("{} is not written: {text}", path.display()));
    }
    if !plan.is_complete {
        let text =
            "the settings are not complete; print them without --write, complete them, and run check-config";
        return refuse(format!("{} is not written: {text}", path.display()));
    }
    migrate::write(&path, &migrate::toml(plan, old), plan.holds_password).map_err(Failure::Start)?;
    // By its path: the name on the PATH may still be the Go agent.
    let program = std::env::args().next().unwrap_or_else(|| "nixfleet-agent".to_owned());
    let option = if path == default { String::new() } else { format!(" --config {}", path.display()) };
    note(&format!(
        "
Written: {}. When the token is in its place: NIXFLEET_TOKEN_FILE={TOKEN_FILE} {}{option} check-config",
        path.display(),
        safe(&program, false),
    ));
    Ok(())
}

/// What was read, and each difference with what to do.
fn report(old: &Old, plan: &Plan) {
    let on_terminal = io::stderr().is_terminal();
    let mut text = format!("\nRead: {}\n", safe(&old.sources.join(", "), false));
    if !plan.differences.is_empty() {
        text.push_str("Different on this host:\n");
    }
    text.extend(plan.differences.iter().map(|Difference { about, text, fix }| {
        terminal::entry(&format!("{about:<15}"), text, fix, INDENT, " -> ", on_terminal)
    }));
    note(&text);
}

/// A line for people. If standard error is closed, nobody reads it.
fn note(text: &str) {
    drop(writeln!(io::stderr(), "{}", text.trim_end()));
}
